"""Credentials of an EC2 instance: version 2 of its metadata service (IMDSv2), and never version 1."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NoReturn

from ..client.options import positive
from ..errors import ConnectError, CredentialsError, NoCredentialsError, RequestTimeoutError
from ..https.conversation import Answer
from ..sigv4 import Credentials
from .document import DocumentNames, read_credentials, read_object, read_setting
from .http import HttpSource, Url, read_url, words_of
from .refreshing import REFRESH_BEFORE, RefreshingProvider

__all__ = ["InstanceCredentials"]

DISABLED = "AWS_EC2_METADATA_DISABLED"
ENDPOINT = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
ENDPOINT_MODE = "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
TIMEOUT = "AWS_METADATA_SERVICE_TIMEOUT"

ENDPOINTS = {"ipv4": "http://169.254.169.254", "ipv6": "http://[fd00:ec2::254]"}
NAMES = DocumentNames("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
ROLES = "/latest/meta-data/iam/security-credentials/"
TOKEN_LIFETIME_S = 21600  # six hours, the most that it gives
_TOKEN = re.compile(rb"[!-~]{1,4096}")
_ROLE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,128}")


class InstanceCredentials(RefreshingProvider):
    """What the role of this EC2 instance gives.

    AWS_EC2_METADATA_DISABLED: "true" turns this off. AWS_EC2_METADATA_SERVICE_ENDPOINT: another URL than
    http://169.254.169.254, or AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE: "IPv6" for http://[fd00:ec2::254].
    AWS_METADATA_SERVICE_TIMEOUT: seconds, as `timeout_s`, which wins.

    timeout_s: for each of the three requests, and for their connections; 1 s unless one is given. Not much, because a
        machine that is not an instance waits for it.
    environ: another mapping than os.environ.
    """

    def __init__(self, *, timeout_s: float | None = None, environ: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._timeout_s = None if timeout_s is None else positive("timeout_s", timeout_s)
        self._environ = environ
        self._token: str | None = None
        self._token_until: datetime | None = None

    def __repr__(self) -> str:
        return "InstanceCredentials()"

    def _fetch(self, now: datetime) -> Credentials:
        if read_setting(self._environ, DISABLED).lower() == "true":
            raise NoCredentialsError(f"instance metadata: turned off by {DISABLED}")
        url = self._url()
        timeout_s = self._read_timeout_s()
        source = HttpSource("instance metadata", connect_timeout_s=timeout_s, response_timeout_s=timeout_s)
        answer = self._get(source, url, ROLES, now)
        role = answer.body.decode("latin-1").strip().partition("\n")[0].strip()
        if answer.status == 404 or (answer.status == 200 and not role):
            raise NoCredentialsError("instance metadata: no role is attached to this instance (an instance profile)")
        if answer.status != 200:
            _refuse(source, answer)
        if not _ROLE.fullmatch(role):
            source.fail("the name of the role is none that IAM has")
        answer = self._get(source, url, ROLES + role, now)
        if answer.status != 200:
            _refuse(source, answer)
        document = read_object(answer.body, source.name)
        if document.get("Code", "Success") != "Success":
            source.fail(f"the role {role} gives no credentials{words_of(answer)}: does it trust ec2.amazonaws.com?")
        return read_credentials(document, NAMES, source.name)

    def _url(self) -> Url:
        if text := read_setting(self._environ, ENDPOINT):
            return read_url(text.rstrip("/"), ENDPOINT)
        mode = read_setting(self._environ, ENDPOINT_MODE).lower() or "ipv4"
        if mode not in ENDPOINTS:
            raise CredentialsError(f"{ENDPOINT_MODE}: IPv4 or IPv6 is expected")
        return read_url(ENDPOINTS[mode], ENDPOINT_MODE)

    def _read_timeout_s(self) -> float:
        if self._timeout_s is not None:
            return self._timeout_s
        text = read_setting(self._environ, TIMEOUT)
        if not text:
            return 1.0
        if not re.fullmatch(r"\d{1,4}(\.\d{1,6})?", text, re.ASCII) or not float(text):
            raise CredentialsError(f"{TIMEOUT}: a number of seconds is expected")
        return float(text)

    def _get(self, source: HttpSource, url: Url, path: str, now: datetime) -> Answer:
        """The answer to a GET with a token: with a new one, where the service does not know the one there is."""
        if self._token is None or self._token_until is None or now >= self._token_until:
            self._renew_token(source, url, now)
        answer = self._get_once(source, url, path)
        if answer.status == 401:
            self._renew_token(source, url, now)
            answer = self._get_once(source, url, path)
        return answer

    def _get_once(self, source: HttpSource, url: Url, path: str) -> Answer:
        assert self._token is not None
        return source.ask(url.attempt(), _join(url, path), [("X-aws-ec2-metadata-token", self._token)])

    def _renew_token(self, source: HttpSource, url: Url, now: datetime) -> None:
        self._token = None
        wanted = [("X-aws-ec2-metadata-token-ttl-seconds", str(TOKEN_LIFETIME_S))]
        try:
            answer = source.ask(url.attempt(), _join(url, "/latest/api/token"), wanted, method="PUT")
        except CredentialsError as error:
            if isinstance(error.__cause__, ConnectError):
                raise NoCredentialsError(f"{error}; this seems to be no EC2 instance") from error.__cause__
            if isinstance(error.__cause__, RequestTimeoutError):
                # Its answer to a PUT is sent with the hop limit as its TTL, and does not arrive behind another hop.
                raise CredentialsError(
                    f"{error}: it can be reached, but its token does not arrive. In a container the hop limit of the "
                    "instance must be 2 at least (aws ec2 modify-instance-metadata-options "
                    "--http-put-response-hop-limit 2)"
                ) from error.__cause__
            raise
        if answer.status == 403:
            source.fail("it is turned off for this instance (its option HttpEndpoint), or for this process")
        if answer.status in (404, 405, 501):
            source.fail(
                f"no tokens are given (HTTP {answer.status}): this is not version 2 of the service, and version 1 is "
                "not spoken here"
            )
        if answer.status != 200:
            _refuse(source, answer)
        if not _TOKEN.fullmatch(answer.body):
            source.fail("the token must be one line of visible ASCII characters")
        self._token = answer.body.decode()
        self._token_until = now + timedelta(seconds=_read_lifetime_s(answer)) - REFRESH_BEFORE


def _read_lifetime_s(answer: Answer) -> int:
    told = answer.header(b"x-aws-ec2-metadata-token-ttl-seconds") or ""
    if told.isascii() and told.isdigit() and len(told) <= 5:
        return min(int(told), TOKEN_LIFETIME_S)
    return TOKEN_LIFETIME_S


def _join(url: Url, path: str) -> str:
    return url.target.rstrip("/") + path


def _refuse(source: HttpSource, answer: Answer) -> NoReturn:
    source.fail(f"the service answered HTTP {answer.status}", status=answer.status)
