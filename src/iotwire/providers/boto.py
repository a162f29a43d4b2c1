"""Credentials that botocore finds or renews: single sign-on, roles, programs, and whatever else it knows.

botocore is none of iotwire's dependencies: what is given here is recognised by its methods.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from .._lock import ForkSafeLock
from ..errors import CredentialsError, NoCredentialsError
from ..sigv4 import Credentials
from .document import make_credentials, read_now

__all__ = ["BotocoreCredentials"]

# How each kind of thing is asked for botocore's credentials.
METHODS = ("get_credentials", "load_credentials", "load")


class BotocoreCredentials:
    """botocore's credentials as a provider.

    source: a session of botocore or boto3, credentials that one gave, a credential provider or a resolver of botocore.

    botocore renews them by itself, by its own clock, so `now` is not used; one thread asks it at a time. What it finds
    is asked for once; where it finds nothing, it is asked again the next time.
    """

    def __init__(self, source: Any) -> None:
        found: Any = source if callable(getattr(source, "get_frozen_credentials", None)) else None
        ask: Callable[[], Any] | None = None
        if found is None:
            ask = next((each for name in METHODS if callable(each := getattr(source, name, None))), None)
        if isinstance(source, type) or (found is None and ask is None):
            raise CredentialsError("source: a session, credentials or a credential provider of botocore is expected")
        self._kind = type(source).__name__
        self._found = found
        self._ask = ask
        self._asking = ForkSafeLock()
        self._latest: Credentials | None = None

    def __repr__(self) -> str:
        return f"BotocoreCredentials({self._kind})"

    def get(self, now: datetime) -> Credentials:
        """The credentials. May read files and wait for the network, as botocore does.

        Raises NoCredentialsError where botocore finds none, CredentialsError where it fails.
        """
        read_now(now)
        with self._asking.of_process():
            if self._found is None:
                assert self._ask is not None
                self._found = _call(self._ask)
            if self._found is None:
                raise NoCredentialsError("botocore finds no credentials")
            frozen = _call(self._freeze)
            keys = [getattr(frozen, name, None) for name in ("access_key", "secret_key", "token")]
            if not keys[0] or not keys[1]:
                raise CredentialsError("botocore's credentials have no access key or no secret")
            fresh = make_credentials("botocore", keys[0], keys[1], keys[2] or None)
            if self._latest != fresh:
                self._latest = fresh
            return self._latest

    def _freeze(self) -> Any:
        return self._found.get_frozen_credentials()


def _call(ask: Callable[[], Any]) -> Any:
    try:
        found = ask()
    except Exception as error:
        # The text stays out: it may quote what a program of the user's has printed.
        raise CredentialsError(f"botocore gives no credentials: {type(error).__name__}") from error
    if hasattr(found, "__await__"):
        if hasattr(found, "close"):
            found.close()
        raise CredentialsError("source: a session of botocore is expected, and not one for asyncio")
    return found
