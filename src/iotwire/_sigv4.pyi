"""Signature Version 4: keys, signed headers and presigned URLs."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TypeAlias, final

from typing_extensions import Buffer

_Body: TypeAlias = Buffer | None
_Headers: TypeAlias = Mapping[str, str] | Mapping[str, str | bytes] | Iterable[tuple[str | bytes, str | bytes]]

UNSIGNED_HEADERS: frozenset[str]
UNSIGNED_PAYLOAD: str

@final
class Credentials:
    """What a request is signed with: an access key id, its secret, and for temporary ones a session token.

    access_key_id: 1 to 128 visible ASCII characters, without "/" and ",". secret_access_key: up to 1024 of them,
    session_token: up to 32768. expiration: an aware datetime, or None where they do not expire; a signer does not look
    at it. Immutable, equal by value, picklable; the secret and the token are not in the repr. May be shared between
    threads. Raises CredentialsError that names what is wrong, without showing it.
    """

    __match_args__ = ("access_key_id", "secret_access_key", "session_token", "expiration")

    @property
    def access_key_id(self) -> str: ...
    @property
    def secret_access_key(self) -> str: ...
    @property
    def session_token(self) -> str | None: ...
    @property
    def expiration(self) -> datetime | None: ...
    def __new__(
        cls,
        access_key_id: str,
        secret_access_key: str,
        session_token: str | None = None,
        expiration: datetime | None = None,
    ) -> Credentials: ...
    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@final
class Signer:
    """Signs requests to one service in one region.

    The last eight keys that it derived are kept, one for each secret and day, and wiped when they go. May be shared
    between threads, with and without the GIL: a signer does not change but for those keys.

    region, service: 1 to 128 visible ASCII characters, without "/" and ",".
    double_encode_path: whether a path is percent-encoded once more than on the wire, as all services but S3 want it.
    normalize_path: whether `.`, `..` and empty segments are resolved first, as all but S3 do.
    content_sha256_header: whether `sign_headers` adds X-Amz-Content-SHA256, which S3 needs.
    For those three, None is what `service` wants.
    unsigned_headers: names of headers that are not signed; by default those that proxies and clients change.
    Raises EncodeError that names the argument.
    """

    @property
    def region(self) -> str: ...
    @property
    def service(self) -> str: ...
    def __new__(
        cls,
        region: str,
        service: str,
        *,
        double_encode_path: bool | None = None,
        normalize_path: bool | None = None,
        content_sha256_header: bool | None = None,
        unsigned_headers: Iterable[str] = ...,
    ) -> Signer: ...
    def sign_headers(
        self,
        method: str,
        url: str,
        headers: _Headers | None,
        body: _Body,
        credentials: Credentials,
        *,
        now: datetime,
        sign_session_token: bool = True,
        payload_hash: str | None = None,
    ) -> dict[str, str]:
        """The headers to add to a request: Authorization, X-Amz-Date, and with a session token X-Amz-Security-Token.

        url: as it is sent, percent-encoded; its host is signed where `headers` has none.
        headers: a mapping, or pairs, in which names may repeat; all are signed but the signer's `unsigned_headers`. An
        Authorization, X-Amz-Date or X-Amz-Security-Token among them is for the caller to replace. The value of an
        X-Amz-Content-SHA256 among them stands for the body's hash.
        body: any C-contiguous buffer, or None. now: an aware datetime.
        sign_session_token: whether the token's header is signed like the rest, as AWS wants it.
        payload_hash: the body's SHA-256 in hexadecimal, or `UNSIGNED_PAYLOAD`, where the body is not at hand; it is
        added as X-Amz-Content-SHA256.
        Raises EncodeError that names the argument.
        """

    def presign_url(
        self,
        method: str,
        url: str,
        credentials: Credentials,
        *,
        now: datetime,
        expires: int | None = None,
        sign_session_token: bool = True,
        headers: _Headers | None = (),
        body: _Body = b"",
        payload_hash: str | None = None,
    ) -> str:
        """`url` with a signature in its query. Whoever has it may use it: keep it as secret as a password.

        url: as it is sent, percent-encoded; it may have a query of its own. now: an aware datetime.
        expires: 1 to 604800 seconds from then on, or None to leave it to the service.
        sign_session_token: whether a session token is signed like the rest, or appended after the signature, as AWS IoT
        wants it for WebSockets.
        headers: what the request will be sent with and has to be signed, besides Host.
        body, payload_hash: as of `sign_headers`; for S3, the payload is not signed.
        Raises EncodeError that names the argument.
        """

def presign_mqtt_url(
    host: str,
    region: str,
    credentials: Credentials,
    *,
    now: datetime | None = None,
    port: int = 443,
    path: str = "/mqtt",
    service: str = "iotdevicegateway",
    expires: int | None = 86400,
) -> str:
    """The wss:// URL of MQTT over WebSockets, signed. Whoever has it may connect: keep it as secret as a password.

    host: a name or an IP address, signed as it stands; where `port` is not 443, the Host header has to have it too.
    now: an aware datetime; None means now, by this machine's clock. path: as it is sent, percent-encoded, no query.
    expires: 1 to 604800 seconds, or None to leave it to the service.
    A session token is appended unsigned, as AWS IoT wants it. Make a new URL for each attempt to connect.
    Raises EncodeError that names the argument.
    """

def lend_clock(given: Callable[[], float]) -> None:
    """Take what `presign_mqtt_url` asks where no `now` is given: seconds since 1970, such as `time.time` gives."""

def canonical_request(
    method: str,
    url: str,
    headers: _Headers | None = (),
    body: _Body = b"",
    *,
    payload_hash: str | None = None,
    double_encode_path: bool = True,
    normalize_path: bool = True,
    unsigned_headers: Iterable[str] = ...,
) -> str:
    """The canonical request as text, to be compared with what a server says it made of a request.

    url: whole, or as in a request line, where `headers` have a Host. All headers are signed but `unsigned_headers`, and
    an X-Amz-Signature in the query is left out. The rest is as of `Signer`. Raises EncodeError that names the argument.
    """

def string_to_sign(canonical: str, now: datetime, region: str, service: str) -> str:
    """The string to sign of a canonical request: algorithm, time, scope and the request's hash.

    Raises EncodeError that names the argument.
    """

def is_signature(
    signature: str, credentials: Credentials, canonical: str, now: datetime, region: str, service: str
) -> bool:
    """Whether `signature`, 64 hexadecimal digits in small letters, is that of the canonical request.

    Compared in constant time; the right signature is never shown.
    """

def sha256(*pieces: Buffer) -> bytes:
    """The SHA-256 of the pieces together, by the path that the processor's features in use open."""

def hmac_sha256(key: Buffer, data: Buffer) -> bytes:
    """The HMAC-SHA-256 of `data`."""
