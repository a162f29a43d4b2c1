"""Clients that nobody here wrote, against the emulator: paho's, awscrt's, mosquitto's, curl, and openssl by hand.

What they see is what a user of them would see: messages that arrive, or an alert with its reason.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from brokers import find_program
from iotwire import X509, BlockingHttpsPublisher, HttpsPublisher
from iotwire.emulator import Emulator
from iotwire.emulator.pki import Authority
from iotwire.tls import ClientHello
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

MQTT_ROWS = pytest.mark.parametrize(("port", "alpn"), [(8883, None), (443, "x-amzn-mqtt-ca")], ids=["row 1", "row 2"])
BOTH_VERSIONS = pytest.mark.parametrize("version", [4, 5])
BOTH_FAMILIES = pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
BOTH_TLS = pytest.mark.parametrize("tls", ["-tls1_2", "-tls1_3"])

CERTIFICATE_UNKNOWN_CA, CERTIFICATE_REQUIRED, HANDSHAKE_FAILURE = 48, 116, 40
UNRECOGNIZED_NAME, NO_APPLICATION_PROTOCOL = 112, 120


# mosquitto's commands.


def mosquitto(name: str, emulator: Emulator, port: int, alpn: str | None, certificate: X509 | None) -> list[str]:
    words = [find_program(name), "-h", localhost_at(emulator.addresses[0]), "-p", str(emulator.ports[port])]
    words += ["--cafile", str(emulator.device.ca)]
    if certificate is not None:
        words += ["--cert", str(certificate.cert), "--key", str(certificate.key)]
    return words if alpn is None else [*words, "--tls-alpn", alpn]


@BOTH_FAMILIES
@MQTT_ROWS
@BOTH_VERSIONS
@asynchronous
async def test_mosquittos_commands_publish_and_subscribe(
    version: int, port: int, alpn: str | None, address: str
) -> None:
    async with an_emulator_at(address) as emulator:
        more = ["-V", "mqttv5" if version == 5 else "mqttv311", "-q", "1", "-t"]
        publish = mosquitto("mosquitto_pub", emulator, port, alpn, emulator.device)
        subscribe = mosquitto("mosquitto_sub", emulator, port, alpn, emulator.device)
        async with a_display(emulator) as next_message:
            status, _, errors = await run(*publish, *more, "readings/a", "-m", "21.5", "-r")
            assert status == 0, errors
            message = await next_message()
            assert (message.topic, message.payload, message.qos) == ("readings/a", b"21.5", 1)
        # Retained, and so it is there for one who comes later.
        status, output, errors = await run(*subscribe, *more, "readings/+", "-C", "1", "-W", str(int(TIME_LIMIT_S)))
        assert (status, output) == (0, "21.5\n"), errors


@asynchronous
async def test_mosquittos_commands_say_that_they_are_refused(tmp_path: Path) -> None:
    stranger = Authority(tmp_path).issue_device("stranger")
    async with an_emulator_at("127.0.0.1") as emulator:
        for port, alpn, certificate in (
            (443, "x-amzn-mqtt", emulator.device),
            (443, "x-amzn-http-ca", emulator.device),
            (443, None, emulator.device),
            (8883, "x-amzn-mqtt-ca", emulator.device),
            (8883, None, None),
            (8883, None, stranger),
        ):
            command = mosquitto("mosquitto_pub", emulator, port, alpn, certificate)
            status, _, errors = await run(*command, "-q", "1", "-t", "readings/a", "-m", "21.5")
            assert status != 0
            assert errors
        assert emulator.stats().messages_received == 0


# curl and openssl.


def curl(emulator: Emulator, port: int, certificate: X509 | None, path: str, *more: str) -> list[str]:
    place = f"{emulator.host}:{port}:{in_brackets(emulator.addresses[0])}:{emulator.ports[port]}"
    words = [find_program("curl"), "-sS", "--include", "--connect-to", place, "--cacert", str(emulator.device.ca)]
    if certificate is not None:
        words += ["--cert", str(certificate.cert), "--key", str(certificate.key)]
    return [*words, *more, f"https://{emulator.host}:{port}{path}"]


@BOTH_FAMILIES
@asynchronous
async def test_curl_publishes_by_row_8(address: str) -> None:
    async with an_emulator_at(address) as emulator, a_display(emulator) as next_message:
        target = "/topics/readings%2Fa?qos=1&contentType=text%2Fplain"
        command = curl(emulator, 8443, emulator.device, target, "--data-binary", "21.5")
        status, output, errors = await run(*command)
        assert status == 0, errors
        assert re.match(r"HTTP/1.1 200 OK\r\n", output)
        assert '"message": "OK"' in output
        message = await next_message()
        assert (message.topic, message.payload, message.qos) == ("readings/a", b"21.5", 1)
        assert message.content_type == "text/plain"
        # With a body that curl announces first, and one that is too large for the service.
        for size, answer in ((100_000, "HTTP/1.1 200"), (200_000, "HTTP/1.1 413")):
            command = curl(
                emulator,
                8443,
                emulator.device,
                "/topics/readings%2Fb",
                "-H",
                "Expect: 100-continue",
                "--data-binary",
                "@-",
            )
            _, output, _ = await run(*command, stdin=b"x" * size)
            assert answer in output
        assert len((await next_message()).payload) == 100_000


@asynchronous
async def test_curl_sees_why_it_is_refused(tmp_path: Path) -> None:
    stranger = Authority(tmp_path).issue_device("stranger")
    async with an_emulator_at("127.0.0.1") as emulator:
        for port, path, answer in (
            (8443, "/topics/a?qos=2", "400"),
            (8443, "/things", "404"),
            (443, "/topics/a", "403"),
        ):
            _, output, _ = await run(*curl(emulator, port, emulator.device, path, "-d", "x"))
            assert output.startswith(f"HTTP/1.1 {answer} ")
        _, output, _ = await run(*curl(emulator, 8443, emulator.device, "/topics/a"))
        assert output.startswith("HTTP/1.1 405 ")
        for certificate in (None, stranger):
            status, output, errors = await run(*curl(emulator, 8443, certificate, "/topics/a", "-d", "x"))
            assert (status == 0, output) == (False, "")
            assert "alert" in errors
        assert emulator.stats().messages_received == 0


def s_client(
    emulator: Emulator,
    port: int,
    *,
    alpn: str | None = None,
    name: str | None = "",
    certificate: X509 | None = None,
    more: Sequence[str] = (),
) -> list[str]:
    """name: for SNI; "" is the endpoint's, None sends none."""
    words = [find_program("openssl"), "s_client", "-quiet", "-CAfile", str(emulator.device.ca), *more]
    words += ["-connect", f"{in_brackets(emulator.addresses[0])}:{emulator.ports[port]}"]
    words += ["-noservername"] if name is None else ["-servername", name or emulator.host]
    if alpn is not None:
        words += ["-alpn", alpn]
    if certificate is not None:
        words += ["-cert", str(certificate.cert), "-key", str(certificate.key)]
    return words


