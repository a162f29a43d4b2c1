"""Custom authorizers: what a device proves to a Lambda function of one's own (AWS IoT Core, "Custom authentication").

The service looks up an authorizer by its name, checks that the token was signed with the private key whose public key
the authorizer holds, and only then asks the function. `CustomAuth` puts name, token and signature where each protocol
carries them: into the MQTT user name and into a URL's query percent-encoded, into HTTP headers as they are, because a
header is decoded by nobody. `TokenSigner` makes the signatures, and `TokenVerifier` judges them as the service does.

Importing this loads no `cryptography`; making a signer or a verifier does.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64

from ._token import PreparedQuery, is_base64
from .errors import CredentialsError

TYPE_CHECKING = False  # as in `typing`, which costs more memory to import than all of this
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import ClassVar, TypeAlias

    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

    TokenSupplier: TypeAlias = Callable[[], str | tuple[str, str]]

__all__ = ["CustomAuth", "TokenSigner", "TokenVerifier", "verify_token"]

MINIMUM_KEY_BITS = 2048  # for the public key of an authorizer
MAXIMUM_NAME_SIZE = 128
MAXIMUM_PASSWORD_SIZE = 65535  # Binary Data [MQTT-1.5.6]

_WORD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")
_NAME_CHARACTERS = _WORD | frozenset("=,@-")
_TOKEN_KEY_CHARACTERS = _WORD | frozenset("-")

_NAME = "x-amz-customauthorizer-name"
_SIGNATURE = "x-amz-customauthorizer-signature"
# Headers that say where a request ends and what a connection is for: a token there would be another request.
_HTTP_HEADERS = frozenset(
    ["connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"]
)
_WEBSOCKET_HEADER = "sec-websocket-"


# ---- signatures


class TokenSigner:
    """Signs tokens with the private key of an authorizer: RSASSA-PKCS1-v1_5 with SHA-256 (RFC 8017, 8.2).

    private_key_pem: an RSA key of at least 2048 bits as PEM text (PKCS #8 or PKCS #1), encrypted or not.
    password: what the key is encrypted with, or None. Neither is in the repr or in an error.

    The key is parsed once. Immutable; may be shared between threads.
    Raises CredentialsError that names the argument, and one that says what to install where `cryptography` is missing.
    """

    __slots__ = ("_arguments", "_key_size", "_sign")

    def __init__(self, private_key_pem: str | bytes, password: str | bytes | None = None) -> None:
        key = _load_private_key(private_key_pem, password)
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        self._key_size = key.key_size
        self._sign = key.sign
        self._arguments = PKCS1v15(), SHA256()

    def __repr__(self) -> str:
        return f"TokenSigner(***) of {self._key_size} bits"

    def sign(self, token: str | bytes) -> str:
        """The signature of a token as standard base64 on one line.

        The bytes of the token itself are signed (a str's as UTF-8), before anything is encoded.
        Raises CredentialsError where it is empty or is not text.
        """
        return b2a_base64(self._sign(_bytes_of(token, "token"), *self._arguments), newline=False).decode("ascii")


class TokenVerifier:
    """Judges signatures of tokens as the service does, with the public key of an authorizer.

    public_key_pem: an RSA public key of at least 2048 bits or a certificate that holds one, as PEM text. A certificate
    is not asked who signed it and until when it is valid.

    The key is parsed once. Immutable; may be shared between threads.
    Raises CredentialsError as `TokenSigner` does.
    """

    __slots__ = ("_arguments", "_invalid", "_key_size", "_verify")

    def __init__(self, public_key_pem: str | bytes) -> None:
        key = _load_public_key(public_key_pem)
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.hashes import SHA256

        self._key_size = key.key_size
        self._verify = key.verify
        self._arguments = PKCS1v15(), SHA256()
        self._invalid = InvalidSignature

    def __repr__(self) -> str:
        return f"TokenVerifier(...) of {self._key_size} bits"

    def verify(self, token: str | bytes, signature: str) -> bool:
        """Whether this is the token's signature. Text that came over the wire is judged, and is never an error.

        So it is False for what is not standard base64: wrapped lines, spaces, `-` and `_`, missing or superfluous `=`,
        percent-encoding. Raises CredentialsError for an argument that is no text.
        """
        data = _bytes_of(token, "token", allow_empty=True)
        raw = _decode_signature(signature)
        if raw is None or not data:
            return False
        try:
            self._verify(raw, data, *self._arguments)
        except self._invalid:
            return False
        return True


def verify_token(public_key_pem: str | bytes, token: str | bytes, signature: str) -> bool:
    """`TokenVerifier(public_key_pem).verify(token, signature)`, which parses the key each time."""
    return TokenVerifier(public_key_pem).verify(token, signature)


# ---- what a device sends


class CustomAuth:
    """What a custom authorizer is given, in each of the forms that the service reads.

    authorizer_name: 1 to 128 characters of `A-Za-z0-9_=,@-`; None means the endpoint's default authorizer.
    token_key_name: what the authorizer calls its token, 1 to 128 characters of `A-Za-z0-9_-`.
    token: a text, or a callable that supplies a fresh one each time a form is made: a str, or a pair of the token and
        its signature, from a service that keeps the private key to itself.
    token_signature: the token's signature as standard base64 on one line. Not yet percent-encoded: that is done here.
    signer: signs the token in its place, each fresh one anew.
    username, password: the user part of the MQTT user name, without `?`, sent as it is; and the MQTT password, which
        is bytes (a str becomes UTF-8). HTTP carries neither.

    An authorizer that has signing disabled takes no signature; leave out the token too unless its function reads one.
    Immutable; may be shared between threads, if the callable may.

    Raises CredentialsError that names the argument, and says so where two of them contradict each other.
    """

    __slots__ = (
        "_authorizer_name", "_fixed_signature", "_fixed_token", "_mqtt_query", "_mqtt_username", "_password", "_query",
        "_signer", "_supply", "_token_key_name", "_url_query", "_username",
    )  # fmt: skip

    authentication: ClassVar[str] = "custom"

    def __init__(
        self,
        authorizer_name: str | None = None,
        *,
        token_key_name: str | None = None,
        token: str | TokenSupplier | None = None,
        token_signature: str | None = None,
        signer: TokenSigner | None = None,
        username: str = "",
        password: str | bytes | None = None,
    ) -> None:
        _check_name(authorizer_name, "authorizer_name", _NAME_CHARACTERS, "A-Za-z0-9_=,@-")
        _check_name(token_key_name, "token_key_name", _TOKEN_KEY_CHARACTERS, "A-Za-z0-9_-")
        if token_key_name is not None and token_key_name.lower() in (_NAME, _SIGNATURE):
            raise CredentialsError(f"token_key_name: {token_key_name} is the service's own, and no name for a token")
        _check_together(token_key_name, token, token_signature, signer)
        _check_username(username)

        self._authorizer_name = authorizer_name
        self._token_key_name = token_key_name
        self._username = username
        self._password = _read_password(password)
        self._signer = signer
        self._supply: TokenSupplier | None = None
        self._fixed_token: str | None = None
        self._fixed_signature: str | None = None
        if token is None or isinstance(token, str):
            self._fixed_token, self._fixed_signature = self._sign(token, token_signature)
        else:
            self._supply = token

        has_query = authorizer_name is not None or token is not None
        before = f"{username}?" if has_query else username
        self._mqtt_query = PreparedQuery(before, authorizer_name, token_key_name)
        self._url_query = PreparedQuery("", authorizer_name, token_key_name)
        # What does not change is made once. With a callable there is nothing of it to keep.
        self._mqtt_username: str | None = None
        self._query: str | None = None
        if self._supply is None:
            self._mqtt_username = self._mqtt_query.fill(self._fixed_token, self._fixed_signature)
            self._query = self._url_query.fill(self._fixed_token, self._fixed_signature)

    @property
    def authorizer_name(self) -> str | None:
        """The authorizer's name; None for the endpoint's default."""
        return self._authorizer_name

    @property
    def token_key_name(self) -> str | None:
        """What the authorizer calls its token, if there is one."""
        return self._token_key_name

    @property
    def username(self) -> str:
        """The user part of the MQTT user name: what stands before its `?`."""
        return self._username

    @property
    def password(self) -> bytes | None:
        """The MQTT password as it goes into CONNECT. The authorizer's function sees it as base64."""
        return self._password

    def __repr__(self) -> str:
        shown = [] if self._authorizer_name is None else [repr(self._authorizer_name)]
        if self._token_key_name is not None:
            shown += [f"token_key_name={self._token_key_name!r}", "token=***"]
        if self._signer is not None:
            shown.append("signer=***")
        elif self._fixed_signature is not None:
            shown.append("token_signature=***")
        if self._username:
            shown.append(f"username={self._username!r}")
        if self._password is not None:
            shown.append("password=***")
        return f"CustomAuth({', '.join(shown)})"

    def mqtt_username(self) -> str:
        """The user name for CONNECT: `user?x-amz-customauthorizer-name=N&x-amz-customauthorizer-signature=S&KEY=T`.

        What is absent is left out, the `?` too where nothing is left. Asks the callable for a token if there is one.
        Raises CredentialsError where that fails.
        """
        if self._mqtt_username is not None:
            return self._mqtt_username
        return self._mqtt_query.fill(*self._credentials())

    def query(self) -> str:
        """The same as the query of a URL, to come after its `?` or after `&`. Empty where there is nothing to say."""
        if self._query is not None:
            return self._query
        return self._url_query.fill(*self._credentials())

    def headers(self) -> dict[str, str]:
        """The same as HTTP headers, of an HTTPS request or of a WebSocket upgrade. Their values are not encoded.

        Raises CredentialsError where a header cannot carry the token: it takes printable ASCII alone, and no space at
        an end, which a server would drop; and where token_key_name is the name of a header that HTTP itself needs.
        """
        token, signature = self._credentials()
        found = {} if self._authorizer_name is None else {_NAME: self._authorizer_name}
        if signature is not None:
            found[_SIGNATURE] = signature
        if token is not None and self._token_key_name is not None:
            lower = self._token_key_name.lower()
            if lower in _HTTP_HEADERS or lower.startswith(_WEBSOCKET_HEADER):
                raise CredentialsError(
                    f"token_key_name: {self._token_key_name} is a header of HTTP itself; send the token in the query"
                )
            if not token.isascii() or not token.isprintable() or token != token.strip():
                raise CredentialsError(
                    "token: a header carries printable ASCII alone, and no space at an end; send it in the query"
                )
            found[self._token_key_name] = token
        return found

    def _credentials(self) -> tuple[str | None, str | None]:
        """The token and its signature for one attempt."""
        if self._supply is None:
            return self._fixed_token, self._fixed_signature
        try:
            supplied: object = self._supply()
        except CredentialsError:
            raise
        except Exception as error:
            raise CredentialsError(f"token: the callable that supplies it raised {type(error).__name__}") from error
        if isinstance(supplied, tuple) and len(supplied) == 2 and self._signer is None:
            token, signature = supplied
            if not isinstance(token, str):
                raise CredentialsError(f"token: its callable must return it as a str, not as {_kind(token)}")
            return self._sign(token, signature)
        if not isinstance(supplied, str):
            pair = "" if self._signer is not None else " or a tuple of the token and its signature"
            raise CredentialsError(f"token: its callable must return a str{pair}, not {_kind(supplied)}")
        return self._sign(supplied, None)

    def _sign(self, token: str | None, signature: str | None) -> tuple[str | None, str | None]:
        """Check a token and its signature, and make the signature where there is a signer."""
        if token is None:
            return None, None
        if not token:
            raise CredentialsError("token: must not be empty")
        if self._signer is not None:
            return token, self._signer.sign(token)
        if signature is not None and not is_base64(signature):
            raise CredentialsError(f"token_signature: {_fault_of_signature(signature)}")
        return token, signature


# ---- checks


def _check_name(name: object, field: str, allowed: frozenset[str], shown: str) -> None:
    if name is None:
        return
    if not isinstance(name, str) or not 1 <= len(name) <= MAXIMUM_NAME_SIZE or not allowed.issuperset(name):
        raise CredentialsError(f"{field}: 1 to {MAXIMUM_NAME_SIZE} characters of {shown} are expected")


def _check_username(username: object) -> None:
    if not isinstance(username, str):
        raise CredentialsError(f"username: str is expected, not {_kind(username)}")
    if "?" in username or "\0" in username:
        raise CredentialsError("username: must hold neither `?`, which begins the query, nor U+0000")


def _check_together(token_key_name: object, token: object, token_signature: object, signer: object) -> None:
    """Refuse arguments that make no sense together, or of which one is missing."""
    if signer is not None and not isinstance(signer, TokenSigner):
        raise CredentialsError(f"signer: a TokenSigner is expected, not {_kind(signer)}")
    if token is None:
        for field, value in (
            ("token_signature", token_signature), ("signer", signer), ("token_key_name", token_key_name),
        ):  # fmt: skip
            if value is not None:
                raise CredentialsError(f"{field}: given without a token")
        return
    if not isinstance(token, str) and not callable(token):
        raise CredentialsError(f"token: a str or a callable that returns one is expected, not {_kind(token)}")
    if token_key_name is None:
        raise CredentialsError("token_key_name: a token is given, but not what the authorizer calls it")
    if token_signature is not None and signer is not None:
        raise CredentialsError("token_signature: either a signature or a signer is expected, not both")
    if token_signature is not None and not isinstance(token, str):
        raise CredentialsError(
            "token_signature: one signature does not fit every token of a callable; let it return (token, signature)"
        )


def _read_password(password: str | bytes | None) -> bytes | None:
    if password is None:
        return None
    raw = _bytes_of(password, "password", allow_empty=True)
    if len(raw) > MAXIMUM_PASSWORD_SIZE:
        raise CredentialsError(f"password: has {len(raw)} bytes; at most {MAXIMUM_PASSWORD_SIZE} are allowed")
    return raw


def _bytes_of(value: object, field: str, *, allow_empty: bool = False) -> bytes:
    """A caller's text as bytes. No error carries it."""
    if isinstance(value, str):
        raw = value.encode(errors="surrogatepass")
        # Not by catching a UnicodeEncodeError: as context it would carry the text.
        if len(raw) > len(value) and any("\ud800" <= character <= "\udfff" for character in value):
            raise CredentialsError(f"{field}: must not hold a surrogate code point, which UTF-8 has no bytes for")
    elif isinstance(value, bytes):
        raw = value
    else:
        raise CredentialsError(f"{field}: str or bytes is expected, not {_kind(value)}")
    if not raw and not allow_empty:
        raise CredentialsError(f"{field}: must not be empty")
    return raw


def _kind(value: object) -> str:
    return type(value).__name__


def _fault_of_signature(signature: str) -> str:
    """Why this is not standard base64 on one line: each of these is an easy mistake."""
    if "%" in signature:
        return "is percent-encoded already; base64 is expected, which is encoded here where a form needs it"
    if any(character.isspace() for character in signature):
        return "base64 on one line is expected, without spaces: `openssl base64 -A`"
    if "-" in signature or "_" in signature:
        return "is base64url, as in a JWT; standard base64 is expected, which has + and / for - and _"
    return "standard base64 is expected: A-Z a-z 0-9 + / and up to two = at the end"


def _decode_signature(signature: object) -> bytes | None:
    """The bytes of standard base64 on one line; None for any other text."""
    if not isinstance(signature, str):
        raise CredentialsError(f"signature: str is expected, not {_kind(signature)}")
    try:
        raw = a2b_base64(signature, strict_mode=True)
    except ValueError:
        return None
    # Of the many spellings that decode to the same bytes, the one that encodes them.
    return raw if b2a_base64(raw, newline=False) == signature.encode() else None


# ---- keys


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401
    except ImportError:
        raise CredentialsError(
            "tokens are signed and verified with the package cryptography: pip install iotwire[crypto]"
        ) from None


def _read_pem(pem: object, field: str, expected: str) -> bytes:
    raw = _bytes_of(pem, field, allow_empty=True)
    if b"-----BEGIN " not in raw:
        raise CredentialsError(f"{field}: the PEM text of {expected} is expected, not the path of its file")
    return raw


def _load_private_key(pem: object, password: object) -> RSAPrivateKey:
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    raw = _read_pem(pem, "private_key_pem", "a private key")
    if b" PRIVATE KEY-----" not in raw:
        raise CredentialsError("private_key_pem: a private key is expected, not a public key or a certificate")
    secret = None if password is None else _bytes_of(password, "password")
    fault = ""
    try:
        key = load_pem_private_key(raw, secret)
    except TypeError:
        if secret is None:
            fault = "password: the private key is encrypted, and no password is given"
        else:
            fault = "password: is given, but the private key is not encrypted"
    except ValueError:
        if secret is None:
            fault = "private_key_pem: cannot be read; it is damaged or incomplete"
        else:
            fault = "password: does not open the private key, or the key is damaged"
    except UnsupportedAlgorithm:
        fault = "private_key_pem: its kind or its encryption is not supported"
    if fault:  # raised out here: what the library raised may tell more of a key than anyone should see
        raise CredentialsError(fault)
    if not isinstance(key, RSAPrivateKey):
        raise _not_rsa(key, "private_key_pem")
    _check_size(key, "private_key_pem")
    return key


def _load_public_key(pem: object) -> RSAPublicKey:
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    raw = _read_pem(pem, "public_key_pem", "a public key or of a certificate")
    if b" PRIVATE KEY-----" in raw:
        raise CredentialsError("public_key_pem: a public key or a certificate is expected, not a private key")
    fault = ""
    try:
        if b"-----BEGIN CERTIFICATE-----" in raw:
            key: object = load_pem_x509_certificate(raw).public_key()
        else:
            key = load_pem_public_key(raw)
    except ValueError:
        fault = "cannot be read; it is damaged or incomplete"
    except UnsupportedAlgorithm:
        fault = "its kind is not supported"
    if fault:
        raise CredentialsError(f"public_key_pem: {fault}")
    if not isinstance(key, RSAPublicKey):
        raise _not_rsa(key, "public_key_pem")
    _check_size(key, "public_key_pem")
    return key


def _not_rsa(key: object, field: str) -> CredentialsError:
    kind = _kind(key).removeprefix("_").removesuffix("PrivateKey").removesuffix("PublicKey")
    return CredentialsError(f"{field}: an RSA key is expected, for the service takes no other; this one is {kind}")


def _check_size(key: RSAPrivateKey | RSAPublicKey, field: str) -> None:
    if key.key_size < MINIMUM_KEY_BITS:
        raise CredentialsError(
            f"{field}: an RSA key of at least {MINIMUM_KEY_BITS} bits is expected, not of {key.key_size}"
        )
