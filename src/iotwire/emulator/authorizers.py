"""Custom authorizers: where a device names one, whether its token is signed, and what the function answers.

A Python function takes the place of AWS Lambda: it gets AWS's event and gives AWS's answer. As at the service it is not
asked about a token whose signature is wrong, has five seconds, and what it answers is checked. Nobody waits for a
function that hangs: it goes on in a thread of its own, and no more than `MAX_CALLS` of them are out at once.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeAlias

from ..custom_auth import TokenVerifier
from ..errors import CredentialsError, RouteError
from .policy import Policy, PolicyError
from .requests import RequestError, percent_decode

__all__ = ["Answer", "Authorizer", "AuthorizerFunction", "Authorizers", "Claim", "Verified"]

# Plain or async. What it gives back is checked, and so has no narrower type.
AuthorizerFunction: TypeAlias = Callable[[dict[str, Any]], Any]

NAME = "x-amz-customauthorizer-name"
SIGNATURE = "x-amz-customauthorizer-signature"
MAX_CALLS = 32
# Of `TestInvokeAuthorizer`, which is where the service says it.
MAX_TOKEN_CHARACTERS = 6144
MAX_SIGNATURE_CHARACTERS = 2560
MAX_S = 86_400

_NAME = re.compile(r"[A-Za-z0-9_=,@-]{1,128}")
_TOKEN_KEY_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PRINCIPAL = re.compile(r"[A-Za-z0-9]{1,128}")


def refused(message: str) -> RequestError:
    """Authentication that failed. MQTT answers it with "not authorized", whatever HTTP's status is."""
    return RequestError(401, "UnauthorizedException", message)


@dataclass(frozen=True, slots=True, repr=False)
class Claim:
    """What a device says for an authorizer, in one of the places where it can: headers, a query, an MQTT user name.

    values: all that stands there, by name; a token is among them under the name its authorizer has for it.
    """

    place: str
    values: Mapping[str, str]

    @property
    def is_made(self) -> bool:
        """Whether an authorizer is meant at all."""
        return NAME in self.values or SIGNATURE in self.values

    @classmethod
    def of_headers(cls, headers: Iterable[tuple[str, str]]) -> Claim:
        """headers: names in small letters. Of a name that is repeated, intermediaries may take either value."""
        return cls._of("the headers", headers)

    @classmethod
    def of_query(cls, query: str) -> Claim:
        """query: behind the `?`, as its bytes came, in Latin-1. Raises RequestError for escapes that are none."""
        return cls._of("the query", _read_pairs(query.encode("latin-1"), "the query"))

    @classmethod
    def of_username(cls, username: str | None) -> Claim:
        """The MQTT user name: what is behind its first `?`."""
        return cls._of("the user name", _read_pairs((username or "").partition("?")[2].encode(), "the user name"))

    @classmethod
    def _of(cls, place: str, pairs: Iterable[tuple[str, str]]) -> Claim:
        values: dict[str, str] = {}
        repeated = set()
        for name, value in pairs:
            if name in values:
                repeated.add(name)
            values[name] = value
        if repeated & {NAME, SIGNATURE}:
            raise refused(f"{place}: {min(repeated & {NAME, SIGNATURE})} is given twice")
        # A token that is given twice is none: which of the two was meant?
        for name in repeated:
            values.pop(name)
        return cls(place, values)


def _read_pairs(query: bytes, place: str) -> list[tuple[str, str]]:
    """The pairs of a query, names decoded too: `x%2Damz...` is another spelling of a name, and not another name."""
    pairs = []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")  # a `=` that was left raw is the value's
        pairs.append((percent_decode(name, place), percent_decode(value, place)))
    return pairs


@dataclass(frozen=True, slots=True)
class Authorizer:
    """One that is registered. verifiers: of the public keys, any of which may have signed."""

    name: str
    function: AuthorizerFunction
    token_key_name: str | None
    verifiers: tuple[TokenVerifier, ...]
    is_signing_disabled: bool
    caches_http: bool