REQUEST = b"POST /topics/readings%2Fa?qos=1 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\n21.5"


@BOTH_FAMILIES
@BOTH_TLS
@asynchronous
async def test_a_request_by_hand_publishes_by_row_7(address: str, tls: str) -> None:
    async with an_emulator_at(address) as emulator, a_display(emulator) as next_message:
        command = s_client(emulator, 443, alpn="x-amzn-http-ca", certificate=emulator.device, more=[tls])
        _, output, errors = await run(*command, stdin=REQUEST)
        assert output.startswith("HTTP/1.1 200 OK\r\n"), errors
        assert (await next_message()).payload == b"21.5"


@BOTH_TLS
@asynchronous
async def test_openssl_sees_the_alert_of_what_was_wrong(tls: str, tmp_path: Path) -> None:
    stranger = Authority(tmp_path).issue_device("stranger")
    async with an_emulator_at("127.0.0.1") as emulator:
        # TLS 1.2 has no alert of its own for a certificate that is missing.
        missing = HANDSHAKE_FAILURE if tls == "-tls1_2" else CERTIFICATE_REQUIRED
        for port, alpn, name, certificate, alert in (
            (8883, None, None, emulator.device, UNRECOGNIZED_NAME),
            (443, "x-amzn-http-ca", None, emulator.device, UNRECOGNIZED_NAME),
            (8443, None, "another-ats.iot.local.test", emulator.device, UNRECOGNIZED_NAME),
            (8883, "mqtt", "", emulator.device, NO_APPLICATION_PROTOCOL),
            (443, "x-amzn-http", "", emulator.device, NO_APPLICATION_PROTOCOL),
            (8443, "x-amzn-http-ca", "", emulator.device, NO_APPLICATION_PROTOCOL),
            (8883, None, "", None, missing),
            (443, "x-amzn-mqtt-ca", "", None, missing),
            (443, "x-amzn-http-ca", "", None, missing),
            (8443, None, "", None, missing),
            (8443, None, "", stranger, CERTIFICATE_UNKNOWN_CA),
        ):
            command = s_client(emulator, port, alpn=alpn, name=name, certificate=certificate, more=[tls])
            status, _, errors = await run(*command, stdin=REQUEST)
            assert status != 0
            assert f"SSL alert number {alert}\n" in errors
        assert emulator.stats().accepted_connections == 0


