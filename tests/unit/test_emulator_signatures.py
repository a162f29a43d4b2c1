"""Signature Version 4 at the emulator: what is signed is served, and whatever is changed in it is refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from emulated import (
    an_emulator,
    http_connection,
    presigned_target,
    signed_request,
    upgrade_request,
    websocket_connection,
)
from iotwire import HttpsPublisher, PublishError
from iotwire.credentials import SigV4
from iotwire.emulator import Emulator, PolicyError
from iotwire.sigv4 import Credentials
from scripted import asynchronous

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

TEMPORARY = Credentials("ASIATEMPORARY", "temporary-secret", "a-session-token/+=")


def moved(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def other(credentials: Credentials, secret: str = "wrong-secret", token: str | None = None) -> Credentials:
    return Credentials(credentials.access_key_id, secret, token)


def swap(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    def change(request: bytes) -> bytes:
        assert old in request
        return request.replace(old, new, 1)

    return change


# What, the arguments of the signature, a change of the signed request, and the answer.
REFUSED: list[tuple[str, dict[str, Any], Callable[[bytes], bytes] | None, int, str]] = [
    ("signed with another secret", {"credentials": "other"}, None, 403, "does not match"),
    ("of nobody", {"credentials": Credentials("AKIDNOBODY", "a-secret")}, None, 403, "not known"),
    ("old", {"now": -301}, None, 403, "before this server's time"),
    ("early", {"now": 310}, None, 403, "after this server's time"),
    ("of another region", {"region": "eu-central-1"}, None, 403, "names the region"),
    ("of another service", {"service": "iotdevicegateway"}, None, 403, "names the service"),
    ("of yet another service", {"service": "s3"}, None, 403, "names the service"),
    ("with another body", {}, swap(b"21.5", b"99.5"), 403, "does not match"),
    ("for another topic", {}, swap(b"readings%2Fa", b"readings%2Fb"), 403, "does not match"),
    ("for a topic spelled otherwise", {}, swap(b"readings%2Fa", b"readings%2fa"), 403, "does not match"),
    ("for a topic not encoded", {}, swap(b"readings%2Fa", b"readings/a"), 403, "does not match"),
    ("for a path with a step", {}, swap(b"/topics/", b"/topics/x/../"), 400, "no empty segment"),
    ("for a path with a dot", {}, swap(b"/topics/", b"/topics/./"), 400, "no empty segment"),
    ("for a path with an empty segment", {}, swap(b"/topics/", b"/topics//"), 400, "no empty segment"),
    ("with another query", {}, swap(b"qos=1", b"qos=0"), 403, "does not match"),
    ("with more of a query", {}, swap(b"qos=1", b"qos=1&retain=true"), 403, "does not match"),
    ("with a broken escape", {}, swap(b"qos=1", b"qos=%1"), 400, "hexadecimal"),
    ("by another method", {}, swap(b"POST", b"PUT"), 403, "does not match"),
    ("for another host", {}, swap(b"host: a1b2c3", b"host: a1b2c4"), 403, "another host"),
    ("with a header that is not signed", {}, swap(b"\r\n\r\n", b"\r\nx-amz-mqtt5-x: 1\r\n\r\n"), 403, "not signed"),
    ("without its date", {}, swap(b"\r\nX-Amz-Date", b"\r\nX-Other-Date"), 403, "X-Amz-Date"),
    ("with two signatures", {}, swap(b"\r\n\r\n", b"\r\nauthorization: AWS4-HMAC-SHA256 x\r\n\r\n"), 403, "2 times"),
    ("with half a signature in the query", {}, swap(b"qos=1", b"qos=1&X-Amz-Expires=60"), 403, "no signature"),
    ("with another in the query", {}, swap(b"qos=1", b"qos=1&X-Amz-Signature=0"), 403, "another in an Authorization"),
    ("with an authorizer too", {}, swap(b"qos=1", b"qos=1&x-amz-customauthorizer-name=x"), 403, "together"),
    ("of another algorithm", {}, swap(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256"), 403, "must begin with"),
    ("with a token of nobody", {}, swap(b"\r\n\r\n", b"\r\nx-amz-security-token: x\r\n\r\n"), 403, "have none"),
    ("without its session token", {"credentials": "without token"}, None, 403, "session token is missing"),
    ("with another session token", {"credentials": "another token"}, None, 403, "not that of"),
    ("when the credentials are over", {"credentials": "expired"}, None, 403, "expired"),
]


def arguments_of(emulator: Emulator, given: dict[str, Any]) -> dict[str, Any]:
    own = emulator.credentials[0]
    names = {
        "other": other(own),
        "without token": other(TEMPORARY, "temporary-secret"),
        "another token": other(TEMPORARY, "temporary-secret", "another-token"),
        "expired": Credentials("ASIAEXPIRED", "expired-secret"),
    }
    arguments = dict(given)
    if isinstance(arguments.get("now"), int):
        arguments["now"] = moved(arguments["now"])
    if isinstance(arguments.get("credentials"), str):
        arguments["credentials"] = names[arguments["credentials"]]
    return arguments


@asynchronous
async def test_a_signed_request_publishes_and_the_same_signature_does_so_within_its_time() -> None:
    async with an_emulator() as emulator, http_connection(emulator, port=443, certificate=False) as peer:
        request = signed_request(emulator)
        for _ in range(2):  # as at the service: a signature is not used up
            assert (await peer.ask(request))[0] == 200
        for target in ("/topics/a%20b", "/topics/%C3%BC?qos=0", "/topics/a%2F%2Fb?qos=1&retain=false", "/topics/a/b"):
            assert (await peer.ask(signed_request(emulator, target)))[0] == 200
        for now in (-290, 290):
            assert (await peer.ask(signed_request(emulator, now=moved(now))))[0] == 200
        more = ("x-amz-mqtt5-payload-format-indicator", "UTF8_DATA")
        assert (await peer.ask(signed_request(emulator, "/topics/a", b"x", more)))[0] == 200
        [info] = emulator.connections()
        assert (info.row, info.alpn) == (6, None)


@pytest.mark.parametrize(
    ("arguments", "change", "status", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
@asynchronous
async def test_a_request_whose_signature_is_not_right_is_refused(
    arguments: dict[str, Any],
    change: Callable[[bytes], bytes] | None,
    status: int,
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with an_emulator() as emulator, http_connection(emulator, port=443, certificate=False) as peer:
        emulator.add_credentials(TEMPORARY)
        emulator.add_credentials(Credentials("ASIAEXPIRED", "expired-secret", None, moved(-1)))
        request = signed_request(emulator, **arguments_of(emulator, arguments))
        if change is not None:
            request = change(request)
        answered, headers, body = await peer.ask(request)
        assert answered == status
        assert words in body["message"]
        assert headers["date"]
        assert emulator.stats().messages_received == 0
        assert (await peer.ask(signed_request(emulator)))[0] == 200  # and the next one is served
        secrets = [emulator.credentials[0].secret_access_key]
    refusals = [record for record in caplog.records if "answered with" in record.getMessage()]
    assert len(refusals) == 1
    for secret in (*secrets, "a-session-token", "another-token", "temporary-secret"):
        assert secret not in caplog.text


@asynchronous
async def test_no_changed_byte_of_what_is_signed_is_served() -> None:
    async with an_emulator() as emulator:
        request = signed_request(emulator, "/topics/a?qos=1", b"x")
        head_end = request.index(b"\r\n\r\n") + 4
        signed_parts = [
            *range(len(b"POST "), request.index(b" HTTP/1.1")),
            *range(request.index(b"Authorization: ") + 15, request.index(b"\r\n", request.index(b"Authorization: "))),
            *range(request.index(b"X-Amz-Date: ") + 12, request.index(b"\r\n", request.index(b"X-Amz-Date: "))),
            *range(head_end, len(request)),
        ]
        chosen = signed_parts[::3]
        for start in range(0, len(chosen), 8):

            async def ask(position: int) -> int:
                async with http_connection(emulator, port=443, certificate=False) as peer:
                    changed = request[:position] + bytes([request[position] ^ 1]) + request[position + 1 :]
                    return int((await peer.ask(changed))[0])

            statuses = await asyncio.gather(*map(ask, chosen[start : start + 8]))
            assert set(statuses) <= {400, 403, 404}, statuses
        assert emulator.stats().messages_received == 0


@asynchronous
async def test_temporary_credentials_are_signed_over_https_and_appended_over_websockets() -> None:
    async with an_emulator() as emulator:
        emulator.add_credentials(TEMPORARY)
        async with http_connection(emulator, port=443, certificate=False) as peer:
            request = signed_request(emulator, credentials=TEMPORARY)
            assert b"x-amz-security-token;" in request or b";x-amz-security-token" in request
            assert (await peer.ask(request))[0] == 200
            unsigned = signed_request(emulator, credentials=other(TEMPORARY, "temporary-secret"))
            token = b"\r\nx-amz-security-token: a-session-token/+=\r\n\r\n"
            answered, _, body = await peer.ask(unsigned.replace(b"\r\n\r\n", token, 1))
            assert (answered, "signed" in body["message"]) == (403, True)
        for target, status in (
            (presigned_target(emulator, credentials=TEMPORARY), 101),
            (presigned_target(emulator, credentials=TEMPORARY).partition("&X-Amz-Security-Token")[0], 403),
            (presigned_target(emulator, credentials=other(TEMPORARY, "temporary-secret", "another")), 403),
        ):
            async with websocket_connection(emulator, upgrade_request(emulator, target)) as raw:
                assert (await raw.take_answer())[0] == status
        # As other services want it, the token signed like the rest: AWS IoT answers that with 403.
        from iotwire.sigv4 import Signer

        url = Signer(emulator.region, "iotdevicegateway").presign_url(
            "GET", f"wss://{emulator.host}/mqtt", TEMPORARY, now=moved(0), sign_session_token=True
        )
        target = url[url.index("/mqtt") :]
        async with websocket_connection(emulator, upgrade_request(emulator, target)) as raw:
            assert (await raw.take_answer())[0] == 403


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({}, 101),
        ({"expires": None}, 101),
        ({"service": "iotdata"}, 101),
        ({"now": -86_000}, 101),
        ({"now": 290}, 101),
        ({"expires": None, "now": -290}, 101),
        ({"expires": None, "now": -310}, 403),
        ({"now": -86_410}, 403),
        ({"expires": 60, "now": -70}, 403),
        ({"now": 310}, 403),
        ({"region": "eu-central-1"}, 403),
        ({"service": "iot"}, 403),
        ({"credentials": "other"}, 403),
        ({"host": "another-ats.iot.local.test"}, 403),
        ({"path": "/other"}, 404),
        ({"path": "/mqtt/"}, 404),
    ],
)
@asynchronous
async def test_a_presigned_url_opens_a_websocket_for_its_time(
    arguments: dict[str, Any], status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with an_emulator() as emulator:
        target = presigned_target(emulator, **arguments_of(emulator, arguments))
        async with websocket_connection(emulator, upgrade_request(emulator, target)) as peer:
            answered, headers, body = await peer.take_answer()
            assert answered == status, body
            if status != 101:
                assert headers["date"]
                assert b"message" in body
        signature = target.partition("X-Amz-Signature=")[2][:64]
    assert signature not in caplog.text


@asynchronous
async def test_no_changed_byte_of_a_presigned_url_opens_a_websocket() -> None:
    async with an_emulator() as emulator:
        target = presigned_target(emulator)
        start = target.index("?") + 1

        async def ask(position: int) -> int:
            changed = target[:position] + chr(ord(target[position]) ^ 1) + target[position + 1 :]
            async with websocket_connection(emulator, upgrade_request(emulator, changed)) as peer:
                return (await peer.take_answer())[0]

        chosen = range(start, len(target), 7)
        for first in range(0, len(chosen), 8):
            statuses = await asyncio.gather(*map(ask, chosen[first : first + 8]))
            # Where a parameter's name was bent, there may be no signature left: then CONNECT has to bring a claim.
            assert set(statuses) <= {101, 400, 403}
            for position, status in zip(chosen[first : first + 8], statuses, strict=True):
                if status == 101:
                    assert "=" not in target[position : position + 1]
        assert emulator.stats().accepted_connections >= 0
        assert not emulator.connections()


@asynchronous
async def test_our_publisher_learns_what_a_policy_does_not_allow() -> None:
    async with an_emulator() as emulator:
        allowed = {"Effect": "Allow", "Action": "iot:Publish", "Resource": "arn:aws:iot:us-east-1:*:topic/readings/*"}
        emulator.set_policy({"Version": "2012-10-17", "Statement": [allowed]}, authentication="sigv4")
        route = emulator.endpoint.route("https", SigV4(emulator.credentials[0]), ca=emulator.ca)
        async with HttpsPublisher(route) as publisher:
            await publisher.publish("readings/a", b"x", qos=1)
            with pytest.raises(PublishError, match="iot:Publish on secrets/a"):
                await publisher.publish("secrets/a", b"x", qos=1)
            with pytest.raises(PublishError, match="iot:RetainPublish"):
                await publisher.publish("readings/a", b"x", qos=1, retain=True)
        with pytest.raises(PolicyError):
            emulator.set_policy({}, authentication="sigv4")
