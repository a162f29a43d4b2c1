"""Signature Version 4, the side that signs: canonical form, arguments, moments, keys, and what is never shown."""

from __future__ import annotations

import copy
import datetime as dt
import gc
import hashlib
import hmac
import math
import pickle
import random
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire import _sigv4
from iotwire.errors import CredentialsError, EncodeError, IotwireError
from iotwire.sigv4 import (
    UNSIGNED_PAYLOAD,
    Credentials,
    Signer,
    canonical_request,
    presign_mqtt_url,
    string_to_sign,
    verify_request,
)
from racing import run_together
from support import IS_EMULATED

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//token+/=="
NOW = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
PLAIN = Credentials("AKIDEXAMPLE", SECRET)
TEMPORARY = Credentials("ASIAEXAMPLE", SECRET, TOKEN)
URL = "https://iot.example/topics/a%2Fb?qos=1"


def signature_by_hand(text: str, secret: str, day: str, region: str, service: str) -> str:
    key = b"AWS4" + secret.encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


# ---- the canonical form


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("", "/"),
        ("/", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b/"),
        ("//", "/"),
        ("//a///b//", "/a/b/"),
        ("/.", "/"),
        ("/./a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/b/..", "/a"),
        ("/a/b/../", "/a/"),
        ("/../../a", "/a"),
        ("/a/../../../b/c", "/b/c"),
        ("/...", "/..."),
        ("/.a/..b/c.", "/.a/..b/c."),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%2520b"),
        ("/ü", "/%C3%BC"),
        ("/-._~", "/-._~"),
        ("/!$&'()*+,;=:@", "/%21%24%26%27%28%29%2A%2B%2C%3B%3D%3A%40"),
        ("/100%", "/100%25"),
    ],
)
def test_a_path_is_normalized_and_encoded_once_more(path: str, canonical: str) -> None:
    assert canonical_request("GET", f"https://iot.example{path}?").split("\n")[1] == canonical


@pytest.mark.parametrize("path", ["/a%20b", "//a/../b/./", "/a+b!$&'()*,;=:@", "/%2F"])
def test_a_path_stays_as_it_is_where_the_service_wants_that(path: str) -> None:
    made = canonical_request("GET", f"https://iot.example{path}", double_encode_path=False, normalize_path=False)
    assert made.split("\n")[1] == path


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        ("a", "a"),
        ("", ""),
        ("   ", ""),
        (" a ", "a"),
        ("a  b   c", "a b c"),
        ("\ta\t\tb\t", "a b"),
        ('"a   b"', '"a b"'),
        ("a\n b", "a b"),
        ("a\r\n\tb", "a b"),
        ("a \r\n  b", "a b"),
        ("ü  ß", "ü ß"),
        ("a,b, c", "a,b, c"),
    ],
)
def test_white_space_in_a_header_is_collapsed(value: str, canonical: str) -> None:
    for given_value in (value, value.encode()):
        made = canonical_request("GET", "https://iot.example/", [("Foo", given_value)])
        assert made.split("\n")[3] == f"foo:{canonical}"


def test_headers_are_sorted_by_their_small_letters_and_repeated_ones_keep_their_order() -> None:
    headers = [("b", "1"), ("A", "2"), ("B", "0"), ("a-b", "3"), ("a", " 1  2 "), ("Z", ""), ("X_y", "5"), ("b", "")]
    made = canonical_request("GET", "https://iot.example:8443/", headers)
    assert made.split("\n")[3:-1] == [
        "a:2,1 2", "a-b:3", "b:1,0,", "host:iot.example:8443", "x_y:5", "z:", "", "a;a-b;b;host;x_y;z",
    ]  # fmt: skip


