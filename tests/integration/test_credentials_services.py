"""Credentials from services that nobody here wrote: moto's metadata service, and `openssl s_server` for AWS IoT."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("cryptography", reason="the certificates are made with the package cryptography")

from brokers import HOST, START_TIMEOUT_S, find_program, free_ports
from iotwire import X509, CredentialsError, Endpoint, InstanceCredentials, IotCredentials
from iotwire.credentials import BotocoreCredentials
from iotwire.emulator.pki import Authority
from iotwire.sigv4 import Credentials
from providing import KEY_ID, NOW, SECRET, TOKEN, encode, iot_document

NAME = "c1a2b3c4d5e6f7.credentials.iot.eu-central-1.amazonaws.com"


def test_moto_and_botocore_speak_version_2_of_the_metadata_service() -> None:
    moto_app = pytest.importorskip("moto.moto_server.werkzeug_app", reason="moto is of the extra `bench`")
    botocore_credentials = pytest.importorskip("botocore.credentials")
    botocore_utils = pytest.importorskip("botocore.utils")
    from werkzeug.serving import make_server

    server = make_server(HOST, 0, moto_app.create_backend_app("instance_metadata"), threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"http://{HOST}:{server.port}/"
        now = datetime.now(UTC)
        ours = InstanceCredentials(environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}, timeout_s=START_TIMEOUT_S).get(
            now
        )
        fetcher = botocore_utils.InstanceMetadataFetcher(
            timeout=START_TIMEOUT_S, config={"ec2_metadata_service_endpoint": url}
        )
        theirs = BotocoreCredentials(botocore_credentials.InstanceMetadataProvider(fetcher)).get(now)
    finally:
        server.shutdown()
        thread.join(START_TIMEOUT_S)
        server.server_close()
    assert Credentials(ours.access_key_id, ours.secret_access_key, ours.session_token) == theirs
    assert ours.expiration is not None
    assert timedelta(hours=23) < ours.expiration - now < timedelta(hours=25)


@contextmanager
def openssl(authority: Authority, folder: Path, version: str) -> Iterator[Endpoint]:
    """A server that wants a certificate, and serves the files of a folder in its own HTTP."""
    server = authority.issue_server([NAME])
    (port,) = free_ports(1)
    command = [find_program("openssl"), "s_server", "-accept", f"{HOST}:{port}", "-WWW", version]
    command += ["-cert", str(server.cert), "-key", str(server.key), "-CAfile", str(authority.ca)]
    command += ["-Verify", "1", "-verify_return_error"]
    with subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        assert process.stdout is not None
        output = process.stdout
        listening = threading.Event()

        def read() -> None:
            for line in output:
                if b"ACCEPT" in line:
                    listening.set()

        reader = threading.Thread(target=read)
        reader.start()
        try:
            assert listening.wait(START_TIMEOUT_S)
            yield Endpoint(NAME, address=HOST, ports={443: port})
        finally:
            process.terminate()
            reader.join(START_TIMEOUT_S)


@pytest.mark.broker
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_device_is_given_credentials_for_its_certificate_by_openssl(version: str, tmp_path: Path) -> None:
    for name in ("ours", "others"):
        (tmp_path / name).mkdir()
    authority, stranger = Authority(tmp_path / "ours"), Authority(tmp_path / "others").issue_device("stranger")
    folder = tmp_path / "files"
    (folder / "role-aliases" / "gateway").mkdir(parents=True)
    (folder / "role-aliases" / "gateway" / "credentials").write_bytes(encode(iot_document()))
    with openssl(authority, folder, version) as endpoint:
        found = IotCredentials(endpoint, "gateway", authority.issue_device("device")).get(NOW)
        assert (found.access_key_id, found.secret_access_key, found.session_token) == (KEY_ID, SECRET, TOKEN)
        with pytest.raises(CredentialsError, match="client certificate"):
            IotCredentials(endpoint, "gateway", X509(stranger.cert, stranger.key, ca=authority.ca)).get(NOW)
