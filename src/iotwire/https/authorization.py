"""What says in each request who asks: a signature, or what a custom authorizer wants. A certificate needs none."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ..errors import CredentialsError, EncodeError
from ..transport.quoting import values_of_headers, values_of_query

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..route import Attempt
    from .request import Request

__all__ = ["Authorization"]


class Authorization:
    """For the requests of one connection: what its attempt has been prepared with.

    now: the time to sign with. secrets: values of the latest request that nobody is to be told.
    """

    def __init__(self, attempt: Attempt, now: Callable[[], datetime]) -> None:
        self._now = now
        self._signer = attempt.signer
        self._query = attempt.query.encode()
        self._headers = [(name.encode(), value.encode()) for name, value in attempt.headers]
        self.secrets = values_of_query(attempt.query) + values_of_headers(attempt.headers)
        self._sent = list(self.secrets)
        self._origin = f"https://{attempt.authority or attempt.host}"

    @classmethod
    def of(cls, attempt: Attempt, now: Callable[[], datetime]) -> Authorization | None:
        """None where the attempt has nothing of the kind."""
        has_any = attempt.signer is not None or attempt.query or attempt.headers
        return cls(attempt, now) if has_any else None

    @property
    def is_signed(self) -> bool:
        """Whether it depends on the clock."""
        return self._signer is not None

    @property
    def is_stale(self) -> bool:
        """Whether another connection is to be made, for what it has ends soon."""
        try:
            return self._signer is not None and self._signer.is_stale(self._now())
        except CredentialsError:  # the clock was set back: whoever makes another connection says so
            return True

    def apply(self, request: Request) -> Request:
        """The request with it. Raises CredentialsError."""
        target = request.target
        if self._query:
            target += (b"&" if b"?" in target else b"?") + self._query
        headers = [*request.headers, *self._headers]
        if self._signer is not None:
            url = self._origin + target.decode()
            try:
                added = self._signer.sign("POST", url, headers, request.body, self._now())
            except EncodeError as error:
                raise CredentialsError(f"the request cannot be signed: {error}") from None
            # Of the first one the rest, such as the region, is what explains a refusal.
            signature = added.get("Authorization", "").rpartition("=")[2]
            self.secrets = [*self._sent, signature, added.get("X-Amz-Security-Token", "")]
            headers += [(name.encode(), value.encode()) for name, value in added.items()]
        return request._replace(target=target, headers=headers)
