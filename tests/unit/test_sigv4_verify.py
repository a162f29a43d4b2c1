"""Signature Version 4, the side that verifies: what is signed cannot be changed, and what is wrong is named."""

from __future__ import annotations

import datetime as dt
import pickle
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotwire.errors import EncodeError, SignatureError
from iotwire.sigv4 import UNSIGNED_PAYLOAD, Credentials, Signer, VerifiedRequest, presign_mqtt_url, verify_request

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//token+/=="
NOW = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
PLAIN = Credentials("AKIDEXAMPLE", SECRET)
TEMPORARY = Credentials("ASIAEXAMPLE", SECRET, TOKEN)
KNOWN = {who.access_key_id: who for who in (PLAIN, TEMPORARY)}
SIGNER = Signer("us-west-2", "iotdata")
CHECKS = {
    "missing", "malformed", "algorithm", "scope", "clock", "expired", "access_key", "session_token", "signed_headers",
    "payload", "signature",
}  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request as a server sees it."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str:
        (value,) = [value for other, value in self.headers if other == name]
        return value

    def with_header(self, name: str, value: str | None) -> Request:
        """The header replaced, or left out."""
        kept = tuple((other, old if other != name else value) for other, old in self.headers)
        return replace(self, headers=tuple((other, old) for other, old in kept if old is not None))

    def verify(self, now: dt.datetime = NOW, **options: Any) -> VerifiedRequest:
        options = {"region": "us-west-2", "service": ("iotdata", "iotdevicegateway")} | options
        credentials_for = options.pop("credentials_for", KNOWN.get)
        return verify_request(self.method, self.target, self.headers, self.body, credentials_for, now=now, **options)

    def refused(self, now: dt.datetime = NOW, **options: Any) -> str:
        """Which check refuses it."""
        with pytest.raises(SignatureError) as caught:
            self.verify(now, **options)
        assert caught.value.check in CHECKS
        assert SECRET not in f"{caught.value!r}"
        assert TOKEN not in f"{caught.value!r}"
        return caught.value.check


def signed_publish(who: Credentials = PLAIN, **options: Any) -> Request:
    headers = {"Host": "iot.example", "Content-Type": "application/json", "X-Amz-Mqtt5-User-Properties": "W10="}
    target, body = "/topics/a%2Fb?qos=1&retain=false", b'{"on":1}'
    added = SIGNER.sign_headers("POST", f"https://iot.example{target}", headers, body, who, now=NOW, **options)
    return Request("POST", target, (*headers.items(), *added.items(), ("User-Agent", "test")), body)


def presigned(who: Credentials = PLAIN, **options: Any) -> Request:
    url = presign_mqtt_url("iot.example", "us-west-2", who, now=NOW, **options)
    return Request("GET", url.removeprefix("wss://iot.example"), (("Host", "iot.example"), ("Upgrade", "websocket")))


FORMS = {
    "headers": signed_publish(),
    "headers with a token": signed_publish(TEMPORARY),
    "presigned": presigned(),
    "presigned with a token": presigned(TEMPORARY),
    "presigned without expiry": presigned(expires=None),
}
EACH_FORM = pytest.mark.parametrize("request_", FORMS.values(), ids=list(FORMS))


@EACH_FORM
def test_a_right_request_says_what_it_vouches_for(request_: Request) -> None:
    verified = request_.verify()
    assert (verified.signed_at, verified.region, verified.payload_signed) == (NOW, "us-west-2", True)
    assert verified.presigned == ("X-Amz-Signature" in request_.target)
    assert "host" in verified.signed_headers
    assert pickle.loads(pickle.dumps(verified)) == verified
    assert verify_request(
        request_.method,
        f"https://iot.example{request_.target}",
        dict(request_.headers),
        memoryview(request_.body),
        KNOWN.get,
        now=NOW.astimezone(dt.timezone(dt.timedelta(hours=-7))),
    ) == verified  # fmt: skip


def test_headers_may_be_bytes_as_some_servers_have_them() -> None:
    request = FORMS["headers"]
    headers = [(name.lower().encode(), value.encode()) for name, value in request.headers]
    verified = verify_request("POST", request.target, headers, request.body, KNOWN.get, now=NOW)
    assert verified == request.verify()


# ---- one changed byte


def changes_of(text: str, chance: random.Random) -> set[str]:
    """The text with one character changed, left out or put in, at each place."""
    found = set()
    for at in range(len(text)):
        other = chance.choice([letter for letter in string.ascii_letters + string.digits if letter != text[at]])
        found |= {text[:at] + other + text[at + 1 :], text[:at] + text[at + 1 :], text[:at] + other + text[at:]}
    return found - {text}


