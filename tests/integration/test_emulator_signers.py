"""Clients that nobody here wrote, on the rows that no certificate opens: WebSockets, signatures, custom authorizers.

paho's over WebSockets, awscrt with AWS's device SDK for Python, the first version of that SDK, MQTT.js, curl, and
botocore's client of the publish operation.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from brokers import Aedes, find_program
from emulated import TOKEN_KEY, add_authorizer, an_answer, custom_auth, token_keys
from iotwire.custom_auth import TokenSigner
from iotwire.emulator import Emulator
from iotwire.sigv4 import Credentials, presign_mqtt_url
from scripted import asynchronous
from strangers import (
    TIME_LIMIT_S,
    a_display,
    an_emulator_at,
    converse_by_awscrt_4,
    converse_by_awscrt_5,
    in_brackets,
    localhost_at,
    run,
)

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
# A session token in all of its letters: it is appended to a WebSocket's URL, and signed in a header.
TEMPORARY = Credentials(
    "ASIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "IQoJb3Jp+Z2luX2Vj/EXAMPLE=="
)
BOTH_CREDENTIALS = pytest.mark.parametrize("is_temporary", [False, True], ids=["of a user", "temporary"])
TOKEN = "a-token_of.words"


def credentials_of(emulator: Emulator, *, is_temporary: bool) -> Credentials:
    emulator.add_credentials(TEMPORARY)
    return TEMPORARY if is_temporary else emulator.credentials[0]


def signature_of(token: str = TOKEN) -> str:
    return TokenSigner(token_keys()[0]).sign(token)


# paho.


@BOTH_VERSIONS
@pytest.mark.parametrize("way", ["signed", "signed with temporary credentials", "headers", "query", "connect"])
@asynchronous
async def test_pahos_client_publishes_and_subscribes_over_websockets(version: int, way: str) -> None:
    pytest.importorskip("paho.mqtt.client")
    async with an_emulator_at("127.0.0.1") as emulator, a_display(emulator) as next_message:
        add_authorizer(emulator)
        path, headers, username = "/mqtt", {}, None
        if way.startswith("signed"):
            own = credentials_of(emulator, is_temporary=way.endswith("temporary credentials"))
            url = presign_mqtt_url(emulator.host, emulator.region, own)
            path, headers = url[url.index("/mqtt") :], {"Host": emulator.host}
        elif way == "headers":
            headers = custom_auth().headers()
        elif way == "query":
            path = f"/mqtt?{custom_auth().query()}"
        else:
            username = custom_auth().mqtt_username()
        received = await asyncio.to_thread(_converse_by_paho, emulator, version, path, headers, username)
        assert received == ("readings/paho", b"21.5", 1)
        assert (await next_message()).payload == b"21.5"


def _converse_by_paho(
    emulator: Emulator, version: int, path: str, headers: dict[str, str], username: str | None
) -> tuple[str, bytes, int]:
    from paho.mqtt.client import Client as PahoClient
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    arrived, subscribed, got = threading.Event(), threading.Event(), []
    client = PahoClient(
        CallbackAPIVersion.VERSION2,
        "paho",
        protocol=MQTTProtocolVersion.MQTTv5 if version == 5 else MQTTProtocolVersion.MQTTv311,
        transport="websockets",
    )
    client.tls_set_context(ssl.create_default_context(cafile=emulator.ca))
    client.ws_set_options(path, headers or None)
    if username is not None:
        client.username_pw_set(username)
    client.on_connect = lambda *_: client.subscribe("readings/paho", 1)
    client.on_subscribe = lambda *_: subscribed.set()

    def take(_: object, __: object, message: Any) -> None:
        got.append((message.topic, message.payload, message.qos))
        arrived.set()

    client.on_message = take
    client.connect(localhost_at("127.0.0.1"), emulator.ports[443])
    client.loop_start()
    try:
        assert subscribed.wait(TIME_LIMIT_S)
        client.publish("readings/paho", b"21.5", 1).wait_for_publish(TIME_LIMIT_S)
        assert arrived.wait(TIME_LIMIT_S)
    finally:
        client.disconnect()
        client.loop_stop()
    [message] = got
    return message


# awscrt, and AWS's device SDK, which sets it up.


@pytest.mark.parametrize("way", ["signed", "signed with temporary credentials", "authorizer", "authorizer, WebSockets"])
@BOTH_VERSIONS
@asynchronous
async def test_awss_device_sdk_publishes_and_subscribes(version: int, way: str) -> None:
    pytest.importorskip("awscrt")
    pytest.importorskip("awsiot")
    async with an_emulator_at("127.0.0.1") as emulator, a_display(emulator) as next_message:
        add_authorizer(emulator)
        converse = _converse_by_sdk_5 if version == 5 else _converse_by_sdk_4
        received = await asyncio.to_thread(converse, emulator, way)
        assert received == ("readings/sdk", b"21.5")
        assert (await next_message()).payload == b"21.5"


def _builder_of(module: Any, emulator: Emulator, way: str) -> tuple[Callable[..., Any], dict[str, Any]]:
    from awscrt import auth

    common = {
        "endpoint": localhost_at("127.0.0.1"),
        "port": emulator.ports[443],
        "ca_filepath": emulator.ca,
        "client_id": "sdk",
    }
    if way.startswith("signed"):
        own = credentials_of(emulator, is_temporary=way.endswith("temporary credentials"))
        provider = auth.AwsCredentialsProvider.new_static(own.access_key_id, own.secret_access_key, own.session_token)
        signing = {"region": emulator.region, "credentials_provider": provider}
        return module.websockets_with_default_aws_signing, common | signing
    claim = {
        "auth_authorizer_name": "gate",
        "auth_authorizer_signature": signature_of(),
        "auth_token_key_name": TOKEN_KEY,
        "auth_token_value": TOKEN,
        "auth_username": "",
        "auth_password": None,
    }
    if way.endswith("WebSockets"):
        return module.websockets_with_custom_authorizer, common | claim
    return module.direct_with_custom_authorizer, common | claim


def _converse_by_sdk_5(emulator: Emulator, way: str) -> tuple[str, bytes]:
    from awsiot import mqtt5_client_builder

    build, arguments = _builder_of(mqtt5_client_builder, emulator, way)

    def make_client(take: Any, on_connected: Any, on_stopped: Any) -> Any:
        return build(
            on_publish_received=take,
            on_lifecycle_connection_success=on_connected,
            on_lifecycle_stopped=on_stopped,
            **arguments,
        )

    return converse_by_awscrt_5(make_client, "readings/sdk")


def _converse_by_sdk_4(emulator: Emulator, way: str) -> tuple[str, bytes]:
    from awsiot import mqtt_connection_builder

    build, arguments = _builder_of(mqtt_connection_builder, emulator, way)
    connection = build(**arguments)
    connection.port = emulator.ports[443]  # with an authorizer and MQTT, the builder takes 443 whatever it is told
    return converse_by_awscrt_4(connection, "readings/sdk")


@asynchronous
async def test_awss_device_sdk_sees_that_it_is_refused() -> None:
    pytest.importorskip("awscrt")
    pytest.importorskip("awsiot")
    from awscrt import auth
    from awscrt.exceptions import AwsCrtError
    from awsiot import mqtt_connection_builder

    async with an_emulator_at("127.0.0.1") as emulator:
        add_authorizer(emulator, lambda event: an_answer(isAuthenticated=False))

        def connect(way: str, **changes: Any) -> None:
            build, arguments = _builder_of(mqtt_connection_builder, emulator, way)
            with pytest.raises(AwsCrtError):
                build(**arguments | changes).connect().result(TIME_LIMIT_S)

        stranger = auth.AwsCredentialsProvider.new_static("AKIDSTRANGER", "a-secret")
        await asyncio.to_thread(connect, "signed", credentials_provider=stranger)
        await asyncio.to_thread(connect, "signed", region="eu-central-1")
        await asyncio.to_thread(connect, "authorizer")
        await asyncio.to_thread(connect, "authorizer", auth_authorizer_signature=signature_of("another"))
        assert not emulator.connections()


# The first version of that SDK.


# A program of its own: it leaves sockets open, and takes no endpoint but by the names of the service.
FIRST_SDK = """
import json, socket, sys, threading
port, ca, host, own, limit = sys.argv[1:]
connect = socket.create_connection
socket.create_connection = lambda address, *rest, **more: connect(("127.0.0.1", int(port)), *rest, **more)
from AWSIoTPythonSDK.MQTTLib import AWSIoTMQTTClient
arrived = threading.Event()
def take(client, userdata, message):
    print(message.topic, message.payload.decode())
    arrived.set()
