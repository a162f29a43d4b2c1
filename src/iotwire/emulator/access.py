"""Who may come in, and what they may do: certificates, signatures and custom authorizers, and the policies of each.

`Gate` decides for the whole endpoint; a `Grant` is what one connection, or one request, has been given. What is refused
is a `RequestError`: HTTP answers with its status, MQTT with "not authorized", and the log has its one sentence.
"""

from __future__ import annotations

import uuid
from base64 import b64encode
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import SignatureError
from ..mqtt import Connect
from ..sigv4 import verify_request
from .authorizers import Answer, Authorizers, Claim, Verified, refused
from .policy import ALLOW_ALL, Policy
from .requests import RequestError, invalid, split_target

if TYPE_CHECKING:
    from ..sigv4 import Credentials

__all__ = ["Asker", "Gate", "Grant", "HttpRequest", "Kept", "Pass"]

HTTPS_SERVICES = ("iotdata",)
# The first version of AWS's Python SDK signs for the second of these, and the service takes it.
WEBSOCKET_SERVICES = ("iotdevicegateway", "iotdata")
CLOCK_WINDOW_S = 300
_SIGNING_NAMES = frozenset(
    ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature", "X-Amz-Expires"]
)
_KINDS = {
    "access_key": "UnrecognizedClientException",
    "session_token": "UnrecognizedClientException",
    "missing": "MissingAuthenticationTokenException",
}


# Asks an authorizer, and gives what that allows. Raises RequestError.
Asker: TypeAlias = "Callable[[], Awaitable[Grant]]"


def forbidden(message: str) -> RequestError:
    return RequestError(403, "ForbiddenException", message)


@dataclass(frozen=True, slots=True, repr=False)
class HttpRequest:
    """A request as it came. headers: names in small letters; values in Latin-1."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @property
    def is_signed(self) -> bool:
        """Whether it means to have a signature of Signature Version 4, right or wrong."""
        if any(name == "authorization" and value.startswith("AWS4-") for name, value in self.headers):
            return True
        query = split_target(self.target)[1]
        return any(pair.partition("=")[0] in _SIGNING_NAMES for pair in query.split("&"))

    def claim(self) -> Claim | None:
        """What it says for a custom authorizer; None where none is meant. Raises RequestError."""
        in_headers = Claim.of_headers(self.headers)
        in_query = Claim.of_query(split_target(self.target)[1])
        if in_headers.is_made and in_query.is_made:
            raise refused("a custom authorizer is named in the headers and in the query: one of them is expected")
        return in_headers if in_headers.is_made else in_query if in_query.is_made else None

    def event(self) -> dict[str, Any]:
        """As AWS's event has it."""
        query = split_target(self.target)[1]
        event: dict[str, Any] = {"headers": dict(self.headers)}
        if query:
            event["queryString"] = f"?{query}"
        return event


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do.

    principal: who, for the log. prefix: what comes before the resource in an ARN. things: client ids that a thing of
    this principal stands behind; None for any. answer: an authorizer's, with its times. refresh: asks it again.
    authentication: as in the matrix.
    """

    principal: str
    policy: Policy
    prefix: str
    things: Collection[str] | None = None
    answer: Answer | None = None
    refresh: Asker | None = field(default=None, repr=False)
    authentication: str = "custom"

    def allows(self, action: str, resource: str, client_id: str | None) -> bool:
        """resource: such as "topic/a". client_id: None over HTTPS, where a policy's variables stand for nothing."""
        variables = {}
        if client_id:
            variables["iot:ClientId"] = client_id
            if self.things is None or client_id in self.things:
                variables["iot:Connection.Thing.ThingName"] = client_id
        return self.policy.allows(action, self.prefix + resource, variables)


@dataclass(frozen=True, slots=True, repr=False)
class Pass:
    """What a connection has shown before its CONNECT.

    grant: what that gives it already. verified: a claim of an upgrade request, whose authorizer is asked at CONNECT,
    when all that it will see is there. request: that request. With neither, CONNECT has to bring a claim.
    """

    grant: Grant | None = None
    verified: Verified | None = None
    request: HttpRequest | None = None


@dataclass(slots=True, repr=False)
class Kept:
    """What an authorizer has answered on a kept-alive connection, for as long as it counts; of one token."""

    key: tuple[str, str | None] = ("", None)
    grant: Grant | None = None
    until: float = 0.0


