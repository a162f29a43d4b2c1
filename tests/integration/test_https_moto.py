"""Publishing over HTTPS to moto, as boto3's users test against it: the shape of AWS IoT's HTTP interface."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("moto", reason="moto is of the extra `bench`")
pytest.importorskip("flask", reason="moto's server is of the extra `bench`")

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iotdata.models import iotdata_backends
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server

from scripted_http import BOTH, HttpRoute
from scripted_threads import BOUND_S


@BOTH
def test_moto_has_published_what_it_was_sent(make: Callable[..., Any]) -> None:
    # Its service for IoT alone: in front of several it tells them apart by a signature, and ours is a certificate.
    server = make_server("127.0.0.1", 0, create_backend_app("iotdata"), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with make(HttpRoute(server.port, authority="data-ats.iot.eu-central-1.amazonaws.com")) as publisher:
            publisher.publish("sensors/\u00fc$1", b"\0reading", 1)
            publisher.publish("a", b'{"t": 1}')
        published = iotdata_backends[DEFAULT_ACCOUNT_ID]["eu-central-1"].published_payloads
        assert published[-2:] == [("sensors/\u00fc$1", b"\0reading"), ("a", b'{"t": 1}')]
    finally:
        server.shutdown()
        thread.join(BOUND_S)
        server.server_close()
