"""One small HTTP request over a connection of its own, for threads: what sources of credentials are asked with.

The transport connects, h11 reads. Everything is bounded: each step in time, an answer in bytes. Redirections are not
followed, a proxy is used only where the caller names one, and nothing of an answer gets into an error but the words of
one that is a refusal.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from time import monotonic
from typing import NamedTuple, NoReturn

from ..errors import (
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    IotwireError,
    RequestTimeoutError,
    RouteError,
    WireError,
)
from ..https.conversation import Answer, Conversation
from ..https.request import Request
from ..route import Attempt, TlsPlan, join_host_port, read_host, read_port
from ..transport.blocking import open_socket
from ..transport.explain import alert_of, describe_tls_error
from ..transport.quoting import MAX_QUOTED, printable
from ..transport.tls import TlsContexts

__all__ = ["MAX_ANSWER_BYTES", "HttpSource", "Url", "read_url", "words_of"]

MAX_ANSWER_BYTES = 64 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}
# Visible ASCII alone: nothing here can end a line of the request. A fragment is not for servers, and none is expected.
_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?((?:/[!-\"$-~]*)?)")


class Url(NamedTuple):
    """Where an HTTP source is. host: without brackets. target: path and query, "/" at least."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def place(self) -> str:
        """For messages: without path and query, which may have secrets."""
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"

    def attempt(self) -> Attempt:
        tls = TlsPlan(self.host) if self.scheme == "https" else None
        authority = join_host_port(self.host, self.port, DEFAULT_PORTS[self.scheme])
        return Attempt(self.host, self.port, tls, authority=authority)


def read_url(text: str, name: str) -> Url:
    """A URL of http or https without user name. Raises CredentialsError, which says `name` and does not repeat it."""
    found = _URL.fullmatch(text)
    if found is not None:
        scheme, host, port, target = found.groups()
        with suppress(RouteError):
            number = DEFAULT_PORTS[scheme] if port is None else read_port(int(port))
            return Url(scheme, read_host(host), number, target or "/")
    raise CredentialsError(
        f"{name}: a URL such as http://127.0.0.1:8080/path is expected, without user name, spaces and fragment"
    )


class HttpSource:
    """What asks one source.

    name: what it is called in errors. connect_timeout_s: from the name's resolution to the end of the TLS handshake.
    response_timeout_s: from the first byte of the request to the last one of the answer.
    """

    def __init__(self, name: str, *, connect_timeout_s: float, response_timeout_s: float) -> None:
        self.name = name
        self._connect_timeout_s = connect_timeout_s
        self._response_timeout_s = response_timeout_s
        self._contexts = TlsContexts()

    def ask(
        self,
        attempt: Attempt,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        *,
        method: str = "GET",
        check_peer: Callable[[str], None] | None = None,
    ) -> Answer:
        """The answer to a request without a body, whatever its status.

        check_peer: is called with the address that the connection goes to, before anything is sent.
        Raises CredentialsError; where the connection failed that has the connection's error as its cause.
        """
        fields = [("Accept", "*/*"), ("Connection", "close"), *headers]
        if method != "GET":
            fields.append(("Content-Length", "0"))
        lines = [(name.encode(), value.encode("latin-1")) for name, value in fields]
        request = Request(target.encode(), lines, b"", method.encode())
        try:
            connected = open_socket(
                attempt, timeout_s=self._connect_timeout_s, dead_link_timeout_s=None, contexts=self._contexts
            )
            with connected:
                if check_peer is not None:
                    check_peer(connected.getpeername()[0])
                answer = self._converse(connected, Conversation(attempt.authority, MAX_ANSWER_BYTES), request)
        except CredentialsError:
            raise
        except IotwireError as error:
            raise CredentialsError(f"{self.name}: {error}") from error
        except OSError as error:  # the connection ended between its making and its use
            raise CredentialsError(f"{self.name}: {error.strerror}") from error
        if answer.status == 200 and not answer.is_whole:
            cut = ConnectionLostError(f"the answer was cut off, or is longer than {MAX_ANSWER_BYTES} bytes")
            raise CredentialsError(f"{self.name}: {cut}") from cut
        return answer

    def fail(self, text: str, *, status: int | None = None) -> NoReturn:
        """Raise CredentialsError. status: of an answer; where it may be another one soon, the error is no refusal."""
        error = CredentialsError(f"{self.name}: {text}")
        if status is not None and (status == 429 or status >= 500):
            raise error from ConnectError(f"HTTP {status}", step="http", http_status=status)
        raise error

    def _converse(self, connected: socket.socket, conversation: Conversation, request: Request) -> Answer:
        deadline = monotonic() + self._response_timeout_s
        unsent = conversation.ask(request)
        answer: Answer | None = None
        failure: OSError | None = None
        nbytes = 1
        is_http = True
        try:
            try:
                connected.settimeout(self._response_timeout_s)
                connected.sendall(unsent)
            except OSError as error:  # there may be something to read, such as an alert or an early answer
                failure = error
            while answer is None and nbytes and (left := deadline - monotonic()) > 0:
                connected.settimeout(left)
                nbytes = connected.recv_into(conversation.get_buffer())
                answer = conversation.buffer_updated(nbytes)
        except WireError:
            is_http = False
        except OSError as error:
            if not isinstance(error, TimeoutError):
                failure = error if failure is None or alert_of(error) is not None else failure
                nbytes = 0
        if not is_http:  # not in the `except`: its error quotes what was read, and would go along as context of ours
            raise WireError(f"the answer is not HTTP/1.1, or longer than {MAX_ANSWER_BYTES} bytes")
        answer = answer or conversation.give_up()
        if answer is not None:
            return answer
        if nbytes:
            raise RequestTimeoutError(f"no answer within {self._response_timeout_s:g} s")
        if isinstance(failure, ssl.SSLError) and alert_of(failure) is not None:
            # In TLS 1.3 a client is done with the handshake before the server has seen its certificate.
            raise ConnectError(
                f"the connection was refused: {describe_tls_error(failure)}", step="tls", alert=alert_of(failure)
            ) from failure
        reason = "" if failure is None else f": {failure.strerror or type(failure).__name__}"
        when = "in the midst of its answer" if conversation.has_begun_answer else "without an answer"
        raise ConnectionLostError(f"the connection ended {when}{reason}") from failure


def words_of(answer: Answer, secrets: Iterable[str] = ()) -> str:
    """What a refusal says in JSON, as " (words)"; "" for nothing, and where it repeats a secret of ours."""
    try:
        told = json.loads(answer.body.decode())
    except (ValueError, RecursionError):
        return ""
    if not isinstance(told, dict):
        return ""
    words = []
    for name in ("code", "Code", "message", "Message", "traceId"):
        value = told.get(name)
        if isinstance(value, str) and value:
            words.append(printable(value, MAX_QUOTED))
    if not words or any(secret in value for secret in secrets for value in map(str, told.values())):
        return ""
    return f" ({'; '.join(words)})"
