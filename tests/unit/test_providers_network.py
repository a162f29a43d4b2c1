"""Credentials that a service gives: of containers, of EC2, of AWS IoT; and what is said of an answer that is wrong."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("cryptography")
pytest.importorskip("h11")

from iotwire import (
    X509,
    ContainerCredentials,
    CredentialsError,
    EncodeError,
    Endpoint,
    InstanceCredentials,
    IotCredentials,
    NoCredentialsError,
    Proxy,
    RouteError,
)
from iotwire.client.backoff import is_refusal
from iotwire.emulator.pki import Authority
from iotwire.providers import container as container_room
from iotwire.providers import instance as instance_room
from providing import (
    AUTHORIZATION,
    KEY_ID,
    NOW,
    SECRET,
    TOKEN,
    after,
    credentials,
    document,
    encode,
    iot_document,
    nothing_secret_is_logged,  # noqa: F401 -- a fixture
    refused,
)
from scripted_http import HttpPeer, HttpRequest, HttpRoute, Taking, answer, http_server
from scripted_threads import InThread, happened

pytestmark = pytest.mark.usefixtures("nothing_secret_is_logged")

HOST = "c1a2b3c4d5e6f7.credentials.iot.eu-central-1.amazonaws.com"
METADATA_TOKEN = "AQAEAEXAMPLE-metadata-token=="
ROLES = "/latest/meta-data/iam/security-credentials/"


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ADDRESSES = [
    "127.0.0.1",
    pytest.param("::1", marks=pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")),
]


def url_of(address: str, port: int, scheme: str = "http") -> str:
    return f"{scheme}://[{address}]:{port}" if ":" in address else f"{scheme}://{address}:{port}"


def json_answer(told: object, status: int = 200) -> bytes:
    return answer(status, told if isinstance(told, bytes) else encode(told), "Content-Type: application/json")


# ---- what each kind of source needs to be asked


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def server_context(authority: Authority, *names: str) -> ssl.SSLContext:
    """The service's end: it wants a certificate of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = authority.issue_server(list(names or [HOST]))
    context.load_cert_chain(server.cert, server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.ca)
    return context


class Metadata(Taking):
    """The metadata service: gives tokens, the name of a role, and what it is told to as the role's document."""

    def __init__(self, *answers: bytes, token: bytes | None = None, roles: bytes | None = None) -> None:
        super().__init__()
        self.documents = list(answers)
        self.token = token or answer(200, METADATA_TOKEN.encode(), "X-aws-ec2-metadata-token-ttl-seconds: 21600")
        self.roles = roles or answer(200, b"gateway-role")
        self.wanted = METADATA_TOKEN

    def __call__(self, peer: HttpPeer) -> None:
        with suppress(ConnectionError):
            while (request := peer.receive()) is not None:
                self.seen.append((peer.number, request))
                peer.send(self.reply(request))

    def reply(self, request: HttpRequest) -> bytes:
        if request.method == "PUT":
            return self.token
        if request.headers.get("x-aws-ec2-metadata-token") != self.wanted:
            return answer(401)
        if request.target.endswith("/security-credentials/"):
            return self.roles
        return self.documents.pop(0) if len(self.documents) > 1 else self.documents[0]


class Kind(NamedTuple):
    """A kind of source: its script with these answers, a provider for a server, what it calls things."""

    script: Callable[..., Taking]
    make: Callable[[str, int, Authority], Any]
    document: Callable[..., Any]
    names: tuple[str, str, str, str]
    is_tls: bool = False


CONTAINER = Kind(
    Taking,
    lambda address, port, authority: ContainerCredentials(
        environ={"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url_of(address, port)}/v1/credentials?id=7"},
        connect_timeout_s=20,
        response_timeout_s=20,
    ),
    document,
    ("AccessKeyId", "SecretAccessKey", "Token", "Expiration"),
)
INSTANCE = Kind(
    Metadata,
    lambda address, port, authority: InstanceCredentials(
        environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": url_of(address, port)}, timeout_s=20
    ),
    document,
    ("AccessKeyId", "SecretAccessKey", "Token", "Expiration"),
)
IOT = Kind(
    Taking,
    lambda address, port, authority: IotCredentials(
        Endpoint(HOST, address=address, ports={443: port}), "gateway-alias", authority.issue_device("device")
    ),
    iot_document,
    ("accessKeyId", "secretAccessKey", "sessionToken", "expiration"),
    is_tls=True,
)
KINDS = {"container": CONTAINER, "instance": INSTANCE, "iot": IOT}
EVERY_KIND = pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))


@contextmanager
def serving(
    kind: Kind, script: Callable[[HttpPeer], Any], authority: Authority, address: str = "127.0.0.1"
) -> Iterator[Any]:
    """A provider of this kind, and a server for it that runs the script."""
    context = server_context(authority) if kind.is_tls else None
    with http_server(script, context=context, address=address) as local:
        yield kind.make(address, local.port, authority)


