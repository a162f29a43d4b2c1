"""Credentials of a container: of ECS, EKS Pod Identity, Greengrass, or of a program here that speaks their protocol."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from ipaddress import ip_address

from ..client.options import positive
from ..errors import CredentialsError, NoCredentialsError
from ..route import is_ip_literal
from ..sigv4 import Credentials
from .document import DocumentNames, read_credentials, read_object, read_setting
from .http import HttpSource, Url, read_url, words_of
from .refreshing import RefreshingProvider

__all__ = ["ContainerCredentials"]

RELATIVE_URI = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
FULL_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
TOKEN = "AWS_CONTAINER_AUTHORIZATION_TOKEN"  # noqa: S105 -- the name of a variable
TOKEN_FILE = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"  # noqa: S105

# Where ECS answers; and where plain HTTP is taken from beside this machine itself: ECS again, and EKS Pod Identity.
ECS = "http://169.254.170.2"
LINK_LOCAL_HOSTS = frozenset(map(ip_address, ("169.254.170.2", "169.254.170.23", "fd00:ec2::23")))
NAMES = DocumentNames("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
MAX_TOKEN_BYTES = 16 * 1024
# The value of a header (RFC 9110, 5.5), in ASCII.
_TOKEN = re.compile(r"[!-~](?:[ -~]*[!-~])?")


class ContainerCredentials(RefreshingProvider):
    """What the endpoint gives that the environment names, as AWS's SDKs ask it.

    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: a path at http://169.254.170.2; or AWS_CONTAINER_CREDENTIALS_FULL_URI: a
    URL, with https, or with http to this machine or to the addresses of ECS and EKS. AWS_CONTAINER_AUTHORIZATION_TOKEN,
    or _FILE, which is read anew each time and wins: what to send as Authorization.

    environ: another mapping than os.environ. connect_timeout_s, response_timeout_s: of one request.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str] | None = None,
        connect_timeout_s: float = 2.0,
        response_timeout_s: float = 5.0,
    ) -> None:
        super().__init__()
        self._environ = environ
        self._source = HttpSource(
            "container endpoint",
            connect_timeout_s=positive("connect_timeout_s", connect_timeout_s),
            response_timeout_s=positive("response_timeout_s", response_timeout_s),
        )

    def __repr__(self) -> str:
        return "ContainerCredentials()"

    def _fetch(self, now: datetime) -> Credentials:  # noqa: ARG002
        url = self._url()
        token = self._token()
        headers = [] if token is None else [("Authorization", token)]
        answer = self._source.ask(
            url.attempt(), url.target, headers, check_peer=_check_peer if url.scheme == "http" else None
        )
        if answer.status != 200:
            advice = f": is {TOKEN} or {TOKEN_FILE} right?" if answer.status in (401, 403) else ""
            words = words_of(answer, () if token is None else [token])
            self._source.fail(f"{url.place} answered HTTP {answer.status}{advice}{words}", status=answer.status)
        return read_credentials(read_object(answer.body, self._source.name), NAMES, self._source.name)

    def _url(self) -> Url:
        if relative := read_setting(self._environ, RELATIVE_URI):
            if not relative.startswith("/"):
                raise CredentialsError(f"{RELATIVE_URI}: a path is expected, which begins with /")
            return read_url(ECS + relative, RELATIVE_URI)
        full = read_setting(self._environ, FULL_URI)
        if not full:
            raise NoCredentialsError(f"container endpoint: neither {RELATIVE_URI} nor {FULL_URI} is set")
        url = read_url(full, FULL_URI)
        if url.scheme == "http" and is_ip_literal(url.host):
            _check_peer(url.host)  # before a connection is made; that of a name is looked at when there is one
        return url

    def _token(self) -> str | None:
        name = TOKEN_FILE
        if path := read_setting(self._environ, TOKEN_FILE):
            try:
                with open(path, "rb") as file:
                    data = file.read(MAX_TOKEN_BYTES + 1)
            except (OSError, ValueError) as error:
                reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
                raise CredentialsError(f"{TOKEN_FILE}: cannot read {path}: {reason}") from error
            token = data.decode("latin-1")
        else:
            name = TOKEN
            token = (os.environ if self._environ is None else self._environ).get(TOKEN, "")
            if not token:
                return None
        if len(token) > MAX_TOKEN_BYTES or not _TOKEN.fullmatch(token):
            raise CredentialsError(
                f"{name}: the token must be one line of visible ASCII characters, without a line break at its end, and "
                f"{MAX_TOKEN_BYTES} at most"
            )
        return token


def _check_peer(address: str) -> None:
    """Raise CredentialsError unless this address may be asked, and may give keys, without TLS."""
    found = ip_address(address.partition("%")[0])
    if not found.is_loopback and found not in LINK_LOCAL_HOSTS:
        raise CredentialsError(
            f"{FULL_URI}: http is for this machine (127.0.0.1, ::1), 169.254.170.2, 169.254.170.23 and fd00:ec2::23 "
            f"alone, and {address} is none of them; use https"
        )
