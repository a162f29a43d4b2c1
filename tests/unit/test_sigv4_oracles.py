"""Signature Version 4 against other signers, on random requests: botocore, awscrt and AWSIoTPythonSDK.

Where they differ from each other, the test that says so says who is followed, and why.
"""

from __future__ import annotations

import datetime as dt
import re
import string
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from iotwire.sigv4 import Credentials, Signer, canonical_request, presign_mqtt_url, verify_request

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")

# Text as requests have it: letters, what has to be escaped, what sorts oddly, and a few letters of two to four bytes.
TEXT = st.text(st.sampled_from(string.ascii_letters + string.digits + "-._~ /&=+%:,;!*'()[]@$üé€𝄞"), max_size=12)
SEGMENTS = st.lists(TEXT.map(lambda text: quote(text, safe="-._~")), max_size=5)
PATHS = st.builds(lambda segments, end: "/" + "/".join(segments) + end, SEGMENTS, st.sampled_from(["", "/"]))
DOTTED_PATHS = st.lists(st.sampled_from(["", ".", "..", "a", "b%2Fc", "...", "a."]), max_size=6).map(
    lambda segments: "/" + "/".join(segments)
)
# Parameters of a signature are not for signing again; Hypothesis picks them from this very file.
NAMES = TEXT.filter(lambda name: name and not name.lower().startswith("x-amz-"))
QUERIES = st.lists(st.tuples(NAMES, TEXT), max_size=6)
VALUES = st.text(st.sampled_from(string.ascii_letters + string.digits + " \t,;:=\"'()äß"), max_size=20)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["Content-Type", "x-amz-meta-a", "X-Amz-Mqtt5-Correlation-Data", "Zebra", "a-b", "A"]), VALUES
    ),
    max_size=6,
)
EARLIEST, LATEST = dt.datetime.fromisoformat("1980-01-01"), dt.datetime.fromisoformat("2099-12-31")
TIMES = st.datetimes(EARLIEST, LATEST, timezones=st.just(dt.UTC))
TOKENS = st.none() | st.text(st.sampled_from(string.ascii_letters + "+/="), min_size=1, max_size=80)
REGIONS = st.sampled_from(["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
SERVICES = st.sampled_from(["iotdata", "iotdevicegateway", "sts", "execute-api", "dynamodb"])
HOSTS = st.sampled_from(["abc-ats.iot.us-east-1.amazonaws.com", "localhost", "127.0.0.1:8443", "[::1]:44300"])


def other_signer(module: str) -> Any:
    """Another signer's module; the test skips where it is not installed. What Python thinks of its code is its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(module)


def joined(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in pairs)


def signature_of(text: str) -> str:
    (found,) = SIGNATURE.findall(text)
    return str(found)


class Botocore:
    """botocore's signers under a clock that stands still."""

    def __init__(self) -> None:
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials

        self.auth = botocore.auth
        self.request = botocore.awsrequest.AWSRequest
        self.credentials = botocore.credentials.Credentials

    @contextmanager
    def clock(self, now: dt.datetime) -> Iterator[None]:
        with mock.patch.object(self.auth, "get_current_datetime", return_value=now.replace(tzinfo=None)):
            yield

    def sign_headers(self, kind: str, scope: tuple[str, str], request: Any, token: str | None, now: dt.datetime) -> Any:
        signer = getattr(self.auth, kind)(self.credentials("AKIDEXAMPLE", SECRET, token), scope[1], scope[0])
        with self.clock(now):
            signer.add_auth(request)
        return request


@pytest.fixture(scope="module")
def botocore() -> Botocore:
    other_signer("botocore.auth")
    return Botocore()


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    host=HOSTS,
    path=PATHS | DOTTED_PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=st.binary(max_size=200),
    token=TOKENS,
    region=REGIONS,
    service=SERVICES,
    now=TIMES,
)
@example(
    "POST",
    "localhost",
    "/topics/a%2Fb",
    [("qos", "1")],
    [],
    b"{}",
    "T+/=",
    "us-east-1",
    "iotdata",
    dt.datetime.now(dt.UTC),
)
def test_headers_are_signed_as_botocore_signs_them(
    botocore: Botocore,
    method: str,
    host: str,
    path: str,
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    body: bytes,
    token: str | None,
    region: str,
    service: str,
    now: dt.datetime,
) -> None:
    url = f"https://{host}{path}?{joined(query)}"
    request = botocore.request(method, url, data=body)
    for name, value in headers:
        request.headers[name] = value  # email.message.Message: a name that comes again is added
    botocore.sign_headers("SigV4Auth", (region, service), request, token, now)
    credentials = Credentials("AKIDEXAMPLE", SECRET, token)
    added = Signer(region, service).sign_headers(method, url, headers, body, credentials, now=now)
    assert added["Authorization"] == request.headers["Authorization"]
    assert added["X-Amz-Date"] == request.headers["X-Amz-Date"]
    assert added.get("X-Amz-Security-Token") == token
    sent = [("Host", host), *headers, *added.items()]
    target = url.removeprefix(f"https://{host}")
    assert verify_request(method, target, sent, body, lambda _: credentials, now=now, region=region).service == service


@given(host=HOSTS, path=PATHS | DOTTED_PATHS, query=QUERIES, token=TOKENS, region=REGIONS, service=SERVICES, now=TIMES)
def test_urls_are_presigned_as_botocore_presigns_them(
    botocore: Botocore,
    host: str,
    path: str,
    query: list[tuple[str, str]],
    token: str | None,
    region: str,
    service: str,
    now: dt.datetime,
) -> None:
    query = list(dict(query).items())  # botocore forgets all but one of a name
    url = f"https://{host}{path}?{joined(query)}"
    request = botocore.request("GET", url)
    botocore.sign_headers("SigV4QueryAuth", (region, service), request, token, now)
    credentials = Credentials("AKIDEXAMPLE", SECRET, token)
    ours = Signer(region, service).presign_url("GET", url, credentials, now=now, expires=3600)
    assert signature_of(ours) == signature_of(request.url)
    assert ours == request.url
    assert verify_request("GET", ours, {}, b"", lambda _: credentials, now=now).expires_s == 3600


@given(path=PATHS, query=QUERIES, body=st.binary(max_size=100), token=TOKENS, now=TIMES)
def test_s3_signs_a_path_as_it_stands_and_shows_the_payloads_hash(
    botocore: Botocore, path: str, query: list[tuple[str, str]], body: bytes, token: str | None, now: dt.datetime
) -> None:
    url = f"https://bucket.s3.amazonaws.com{path}?{joined(query)}"
    request = botocore.request("PUT", url, data=body)
    botocore.sign_headers("S3SigV4Auth", ("us-east-1", "s3"), request, token, now)
    added = Signer("us-east-1", "s3").sign_headers(
        "PUT", url, {}, body, Credentials("AKIDEXAMPLE", SECRET, token), now=now,
        payload_hash=request.headers["X-Amz-Content-SHA256"] if not body else None,
    )  # fmt: skip
    assert added["Authorization"] == request.headers["Authorization"]
    assert added["X-Amz-Content-SHA256"] == request.headers["X-Amz-Content-SHA256"]


@given(path=PATHS, now=TIMES, token=TOKENS)
def test_s3_urls_leave_the_payload_unsigned(botocore: Botocore, path: str, now: dt.datetime, token: str | None) -> None:
    url = f"https://bucket.s3.amazonaws.com{path}"
    request = botocore.request("GET", url)
    botocore.sign_headers("S3SigV4QueryAuth", ("us-east-1", "s3"), request, token, now)
    credentials = Credentials("AKIDEXAMPLE", SECRET, token)
    ours = Signer("us-east-1", "s3").presign_url("GET", url, credentials, now=now, expires=3600)
    assert ours == request.url
    verified = verify_request(
        "GET", ours, {}, b"anything", lambda _: credentials, now=now, allow_unsigned_payload=True,
        double_encode_path=False, normalize_path=False,
    )  # fmt: skip
    assert not verified.payload_signed


class Awscrt:
    """awscrt's signer."""

    def __init__(self) -> None:
        import awscrt.auth
        import awscrt.http

        self.auth: Any = awscrt.auth
        self.http: Any = awscrt.http

    def sign(
        self, url: str, headers: list[tuple[str, str]], token: str | None, now: dt.datetime, **options: Any
    ) -> Any:
        host, _, target = url.removeprefix("https://").partition("/")
        request = self.http.HttpRequest("GET", f"/{target}", self.http.HttpHeaders([("Host", host), *headers]))
        config = self.auth.AwsSigningConfig(
            algorithm=self.auth.AwsSigningAlgorithm.V4,
            credentials_provider=self.auth.AwsCredentialsProvider.new_static("AKIDEXAMPLE", SECRET, token),
            region="us-west-2",
            service="iotdata",
            date=now,
            **options,
        )
        return self.auth.aws_sign_request(request, config).result(10)


@pytest.fixture(scope="module")
def awscrt() -> Awscrt:
    other_signer("awscrt.auth")
    return Awscrt()


@given(path=PATHS | DOTTED_PATHS, query=QUERIES, headers=HEADERS, token=TOKENS, now=TIMES, normalize=st.booleans())
def test_headers_are_signed_as_awscrt_signs_them(
    awscrt: Awscrt,
    path: str,
    query: list[tuple[str, str]],
    headers: list[tuple[str, str]],
    token: str | None,
    now: dt.datetime,
    normalize: bool,
) -> None:
    url = f"https://localhost{path}?{joined(query)}"
    signed = awscrt.sign(
        url, headers, token, now, signature_type=awscrt.auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
        should_normalize_uri_path=normalize,
    )  # fmt: skip
    signer = Signer("us-west-2", "iotdata", normalize_path=normalize)
    added = signer.sign_headers("GET", url, headers, b"", Credentials("AKIDEXAMPLE", SECRET, token), now=now)
    assert added["Authorization"] == signed.headers.get("Authorization")


@given(path=PATHS, query=QUERIES, token=TOKENS, now=TIMES, sign_token=st.booleans(), double=st.booleans())
def test_urls_are_presigned_as_awscrt_presigns_them(
    awscrt: Awscrt,
    path: str,
    query: list[tuple[str, str]],
    token: str | None,
    now: dt.datetime,
    sign_token: bool,
    double: bool,
) -> None:
    url = f"https://localhost{path}?{joined(query)}"
    signed = awscrt.sign(
        url, [], token, now, signature_type=awscrt.auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        expiration_in_seconds=900, omit_session_token=not sign_token, use_double_uri_encode=double,
    )  # fmt: skip
    signer = Signer("us-west-2", "iotdata", double_encode_path=double)
    ours = signer.presign_url(
        "GET", url, Credentials("AKIDEXAMPLE", SECRET, token), now=now, expires=900, sign_session_token=sign_token
    )
    assert signature_of(ours) == signature_of(signed.path)
    assert sorted(ours.partition("?")[2].split("&")) == sorted(filter(None, signed.path.partition("?")[2].split("&")))


def test_a_connection_header_is_signed_by_awscrt_and_not_by_us() -> None:
    # It changes at every hop; `verify_request` takes a signature over it nevertheless, where the header is there.
    credentials = Credentials("AKIDEXAMPLE", SECRET)
    now = dt.datetime(2024, 1, 2, tzinfo=dt.UTC)
    headers = [("Host", "iot.example"), ("Connection", "Upgrade")]
    ours = Signer("us-west-2", "iotdevicegateway").presign_url(
        "GET", "wss://iot.example/mqtt", credentials, now=now, headers=headers
    )
    assert "X-Amz-SignedHeaders=host&" in ours
    theirs = Signer("us-west-2", "iotdevicegateway", unsigned_headers=()).presign_url(
        "GET", "wss://iot.example/mqtt", credentials, now=now, headers=headers
    )
    assert "X-Amz-SignedHeaders=connection%3Bhost&" in theirs
    verified = verify_request("GET", theirs, headers, b"", lambda _: credentials, now=now)
    assert verified.signed_headers == ("connection", "host")


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("a=b+c", "a=b%2Bc"),  # '+' is no space; botocore would leave it raw, which no server makes of it
        ("a=b%2fc", "a=b%2Fc"),
        ("a=%41", "a=A"),
        ("a=b=c", "a=b%3Dc"),
        ("a=1&&b=2&", "a=1&b=2"),  # nothing between two '&' is no parameter; botocore would sign "="
        ("acl", "acl="),
        ("=x", "=x"),
        ("a=b*c", "a=b%2Ac"),
        ("a=ü", "a=%C3%BC"),
        ("a=b c", "a=b%20c"),
        ("a=2&a=1&a=", "a=&a=1&a=2"),
        ("Param-3=x&Param=y&%E1%88%B4=z", "%E1%88%B4=z&Param=y&Param-3=x"),
    ],
)
def test_queries_that_signers_differ_in_are_signed_as_awscrt_does(query: str, canonical: str) -> None:
    assert canonical_request("GET", f"https://localhost/?{query}").split("\n")[2] == canonical


