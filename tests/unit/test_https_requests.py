"""A message as an HTTPS request: each word of it, and what is refused before there is one."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("h11")

from iotwire import AwsIotLimits, EncodeError
from iotwire.https.conversation import Conversation
from iotwire.https.request import make_request

LIMITS = AwsIotLimits()


@pytest.mark.parametrize(
    ("topic", "path"),
    [
        ("a", b"/topics/a"),
        ("sensors/room1", b"/topics/sensors%2Froom1"),
        ("$aws/rules/r/a", b"/topics/%24aws%2Frules%2Fr%2Fa"),
        ("a b", b"/topics/a%20b"),
        ("\u00fc", b"/topics/%C3%BC"),
        ("a//b", b"/topics/a%2F%2Fb"),
        ("/", b"/topics/%2F"),
        ("a/..", b"/topics/a%2F.."),
        ("A-Z_a.z~0", b"/topics/A-Z_a.z~0"),
        ("%2F?&=#"[:-1], b"/topics/%252F%3F%26%3D"),
        ("\U0001f600", b"/topics/%F0%9F%98%80"),
        ("a\r\nX: y", b"/topics/a%0D%0AX%3A%20y"),
    ],
)
def test_a_topic_is_percent_encoded_whole(topic: str, path: bytes) -> None:
    assert make_request(LIMITS, topic).target == path + b"?qos=0"


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ({}, b"qos=0"),
        ({"qos": 1}, b"qos=1"),
        ({"retain": True}, b"qos=0&retain=true"),
        ({"retain": False}, b"qos=0&retain=false"),
        ({"content_type": "text/plain; a=b"}, b"qos=0&contentType=text%2Fplain%3B%20a%3Db"),
        ({"content_type": ""}, b"qos=0&contentType="),
        ({"response_topic": "a/b&c"}, b"qos=0&responseTopic=a%2Fb%26c"),
        ({"message_expiry": 604_800}, b"qos=0&messageExpiry=604800"),
        (
            {"qos": 1, "retain": True, "content_type": "t", "response_topic": "r", "message_expiry": 1},
            b"qos=1&retain=true&contentType=t&responseTopic=r&messageExpiry=1",
        ),
    ],
)
def test_the_query_says_what_was_given(arguments: dict[str, Any], query: bytes) -> None:
    assert make_request(LIMITS, "a", **arguments).target == b"/topics/a?" + query


def test_properties_that_the_query_has_no_word_for_are_headers() -> None:
    pairs = [("a", "b"), ("a", "\u00fc"), ("", "")]
    request = make_request(
        LIMITS, "a", b"xyz", user_properties=pairs, payload_format=1, correlation_data=bytearray(b"\0\xff")
    )
    headers = dict(request.headers)
    assert len(headers) == len(request.headers)
    assert headers.pop(b"Content-Length") == b"3"
    assert headers.pop(b"Content-Type") == b"application/octet-stream"
    told = json.loads(base64.b64decode(headers.pop(b"X-Amz-Mqtt5-User-Properties")))
    assert told == [{"a": "b"}, {"a": "\u00fc"}, {"": ""}]
    assert headers.pop(b"X-Amz-Mqtt5-Payload-Format-Indicator") == b"UTF8_DATA"
    assert headers.pop(b"X-Amz-Mqtt5-Correlation-Data") == base64.b64encode(b"\0\xff")
    assert not headers


@pytest.mark.parametrize(
    ("given_format", "header"),
    [(0, b"UNSPECIFIED_BYTES"), (1, b"UTF8_DATA"), ("UNSPECIFIED_BYTES",) * 2, ("UTF8_DATA",) * 2],
)
def test_the_payload_format_has_the_services_name(given_format: Any, header: Any) -> None:
    expected = header if isinstance(header, bytes) else header.encode()
    headers = dict(make_request(LIMITS, "a", payload_format=given_format).headers)
    assert headers[b"X-Amz-Mqtt5-Payload-Format-Indicator"] == expected


@pytest.mark.parametrize("payload", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"xabc")[1:]])
def test_a_payload_is_kept_as_it_was_when_it_was_given(payload: Any) -> None:
    request = make_request(LIMITS, "a", payload)
    if isinstance(payload, bytearray):
        payload[0] = 0
    assert request.body == b"abc"


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("topic", {"topic": ""}),
    ("topic", {"topic": "."}),
    ("topic", {"topic": ".."}),
    ("topic", {"topic": "a/+"}),
    ("topic", {"topic": "#"}),
    ("topic", {"topic": "a\0"}),
    ("topic", {"topic": "\ud800"}),
    ("topic", {"topic": b"a"}),
    ("topic", {"topic": None}),
    ("topic", {"topic": "x" * 257}),
    ("topic", {"topic": "\u00fc" * 129}),
    ("topic", {"topic": "a/b/c/d/e/f/g/h/i"}),
    ("payload", {"payload": "text"}),
    ("payload", {"payload": None}),
    ("payload", {"payload": 5}),
    ("payload", {"payload": memoryview(b"abcd")[::2]}),
    ("payload", {"payload": bytes(128 * 1024 + 1)}),
    ("qos", {"qos": 2}),
    ("qos", {"qos": -1}),
    ("qos", {"qos": "1"}),
    ("qos", {"qos": None}),
    ("retain", {"retain": "true"}),
    ("content_type", {"content_type": 5}),
    ("content_type", {"content_type": "\ud800"}),
    ("content_type", {"content_type": "x" * 257}),
    ("response_topic", {"response_topic": "a/#"}),
    ("response_topic", {"response_topic": ""}),
    ("message_expiry", {"message_expiry": 0}),
    ("message_expiry", {"message_expiry": 604_801}),
    ("message_expiry", {"message_expiry": 1.5}),
    ("message_expiry", {"message_expiry": "5"}),
    ("user_properties", {"user_properties": 5}),
    ("user_properties", {"user_properties": [("a",)]}),
    ("user_properties", {"user_properties": [("a", 5)]}),
    ("user_properties", {"user_properties": [("a", "x" * 8192)]}),
    ("payload_format", {"payload_format": 2}),
    ("payload_format", {"payload_format": "utf8"}),
    ("correlation_data", {"correlation_data": "text"}),
    ("correlation_data", {"correlation_data": bytes(8193)}),
]


@pytest.mark.parametrize(("field", "arguments"), REFUSED, ids=lambda value: str(value)[:40])
def test_what_cannot_be_carried_is_refused_by_the_name_of_its_argument(field: str, arguments: dict[str, Any]) -> None:
    with pytest.raises(EncodeError) as caught:
        make_request(LIMITS, **({"topic": "a"} | arguments))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


AT_THE_LIMIT: list[dict[str, Any]] = [
    {"topic": "x" * 256},
    {"topic": "a/b/c/d/e/f/g/h"},
    {"topic": "$aws/rules/name/a/b/c/d/e/f/g/h"},
    {"payload": bytes(128 * 1024)},
    {"content_type": "x" * 256},
    {"message_expiry": 1},
    {"message_expiry": 604_800},
    {"user_properties": [("a", "x" * 8191)]},
    {"user_properties": None},
    {"correlation_data": bytes(8192)},
    {"qos": True},
]


@pytest.mark.parametrize("arguments", AT_THE_LIMIT, ids=lambda value: str(value)[:40])
def test_what_just_fits_is_taken(arguments: dict[str, Any]) -> None:
    make_request(LIMITS, **({"topic": "a"} | arguments))


def test_without_limits_only_the_protocols_own_rules_hold() -> None:
    request = make_request(None, "a/" * 20 + "a", bytes(200_000), message_expiry=0, content_type="x" * 1000)
    assert len(request.body) == 200_000
    with pytest.raises(EncodeError, match="topic"):
        make_request(None, "x" * 65_536)
    with pytest.raises(EncodeError, match="message_expiry"):
        make_request(None, "a", message_expiry=1 << 32)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
TOPICS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#"), min_size=1, max_size=40)


@given(TOPICS.filter(lambda topic: topic not in (".", "..")), TEXT, st.lists(st.tuples(TEXT, TEXT), max_size=3))
def test_no_text_adds_a_line_to_a_request(topic: str, text: str, pairs: list[tuple[str, str]]) -> None:
    request = make_request(None, topic, content_type=text, user_properties=pairs)
    sent = Conversation("iot.test", 4096).ask(request)
    line, *headers, empty, body = sent.split(b"\r\n")
    assert (len(headers), empty, body) == (4 if pairs else 3, b"", b"")
    method, target, protocol = line.decode("ascii").split(" ")
    assert (method, protocol) == ("POST", "HTTP/1.1")
    path, _, query = target.partition("?")
    assert path.count("/") == 2
    assert unquote(path.removeprefix("/topics/")) == topic
    assert query.count("&") == 1
    assert unquote(query.partition("&contentType=")[2]) == text