def test_more_headers_and_parameters_than_there_is_room_for_at_first() -> None:
    chance = random.Random(7)
    names = [f"n{number:03}" for number in range(200)]
    shuffled = chance.sample(names, len(names))
    query = "&".join(f"{name}={number}" for number, name in enumerate(shuffled))
    made = canonical_request("GET", f"https://iot.example/?{query}", [(name, f" {name}  x") for name in shuffled])
    lines = made.split("\n")
    assert lines[2] == "&".join(f"{name}={shuffled.index(name)}" for name in names)
    assert lines[3:-3] == ["host:iot.example", *(f"{name}:{name} x" for name in names)]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://iot.example/", "iot.example"),
        ("https://iot.example", "iot.example"),
        ("https://iot.example?a", "iot.example"),
        ("https://iot.example:443/", "iot.example"),
        ("wss://iot.example:443/", "iot.example"),
        ("https://iot.example:80/", "iot.example:80"),
        ("http://iot.example:80/", "iot.example"),
        ("ws://iot.example:80/", "iot.example"),
        ("HTTPS://Iot.Example:443/", "Iot.Example"),
        ("https://127.0.0.1:8443/", "127.0.0.1:8443"),
        ("https://[::1]/", "[::1]"),
        ("https://[::1]:443/", "[::1]"),
        ("https://[2001:db8::192.0.2.1]:8443/", "[2001:db8::192.0.2.1]:8443"),
    ],
)
def test_the_host_is_signed_with_a_port_that_is_not_the_schemes_own(url: str, host: str) -> None:
    assert f"\nhost:{host}\n" in canonical_request("GET", url)


def test_a_host_header_goes_before_the_host_of_the_url() -> None:
    assert "\nhost:other\n" in canonical_request("GET", "https://iot.example/", {"HOST": "other"})
    assert "\nhost:other\n" in canonical_request("GET", "/path?a=b", {"Host": "other"})


def test_what_proxies_and_clients_change_is_not_signed() -> None:
    headers = {"User-Agent": "x", "Connection": "close", "X-Amzn-Trace-Id": "1", "Expect": "2", "Authorization": "3"}
    assert canonical_request("GET", "https://iot.example/", headers).split("\n")[-2] == "host"
    made = canonical_request("GET", "https://iot.example/", headers, unsigned_headers=["Expect"])
    assert made.split("\n")[-2] == "authorization;connection;host;user-agent;x-amzn-trace-id"


def test_the_stages_make_the_signature() -> None:
    headers = {"Content-Type": "text/plain", "X-Amz-Date": "20240102T030405Z", "X-Amz-Security-Token": TOKEN}
    canonical = canonical_request("post", URL, headers, b"hello")
    assert canonical == "\n".join(
        [
            "POST",
            "/topics/a%252Fb",
            "qos=1",
            "content-type:text/plain",
            "host:iot.example",
            "x-amz-date:20240102T030405Z",
            f"x-amz-security-token:{TOKEN}",
            "",
            "content-type;host;x-amz-date;x-amz-security-token",
            hashlib.sha256(b"hello").hexdigest(),
        ]
    )
    text = string_to_sign(canonical, NOW, "us-west-2", "iotdata")
    assert text == "\n".join(
        [
            "AWS4-HMAC-SHA256",
            "20240102T030405Z",
            "20240102/us-west-2/iotdata/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    signature = signature_by_hand(text, SECRET, "20240102", "us-west-2", "iotdata")
    added = Signer("us-west-2", "iotdata").sign_headers(
        "post", URL, {"Content-Type": "text/plain"}, b"hello", TEMPORARY, now=NOW
    )
    assert added == {
        "X-Amz-Date": "20240102T030405Z",
        "X-Amz-Security-Token": TOKEN,
        "Authorization": "AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE/20240102/us-west-2/iotdata/aws4_request, "
        f"SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature={signature}",
    }


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=300),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="/,"), min_size=1, max_size=128),
)
def test_any_secret_and_any_scope_make_the_key_that_the_rules_say(secret: str, part: str) -> None:
    text = string_to_sign("x", NOW, part, part)
    signature = signature_by_hand(text, secret, "20240102", part, part)
    assert _sigv4.is_signature(signature, Credentials("A", secret), "x", NOW, part, part)


# ---- signing


def test_a_request_that_was_signed_before_is_signed_anew() -> None:
    signer = Signer("us-west-2", "iotdata")
    headers = {"Host": "iot.example"}
    first = headers | signer.sign_headers("GET", URL, headers, b"", TEMPORARY, now=NOW)
    assert first | signer.sign_headers("GET", URL, first, b"", TEMPORARY, now=NOW) == first