@BOTH_TLS
@asynchronous
async def test_openssls_longest_hellos_are_served(tls: str) -> None:
    async with an_emulator_at("127.0.0.1") as emulator:
        names = ",".join([*(f"name-{number}" for number in range(500)), "x-amzn-http-ca"])
        command = s_client(emulator, 443, alpn=names, certificate=emulator.device, more=[tls])
        _, output, errors = await run(*command, stdin=REQUEST)
        assert output.startswith("HTTP/1.1 200 OK\r\n"), errors


# Our own publishers.


@BOTH_FAMILIES
@pytest.mark.parametrize("port", [443, 8443])
@asynchronous
async def test_our_publishers_use_rows_7_and_8(port: int, address: str) -> None:
    async with an_emulator_at(address) as emulator, a_display(emulator) as next_message:
        route = emulator.endpoint.route("https", emulator.device, port=port)
        async with HttpsPublisher(route) as publisher:
            for number in range(3):
                await publisher.publish(
                    "readings/a b/ü",
                    str(number).encode(),
                    qos=1,
                    content_type="text/plain",
                    user_properties=[("a", "b")],
                )
                message = await next_message()
                assert (message.topic, message.payload) == ("readings/a b/ü", str(number).encode())
                assert (message.content_type, message.user_properties) == ("text/plain", (("a", "b"),))
        assert emulator.stats().accepted_connections == 2  # the display, and one for three messages

        def publish() -> None:
            with BlockingHttpsPublisher(route) as blocking:
                blocking.publish("readings/b", b"21.5", qos=1)

        await asyncio.to_thread(publish)
        assert (await next_message()).topic == "readings/b"


# paho.


@MQTT_ROWS
@BOTH_VERSIONS
@asynchronous
async def test_pahos_client_publishes_and_subscribes(version: int, port: int, alpn: str | None) -> None:
    pytest.importorskip("paho.mqtt.client")
    async with an_emulator_at("127.0.0.1") as emulator, a_display(emulator) as next_message:
        received = await asyncio.to_thread(_converse_by_paho, emulator, version, port, alpn)
        assert received == ("readings/paho", b"21.5", 1)
        message = await next_message()
        assert (message.topic, message.payload, message.qos) == ("readings/paho", b"21.5", 1)


def _converse_by_paho(emulator: Emulator, version: int, port: int, alpn: str | None) -> tuple[str, bytes, int]:
    from paho.mqtt.client import Client as PahoClient
    from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

    arrived, subscribed, got = threading.Event(), threading.Event(), []
    client = PahoClient(
        CallbackAPIVersion.VERSION2,
        "paho",
        protocol=MQTTProtocolVersion.MQTTv5 if version == 5 else MQTTProtocolVersion.MQTTv311,
    )
    client.tls_set_context(_paho_context(emulator, alpn))
    client.on_connect = lambda *_: client.subscribe("readings/paho", 1)
    client.on_subscribe = lambda *_: subscribed.set()

    def take(_: object, __: object, message: Any) -> None:
        got.append((message.topic, message.payload, message.qos))
        arrived.set()

    client.on_message = take
    client.connect("localhost", emulator.ports[port])
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


def _paho_context(emulator: Emulator, alpn: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(emulator.device.ca))
    context.load_cert_chain(str(emulator.device.cert), str(emulator.device.key))
    if alpn is not None:
        context.set_alpn_protocols([alpn])
    return context


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho leaves its socket open then
@asynchronous
async def test_pahos_client_sees_that_its_alpn_name_is_refused() -> None:
    pytest.importorskip("paho.mqtt.client")
    async with an_emulator_at("127.0.0.1") as emulator:

        def connect() -> None:
            from paho.mqtt.client import Client as PahoClient
            from paho.mqtt.enums import CallbackAPIVersion

            client = PahoClient(CallbackAPIVersion.VERSION2, "paho")
            client.tls_set_context(_paho_context(emulator, "x-amzn-mqtt"))
            with pytest.raises(ssl.SSLError, match=r"(?i)no.application.protocol"):
                client.connect("localhost", emulator.ports[443])

        await asyncio.to_thread(connect)


