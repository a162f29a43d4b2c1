"""Custom authorizers at the emulator: what they are asked, in every form, and what becomes of their answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
import time
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from emulated import (
    ALLOW_ALL,
    BOTH_VERSIONS,
    TOKEN,
    TOKEN_KEY,
    WebSocketPeer,
    add_authorizer,
    an_answer,
    an_emulator,
    custom_auth,
    device_context,
    http_connection,
    token_keys,
    upgrade_request,
    websocket_connection,
)
from iotwire import Client, ConnectError, CredentialsError, HttpsPublisher, PublishError, RouteError, SubscribeError
from iotwire.custom_auth import CustomAuth, TokenSigner
from iotwire.emulator import Emulator, EmulatorLimits
from iotwire.emulator.pki import make_token_key
from iotwire.mqtt import ConnAck, Connect, Disconnect, PubAck, Publish
from scripted import Peer, asynchronous, until

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

NAME, SIGNATURE = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"
FORMS = [
    ("mqtt", {}),
    ("wss", {"place": "headers"}),
    ("wss", {"place": "query"}),
    ("wss", {"place": "connect"}),
    ("https", {"place": "headers"}),
    ("https", {"place": "query"}),
]
IN_EVERY_FORM = pytest.mark.parametrize(
    ("protocol", "options"), FORMS, ids=["-".join([form, *options.values()]) for form, options in FORMS]
)
SIMPLE_TOKEN = "a-secret-token"


async def publish_by(
    emulator: Emulator, auth: CustomAuth, protocol: str, options: dict[str, str], topic: str = "a"
) -> None:
    route = emulator.endpoint.route(protocol, auth, ca=emulator.ca, **options)  # type: ignore[arg-type]
    if protocol == "https":
        async with HttpsPublisher(route) as publisher:
            await publisher.publish(topic, b"x", qos=1)
    else:
        async with Client(route, "device") as client:
            await client.publish(topic, b"x", qos=1)


@IN_EVERY_FORM
@asynchronous
async def test_an_authorizer_gets_awss_event(protocol: str, options: dict[str, str]) -> None:
    events: list[dict[str, Any]] = []

    def note(event: dict[str, Any]) -> dict[str, Any]:
        events.append(event)
        return an_answer()

    async with an_emulator() as emulator:
        add_authorizer(emulator, note)
        token = TOKEN
        auth = custom_auth(username="pump", password=b"\x00raw")
        await publish_by(emulator, auth, protocol, options)
        [event] = events
        assert event["token"] == token
        assert event["signatureVerified"] is True
        assert event["connectionMetadata"]["id"]
        data = event["protocolData"]
        assert data["tls"] == {"serverName": emulator.host}
        expected = {"mqtt": ["tls", "mqtt"], "wss": ["tls", "http", "mqtt"], "https": ["tls", "http"]}[protocol]
        assert event["protocols"] == expected == list(data)
        place = options.get("place")
        if place == "headers":
            assert data["http"]["headers"][NAME] == "gate"
            assert data["http"]["headers"][TOKEN_KEY.lower()] == token
        if place == "query":
            assert data["http"]["queryString"].startswith("?")
            assert f"{NAME}=gate&" in data["http"]["queryString"]
        if protocol != "https":
            username = data["mqtt"]["username"]
            assert username.startswith("pump?x-amz-") if place in (None, "connect") else username == "pump"
            assert b64decode(data["mqtt"]["password"]) == b"\x00raw"
            assert data["mqtt"]["clientId"] == "device"
        assert emulator.stats().messages_received == 1


@IN_EVERY_FORM
@pytest.mark.parametrize(
    "auth",
    [
        CustomAuth("nobody", token_key_name=TOKEN_KEY, token=SIMPLE_TOKEN),
        CustomAuth("GATE", token_key_name=TOKEN_KEY, token=SIMPLE_TOKEN),
        CustomAuth("gate", token_key_name=TOKEN_KEY, token=SIMPLE_TOKEN),
        CustomAuth("gate", token_key_name="AnotherKey", token=SIMPLE_TOKEN),
        CustomAuth("gate", token_key_name=TOKEN_KEY, token=SIMPLE_TOKEN, token_signature="AAAA"),
        CustomAuth("gate"),
        CustomAuth(None),
        "signed by another key",
        "signed for another token",
    ],
    ids=[
        "unknown", "in other letters", "unsigned", "no token", "no signature", "name alone", "nothing",
        "another key", "another token",
    ],
)  # fmt: skip
@asynchronous
async def test_a_claim_that_is_not_right_is_refused_and_nobody_is_asked(
    auth: Any, protocol: str, options: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    asked: list[dict[str, Any]] = []
    if auth == "signed by another key":
        signature = TokenSigner(make_token_key()[0]).sign(SIMPLE_TOKEN)
        auth = CustomAuth("gate", token_key_name=TOKEN_KEY, token=SIMPLE_TOKEN, token_signature=signature)
    elif auth == "signed for another token":
        signature = TokenSigner(token_keys()[0]).sign("another")
        auth = CustomAuth("gate", token_key_name=TOKEN_KEY, token=SIMPLE_TOKEN, token_signature=signature)
    async with an_emulator() as emulator:
        add_authorizer(emulator, asked.append)
        with pytest.raises((ConnectError, PublishError)):
            await publish_by(emulator, auth, protocol, options)
        assert not asked
        assert emulator.stats().messages_received == 0
        assert not emulator.connections()
    assert SIMPLE_TOKEN not in caplog.text
    said = [record.getMessage() for record in caplog.records if record.name == "iotwire.emulator"]
    assert sum("answered with" in each for each in said) == 1, said


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (an_answer(isAuthenticated=False), "not authenticated"),
        (an_answer(isAuthenticated="true"), "isAuthenticated"),
        ({}, "isAuthenticated"),
        (None, "NoneType"),
        ("{", "not JSON"),
        (an_answer(principalId="some-body"), "principalId"),
        (an_answer(principalId=""), "principalId"),
        (an_answer(disconnectAfterInSeconds=299), "disconnectAfterInSeconds"),
        (an_answer(disconnectAfterInSeconds=86_401), "disconnectAfterInSeconds"),
        (an_answer(refreshAfterInSeconds=True), "refreshAfterInSeconds"),
        (an_answer(policyDocuments=[]), "policyDocuments"),
        (an_answer(policyDocuments=["{"]), "policy that is none"),
        (ValueError("holds a-secret-token"), "raised ValueError"),
        (asyncio.CancelledError(), "raised RuntimeError"),
        (TimeoutError(), "took more than 5 s"),
        (StopIteration(), "raised RuntimeError"),
        (SystemExit(), "raised RuntimeError"),
    ],
    ids=str,
)
@asynchronous
async def test_an_answer_that_is_none_lets_nobody_in(
    answer: Any, words: str, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)

    def give(event: dict[str, Any]) -> Any:
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async with an_emulator() as emulator:
        add_authorizer(emulator, give)
        with pytest.raises((ConnectError, PublishError)):
            await publish_by(emulator, custom_auth(), protocol, {})
        assert emulator.stats().messages_received == 0
    assert words in caplog.text
    assert TOKEN not in caplog.text
    assert SIMPLE_TOKEN not in caplog.text


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
@asynchronous
async def test_an_authorizer_may_be_async_and_may_answer_with_json(protocol: str) -> None:
    async def raises(event: dict[str, Any]) -> Any:
        raise ValueError

    async def answers(event: dict[str, Any]) -> Any:
        await asyncio.sleep(0)
        return an_answer()

    async with an_emulator() as emulator:
        for function, is_let_in in (
            (answers, True),
            (raises, False),
            (lambda event: json.dumps(an_answer()), True),
            (lambda event: answers(event), True),
        ):
            add_authorizer(emulator, function)
            if is_let_in:
                await publish_by(emulator, custom_auth(), protocol, {})
            else:
                with pytest.raises((ConnectError, PublishError)):
                    await publish_by(emulator, custom_auth(), protocol, {})


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
@pytest.mark.parametrize("is_async", [False, True])
@asynchronous
async def test_a_function_that_takes_too_long_is_not_waited_for(is_async: bool, protocol: str) -> None:
    release = threading.Event()

    def hang(event: dict[str, Any]) -> Any:
        release.wait(20)

    async def hang_too(event: dict[str, Any]) -> Any:
        await asyncio.sleep(20)

    limits = EmulatorLimits(authorizer_timeout_s=0.2)
    try:
        async with an_emulator(limits) as emulator:
            add_authorizer(emulator, hang_too if is_async else hang)
            started = time.monotonic()
            with pytest.raises((ConnectError, PublishError)):
                await publish_by(emulator, custom_auth(), protocol, {})
            assert time.monotonic() - started < 15
    finally:
        release.set()


@asynchronous
async def test_functions_that_hang_do_not_pile_up() -> None:
    release = threading.Event()

    def hang(event: dict[str, Any]) -> Any:
        release.wait(30)

    limits = EmulatorLimits(authorizer_timeout_s=0.05)
    before = threading.active_count()
    try:
        async with an_emulator(limits) as emulator:
            add_authorizer(emulator, hang)
            headers = [f"{name}: {value}" for name, value in custom_auth().headers().items()]
            request = "\r\n".join(
                ["POST /topics/a HTTP/1.1", "Host: x", "Content-Length: 0", *headers, "", ""]
            ).encode()
            async with http_connection(emulator, port=443, certificate=False) as peer:
                statuses = [(await peer.ask(request))[0] for _ in range(40)]
            assert set(statuses) == {504, 429}
            assert statuses[-1] == 429
            assert threading.active_count() <= before + 33
    finally:
        release.set()


# What an answer allows.


def a_policy(*allowed: tuple[str, str]) -> dict[str, Any]:
    """Allow statements of actions and resources."""
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:iot:us-east-1:123456789012:{resource}"}
        for action, resource in allowed
    ]
    return {"Version": "2012-10-17", "Statement": statements}


OWN = a_policy(
    ("iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
    ("iot:Publish", "topic/things/${iot:ClientId}/*"),
    ("iot:Subscribe", "topicfilter/things/*"),
    ("iot:Receive", "topic/things/*/public"),
)


@BOTH_VERSIONS
@pytest.mark.parametrize("protocol", ["mqtt", "wss"])
@asynchronous
async def test_what_the_policy_does_not_allow_is_refused_as_the_service_does(protocol: str, version: int) -> None:
    async with an_emulator() as emulator:
        add_authorizer(emulator, lambda event: an_answer(policyDocuments=[OWN]))
        route = emulator.endpoint.route(protocol, custom_auth(), ca=emulator.ca)
        async with (
            Client(emulator.endpoint.route("mqtt", emulator.device), "observer") as observer,
            Client(route, "pump", version=version) as client,
        ):
            await client.subscribe("things/#", 1)
            with pytest.raises(SubscribeError) as refused:
                await client.subscribe("secrets/#", 1)
            assert list(refused.value.reason_codes.values()) == [0x87 if version == 5 else 0x80]
            await observer.publish("things/fan/private", b"1", qos=1)
            await observer.publish("things/fan/public", b"2", qos=1)
            message = await anext(client.messages("things/#"))
            assert (message.topic, message.payload) == ("things/fan/public", b"2")
            await observer.subscribe("things/pump/load", 1)
            await client.publish("things/pump/load", b"3", qos=1)
            assert (await anext(observer.messages("things/pump/load"))).payload == b"3"


@BOTH_VERSIONS
@asynchronous
async def test_a_publish_that_is_not_allowed_ends_the_connection(
    version: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with an_emulator() as emulator:
        add_authorizer(emulator, lambda event: an_answer(policyDocuments=[OWN]))
        async with connected(emulator, version) as peer:
            peer.send(Connect("pump", username=custom_auth().mqtt_username()))
            assert (await peer.take_packet()).reason_code == 0
            peer.send(Publish("things/fan/load", b"1", qos=1, packet_id=1))
            if version == 5:
                assert await peer.take_packet() == Disconnect(0x87)
            await peer.expect_close(1000)
        assert emulator.stats().messages_received == 0
    assert "iot:Publish on topic/things/fan/load is not allowed for somebody by authorizer gate" in caplog.text


@contextlib.asynccontextmanager
async def connected(emulator: Emulator, version: int) -> AsyncIterator[WebSocketPeer]:
    """A WebSocket that is open, for credentials in CONNECT."""
    async with websocket_connection(emulator, upgrade_request(emulator), version=version) as peer:
        assert (await peer.take_answer())[0] == 101
        yield peer


@BOTH_VERSIONS
@asynchronous
async def test_a_client_id_that_is_not_allowed_is_refused(version: int) -> None:
    policy = a_policy(("iot:Connect", "client/pump"))
    async with an_emulator() as emulator:
        add_authorizer(emulator, lambda event: an_answer(policyDocuments=[policy]))
        route = emulator.endpoint.route("mqtt", custom_auth(), ca=emulator.ca)
        async with Client(route, "pump", version=version):
            pass
        with pytest.raises(ConnectError) as refused:
            await Client(route, "fan", version=version).connect()
        assert refused.value.reason_code == (0x87 if version == 5 else 5)


@BOTH_VERSIONS
@asynchronous
async def test_a_connection_ends_when_the_authorizer_says_so(version: int) -> None:
    async with an_emulator(EmulatorLimits(least_authorizer_s=1)) as emulator:
        add_authorizer(emulator, lambda event: an_answer(disconnectAfterInSeconds=1))
        async with connected(emulator, version) as peer:
            peer.send(Connect("pump", username=custom_auth().mqtt_username()))
            assert (await peer.take_packet()).reason_code == 0
            if version == 5:
                assert await peer.take_packet() == Disconnect(0x98)
            await peer.expect_close(1000)


@pytest.mark.parametrize("second", ["no", "raises", "less"])
@asynchronous
async def test_an_authorizer_is_asked_again_to_refresh_its_answer(second: str) -> None:
    asked = 0

    def answer(event: dict[str, Any]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        if asked == 1:
            return an_answer(refreshAfterInSeconds=1)
        if second == "raises":
            raise ValueError
        return an_answer(isAuthenticated=second != "no", policyDocuments=[a_policy(("iot:Connect", "*"))])

    async with an_emulator(EmulatorLimits(least_authorizer_s=1)) as emulator:
        add_authorizer(emulator, answer)
        async with connected(emulator, 5) as peer:
            peer.send(Connect("pump", username=custom_auth().mqtt_username()))
            assert (await peer.take_packet()).reason_code == 0
            # Until the second answer has come, publishing goes on; with it, in each of these cases, it ends.
            packet: Any = PubAck(1)
            while packet == PubAck(1):
                peer.send(Publish("a", b"1", qos=1, packet_id=1))
                packet = await peer.take_packet()
                await asyncio.sleep(0.01)
            assert packet == Disconnect(0x87)
        assert asked == 2
        assert emulator.stats().messages_received > 0


@pytest.mark.parametrize("caches_http", [False, True])
@asynchronous
async def test_an_answer_is_kept_on_a_kept_alive_connection_where_that_is_wanted(caches_http: bool) -> None:
    asked: list[str] = []

    def note(event: dict[str, Any]) -> dict[str, Any]:
        asked.append(event["token"])
        return an_answer()

    def request(token: str) -> bytes:
        auth = CustomAuth("gate", token_key_name=TOKEN_KEY, token=token, signer=TokenSigner(token_keys()[0]))
        headers = [f"{name}: {value}" for name, value in auth.headers().items()]
        return "\r\n".join(["POST /topics/a HTTP/1.1", "Host: x", "Content-Length: 0", *headers, "", ""]).encode()

    async with an_emulator() as emulator:
        add_authorizer(emulator, note, caches_http=caches_http)
        async with http_connection(emulator, port=443, certificate=False) as peer:
            for token in "aaba":
                assert (await peer.ask(request(token)))[0] == 200
        async with http_connection(emulator, port=443, certificate=False) as peer:
            assert (await peer.ask(request("a")))[0] == 200
            wrong = request("a").replace(b"signature: ", b"signature: AAAA")
            assert (await peer.ask(wrong))[0] == 401
    assert asked == (list("abaa") if caches_http else list("aabaa"))


@asynchronous
async def test_requests_in_a_row_are_answered_in_their_order_while_an_authorizer_is_asked() -> None:
    async def later(event: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return an_answer()

    headers = [f"{name}: {value}" for name, value in custom_auth().headers().items()]
    async with an_emulator() as emulator:
        add_authorizer(emulator, later)
        async with http_connection(emulator, port=443, certificate=False) as peer:
            for each in range(20):
                target = "/topics/a" if each % 2 else "/topics/%"
                lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {each}", *headers, "", ""]
                peer.writer.write("\r\n".join(lines).encode() + b"x" * each)
            assert [(await peer.answer())[0] for _ in range(20)] == [400, 200] * 10


# Default authorizers, and those without signatures.


@asynchronous
async def test_the_default_authorizer_is_asked_where_none_is_named() -> None:
    names: list[str] = []
    async with an_emulator() as emulator:
        for name in ("first", "second"):
            add_authorizer(
                emulator, lambda event, name=name: names.append(name) or an_answer(), name, is_default=name == "second"
            )
        for protocol, options in FORMS:
            await publish_by(emulator, custom_auth(None), protocol, options)
        assert names == ["second"] * len(FORMS)
        await publish_by(emulator, custom_auth("first"), "mqtt", {})
        assert names[-1] == "first"


@asynchronous
async def test_an_authorizer_without_signatures_reads_user_name_and_password() -> None:
    def check(event: dict[str, Any]) -> dict[str, Any]:
        assert event["signatureVerified"] is False
        assert "token" not in event
        data = event["protocolData"]["mqtt"]
        is_right = data["username"] == "pump" and b64decode(data["password"]) == b"secret"
        return an_answer(isAuthenticated=is_right)

    async with an_emulator() as emulator:
        emulator.add_authorizer("plain", check, signing_disabled=True, is_default=True)
        await publish_by(emulator, CustomAuth(username="pump", password="secret"), "mqtt", {})
        for auth in (CustomAuth(username="pump", password="wrong"), CustomAuth(username="fan", password="secret")):
            with pytest.raises(ConnectError):
                await publish_by(emulator, auth, "mqtt", {})


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("", {"signing_disabled": True}, "name"),
        ("a b", {"signing_disabled": True}, "name"),
        ("a", {}, "public_keys"),
        ("a", {"public_keys": [b"-----BEGIN PUBLIC KEY-----"]}, "token_key_name"),
        ("a", {"token_key_name": "a b", "signing_disabled": True}, "token_key_name"),
        ("a", {"token_key_name": "T", "public_keys": [b"-----BEGIN PUBLIC KEY-----"]}, "public_key_pem"),
        ("a", {"signing_disabled": True, "public_keys": [b"x"]}, "signing disabled"),
    ],
)
def test_an_authorizer_that_cannot_be_is_not_registered(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((RouteError, CredentialsError), match=message):
        Emulator().add_authorizer(name, lambda event: {}, **options)
    with pytest.raises(RouteError, match="function"):
        Emulator().add_authorizer("a", "no function", signing_disabled=True)  # type: ignore[arg-type]


# Spellings.


def encoded(text: str, *, all_of_it: bool = False) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode()) if all_of_it else quote(text, safe="")


def everything(name: str, value: str) -> str:
    return f"{encoded(name, all_of_it=True)}={encoded(value, all_of_it=True)}"


@asynchronous
async def test_what_is_percent_encoded_may_be_spelled_in_any_way_and_means_one_thing() -> None:
    signature = TokenSigner(token_keys()[0]).sign(SIMPLE_TOKEN)
    async with an_emulator() as emulator:
        add_authorizer(emulator)
        name_in_other_letters = encoded(NAME, all_of_it=True)
        rows: list[tuple[str, bool]] = [
            # As AWS's Device SDK has it: `/` and `=` raw in the signature.
            (f"?{NAME}=gate&{SIGNATURE}={signature.replace('+', '%2B')}&{TOKEN_KEY}={SIMPLE_TOKEN}", True),
            (f"?{NAME}=gate&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY}={SIMPLE_TOKEN}", True),
            (
                f"?{everything(NAME, 'gate')}&{everything(SIGNATURE, signature)}&{everything(TOKEN_KEY, SIMPLE_TOKEN)}",
                True,
            ),
            (f"user?SDK=x&{TOKEN_KEY}={SIMPLE_TOKEN}&{SIGNATURE}={encoded(signature)}&{NAME}=gate", True),
            # Encoded twice, a `+` that became a space, given twice in two spellings, in pieces, or cut off.
            (f"?{NAME}=gate&{SIGNATURE}={encoded(encoded(signature))}&{TOKEN_KEY}={SIMPLE_TOKEN}", False),
            (f"?{NAME}=gate&{SIGNATURE}={encoded(signature)} &{TOKEN_KEY}={SIMPLE_TOKEN}", False),
            (
                f"?{NAME}=gate&{name_in_other_letters}=gate&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY}={SIMPLE_TOKEN}",
                False,
            ),
            (f"?{NAME}=gate&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY}={SIMPLE_TOKEN}&{TOKEN_KEY}=x", False),
            (f"?{NAME}=gate&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY.lower()}={SIMPLE_TOKEN}", False),
            (f"?{NAME}=gate%00&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY}={SIMPLE_TOKEN}", False),
            (f"?{NAME}=gate&{SIGNATURE}={encoded(signature)[:-1]}&{TOKEN_KEY}={SIMPLE_TOKEN}", False),
            (f"?{NAME}=gate&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY}=%ff{SIMPLE_TOKEN}", False),
            (f"{NAME}=gate&{SIGNATURE}={encoded(signature)}&{TOKEN_KEY}={SIMPLE_TOKEN}", False),
        ]
        for username, is_let_in in rows:
            async with connected(emulator, 5) as peer:
                peer.send(Connect("pump", username=username))
                assert ((await peer.take_packet()).reason_code == 0) is is_let_in, username


@asynchronous
async def test_a_header_that_is_repeated_or_smuggled_is_refused() -> None:
    auth = custom_auth().headers()
    lines = [f"{name}: {value}" for name, value in auth.items()]
    start = ["POST /topics/a HTTP/1.1", "Host: x"]

    async def ask(emulator: Emulator, *request: str) -> int:
        async with http_connection(emulator, port=443, certificate=False) as peer:
            return int((await peer.ask("\r\n".join([*request, "", ""]).encode()))[0])

    async with an_emulator() as emulator:
        add_authorizer(emulator)
        assert await ask(emulator, *start, "Content-Length: 0", *lines) == 200
        assert await ask(emulator, *start, "Content-Length: 0", *lines, lines[0]) == 401
        assert await ask(emulator, *start, "Content-Length: 0", *lines, f"{SIGNATURE}: x") == 401
        assert await ask(emulator, *start, "Content-Length: 0", *lines, f"{TOKEN_KEY}: x") == 401
        assert (
            await ask(emulator, start[0].replace("/a", f"/a?{NAME}=gate"), *start[1:], "Content-Length: 0", *lines)
            == 401
        )
        served = emulator.stats().messages_received
        for smuggled in (
            ["Content-Length: 0", "Content-Length: 5"],
            ["Content-Length: +0"],
            ["Transfer-Encoding: gzip, chunked"],
            ["Content-Length: 0", f"{NAME} : gate"],
            ["Content-Length: 0", " folded: x"],
            ["Content-Length: 0", "X: a\rb"],
            ["Content-Length: 0", "X: a\0b"],
            ["Content-Length: 0", "Host: y"],
        ):
            assert await ask(emulator, *start, *smuggled, *lines) in (400, 501), smuggled
        assert emulator.stats().messages_received == served


@pytest.mark.parametrize("port", [8883, 443])
@asynchronous
async def test_a_custom_authorizer_cannot_be_used_where_a_certificate_is(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with an_emulator() as emulator:
        add_authorizer(emulator)
        context = device_context(emulator)
        if port == 443:
            context.set_alpn_protocols(["x-amzn-mqtt-ca"])
        reader, writer = await asyncio.open_connection(
            emulator.addresses[0], emulator.ports[port], ssl=context, server_hostname=emulator.host
        )
        peer = Peer(reader, writer, 5)
        peer.send(Connect("device", username=custom_auth().mqtt_username()))
        assert (await peer.expect(ConnAck)).reason_code == 0x87
        writer.transport.abort()
        peer = Peer(*await asyncio.open_connection(
            emulator.addresses[0], emulator.ports[port], ssl=context, server_hostname=emulator.host
        ), 5)  # fmt: skip
        peer.send(Connect("device", username="?SDK=Python&Version=2"))  # which some clients send to be counted
        assert (await peer.expect(ConnAck)).reason_code == 0
        peer.writer.transport.abort()
    assert "custom authentication cannot use" in caplog.text


@pytest.mark.parametrize(("port", "alpn"), [(8443, None), (443, "x-amzn-http-ca")])
@asynchronous
async def test_nor_over_https(port: int, alpn: str | None) -> None:
    async with an_emulator() as emulator, http_connection(emulator, port=port, alpn=alpn) as peer:
        add_authorizer(emulator)
        headers = [f"{name}: {value}" for name, value in custom_auth().headers().items()]
        request = "\r\n".join(["POST /topics/a HTTP/1.1", "Host: x", "Content-Length: 0", *headers, "", ""]).encode()
        status, _, body = await peer.ask(request)
        assert status == 403
        assert "custom authentication cannot use" in body["message"]


@asynchronous
async def test_packets_behind_a_connect_wait_for_its_answer() -> None:
    async def later(event: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(0.05)
        return an_answer(policyDocuments=[ALLOW_ALL])

    async with an_emulator() as emulator:
        add_authorizer(emulator, later)
        async with connected(emulator, 5) as peer:
            packets = [Publish("a", b"x", qos=1, packet_id=each) for each in range(1, 30)]
            peer.send(Connect("pump", username=custom_auth().mqtt_username()), *packets)
            assert (await peer.take_packet()).reason_code == 0
            assert [(await peer.take_packet()) for _ in packets] == [PubAck(each) for each in range(1, 30)]
        async with connected(emulator, 5) as peer:
            packets = [Publish("a", b"x", qos=1, packet_id=each) for each in range(1, 200)]
            peer.send(Connect("pump", username=custom_auth().mqtt_username()), *packets)
            await peer.expect_close(1000)
        assert emulator.stats().messages_received == 29


@asynchronous
async def test_nothing_that_is_secret_is_logged_whatever_is_wrong_with_a_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "a-secret-of-a-device"
    async with an_emulator() as emulator:
        add_authorizer(emulator)
        for request in (
            f"POST /topics/a HTTP/1.1\r\nHost: x\r\n{TOKEN_KEY} : {secret}\r\n\r\n",
            f"POST /topics/a?{TOKEN_KEY}={secret}& HTTP/1.1\r\nHost: x\r\n\r\n",
            f"POST /topics/a?{TOKEN_KEY}={secret}% HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            f"POST /topics/a?{NAME}={secret}!&{TOKEN_KEY}={secret} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            f"POST /topics/a?{NAME}=gate&{SIGNATURE}={secret} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            f"GET /{secret} HTTP/1.1\r\nHost: x\r\n\r\n",
            f"{secret}\r\n\r\n",
        ):
            async with http_connection(emulator, port=443, certificate=False) as peer:
                assert (await peer.ask(request.encode()))[0] >= 400
    assert secret not in caplog.text


@asynchronous
async def test_a_refusal_stays_one_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with an_emulator() as emulator:
        add_authorizer(emulator, lambda event: an_answer(policyDocuments=[a_policy(("iot:Connect", "client/pump?a"))]))
        async with connected(emulator, 5) as peer:
            peer.send(Connect("pump\na", username=custom_auth().mqtt_username()))
            assert (await peer.take_packet()).reason_code == 0
            peer.send(Publish("a\nb", b"x"))
            assert await peer.take_packet() == Disconnect(0x87)
    assert all("\n" not in record.getMessage() for record in caplog.records if record.name.startswith("iotwire"))


@pytest.mark.parametrize("first_bytes", [b"", b"\x10", b"\x10\x20\x00\x04MQTT", b"G", b"GET /mqtt HTTP/1.1\r\nHost: "])
@asynchronous
async def test_who_comes_for_an_authorizer_and_does_not_go_on_does_not_stay(first_bytes: bytes) -> None:
    limits = EmulatorLimits(connect_timeout_s=0.2, http_request_timeout_s=0.2)
    async with an_emulator(limits) as emulator:
        async with http_connection(emulator, port=443, alpn="mqtt", certificate=False) as peer:
            peer.writer.write(first_bytes)
            said = await peer.reader.read()
            assert said.startswith(b"HTTP/1.1 408 ") if first_bytes.startswith(b"G") else said == b""
        assert emulator.stats().accepted_connections == 0
        await until(lambda: emulator.stats().refused_connections == 1)