def test_a_session_token_may_be_left_unsigned() -> None:
    signer = Signer("us-west-2", "iotdata")
    added = signer.sign_headers("GET", URL, {}, None, TEMPORARY, now=NOW, sign_session_token=False)
    assert added["X-Amz-Security-Token"] == TOKEN
    assert "SignedHeaders=host;x-amz-date, " in added["Authorization"]
    signed = signer.presign_url("GET", URL, TEMPORARY, now=NOW)
    assert "&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2Ftoken%2B%2F%3D%3D&X-Amz-Signature=" in signed
    unsigned = signer.presign_url("GET", URL, TEMPORARY, now=NOW, sign_session_token=False)
    assert unsigned.endswith("&X-Amz-Security-Token=IQoJb3JpZ2luX2VjEXAMPLE%2F%2Ftoken%2B%2F%3D%3D")


def test_a_payload_that_is_not_at_hand_is_signed_by_its_hash_or_not_at_all() -> None:
    signer = Signer("us-west-2", "iotdata")
    body = b"hello"
    digest = hashlib.sha256(body).hexdigest()
    by_hash = signer.sign_headers("PUT", URL, {}, None, PLAIN, now=NOW, payload_hash=digest)
    assert by_hash["X-Amz-Content-SHA256"] == digest
    by_body = Signer("us-west-2", "iotdata", content_sha256_header=True).sign_headers(
        "PUT", URL, {}, body, PLAIN, now=NOW
    )
    assert by_hash == by_body
    by_header = signer.sign_headers("PUT", URL, {"x-amz-content-sha256": digest}, b"ignored", PLAIN, now=NOW)
    assert by_header["Authorization"] == by_body["Authorization"]
    unsigned = signer.sign_headers("PUT", URL, {}, body, PLAIN, now=NOW, payload_hash=UNSIGNED_PAYLOAD)
    assert unsigned["X-Amz-Content-SHA256"] == "UNSIGNED-PAYLOAD"
    with pytest.raises(EncodeError, match="payload_hash"):
        signer.sign_headers("PUT", URL, {"x-amz-content-sha256": "0"}, b"", PLAIN, now=NOW, payload_hash=digest)


@pytest.mark.parametrize("body", [b"abc" * 30_000, bytearray(b"abc"), memoryview(b"abc"), None, b""])
def test_a_body_is_any_buffer(body: Any) -> None:
    added = Signer("us-east-1", "s3").sign_headers("PUT", URL, {}, body, PLAIN, now=NOW)
    assert added["X-Amz-Content-SHA256"] == hashlib.sha256(body or b"").hexdigest()


@pytest.mark.parametrize(
    ("url", "begins"),
    [
        ("https://iot.example", "https://iot.example?X-Amz-Algorithm="),
        ("https://iot.example/", "https://iot.example/?X-Amz-Algorithm="),
        ("https://iot.example/?", "https://iot.example/?X-Amz-Algorithm="),
        ("https://iot.example/?a", "https://iot.example/?a&X-Amz-Algorithm="),
        ("https://iot.example/?a&", "https://iot.example/?a&&X-Amz-Algorithm="),
        ("https://iot.example/ü?ü=ü", "https://iot.example/ü?ü=ü&X-Amz-Algorithm="),
    ],
)
def test_a_signature_is_appended_to_the_url_as_it_stands(url: str, begins: str) -> None:
    signed = Signer("us-west-2", "iotdata").presign_url("GET", url, PLAIN, now=NOW)
    assert signed.startswith(begins)
    assert verify_request("GET", signed, {}, b"", lambda _: PLAIN, now=NOW).presigned


@pytest.mark.parametrize(
    ("expires", "digits"), [(1, "1"), (10, "10"), (300, "300"), (3600, "3600"), (86400, "86400"), (604800, "604800")]
)
def test_every_length_of_an_expiry(expires: int, digits: str) -> None:
    url = Signer("us-west-2", "iotdata").presign_url("GET", URL, PLAIN, now=NOW, expires=expires)
    assert f"&X-Amz-Expires={digits}&" in url
    assert verify_request("GET", url, {}, b"", lambda _: PLAIN, now=NOW).expires_s == expires


# ---- AWS IoT's URL


