"""Whatever a source, a file or a setting says: credentials, or an error of iotwire's that repeats nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("h11")

from iotwire import CredentialsError, EnvironmentCredentials, SharedFilesCredentials
from iotwire.https.conversation import Answer
from iotwire.providers.document import DocumentNames, read_credentials, read_object, read_time
from iotwire.providers.http import read_url, words_of
from iotwire.sigv4 import Credentials
from providing import KEY_ID, NOW, SECRET, TOKEN, everything_of

DAY = timedelta(hours=23, minutes=59)
NAMES = DocumentNames("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.just(KEY_ID),
    st.just([SECRET]),
    st.just({"a": SECRET}),
)
SECRET_VALUES = st.one_of(st.just(SECRET), st.just(f"{SECRET}\n"), st.just([SECRET]), VALUES)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "AccessKeyId": VALUES,
        "SecretAccessKey": SECRET_VALUES,
        "Token": st.one_of(st.just(TOKEN), VALUES),
        "Expiration": st.one_of(st.just("2026-11-21T13:00:00Z"), st.datetimes().map(str), SECRET_VALUES),
    },
)


def attempt(read: Callable[[], Any]) -> Any:
    """What it gives, or its error, which is of the one kind and has no secret in it."""
    try:
        return read()
    except CredentialsError as error:
        found = error
    assert SECRET not in everything_of(found)
    return found


@given(DOCUMENTS)
def test_any_document_gives_credentials_or_says_what_is_wrong(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    found = attempt(lambda: read_credentials(read_object(body, "source"), NAMES, "source"))
    assert isinstance(found, (Credentials, CredentialsError))


@given(st.one_of(st.binary(), st.text().map(str.encode), st.binary().map(lambda data: data + SECRET.encode())))
def test_any_bytes_are_an_object_or_an_error(body: bytes) -> None:
    assert isinstance(attempt(lambda: read_object(body, "source")), (dict, CredentialsError))
    told = words_of(Answer(500, [], body), [SECRET])
    assert SECRET not in told
    assert told.isprintable()


@given(
    st.one_of(
        st.text(), st.datetimes(timezones=st.timedeltas(-DAY, DAY).map(timezone)).map(lambda moment: moment.isoformat())
    )
)
def test_any_text_is_an_aware_time_or_none(text: str) -> None:
    found = read_time(text)
    assert found is None or found.utcoffset() is not None


@given(
    st.one_of(
        st.text(),
        st.builds(
            "{}://{}:{}{}".format,
            st.sampled_from(["http", "https", "HTTP", "ftp", ""]),
            st.one_of(st.text(), st.ip_addresses().map(str), st.ip_addresses(v=6).map("[{}]".format)),
            st.integers(-1, 70000),
            st.text(),
        ),
    )
)
def test_any_text_is_a_url_that_ends_no_line_or_an_error(text: str) -> None:
    url = attempt(lambda: read_url(text, "setting"))
    if isinstance(url, CredentialsError):
        assert str(url).startswith("setting: a URL such as")
        return
    for each in (url.host, url.target, url.attempt().authority):
        assert each.isascii()
        assert each.isprintable()
        assert " " not in each
    assert 1 <= url.port <= 65535
    assert text.startswith(f"{url.scheme}://")
    assert "@" not in url.attempt().authority


INI_PARTS = st.sampled_from(
    [
        *(
            "[default]",
            "[profile default]",
            "[DEFAULT]",
            "[",
            "]",
            "=",
            ":",
            "#",
            ";",
            '"',
            "%(",
            "\n",
            "\r\n",
            " ",
            "\t",
        ),
        *(
            "aws_access_key_id",
            "aws_secret_access_key",
            "role_arn",
            "sso_session",
            SECRET,
            KEY_ID,
            "\0",
            "\N{BOM}",
            "ü",
        ),
    ]
)


@given(st.one_of(st.binary(), st.lists(INI_PARTS, max_size=30).map(lambda parts: "".join(parts).encode())))
def test_any_file_gives_credentials_or_says_what_is_wrong(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder: Path = tmp_path_factory.getbasetemp()
    for name in ("any-credentials", "any-config"):
        (folder / name).write_bytes(data)
    provider = SharedFilesCredentials(
        credentials_file=folder / "any-credentials", config_file=folder / "any-config", environ={}
    )
    assert isinstance(attempt(lambda: provider.get(NOW)), (Credentials, CredentialsError))


@given(st.dictionaries(st.sampled_from(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]), st.text()))
def test_any_environment_without_a_time_is_an_error(environ: dict[str, str]) -> None:
    provider = EnvironmentCredentials({**environ, "AWS_CREDENTIAL_EXPIRATION": SECRET})
    assert isinstance(attempt(lambda: provider.get(NOW)), CredentialsError)
