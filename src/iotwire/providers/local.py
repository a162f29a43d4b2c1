"""Credentials that are at hand: given in the program, or in the environment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from ..clock import show_time
from ..errors import CredentialsError, NoCredentialsError
from ..sigv4 import Credentials
from .document import is_expired, make_credentials, read_now, read_setting, read_time

__all__ = ["EnvironmentCredentials", "StaticCredentials"]


class StaticCredentials:
    """Always the same: `StaticCredentials(Credentials(access_key_id, secret_access_key))`.

    `get` raises CredentialsError once they have expired.
    """

    def __init__(self, credentials: Credentials) -> None:
        if not isinstance(credentials, Credentials):
            raise CredentialsError("credentials: Credentials(...) of iotwire.sigv4 is expected")
        self._credentials = credentials

    def __repr__(self) -> str:
        return f"StaticCredentials({self._credentials!r})"

    def get(self, now: datetime) -> Credentials:
        """The credentials. now: an aware time. Raises CredentialsError where they have expired."""
        if is_expired(self._credentials, read_now(now)):
            raise CredentialsError(f"the credentials expired at {show_time(self._credentials.expiration)}")
        return self._credentials


class EnvironmentCredentials:
    """What the environment says, at each `get`, under the names of AWS's SDKs.

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, for temporary ones AWS_SESSION_TOKEN (or AWS_SECURITY_TOKEN, as it was
    called once), and, where a tool sets it, AWS_CREDENTIAL_EXPIRATION. A variable that is empty counts as not set.

    environ: another mapping than os.environ.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._latest: Credentials | None = None

    def __repr__(self) -> str:
        return "EnvironmentCredentials()"

    def get(self, now: datetime) -> Credentials:
        """The credentials. now: an aware time.

        Raises NoCredentialsError without AWS_ACCESS_KEY_ID, CredentialsError where the secret is missing, a value
        cannot be one, they have expired, or the environment asks for a role by a web identity instead.
        """
        read_now(now)
        access_key_id = read_setting(self._environ, "AWS_ACCESS_KEY_ID")
        if not access_key_id:
            if read_setting(self._environ, "AWS_WEB_IDENTITY_TOKEN_FILE") and read_setting(
                self._environ, "AWS_ROLE_ARN"
            ):
                # Kubernetes says so to a pod; what comes next in a chain might be the role of the whole machine.
                raise CredentialsError(
                    "environment: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN ask for a role by a web identity, which "
                    "is not in this release; with botocore installed, BotocoreCredentials(botocore.session.Session()) "
                    "does it"
                )
            raise NoCredentialsError("environment: AWS_ACCESS_KEY_ID is not set")
        secret = read_setting(self._environ, "AWS_SECRET_ACCESS_KEY")
        if not secret:
            raise CredentialsError("environment: AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not")
        token = read_setting(self._environ, "AWS_SESSION_TOKEN") or read_setting(self._environ, "AWS_SECURITY_TOKEN")
        expiration = None
        if text := read_setting(self._environ, "AWS_CREDENTIAL_EXPIRATION"):
            expiration = read_time(text)
            if expiration is None:
                raise CredentialsError(
                    "environment: AWS_CREDENTIAL_EXPIRATION must be a time like 2026-11-21T12:00:00Z"
                )
        found = make_credentials("environment", access_key_id, secret, token or None, expiration=expiration)
        if is_expired(found, now):
            raise CredentialsError(f"environment: the credentials expired at {show_time(expiration)}")
        if self._latest == found:  # the same object: a signer keeps what it has derived from it
            return self._latest
        self._latest = found
        return found
