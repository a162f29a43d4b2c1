"""What is said to a proxy until the tunnel is open: bytes in, bytes out, no socket.

A tunnel is begun with `start`; what the proxy answers goes to `receive`, which gives what to say next. Once `is_open`,
all bytes are the endpoint's. The peer speaks first in none of our protocols, so a byte behind the proxy's answer is an
error, and no byte of the endpoint's can be swallowed here.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Generator
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from ..proxy import Proxy
from ..route import is_ip_literal, join_host_port
from .quoting import describe_status

__all__ = ["ProxyError", "Tunnel", "make_tunnel"]

# Bytes of the largest head of an answer to CONNECT; squid's are a few hundred.
MAX_HEAD_BYTES = 16 * 1024
# HTTP statuses that say "not you" or "not there"; the same again would be answered so again.
REFUSALS = frozenset({401, 403, 405, 407})

USERNAME_PASSWORD = 2
NO_METHOD = 0xFF
# RFC 1928, 6.
SOCKS_REPLIES = {
    1: "general failure",
    2: "connection not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable (or its name unknown to the proxy)",
    5: "connection refused by the endpoint",
    6: "TTL expired",
    7: "command not supported",
    8: "address type not supported",
}


class ProxyError(Exception):
    """The proxy opens no tunnel. Becomes a ConnectError with the step "proxy".

    status: of its HTTP answer, or None. is_refusal: whether it has refused who asks, or what for.
    """

    def __init__(self, message: str, *, status: int | None = None, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.is_refusal = is_refusal


class Tunnel(Protocol):
    """A conversation with a proxy."""

    is_open: bool

    def start(self) -> bytes:
        """What to say first."""

    def receive(self, data: bytes) -> bytes:
        """What to say next, which may be nothing yet. data: what has come; b"" at the end. Raises ProxyError."""


def make_tunnel(proxy: Proxy, host: str, port: int) -> Tunnel:
    """A tunnel to this host, a name or an address without brackets. No name is resolved here."""
    host = host.partition("%")[0]  # a zone is this machine's, and nothing to the proxy
    return HttpTunnel(proxy, host, port) if proxy.scheme == "http" else SocksTunnel(proxy, host, port)


class HttpTunnel:
    """CONNECT (RFC 9110, 9.3.6)."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        import h11  # half a megabyte that a device without a proxy does without

        self._h11 = h11
        self._connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.is_open = False
        target = join_host_port(host, port)
        self._headers = [("Host", target)]
        if proxy.username is not None and proxy.password is not None:
            credentials = b64encode(proxy.username + b":" + proxy.password).decode()  # RFC 7617, 2
            self._headers.append(("Proxy-Authorization", f"Basic {credentials}"))
        self._target = target

    def start(self) -> bytes:
        connection, h11 = self._connection, self._h11
        request = connection.send(h11.Request(method="CONNECT", target=self._target, headers=self._headers))
        return (request or b"") + (connection.send(h11.EndOfMessage()) or b"")

    def receive(self, data: bytes) -> bytes:
        h11 = self._h11
        try:
            self._connection.receive_data(data)
            while (event := self._connection.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._judge(event.status_code)
                    return b""
                if not isinstance(event, h11.InformationalResponse):  # 1xx (RFC 9110, 15.2)
                    raise ProxyError("it closed the connection")
        except h11.RemoteProtocolError as error:
            if not data:
                raise ProxyError("it closed the connection") from error
            raise ProxyError("its answer is not HTTP/1.1; is it an HTTP proxy?") from error
        return b""

    def _judge(self, status: int) -> None:
        if not 200 <= status < 300:
            advice = ": check user name and password of Proxy(...)" if status in (401, 407) else ""
            raise ProxyError(
                f"it answered {describe_status(status)}{advice}", status=status, is_refusal=status in REFUSALS
            )
        if self._connection.trailing_data[0]:
            raise ProxyError("it sent more than its answer")
        self.is_open = True


class SocksTunnel:
    """CONNECT of SOCKS 5 (RFC 1928), with user name and password where the proxy wants them (RFC 1929)."""

    def __init__(self, proxy: Proxy, host: str, port: int) -> None:
        self._proxy = proxy
        self._host = host
        self._port = port
        self.is_open = False
        self._talk = self._converse()
        self._received = b""
        self._needed = 0

    def start(self) -> bytes:
        said, self._needed = next(self._talk)
        return said

    def receive(self, data: bytes) -> bytes:
        if not data:
            raise ProxyError("it closed the connection")
        self._received += data
        said = b""
        while not self.is_open and len(self._received) >= self._needed:
            answer, self._received = self._received[: self._needed], self._received[self._needed :]
            try:
                next_said, self._needed = self._talk.send(answer)
            except StopIteration:
                self.is_open = True
            else:
                said += next_said
        if self.is_open and self._received:
            raise ProxyError("it sent more than its answer")
        return said

    def _converse(self) -> Generator[tuple[bytes, int], bytes, None]:
        """What to say, and how many bytes are then waited for."""
        username, password = self._proxy.username, self._proxy.password
        methods = b"\0" if username is None else bytes([0, USERNAME_PASSWORD])
        version, method = yield bytes([5, len(methods)]) + methods, 2
        if version != 5:
            raise ProxyError("its answer is not SOCKS 5; is it a SOCKS proxy?")
        if method == USERNAME_PASSWORD and username is not None and password is not None:
            credentials = bytes([1, len(username)]) + username + bytes([len(password)]) + password
            _, status = yield credentials, 2
            if status:
                raise ProxyError(
                    "it does not accept user name and password: check those of Proxy(...)", is_refusal=True
                )
        elif method == NO_METHOD:
            wanted = "user name and password" if username is None else "another authentication"
            raise ProxyError(f"it wants {wanted}", is_refusal=True)
        elif method:
            raise ProxyError("it chose an authentication that was not offered")

        destination = self._encode_host() + self._port.to_bytes(2, "big")
        version, reply, _, address_type = yield b"\x05\x01\0" + destination, 4  # CONNECT
        if version != 5:
            raise ProxyError("its answer is not SOCKS 5; is it a SOCKS proxy?")
        if reply:
            raise ProxyError(
                f"it answered {reply}: {SOCKS_REPLIES.get(reply, 'no reply of SOCKS 5')}", is_refusal=reply == 2
            )
        # The address that the proxy uses means nothing to us, but it is a part of the answer.
        if address_type == 3:
            (size,) = yield b"", 1
        else:
            size = {1: 4, 4: 16}.get(address_type, -1)
        if size < 0:
            raise ProxyError("its answer has an address of no known type")
        yield b"", size + 2

    def _encode_host(self) -> bytes:
        """ATYP and DST.ADDR (RFC 1928, 5). A name goes as a name, for the proxy to resolve."""
        if is_ip_literal(self._host):
            address = ip_address(self._host)
            return (b"\x04" if isinstance(address, IPv6Address) else b"\x01") + address.packed
        name = self._host.encode("ascii")
        return bytes([3, len(name)]) + name