@pytest.mark.parametrize(
    ("host", "port", "begins", "signed_host"),
    [
        ("iot.example", 443, "wss://iot.example/mqtt?", "iot.example"),
        ("iot.example", 8443, "wss://iot.example:8443/mqtt?", "iot.example:8443"),
        ("::1", 443, "wss://[::1]/mqtt?", "[::1]"),
        ("[::1]", 44300, "wss://[::1]:44300/mqtt?", "[::1]:44300"),
        ("127.0.0.1", 1, "wss://127.0.0.1:1/mqtt?", "127.0.0.1:1"),
    ],
)
def test_an_mqtt_url_names_its_port_where_it_is_not_443(host: str, port: int, begins: str, signed_host: str) -> None:
    url = presign_mqtt_url(host, "us-west-2", PLAIN, now=NOW, port=port)
    assert url.startswith(begins)
    verified = verify_request("GET", url, {"Host": signed_host}, b"", lambda _: PLAIN, now=NOW)
    assert (verified.service, verified.signed_headers) == ("iotdevicegateway", ("host",))


def test_an_mqtt_url_is_what_the_signer_presigns() -> None:
    url = presign_mqtt_url(
        "iot.example", "us-west-2", TEMPORARY, now=NOW, path="/a/../b%20c", service="iotdata", expires=60
    )
    signer = Signer("us-west-2", "iotdata")
    assert url == signer.presign_url(
        "GET", "wss://iot.example/a/../b%20c", TEMPORARY, now=NOW, expires=60, sign_session_token=False
    )


def test_without_now_an_mqtt_url_is_of_now() -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    url = presign_mqtt_url("iot.example", "us-west-2", PLAIN)
    verified = verify_request("GET", url, {"Host": "iot.example"}, b"", lambda _: PLAIN, now=dt.datetime.now(dt.UTC))
    assert before <= verified.signed_at <= dt.datetime.now(dt.UTC)


# ---- moments


def stamp_of(now: Any) -> str:
    return string_to_sign("x", now, "r", "s").split("\n")[1]


def test_every_day_of_four_centuries_is_written_right_through_any_time_zone() -> None:
    # timezone.utc is read directly, any other zone by its offset: both against strftime.
    zone = dt.timezone(dt.timedelta(hours=5, minutes=45))
    start = dt.datetime(1899, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC)
    for days in range(0, 146_097 + 800, 17 if IS_EMULATED else 1):
        moment = start + dt.timedelta(days=days, seconds=days % 86_400)
        stamp = f"{moment:%Y%m%dT%H%M%SZ}"
        assert stamp_of(moment) == stamp
        assert stamp_of(moment.astimezone(zone)) == stamp


@pytest.mark.parametrize(
    ("now", "stamp"),
    [
        (dt.datetime(1, 1, 1, tzinfo=dt.UTC), "00010101T000000Z"),
        (dt.datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=dt.UTC), "99991231T235959Z"),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 500_000, tzinfo=dt.timezone(dt.timedelta(0), "Z")), "19691231T235959Z"),
        (dt.datetime(2024, 3, 1, 0, 30, tzinfo=dt.timezone(dt.timedelta(hours=1))), "20240229T233000Z"),
        (dt.datetime(2023, 12, 31, 23, 30, tzinfo=dt.timezone(dt.timedelta(hours=-1))), "20240101T003000Z"),
        (dt.datetime(9999, 1, 1, 0, 0, 0, 999_999, tzinfo=dt.timezone(dt.timedelta(hours=2))), "99981231T220000Z"),
    ],
)
def test_moments_at_the_edges(now: dt.datetime, stamp: str) -> None:
    assert stamp_of(now) == stamp


class NoOffset(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> None:
        return None


class LikeDatetime(dt.datetime):
    """As libraries that freeze time make one."""


class OutOfRange(dt.datetime):
    """One whose time is no number of seconds that an integer could hold."""

    def timestamp(self) -> float:
        return {1: math.nan, 2: math.inf, 3: -math.inf, 4: 1e300}[self.day]


def test_a_subclass_of_datetime_is_a_datetime() -> None:
    assert stamp_of(LikeDatetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)) == "20240102T030405Z"