@EVERY_KIND
@pytest.mark.parametrize("address", ADDRESSES)
def test_credentials_are_given_and_renewed(kind: Kind, address: str, authority: Authority) -> None:
    script = kind.script(json_answer(kind.document(3600)), json_answer(kind.document(7200)))
    with serving(kind, script, authority, address) as provider:
        first = provider.get(NOW)
        assert first == credentials(3600)
        assert provider.get(after(3299)) is first
        asked = len(script.seen)
        assert provider.get(after(3300)) == credentials(7200)
        assert len(script.seen) > asked
        assert SECRET not in repr(provider)
    for _, request in script.seen:
        assert request.headers["connection"] == "close"
        assert request.body == b""


@EVERY_KIND
def test_a_service_that_fails_later_on_costs_nothing_until_they_expire(kind: Kind, authority: Authority) -> None:
    script = kind.script(json_answer(kind.document(3600)), *[answer(500)] * 9)
    with serving(kind, script, authority) as provider:
        first = provider.get(NOW)
        assert provider.get(after(3300)) is first
        assert provider.get(after(3599)) is first
        with refused("HTTP 500") as caught:
            provider.get(after(3600))
    assert not is_refusal(caught.value)  # another attempt may soon find it better


# ---- answers that are wrong

OVERFLOW = "0001-01-01T00:00:00+14:00"
MEMBERS: dict[str, tuple[int, Any, str]] = {
    "no key": (0, ..., "the answer has no {}"),
    "no secret": (1, ..., "the answer has no {}"),
    "no token": (2, ..., "the answer has no {}"),
    "no expiration": (3, ..., "the answer has no {}"),
    "a key that is null": (0, None, "the answer has no {}"),
    "a key that is a number": (0, 7, "{} of the answer must be a text"),
    "a secret that is empty": (1, "", "{} of the answer must be a text, and not empty"),
    "a secret in a list": (1, [SECRET], "{} of the answer must be a text"),
    "a secret of two lines": (1, f"{SECRET}\r\nX: y", "secret_access_key: must be"),
    "a token with a space": (2, f"{TOKEN} ", "session_token: must be"),
    "a key that is no ASCII": (0, "KÖ", "access_key_id: must be"),
    "a time that is a number": (3, 1795262400, "{} of the answer must be a text"),
    "a time without a zone": (3, "2026-11-21T12:00:00", "{} of the answer must be a time"),
    "a day": (3, "2026-11-21", "{} of the answer must be a time"),
    "no time": (3, SECRET, "{} of the answer must be a time"),
    "a month that is none": (3, "2026-13-21T12:00:00Z", "{} of the answer must be a time"),
    "digits of another script": (3, "٢٠٢٦-11-21T12:00:00Z", "{} of the answer must be a time"),
    "a time before all times": (3, OVERFLOW, "{} of the answer must be a time"),
    "a time that is past": (3, "2026-11-21T11:59:59Z", "expired at 2026-11-21 11:59:59 UTC, and this machine's clock"),
}


@EVERY_KIND
@pytest.mark.parametrize(("place", "value", "match"), MEMBERS.values(), ids=list(MEMBERS))
def test_a_member_that_is_wrong_is_named_and_not_repeated(
    kind: Kind, place: int, value: Any, match: str, authority: Authority
) -> None:
    name = kind.names[place]
    script = kind.script(json_answer(kind.document(**{name: value})))
    with serving(kind, script, authority) as provider, refused(match.format(name)):
        provider.get(NOW)


@EVERY_KIND
@pytest.mark.parametrize(
    "form", ["2026-11-21T13:00:00.123456789Z", "2026-11-21T14:00:00+01:00", "2026-11-21T13:00:00Z"]
)
def test_a_time_has_any_form_that_the_standard_has(kind: Kind, form: str, authority: Authority) -> None:
    script = kind.script(json_answer(kind.document(**{kind.names[3]: form})))
    with serving(kind, script, authority) as provider:
        assert abs((provider.get(NOW).expiration - after(3600)).total_seconds()) < 1


BODIES: dict[str, bytes] = {
    "nothing": b"",
    "no JSON": SECRET.encode(),
    "half of it": encode(document())[:-20],
    "a text": encode(SECRET),
    "a list": encode([document()]),
    "nothing in JSON": b"null",
    "a number": b"1e999",
    "no UTF-8": b'{"SecretAccessKey": "\xff' + SECRET.encode() + b'"}',
    "brackets without end": b"[" * 60000,
    "objects without end": b'{"a":' * 12000,
}


@EVERY_KIND
@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
def test_an_answer_that_is_no_json_object_is_told_and_not_repeated(
    kind: Kind, body: bytes, authority: Authority
) -> None:
    with serving(kind, kind.script(json_answer(body)), authority) as provider, refused("not a JSON object"):
        provider.get(NOW)


@pytest.mark.parametrize("told", [{}, {"credentials": None}, {"credentials": [SECRET]}, {"credentials": SECRET}])
def test_the_document_of_aws_iot_has_one_object(told: Any, authority: Authority) -> None:
    with serving(IOT, Taking(json_answer(told)), authority) as provider, refused("the answer has no credentials"):
        provider.get(NOW)


