"""A proxy that a route goes through, as a value. What is said to it stands in `iotwire.transport.proxies`."""

from __future__ import annotations

import re

from .errors import RouteError
from .route import join_host_port, read_host, read_port

__all__ = ["Proxy"]

SCHEMES = ("http", "socks5", "socks5h")
# RFC 3986, 3.2: the last "@" ends the user information, and a password may have colons.
_URL = re.compile(r"([a-z0-9]+)://(?:([^/?#]*)@)?(\[[^\]/@]*\]|[^:/?#@]*):(\d{1,5})/?")
# One byte holds the length of each (RFC 1929, 2).
MAX_SOCKS_CREDENTIAL = 255


class Proxy:
    """A proxy: `Proxy("http://user:password@proxy.example:3128")` or `Proxy("socks5://proxy.example:1080")`.

    url: scheme, host and port, with user name and password where the proxy asks for them; percent-encoded where they
        hold "@", "/", "?", "#" or "%". The scheme is one of

        - "http": CONNECT (RFC 9110, 9.3.6), with Basic authentication (RFC 7617);
        - "socks5", "socks5h": SOCKS 5 (RFC 1928), with user name and password (RFC 1929). Both leave it to the proxy to
          resolve the name of the endpoint: a gateway behind a proxy often has no DNS for names outside.

    TLS runs inside the tunnel, and the endpoint's certificate is checked as without a proxy. The way to the proxy
    itself is not encrypted: "https" is not in this release. No proxy is taken from the environment.

    The repr shows neither user name nor password. Raises RouteError, which does not repeat them either.
    """

    __slots__ = ("host", "password", "port", "scheme", "username")

    def __init__(self, url: str) -> None:
        try:
            found = _URL.fullmatch(url)
        except TypeError:
            found = None
        if found is None:
            raise RouteError(
                "proxy: a URL with scheme, host and port is expected, such as http://user:password@host:3128"
            )
        scheme, credentials, host, port = found.groups()
        if scheme == "https":
            raise RouteError(
                "proxy: TLS to the proxy itself (https://) is not in this release; TLS inside the tunnel is"
            )
        if scheme not in SCHEMES:
            raise RouteError(
                f"proxy: one of {', '.join(f'{each}://' for each in SCHEMES)} is expected, not {scheme}://"
            )
        self.scheme = scheme
        self.host = read_host(host)
        self.port = read_port(int(port), "proxy: port")
        self.username: bytes | None = None
        self.password: bytes | None = None
        if credentials is not None:
            from urllib.parse import unquote_to_bytes  # half a megabyte that a device without a proxy does without

            name, _, password = credentials.partition(":")
            self.username, self.password = unquote_to_bytes(name), unquote_to_bytes(password)
            self._check_credentials(self.username, self.password)

    def _check_credentials(self, username: bytes, password: bytes) -> None:
        if self.scheme == "http":
            if b":" in username or any(byte < 0x20 or byte == 0x7F for byte in username + password):
                raise RouteError("proxy: a user name has no colon, and neither it nor a password control characters")
        elif not (1 <= len(username) <= MAX_SOCKS_CREDENTIAL and 1 <= len(password) <= MAX_SOCKS_CREDENTIAL):
            raise RouteError("proxy: SOCKS 5 has user names and passwords of 1 to 255 bytes")

    @property
    def place(self) -> str:
        """Where it is, for messages: without user name and password."""
        return f"{self.scheme}://{join_host_port(self.host, self.port)}"

    def __repr__(self) -> str:
        shown = self.place if self.username is None else self.place.replace("://", "://***@")
        return f"Proxy({shown!r})"

    def _key(self) -> tuple[object, ...]:
        return self.scheme, self.host, self.port, self.username, self.password

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Proxy) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())