@pytest.mark.parametrize(
    ("now", "complaint"),
    [
        (dt.datetime(2024, 1, 2), "no time zone"),  # noqa: DTZ001
        (dt.datetime(2024, 1, 2, tzinfo=NoOffset()), "no time zone"),
        (dt.date(2024, 1, 2), "not date"),
        (1_700_000_000.0, "not float"),
        ("20240102T030405Z", "not str"),
        (dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1))), "years 1 to 9999"),
        (dt.datetime(9999, 12, 31, 23, tzinfo=dt.timezone(dt.timedelta(hours=-1))), "years 1 to 9999"),
        *((OutOfRange(2024, 1, day, tzinfo=dt.UTC), "years 1 to 9999") for day in range(1, 5)),
    ],
)
def test_what_is_no_aware_datetime_is_refused(now: Any, complaint: str) -> None:
    signer = Signer("us-west-2", "iotdata")
    for attempt in (
        lambda: stamp_of(now),
        lambda: signer.sign_headers("GET", URL, {}, b"", PLAIN, now=now),
        lambda: signer.presign_url("GET", URL, PLAIN, now=now),
        lambda: presign_mqtt_url("iot.example", "us-west-2", PLAIN, now=now),
    ):
        with pytest.raises(EncodeError, match=complaint) as caught:
            attempt()
        assert caught.value.field == "now"


def test_only_the_mqtt_url_has_a_clock() -> None:
    with pytest.raises(EncodeError, match="now: must be an aware datetime, not NoneType"):
        Signer("us-west-2", "iotdata").sign_headers("GET", URL, {}, b"", PLAIN, now=None)  # type: ignore[arg-type]


# ---- arguments


SIGNER = Signer("us-west-2", "iotdata")


def headers_of(headers: Any) -> object:
    return SIGNER.sign_headers("GET", URL, headers, b"", PLAIN, now=NOW)


def signed(url: Any = URL, method: Any = "GET", body: Any = b"", credentials: Any = PLAIN, **more: Any) -> object:
    return SIGNER.sign_headers(method, url, {}, body, credentials, now=NOW, **more)


def mqtt(host: Any = "iot.example", region: Any = "us-west-2", **more: Any) -> object:
    return presign_mqtt_url(host, region, PLAIN, now=NOW, **more)