@given(
    port=st.sampled_from([443, 8443]),
    token=TOKENS,
    region=REGIONS,
    now=TIMES.map(lambda now: now.replace(microsecond=0)),
)
def test_mqtt_urls_are_presigned_as_awsiotpythonsdk_does(
    port: int, token: str | None, region: str, now: dt.datetime
) -> None:
    sigv4 = other_signer("AWSIoTPythonSDK.core.protocol.connection.cores")
    core = sigv4.SigV4Core()
    core.setIAMCredentials("AKIDEXAMPLE", SECRET, token)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    with mock.patch.object(core, "_createAmazonDate", return_value=(stamp[:8], stamp)):
        theirs = core.createWebsocketEndpoint("abc.iot.example", port, region, "GET", "iotdata", "/mqtt")
    # It never signs the port, so what it signs is right on 443 alone; and it leaves '/' raw in a token.
    ours = presign_mqtt_url(
        "abc.iot.example", region, Credentials("AKIDEXAMPLE", SECRET, token), now=now, service="iotdata"
    )
    assert signature_of(ours) == signature_of(theirs)
    if port == 443:
        assert (
            ours.partition("?")[2].partition("&X-Amz-Security")[0]
            == theirs.partition("?")[2].partition("&X-Amz-Security")[0]
        )