DOCUMENT = encode(document())
HEAD = b"HTTP/1.1 200 OK\r\n"
# Raw bytes, whether the connection is closed after them, and what is told; None where they are good.
ANSWERS: dict[str, tuple[bytes, str | None]] = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n" + SECRET.encode() + b"\r\n\r\n", "not HTTP/1.1"),
    "a document without a head": (DOCUMENT + b"\r\n\r\n", "not HTTP/1.1"),
    "half a document without a head": (DOCUMENT[:-1], "the connection ended in the midst of its answer"),
    "a head with a secret in it": (HEAD + b"SecretAccessKey " + SECRET.encode() + b"\r\n\r\n", "not HTTP/1.1"),
    "another version": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "not HTTP/1.1"),
    "nothing": (b"", "the connection ended without an answer"),
    "half a head": (b"HTTP/1.1 200 O", "the connection ended in the midst of its answer"),
    "a body that is cut off": (HEAD + b"Content-Length: 9999\r\n\r\n" + DOCUMENT, "cut off, or is longer than 65536"),
    "a chunk that is cut off": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfff\r\n" + DOCUMENT, "cut off"),
    "a body without end": (HEAD + b"\r\n" + DOCUMENT + b" " * 70000, "cut off, or is longer than 65536"),
    "a large body": (HEAD + b"Content-Length: 70000\r\n\r\n" + b" " * 70000, "cut off, or is longer than 65536"),
    "chunks without end": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 20000,
        "cut off, or is longer than 65536",
    ),
    "a head without end": (HEAD + b"X: y\r\n" * 20000, "not HTTP/1.1|is longer than 65536"),
    "interim answers without end": (b"HTTP/1.1 103 Early\r\n\r\n" * 5000, "longer than 65536"),
    "two lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", "not HTTP/1.1"),
    "a redirection": (
        answer(302, b"", "Location: http://127.0.0.1:1/"),
        "answered HTTP 302",
    ),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", "answered HTTP 204"),
    "a body up to the end": (HEAD + b"\r\n" + DOCUMENT, None),
    "an older version": (b"HTTP/1.0 200 OK\r\n\r\n" + DOCUMENT, None),
    "chunks": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n0\r\n\r\n" % (len(DOCUMENT), DOCUMENT),
        None,
    ),
    "an interim answer first": (b"HTTP/1.1 100 Continue\r\n\r\n" + json_answer(DOCUMENT), None),
    "more than was asked for": (json_answer(DOCUMENT) + json_answer({}), None),
}


@pytest.mark.parametrize(("raw", "match"), ANSWERS.values(), ids=list(ANSWERS))
def test_an_answer_is_read_as_http_and_no_more_than_64_kib_of_it(
    raw: bytes, match: str | None, authority: Authority
) -> None:
    connections = []

    def script(peer: HttpPeer) -> None:
        connections.append(peer.number)
        peer.expect()
        with suppress(OSError):  # the client has seen enough
            peer.send(raw)
            peer.socket.shutdown(socket.SHUT_WR)
            peer.receive_head()

    with serving(CONTAINER, script, authority) as provider:
        if match is None:
            assert provider.get(NOW) == credentials()
        else:
            with refused(match) as caught:
                provider.get(NOW)
            assert "published" not in str(caught.value)
    assert connections == [0]  # no redirection is followed


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 200", HEAD + b"Content-Length: 9\r\n\r\n{"], ids=["0", "line", "head"]
)
def test_a_service_that_says_no_more_is_waited_for_no_longer_than_the_time_out(said: bytes) -> None:
    is_over = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.expect()
        peer.send(said)
        assert is_over.wait(30)

    with http_server(script) as local:
        environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{local.port}/"}
        provider = ContainerCredentials(environ=environ, response_timeout_s=0.2)
        try:
            with refused("no answer within 0.2 s|cut off") as caught:
                provider.get(NOW)
            assert not is_refusal(caught.value)
        finally:
            is_over.set()


def test_a_service_that_goes_on_byte_by_byte_is_waited_for_no_longer_either() -> None:
    is_over = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.expect()
        with suppress(OSError):
            while not is_over.wait(0.02):
                peer.send(b"H")

    with http_server(script) as local:
        environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{local.port}/"}
        provider = ContainerCredentials(environ=environ, response_timeout_s=0.5)
        try:
            with refused("no answer within 0.5 s|not HTTP/1.1"):
                provider.get(NOW)
        finally:
            is_over.set()


def test_threads_that_come_at_once_ask_the_service_once(authority: Authority) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()
    connections = []

    def script(peer: HttpPeer) -> None:
        connections.append(peer.number)
        peer.expect()
        is_asked.set()
        assert may_answer.wait(30)
        peer.send(json_answer(document()))
        peer.expect_close()

    with serving(CONTAINER, script, authority) as provider:
        threads = [InThread(provider.get, NOW) for _ in range(10)]
        assert is_asked.wait(10)
        may_answer.set()
        found = [each.result() for each in threads]
    assert all(each is found[0] for each in found)
    assert connections == [0]


