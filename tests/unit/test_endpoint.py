"""Routes: the matrix, what it accepts, and what each attempt is made of."""

from __future__ import annotations

import pickle
import ssl
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path

import pytest

import iotwire
from iotwire import ROUTES, X509, Broker, CredentialsError, CustomAuth, Endpoint, Proxy, RouteError, SigV4, Tls
from iotwire.route import TlsPlan, join_host_port
from iotwire.sigv4 import Credentials
from iotwire.transport import make_client_context

NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOST = "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com"
DEVICE = X509("device.pem", "device.key", ca="root.pem")
AUTHENTICATIONS = {
    "x509": DEVICE,
    "sigv4": SigV4(Credentials("AKIDEXAMPLE", "secret")),
    "custom": CustomAuth("authorizer"),
}


class Claims:
    """Something that says which way to authenticate it is, and is no more than that."""

    def __init__(self, authentication: str) -> None:
        self.authentication = authentication


def test_the_matrix_has_the_nine_rows_of_the_service() -> None:
    rows = [(row.number, row.protocol, row.authentication, row.port, row.alpn, row.operations) for row in ROUTES]
    both, publish = ("publish", "subscribe"), ("publish",)
    assert rows == [
        (1, "mqtt", "x509", 8883, None, both),
        (2, "mqtt", "x509", 443, "x-amzn-mqtt-ca", both),
        (3, "mqtt", "custom", 443, "mqtt", both),
        (4, "wss", "sigv4", 443, None, both),
        (5, "wss", "custom", 443, None, both),
        (6, "https", "sigv4", 443, None, publish),
        (7, "https", "x509", 443, "x-amzn-http-ca", publish),
        (8, "https", "x509", 8443, None, publish),
        (9, "https", "custom", 443, None, publish),
    ]


def test_a_row_of_the_matrix_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        ROUTES[0].port = 1883  # type: ignore[misc]


def test_mqtt_with_a_certificate_goes_to_8883_without_alpn() -> None:
    attempt = Endpoint(HOST).route("mqtt", DEVICE).prepare(NOW)
    assert (attempt.host, attempt.port) == (HOST, 8883)
    assert attempt.tls == TlsPlan(HOST, (), certificate=DEVICE, ca="root.pem")
    assert attempt.username is None
    assert attempt.password is None


def test_mqtt_with_a_certificate_goes_to_443_with_alpn() -> None:
    attempt = Endpoint(HOST).route("mqtt", DEVICE, port=443).prepare(NOW)
    assert attempt.port == 443
    assert attempt.tls is not None
    assert attempt.tls.alpn == ("x-amzn-mqtt-ca",)


@pytest.mark.parametrize(
    ("port", "row", "alpn", "authority"),
    [(443, 7, ("x-amzn-http-ca",), HOST), (8443, 8, (), f"{HOST}:8443"), (None, 7, ("x-amzn-http-ca",), HOST)],
)
def test_https_with_a_certificate_goes_to_443_with_alpn_and_to_8443_without(
    port: int | None, row: int, alpn: tuple[str, ...], authority: str
) -> None:
    route = Endpoint(HOST, ports={443: 44300, 8443: 48443}).route("https", DEVICE, port=port)
    attempt = route.prepare(NOW)
    assert (route.protocol, route.row.number) == ("https", row)
    assert attempt.port == {443: 44300, 8443: 48443}[route.row.port]
    assert attempt.tls == TlsPlan(HOST, alpn, certificate=DEVICE, ca="root.pem")
    assert attempt.authority == authority  # the service's own port, not the local one


def test_a_service_port_is_mapped_to_a_local_one() -> None:
    endpoint = Endpoint(HOST, ports={8883: 41883})
    assert endpoint.route("mqtt", DEVICE).prepare(NOW).port == 41883
    assert endpoint.route("mqtt", DEVICE, port=443).prepare(NOW).port == 443


def test_another_address_changes_neither_sni_nor_the_certificate_check() -> None:
    attempt = Endpoint(HOST, address="[::1]").route("mqtt", DEVICE).prepare(NOW)
    assert attempt.host == "::1"
    assert attempt.tls is not None
    assert attempt.tls.server_name == HOST


@pytest.mark.parametrize(
    ("port", "alpn", "expected"),
    [(443, None, ()), (443, ..., ("x-amzn-mqtt-ca",)), (8883, "x-amzn-mqtt-ca", ("x-amzn-mqtt-ca",)), (8883, ..., ())],
)
def test_alpn_can_be_left_to_the_matrix_left_out_or_named(
    port: int, alpn: str | None, expected: tuple[str, ...]
) -> None:
    tls = Endpoint(HOST).route("mqtt", DEVICE, port=port, alpn=alpn).prepare(NOW).tls
    assert tls is not None
    assert tls.alpn == expected


