"""Signature Version 4 as the service wants it: of a WebSocket's address, and of each request over HTTPS."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from .errors import CredentialsError, EncodeError
from .sigv4 import Signer, presign_mqtt_url

if TYPE_CHECKING:
    from .credentials import SigV4
    from .sigv4 import Credentials

__all__ = ["HttpsSigner", "sign_websocket_path"]

WEBSOCKET_SERVICE = "iotdevicegateway"
HTTPS_SERVICE = "iotdata"
# Before their end other credentials are asked for, where the connection would outlive them.
RENEW_BEFORE = timedelta(minutes=5)


def sign_websocket_path(auth: SigV4, host: str, region: str, now: datetime) -> str:
    """What to ask a WebSocket for: path and signed query. As secret as a password while it counts."""
    try:
        url = presign_mqtt_url(
            host,
            region,
            auth.get(now),
            now=now,
            service=auth.service or WEBSOCKET_SERVICE,
            expires=auth.expires,
        )
    except EncodeError as error:
        raise CredentialsError(f"this cannot be signed: {error}") from None
    return url[url.index("/", len("wss://")) :]


class HttpsSigner:
    """Signs the requests of one connection, with credentials that are asked for when it is made.

    auth: may block in here. Raises CredentialsError.
    """

    def __init__(self, auth: SigV4, region: str, now: datetime) -> None:
        self._credentials: Credentials = auth.get(now)
        try:
            self._signer = Signer(region, auth.service or HTTPS_SERVICE)
        except EncodeError as error:
            raise CredentialsError(f"this cannot be signed: {error}") from None
        ends = self._credentials.expiration
        lasts = None if ends is None else ends - now
        # Those that last shorter from the start are used for half of their time.
        self._renew_at = None if ends is None or lasts is None else ends - min(RENEW_BEFORE, lasts / 2)

    def __repr__(self) -> str:
        return "HttpsSigner(***)"

    def sign(
        self, method: str, url: str, headers: Sequence[tuple[bytes, bytes]], body: bytes, now: datetime
    ) -> dict[str, str]:
        """The headers to add; with temporary credentials their session token is one of them, and signed."""
        return self._signer.sign_headers(method, url, headers, body, self._credentials, now=now)

    def is_stale(self, now: datetime) -> bool:
        """Whether the credentials end within minutes."""
        return self._renew_at is not None and now >= self._renew_at
