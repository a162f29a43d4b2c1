"""Routes that sign, and routes with a custom authorizer: what each attempt is made of, and that nothing of it shows."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from iotwire import Broker, CredentialsError, CustomAuth, Endpoint, RouteError, SigV4
from iotwire.route import Attempt
from iotwire.signing import HttpsSigner
from iotwire.sigv4 import Credentials, verify_request

HOST = "a3qjEXAMPLEffp-ats.iot.us-west-2.amazonaws.com"
NOW = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "a-session-token/with+signs=="
KEYS = Credentials("AKIDEXAMPLE", SECRET)
TEMPORARY = Credentials("ASIAEXAMPLE", SECRET, TOKEN, NOW + timedelta(hours=1))
SIGNATURE = "c2lnbmF0dXJl+/=="
CUSTOM = CustomAuth(
    "Some=Name", token_key_name="TokenKey", token="a token/1", token_signature="c2lnbmF0dXI=", username="device"
)


def prepared(protocol: str, auth: Any, **options: Any) -> Attempt:
    return Endpoint(HOST).route(protocol, auth, **options).prepare(NOW)


# ---- Signature Version 4


@pytest.mark.parametrize(
    ("expires", "signature"),
    [
        (None, "fd333605ebdb63e0b42ef6cecaa7d2f879efa1decca7189477987b379fb1811d"),
        (86400, "7ac8075e0c05d8babaf84611f2d87a337c590cb5ba2f4ca86d066c2764d3343a"),
    ],
)
def test_a_websocket_is_asked_for_with_the_golden_signature(expires: int | None, signature: str) -> None:
    attempt = prepared("wss", SigV4(KEYS, expires=expires))
    expected = (
        "/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20240102%2Fus-west-2%2F"
        "iotdevicegateway%2Faws4_request&X-Amz-Date=20240102T030405Z"
        + (f"&X-Amz-Expires={expires}" if expires else "")
        + f"&X-Amz-SignedHeaders=host&X-Amz-Signature={signature}"
    )
    assert attempt.websocket_path == expected
    assert attempt.authority == HOST
    assert attempt.tls is not None
    assert (attempt.tls.alpn, attempt.tls.server_name, attempt.tls.certificate) == ((), HOST, None)
    assert (attempt.username, attempt.password, attempt.headers) == (None, None, ())


def test_a_session_token_is_appended_to_the_address_and_not_signed() -> None:
    path = prepared("wss", SigV4(TEMPORARY)).websocket_path
    assert path is not None
    assert path.endswith("&X-Amz-Security-Token=a-session-token%2Fwith%2Bsigns%3D%3D")


def test_the_service_that_is_signed_for_can_be_another() -> None:
    path = prepared("wss", SigV4(KEYS, service="iotdata")).websocket_path
    assert path is not None
    assert "%2Fiotdata%2Faws4_request" in path


def test_each_attempt_is_signed_anew_with_what_the_provider_has_then() -> None:
    asked: list[datetime] = []

    class Provider:
        def get(self, now: datetime) -> Credentials:
            asked.append(now)
            return Credentials(f"AKID{len(asked)}", SECRET)

    route = Endpoint(HOST).route("wss", SigV4(Provider()))
    paths = [route.prepare(NOW + timedelta(minutes=minutes)).websocket_path for minutes in (0, 5)]
    assert asked == [NOW, NOW + timedelta(minutes=5)]
    assert ["AKID1%2F" in (paths[0] or ""), "AKID2%2F" in (paths[1] or "")] == [True, True]
    assert "20240102T030905Z" in (paths[1] or "")


def test_credentials_may_come_from_a_callable() -> None:
    assert "AKIDEXAMPLE" in (prepared("wss", SigV4(lambda: KEYS)).websocket_path or "")


def failing() -> Credentials:
    raise OSError(SECRET)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (failing, "who supplies them raised OSError"),
        (lambda: None, "gave a NoneType"),
        (lambda: Credentials("AKID", SECRET, expiration=NOW), "they expired at 2024-01-02 03:04:05 UTC"),
    ],
)
@pytest.mark.parametrize("protocol", ["wss", "https"])
def test_credentials_that_cannot_be_had_are_an_error_without_them(protocol: str, source: Any, message: str) -> None:
    with pytest.raises(CredentialsError, match=message) as caught:
        prepared(protocol, SigV4(source))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("wrong", [None, 7, "AKID", object()])
def test_what_are_no_credentials_is_refused(wrong: Any) -> None:
    with pytest.raises(CredentialsError, match=r"credentials: .* is expected, not"):
        SigV4(wrong)


@pytest.mark.parametrize(
    "options", [{"service": ""}, {"service": "a/b"}, {"service": 7}, {"expires": 0}, {"expires": 604_801}]
)
def test_options_of_a_signature_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(CredentialsError, match=next(iter(options))):
        SigV4(KEYS, **options)


@pytest.mark.parametrize("protocol", ["wss", "https"])
def test_a_signature_needs_a_region(protocol: str) -> None:
    with pytest.raises(RouteError, match="region: a signature needs"):
        Endpoint("iot.example.com").route(protocol, SigV4(KEYS))
    route = Endpoint("iot.example.com", region="eu-central-1").route(protocol, SigV4(KEYS))
    assert route.region == "eu-central-1"


def test_each_https_request_is_signed_with_its_body_and_the_session_token() -> None:
    signer = prepared("https", SigV4(TEMPORARY)).signer
    assert signer is not None
    url = f"https://{HOST}/topics/sensors%2Froom1?qos=1"
    headers = [(b"Content-Type", b"application/octet-stream"), (b"Content-Length", b"5")]
    added = signer.sign("POST", url, headers, b"hello", NOW)
    assert set(added) == {"Authorization", "X-Amz-Date", "X-Amz-Security-Token"}
    assert "/us-west-2/iotdata/aws4_request" in added["Authorization"]
    assert "x-amz-security-token" in added["Authorization"]
    sent = [("Host", HOST), *((name.decode(), value.decode()) for name, value in headers), *added.items()]
    verified = verify_request(
        "POST", url, sent, b"hello", lambda key: TEMPORARY, now=NOW, region="us-west-2", service="iotdata"
    )
    assert verified is not None


def test_a_connection_is_not_used_to_the_end_of_its_credentials() -> None:
    ends = NOW + timedelta(hours=1)
    signer = HttpsSigner(SigV4(TEMPORARY), "us-west-2", NOW)
    assert not signer.is_stale(ends - timedelta(minutes=6))
    assert signer.is_stale(ends - timedelta(minutes=4))
    late = HttpsSigner(SigV4(TEMPORARY), "us-west-2", ends - timedelta(minutes=2))
    assert not late.is_stale(ends - timedelta(minutes=1, seconds=1))
    assert late.is_stale(ends - timedelta(seconds=59))
    assert not HttpsSigner(SigV4(KEYS), "us-west-2", NOW).is_stale(NOW + timedelta(days=999))


# ---- custom authorizers

MQTT_FORM = (
    "x-amz-customauthorizer-name=Some%3DName&x-amz-customauthorizer-signature=c2lnbmF0dXI%3D&TokenKey=a%20token%2F1"
)
HEADERS = {
    "x-amz-customauthorizer-name": "Some=Name",
    "x-amz-customauthorizer-signature": "c2lnbmF0dXI=",
    "TokenKey": "a token/1",
}


def test_mqtt_with_a_custom_authorizer_has_it_in_connect_and_alpn_mqtt() -> None:
    attempt = prepared("mqtt", CUSTOM)
    assert (attempt.host, attempt.port, attempt.websocket_path) == (HOST, 443, None)
    assert attempt.tls is not None
    assert attempt.tls.alpn == ("mqtt",)
    assert attempt.username == f"device?{MQTT_FORM}"
    assert attempt.password is None


@pytest.mark.parametrize("place", [None, "headers"])
def test_a_websocket_with_a_custom_authorizer_has_it_in_headers(place: Any) -> None:
    attempt = prepared("wss", CUSTOM, place=place)
    assert attempt.websocket_path == "/mqtt"
    assert dict(attempt.headers) == HEADERS
    assert attempt.username == "device"
    assert attempt.tls is not None
    assert attempt.tls.alpn == ()


def test_a_websocket_with_a_custom_authorizer_can_have_it_in_the_query() -> None:
    attempt = prepared("wss", CUSTOM, place="query")
    assert attempt.websocket_path == f"/mqtt?{MQTT_FORM}"
    assert (attempt.headers, attempt.query) == ((), "")


def test_a_websocket_with_a_custom_authorizer_can_have_it_in_connect_with_an_alpn_name() -> None:
    attempt = prepared("wss", CUSTOM, place="connect", alpn="mqtt")
    assert (attempt.websocket_path, attempt.headers) == ("/mqtt", ())
    assert attempt.username == f"device?{MQTT_FORM}"
    assert attempt.tls is not None
    assert attempt.tls.alpn == ("mqtt",)


def test_https_with_a_custom_authorizer_has_it_in_headers_or_in_the_query() -> None:
    in_headers = prepared("https", CUSTOM)
    assert (dict(in_headers.headers), in_headers.query) == (HEADERS, "")
    in_query = prepared("https", CUSTOM, place="query")
    assert (in_query.headers, in_query.query) == ((), MQTT_FORM)
    assert in_headers.username is in_query.username is None


def test_a_password_goes_with_a_user_name_that_may_be_empty() -> None:
    for protocol in ("mqtt", "wss"):
        attempt = prepared(protocol, CustomAuth(password=b"\xff"))
        assert (attempt.username, attempt.password) == ("", b"\xff")
        attempt = prepared(protocol, CustomAuth())
        assert (attempt.username, attempt.password) == (None, None)


@pytest.mark.parametrize(
    ("protocol", "auth", "place"),
    [
        ("mqtt", CUSTOM, "headers"),
        ("https", CUSTOM, "connect"),
        ("wss", CUSTOM, "cookie"),
        ("wss", CUSTOM, 7),
        ("wss", SigV4(KEYS), "headers"),
    ],
)
def test_a_place_that_the_protocol_does_not_have_is_refused(protocol: str, auth: Any, place: Any) -> None:
    with pytest.raises(RouteError, match="place:"):
        Endpoint(HOST).route(protocol, auth, place=place)


def test_each_attempt_has_a_fresh_token() -> None:
    tokens = iter(["one", "two"])
    auth = CustomAuth(token_key_name="Key", token=lambda: next(tokens))
    route = Endpoint(HOST).route("wss", auth)
    assert [dict(route.prepare(NOW).headers) for _ in range(2)] == [{"Key": "one"}, {"Key": "two"}]


# ---- all of them

AUTHENTICATIONS = [("wss", SigV4(TEMPORARY)), ("https", SigV4(TEMPORARY)), ("mqtt", CUSTOM), ("wss", CUSTOM)]


@pytest.mark.parametrize(("protocol", "auth"), AUTHENTICATIONS)
def test_the_certificate_of_the_server_is_checked_against_the_ca_of_the_route(protocol: str, auth: Any) -> None:
    attempt = prepared(protocol, auth, ca="root.pem")
    assert attempt.tls is not None
    assert attempt.tls.ca == "root.pem"
    with pytest.raises(CredentialsError, match="ca: bytes"):
        prepared(protocol, auth, ca=b"neither PEM nor DER")


def test_a_connection_over_a_websocket_has_its_end_and_others_have_none() -> None:
    endpoint = Endpoint(HOST)
    assert endpoint.route("wss", SigV4(KEYS)).max_connection_s == 86_400
    assert endpoint.route("wss", CUSTOM).max_connection_s == 86_400
    assert endpoint.route("mqtt", CUSTOM).max_connection_s is None
    assert Broker("broker.example", 443, websocket_path="/").max_connection_s is None


@pytest.mark.parametrize("place", ["headers", "query", "connect"])
def test_no_secret_shows_in_a_repr(place: Any) -> None:
    endpoint = Endpoint(HOST)
    routes = [endpoint.route(protocol, auth) for protocol, auth in AUTHENTICATIONS]
    routes.append(endpoint.route("wss", CUSTOM, place=place))
    shown = "".join(repr((route, route.prepare(NOW), route.prepare(NOW).signer)) for route in routes)
    for secret in (SECRET, TOKEN, "a-session-token", "a token", "a%20token", "c2lnbmF0dXI", "Signature="):
        assert secret not in shown


def test_a_route_with_credentials_can_be_pickled_for_another_process() -> None:
    route = Endpoint(HOST).route("wss", SigV4(KEYS))
    again = pickle.loads(pickle.dumps(route))
    assert again.prepare(NOW).websocket_path == route.prepare(NOW).websocket_path


# ---- WebSockets of other brokers


@pytest.mark.parametrize(
    ("host", "port", "tls", "authority"),
    [
        ("broker.example", 8080, None, "broker.example:8080"),
        ("broker.example", 80, None, "broker.example"),
        ("broker.example", 443, True, "broker.example"),
        ("broker.example", 443, None, "broker.example:443"),
        ("::1", 8083, None, "[::1]:8083"),
        ("fe80::1%eth0", 80, None, "[fe80::1]"),
    ],
)
def test_the_host_of_a_request_has_the_port_where_it_is_not_the_usual_one(
    host: str, port: int, tls: bool | None, authority: str
) -> None:
    route = Broker(host, port, tls=tls, websocket_path="/mqtt?token=secret-word", websocket_headers={"X-Key": "secret"})
    attempt = route.prepare(NOW)
    assert (attempt.authority, attempt.websocket_path) == (authority, "/mqtt?token=secret-word")
    assert attempt.headers == (("X-Key", "secret"),)
    assert route.protocol == ("wss" if tls else "ws")
    assert "secret" not in repr(route) + repr(attempt)
    assert "websocket_path='/mqtt?***'" in repr(route)


@pytest.mark.parametrize("path", ["", "mqtt", "/a b", "/a\r\nHost: b", "/#a", "/ü", "http://h/", 7, b"/mqtt"])
def test_a_path_that_a_request_cannot_have_is_refused(path: Any) -> None:
    with pytest.raises(RouteError, match="websocket_path"):
        Broker("broker.example", 8080, websocket_path=path)


@pytest.mark.parametrize(
    "headers",
    [
        *({"a b": "c"}, {"": "c"}, {"a": "b\r\nc: d"}, {"a": " b"}, {"a": "ü"}, {"a": 7}, {7: "a"}),
        *({"Host": "a"}, {"Upgrade": "h2c"}, {"sec-websocket-protocol": "a"}, {"Transfer-Encoding": "chunked"}),
    ],
)
def test_headers_that_a_request_cannot_have_are_refused(headers: Any) -> None:
    with pytest.raises(RouteError, match="websocket_headers"):
        Broker("broker.example", 8080, websocket_path="/mqtt", websocket_headers=headers)
    with pytest.raises(RouteError, match="websocket_headers"):
        Broker("broker.example", 8080, websocket_headers={"a": "b"})