@EACH_FORM
def test_one_changed_character_anywhere_in_the_url_is_refused(request_: Request) -> None:
    for target in changes_of(request_.target, random.Random(1)):
        changed = replace(request_, target=target)
        # A parameter that nobody knows, or an order that is another, is signed as well.
        assert changed.refused() in CHECKS


@pytest.mark.parametrize("name", ["headers", "headers with a token"])
def test_one_changed_character_in_any_signed_header_is_refused(name: str) -> None:
    request = FORMS[name]
    for header, value in request.headers:
        if header == "User-Agent":
            continue
        for other in changes_of(value, random.Random(2)):
            if other == value.replace(", ", ",", 1) or other == ",".join(value.rsplit(", ", 1)):
                continue  # a space between the parts of an Authorization header is as good as none
            assert request.with_header(header, other).refused() in CHECKS, (header, other)
        assert request.with_header(header, None).refused() in CHECKS
        assert replace(request, headers=(*request.headers, (header, value))).refused() in CHECKS


@EACH_FORM
def test_every_truncation_of_the_url_and_of_a_signed_header_is_refused(request_: Request) -> None:
    for size in range(len(request_.target)):
        assert replace(request_, target=request_.target[:size]).refused() in CHECKS, size
    for header, value in request_.headers:
        if header not in ("User-Agent", "Upgrade"):
            for size in range(len(value)):
                assert request_.with_header(header, value[:size]).refused() in CHECKS, (header, size)


def test_a_changed_method_or_body_is_refused() -> None:
    request = FORMS["headers"]
    assert replace(request, method="PUT").refused() == "signature"
    assert replace(request, method="post").refused() == "malformed"
    for at in range(len(request.body)):
        body = bytearray(request.body)
        body[at] ^= 1
        assert replace(request, body=bytes(body)).refused() == "signature"
    assert replace(request, body=b"").refused() == "signature"
    assert replace(FORMS["presigned"], body=b"x").refused() == "signature"


def test_what_is_not_signed_may_change() -> None:
    request = FORMS["headers"]
    assert request.with_header("User-Agent", "other").verify() == request.verify()
    assert replace(request, headers=(*request.headers, ("Via", "a proxy"))).verify() == request.verify()


def test_the_same_request_written_otherwise_is_the_same() -> None:
    request = FORMS["presigned"]
    path, _, query = request.target.partition("?")
    for target in (
        f"{path}?{'&'.join(reversed(query.split('&')))}",
        f"{path}?&{query}&",
        request.target.replace("%2F", "%2f"),
        request.target.replace("X-Amz-Date", "X%2DAmz%2DDate"),
        f"/.//x/..{request.target}",
    ):
        assert replace(request, target=target).verify() == request.verify()


# ---- time


def test_headers_are_good_for_five_minutes_either_way() -> None:
    request = FORMS["headers"]
    for seconds in (-300, 0, 300):
        request.verify(NOW + dt.timedelta(seconds=seconds))
    for seconds in (-86_400, -301, 301, 86_400):
        assert request.refused(NOW + dt.timedelta(seconds=seconds)) == "clock"
    request.verify(NOW + dt.timedelta(seconds=600), clock_window_s=600)
    assert request.refused(NOW + dt.timedelta(seconds=2), clock_window_s=1) == "clock"


def test_a_presigned_url_is_good_for_as_long_as_it_says() -> None:
    request = presigned(expires=3600)
    for seconds in (-300, 0, 3600):
        request.verify(NOW + dt.timedelta(seconds=seconds))
    assert request.refused(NOW + dt.timedelta(seconds=3601)) == "expired"
    assert request.refused(NOW - dt.timedelta(seconds=301)) == "clock"


def test_a_presigned_url_that_does_not_say_is_good_for_the_window() -> None:
    request = FORMS["presigned without expiry"]
    request.verify(NOW + dt.timedelta(seconds=300))
    assert request.refused(NOW + dt.timedelta(seconds=301)) == "clock"


def test_a_replay_after_its_time_is_refused_however_right_its_signature_is() -> None:
    for request in FORMS.values():
        assert request.refused(NOW + dt.timedelta(days=8)) in ("clock", "expired")


