"""A broker on the command line: a URL that holds no password, and the options that go with it."""

from __future__ import annotations

import argparse
import re
from typing import NamedTuple

from ..endpoint import Broker
from ..errors import RouteError
from ..route import Tls, join_host_port, read_host, read_port
from .secrets import RefuseSecret, explain_refusal, read_secret
from .settings import described

__all__ = ["BROKER_VARIABLES", "BrokerUrl", "add_broker_arguments", "broker_url", "make_broker"]

PASSWORD = "IOTWIRE_BROKER_PASSWORD"  # noqa: S105 -- the name of the variable
INSTEAD = f"set {PASSWORD}, or give --broker-password-file"
BROKER_VARIABLES = described(PASSWORD)

# As RFC 3986, 3.2 has it; neither path nor query, which mean nothing to a broker.
_URL = re.compile(r"(mqtts?)://(?:([^/?#]*)@)?(\[[^\]/@]*\]|[^:/?#@\[\]]+)(?::(\d{1,5}))?/?")


class BrokerUrl(NamedTuple):
    """What a URL says. port: 1883 or 8883 where it has none."""

    host: str
    port: int
    is_tls: bool
    username: str | None

    def __str__(self) -> str:
        return f"{'mqtts' if self.is_tls else 'mqtt'}://{join_host_port(self.host, self.port)}"


def broker_url(text: str) -> BrokerUrl:
    """mqtt://[USER@]HOST[:PORT], or mqtts:// for TLS; a user name with reserved characters is percent-encoded."""
    found = _URL.fullmatch(text)
    user = None if found is None else found[2]
    if (user is not None and (":" in user or "?" in user)) or (found is None and "@" in text):
        # A password or a token may be in there, and so the text is not shown.
        raise argparse.ArgumentTypeError(
            f"mqtt://USER@HOST:PORT is expected, without a password; {explain_refusal(INSTEAD)}"
        )
    expected = f"mqtt://HOST:PORT or mqtts://HOST:PORT is expected, not {text}"
    if found is None:
        raise argparse.ArgumentTypeError(expected)
    scheme, _, host, port = found.groups()
    is_tls = scheme == "mqtts"
    usual = 8883 if is_tls else 1883
    try:
        return BrokerUrl(read_host(host), usual if port is None else read_port(int(port)), is_tls, _decoded(user))
    except RouteError as error:
        raise argparse.ArgumentTypeError(f"{expected}: {error}") from None


def _decoded(user: str | None) -> str | None:
    from urllib.parse import unquote

    return unquote(user) if user else None


def add_broker_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("a broker behind it")
    group.add_argument(
        "--broker",
        type=broker_url,
        metavar="URL",
        help="relay messages to a real MQTT broker or cluster, mqtt://[USER@]HOST[:PORT] or mqtts://: what devices do "
        "is judged here, and what they say is the broker's",
    )
    group.add_argument(
        "--broker-ca", metavar="FILE", help="of the authority of an mqtts:// broker (default: the system's)"
    )
    group.add_argument(
        "--broker-password-file", metavar="FILE", help=f"the password for USER at the broker ({PASSWORD} itself)"
    )
    group.add_argument("--broker-password", action=RefuseSecret, instead=INSTEAD)


def make_broker(options: argparse.Namespace) -> Broker | None:
    """What the options mean; None for no broker. Raises RouteError, CredentialsError."""
    url: BrokerUrl | None = options.broker
    for name in ("broker_ca", "broker_password_file"):
        if url is None and getattr(options, name) is not None:
            raise RouteError(f"--{name.replace('_', '-')}: belongs to --broker, which is not given")
    if url is None:
        return None
    if options.broker_ca is not None and not url.is_tls:
        raise RouteError("--broker-ca: is for a broker with TLS, mqtts://")
    password = read_secret(options.broker_password_file, "--broker-password-file", PASSWORD)
    if password is not None and url.username is None:
        raise RouteError("--broker: a password is given, and no user name: mqtt://USER@HOST:PORT is expected")
    tls = Tls(ca=options.broker_ca) if url.is_tls else None
    return Broker(url.host, url.port, tls=tls, username=url.username, password=password)