client = AWSIoTMQTTClient("first", useWebsocket=True)
client.configureEndpoint(host, 443)
client.configureCredentials(ca)
client.configureIAMCredentials(*json.loads(own))
client.configureConnectDisconnectTimeout(int(limit))
client.configureMQTTOperationTimeout(int(limit))
assert client.connect()
assert client.subscribe("readings/first", 1, take)
assert client.publish("readings/first", "21.5", 1)
assert arrived.wait(int(limit))
client.disconnect()
"""


@BOTH_CREDENTIALS
@asynchronous
async def test_the_first_version_of_awss_sdk_publishes_and_subscribes(is_temporary: bool) -> None:
    pytest.importorskip("AWSIoTPythonSDK")
    if not hasattr(ssl, "wrap_socket"):
        pytest.skip("AWSIoTPythonSDK connects with ssl.wrap_socket, which Python 3.12 has no more")
    host = "a1b2c3-ats.iot.eu-central-1.amazonaws.com"
    async with (
        an_emulator_at("127.0.0.1", host=host, wants_sni=False) as emulator,
        a_display(emulator) as next_message,
    ):
        own = credentials_of(emulator, is_temporary=is_temporary)
        words = json.dumps([own.access_key_id, own.secret_access_key, own.session_token or ""])
        command = [sys.executable, "-W", "ignore", "-c", FIRST_SDK, str(emulator.ports[443]), emulator.ca, host, words]
        status, output, errors = await run(*command, "10")
        assert (status, output) == (0, "readings/first 21.5\n"), errors
        assert (await next_message()).payload == b"21.5"


# MQTT.js.

PROGRAM = """
const [packages, url, ca, version, options] = process.argv.slice(1)
const { createRequire } = await import("node:module")
const { readFileSync } = await import("node:fs")
const mqtt = createRequire(packages + "/")("mqtt")
const client = mqtt.connect(url, {
  clientId: "js", protocolVersion: Number(version), ca: readFileSync(ca), reconnectPeriod: 0, ...JSON.parse(options),
})
client.on("error", (error) => { console.error(String(error.message)); process.exit(1) })
client.on("message", (topic, payload) => { console.log(topic, String(payload)); client.end() })
const ignore = () => {} // the reason comes as an error of the client
await client.subscribeAsync("readings/js", { qos: 1 }).then(
  () => client.publishAsync("readings/js", "21.5", { qos: 1 })
).catch(ignore)
"""


@BOTH_VERSIONS
@pytest.mark.parametrize("way", ["signed", "signed with temporary credentials", "query", "headers", "connect"])
@asynchronous
async def test_mqtt_js_publishes_and_subscribes(version: int, way: str, tmp_path: Any) -> None:
    packages = Aedes(tmp_path).packages
    node = find_program("node")
    async with an_emulator_at("127.0.0.1") as emulator, a_display(emulator) as next_message:
        add_authorizer(emulator)
        place = f"{localhost_at('127.0.0.1')}:{emulator.ports[443]}"
        url, options = f"wss://{place}/mqtt", {}
        if way.startswith("signed"):
            own = credentials_of(emulator, is_temporary=way.endswith("temporary credentials"))
            url = presign_mqtt_url("localhost", emulator.region, own, port=emulator.ports[443])
        elif way == "query":
            url += f"?{custom_auth().query()}"
        elif way == "headers":
            options = {"wsOptions": {"headers": custom_auth().headers()}}
        else:
            options = {"username": custom_auth().mqtt_username()}
        command = [node, "--input-type=module", "-e", PROGRAM, str(packages), url, emulator.ca]
        status, output, errors = await run(*command, str(version), json.dumps(options))
        assert (status, output) == (0, "readings/js 21.5\n"), errors
        assert (await next_message()).payload == b"21.5"
        if way == "signed":
            command[5] = url.replace("X-Amz-Signature=", "X-Amz-Signature=0")
            assert (await run(*command, str(version), json.dumps(options)))[1] == ""
            assert emulator.stats().messages_received == 1


# curl.


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
@asynchronous
async def test_curl_publishes_with_a_signature_and_by_an_authorizer(address: str) -> None:
    async with an_emulator_at(address) as emulator, a_display(emulator) as next_message:
        add_authorizer(emulator)
        own = emulator.credentials[0]
        place = f"{emulator.host}:443:{in_brackets(address)}:{emulator.ports[443]}"
        common = [find_program("curl"), "-sS", "-i", "--connect-to", place, "--cacert", emulator.ca]
        signing = ["--aws-sigv4", f"aws:amz:{emulator.region}:iotdata", "--user"]
        headers = [part for name, value in custom_auth().headers().items() for part in ("-H", f"{name}: {value}")]
        target = f"https://{emulator.host}/topics/readings%2Fcurl?qos=1"
        for words, url, answer in (
            (
                [*signing, f"{own.access_key_id}:{own.secret_access_key}"],
                f"https://{emulator.host}/topics/readings/curl?qos=1",
                "200 OK",
            ),
            (headers, target, "200 OK"),
            ([], f"{target}&{custom_auth().query()}", "200 OK"),
            ([*signing, f"{own.access_key_id}:wrong"], target, "403 Forbidden"),
            ([*signing, "AKIDNOBODY:wrong"], target, "403 Forbidden"),
            (headers[:-2], target, "401 Unauthorized"),
        ):
            _, output, errors = await run(*common, *words, url, "--data-binary", "21.5")
            assert output.startswith(f"HTTP/1.1 {answer}\r\n"), (output, errors)
            assert "\r\nDate: " in output or "\r\ndate: " in output
            if answer == "200 OK":
                assert (await next_message()).payload == b"21.5"
        assert emulator.stats().messages_received == 3


# botocore.


@BOTH_CREDENTIALS
@pytest.mark.parametrize("topic", ["readings/a", "readings/a b", "readings/ü", "readings/a//b", "readings/%25"])
@asynchronous
async def test_botocores_client_publishes(is_temporary: bool, topic: str) -> None:
    pytest.importorskip("botocore")
    async with an_emulator_at("127.0.0.1") as emulator, a_display(emulator) as next_message:
        own = credentials_of(emulator, is_temporary=is_temporary)

        def publish() -> None:
            client = _botocore_client(emulator, own)
            client.publish(topic=topic, qos=1, payload=b"21.5", contentType="text/plain")
            client.close()

        await asyncio.to_thread(publish)
        message = await next_message()
        assert (message.topic, message.payload, message.content_type) == (topic, b"21.5", "text/plain")


@asynchronous
async def test_botocores_client_sees_that_it_is_refused() -> None:
    pytest.importorskip("botocore")
    from botocore.exceptions import ClientError

    async with an_emulator_at("127.0.0.1") as emulator:
        own = emulator.credentials[0]

        def publish(signed_with: Credentials, region: str, topic: str, status: int) -> None:
            client = _botocore_client(emulator, signed_with, region)
            with pytest.raises(ClientError) as caught:
                client.publish(topic=topic, qos=1, payload=b"21.5")
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
            client.close()

        for arguments in (
            (Credentials(own.access_key_id, "wrong"), emulator.region, "a", 403),
            (Credentials("AKIDNOBODY", "wrong"), emulator.region, "a", 403),
            (own, "eu-central-1", "a", 403),
            (own, emulator.region, "/" * 8, 400),
        ):
            await asyncio.to_thread(publish, *arguments)
        assert emulator.stats().messages_received == 0


def _botocore_client(emulator: Emulator, own: Credentials, region: str | None = None) -> Any:
    import botocore.config
    import botocore.session

    session = botocore.session.Session()
    session.set_config_variable("config_file", os.devnull)
    return session.create_client(
        "iot-data",
        region_name=region or emulator.region,
        endpoint_url=f"https://{localhost_at('127.0.0.1')}:{emulator.ports[443]}",
        verify=emulator.ca,
        aws_access_key_id=own.access_key_id,
        aws_secret_access_key=own.secret_access_key,
        aws_session_token=own.session_token,
        config=botocore.config.Config(retries={"max_attempts": 0}, connect_timeout=10, read_timeout=10),
    )
