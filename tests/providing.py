"""What tests of credential providers share: keys that nobody owns, documents that hold them, and a search for them."""

from __future__ import annotations

import json
import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from iotwire import CredentialsError
from iotwire.sigv4 import Credentials

KEY_ID = "ASIAEXAMPLEKEYID0001"
SECRET = "c2VjcmV0LW9mLWEtdGVzdA/+EXAMPLE/SECRET01"
TOKEN = "dG9rZW4tb2YtYS10ZXN0//EXAMPLE+TOKEN=="
AUTHORIZATION = "Bearer EXAMPLE-authorization-0001"
SECRETS = (SECRET, TOKEN, AUTHORIZATION)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def credentials(expires_s: float | None = 3600, *, key_id: str = KEY_ID) -> Credentials:
    return Credentials(key_id, SECRET, TOKEN, None if expires_s is None else after(expires_s))


def document(expires_s: float = 3600, **changes: Any) -> dict[str, Any]:
    """As the container endpoint and the metadata service write it. A change to `...` leaves a member out."""
    members = {
        "Code": "Success",
        "AccessKeyId": KEY_ID,
        "SecretAccessKey": SECRET,
        "Token": TOKEN,
        "Expiration": f"{after(expires_s):%Y-%m-%dT%H:%M:%SZ}",
        **changes,
    }
    return {name: value for name, value in members.items() if value is not ...}


def iot_document(expires_s: float = 3600, **changes: Any) -> dict[str, Any]:
    """As the credentials provider of AWS IoT writes it."""
    members = {
        "accessKeyId": KEY_ID,
        "secretAccessKey": SECRET,
        "sessionToken": TOKEN,
        "expiration": f"{after(expires_s):%Y-%m-%dT%H:%M:%SZ}",
        **changes,
    }
    return {"credentials": {name: value for name, value in members.items() if value is not ...}}


def encode(document: object) -> bytes:
    return json.dumps(document).encode()


class Source:
    """A provider that gives what it is told to, or raises it, and counts how often it is asked."""

    def __init__(self, *given: Any) -> None:
        self.given = list(given)
        self.asked: list[datetime] = []

    def __repr__(self) -> str:
        return "Source()"

    def get(self, now: datetime) -> Credentials:
        self.asked.append(now)
        given = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        if isinstance(given, BaseException):
            raise given
        result: Credentials = given() if callable(given) else given
        return result


def everything_of(error: BaseException | None) -> str:
    """All that an error, what led to it and what was handled then could show."""
    told = []
    while error is not None:
        told += [repr(error), str(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(told)


@contextmanager
def refused(match: str, kind: type[CredentialsError] = CredentialsError) -> Iterator[pytest.ExceptionInfo[Any]]:
    """An error of just this kind is raised, and has no secret in any part of it."""
    with pytest.raises(CredentialsError, match=match) as caught:
        yield caught
    assert type(caught.value) is kind
    told = everything_of(caught.value)
    for secret in SECRETS:
        assert secret not in told


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without a word about AWS, and an empty home."""
    for name in os.environ:
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """For `usefixtures`: every logger at DEBUG, and no secret in a record of any."""
    with caplog.at_level(logging.DEBUG):
        yield
        for record in caplog.records:
            told = f"{record.getMessage()} {record.args!r} {vars(record)!r}"
            assert not any(secret in told for secret in SECRETS)
