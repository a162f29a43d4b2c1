"""Enhanced authentication: what a client says in AUTH packets (MQTT 5.0, 4.12)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

from ..errors import CredentialsError, IotwireError
from ..mqtt import Auth, ConnAck, ReasonCode, Session

__all__ = ["AuthenticationExchange", "EnhancedAuthentication"]

_T = TypeVar("_T")


class EnhancedAuthentication(ABC):
    """One method of authentication, such as SCRAM, for every connection of a client and for `reauthenticate`.

    The methods are called while packets are handled, so they must not block. What they raise ends the connection: the
    client then waits as it does when it was refused.
    """

    @property
    @abstractmethod
    def method(self) -> str:
        """The name that the server knows it by, such as "SCRAM-SHA-256"."""

    @abstractmethod
    def begin(self) -> bytes | None:
        """The first data, for CONNECT or for AUTH 0x19; None for no data. An exchange that was under way is over."""

    @abstractmethod
    def answer(self, data: bytes | None) -> bytes | None:
        """What to answer the server's AUTH 0x18 with."""

    def finish(self, data: bytes | None) -> None:  # noqa: B027 -- not every method has a last word
        """The server is content; this is its last data, of CONNACK or AUTH 0x00. To refuse the server, raise."""


class AuthenticationExchange:
    """What a client says and hears of it, over all its connections."""

    __slots__ = ("_authentication", "_session", "waiter")

    def __init__(self, session: Session, authentication: EnhancedAuthentication) -> None:
        self._session = session
        self._authentication = authentication
        self.waiter: Any = None  # the Waiter of `reauthenticate`

    @property
    def method(self) -> str:
        return self._authentication.method

    def begin(self) -> bytes | None:
        """The data of CONNECT. Raises CredentialsError."""
        return _ask(self._authentication.begin)

    def begin_again(self, waiter: Any) -> None:
        """Send AUTH 0x19. There is a connection, and nobody waits for this already."""
        self._send(ReasonCode.RE_AUTHENTICATE, self.begin())
        self.waiter = waiter

    def handle(self, packet: ConnAck | Auth) -> IotwireError | None:
        """What the server says. The result is why not to go on with it; None for no reason."""
        try:
            if packet.reason_code == ReasonCode.CONTINUE_AUTHENTICATION:
                self._send(packet.reason_code, _ask(self._authentication.answer, packet.authentication_data))
            else:
                _ask(self._authentication.finish, packet.authentication_data)
                if self.waiter is not None and not self.waiter.done():
                    self.waiter.set_result(None)
        except IotwireError as error:
            return error
        return None

    def _send(self, reason_code: int, data: bytes | None) -> None:
        self._session.authenticate(Auth(reason_code, authentication_method=self.method, authentication_data=data))


def _ask(call: Callable[..., _T], *arguments: object) -> _T:
    """Call one of those. Raises CredentialsError in place of what an application's own code raises."""
    try:
        return call(*arguments)
    except IotwireError:
        raise
    except Exception as error:
        # The text stays out: it may quote a secret.
        raise CredentialsError(f"the enhanced authentication failed: {type(error).__name__}") from error