# ---- containers


def container(environ: dict[str, str]) -> ContainerCredentials:
    return ContainerCredentials(environ=environ, connect_timeout_s=20, response_timeout_s=20)


FULL = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
RELATIVE = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"


def test_a_container_asks_the_url_with_the_token_that_it_was_told(authority: Authority, tmp_path: Path) -> None:
    script = Taking(*[json_answer(document(70))] * 9)
    token_file = tmp_path / "token"
    with http_server(script) as local:
        environ = {FULL: f"http://localhost:{local.port}/v1/credentials?id=7"}
        provider = container(environ)
        provider.get(NOW)
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = AUTHORIZATION
        provider.get(after(30))
        environ["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] = str(token_file)
        for second, token in ((45, "of-a-file"), (61, "of-another-one")):
            token_file.write_text(token)
            provider.get(after(second))
    requests = [request for _, request in script.seen]
    assert [request.method for request in requests] == ["GET"] * 4
    assert {request.target for request in requests} == {"/v1/credentials?id=7"}
    assert {request.headers["host"] for request in requests} == {f"localhost:{local.port}"}
    tokens = [request.headers.get("authorization") for request in requests]
    assert tokens == [None, AUTHORIZATION, "of-a-file", "of-another-one"]


def test_a_path_is_asked_for_at_the_address_of_ecs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert container_room.ECS == "http://169.254.170.2"
    script = Taking(json_answer(document()))
    with http_server(script) as local:
        monkeypatch.setattr(container_room, "ECS", f"http://127.0.0.1:{local.port}")
        provider = container({RELATIVE: "/v2/credentials/7", FULL: "http://127.0.0.1:1/"})
        assert provider.get(NOW) == credentials()
    assert script.targets == ["/v2/credentials/7"]


ALLOWED = "http is for this machine"
BAD_SETTINGS: dict[str, tuple[dict[str, str], type[CredentialsError], str]] = {
    "nothing": ({}, NoCredentialsError, f"neither {RELATIVE} nor {FULL} is set"),
    "empty settings": ({FULL: "", RELATIVE: ""}, NoCredentialsError, "neither"),
    "http to another machine": ({FULL: "http://192.0.2.1/"}, CredentialsError, f"{ALLOWED}.*192.0.2.1 is none of them"),
    "http to the metadata service": ({FULL: "http://169.254.169.254/"}, CredentialsError, ALLOWED),
    "http to another IPv6 address": ({FULL: "http://[fd00:ec2::254]/"}, CredentialsError, ALLOWED),
    "http to every address": ({FULL: "http://0.0.0.0:1/"}, CredentialsError, ALLOWED),
    "an address as a number": ({FULL: "http://2130706433/"}, CredentialsError, f"{FULL}: a URL"),
    "a user name": ({FULL: f"http://{SECRET[:6]}:{AUTHORIZATION[:6]}@127.0.0.1/"}, CredentialsError, f"{FULL}: a URL"),
    "a host behind a user name": ({FULL: "http://127.0.0.1@192.0.2.1/"}, CredentialsError, f"{FULL}: a URL"),
    "a backslash": ({FULL: "http://127.0.0.1\\@192.0.2.1/"}, CredentialsError, f"{FULL}: a URL"),
    "another scheme": ({FULL: "file:///etc/passwd"}, CredentialsError, f"{FULL}: a URL"),
    "no scheme": ({FULL: "127.0.0.1:80/x"}, CredentialsError, f"{FULL}: a URL"),
    "a line break": ({FULL: "http://127.0.0.1/x\r\nHost: y"}, CredentialsError, f"{FULL}: a URL"),
    "a space": ({FULL: "http://127.0.0.1/x y"}, CredentialsError, f"{FULL}: a URL"),
    "a port that is none": ({FULL: "http://127.0.0.1:65536/"}, CredentialsError, f"{FULL}: a URL"),
    "a fragment": ({FULL: "http://127.0.0.1/#x"}, CredentialsError, f"{FULL}: a URL"),
    "no path": ({RELATIVE: "v2/credentials"}, CredentialsError, f"{RELATIVE}: a path"),
    "a path that is another host's": ({RELATIVE: "@192.0.2.1/"}, CredentialsError, f"{RELATIVE}: a path"),
    "a path with a line break": ({RELATIVE: "/v2\r\nX: y"}, CredentialsError, f"{RELATIVE}: a URL"),
}


@pytest.mark.parametrize(("environ", "kind", "match"), BAD_SETTINGS.values(), ids=list(BAD_SETTINGS))
def test_a_container_goes_nowhere_else(environ: dict[str, str], kind: type[CredentialsError], match: str) -> None:
    with refused(match, kind):
        container(environ).get(NOW)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"]
)
def test_plain_http_is_for_these(host: str) -> None:
    url = container({FULL: f"http://{host}/x"})._url()
    assert (url.scheme, url.port, url.target) == ("http", 80, "/x")