@dataclass(frozen=True, slots=True, repr=False)
class Verified:
    """A claim whose token is signed as its authorizer wants it: the function may be asked."""

    authorizer: Authorizer
    token: str | None
    is_signature_verified: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """What a function has allowed. Seconds: until the connection ends, and until the function is asked again."""

    principal: str
    policy: Policy
    disconnect_after_s: int
    refresh_after_s: int


class Authorizers:
    """All that are registered. timeout_s: what a function has. least_s: the least that it may say of times."""

    def __init__(self, *, timeout_s: float, least_s: int) -> None:
        self._timeout_s = timeout_s
        self._least_s = least_s
        self._by_name: dict[str, Authorizer] = {}
        self._default: Authorizer | None = None
        self._running = 0

    def add(
        self,
        name: str,
        function: AuthorizerFunction,
        *,
        token_key_name: str | None,
        public_keys: Sequence[str | bytes],
        signing_disabled: bool,
        is_default: bool,
        caches_http: bool,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise RouteError("name: 1 to 128 characters of A-Za-z0-9_=,@- are expected")
        if not callable(function):
            raise RouteError("function: a function of the event is expected")
        if token_key_name is not None and not _TOKEN_KEY_NAME.fullmatch(token_key_name):
            raise RouteError("token_key_name: 1 to 128 characters of A-Za-z0-9_- are expected")
        if isinstance(public_keys, (str, bytes)):
            public_keys = [public_keys]
        if signing_disabled and public_keys:
            raise RouteError("public_keys: with signing disabled there are none")
        if not signing_disabled and (not public_keys or token_key_name is None):
            raise RouteError(
                "public_keys, token_key_name: both are expected, or signing_disabled=True for an authorizer that "
                "does without signatures"
            )
        verifiers = tuple(TokenVerifier(each) for each in public_keys)
        authorizer = Authorizer(name, function, token_key_name, verifiers, signing_disabled, caches_http)
        self._by_name[name] = authorizer
        if is_default:
            self._default = authorizer

    @property
    def has_default(self) -> bool:
        return self._default is not None

    @property
    def default_token_key_name(self) -> str | None:
        return None if self._default is None else self._default.token_key_name

    def verify(self, claim: Claim) -> Verified:
        """Find the authorizer that a claim names, or the default one, and check the token. Raises RequestError."""
        name = claim.values.get(NAME)
        authorizer = self._default if name is None else self._by_name.get(name)
        if authorizer is None:
            if name is None:
                raise refused("no authorizer is named, and the endpoint has no default one")
            shown = name if _NAME.fullmatch(name) else "of that name"
            raise refused(
                f"there is no authorizer {shown}; names match [A-Za-z0-9_=,@-]{{1,128}}, in their own letters"
            )
        key = authorizer.token_key_name
        if key is not None and claim.place == "the headers":
            key = key.lower()
        token = None if key is None else claim.values.get(key)
        if authorizer.is_signing_disabled:
            return Verified(authorizer, token, is_signature_verified=False)
        signature = claim.values.get(SIGNATURE)
        if token is None:
            raise refused(
                f"the authorizer {authorizer.name} wants a token called {authorizer.token_key_name}, and {claim.place} "
                "has none, or two"
            )
        if signature is None:
            raise refused(f"the authorizer {authorizer.name} wants {SIGNATURE}, and {claim.place} has none")
        if len(token) > MAX_TOKEN_CHARACTERS or len(signature) > MAX_SIGNATURE_CHARACTERS:
            raise refused(
                f"a token has at most {MAX_TOKEN_CHARACTERS} characters, a signature {MAX_SIGNATURE_CHARACTERS}"
            )
        if not any(_verifies(each, token, signature) for each in authorizer.verifiers):
            how = "it is not base64 on one line" if not _is_base64_text(signature) else "or of another key or token"
            raise refused(f"the token's signature for the authorizer {authorizer.name} is wrong: {how}")
        return Verified(authorizer, token, is_signature_verified=True)

    async def ask(self, verified: Verified, event: Mapping[str, Any]) -> Answer:
        """Ask the function. event: what is known of the connection. Raises RequestError."""
        authorizer = verified.authorizer
        whole = {"signatureVerified": verified.is_signature_verified, **copy.deepcopy(dict(event))}
        if verified.token is not None:
            whole["token"] = verified.token
        if self._running >= MAX_CALLS:
            raise RequestError(429, "ThrottlingException", f"{MAX_CALLS} authorizers are running already")
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await self._call(authorizer.function, whole)
        except TimeoutError:
            raise RequestError(
                504,
                "InternalFailureException",
                f"the authorizer {authorizer.name} took more than {self._timeout_s:g} s",
            ) from None
        except Exception as error:  # noqa: BLE001 -- whatever a stranger's function raises; its text may hold a token
            raise RequestError(
                500, "InternalFailureException", f"the authorizer {authorizer.name} raised {type(error).__name__}"
            ) from None
        try:
            return _read_answer(answer, self._least_s)
        except _AnswerError as error:
            raise RequestError(
                500, "InternalFailureException", f"the authorizer {authorizer.name} answered with {error}"
            ) from None
        except _NotAuthenticatedError:
            raise refused(f"the authorizer {authorizer.name} says that this is not authenticated") from None

    async def _call(self, function: AuthorizerFunction, event: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(function):
            return await function(event)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            self._running -= 1
            if done.done():
                return
            if error is not None:
                done.set_exception(error)
            else:
                done.set_result(result)

        def run() -> None:
            result: Any = None
            failure: Exception | None = None
            try:
                result = function(event)
            except StopIteration:  # which no future takes
                failure = RuntimeError("StopIteration")
            except BaseException as error:  # noqa: BLE001 -- it is raised where the answer is waited for
                failure = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                loop.call_soon_threadsafe(settle, result, failure)

        self._running += 1
        threading.Thread(target=run, name="iotwire-authorizer", daemon=True).start()
        result = await done
        return await result if inspect.isawaitable(result) else result


def _verifies(verifier: TokenVerifier, token: str, signature: str) -> bool:
    try:
        return verifier.verify(token, signature)
    except CredentialsError:  # text that cannot be bytes
        return False


def _is_base64_text(signature: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9+/]+={0,2}", signature) is not None


class _AnswerError(Exception):
    """What an answer has wrong."""


class _NotAuthenticatedError(Exception):
    """The function says no."""


def _read_answer(answer: object, least_s: int) -> Answer:
    if isinstance(answer, (str, bytes)):  # some functions answer with JSON
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError):
            raise _AnswerError("text that is not JSON") from None
    if not isinstance(answer, Mapping):
        raise _AnswerError(f"{type(answer).__name__}, where an object is expected")
    is_authenticated = answer.get("isAuthenticated")
    if not isinstance(is_authenticated, bool):
        raise _AnswerError("no isAuthenticated that is true or false")
    if not is_authenticated:
        raise _NotAuthenticatedError
    principal = answer.get("principalId")
    if not isinstance(principal, str) or not _PRINCIPAL.fullmatch(principal):
        raise _AnswerError("no principalId of 1 to 128 letters and digits")
    disconnect_after_s = _read_seconds(answer, "disconnectAfterInSeconds", MAX_S, least_s)
    refresh_after_s = _read_seconds(answer, "refreshAfterInSeconds", disconnect_after_s, least_s)
    try:
        policy = Policy.of_answer(answer.get("policyDocuments"))
    except PolicyError as error:
        raise _AnswerError(f"a policy that is none: {error}") from None
    return Answer(principal, policy, disconnect_after_s, refresh_after_s)


def _read_seconds(answer: Mapping[str, Any], name: str, default: int, least_s: int) -> int:
    value = answer.get(name, default)
    if type(value) is not int or not least_s <= value <= MAX_S:
        raise _AnswerError(f"a {name} that is not {least_s} to {MAX_S}")
    return value