@pytest.mark.parametrize(
    "stamp",
    [
        "", "20240102", "20240102T030405", "2024-01-02T03:04:05Z", "20241302T030405Z", "20240132T030405Z",
        "20240102T240405Z", "20240102T036005Z", "20240102T030460Z", "20240102T030405z", "00000102T030405Z",
        "20230229T000000Z", "\u0662\u0660240102T030405Z", "20240102T030405Z ,x", "20240102T030405Z\n",
    ],
)  # fmt: skip
def test_a_date_that_is_none_is_refused(stamp: str) -> None:
    assert FORMS["headers"].with_header("X-Amz-Date", stamp).refused() in ("malformed", "scope")
    target = FORMS["presigned"].target.replace("X-Amz-Date=20240102T030405Z", f"X-Amz-Date={stamp}")
    assert replace(FORMS["presigned"], target=target).refused() in ("malformed", "scope")


@pytest.mark.parametrize(
    "expires", ["", "0", "-1", "604801", "1e3", "\u0663\u0660", "3600.0", "99999999999999999999", "+60", "0x10"]
)
def test_an_expiry_out_of_range_is_refused(expires: str) -> None:
    target = FORMS["presigned"].target.replace("X-Amz-Expires=86400", f"X-Amz-Expires={expires}")
    assert replace(FORMS["presigned"], target=target).refused() == "malformed"


def test_expired_credentials_are_refused() -> None:
    soon = Credentials("AKIDEXAMPLE", SECRET, None, NOW + dt.timedelta(seconds=60))
    request = signed_publish(soon)
    request.verify(credentials_for=lambda _: soon)
    assert request.refused(NOW + dt.timedelta(seconds=60), credentials_for=lambda _: soon) == "expired"


# ---- for whom


@pytest.mark.parametrize(
    "options",
    [
        {"region": "eu-west-1"},
        {"service": "iotdevicegateway"},
        {"service": ()},
        {"service": ["sts", "s3"]},
        {"region": ""},
    ],
)
def test_a_request_for_another_region_or_service_is_refused(options: dict[str, Any]) -> None:
    assert FORMS["headers"].refused(**options) == "scope"


def test_no_region_and_no_service_is_any() -> None:
    assert FORMS["headers"].verify(region=None, service=None).service == "iotdata"


@pytest.mark.parametrize(
    ("credential", "check"),
    [
        ("", "malformed"),
        ("AKIDEXAMPLE", "malformed"),
        ("AKIDEXAMPLE/20240102/us-west-2/iotdata", "malformed"),
        ("AKIDEXAMPLE/20240102/us-west-2/iotdata/aws4_request/", "malformed"),
        ("/20240102/us-west-2/iotdata/aws4_request", "malformed"),
        ("AKIDEXAMPLE/20240102//iotdata/aws4_request", "malformed"),
        ("AKIDEXAMPLE/20240102/us-west-2/iotdata/aws4", "scope"),
        ("AKIDEXAMPLE/20240103/us-west-2/iotdata/aws4_request", "scope"),
        ("AKIDEXAMPLE/20240102/us-west-1/iotdata/aws4_request", "scope"),
        ("AKIDEXAMPLE/20240102/us-west-2/sts/aws4_request", "scope"),
        ("AKIDOTHER/20240102/us-west-2/iotdata/aws4_request", "access_key"),
        ("AKIDEXAMPLÉ/20240102/us-west-2/iotdata/aws4_request", "malformed"),
        ("A" * 500 + "/20240102/us-west-2/iotdata/aws4_request", "malformed"),
        ("AKIDEXAMPLE/20240102/us-west-2/iotdevicegateway/aws4_request", "signature"),
    ],
)
def test_a_scope_that_is_another_is_refused(credential: str, check: str) -> None:
    request = FORMS["headers"]
    authorization = request.header("Authorization").replace(
        "AKIDEXAMPLE/20240102/us-west-2/iotdata/aws4_request", credential
    )
    assert request.with_header("Authorization", authorization).refused() == check


# ---- session tokens


def test_a_session_token_must_be_that_of_the_credentials() -> None:
    for name in ("headers with a token", "presigned with a token"):
        other = Credentials("ASIAEXAMPLE", SECRET, TOKEN + "x")
        assert FORMS[name].refused(credentials_for=lambda _, who=other: who) == "session_token"
        assert FORMS[name].refused(credentials_for=lambda _: Credentials("ASIAEXAMPLE", SECRET)) == "session_token"
    assert FORMS["headers"].refused(credentials_for=lambda _: TEMPORARY) == "session_token"