def test_a_name_must_lead_to_this_machine_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    received = []
    is_over = threading.Event()

    def script(peer: HttpPeer) -> None:
        received.append(peer.receive_head())
        is_over.set()

    with http_server(script) as local:
        monkeypatch.setattr(container_room, "ip_address", lambda _: ip_address("192.0.2.1"))
        with refused(ALLOWED):
            container({FULL: f"http://localhost:{local.port}/", "AWS_CONTAINER_AUTHORIZATION_TOKEN": "x"}).get(NOW)
        happened(is_over)
    assert received == [None]


TOKENS: dict[str, tuple[bytes, bool]] = {
    "a line break at the end": (AUTHORIZATION.encode() + b"\n", False),
    "another header": (AUTHORIZATION.encode() + b"\r\nX: y", False),
    "a carriage return": (b"x\r", False),
    "a zero byte": (b"x\0", False),
    "no ASCII": ("ü".encode(), False),
    "nothing": (b"", False),
    "a blank at its end": (AUTHORIZATION.encode() + b" ", False),
    "a novel": (b"x" * 16385, False),
    "two words": (AUTHORIZATION.encode(), True),
    "the longest one": (b"x" * 16384, True),
}


@pytest.mark.parametrize(("token", "is_good"), TOKENS.values(), ids=list(TOKENS))
def test_a_token_is_one_line(token: bytes, is_good: bool, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(token)
    settings = [{"AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(path)}]
    if token and b"\0" not in token and token.isascii():
        settings.append({"AWS_CONTAINER_AUTHORIZATION_TOKEN": token.decode()})
    for setting in settings:
        script = Taking(json_answer(document()))
        with http_server(script) as local:
            provider = container({FULL: f"http://127.0.0.1:{local.port}/", **setting})
            if is_good:
                provider.get(NOW)
            else:
                with refused("the token must be one line"):
                    provider.get(NOW)
        assert [request.headers["authorization"] for _, request in script.seen] == [token.decode()] * is_good


def test_a_token_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (str(tmp_path / "nothing"), str(tmp_path), "\0"):
        environ = {FULL: "http://127.0.0.1:1/", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": path}
        with refused("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: cannot read"):
            container(environ).get(NOW)


REFUSALS: dict[str, tuple[bytes, str]] = {
    "words": (
        json_answer({"code": "AccessDenied", "message": "no such task"}, 403),
        r"HTTP 403.*\(AccessDenied; no such",
    ),
    "no words": (answer(404), "answered HTTP 404$"),
    "a page": (answer(500, b"<html>" + SECRET.encode()), "answered HTTP 500$"),
    "our own token": (json_answer({"message": f"{AUTHORIZATION} is no token"}, 401), "HTTP 401: is AWS_.* right[?]$"),
    "a document": (json_answer(document(), 400), r"answered HTTP 400 \(Success\)$"),
    "a novel": (json_answer({"message": "x" * 9999}, 400), r"\(x{200}\.\.\.\)$"),
    "control characters": (json_answer({"message": "a\x1b[2Jb\n"}, 400), r"\(a\?\[2Jb\?\)$"),
}


@pytest.mark.parametrize(("raw", "match"), REFUSALS.values(), ids=list(REFUSALS))
def test_a_refusal_is_told_in_its_own_words_but_not_in_our_secrets(raw: bytes, match: str) -> None:
    with http_server(Taking(raw)) as local:
        environ = {FULL: f"http://127.0.0.1:{local.port}/", "AWS_CONTAINER_AUTHORIZATION_TOKEN": AUTHORIZATION}
        with refused(match) as caught:
            container(environ).get(NOW)
        assert is_refusal(caught.value) == (b" 500 " not in raw)


def test_a_container_that_has_nobody_to_ask_is_told_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with refused("container endpoint: cannot connect to 127.0.0.1:.*refused") as caught:
            container({FULL: f"http://127.0.0.1:{free.getsockname()[1]}/"}).get(NOW)
    assert not is_refusal(caught.value)


@pytest.mark.parametrize("is_trusted", [True, False], ids=["trusted", "not trusted"])
def test_https_is_for_any_host_whose_certificate_is_good(
    is_trusted: bool, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = server_context(authority, "localhost")
    context.verify_mode = ssl.CERT_NONE
    if is_trusted:
        monkeypatch.setenv("SSL_CERT_FILE", authority.ca)
        monkeypatch.setattr(container_room, "_check_peer", None)  # there is no need to look at the address
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connected, _ = listener.accept()
        with connected, suppress(OSError), context.wrap_socket(connected, server_side=True) as tls:
            while not tls.recv(65536).endswith(b"\r\n\r\n"):
                pass
            tls.sendall(json_answer(document()))

    serving_thread = InThread(serve)
    provider = container({FULL: f"https://localhost:{listener.getsockname()[1]}/"})
    with listener:
        if is_trusted:
            assert provider.get(NOW) == credentials()
        else:
            with refused("the server's certificate is not accepted"):
                provider.get(NOW)
        serving_thread.result()


# ---- EC2


def instance(local: HttpRoute, **environ: str) -> InstanceCredentials:
    return InstanceCredentials(
        environ={"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{local.port}/", **environ}, timeout_s=20
    )


def test_an_instance_gets_a_token_and_asks_for_its_role_and_its_credentials() -> None:
    script = Metadata(json_answer(document(3600)), json_answer(document(7200)), json_answer(document(90000)))
    with http_server(script) as local:
        provider = instance(local)
        provider.get(NOW)
        provider.get(after(3400))
        script.wanted = "another-token"
        script.token = answer(200, b"another-token", "X-aws-ec2-metadata-token-ttl-seconds: 600")
        assert provider.get(after(7000)) == credentials(90000)  # the service had forgotten the first token
        script.documents = [json_answer(document(99999))]
        assert provider.get(after(89990)) == credentials(99999)  # the second one was over by then
    requests = [request for _, request in script.seen]
    assert [(request.method, request.target) for request in requests] == [
        ("PUT", "/latest/api/token"),
        ("GET", ROLES),
        ("GET", f"{ROLES}gateway-role"),
        ("GET", ROLES),
        ("GET", f"{ROLES}gateway-role"),
        ("GET", ROLES),
        ("PUT", "/latest/api/token"),
        ("GET", ROLES),
        ("GET", f"{ROLES}gateway-role"),
        ("PUT", "/latest/api/token"),
        ("GET", ROLES),
        ("GET", f"{ROLES}gateway-role"),
    ]
    assert requests[0].headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
    assert requests[0].headers["content-length"] == "0"
    assert "x-aws-ec2-metadata-token" not in requests[0].headers
    assert requests[1].headers["x-aws-ec2-metadata-token"] == METADATA_TOKEN


SERVICES: dict[str, tuple[dict[str, bytes], type[CredentialsError], str]] = {
    "turned off": ({"token": answer(403)}, CredentialsError, "turned off for this instance"),
    "of version 1 alone": ({"token": answer(404)}, CredentialsError, "version 1 is not spoken here"),
    "of another kind": ({"token": answer(405)}, CredentialsError, "HTTP 405.*version 1 is not spoken"),
    "that wants no PUT": ({"token": answer(400)}, CredentialsError, "the service answered HTTP 400"),
    "with an empty token": ({"token": answer(200)}, CredentialsError, "the token must be one line"),
    "with two lines as a token": ({"token": answer(200, b"a\r\nX: y")}, CredentialsError, "the token must be one line"),
    "that knows no token": ({"token": answer(200, b"unknown")}, CredentialsError, "the service answered HTTP 401"),
    "without a role": ({"roles": answer(404)}, NoCredentialsError, "no role is attached"),
    "with no name of a role": ({"roles": answer(200, b"\n")}, NoCredentialsError, "no role is attached"),
    "with a wrong name of a role": ({"roles": answer(200, b"../../user-data")}, CredentialsError, "none that IAM has"),
    "with a request for a role": ({"roles": answer(200, b"a HTTP/1.1\r\nX: y")}, CredentialsError, "none that IAM has"),
    "that fails": ({"roles": answer(503)}, CredentialsError, "the service answered HTTP 503"),
}


@pytest.mark.parametrize(("answers", "kind", "match"), SERVICES.values(), ids=list(SERVICES))
def test_a_metadata_service_that_gives_no_credentials_says_why(
    answers: dict[str, bytes], kind: type[CredentialsError], match: str
) -> None:
    script = Metadata(json_answer(document()), **answers)
    with http_server(script) as local, refused(match, kind):
        instance(local).get(NOW)
    assert not any(
        request.method == "GET" and "x-aws-ec2-metadata-token" not in request.headers for _, request in script.seen
    )


def test_a_role_that_gives_none_says_why() -> None:
    told = {"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"}
    match = r"gateway-role gives no credentials \(AssumeRoleUnauthorizedAccess; EC2 cannot assume the role\)"
    with http_server(Metadata(json_answer(told))) as local, refused(match):
        instance(local).get(NOW)


def test_the_first_of_several_roles_is_taken() -> None:
    script = Metadata(json_answer(document()), roles=answer(200, b"first\r\nsecond\r\n"))
    with http_server(script) as local:
        instance(local).get(NOW)
    assert script.targets[-1] == f"{ROLES}first"


def test_an_instance_that_is_turned_off_asks_nobody() -> None:
    for value in ("true", "TRUE", " True "):
        with refused("turned off by AWS_EC2_METADATA_DISABLED", NoCredentialsError):
            InstanceCredentials(environ={"AWS_EC2_METADATA_DISABLED": value}).get(NOW)
    with http_server(Metadata(json_answer(document()))) as local:
        assert instance(local, AWS_EC2_METADATA_DISABLED="false").get(NOW) == credentials()


def test_a_machine_that_is_no_instance_is_told_so() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with refused("cannot connect to .*this seems to be no EC2 instance", NoCredentialsError):
            instance(HttpRoute(free.getsockname()[1])).get(NOW)


def test_a_token_that_does_not_arrive_is_a_matter_of_hops() -> None:
    is_over = threading.Event()

    def script(peer: HttpPeer) -> None:
        peer.expect()
        assert is_over.wait(30)

    with http_server(script) as local:
        environ = {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{local.port}",
            "AWS_METADATA_SERVICE_TIMEOUT": "0.2",
        }
        try:
            with refused("no answer within 0.2 s: .*--http-put-response-hop-limit 2"):
                InstanceCredentials(environ=environ).get(NOW)
        finally:
            is_over.set()


PLACES: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "http://169.254.169.254:80"),
    "IPv4": ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4"}, "http://169.254.169.254:80"),
    "IPv6": ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv6"}, "http://[fd00:ec2::254]:80"),
    "an endpoint": (
        {
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://[::1]:1338/",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv4",
        },
        "http://[::1]:1338",
    ),
}


@pytest.mark.parametrize(("environ", "place"), PLACES.values(), ids=list(PLACES))
def test_the_environment_says_where_the_metadata_service_is(environ: dict[str, str], place: str) -> None:
    provider = InstanceCredentials(environ=environ)
    url = provider._url()
    assert url.place == place
    assert instance_room._join(url, ROLES) == ROLES
    assert provider._read_timeout_s() == 1


BAD_PLACES = {
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": ["IPv5", "6"],
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": ["ftp://127.0.0.1", "127.0.0.1", "http://a b/"],
    "AWS_METADATA_SERVICE_TIMEOUT": ["0", "-1", "soon", "1e3", "٣", "nan", "inf"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_PLACES.items() for value in values])
def test_a_setting_that_is_wrong_is_named(name: str, value: str) -> None:
    with refused(f"{name}: "):
        InstanceCredentials(environ={name: value}).get(NOW)


# ---- AWS IoT


def test_a_device_shows_its_certificate_and_asks_for_its_role_alias(authority: Authority) -> None:
    script = Taking(json_answer(iot_document()))
    names: list[str | None] = []
    subjects: list[Any] = []
    context = server_context(authority)
    context.sni_callback = lambda _, name, __: names.append(name)

    def noting(peer: HttpPeer) -> None:
        assert isinstance(peer.socket, ssl.SSLSocket)
        certificate = peer.socket.getpeercert()
        assert certificate is not None
        subjects.append(certificate["subject"][-1][0][1])  # type: ignore[index,misc]
        assert peer.socket.selected_alpn_protocol() is None
        script(peer)

    with http_server(noting, context=context) as local:
        provider = IotCredentials(
            Endpoint(HOST, address="127.0.0.1", ports={443: local.port}),
            "gateway=alias,@1",
            authority.issue_device("device-7"),
            thing_name="thing:7",
        )
        assert provider.get(NOW) == credentials()
    ((_, request),) = script.seen
    assert request.target == "/role-aliases/gateway%3Dalias%2C%401/credentials"
    assert request.headers["host"] == HOST
    assert request.headers["x-amzn-iot-thingname"] == "thing:7"
    assert names == [HOST]
    assert subjects == ["device-7"]
    assert repr(provider) == f"IotCredentials('{HOST}', 'gateway=alias,@1', thing_name='thing:7')"


def test_no_thing_is_named_unless_one_is_given(authority: Authority) -> None:
    script = Taking(json_answer(iot_document()))
    with serving(IOT, script, authority) as provider:
        provider.get(NOW)
    assert "x-amzn-iot-thingname" not in script.seen[0][1].headers


STATUSES: dict[int, tuple[bytes, str, bool]] = {
    400: (b"", "check role_alias and thing_name$", True),
    401: (b"", "registered and active", True),
    403: (encode({"message": "Access Denied"}), r"iot:AssumeRoleWithCertificate.*thing_name.*\(Access Denied\)$", True),
    404: (
        encode({"message": "Role alias does not exist"}),
        r"check the role alias.*\(Role alias does not exist\)$",
        True,
    ),
    429: (b"", "too many requests", False),
    500: (SECRET.encode(), "the service failed$", False),
    503: (b"", "the service failed", False),
    301: (b"", "refused$", True),
}


@pytest.mark.parametrize("status", STATUSES)
def test_a_refusal_of_aws_iot_says_what_to_check(status: int, authority: Authority) -> None:
    body, match, is_final = STATUSES[status]
    match = f"IoT credentials provider: HTTP {status}, .*{match}"
    with serving(IOT, Taking(json_answer(body, status)), authority) as provider, refused(match) as caught:
        provider.get(NOW)
    assert is_refusal(caught.value) == is_final


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=["1.3", "1.2"])
def test_a_certificate_of_another_authority_is_refused_in_words(
    newest: ssl.TLSVersion, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path).issue_device("stranger")
    context = server_context(authority)
    context.maximum_version = newest
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connected, _ = listener.accept()
        with connected, suppress(OSError):
            context.wrap_socket(connected, server_side=True)

    thread = InThread(serve)
    with listener:
        provider = IotCredentials(
            Endpoint(HOST, address="127.0.0.1", ports={443: listener.getsockname()[1]}),
            "alias",
            X509(stranger.cert, stranger.key, ca=authority.ca),
        )
        with refused("registered there, active|do not accept the client certificate") as caught:
            provider.get(NOW)
    thread.result()
    # The alert may be lost in the reset that follows it; where it came this is a refusal.
    assert is_refusal(caught.value) == ("alert" in str(caught.value))


def test_a_certificate_that_is_missing_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    provider = IotCredentials(HOST, "alias", X509(tmp_path / "a.pem", tmp_path / "a.key"))
    with refused("cannot use the certificate .*a.pem"):
        provider.get(NOW)


def certificate() -> X509:
    return X509("a.pem", "a.key")


BAD_ARGUMENTS: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "the endpoint for messages": (
        lambda: IotCredentials("a1b2c3-ats.iot.eu-central-1.amazonaws.com", "a", certificate()),
        CredentialsError,
        "endpoint: .* is that for messages; .*iot:CredentialProvider",
    ),
    "an IP address": (lambda: IotCredentials("192.0.2.1", "a", certificate()), RouteError, "host"),
    "a URL": (lambda: IotCredentials(f"https://{HOST}/", "a", certificate()), RouteError, "host"),
    "no alias": (lambda: IotCredentials(HOST, "", certificate()), CredentialsError, "role_alias"),
    "an alias with a slash": (lambda: IotCredentials(HOST, "a/../b", certificate()), CredentialsError, "role_alias"),
    "an alias with a line break": (
        lambda: IotCredentials(HOST, "a\r\n", certificate()),
        CredentialsError,
        "role_alias",
    ),
    "an alias that is too long": (
        lambda: IotCredentials(HOST, "a" * 129, certificate()),
        CredentialsError,
        "role_alias",
    ),
    "an alias in another script": (lambda: IotCredentials(HOST, "ä", certificate()), CredentialsError, "role_alias"),
    "no certificate": (lambda: IotCredentials(HOST, "a", None), CredentialsError, "auth"),  # type: ignore[arg-type]
    "a thing with a line break": (
        lambda: IotCredentials(HOST, "a", certificate(), thing_name="a\r\nX: y"),
        CredentialsError,
        "thing_name",
    ),
    "an empty thing": (lambda: IotCredentials(HOST, "a", certificate(), thing_name=""), CredentialsError, "thing_name"),
    "a proxy's URL": (
        lambda: IotCredentials(HOST, "a", certificate(), proxy="http://u:p@h:1"),  # type: ignore[arg-type]
        CredentialsError,
        "proxy",
    ),
    "no time": (
        lambda: IotCredentials(HOST, "a", certificate(), connect_timeout_s=0),
        EncodeError,
        "connect_timeout_s",
    ),
    "no time for an answer": (lambda: ContainerCredentials(response_timeout_s=-1), EncodeError, "response_timeout_s"),
    "no time for an instance": (lambda: InstanceCredentials(timeout_s=0), EncodeError, "timeout_s"),
}


@pytest.mark.parametrize(("make", "kind", "match"), BAD_ARGUMENTS.values(), ids=list(BAD_ARGUMENTS))
def test_an_argument_that_cannot_be_right_is_named(
    make: Callable[[], object], kind: type[Exception], match: str
) -> None:
    with pytest.raises(kind, match=match) as caught:
        make()
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [HOST, "credentials.example.com", "vpce-1a2b-3c4d.credentials.iot.eu-central-1.vpce.amazonaws.com"],
)
def test_other_names_of_the_credentials_provider_are_taken(host: str) -> None:
    IotCredentials(host, "a", certificate())