REFUSED: list[tuple[str, str, Callable[[], object]]] = [
    ("url", "must begin with https://", lambda: signed("iot.example/")),
    ("url", "must begin with https://", lambda: signed("ftp://iot.example/")),
    ("url", "must begin with https://", lambda: signed("")),
    ("url", "must name a host", lambda: signed("/path")),
    ("url", "must begin with https://", lambda: SIGNER.presign_url("GET", "/path", PLAIN, now=NOW)),
    ("url", "has no host", lambda: signed("https:///path")),
    ("url", "has no host", lambda: signed("https://:443/path")),
    ("url", "user name", lambda: signed("https://user:secret@iot.example/")),
    ("url", "port", lambda: signed("https://iot.example:0/")),
    ("url", "port", lambda: signed("https://iot.example:65536/")),
    ("url", "port", lambda: signed("https://iot.example:/")),
    ("url", "port", lambda: signed("https://iot.example:+1/")),
    ("url", "IPv6", lambda: signed("https://[::1/")),
    ("url", "IPv6", lambda: signed("https://[iot.example]/")),
    ("url", "IPv6", lambda: signed("https://[fe80::1%25eth0]/")),
    ("url", "host", lambda: signed("https://[::1]x/")),
    ("url", "character", lambda: signed("https://iöt.example/")),
    ("url", "character", lambda: signed("https://iot.example /")),
    ("url", "fragment", lambda: signed("https://iot.example/#a")),
    ("url", "control character", lambda: signed("https://iot.example/\r\nHost: evil")),
    ("url", "control character", lambda: signed("https://iot.example/\0")),
    ("url", "control character", lambda: signed("https://iot.example/\x7f")),
    ("url", "surrogate", lambda: signed("https://iot.example/\ud800")),
    ("url", "131072 bytes", lambda: signed("https://iot.example/" + "a" * 131_072)),
    ("url", "must be str", lambda: signed(b"https://iot.example/")),
    ("url", "signed already", lambda: SIGNER.presign_url("GET", f"{URL}&X-Amz-Date=x", PLAIN, now=NOW)),
    ("url", "signed already", lambda: SIGNER.presign_url("GET", f"{URL}&X-Amz%2DSignature=x", PLAIN, now=NOW)),
    ("method", "HTTP method", lambda: signed(method="")),
    ("method", "HTTP method", lambda: signed(method="GET /")),
    ("method", "HTTP method", lambda: signed(method="GET\n")),
    ("method", "131072 bytes", lambda: signed(method="A" * 131_073)),
    ("method", "must be str", lambda: signed(method=None)),
    ("body", "must be bytes-like, not str", lambda: signed(body="text")),
    ("body", "C-contiguous", lambda: signed(body=memoryview(b"abcd")[::2])),
    ("credentials", "must be Credentials, not tuple", lambda: signed(credentials=("AKID", SECRET))),
    ("credentials", "must be Credentials, not NoneType", lambda: signed(credentials=None)),
    ("payload_hash", "hexadecimal", lambda: signed(payload_hash="")),
    ("payload_hash", "hexadecimal", lambda: signed(payload_hash="a\nb")),
    ("payload_hash", "hexadecimal", lambda: signed(payload_hash="a" * 129)),
    ("payload_hash", "must be str", lambda: signed(payload_hash=b"x")),
    ("headers", "name", lambda: headers_of({"": "x"})),
    ("headers", "name", lambda: headers_of({"a b": "x"})),
    ("headers", "name", lambda: headers_of({"a:": "x"})),
    ("headers", "name", lambda: headers_of({"ä": "x"})),
    ("headers", "line break", lambda: headers_of({"a": "x\r\nEvil: y"})),
    ("headers", "line break", lambda: headers_of({"a": "x\nEvil: y"})),
    ("headers", "line break", lambda: headers_of({"a": "x\r y"})),
    ("headers", "line break", lambda: headers_of({"a": "x\n"})),
    ("headers", "line break", lambda: headers_of({"a": "x\r\n"})),
    ("headers", "control character", lambda: headers_of({"a": "x\0"})),
    ("headers", "control character", lambda: headers_of({"a": "\x0bx"})),
    ("headers", "control character", lambda: headers_of({"a": b"x\x7f"})),
    ("headers", "must be of str or bytes, not int", lambda: headers_of({"Content-Length": 5})),
    ("headers", "must be of str or bytes, not int", lambda: headers_of({5: "x"})),
    ("headers", "must be of str or bytes, not NoneType", lambda: headers_of({"a": None})),
    ("headers", "mapping", lambda: headers_of(5)),
    ("headers", "mapping", lambda: headers_of("Host: x")),
    ("headers", "pairs", lambda: headers_of(["ab"])),
    ("headers", "pairs", lambda: headers_of([("a",)])),
    ("headers", "pairs", lambda: headers_of([5])),
    ("headers", "white space", lambda: headers_of({"X-Amz-Content-SHA256": "a\n b"})),
    ("headers", "without a value", lambda: headers_of({"X-Amz-Content-SHA256": ""})),
    ("headers", "surrogate", lambda: headers_of({"a": "\udfff"})),
    ("headers", "131072 bytes", lambda: headers_of({"a": "x" * 131_073})),
    ("headers", "names 1024", lambda: headers_of({"a" * 1_025: "x"})),
    ("headers", "thousand", lambda: headers_of([("a", "x")] * 2_000)),
    ("region", "visible ASCII", lambda: Signer("", "iotdata")),
    ("region", "visible ASCII", lambda: Signer("us/west", "iotdata")),
    ("region", "visible ASCII", lambda: Signer("r" * 129, "iotdata")),
    ("region", "must be str", lambda: Signer(None, "iotdata")),  # type: ignore[arg-type]
    ("service", "visible ASCII", lambda: Signer("us-west-2", "iot data")),
    ("service", "visible ASCII", lambda: Signer("us-west-2", "iöt")),
    ("unsigned_headers", "iterable of str", lambda: Signer("r", "s", unsigned_headers="host")),
    ("unsigned_headers", "iterable of str", lambda: Signer("r", "s", unsigned_headers=5)),  # type: ignore[arg-type]
    ("unsigned_headers", "must be str", lambda: Signer("r", "s", unsigned_headers=[5])),  # type: ignore[list-item]
    ("expires", "1 to 604800", lambda: mqtt(expires=0)),
    ("expires", "1 to 604800", lambda: mqtt(expires=604_801)),
    ("expires", "must be int", lambda: mqtt(expires="60")),
    ("host", "has no host", lambda: mqtt("")),
    ("host", "host", lambda: mqtt("iot.example/evil")),
    ("host", "host", lambda: mqtt("user@iot.example")),
    ("host", "IPv6", lambda: mqtt("iot.example:8443")),
    ("host", "port", lambda: mqtt("::1]:8443")),
    ("host", "without a port", lambda: mqtt("[::1]:8443")),
    ("host", "without a port", lambda: mqtt("[::1]:443")),
    ("host", "host", lambda: mqtt("iot.example?x")),
    ("host", "131072 bytes", lambda: mqtt("a" * 131_073)),
    ("host", "must be str", lambda: mqtt(None)),
    ("region", "visible ASCII", lambda: mqtt(region="a/b")),
    ("port", "1 to 65535", lambda: mqtt(port=0)),
    ("port", "1 to 65535", lambda: mqtt(port=65_536)),
    ("path", "must begin with '/'", lambda: mqtt(path="mqtt")),
    ("path", "must begin with '/'", lambda: mqtt(path="/mqtt?a=b")),
    ("path", "must begin with '/'", lambda: mqtt(path="")),
    ("path", "131072 bytes", lambda: mqtt(path="/" + "a" * 131_072)),
    ("path", "control character", lambda: mqtt(path="/mqtt\n")),
    ("path", "fragment", lambda: mqtt(path="/mqtt#")),
]