# awscrt, which is what AWS's own device SDK connects with.


@MQTT_ROWS
@BOTH_VERSIONS
@asynchronous
async def test_awscrts_client_publishes_and_subscribes(version: int, port: int, alpn: str | None) -> None:
    pytest.importorskip("awscrt")
    converse = _converse_by_awscrt_5 if version == 5 else _converse_by_awscrt_4
    async with an_emulator_at("127.0.0.1") as emulator, a_display(emulator) as next_message:
        received = await asyncio.to_thread(converse, emulator, port, alpn)
        assert received == ("readings/awscrt", b"21.5")
        message = await next_message()
        assert (message.topic, message.payload, message.qos) == ("readings/awscrt", b"21.5", 1)


def _awscrt_context(emulator: Emulator, alpn: str | None, certificate: X509 | None = None) -> Any:
    from awscrt import io

    own = certificate or emulator.device
    options = io.TlsContextOptions.create_client_with_mtls_from_path(str(own.cert), str(own.key))
    options.override_default_trust_store_from_path(None, str(emulator.device.ca))
    if alpn is not None:
        options.alpn_list = [alpn]
    return io.ClientTlsContext(options)


def _converse_by_awscrt_5(emulator: Emulator, port: int, alpn: str | None) -> tuple[str, bytes]:
    from awscrt import mqtt5

    def make_client(take: Any, on_connected: Any, on_stopped: Any) -> Any:
        return mqtt5.Client(
            mqtt5.ClientOptions(
                host_name="localhost",
                port=emulator.ports[port],
                tls_ctx=_awscrt_context(emulator, alpn),
                connect_options=mqtt5.ConnectPacket(client_id="awscrt"),
                on_publish_callback_fn=take,
                on_lifecycle_event_connection_success_fn=on_connected,
                on_lifecycle_event_stopped_fn=on_stopped,
            )
        )

    return converse_by_awscrt_5(make_client, "readings/awscrt")


def _converse_by_awscrt_4(emulator: Emulator, port: int, alpn: str | None) -> tuple[str, bytes]:
    from awscrt import mqtt

    client = mqtt.Client(tls_ctx=_awscrt_context(emulator, alpn))
    connection = mqtt.Connection(client, "localhost", emulator.ports[port], "awscrt")
    return converse_by_awscrt_4(connection, "readings/awscrt")


@pytest.mark.parametrize("alpn", [None, "x-amzn-mqtt-ca"])
@asynchronous
async def test_awscrts_hello_is_read_and_written_again(alpn: str | None) -> None:
    """It has a TLS of its own on Linux (s2n)."""
    pytest.importorskip("awscrt")
    from awscrt import mqtt
    from awscrt.exceptions import AwsCrtError

    arrived: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = b""
        while ClientHello.decode(received) is None and (piece := await reader.read(65536)):
            received += piece
        if not arrived.done():  # it may try again
            arrived.set_result(received)
        writer.close()

    def connect(context: Any, port: int) -> None:
        with pytest.raises(AwsCrtError):
            mqtt.Connection(mqtt.Client(tls_ctx=context), "localhost", port, "awscrt").connect().result(TIME_LIMIT_S)

    async with an_emulator_at("127.0.0.1") as emulator, await asyncio.start_server(take, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.to_thread(connect, _awscrt_context(emulator, alpn), port)
        records = await arrived
    hello = ClientHello.decode(records)
    assert hello is not None
    assert hello.encode() == records
    assert hello.server_name == "localhost"
    assert hello.alpn_protocols == (() if alpn is None else (alpn,))
    assert max(hello.versions) == 0x0304


@asynchronous
async def test_awscrts_client_sees_that_it_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("awscrt")
    from awscrt import mqtt
    from awscrt.exceptions import AwsCrtError

    stranger = Authority(tmp_path).issue_device("stranger")
    async with an_emulator_at("127.0.0.1") as emulator:

        def connect(port: int, alpn: str | None, certificate: X509 | None) -> None:
            context = _awscrt_context(emulator, alpn, certificate)
            connection = mqtt.Connection(mqtt.Client(tls_ctx=context), "localhost", emulator.ports[port], "awscrt")
            with pytest.raises(AwsCrtError):
                connection.connect().result(TIME_LIMIT_S)

        await asyncio.to_thread(connect, 443, "x-amzn-mqtt", None)
        await asyncio.to_thread(connect, 8883, None, stranger)
        assert emulator.stats().accepted_connections == 0