def test_a_session_token_is_signed_or_appended_as_the_service_has_it() -> None:
    appended = FORMS["presigned with a token"]
    url = Signer("us-west-2", "iotdevicegateway").presign_url("GET", "wss://iot.example/mqtt", TEMPORARY, now=NOW)
    inside = replace(appended, target=url.removeprefix("wss://iot.example"))
    appended.verify()
    inside.verify()
    appended.verify(sign_session_token=False)
    inside.verify(sign_session_token=True)
    assert appended.refused(sign_session_token=True) == "signature"
    assert inside.refused(sign_session_token=False) == "signature"

    in_headers = FORMS["headers with a token"]
    beside = signed_publish(TEMPORARY, sign_session_token=False)
    in_headers.verify(sign_session_token=True)
    beside.verify(sign_session_token=False)
    beside.verify()
    assert in_headers.refused(sign_session_token=False) == "session_token"
    assert beside.refused(sign_session_token=True) == "session_token"


# ---- what could be read in two ways


def more_headers(*more: tuple[str, str]) -> Callable[[Request], Request]:
    return lambda request: replace(request, headers=(*request.headers, *more))


def authorization(change: Callable[[str], str]) -> Callable[[Request], Request]:
    return lambda request: request.with_header("Authorization", change(request.header("Authorization")))


BENT_HEADERS: list[tuple[str, str, Callable[[Request], Request]]] = [
    ("no signature", "missing", lambda request: request.with_header("Authorization", None)),
    ("another scheme", "algorithm", authorization(lambda text: "Bearer abc")),
    ("another algorithm", "algorithm", authorization(lambda text: text.replace("SHA256", "SHA512", 1))),
    ("nothing after the algorithm", "malformed", authorization(lambda text: "AWS4-HMAC-SHA256 ")),
    ("a part more", "malformed", authorization(lambda text: text + ", Extra=1")),
    ("a part twice", "malformed", authorization(lambda text: text + ", " + text.rpartition(", ")[2])),
    ("a part less", "malformed", authorization(lambda text: text.rpartition(", ")[0])),
    ("an empty part", "malformed", authorization(lambda text: text + ",")),
    ("capitals in the signature", "malformed", authorization(lambda text: text[:-64] + text[-64:].upper())),
    ("a short signature", "malformed", authorization(lambda text: text[:-1])),
    ("a signature of zeros", "signature", authorization(lambda text: text[:-64] + "0" * 64)),
    ("a second Authorization", "malformed", more_headers(("authorization", "AWS4-HMAC-SHA256 x"))),
    ("a second Host", "malformed", more_headers(("HOST", "iot.example"))),
    ("a second date", "malformed", more_headers(("x-amz-date", "20240102T030405Z"))),
    ("another name for Host", "signature", lambda request: request.with_header("Host", "other.example")),
    ("a date in the query", "malformed", lambda request: replace(request, target=request.target + "&X-Amz-Date=x")),
    ("both forms", "malformed", lambda request: replace(request, target=FORMS["presigned"].target)),
    ("an unsigned x-amz header", "signed_headers", more_headers(("x-amz-mqtt5-correlation-data", "eA=="))),
    ("a signed header less", "signed_headers", lambda request: request.with_header("Content-Type", None)),
    ("Host unsigned", "signed_headers", authorization(lambda text: text.replace(";host", ""))),
    (
        "names out of order",
        "signed_headers",
        authorization(lambda text: text.replace("content-type;host", "host;content-type")),
    ),
    ("a name twice", "signed_headers", authorization(lambda text: text.replace("host;", "host;host;"))),
    ("a name in capitals", "signed_headers", authorization(lambda text: text.replace("host;", "Host;"))),
    ("an empty name", "signed_headers", authorization(lambda text: text.replace("host;", "host;;"))),
    ("a wrong payload hash", "payload", more_headers(("X-Amz-Content-SHA256", "0" * 64))),
    ("a date of another day", "scope", lambda request: request.with_header("X-Amz-Date", "20240103T030405Z")),
    ("a date of another second", "signature", lambda request: request.with_header("X-Amz-Date", "20240102T030406Z")),
    ("no date", "malformed", lambda request: request.with_header("X-Amz-Date", None)),
    ("a broken escape", "malformed", lambda request: replace(request, target=request.target + "&a=%zz")),
    ("a line break in a header", "malformed", lambda request: request.with_header("Content-Type", "a\r\nb: c")),
    ("a control character in the path", "malformed", lambda request: replace(request, target="/\n" + request.target)),
    ("a fragment", "malformed", lambda request: replace(request, target=request.target + "#a")),
    ("no path", "malformed", lambda request: replace(request, target="topics")),
    (
        "an encoded slash decoded",
        "signature",
        lambda request: replace(request, target=request.target.replace("%2F", "/")),
    ),
    (
        "an encoded slash encoded",
        "signature",
        lambda request: replace(request, target=request.target.replace("%2F", "%252F")),
    ),
    (
        "another case of an escape in the path",
        "signature",
        lambda request: replace(request, target=request.target.replace("%2F", "%2f")),
    ),
]