def test_a_device_asks_through_a_proxy(authority: Authority) -> None:
    script = Taking(json_answer(iot_document()))
    seen: list[bytes] = []

    def relay(source: socket.socket, to: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)

    with http_server(script, context=server_context(authority)) as local:

        def serve() -> None:
            connected, _ = listener.accept()
            with connected, socket.create_connection(("127.0.0.1", local.port)) as onwards:
                while not seen or not seen[0].endswith(b"\r\n\r\n"):
                    seen[:] = [b"".join(seen) + connected.recv(65536)]
                connected.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                back = InThread(relay, onwards, connected)
                relay(connected, onwards)
                back.result()

        listener = socket.create_server(("127.0.0.1", 0))
        thread = InThread(serve)
        with listener:
            proxy = Proxy(f"http://127.0.0.1:{listener.getsockname()[1]}")
            provider = IotCredentials(HOST, "alias", authority.issue_device("device"), proxy=proxy)
            assert provider.get(NOW) == credentials()
        thread.result()
    assert seen[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n".encode())


def test_dates_that_are_passed_in_are_the_only_clock_for_credentials(authority: Authority) -> None:
    """A device without a clock of its own that is right: what `now` says counts, here a year that is long past."""
    script = Taking(json_answer(document(Expiration="2001-01-01T01:00:00Z")))
    with serving(CONTAINER, script, authority) as provider:
        now = datetime.fromisoformat("2001-01-01T00:00:00+00:00")
        assert provider.get(now).access_key_id == KEY_ID
