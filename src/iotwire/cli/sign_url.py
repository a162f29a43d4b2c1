"""`iotwire sign url`: the address of MQTT over WebSockets, signed; for a browser, or another client."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from ..endpoint import Endpoint
from ..errors import CredentialsError
from ..sigv4 import presign_mqtt_url
from .arguments import Commands, whole
from .proofs import add_certificate_arguments, add_credentials_arguments, make_provider
from .routing import add_uplink_arguments, read_way
from .settings import setting

__all__ = ["add_parser", "find_region", "run"]


def add_parser(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "url",
        help="sign the URL of MQTT over WebSockets with credentials of AWS",
        description="Print the wss:// URL of an endpoint, signed (Signature Version 4). Whoever has it may connect "
        "until it expires: keep it as secret as a password.",
        allow_abbrev=False,
    )
    parser.add_argument("host", nargs="?", metavar="HOST", help="the endpoint's full DNS name (IOTWIRE_ENDPOINT)")
    parser.add_argument(
        "--expires", type=whole(1, 604_800), default=86400, metavar="S", help="seconds that it counts (default: 86400)"
    )
    parser.add_argument("--port", type=whole(1, 65535), default=443, metavar="N", help="(default: 443)")
    parser.add_argument("--path", default="/mqtt", help="(default: /mqtt)")
    parser.add_argument("--service", default="iotdevicegateway", metavar="NAME", help="(default: iotdevicegateway)")
    add_credentials_arguments(parser)
    add_certificate_arguments(parser)  # which a role alias is asked with
    add_uplink_arguments(parser.add_argument_group("the way to who gives the credentials of a role alias"))
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    host = setting(options.host, "IOTWIRE_ENDPOINT") or ""
    if not host:
        options.parser.error("no host: give HOST, or set IOTWIRE_ENDPOINT")
    now = datetime.now(UTC)
    region = find_region(options, Endpoint(host))
    print(
        presign_mqtt_url(
            host,
            region,
            make_provider(options, read_way(options)).get(now),
            now=now,
            port=options.port,
            path=options.path,
            service=options.service,
            expires=options.expires,
        )
    )
    return 0


def find_region(options: argparse.Namespace, endpoint: Endpoint | None) -> str:
    """The region that is given, or that the endpoint's name tells, or that the environment has."""
    told = None if endpoint is None else endpoint.region
    region = options.region or told or setting(setting(None, "AWS_REGION"), "AWS_DEFAULT_REGION")
    if region is None:
        raise CredentialsError("--region: a signature needs the region; give it, or set AWS_REGION")
    return str(region)
