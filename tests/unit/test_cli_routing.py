"""What route a command line and its environment mean: which kind of host, which protocol, which proof."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iotwire import X509, Broker, CredentialsError, CustomAuth, Endpoint, IotCredentials, RouteError, SigV4
from iotwire.cli import main
from iotwire.cli.routing import add_host_arguments, add_route_arguments, make_route, take_host
from iotwire.endpoint import EndpointRoute
from iotwire.route import Attempt

AWS = "a1b2c3-ats.iot.eu-central-1.amazonaws.com"
CUSTOM = "iot.example.com"
CERTIFICATE = ("--cert", "device.pem", "--key", "device.key")

Read = Callable[..., EndpointRoute | Broker]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """The route of arguments and variables."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "IOTWIRE_")):
            monkeypatch.delenv(name)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_host_arguments(parser)
    add_route_arguments(parser)
    parser.set_defaults(parser=parser)

    def read(*arguments: str, **variables: str) -> EndpointRoute | Broker:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        options = parser.parse_args(arguments)
        take_host(options)
        return make_route(options)

    return read


def attempt_of(route: EndpointRoute | Broker) -> Attempt:
    return route.prepare(datetime.now(UTC))


@pytest.mark.parametrize(
    ("arguments", "row"),
    [
        ((AWS, *CERTIFICATE), 1),
        ((AWS, *CERTIFICATE, "-p", "443"), 2),
        ((AWS, "--authorizer-name", "Door"), 3),
        ((AWS, "--auth", "custom"), 3),
        ((AWS, "--auth", "sigv4"), 4),
        ((AWS, "--protocol", "wss"), 4),
        ((AWS, "--protocol", "wss", *CERTIFICATE), 4),
        ((AWS, "--profile", "pump"), 4),
        ((AWS, "--protocol", "wss", "--auth", "custom"), 5),
        ((AWS, "--protocol", "wss", "--place", "connect"), 5),
        ((AWS, "--protocol", "https"), 6),
        ((AWS, "--protocol", "https", "--auth", "x509", "-p", "443", *CERTIFICATE), 7),
        ((AWS, "--protocol", "https", "-p", "443", *CERTIFICATE), 7),
        ((AWS, "--protocol", "https", "-p", "8443", *CERTIFICATE), 8),
        ((AWS, "--protocol", "https", "--authorizer-name", "Door", *CERTIFICATE), 9),
        # A name of one's own is an endpoint where something says so.
        ((CUSTOM, "--auth", "x509", *CERTIFICATE), 1),
        ((CUSTOM, "--authorizer-name", "Door"), 3),
        ((CUSTOM, "--auth", "sigv4", "--region", "eu-central-1"), 4),
    ],
)
def test_what_is_given_chooses_the_row(read: Read, arguments: tuple[str, ...], row: int) -> None:
    route = read(*arguments)
    assert isinstance(route, EndpointRoute)
    assert route.row.number == row
    assert (route.server_name, route.port) == (arguments[0], route.row.port)


@pytest.mark.parametrize(
    ("arguments", "port", "protocol", "is_tls"),
    [
        (("localhost",), 1883, "mqtt", False),
        (("::1",), 1883, "mqtt", False),
        (("[::1]", "-p", "1884"), 1884, "mqtt", False),
        ((CUSTOM,), 1883, "mqtt", False),
        ((CUSTOM, "--tls"), 8883, "mqtt", True),
        ((CUSTOM, "--cafile", "ca.pem"), 8883, "mqtt", True),
        ((CUSTOM, *CERTIFICATE), 8883, "mqtt", True),
        ((CUSTOM, "-p", "8883"), 8883, "mqtt", True),
        ((CUSTOM, "--protocol", "ws"), 80, "ws", False),
        ((CUSTOM, "--protocol", "wss"), 443, "wss", True),
        ((AWS, "--broker", "--tls"), 8883, "mqtt", True),
    ],
)
def test_any_other_host_is_a_broker(
    read: Read, arguments: tuple[str, ...], port: int, protocol: str, is_tls: bool
) -> None:
    route = read(*arguments)
    assert isinstance(route, Broker)
    attempt = attempt_of(route)
    assert (attempt.host, attempt.port) == (arguments[0].strip("[]"), port)
    assert (route.protocol, attempt.tls is not None) == (protocol, is_tls)


def test_variables_describe_an_endpoint(read: Read) -> None:
    named = {
        "IOTWIRE_ENDPOINT": CUSTOM,
        "IOTWIRE_ADDRESS": "192.0.2.7",
        "IOTWIRE_PORT_443": "44300",
        "IOTWIRE_CERT": "device.pem",
        "IOTWIRE_KEY": "device.key",
        "IOTWIRE_CA": "ca.pem",
        "IOTWIRE_PROXY": "http://user:sesame@proxy.test:3128",
    }
    attempt = attempt_of(read("-p", "443", **named))
    assert (attempt.host, attempt.port) == ("192.0.2.7", 44300)
    assert attempt.tls is not None
    assert (attempt.tls.server_name, attempt.tls.ca) == (CUSTOM, "ca.pem")
    assert attempt.tls.certificate == X509("device.pem", "device.key", ca="ca.pem")
    assert attempt.proxy is not None
    assert attempt.proxy.password == b"sesame"
    # Address and ports are that one's alone.
    attempt = attempt_of(read(AWS, "-p", "443"))
    assert (attempt.host, attempt.port) == (AWS, 443)


