"""`iotwire pub` and `iotwire sub`, run as people run them, against the emulator."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from iotwire import X509, BlockingClient
from iotwire.emulator import Emulator
from iotwire.mqtt import Publish
from running_emulator import AUTHORIZER, SIGNING_KEY, TOKEN_KEY_NAME, a_running_emulator, environment_of
from tokens import SIGNATURES

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

pytestmark = pytest.mark.slow  # each test starts the command, some twice

TIME_LIMIT_S = 60


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with a_running_emulator() as running:
        yield running


def environment(emulator: Emulator | None, **more: str) -> dict[str, str]:
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("IOTWIRE_", "AWS_"))}
    return bare | ({} if emulator is None else environment_of(emulator)) | more


Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def pub(emulator: Emulator) -> Run:
    def pub(*arguments: str, stdin: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "iotwire", "pub", *arguments],
            input=stdin,
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env=environment(emulator, **variables),
        )

    return pub


@contextmanager
def arrivals(emulator: Emulator, topic_filter: str) -> Iterator[Callable[[], Publish]]:
    """What arrives at another client."""
    with BlockingClient(emulator.endpoint.route("mqtt", emulator.device), "display") as client:
        client.subscribe(topic_filter, qos=1)
        messages = client.messages(topic_filter)

        def next_one() -> Publish:
            message = messages.get(TIME_LIMIT_S)
            assert message is not None
            return message

        yield next_one


class Subscriber:
    """`iotwire sub` in a process of its own, subscribed."""

    def __init__(self, process: subprocess.Popen[bytes], publish: Callable[..., object]) -> None:
        self.process = process
        self.publish = publish
        self._lines: Queue[bytes] = Queue()
        assert process.stdout is not None
        self._thread = Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(b"")

    def line(self) -> bytes:
        return self._lines.get(timeout=TIME_LIMIT_S)

    def end(self) -> tuple[int, bytes]:
        """Wait for its end: the exit status, and what it has said."""
        status = self.process.wait(TIME_LIMIT_S)
        self._thread.join(TIME_LIMIT_S)
        assert self.process.stderr is not None
        return status, self.process.stderr.read()


@contextmanager
def subscriber(emulator: Emulator, *arguments: str, **variables: str) -> Iterator[Subscriber]:
    """It says that it is subscribed by printing a message that was kept for it."""
    command = [sys.executable, "-m", "iotwire", "sub", *arguments, "-t", "ready/#"]
    with BlockingClient(emulator.endpoint.route("mqtt", emulator.device), "source") as client:
        client.publish("ready/now", b"ready", qos=1, retain=True)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(emulator, **variables)
        ) as process:
            try:
                found = Subscriber(process, client.publish)
                assert b"ready" in found.line()
                yield found
            finally:
                process.kill()


# ---- pub


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-V", "mqttv311"),
        ("-V", "4", "-p", "443"),
        ("--protocol", "mqtt", "--auth", "x509", "-q", "1"),
        ("--protocol", "https"),
        ("--protocol", "https", "-p", "443", "-q", "1"),
    ],
    ids=" ".join,
)
def test_a_message_arrives_by_each_route_of_a_certificate(emulator: Emulator, pub: Run, options: tuple[str]) -> None:
    with arrivals(emulator, "a/b") as next_one:
        done = pub("-t", "a/b", "-m", "21.5 °C", *options)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert bytes(next_one().payload) == "21.5 °C".encode()


def signed_variables(emulator: Emulator) -> dict[str, str]:
    credentials = emulator.credentials[0]
    return {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
        "AWS_REGION": emulator.region,
    }


CUSTOM_VARIABLES = {
    "IOTWIRE_AUTHORIZER": AUTHORIZER,
    "IOTWIRE_TOKEN_KEY_NAME": TOKEN_KEY_NAME,
    "IOTWIRE_TOKEN": "sesame-1",
    "IOTWIRE_SIGNING_KEY": str(SIGNING_KEY),
    "IOTWIRE_USERNAME": "gateway",
    "IOTWIRE_PASSWORD": "sesame-2",
}


@pytest.mark.parametrize(
    "options",
    [
        ("--auth", "sigv4"),  # row 4
        ("--protocol", "wss", "-V", "4"),
        ("--auth", "sigv4", "--protocol", "https", "-q", "1"),  # row 6
    ],
    ids=" ".join,
)
def test_a_message_arrives_by_each_route_of_a_signature(emulator: Emulator, pub: Run, options: tuple[str]) -> None:
    with arrivals(emulator, "a/b") as next_one:
        done = pub("-t", "a/b", "-m", "x", "-d", *options, **signed_variables(emulator))
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert bytes(next_one().payload) == b"x"
    assert emulator.credentials[0].secret_access_key.encode() not in done.stderr
    assert b"X-Amz-Signature" not in done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ("--auth", "custom"),  # row 3
        ("--auth", "custom", "-V", "4", "-q", "1"),
        ("--protocol", "wss"),  # row 5
        ("--protocol", "wss", "--place", "query"),
        ("--protocol", "wss", "--place", "connect"),
        ("--protocol", "https", "--auth", "custom", "-q", "1"),  # row 9
        ("--protocol", "https", "--place", "query"),
    ],
    ids=" ".join,
)
def test_a_message_arrives_by_each_route_of_an_authorizer(emulator: Emulator, pub: Run, options: tuple[str]) -> None:
    with arrivals(emulator, "a/b") as next_one:
        done = pub("-t", "a/b", "-m", "x", "-d", *options, **CUSTOM_VARIABLES)
        assert (done.returncode, done.stdout) == (0, b""), done.stderr
        assert bytes(next_one().payload) == b"x"
    assert b"custom authorizer" in done.stderr
    assert b"sesame" not in done.stderr


def test_a_token_and_its_signature_come_from_files(emulator: Emulator, pub: Run, tmp_path: Path) -> None:
    token, signature = SIGNATURES["rsa-2048"][1]
    (tmp_path / "token").write_text(token + "\n")
    (tmp_path / "signature").write_text(signature + "\n")
    files = ["--token-file", str(tmp_path / "token"), "--token-signature-file", str(tmp_path / "signature")]
    named = ["--authorizer-name", AUTHORIZER, "--token-key-name", TOKEN_KEY_NAME]
    with arrivals(emulator, "a/b") as next_one:
        done = pub("-t", "a/b", "-m", "x", *named, *files)  # what is said goes before the certificate of the variables
        assert (done.returncode, done.stderr) == (0, b"")
        assert bytes(next_one().payload) == b"x"
    (tmp_path / "signature").write_text(SIGNATURES["rsa-2048"][0][1])
    done = pub("-t", "a/b", "-m", "x", *named, *files)
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert token.encode() not in done.stderr


def test_a_token_that_is_refused_is_one_sentence_without_it(pub: Run) -> None:
    for protocol in ("mqtt", "wss", "https"):
        done = pub(
            "-t",
            "a",
            "-m",
            "x",
            "--auth",
            "custom",
            "--protocol",
            protocol,
            **CUSTOM_VARIABLES | {"IOTWIRE_TOKEN": "wrong"},
        )
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1), done.stderr


def test_options_in_place_of_variables(emulator: Emulator) -> None:
    device = emulator.device
    arguments = ["-h", emulator.host, "-p", f"8883={emulator.ports[8883]}", "--address", "127.0.0.1", "--auth", "x509"]
    arguments += ["--cafile", str(device.ca), "--cert", str(device.cert), "--key", str(device.key)]
    with arrivals(emulator, "a/b") as next_one:
        done = subprocess.run(
            [sys.executable, "-m", "iotwire", "pub", *arguments, "-t", "a/b", "-n"],
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env=environment(None),
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert bytes(next_one().payload) == b""


def test_a_broker_is_reached_by_its_host_with_tls(emulator: Emulator, pub: Run) -> None:
    with arrivals(emulator, "a/b") as next_one:
        done = pub("--broker", "-h", "localhost", "-p", str(emulator.ports[8883]), "--tls", "-t", "a/b", "-m", "x")
        assert (done.returncode, done.stderr) == (0, b"")
        assert bytes(next_one().payload) == b"x"


def test_the_lines_of_the_standard_input_arrive_in_order(emulator: Emulator, pub: Run) -> None:
    with arrivals(emulator, "lines") as next_one:
        done = pub("-t", "lines", "-l", "-q", "1", stdin=b"one\ntwo\r\n\n\xff\x00\nlast")
        assert (done.returncode, done.stderr) == (0, b"")
        assert [bytes(next_one().payload) for _ in range(5)] == [b"one", b"two", b"", b"\xff\x00", b"last"]


def test_a_line_leaves_before_the_next_one_comes(emulator: Emulator) -> None:
    command = [sys.executable, "-m", "iotwire", "pub", "-t", "live", "-l"]
    with (
        arrivals(emulator, "live") as next_one,
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(emulator)) as process,
    ):
        assert process.stdin is not None
        for word in (b"one", b"two"):
            process.stdin.write(word + b"\n")
            process.stdin.flush()
            assert bytes(next_one().payload) == word
        process.stdin.close()
        assert process.wait(TIME_LIMIT_S) == 0


@pytest.mark.parametrize("options", [(), ("--protocol", "https")], ids=" ".join)
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_waiting_for_a_line_ends_cleanly(
    emulator: Emulator, options: tuple[str, ...], number: signal.Signals, expected: int
) -> None:
    command = [sys.executable, "-m", "iotwire", "pub", "-t", "live", "-l", *options]
    pipe = subprocess.PIPE
    with (
        arrivals(emulator, "live") as next_one,
        subprocess.Popen(command, stdin=pipe, stderr=pipe, env=environment(emulator)) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert bytes(next_one().payload) == b"one"
        process.send_signal(number)
        assert process.wait(TIME_LIMIT_S) == expected
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


@pytest.mark.parametrize("options", [("-q", "1"), ("--protocol", "https")], ids=" ".join)
def test_lines_that_are_refused_are_named_and_the_others_arrive(
    emulator: Emulator, pub: Run, options: tuple[str, ...]
) -> None:
    with arrivals(emulator, "lines") as next_one:
        done = pub("-t", "lines", "-l", *options, stdin=b"one\n" + b"x" * 140_000 + b"\nthree\n")
        assert [bytes(next_one().payload) for _ in range(2)] == [b"one", b"three"]
    assert done.returncode == 1
    assert done.stderr.startswith(b"iotwire: line 2: ")
    assert done.stderr.count(b"\n") == 1


def test_a_file_and_the_standard_input_are_sent_as_they_are(emulator: Emulator, pub: Run, tmp_path: Path) -> None:
    data = bytes(range(256)) + b"\n"
    (tmp_path / "file").write_bytes(data)
    with arrivals(emulator, "file") as next_one:
        for arguments in (("-f", str(tmp_path / "file")), ("-s",), ("-f", "-")):
            assert pub("-t", "file", *arguments, stdin=data).returncode == 0
            assert bytes(next_one().payload) == data
    done = pub("-t", "file", "-f", str(tmp_path / "nothing"))
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"nothing: No such file" in done.stderr


def test_a_message_is_sent_as_often_as_asked(emulator: Emulator, pub: Run) -> None:
    with arrivals(emulator, "again") as next_one:
        assert pub("-t", "again", "-m", "x", "--repeat", "3", "--repeat-delay", "0.01").returncode == 0
        assert [bytes(next_one().payload) for _ in range(3)] == [b"x"] * 3


@pytest.mark.parametrize("protocol", ["mqtt", "https"])
def test_properties_of_a_message_arrive(emulator: Emulator, pub: Run, protocol: str) -> None:
    properties = ["-D", "PUBLISH", "content-type", "text/plain", "-D", "publish", "response-topic", "back"]
    properties += ["-D", "PUBLISH", "message-expiry-interval", "60", "-D", "PUBLISH", "correlation-data", "c"]
    properties += ["-D", "PUBLISH", "user-property", "a", "b", "-D", "PUBLISH", "user_property", "a", "c"]
    with arrivals(emulator, "a/b") as next_one:
        done = pub("-t", "a/b", "-m", "x", "--protocol", protocol, *properties)
        assert (done.returncode, done.stderr) == (0, b"")
        message = next_one()
    assert (message.content_type, message.response_topic, message.correlation_data) == ("text/plain", "back", b"c")
    assert message.message_expiry_interval is not None
    assert message.user_properties == (("a", "b"), ("a", "c"))


def test_a_will_is_left(emulator: Emulator) -> None:
    will = ("--will-topic", "gone", "--will-payload", "away", "--will-qos", "1", "-D", "WILL", "content-type", "text/x")
    command = [sys.executable, "-m", "iotwire", "pub", "-t", "here", "-l", *will]
    with (
        arrivals(emulator, "#") as next_one,
        subprocess.Popen(command, stdin=subprocess.PIPE, env=environment(emulator)) as process,
    ):
        assert process.stdin is not None
        process.stdin.write(b"I am\n")
        process.stdin.flush()
        while next_one().topic != "here":
            pass
        process.kill()
        message = next_one()
        assert (message.topic, bytes(message.payload), message.content_type) == ("gone", b"away", "text/x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-m", "x"), "required: -t"),
        (("-t", "a"), "one of the arguments"),
        (("-t", "a", "-m", "x", "-l"), "not allowed with"),
        (("-t", "a", "-m", "x", "-q", "3"), "invalid choice"),
        (("-t", "a", "-m", "x", "-V", "3"), "invalid choice"),
        (("-t", "a", "-m", "x", "-p", "0"), "a port, or two such as"),
        (("-t", "a", "-l", "--repeat", "2"), "not with --stdin-line"),
        (("-t", "a", "-l", "--password-file", "-"), "the standard input can be one thing, message or secret"),
        (("-t", "a", "-m", "x", "--password-file", "-", "--token-file", "-"), "the standard input can be one secret"),
        (("-t", "a", "-m", "x", "-D", "PUBLISH", "color", "red"), "content-type, correlation-data"),
        (("-t", "a", "-m", "x", "-D", "PUBACK", "color", "red"), "one of PUBLISH, CONNECT"),
        (("-t", "a", "-m", "x", "-D", "PUBLISH", "content-type"), "a value is expected"),
        (("-t", "a", "-m", "x", "-D", "PUBLISH", "message-expiry-interval", "soon"), "a number is expected"),
        (("-t", "a", "-m", "x", "-V", "4", "-D", "CONNECT", "receive-maximum", "5"), "are of MQTT 5"),
        (("-t", "a", "-m", "x", "--will-payload", "x"), "--will-topic: is needed"),
        (("-t", "a", "-m", "x", "--broker", "--protocol", "https"), "--broker"),
        (("-t", "a", "-m", "x", "--protocol", "ws"), "the service wants TLS"),
        (("-t", "a", "-m", "x", "-u", "somebody"), "have no use with --auth x509"),
        (("-t", "a", "-m", "x", "--protocol", "https", "-q", "2"), "HTTPS has 0 and 1"),
    ],
)
def test_wrong_arguments_are_a_usage_error(pub: Run, arguments: tuple[str, ...], message: str) -> None:
    done = pub(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()


def test_without_a_host_or_a_proof_it_says_what_is_missing() -> None:
    for arguments, message in (
        ((), "no host"),
        (("-h", "a-ats.iot.eu-central-1.amazonaws.com"), "how to prove who this is?"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "iotwire", "pub", "-t", "a", "-m", "x", *arguments],
            capture_output=True,
            timeout=TIME_LIMIT_S,
            check=False,
            env=environment(None),
        )
        assert done.returncode == 2
        assert message in done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ("-P", "sesame-1"),
        ("-Psesame-1",),
        ("--pw", "sesame-1"),
        ("--password=sesame-1",),
        ("--key-password", "sesame-1"),
        ("--token", "sesame-1"),
        ("--token-signature", "sesame-1"),
        ("--secret-access-key", "sesame-1"),
        ("--session-token=sesame-1",),
        ("--proxy", "http://user:sesame-1@proxy.test:3128"),
        ("-u", "user?token=sesame-1"),
    ],
    ids=" ".join,
)
def test_a_secret_among_the_arguments_is_refused_with_the_way_that_works(pub: Run, arguments: tuple[str, ...]) -> None:
    done = pub("-t", "a", "-m", "x", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"every user of this machine can read arguments" in done.stderr
    assert b"sesame-1" not in done.stderr


def test_a_wrong_certificate_is_one_sentence(emulator: Emulator, pub: Run, tmp_path: Path) -> None:
    from iotwire.emulator.pki import Authority

    stranger: X509 = Authority(tmp_path).issue_device("stranger")
    done = pub("-t", "a", "-m", "x", IOTWIRE_CERT=str(stranger.cert), IOTWIRE_KEY=str(stranger.key))
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert done.stderr.startswith(b"iotwire: ")


# ---- sub


def test_messages_are_printed_as_they_come(emulator: Emulator) -> None:
    with subscriber(emulator, "-t", "s/#", "-v", "-C", "3", "-q", "1") as running:
        running.publish("s/1", b"one", qos=1)
        assert running.line() == b"s/1 one\n"
        running.publish("s/2", b"\x1b[31m\xff", qos=1)
        assert running.line() == b"s/2 \x1b[31m\xff\n"  # into a pipe as it is
        assert running.end() == (0, b"")


@pytest.mark.parametrize("options", [("--auth", "sigv4"), ("--auth", "custom"), ("--protocol", "wss")], ids=" ".join)
def test_messages_come_by_routes_without_a_certificate(emulator: Emulator, options: tuple[str, ...]) -> None:
    variables = signed_variables(emulator) if "sigv4" in options else CUSTOM_VARIABLES
    with subscriber(emulator, "-t", "s/#", "-C", "2", *options, **variables) as running:
        running.publish("s/1", b"one", qos=1)
        assert running.line() == b"one\n"
        assert running.end() == (0, b"")


def test_a_message_as_json_is_a_line_of_ascii(emulator: Emulator) -> None:
    with subscriber(emulator, "-t", "s/#", "-C", "3", "--format", "json") as running:
        running.publish(
            "s/\x1b", "é\x1b\x7f\n".encode(), qos=1, content_type="text/plain", user_properties=[("a", "b")]
        )
        line = running.line()
        assert line.isascii()
        assert not set(line[:-1]) & {*range(0x20), 0x7F}
        found = json.loads(line)
        assert found.pop("time").endswith("Z")
        assert found == {
            "topic": "s/\x1b",
            "qos": 0,
            "retain": False,
            "payload": "é\x1b\x7f\n",
            "content_type": "text/plain",
            "user_properties": [["a", "b"]],
        }
        running.publish("s/2", b"\xff", qos=1)
        assert json.loads(running.line())["payload_base64"] == "/w=="
        assert running.end() == (0, b"")


def test_a_terminal_is_given_no_orders(emulator: Emulator) -> None:
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "iotwire", "sub", "-t", "tty/#", "-C", "2", "-v"]
    with BlockingClient(emulator.endpoint.route("mqtt", emulator.device), "source") as client:
        client.publish("tty", "\x1b]0;owned\x07\x9b2Jé\u202e\r".encode() + b"\xff", qos=1, retain=True)
        client.publish("tty/\x1b[2J", b"b\tc", qos=1, retain=True)
        with subprocess.Popen(command, stdout=follower, env=environment(emulator)) as process:
            os.close(follower)
            assert process.wait(TIME_LIMIT_S) == 0
    shown = os.read(leader, 65536)
    os.close(leader)
    assert "tty \\x1b]0;owned\\x07\\x9b2Jé\\u202e\\r\\xff\r\n".encode() in shown
    assert b"tty/\\x1b[2J b\tc\r\n" in shown
    assert b"\x1b" not in shown


def test_time_that_is_over_has_a_status_of_its_own(emulator: Emulator) -> None:
    with subscriber(emulator, "-t", "s/#", "-W", "1") as running:
        status, said = running.end()
    assert status == 27
    assert said == b"iotwire: 1 s are over\n"


def test_kept_messages_are_left_out_where_asked(emulator: Emulator, pub: Run) -> None:
    assert pub("-t", "kept", "-m", "old", "-r", "-q", "1").returncode == 0
    with subscriber(emulator, "-t", "other", "-C", "2") as running:
        running.publish("other", b"x", qos=1)
        assert running.line() == b"x\n"
        running.end()
    done = subprocess.run(
        [sys.executable, "-m", "iotwire", "sub", "-t", "kept", "-R", "-W", "1"],
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=environment(emulator),
    )
    assert (done.returncode, done.stdout) == (27, b"")


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_goodbye_when_it_is_ended(emulator: Emulator, number: signal.Signals, expected: int) -> None:
    with (
        arrivals(emulator, "gone") as next_one,
        subscriber(emulator, "-t", "s/#", "--will-topic", "gone", "--will-payload", "away") as running,
    ):
        running.process.send_signal(number)
        status, said = running.end()
        assert (status, b"Traceback" in said) == (expected, False)
        running.publish("gone", b"none before this", qos=1)
        assert bytes(next_one().payload) == b"none before this"  # DISCONNECT took the will away


def test_a_reader_that_has_seen_enough_ends_it(emulator: Emulator) -> None:
    with subscriber(emulator, "-t", "s/#") as running:
        assert running.process.stdout is not None
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "iotwire", "sub", "-t", "ready/#"],
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=TIME_LIMIT_S,
            check=False,
            env=environment(emulator),
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_filter_that_is_refused_is_one_sentence(emulator: Emulator) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iotwire", "sub", "-t", "a/#/b"],
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=environment(emulator),
    )
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)


def test_https_has_no_subscriptions(emulator: Emulator) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iotwire", "sub", "-t", "a", "--protocol", "https"],
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
        env=environment(emulator),
    )
    assert (done.returncode, b"take mqtt or wss" in done.stderr) == (1, True)
