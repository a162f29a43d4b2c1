"""`iotwire sign request`: the headers that sign an HTTPS request, to any service of AWS."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from urllib.parse import urlsplit

from ..endpoint import Endpoint
from ..errors import CredentialsError
from ..route import is_host_name
from ..sigv4 import Signer
from .arguments import Commands
from .proofs import add_certificate_arguments, add_credentials_arguments, check_stdin, make_provider
from .routing import add_uplink_arguments, read_way
from .secrets import RefuseSecret, read_file
from .sign_url import find_region

__all__ = ["add_parser", "run"]

METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
IOT_SERVICE = "iotdata"


def add_parser(kinds: Commands) -> None:
    parser = kinds.add_parser(
        "request",
        help="sign an HTTPS request with credentials of AWS",
        description="Print the headers that sign a request (Signature Version 4), one to a line, as `curl --header "
        "@FILE` reads them. The request has to be sent with the same URL, body and --header, within five minutes.",
        allow_abbrev=False,
    )
    parser.add_argument("url", metavar="URL", help="as it is sent, percent-encoded: https://HOST/topics/a%%2Fb?qos=1")
    parser.add_argument("-X", "--method", choices=METHODS, default="POST", help="(default: POST)")
    parser.add_argument("--body-file", metavar="FILE", help="what is sent; `-` is the standard input")
    parser.add_argument(
        "-H", "--header", type=_header, action="append", default=[], metavar="NAME: VALUE", help="to be signed too"
    )
    parser.add_argument(
        "--service", metavar="NAME", help=f"as signatures name it (default, for endpoints of AWS IoT: {IOT_SERVICE})"
    )
    add_credentials_arguments(parser)
    add_certificate_arguments(parser)  # which a role alias is asked with
    add_uplink_arguments(parser.add_argument_group("the way to who gives the credentials of a role alias"))
    parser.add_argument("--body", action=RefuseSecret, instead="give --body-file")
    parser.set_defaults(run=run, parser=parser)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not (colon and name.strip()):
        raise argparse.ArgumentTypeError(f"a header such as Content-Type: text/plain is expected, not {text}")
    return name.strip(), value.strip()


def run(options: argparse.Namespace) -> int:
    check_stdin(options, "body" if options.body_file == "-" else None)
    host = _host_of(options.url)
    endpoint = Endpoint(host) if is_host_name(host) else None
    region = find_region(options, endpoint)
    service = options.service or (IOT_SERVICE if endpoint is not None and endpoint.region else None)
    if service is None:
        raise CredentialsError("--service: a signature needs the name of the service, such as execute-api")
    body = b"" if options.body_file is None else read_file(options.body_file, "--body-file")
    now = datetime.now(UTC)
    credentials = make_provider(options, read_way(options)).get(now)
    signed = Signer(region, service).sign_headers(
        options.method, options.url, options.header, body, credentials, now=now
    )
    for name, value in signed.items():
        print(f"{name}: {value}")
    return 0


def _host_of(url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme != "https":
        raise CredentialsError("URL: one with https:// and a host is expected")
    return host