@pytest.mark.parametrize("alpn", ["", "x" * 256, "größe"])
def test_an_alpn_name_that_tls_cannot_carry_is_refused(alpn: str) -> None:
    with pytest.raises(RouteError, match="alpn"):
        Endpoint(HOST).route("mqtt", DEVICE, alpn=alpn)


@pytest.mark.parametrize("protocol", ["mqtt", "wss", "https"])
@pytest.mark.parametrize("authentication", ["x509", "sigv4", "custom"])
@pytest.mark.parametrize("port", [None, 443, 8443, 8883, 1883])
def test_what_the_service_accepts_is_a_route_and_what_it_does_not_is_answered_with_what_it_does(
    protocol: str, authentication: str, port: int | None
) -> None:
    accepted = [
        row
        for row in ROUTES
        if (row.protocol, row.authentication) == (protocol, authentication) and port in (None, row.port)
    ]
    endpoint = Endpoint(HOST)
    if accepted:
        assert endpoint.route(protocol, AUTHENTICATIONS[authentication], port=port).row in accepted
        return
    with pytest.raises(RouteError) as caught:
        endpoint.route(protocol, AUTHENTICATIONS[authentication], port=port)
    message = str(caught.value)
    assert message.startswith("the service does not accept")
    alternatives = [row for row in ROUTES if row.protocol == protocol]
    assert any(str(row) in message for row in alternatives)


@pytest.mark.parametrize("authentication", ["x509", "sigv4", "custom"])
def test_what_says_how_to_authenticate_and_is_nothing_of_the_kind_is_refused(authentication: str) -> None:
    protocol = next(row.protocol for row in ROUTES if row.authentication == authentication)
    with pytest.raises(RouteError, match=r"auth: .* is expected, not a Claims"):
        Endpoint(HOST).route(protocol, Claims(authentication))


def test_a_wrong_port_is_answered_with_the_right_ones() -> None:
    with pytest.raises(RouteError, match=r"port 8883, no ALPN; .*port 443, ALPN x-amzn-mqtt-ca"):
        Endpoint(HOST).route("mqtt", DEVICE, port=8443)


def test_an_unknown_protocol_or_authentication_is_refused() -> None:
    with pytest.raises(RouteError, match="protocol"):
        Endpoint(HOST).route("coap", DEVICE)
    with pytest.raises(RouteError, match="auth"):
        Endpoint(HOST).route("mqtt", "certificate")  # type: ignore[arg-type]
    with pytest.raises(RouteError):
        Endpoint(HOST).route("mqtt", Claims("x509"))


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "[2001:db8::1]", "::1", "fe80::1%eth0"])
def test_an_endpoint_that_is_an_ip_address_is_refused_because_sni_cannot_carry_it(host: str) -> None:
    with pytest.raises(RouteError) as caught:
        Endpoint(host)
    assert host in str(caught.value)
    assert "SNI" in str(caught.value)


REGIONS = {
    "a1b2c3d4e5-ats.iot.eu-central-1.amazonaws.com": "eu-central-1",
    "A1B2C3D4E5-ATS.IOT.EU-CENTRAL-1.AMAZONAWS.COM": "eu-central-1",
    "a1b2c3d4e5.iot.us-east-1.amazonaws.com": "us-east-1",
    "a1b2c3d4e5.ats.iot.cn-north-1.amazonaws.com.cn": "cn-north-1",
    "data.iot.ap-southeast-2.amazonaws.com": "ap-southeast-2",
    "data.iot-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
    "c1.credentials.iot.eu-west-1.amazonaws.com": "eu-west-1",
    "a1b2c3d4e5-ats.iot.eusc-de-east-1.amazonaws.eu": "eusc-de-east-1",
    "vpce-0a1b2c3d-4e5f.data.iot.us-west-2.vpce.amazonaws.com": "us-west-2",
    "vpce-0a1b2c3d-4e5f-us-west-2a.data.iot.us-west-2.vpce.amazonaws.com": "us-west-2",
    "vpce-0a1b2c3d-4e5f.iot.data.us-west-2.vpce.amazonaws.com": "us-west-2",
    "iot.example.com": None,
    "a-ats.iot.eu-central-1.amazonaws.com.example": None,
    "a-ats.iot.eu-central-1.amazonaws.example": None,
    "a-ats.iot.central.amazonaws.com": None,
    "s3.eu-central-1.amazonaws.com": None,
    "patriot.eu-central-1.amazonaws.com": None,
}


@pytest.mark.parametrize(("host", "region"), REGIONS.items())
def test_the_region_is_read_from_a_name_of_the_service(host: str, region: str | None) -> None:
    assert Endpoint(host).region == region
    assert Endpoint(host, region="eu-north-1").region == "eu-north-1"


