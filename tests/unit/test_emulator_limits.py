"""What AWS IoT Core refuses beyond what MQTT says, each with its reason code or status, and one sentence in the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from emulated import BOTH_VERSIONS, an_emulator, http_connection, raw_device
from iotwire.mqtt import Connect, Disconnect, Packet, PubAck, Publish, SubAck, Subscribe, Subscription
from scripted import asynchronous

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

# The packet, what an MQTT 5 device is answered, what one of MQTT 3.1.1 is (None: the end of the connection), and words.
REFUSED: list[tuple[str, Packet, Packet, Packet | None, str]] = [
    ("a payload of 129 KiB", Publish("a", bytes(129 * 1024)), Disconnect(0x97), None, "max_payload_bytes"),
    (
        "the same with QoS 1",
        Publish("a", bytes(129 * 1024), qos=1, packet_id=7),
        PubAck(7, 0x97),
        None,
        "max_payload_bytes",
    ),
    ("eight slashes", Publish("a/b/c/d/e/f/g/h/i", b"x"), Disconnect(0x90), None, "8 slashes"),
    ("the same with QoS 1", Publish("/" * 8, b"x", qos=1, packet_id=7), PubAck(7, 0x90), None, "8 slashes"),
    ("a topic of 257 bytes", Publish("ü" * 128 + "x", b"x"), Disconnect(0x90), None, "257 bytes"),
    (
        "nine filters",
        Subscribe(3, [Subscription(f"a/{each}") for each in range(9)]),
        Disconnect(0x97),
        None,
        "9 filters at once",
    ),
    (
        "a filter of eight slashes",
        Subscribe(3, [Subscription("/+" * 8)]),
        SubAck(3, [0x8F]),
        SubAck(3, [0x80]),
        "8 slash",
    ),
    ("QoS 2", Publish("a", b"x", qos=2, packet_id=7), Disconnect(0x9B), None, "QoS 2"),
]
ACCEPTED: list[Packet] = [
    Publish("a", bytes(128 * 1024), qos=1, packet_id=7),
    Publish("/" * 7, b"x", qos=1, packet_id=7),
    Publish("ü" * 128, b"x", qos=1, packet_id=7),
    Publish("$aws/rules/my_rule/" + "/" * 7, b"x", qos=1, packet_id=7),  # a rule's name is not counted
]


@BOTH_VERSIONS
@pytest.mark.parametrize(
    ("packet", "answer_5", "answer_4", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
@asynchronous
async def test_what_the_service_refuses_is_refused_with_its_code(
    packet: Packet,
    answer_5: Packet,
    answer_4: Packet | None,
    words: str,
    version: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "iotwire.emulator")
    async with an_emulator() as emulator, raw_device(emulator, Connect("device"), version=version) as peer:
        peer.send(packet)
        if version == 5 or answer_4 is not None:
            expected = answer_5 if version == 5 else answer_4
            assert await peer.receive() == expected
        elif words != "QoS 2":  # which gets no answer at all, as at the service
            await peer.expect_close()
        else:
            peer.send(Publish("a", b"y", qos=1, packet_id=8))
            assert await peer.receive() == PubAck(8)
        assert emulator.stats().messages_received == (1 if words == "QoS 2" and version == 4 else 0)
    assert words in caplog.text


@BOTH_VERSIONS
@asynchronous
async def test_what_is_just_within_the_limits_is_accepted(version: int) -> None:
    async with an_emulator() as emulator, raw_device(emulator, Connect("device"), version=version) as peer:
        for packet in ACCEPTED:
            peer.send(packet)
            assert await peer.receive() == PubAck(7)
        peer.send(Subscribe(3, [Subscription(f"a/{each}") for each in range(8)]))
        assert await peer.receive() == SubAck(3, [0] * 8)


@pytest.mark.parametrize(
    ("target", "body", "status", "words"),
    [
        ("/topics/" + "%2F" * 8, b"x", 400, "8 slashes"),
        ("/topics/" + "x" * 257, b"x", 400, "257 bytes"),
        ("/topics/a?contentType=" + "x" * 257, b"x", 400, "max_content_type_bytes"),
        ("/topics/a", bytes(129 * 1024), 413, "larger than"),
        ("/topics/a?qos=2", b"x", 400, "qos"),
        ("/topics/a", bytes(128 * 1024), 200, "OK"),
        ("/topics/" + "%2F" * 7, b"x", 200, "OK"),
    ],
)
@asynchronous
async def test_and_so_it_is_over_https(target: str, body: bytes, status: int, words: str) -> None:
    async with an_emulator() as emulator, http_connection(emulator) as peer:
        head = f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        answered, _, answer = await peer.ask(head.encode() + body)
        assert answered == status
        assert words in answer["message"]


@BOTH_VERSIONS
@asynchronous
async def test_a_policy_replaces_what_certificates_may_do(version: int) -> None:
    from iotwire import Client, ConnectError, HttpsPublisher, PublishError

    def allow(action: str, resource: str) -> dict[str, Any]:
        return {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:iot:us-east-1:123456789012:{resource}"}

    async with an_emulator() as emulator:
        own = "${iot:Connection.Thing.ThingName}"  # the name in the certificate, where it is the client id too
        statements = [allow("iot:Connect", f"client/{own}"), allow("iot:Publish", f"topic/{own}/*")]
        statements.append(allow("iot:Publish", "topic/https/*"))
        emulator.set_policy({"Version": "2012-10-17", "Statement": statements}, authentication="x509")
        route = emulator.endpoint.route("mqtt", emulator.issue_device("pump"))
        async with Client(route, "pump", version=version) as client:
            await client.publish("pump/load", b"x", qos=1)
        with pytest.raises(ConnectError):
            await Client(route, "fan", version=version).connect()
        async with HttpsPublisher(emulator.endpoint.route("https", emulator.device, port=8443)) as publisher:
            await publisher.publish("https/load", b"x", qos=1)
            with pytest.raises(PublishError, match="iot:Publish on pump/load is not allowed for certificate device"):
                await publisher.publish("pump/load", b"x", qos=1)