@pytest.mark.parametrize(("name", "check", "bend"), BENT_HEADERS, ids=[row[0] for row in BENT_HEADERS])
def test_a_bent_request_with_headers_is_refused_by_name(
    name: str, check: str, bend: Callable[[Request], Request]
) -> None:
    request = bend(FORMS["headers"])
    if check == "payload":  # it would have to be signed too
        names = request.header("Authorization").replace(";host;", ";host;x-amz-content-sha256;")
        request = request.with_header("Authorization", names)
    assert request.refused() == check


def query(change: Callable[[str], str]) -> Callable[[Request], Request]:
    return lambda request: replace(request, target=change(request.target))


BENT_URLS: list[tuple[str, str, Callable[[Request], Request]]] = [
    ("another algorithm", "algorithm", query(lambda text: text.replace("HMAC-SHA256", "HMAC-SHA1"))),
    ("no algorithm", "malformed", query(lambda text: text.replace("X-Amz-Algorithm=AWS4-HMAC-SHA256&", ""))),
    ("no credential", "malformed", query(lambda text: text.replace("X-Amz-Credential", "x"))),
    ("no date", "malformed", query(lambda text: text.replace("X-Amz-Date", "x"))),
    ("no signed headers", "malformed", query(lambda text: text.replace("X-Amz-SignedHeaders", "x"))),
    ("no signature", "malformed", query(lambda text: text.replace("X-Amz-Signature", "x"))),
    ("nothing at all", "missing", query(lambda text: "/mqtt")),
    ("a date twice", "malformed", query(lambda text: text + "&X-Amz-Date=20240102T030405Z")),
    ("a date twice, once escaped", "malformed", query(lambda text: text + "&X-Amz%2dDate=20240102T030405Z")),
    ("a signature twice", "malformed", query(lambda text: text + "&" + text.rpartition("&")[2])),
    ("an expiry twice", "malformed", query(lambda text: text + "&X-Amz-Expires=604800")),
    ("a longer expiry", "signature", query(lambda text: text.replace("=86400", "=86401"))),
    ("no expiry", "signature", query(lambda text: text.replace("&X-Amz-Expires=86400", ""))),
    ("a parameter more", "signature", query(lambda text: text + "&x=y")),
    ("an empty parameter with a name", "signature", query(lambda text: text + "&x")),
    ("another path", "signature", query(lambda text: text.replace("/mqtt", "/mqtt2"))),
    ("no signed header", "signed_headers", query(lambda text: text.replace("SignedHeaders=host", "SignedHeaders="))),
    ("a session token", "session_token", query(lambda text: text + "&X-Amz-Security-Token=x")),
    ("a plus for a space", "scope", query(lambda text: text.replace("X-Amz-Date=", "X-Amz-Date=+"))),
    ("another Host", "signature", lambda request: request.with_header("Host", "other.example")),
    ("a Host with its port", "signature", lambda request: request.with_header("Host", "iot.example:443")),
    ("no Host", "malformed", lambda request: request.with_header("Host", None)),
    ("an unsigned x-amz header", "signed_headers", more_headers(("X-Amz-Meta", "1"))),
    ("an Authorization header", "malformed", more_headers(("Authorization", "Basic x"))),
    ("more than any URL has", "malformed", query(lambda text: text + "&" + "x" * 131_072)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "check", "bend"), BENT_URLS, ids=[row[0] for row in BENT_URLS])
def test_a_bent_url_is_refused_by_name(name: str, check: str, bend: Callable[[Request], Request]) -> None:
    assert bend(FORMS["presigned"]).refused() == check


def test_every_check_is_tried() -> None:
    tried = {check for _, check, _ in (*BENT_HEADERS, *BENT_URLS)}
    assert tried | {"clock", "expired", "access_key"} == CHECKS


# ---- payloads


