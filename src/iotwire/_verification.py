"""The server's side of Signature Version 4: whether a request was signed by who it says, for here and now.

Both forms are known, the Authorization header and the presigned URL. Everything that could be read in two ways is
refused before anything is computed: repeated parameters, both forms at once, headers in no order, escapes that are
none. What remains is put into canonical form by the code that signs, and compared in constant time.

A signature is not used up by being seen: within its time, the same request is the same request. Who cannot bear that
remembers signatures for as long as their time lasts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from iotwire._sigv4 import UNSIGNED_PAYLOAD, Credentials, canonical_request, is_signature, sha256

from .errors import EncodeError, SignatureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from iotwire._sigv4 import _Body, _Headers

ALGORITHM = "AWS4-HMAC-SHA256"
MAXIMUM_EXPIRES_S = 604_800
# Parameters that make a URL a presigned one, each of which may come once.
REQUIRED_PARAMETERS = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature")
SIGNING_PARAMETERS = (*REQUIRED_PARAMETERS, "X-Amz-Expires", "X-Amz-Security-Token")

_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z", re.ASCII)
_SIGNATURE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+", re.ASCII)
_DIGITS = re.compile(r"[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """What a signature says that was found right.

    access_key_id: who signed. signed_at: when, by the signer's clock. region, service: for whom.
    signed_headers: the names of the headers that are signed, in order; any other header may have been added by anyone.
    presigned: whether the signature was in the query. expires_s: how long a presigned URL says it lasts, or None.
    payload_signed: whether the body is what was signed.
    """

    access_key_id: str
    signed_at: datetime
    region: str
    service: str
    signed_headers: tuple[str, ...]
    presigned: bool
    expires_s: int | None
    payload_signed: bool


@dataclass(frozen=True, slots=True, repr=False)
class _Claim:
    """What a request says about its signature, found in one of the two places."""

    credential: str
    stamp: str
    signed_headers: str
    signature: str
    token: str | None
    expires: str | None
    presigned: bool


def verify_request(
    method: str,
    url: str,
    headers: _Headers,
    body: _Body,
    credentials_for: Callable[[str], Credentials | None],
    *,
    now: datetime,
    region: str | None = None,
    service: str | Collection[str] | None = None,
    clock_window_s: float = 300,
    sign_session_token: bool | None = None,
    allow_unsigned_payload: bool = False,
    double_encode_path: bool = True,
    normalize_path: bool = True,
) -> VerifiedRequest:
    """Check the signature of a request as it came in, and say what it vouches for.

    url: as in the request line, or whole. headers: all that came, in order, a mapping or pairs. body: bytes-like.
    credentials_for: gives the credentials that belong to an access key id, or None where there are none.
    now: an aware datetime. region, service: what the scope must name (of services, any of several); None is any.
    clock_window_s: how far a signer's clock may be off. Presigned URLs are good for as long as they say, a week at
    most, and where they do not say, for the window.
    sign_session_token: whether a session token must be signed (True), must not be (False: AWS IoT's WebSockets), or
    either. allow_unsigned_payload: whether UNSIGNED-PAYLOAD may stand for the body's hash, as for S3.
    double_encode_path, normalize_path: as of `Signer`.

    Raises SignatureError, whose `check` says which check failed, and EncodeError for an argument of the caller's own.
    """
    if getattr(now, "utcoffset", lambda: None)() is None:
        raise EncodeError("must be an aware datetime", field="now")
    method, url = _str(method, "method"), _str(url, "url")
    pairs = _pairs_of(headers)
    path, parameters = _split(url)
    claim = _claim_of(pairs, parameters)
    access_key_id, scope_region, scope_service = _scope_of(claim, region, service)
    signed_at = _time_of(claim.stamp)
    expires_s = _check_time(claim, signed_at, now, timedelta(seconds=clock_window_s))
    credentials = _checked(credentials_for(access_key_id), access_key_id, now)
    _check_token(claim.token, credentials.session_token)
    names = _signed_names(claim, pairs)
    payload_hash = _payload_hash(claim, pairs, body, scope_service, allow_unsigned=allow_unsigned_payload)
    if method != method.upper():
        raise _refusal("malformed", "the method must be in capitals")

    def is_signed_with(query: str) -> bool:
        canonical = canonical_request(
            method,
            f"{path}?{query}",
            [(name, value) for name, value in pairs if name in names],
            payload_hash=payload_hash,
            double_encode_path=double_encode_path,
            normalize_path=normalize_path,
            unsigned_headers=(),
        )
        return is_signature(claim.signature, credentials, canonical, signed_at, scope_region, scope_service)

    try:
        is_right = any(is_signed_with(query) for query in _queries(claim, parameters, names, sign_session_token))
    except EncodeError as error:
        raise _refusal("malformed", f"the request has no canonical form: {error}") from None
    if not is_right:
        raise _refusal("signature", f"the signature of {access_key_id} does not match the request")
    return VerifiedRequest(
        access_key_id,
        signed_at,
        scope_region,
        scope_service,
        names,
        claim.presigned,
        expires_s,
        payload_hash != UNSIGNED_PAYLOAD,
    )


def _refusal(check: str, message: str) -> SignatureError:
    return SignatureError(message, check=check)


# ---- taking the request apart


def _str(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise EncodeError(f"must be str, not {type(value).__name__}", field=field)
    return value


def _text(value: str | bytes) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value


def _pairs_of(headers: _Headers) -> list[tuple[str, str | bytes]]:
    """All headers with their names in small letters."""
    items = headers.items() if hasattr(headers, "items") else headers
    try:
        pairs = [(_text(name).lower(), value) for name, value in items]
        "".join(_text(value) for _, value in pairs)  # a TypeError where one is neither str nor bytes
    except (TypeError, ValueError, AttributeError):
        raise EncodeError("must be a mapping or pairs, of str or bytes", field="headers") from None
    return pairs


def _split(url: str) -> tuple[str, list[tuple[str, str]]]:
    """The URL up to its query, and the parameters: each with its name unescaped, and as it stands."""
    path, _, query = url.partition("?")
    if _BROKEN_ESCAPE.search(url):
        raise _refusal("malformed", "the URL has a '%' that two hexadecimal digits do not follow")
    return path, [(_unescape(raw.partition("=")[0]), raw) for raw in query.split("&") if raw]


def _unescape(raw: str) -> str:
    try:
        return _ESCAPE.sub(lambda escape: bytes.fromhex(escape[1].decode()), raw.encode()).decode()
    except UnicodeError:  # no name or value of ours then: what it is makes no difference
        return "\ufffd"


def _only(pairs: list[tuple[str, str | bytes]], name: str) -> str | None:
    """The value of a header that must not be repeated: intermediaries differ in which of two they believe."""
    values = [value for other, value in pairs if other == name]
    if len(values) > 1:
        raise _refusal("malformed", f"the header {name} is there {len(values)} times")
    return _text(values[0]).strip(" \t") if values else None


def _claim_of(pairs: list[tuple[str, str | bytes]], parameters: list[tuple[str, str]]) -> _Claim:
    authorization = _only(pairs, "authorization")
    given: dict[str, str] = {}
    for name, raw in parameters:
        if name in SIGNING_PARAMETERS:
            if name in given:
                raise _refusal("malformed", f"the query has {name} more than once")
            given[name] = _unescape(raw.partition("=")[2])
    if "X-Amz-Signature" in given or "X-Amz-Algorithm" in given:
        if authorization is not None:
            raise _refusal("malformed", "there is a signature in the query and another in an Authorization header")
        return _claim_of_query(given)
    if authorization is None:
        raise _refusal(
            "missing", "there is no signature: neither an Authorization header nor X-Amz-Signature in the query"
        )
    if given:
        raise _refusal("malformed", f"the query has {next(iter(given))}, but no signature")
    return _claim_of_header(authorization, pairs)


def _claim_of_query(given: dict[str, str]) -> _Claim:
    missing = [name for name in REQUIRED_PARAMETERS if name not in given]
    if missing:
        raise _refusal("malformed", f"the query has no {missing[0]}")
    if given["X-Amz-Algorithm"] != ALGORITHM:
        raise _refusal("algorithm", f"X-Amz-Algorithm must be {ALGORITHM}")
    return _Claim(
        given["X-Amz-Credential"],
        given["X-Amz-Date"],
        given["X-Amz-SignedHeaders"],
        given["X-Amz-Signature"],
        given.get("X-Amz-Security-Token"),
        given.get("X-Amz-Expires"),
        presigned=True,
    )


def _claim_of_header(authorization: str, pairs: list[tuple[str, str | bytes]]) -> _Claim:
    scheme, _, rest = authorization.partition(" ")
    if scheme != ALGORITHM:
        raise _refusal("algorithm", f"the Authorization header must begin with {ALGORITHM}")
    wanted = "the Authorization header must name Credential, SignedHeaders and Signature, each once"
    parts: dict[str, str] = {}
    for part in rest.split(","):
        key, equals, value = part.strip(" \t").partition("=")
        if not equals or key not in ("Credential", "SignedHeaders", "Signature") or key in parts:
            raise _refusal("malformed", wanted)
        parts[key] = value
    if len(parts) != 3:
        raise _refusal("malformed", wanted)
    stamp = _only(pairs, "x-amz-date")
    if stamp is None:
        raise _refusal("malformed", "there is no X-Amz-Date header")
    token = _only(pairs, "x-amz-security-token")
    return _Claim(parts["Credential"], stamp, parts["SignedHeaders"], parts["Signature"], token, None, presigned=False)


# ---- what it says, against what may be


def _scope_of(claim: _Claim, region: str | None, service: str | Collection[str] | None) -> tuple[str, str, str]:
    parts = claim.credential.split("/")
    if len(parts) != 5 or not all(parts) or len(claim.credential) > 512 or not claim.credential.isascii():
        raise _refusal(
            "malformed", "the credential must be key id, day, region, service and 'aws4_request', between '/'"
        )
    access_key_id, day, scope_region, scope_service, terminator = parts
    if not _SIGNATURE.fullmatch(claim.signature):
        raise _refusal("malformed", "the signature must be 64 hexadecimal digits in small letters")
    if terminator != "aws4_request":
        raise _refusal("scope", "the scope must end with 'aws4_request'")
    if day != claim.stamp[:8]:
        raise _refusal("scope", "the day of the scope must be that of X-Amz-Date")
    if region is not None and scope_region != region:
        raise _refusal("scope", f"the scope names the region {scope_region!r}; here is {region!r}")
    services = {service} if isinstance(service, str) else service
    if services is not None and scope_service not in services:
        allowed = " or ".join(repr(name) for name in sorted(services))
        raise _refusal("scope", f"the scope names the service {scope_service!r}; here is {allowed}")
    return access_key_id, scope_region, scope_service


def _time_of(stamp: str) -> datetime:
    if _STAMP.fullmatch(stamp):
        try:
            return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError:
            pass
    raise _refusal("malformed", "X-Amz-Date must be a time such as 20240102T030405Z")


def _check_time(claim: _Claim, signed_at: datetime, now: datetime, window: timedelta) -> int | None:
    expires_s = None
    if claim.expires is not None:
        expires_s = int(claim.expires) if _DIGITS.fullmatch(claim.expires) else 0
        if not 1 <= expires_s <= MAXIMUM_EXPIRES_S:
            raise _refusal("malformed", f"X-Amz-Expires must be 1 to {MAXIMUM_EXPIRES_S} seconds")
    age = now - signed_at
    age_s = age // timedelta(seconds=1)
    if -age > window:
        raise _refusal("clock", f"signed at {claim.stamp}, {-age_s} s after this server's time: set the clock")
    if expires_s is None and age > window:
        raise _refusal("clock", f"signed at {claim.stamp}, {age_s} s before this server's time: sign anew")
    if expires_s is not None and age > timedelta(seconds=expires_s):
        raise _refusal("expired", f"signed at {claim.stamp} for {expires_s} s, which are over")
    return expires_s


def _checked(credentials: object, access_key_id: str, now: datetime) -> Credentials:
    if credentials is None:
        raise _refusal("access_key", f"the access key id {access_key_id!r} is not known")
    if not isinstance(credentials, Credentials):
        raise EncodeError(f"must give Credentials or None, not {type(credentials).__name__}", field="credentials_for")
    if credentials.expiration is not None and credentials.expiration <= now:
        raise _refusal("expired", f"the credentials of {access_key_id} expired at {credentials.expiration.isoformat()}")
    return credentials


def _check_token(given: str | None, wanted: str | None) -> None:
    if wanted is None:
        if given is not None:
            raise _refusal("session_token", "there is a session token, but these credentials have none")
    elif given is None:
        raise _refusal("session_token", "these credentials are temporary: their session token is missing")
    elif not given.isascii() or sha256(given.encode()) != sha256(wanted.encode()):  # hashes: their time tells nothing
        raise _refusal("session_token", "the session token is not that of these credentials")


def _signed_names(claim: _Claim, pairs: list[tuple[str, str | bytes]]) -> tuple[str, ...]:
    names = tuple(claim.signed_headers.split(";"))
    if not all(map(_HEADER_NAME.fullmatch, names)) or list(names) != sorted(set(names)):
        raise _refusal(
            "signed_headers", "SignedHeaders must be names in small letters, in order, each once, between ';'"
        )
    present = {name for name, _ in pairs}
    if "host" not in names:
        raise _refusal("signed_headers", "the Host header must be signed")
    _only(pairs, "host")
    for name in names:
        if name not in present and name != "host":  # whose value may be in the URL
            raise _refusal("signed_headers", f"the header {name} is signed, but not there")
    for name in sorted(present):
        if name.startswith("x-amz-") and name not in names and name != "x-amz-security-token":
            raise _refusal("signed_headers", f"the header {name} is there, but not signed")
    return names


def _payload_hash(
    claim: _Claim,
    pairs: list[tuple[str, str | bytes]],
    body: _Body,
    service: str,
    *,
    allow_unsigned: bool,
) -> str:
    """What the signer must have taken for the hash of the body."""
    given = _only(pairs, "x-amz-content-sha256")
    if given is None and claim.presigned and allow_unsigned and service == "s3":
        return UNSIGNED_PAYLOAD
    if given == UNSIGNED_PAYLOAD:
        if not allow_unsigned:
            raise _refusal("payload", "the payload is not signed")
        return UNSIGNED_PAYLOAD
    try:
        right = sha256(b"" if body is None else body).hex()
    except EncodeError as error:
        raise EncodeError(error.message, field="body") from None
    if given is not None and given != right:
        raise _refusal("payload", "X-Amz-Content-SHA256 is not the hash of the payload")
    return right


def _queries(
    claim: _Claim, parameters: list[tuple[str, str]], names: tuple[str, ...], sign_session_token: bool | None
) -> list[str]:
    """The queries that may have been signed: a session token may be part of it, or appended afterwards."""
    whole = "&".join(raw for _, raw in parameters)
    if claim.token is None:
        return [whole]
    if not claim.presigned:
        if sign_session_token is not None and sign_session_token != ("x-amz-security-token" in names):
            raise _refusal("session_token", f"the session token must{'' if sign_session_token else ' not'} be signed")
        return [whole]
    without = "&".join(raw for name, raw in parameters if name != "X-Amz-Security-Token")
    return {None: [whole, without], True: [whole], False: [without]}[sign_session_token]