@pytest.mark.parametrize(
    ("field", "complaint", "attempt"), REFUSED, ids=[f"{row[0]}-{number}" for number, row in enumerate(REFUSED)]
)
def test_a_wrong_argument_is_named(field: str, complaint: str, attempt: Callable[[], object]) -> None:
    with pytest.raises(EncodeError, match=complaint) as caught:
        attempt()
    assert caught.value.field == field


@given(st.data())
def test_nothing_but_our_errors_comes_of_any_text(data: st.DataObject) -> None:
    text = st.text(max_size=30)
    try:
        SIGNER.sign_headers(
            data.draw(text), data.draw(text.map(lambda more: "https://iot.example" + more)),
            data.draw(st.lists(st.tuples(text, text), max_size=3)), b"", PLAIN, now=NOW,
        )  # fmt: skip
        SIGNER.presign_url("GET", data.draw(text), PLAIN, now=NOW)
    except IotwireError:
        pass


# ---- credentials


def test_credentials_are_values() -> None:
    expiration = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    one = Credentials("AKID", "secret", "token", expiration)
    assert one == Credentials(
        access_key_id="AKID", secret_access_key="secret", session_token="token", expiration=expiration
    )
    assert hash(one) == hash(copy.deepcopy(one))
    assert pickle.loads(pickle.dumps(one)) == one
    assert (one.access_key_id, one.secret_access_key, one.session_token, one.expiration) == (
        "AKID", "secret", "token", expiration,
    )  # fmt: skip
    for other in (
        Credentials("AKIE", "secret", "token", expiration),
        Credentials("AKID", "secres", "token", expiration),
        Credentials("AKID", "secret", None, expiration),
        Credentials("AKID", "secret", "token"),
        ("AKID", "secret", "token", expiration),
    ):
        assert one != other
    match one:
        case Credentials(key_id, _, token):
            assert (key_id, token) == ("AKID", "token")
    with pytest.raises(AttributeError):
        one.secret_access_key = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("", "secret"), "access_key_id"),
        (("AK/ID", "secret"), "access_key_id"),
        (("AK,ID", "secret"), "access_key_id"),
        (("AK ID", "secret"), "access_key_id"),
        (("A" * 129, "secret"), "access_key_id"),
        ((None, "secret"), "access_key_id"),
        ((b"AKID", "secret"), "access_key_id"),
        (("AKID", ""), "secret_access_key"),
        (("AKID", "hidden\n"), "secret_access_key"),
        (("AKID", " hidden"), "secret_access_key"),
        (("AKID", "hiddeü"), "secret_access_key"),
        (("AKID", "hidden\ud800"), "secret_access_key"),
        (("AKID", "h" * 1025), "secret_access_key"),
        (("AKID", None), "secret_access_key"),
        (("AKID", "secret", ""), "session_token"),
        (("AKID", "secret", "hidden hidden"), "session_token"),
        (("AKID", "secret", b"hidden"), "session_token"),
        (("AKID", "secret", "h" * 32_769), "session_token"),
        (("AKID", "secret", None, dt.datetime(2030, 1, 1)), "expiration"),  # noqa: DTZ001
        (("AKID", "secret", None, "2030"), "expiration"),
        (("AKID", "secret", None, dt.datetime(2030, 1, 1, tzinfo=NoOffset())), "expiration"),
    ],
)
def test_credentials_that_cannot_be_are_refused_without_being_shown(arguments: tuple[Any, ...], field: str) -> None:
    with pytest.raises(CredentialsError, match=f"^{field}: must be") as caught:
        Credentials(*arguments)
    told = "".join(traceback.format_exception(caught.value, chain=True)).partition("CredentialsError")[2]
    assert "hidde" not in told
    assert caught.value.__context__ is None