NO_HOSTS = [
    "",
    ".",
    "a..b",
    ".example.com",
    "example.com.",
    "-a.example",
    "a-.example",
    "https://example.com",
    "example.com:8883",
    "example.com/mqtt",
    "exa mple.com",
    "exämple.com",
    "a" * 64 + ".example",
    ".".join(["a" * 60] * 5),
    "127.1",
    "example.1",
    "[192.0.2.1]",
    "[example.com]",
    "nul\0.example",
    "*.example.com",
    None,
    42,
]


@pytest.mark.parametrize("host", NO_HOSTS)
def test_what_is_neither_a_name_nor_an_address_is_no_host(host: str) -> None:
    with pytest.raises(RouteError, match="host"):
        Endpoint(host)
    with pytest.raises(RouteError, match="host"):
        Broker(host, 1883)


@pytest.mark.parametrize("port", [0, -1, 65536, "1883", 1883.0, True, None])
def test_a_port_is_an_int_from_1_to_65535(port: int) -> None:
    with pytest.raises(RouteError, match="port"):
        Broker("broker.example", port)
    with pytest.raises(RouteError, match="port"):
        Endpoint(HOST, ports={8883: port})


def test_a_broker_over_plain_tcp() -> None:
    route = Broker("broker.example", 1883, username="me", password="secret-word")
    attempt = route.prepare(NOW)
    assert (attempt.host, attempt.port, attempt.tls) == ("broker.example", 1883, None)
    assert (attempt.username, attempt.password) == ("me", b"secret-word")
    assert route.protocol == "mqtt"


@pytest.mark.parametrize(("host", "bare"), [("[::1]", "::1"), ("::1", "::1"), ("127.0.0.1", "127.0.0.1")])
def test_a_broker_may_be_an_address(host: str, bare: str) -> None:
    attempt = Broker(host, 8883, tls=DEVICE).prepare(NOW)
    assert attempt.host == bare
    assert attempt.tls is not None
    assert attempt.tls.server_name == bare


def test_the_zone_of_an_address_is_no_part_of_its_certificate() -> None:
    attempt = Broker("fe80::1%eth0", 8883, tls=True).prepare(NOW)
    assert attempt.host == "fe80::1%eth0"
    assert attempt.tls == TlsPlan("fe80::1")


def test_the_tls_settings_of_a_broker() -> None:
    def plan(tls: bool | X509 | Tls | None) -> TlsPlan | None:
        return Broker("broker.example", 8883, tls=tls).prepare(NOW).tls

    assert plan(None) is None
    assert plan(False) is None
    assert plan(True) == TlsPlan("broker.example")
    assert plan(DEVICE) == TlsPlan("broker.example", (), DEVICE, "root.pem")
    assert plan(Tls(ca="own.pem", alpn="mqtt")) == TlsPlan("broker.example", ("mqtt",), None, "own.pem")
    assert plan(Tls(certificate=DEVICE, server_name="other.example")) == TlsPlan(
        "other.example", (), DEVICE, "root.pem"
    )
    with pytest.raises(RouteError, match="tls"):
        plan(ssl.create_default_context())  # type: ignore[arg-type]
    with pytest.raises(RouteError, match="server_name"):
        plan(Tls(server_name="not a name"))


@pytest.mark.parametrize(
    ("host", "port", "default_port", "expected"),
    [
        ("iot.example", 8443, None, "iot.example:8443"),
        ("iot.example", 8443, 443, "iot.example:8443"),
        ("iot.example", 443, 443, "iot.example"),
        ("127.0.0.1", 443, None, "127.0.0.1:443"),
        ("::1", 8443, 443, "[::1]:8443"),
        ("::1", 443, 443, "[::1]"),
    ],
)
def test_an_ipv6_address_stands_in_brackets_and_a_default_port_is_left_out(
    host: str, port: int, default_port: int | None, expected: str
) -> None:
    assert join_host_port(host, port, default_port) == expected


def test_an_attempt_says_whether_it_presents_a_certificate() -> None:
    def presents(tls: bool | X509 | Tls | None) -> bool:
        return Broker("broker.example", 8883, tls=tls).prepare(NOW).presents_certificate

    assert presents(DEVICE)
    assert presents(Tls(certificate=DEVICE))
    assert not presents(True)
    assert not presents(None)


WAY = {"proxy": Proxy("socks5://proxy.example:1080"), "interface": "wwan0", "source_address": "2001:db8::1"}


