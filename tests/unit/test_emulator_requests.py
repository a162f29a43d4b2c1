"""What a request of the HTTPS interface says, and how one that is wrong is answered."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from iotwire.emulator.requests import MAX_USER_PROPERTIES, RequestError, read_publish
from iotwire.mqtt import Publish


def read(target: str, body: bytes = b"", *, method: str = "POST", **headers: str) -> Publish:
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return read_publish(method, target, named, body)


def encoded(value: Any) -> str:
    return b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize(
    ("path", "topic"),
    [
        ("a", "a"),
        ("sensors%2Froom1", "sensors/room1"),
        ("sensors%2froom1", "sensors/room1"),
        ("sensors/room1", "sensors/room1"),
        ("%24aws%2Frules%2Fr", "$aws/rules/r"),
        ("$aws/rules/r", "$aws/rules/r"),
        ("a%20b", "a b"),
        ("a%C3%BC", "aü"),
        ("a%2F%2Fb", "a//b"),
        ("%2F", "/"),
        ("%2525", "%25"),
        ("a%3Fqos%3D1", "a?qos=1"),
        ("...", "..."),
        ("A-Za-z0-9-._~", "A-Za-z0-9-._~"),
    ],
)
def test_the_topic_is_what_its_path_stands_for(path: str, topic: str) -> None:
    assert read(f"/topics/{path}") == Publish(topic)
    assert read(f"https://a1b2c3-ats.iot.local.test/topics/{path}?qos=0") == Publish(topic)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {}),
        ("qos=0", {}),
        ("qos=1", {"qos": 1}),
        ("retain=true", {"retain": True}),
        ("retain=false", {}),
        ("contentType=application%2Fjson", {"content_type": "application/json"}),
        ("contentType=image/svg+xml", {"content_type": "image/svg+xml"}),
        ("responseTopic=answers%2F1", {"response_topic": "answers/1"}),
        ("messageExpiry=60", {"message_expiry_interval": 60}),
        ("messageExpiry=4294967295", {"message_expiry_interval": 0xFFFFFFFF}),
        ("qos=1&retain=true&&x=1&messageExpiry=1", {"qos": 1, "retain": True, "message_expiry_interval": 1}),
        ("x-amz-customauthorizer-name=N&x-amz-customauthorizer-name=N", {}),
    ],
)
def test_the_query_says_how_to_publish(query: str, expected: dict[str, Any]) -> None:
    assert read(f"/topics/a?{query}", b"x") == Publish("a", b"x", **expected)


def test_headers_carry_the_other_properties_of_mqtt_5() -> None:
    pairs = (("unit", "°C"), ("unit", "K"), ("", ""))
    packet = read(
        "/topics/a",
        b"x",
        x_amz_mqtt5_user_properties=encoded([{name: value} for name, value in pairs]),
        x_amz_mqtt5_payload_format_indicator="UTF8_DATA",
        x_amz_mqtt5_correlation_data=b64encode(b"\x00\xff").decode(),
        content_type="is not a property of the message",
    )
    expected = Publish("a", b"x", user_properties=pairs, payload_format_indicator=1, correlation_data=b"\x00\xff")
    assert packet == expected
    unspecified = read("/topics/a", x_amz_mqtt5_payload_format_indicator="UNSPECIFIED_BYTES")
    assert unspecified.payload_format_indicator == 0


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("POST", "/", 404),
        ("POST", "/topics", 404),
        ("POST", "/topics/", 404),
        ("POST", "/topics/?qos=1", 404),
        ("POST", "/Topics/a", 404),
        ("POST", "/mqtt", 404),
        ("POST", "*", 404),
        ("POST", "https://host", 404),
        ("GET", "/topics/a", 405),
        ("PUT", "/topics/a", 405),
        ("post", "/topics/a", 405),
        ("GET", "/mqtt", 404),
    ],
)
def test_what_is_not_a_publish_is_told_so(method: str, target: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        read(target, method=method)
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("/topics/.", "cannot be carried"),
        ("/topics/..", "cannot be carried"),
        ("/topics/%2E%2e", "cannot be carried"),
        ("/topics/a%", "hexadecimal"),
        ("/topics/a%2", "hexadecimal"),
        ("/topics/a%2x", "hexadecimal"),
        ("/topics/a%%41", "hexadecimal"),
        ("/topics/a%2%41", "hexadecimal"),
        ("/topics/%FF", "UTF-8"),
        ("/topics/%C3", "UTF-8"),
        ("/topics/%ED%A0%80", "UTF-8"),
        ("/topics/\xff", "UTF-8"),
        ("/topics/a%00", "topic"),
        ("/topics/a%2F%2B", "topic"),
        ("/topics/%23", "topic"),
        ("/topics/" + "a" * 65536, "topic"),
        ("/topics/a?qos=2", "qos"),
        ("/topics/a?qos=", "qos"),
        ("/topics/a?qos", "qos"),
        ("/topics/a?qos=%30x", "qos"),
        ("/topics/a?qos=0&qos=1", "twice"),
        ("/topics/a?retain=yes", "retain"),
        ("/topics/a?contentType=%FF", "contentType"),
        ("/topics/a?responseTopic=a%2F%23", "response_topic"),
        ("/topics/a?messageExpiry=-1", "messageExpiry"),
        ("/topics/a?messageExpiry=1.5", "messageExpiry"),
        ("/topics/a?messageExpiry=4294967296", "message_expiry"),
        ("/topics/a?messageExpiry=" + "9" * 5000, "messageExpiry"),
        ("/topics/a?messageExpiry=%D9%A1", "messageExpiry"),
    ],
)
def test_a_target_that_is_wrong_is_refused_with_what_was_expected(target: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read(target)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user-properties", "not base64"),
        ("user-properties", b64encode(b"not JSON").decode()),
        ("user-properties", b64encode(b"\xff").decode()),
        ("user-properties", b64encode(b"[" * 5000).decode()),
        ("user-properties", encoded({"a": "b"})),
        ("user-properties", encoded(["a"])),
        ("user-properties", encoded([{}])),
        ("user-properties", encoded([{"a": "b", "c": "d"}])),
        ("user-properties", encoded([{"a": 1}])),
        ("user-properties", encoded([{"a": "\x00"}])),
        ("user-properties", encoded([{"a": "\ud800"}])),
        ("user-properties", encoded([{"a": "b"}] * (MAX_USER_PROPERTIES + 1))),
        ("payload-format-indicator", "1"),
        ("correlation-data", "a"),
        ("correlation-data", "ü"),
        ("correlation-data", "YQ==\n"),
    ],
)
def test_a_header_that_is_wrong_is_refused(name: str, value: str) -> None:
    with pytest.raises(RequestError) as caught:
        read_publish("POST", "/topics/a", [(f"x-amz-mqtt5-{name}", value)], b"")
    assert caught.value.status == 400


def test_a_property_that_is_given_twice_is_refused() -> None:
    twice = [("x-amz-mqtt5-correlation-data", "YQ==")] * 2
    with pytest.raises(RequestError, match="twice"):
        read_publish("POST", "/topics/a", twice, b"")