def test_options_win_over_variables(read: Read) -> None:
    variables = {"IOTWIRE_ENDPOINT": CUSTOM, "IOTWIRE_ADDRESS": "192.0.2.7", "IOTWIRE_PORT_8883": "18883"}
    arguments = ("--address", "192.0.2.9", "-p", "8883=28883", "--proxy", "socks5://proxy.test:1080", *CERTIFICATE)
    attempt = attempt_of(read(*arguments, **variables, IOTWIRE_PROXY="http://other.test:3128"))
    assert (attempt.host, attempt.port) == ("192.0.2.9", 28883)
    assert attempt.proxy is not None
    assert attempt.proxy.host == "proxy.test"


def test_a_password_in_the_variables_of_an_endpoint_is_not_told_to_a_broker_beside_it(read: Read) -> None:
    secrets = {"IOTWIRE_USERNAME": "gateway", "IOTWIRE_PASSWORD": "sesame"}
    attempt = attempt_of(read("localhost", **secrets))
    assert (attempt.username, attempt.password) == ("gateway", b"sesame")
    attempt = attempt_of(read("localhost", IOTWIRE_ENDPOINT=CUSTOM, **secrets))
    assert (attempt.username, attempt.password) == (None, None)
    attempt = attempt_of(read("localhost", "-u", "somebody", IOTWIRE_ENDPOINT=CUSTOM, **secrets))
    assert (attempt.username, attempt.password) == ("somebody", None)
    attempt = attempt_of(read("--broker", IOTWIRE_ENDPOINT=CUSTOM, **secrets))
    assert (attempt.host, attempt.password) == (CUSTOM, b"sesame")


def test_a_token_file_is_read_for_each_connection(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    route = read(AWS, "--token-key-name", "Key", "--token-file", str(file))
    assert isinstance(route, EndpointRoute)
    assert isinstance(route.auth, CustomAuth)
    assert attempt_of(route).username == "?Key=one"
    file.write_text("two\n")
    assert attempt_of(route).username == "?Key=two"
    file.unlink()
    with pytest.raises(CredentialsError, match="--token-file: cannot read"):
        attempt_of(route)


def test_a_role_alias_is_asked_by_the_same_way(read: Read) -> None:
    way = ("--proxy", "http://proxy.test:3128", "--source-address", "192.0.2.1")
    alias = ("--role-alias", "door", "--credentials-endpoint", "c1.credentials.iot.eu-central-1.amazonaws.com")
    route = read(AWS, *alias, *CERTIFICATE, *way)
    assert isinstance(route, EndpointRoute)
    assert isinstance(route.auth, SigV4)
    provider = route.auth._credentials
    assert isinstance(provider, IotCredentials)
    assert "proxy.test" in repr(vars(provider))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((AWS, "--cert", "device.pem"), CredentialsError),
        ((CUSTOM, "--auth", "sigv4"), RouteError),  # no region
        ((AWS, "--protocol", "wss", "--auth", "x509", *CERTIFICATE), RouteError),
        ((AWS, "-p", "1883", *CERTIFICATE), RouteError),
        (("192.0.2.7", "--auth", "x509", *CERTIFICATE), RouteError),  # SNI carries no address
        (("a b",), RouteError),
        ((AWS, "--role-alias", "door"), CredentialsError),
        ((AWS, "--thing-name", "pump", "--auth", "sigv4"), CredentialsError),
    ],
)
def test_what_does_not_go_together_is_said(read: Read, arguments: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        read(*arguments)


def test_a_port_in_a_variable_that_is_none_is_named(read: Read) -> None:
    with pytest.raises(CredentialsError, match="IOTWIRE_PORT_8883: a port is expected, not x"):
        read(*CERTIFICATE, IOTWIRE_ENDPOINT=CUSTOM, IOTWIRE_PORT_8883="x")


def test_the_region_comes_from_the_name_before_the_environment(read: Read) -> None:
    for host, region in ((AWS, "eu-central-1"), (CUSTOM, "us-west-2")):
        route = read(host, "--auth", "sigv4", AWS_REGION="us-west-2")
        assert isinstance(route, EndpointRoute)
        assert route.region == region
    assert Endpoint(AWS).region == "eu-central-1"


@pytest.mark.parametrize("command", [("sub", "-t", "a"), ("preflight",), ("routes",)], ids=lambda words: words[0])
def test_the_standard_input_can_be_one_secret(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_of:
        main([*command, "--password-file", "-", "--token-file", "-"])
    assert exit_of.value.code == 2
    assert "the standard input can be one secret" in capsys.readouterr().err