def test_a_route_says_which_way_its_connections_take() -> None:
    for attempt in (
        Endpoint(HOST).route("mqtt", DEVICE, **WAY).prepare(NOW),  # type: ignore[arg-type]
        Broker("broker.example", 1883, **WAY).prepare(NOW),  # type: ignore[arg-type]
    ):
        assert {name: getattr(attempt, name) for name in WAY} == WAY
    for attempt in (Endpoint(HOST).route("mqtt", DEVICE).prepare(NOW), Broker("broker.example", 1883).prepare(NOW)):
        assert {getattr(attempt, name) for name in WAY} == {None}
    assert "wwan0" in repr(Broker("broker.example", 1883, **WAY))  # type: ignore[arg-type]


NO_WAYS = [
    *[("interface", each) for each in ("", "x" * 16, "a b", "a/b", "a:b", ".", "..", "a\0", "größe", b"eth0", 7)],
    *[("source_address", each) for each in ("", "eth0", "localhost", "192.0.2.1:0", "192.0.2.0/24", b"192.0.2.1", 7)],
    *[("proxy", each) for each in ("http://user:secret@proxy.example:3128", 7)],
]


@pytest.mark.parametrize(("name", "value"), NO_WAYS)
def test_a_way_that_cannot_be_is_refused(name: str, value: object) -> None:
    for make in (
        lambda: Endpoint(HOST).route("mqtt", DEVICE, **{name: value}),  # type: ignore[arg-type]
        lambda: Broker("broker.example", 1883, **{name: value}),  # type: ignore[arg-type]
    ):
        with pytest.raises(RouteError, match=name) as caught:
            make()
        assert "secret" not in str(caught.value)


def test_a_source_address_may_stand_in_brackets() -> None:
    assert Broker("broker.example", 1883, source_address="[::1]").prepare(NOW).source_address == "::1"


def test_no_secret_shows_in_a_repr() -> None:
    device = X509("device.pem", "/secret/device.key", password="secret-word")
    token = "user?token=secret"
    broker = Broker("broker.example", 8883, tls=device, username=token, password="secret-word")
    endpoint_route = Endpoint(HOST).route("mqtt", device)
    for each in (device, broker, broker.prepare(NOW), endpoint_route, endpoint_route.prepare(NOW)):
        assert "secret" not in repr(each)
        assert "device.pem" in repr(each)


def test_the_text_of_a_pem_file_is_no_path_and_is_not_repeated() -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    for make in (lambda: X509("a.pem", pem), lambda: X509(pem, "a.key"), lambda: X509("a.pem", "a.key", ca=pem)):
        with pytest.raises(CredentialsError, match="path") as caught:
            make()
        assert "c2VjcmV0" not in str(caught.value)
    with pytest.raises(CredentialsError, match="key"):
        X509("a.pem", None)  # type: ignore[arg-type]
    with pytest.raises(CredentialsError, match="password"):
        X509("a.pem", "a.key", password=7)  # type: ignore[arg-type]


def test_a_file_that_is_missing_or_wrong_is_named(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing.pem"
    text = tmp_path / "text.pem"
    text.write_text("not a certificate")
    for certificate in (X509(nothing, nothing), X509(text, text)):
        with pytest.raises(CredentialsError, match=str(certificate.cert)):
            make_client_context(TlsPlan("broker.example", certificate=certificate))
    for ca in (nothing, text):
        with pytest.raises(CredentialsError, match=str(ca)):
            make_client_context(TlsPlan("broker.example", ca=ca))


def test_a_client_context_verifies_and_begins_at_tls_1_2() -> None:
    context = make_client_context(TlsPlan("broker.example"))
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2


def test_an_encrypted_key_needs_its_password_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    from iotwire.emulator.pki import Authority

    device = Authority(tmp_path).issue_device("device")
    key = serialization.load_pem_private_key(Path(device.key).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret-word"),
        )
    )
    make_client_context(TlsPlan("broker.example", certificate=X509(device.cert, locked, password="secret-word")))
    for password in (None, "another-word", "x" * 5000):
        with pytest.raises(CredentialsError) as caught:
            make_client_context(TlsPlan("broker.example", certificate=X509(device.cert, locked, password=password)))
        assert "another-word" not in str(caught.value)


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from iotwire.emulator.pki import Authority

    authority = Authority(tmp_path)
    one, other = authority.issue_device("one"), authority.issue_device("other")
    with pytest.raises(CredentialsError, match="does not belong"):
        make_client_context(TlsPlan("broker.example", certificate=X509(one.cert, other.key)))


def test_a_route_can_be_pickled_for_another_process() -> None:
    route = Endpoint(HOST).route("mqtt", DEVICE)
    assert pickle.loads(pickle.dumps(route)) == route


def test_the_public_names_are_all_there() -> None:
    for name in iotwire.__all__:
        assert getattr(iotwire, name) is not None
    assert set(iotwire.__all__) <= set(dir(iotwire))
    with pytest.raises(AttributeError, match="no attribute 'Clientele'"):
        iotwire.Clientele  # noqa: B018