class Gate:
    """The decisions of one endpoint.

    names: of the endpoint, in small letters. credentials: that signatures are made with, by access key id.
    device_policy, signed_policy: of those who come with a certificate, or with a signature.
    """

    def __init__(self, names: Collection[str], region: str, account: str, authorizers: Authorizers) -> None:
        self._names = names
        self.region = region
        self._prefix = f"arn:aws:iot:{region}:{account}:"
        self.authorizers = authorizers
        self.credentials: dict[str, Credentials] = {}
        self.device_policy = ALLOW_ALL
        self.signed_policy = ALLOW_ALL

    # Certificates.

    def admit_certificate(self, name: str | None) -> Grant:
        """The one who holds a certificate. name: its common name, which is a thing's here."""
        things = () if name is None else (name,)
        return Grant(f"certificate {name}", self.device_policy, self._prefix, things, authentication="x509")

    def refuse_claims_with_certificate(self, request: HttpRequest, where: str) -> None:
        """Raises RequestError where a request names an authorizer on a port or ALPN name that is for certificates."""
        if request.claim() is not None:
            raise forbidden(f"custom authentication cannot use {where}: port 443 without ALPN is for it")

    # Signatures.

    def admit_signature(self, request: HttpRequest, services: Sequence[str]) -> Grant:
        """The one who has signed a request. Raises RequestError."""
        path, query = split_target(request.target)
        if any(segment in ("", ".", "..") for segment in path.removeprefix("/").split("/")):
            # A signature is of the path without these, so that it would be one of another path too.
            raise invalid("a path that is signed has no empty segment, `.` or `..`: encode `/` as %2F")
        host = next((value for name, value in request.headers if name == "host"), "")
        if host.rpartition(":")[0].lower() not in self._names and host.lower() not in self._names:
            raise forbidden("the signature is for another host than this endpoint")
        is_presigned = any(pair.startswith("X-Amz-Signature=") for pair in query.split("&"))
        # Over WebSockets the token is appended to the URL, and not signed; in headers it is signed like the rest.
        is_token_signed = not (is_presigned and services == WEBSOCKET_SERVICES)
        try:
            found = verify_request(
                request.method,
                f"{path}?{query}" if query else path,
                request.headers,
                request.body,
                self.credentials.get,
                now=datetime.now(UTC),
                region=self.region,
                service=services,
                clock_window_s=CLOCK_WINDOW_S,
                sign_session_token=is_token_signed,
            )
        except SignatureError as error:
            raise RequestError(403, _KINDS.get(error.check, "InvalidSignatureException"), str(error)) from None
        return Grant(f"access key {found.access_key_id}", self.signed_policy, self._prefix, authentication="sigv4")

    # HTTPS.

    async def admit_publish(self, request: HttpRequest, server_name: str, kept: Kept) -> Grant:
        """The one who publishes over HTTPS without a certificate. kept: of this connection. Raises RequestError."""
        claim = self._only_claim(request)
        if request.is_signed:
            return self.admit_signature(request, HTTPS_SERVICES)
        if claim is None and not self.authorizers.has_default:
            raise forbidden("neither a signature nor a custom authorizer, and the endpoint has no default one")
        verified = self.authorizers.verify(claim or self._default_claim(request))
        key = (verified.authorizer.name, verified.token)
        now = monotonic()
        if kept.grant is not None and kept.key == key and now < kept.until:
            return kept.grant
        grant = await self._ask(verified, _make_event(server_name, request, None))
        if verified.authorizer.caches_http and grant.answer is not None:
            kept.key, kept.grant, kept.until = key, grant, now + grant.answer.refresh_after_s
        return grant

    @staticmethod
    def _only_claim(request: HttpRequest) -> Claim | None:
        claim = request.claim()
        if claim is not None and request.is_signed:
            raise forbidden("a signature and a custom authorizer together: one of them is expected")
        return claim

    def _default_claim(self, request: HttpRequest) -> Claim:
        """Where no authorizer is named, a token may still be there for the default one."""
        key = self.authorizers.default_token_key_name
        in_query = Claim.of_query(split_target(request.target)[1])
        in_headers = Claim.of_headers(request.headers)
        is_in_query = key is not None and key in in_query.values and key.lower() not in in_headers.values
        return in_query if is_in_query else in_headers

    # WebSockets.

    def admit_upgrade(self, request: HttpRequest) -> Pass:
        """The one who asks for a WebSocket: what is there is checked now, what is not has to come in CONNECT."""
        claim = self._only_claim(request)
        if request.is_signed:
            return Pass(grant=self.admit_signature(request, WEBSOCKET_SERVICES))
        verified = None if claim is None else self.authorizers.verify(claim)
        return Pass(verified=verified, request=request)

    # CONNECT.

    def admit_connect(self, shown: Pass, connect: Connect, server_name: str, where: str) -> Grant | Asker:
        """The one who connects, or what asks the authorizer who that is. Raises RequestError.

        where: for the log, should a claim come by a way that has none.
        """
        claim = Claim.of_username(connect.username)
        if shown.grant is not None:
            if claim.is_made:
                raise refused(
                    f"custom authentication cannot use {where}: port 443 with ALPN mqtt, or WebSockets, are for it"
                )
            return shown.grant
        verified = shown.verified
        if verified is None:
            if not claim.is_made and not self.authorizers.has_default:
                raise refused(
                    "CONNECT names no custom authorizer in its user name, and the endpoint has no default one"
                )
            verified = self.authorizers.verify(claim)
        elif claim.is_made:
            raise refused("a custom authorizer is named in the upgrade and in CONNECT: one of them is expected")
        event = _make_event(server_name, shown.request, connect)
        return lambda: self._ask(verified, event)

    async def _ask(self, verified: Verified, event: Mapping[str, Any]) -> Grant:
        answer = await self.authorizers.ask(verified, event)

        def refresh() -> Awaitable[Grant]:
            return self._ask(verified, event)

        principal = f"{answer.principal} by authorizer {verified.authorizer.name}"
        return Grant(principal, answer.policy, self._prefix, answer=answer, refresh=refresh)


def _make_event(server_name: str, request: HttpRequest | None, connect: Connect | None) -> dict[str, Any]:
    """AWS's event, of what is known of a connection. It is the function's to read, and nobody logs it."""
    data: dict[str, Any] = {"tls": {"serverName": server_name}}
    if request is not None:
        data["http"] = request.event()
    if connect is not None:
        data["mqtt"] = mqtt = {}
        if connect.username is not None:
            mqtt["username"] = connect.username
        if connect.password is not None:
            mqtt["password"] = b64encode(connect.password).decode()
        if connect.client_id:
            mqtt["clientId"] = connect.client_id
    return {"protocols": list(data), "protocolData": data, "connectionMetadata": {"id": str(uuid.uuid4())}}