def test_neither_secrets_nor_tokens_are_in_a_repr_or_an_exception() -> None:
    for value in (TEMPORARY, Signer("us-west-2", "iotdata"), [TEMPORARY]):
        assert SECRET not in repr(value)
        assert TOKEN not in repr(value)
    assert repr(TEMPORARY) == "Credentials(access_key_id='ASIAEXAMPLE', secret_access_key=***, session_token=***)"
    told = []
    for _, _, attempt in REFUSED:
        try:
            attempt()
        except EncodeError as error:
            told.append(f"{error!r} {error.__dict__} {error.__context__!r}")
    assert len(told) == len(REFUSED)
    assert not any(SECRET in text or TOKEN in text or "secret" in text for text in told)


# ---- keys, threads and memory


def test_a_signer_goes_from_one_key_to_another_and_back() -> None:
    signer = Signer("us-west-2", "iotdata")
    credentials = [Credentials(f"AKID{number}", f"{SECRET}{number}") for number in range(12)]
    days = [NOW + dt.timedelta(days=number) for number in range(3)]
    pairs = [(who, day) for who in credentials for day in days]
    expected = {
        pair: Signer("us-west-2", "iotdata").sign_headers("GET", URL, {}, b"", pair[0], now=pair[1]) for pair in pairs
    }
    chance = random.Random(8)
    for pair in chance.choices(pairs, k=300):
        assert signer.sign_headers("GET", URL, {}, b"", pair[0], now=pair[1]) == expected[pair]


def test_the_mqtt_url_goes_from_one_region_to_another_and_back() -> None:
    expected = {
        (region, service): Signer(region, service).presign_url(
            "GET", "wss://iot.example/mqtt", PLAIN, now=NOW, expires=86400, sign_session_token=False
        )
        for region in (f"region-{number}" for number in range(9))
        for service in ("iotdata", "iotdevicegateway")
    }
    chance = random.Random(9)
    for region, service in chance.choices(list(expected), k=300):
        assert mqtt(region=region, service=service) == expected[region, service]


def test_threads_share_a_signer(frequent_thread_switches: None) -> None:
    signer = Signer("us-west-2", "iotdata")
    cases = [
        (Credentials(f"AKID{number}", f"{SECRET}{number}", TOKEN if number % 2 else None), NOW + dt.timedelta(days=day))
        for number in range(6)
        for day in range(3)
    ]
    headers = {"Host": "iot.example", "b": "2", "a": "1"}

    def work_of(shared: Signer, who: Credentials, now: dt.datetime) -> tuple[object, ...]:
        added = shared.sign_headers("GET", URL, headers, b"x" * 40_000, who, now=now)
        url = presign_mqtt_url("iot.example", "us-west-2", who, now=now)
        return added, url

    expected = [work_of(Signer("us-west-2", "iotdata"), who, now) for who, now in cases]

    def work(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(200):
            number = chance.randrange(len(cases))
            assert work_of(signer, *cases[number]) == expected[number]
            added = {
                "Host": "iot.example",
                **headers,
                **signer.sign_headers("GET", URL, headers, b"", cases[number][0], now=NOW),
            }
            verify_request("GET", URL, added, b"", lambda _, who=cases[number][0]: who, now=NOW)  # type: ignore[misc]

    run_together(*(lambda seed=seed: work(seed) for seed in range(4)))


def test_signing_leaves_no_memory_behind() -> None:
    tracemalloc = pytest.importorskip("tracemalloc")
    many = [(f"n{number}", "v") for number in range(40)]
    query = "&".join(f"{name}=x" for name, _ in many)

    def work() -> None:
        for number in range(60):
            who = Credentials(f"AKID{number}", f"{SECRET}{number}", TOKEN)
            SIGNER.sign_headers("GET", f"{URL}&{query}", many, b"x" * 100, who, now=NOW)
            presign_mqtt_url("iot.example", f"region-{number}", who, now=NOW)
            for _, _, attempt in REFUSED[::7]:
                with pytest.raises(EncodeError):
                    attempt()

    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(3):
            work()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