def test_an_unsigned_payload_is_for_the_server_to_allow() -> None:
    request = replace(signed_publish(payload_hash=UNSIGNED_PAYLOAD), body=b"anything")
    assert request.refused() == "payload"
    assert not request.verify(allow_unsigned_payload=True).payload_signed


def test_a_payload_hash_that_is_sent_must_be_right() -> None:
    signer = Signer("us-west-2", "iotdata", content_sha256_header=True)
    headers = {"Host": "iot.example"}
    added = signer.sign_headers("POST", "https://iot.example/", headers, b"body", PLAIN, now=NOW)
    request = Request("POST", "/", (*headers.items(), *added.items()), b"body")
    assert request.verify().payload_signed
    assert replace(request, body=b"bodies").refused() == "payload"
    streamed = request.with_header("X-Amz-Content-SHA256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
    assert streamed.refused() == "payload"


# ---- arguments of the server's own


@pytest.mark.parametrize("now", [None, dt.datetime(2024, 1, 2), dt.date(2024, 1, 2), 5.0])  # noqa: DTZ001
def test_a_server_without_the_time_is_told_so(now: Any) -> None:
    with pytest.raises(EncodeError, match="now: must be an aware datetime"):
        FORMS["headers"].verify(now)


def test_errors_of_the_callers_own_are_not_refusals() -> None:
    def fail(_: str) -> Credentials:
        raise LookupError("the database is down")

    with pytest.raises(LookupError):
        FORMS["headers"].verify(credentials_for=fail)
    request = FORMS["headers"]
    wrong_headers: list[Any] = [5, "Host", {"Authorization": 5}, {5: "x"}, [("a",)], [5], None]
    for headers in wrong_headers:
        with pytest.raises(EncodeError, match="headers: must be a mapping or pairs"):
            verify_request("POST", request.target, headers, b"", KNOWN.get, now=NOW)
    wrong: list[tuple[str, Any, Any, Any]] = [
        ("method", None, request.target, b""),
        ("url", "POST", request.target.encode(), b""),
        ("body", "POST", request.target, "text"),
    ]
    for field, method, url, body in wrong:
        with pytest.raises(EncodeError, match=f"^{field}: must be"):
            verify_request(method, url, request.headers, body, KNOWN.get, now=NOW)
    with pytest.raises(EncodeError, match="credentials_for: must give Credentials"):
        FORMS["headers"].verify(credentials_for=lambda _: ("AKID", SECRET))


# ---- anything at all


@given(st.sampled_from(list(FORMS.values())), st.integers(), st.integers(1, 6))
def test_whatever_is_changed_in_a_request_only_our_refusal_comes_of_it(
    request: Request, seed: int, changes: int
) -> None:
    chance = random.Random(seed)
    target, headers, body = request.target, list(request.headers), request.body
    morsels = [
        "&",
        "=",
        "%",
        "%2",
        "%00",
        ";",
        ",",
        "/",
        "\r\n",
        "\0",
        "X-Amz-Date=",
        "AWS4-HMAC-SHA256",
        "é",
        "?",
        " ",
        ".",
    ]
    for _ in range(changes):
        if chance.random() < 0.5:
            at = chance.randrange(len(target) + 1)
            target = target[:at] + chance.choice(morsels) + target[at + chance.randrange(4) :]
        else:
            number = chance.randrange(len(headers))
            name, value = headers[number]
            at = chance.randrange(len(value) + 1)
            value = value[:at] + chance.choice(morsels) + value[at + chance.randrange(4) :]
            headers[number] = (chance.choice([name, name.lower(), name + chance.choice(morsels)]), value)
        if chance.random() < 0.2:
            headers.insert(chance.randrange(len(headers) + 1), chance.choice(request.headers))
    try:
        verified = Request(request.method, target, tuple(headers), body).verify()
    except SignatureError:
        pass
    else:  # what is accepted says the same as before
        assert verified == request.verify()


@given(
    st.text(max_size=40),
    st.text(max_size=60),
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=40)), max_size=5),
)
def test_any_text_at_all_is_refused(method: str, target: str, headers: list[tuple[str, str]]) -> None:
    with pytest.raises(SignatureError):
        verify_request(method, target, headers, b"", KNOWN.get, now=NOW)


def test_a_long_hostile_query_takes_no_long_time() -> None:
    # Sixty thousand parameters that are alike to the last letter: sorted, not compared each with each.
    request = FORMS["presigned"]
    assert replace(request, target=request.target + "&a" * 60_000).refused() == "signature"
