"""Credentials in the environment and in the files that AWS's tools share, with botocore as a second opinion."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from iotwire import CredentialsError, EnvironmentCredentials, NoCredentialsError, SharedFilesCredentials
from iotwire.sigv4 import Credentials
from providing import (
    KEY_ID,
    NOW,
    SECRET,
    TOKEN,
    after,
    no_settings,  # noqa: F401 -- a fixture
    nothing_secret_is_logged,  # noqa: F401 -- a fixture
    refused,
)

pytestmark = pytest.mark.usefixtures("nothing_secret_is_logged", "no_settings")


# The environment.

ENVIRONMENTS: dict[str, tuple[dict[str, str], Credentials]] = {
    "two keys": (
        {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET},
        Credentials(KEY_ID, SECRET),
    ),
    "a token": (
        {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN},
        Credentials(KEY_ID, SECRET, TOKEN),
    ),
    "a token under its older name": (
        {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SECURITY_TOKEN": TOKEN},
        Credentials(KEY_ID, SECRET, TOKEN),
    ),
    "an empty token": (
        {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": ""},
        Credentials(KEY_ID, SECRET),
    ),
}


@pytest.mark.parametrize(("environ", "expected"), ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
def test_keys_of_the_environment_are_taken_as_botocore_takes_them(
    environ: dict[str, str], expected: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert EnvironmentCredentials(environ).get(NOW) == expected
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    provider = EnvironmentCredentials()
    assert provider.get(NOW) == expected
    assert provider.get(NOW) is provider.get(NOW)
    oracle = pytest.importorskip("botocore.credentials").EnvProvider(environ).load().get_frozen_credentials()
    assert (oracle.access_key, oracle.secret_key, oracle.token) == (KEY_ID, SECRET, expected.session_token)


def test_the_environment_is_looked_at_each_time() -> None:
    environ: dict[str, str] = {}
    provider = EnvironmentCredentials(environ)
    with refused("AWS_ACCESS_KEY_ID is not set", NoCredentialsError):
        provider.get(NOW)
    environ |= {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    assert provider.get(NOW).access_key_id == KEY_ID
    environ["AWS_ACCESS_KEY_ID"] = "ANOTHER"
    assert provider.get(NOW).access_key_id == "ANOTHER"
    environ["AWS_CREDENTIAL_EXPIRATION"] = "2026-11-21T13:00:00+00:00"
    assert provider.get(NOW).expiration == after(3600)
    with refused("expired at 2026-11-21 13:00:00"):
        provider.get(after(3600))


BAD_ENVIRONMENTS: dict[str, tuple[dict[str, str], type[CredentialsError], str]] = {
    "nothing": ({}, NoCredentialsError, "AWS_ACCESS_KEY_ID is not set"),
    "an empty key": ({"AWS_ACCESS_KEY_ID": ""}, NoCredentialsError, "AWS_ACCESS_KEY_ID is not set"),
    "a secret alone": ({"AWS_SECRET_ACCESS_KEY": SECRET}, NoCredentialsError, "AWS_ACCESS_KEY_ID is not set"),
    "a web identity": (
        {"AWS_WEB_IDENTITY_TOKEN_FILE": "/token", "AWS_ROLE_ARN": "arn:aws:iam::1:role/x"},
        CredentialsError,
        r"web identity, which is not in this release; .*BotocoreCredentials\(",
    ),
    "no secret": ({"AWS_ACCESS_KEY_ID": KEY_ID}, CredentialsError, "AWS_SECRET_ACCESS_KEY is not"),
    "a secret of two lines": (
        {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": f"{SECRET}\n{SECRET}"},
        CredentialsError,
        "environment: secret_access_key",
    ),
    "no time": (
        {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_CREDENTIAL_EXPIRATION": SECRET},
        CredentialsError,
        "AWS_CREDENTIAL_EXPIRATION must be a time",
    ),
}


@pytest.mark.parametrize(("environ", "kind", "match"), BAD_ENVIRONMENTS.values(), ids=list(BAD_ENVIRONMENTS))
def test_what_is_wrong_in_the_environment_is_named(
    environ: dict[str, str], kind: type[CredentialsError], match: str
) -> None:
    provider = EnvironmentCredentials(environ)
    with refused(match, kind):
        provider.get(NOW)
    assert SECRET not in repr(provider)


# The files. {I} and {S} and {T} stand for a key id, a secret and a token; {J} for another key id.

KEYS = "aws_access_key_id = {I}\naws_secret_access_key = {S}\n"
OTHER_KEYS = "aws_access_key_id = {J}\naws_secret_access_key = {S}\n"

Files = tuple[str | None, str | None, str | None]  # credentials, config, profile

FOUND: dict[str, tuple[Files, tuple[str, str | None]]] = {
    "default": ((f"[default]\n{KEYS}", None, None), ("{I}", None)),
    "a token": ((f"[default]\n{KEYS}aws_session_token={{T}}\n", None, None), ("{I}", "{T}")),
    "a token under its older name": ((f"[default]\n{KEYS}aws_security_token={{T}}\n", None, None), ("{I}", "{T}")),
    "another profile": ((f"[default]\n{OTHER_KEYS}[edge]\n{KEYS}", None, "edge"), ("{I}", None)),
    "a profile with a space": ((f"[default]\n{OTHER_KEYS}[my edge]\n{KEYS}", None, "my edge"), ("{I}", None)),
    "keys in the config file": ((None, f"[default]\n{KEYS}", None), ("{I}", None)),
    "a profile of the config file": ((None, f"[default]\n{OTHER_KEYS}[profile edge]\n{KEYS}", "edge"), ("{I}", None)),
    "a quoted profile of the config file": ((None, f'[profile "my edge"]\n{KEYS}', "my edge"), ("{I}", None)),
    "default as a profile": ((None, f"[profile default]\n{KEYS}", None), ("{I}", None)),
    "both files": ((f"[default]\n{KEYS}", f"[default]\nregion = x\n{OTHER_KEYS}", None), ("{I}", None)),
    "a profile without keys in the credentials file": (
        (f"[edge]\nregion = x\n[default]\n{OTHER_KEYS}", f"[profile edge]\n{KEYS}", "edge"),
        ("{I}", None),
    ),
    "comments and empty lines": (
        (f"# aws_access_key_id = x\n\n; nothing\n[default]\n# a comment\n\n{KEYS}; the end\n", None, None),
        ("{I}", None),
    ),
    "upper case": ((f"[default]\n{KEYS.replace('aws', 'AWS').replace('key', 'KEY')}", None, None), ("{I}", None)),
    "no spaces": (("[default]\naws_access_key_id={I}\naws_secret_access_key={S}", None, None), ("{I}", None)),
    "many spaces": (
        ("[default]\naws_access_key_id   =   {I}   \naws_secret_access_key\t=\t{S}\t\n", None, None),
        ("{I}", None),
    ),
    "colons": (("[default]\naws_access_key_id: {I}\naws_secret_access_key: {S}\n", None, None), ("{I}", None)),
    "the ends of lines of another system": (
        ("[default]\r\naws_access_key_id = {I}\r\naws_secret_access_key = {S}\r\n", None, None),
        ("{I}", None),
    ),
    "nested settings": ((f"[default]\ns3 =\n  max_queue_size = 7\n{KEYS}", None, None), ("{I}", None)),
    "settings with percent signs": ((f"[default]\nother = %(aws_x)s %\n{KEYS}", None, None), ("{I}", None)),
    "other sections": (
        (None, f"[preview]\nx = 1\n[sso-session a]\nsso_region = x\n[default]\n{KEYS}", None),
        ("{I}", None),
    ),
    "a section with one quote": ((None, f'[profile "a]\nx = 1\n[default]\n{KEYS}', None), ("{I}", None)),
    "keys beside a program": ((f"[default]\n{KEYS}credential_process = /bin/x\n", None, None), ("{I}", None)),
    "keys, and a program in the other file": (
        (f"[default]\n{KEYS}", "[default]\ncredential_process = /bin/x\n", None),
        ("{I}", None),
    ),
    "the parser's own defaults": ((f"[DEFAULT]\n{KEYS}[default]\nregion = x\n", None, None), ("{I}", None)),
}


def fill(text: str) -> str:
    for mark, value in (("{I}", KEY_ID), ("{J}", "OTHER"), ("{S}", SECRET), ("{T}", TOKEN)):
        text = text.replace(mark, value)
    return text


def write(folder: Path, files: Files) -> dict[str, str]:
    """Write the files; the result is the environment that names them."""
    environ = {}
    variables = ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE")
    for variable, name, text in zip(variables, ("credentials", "config"), files, strict=False):
        path = folder / name
        environ[variable] = str(path)
        if text is not None:
            path.write_bytes(fill(text).encode())
    if files[2] is not None:
        environ["AWS_PROFILE"] = files[2]
    return environ


@pytest.mark.parametrize(("files", "expected"), FOUND.values(), ids=list(FOUND))
def test_keys_of_a_profile_are_found_where_botocore_finds_them(
    files: Files, expected: tuple[str, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = write(tmp_path, files)
    key_id, token = (None if each is None else fill(each) for each in expected)
    assert key_id is not None
    wanted = Credentials(key_id, SECRET, token)
    assert SharedFilesCredentials(environ=environ).get(NOW) == wanted
    explicit = SharedFilesCredentials(
        files[2], credentials_file=tmp_path / "credentials", config_file=str(tmp_path / "config")
    )
    assert explicit.get(NOW) == wanted
    session = pytest.importorskip("botocore.session")
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert SharedFilesCredentials().get(NOW) == wanted
    oracle = session.Session().get_credentials().get_frozen_credentials()
    assert (oracle.access_key, oracle.secret_key, oracle.token) == (key_id, SECRET, token)


ROLE = "role_arn = arn:aws:iam::1:role/x\n"
OTHER_WAY = "not in this release; with botocore installed, BotocoreCredentials"

BAD_FILES: dict[str, tuple[Files, type[CredentialsError], str]] = {
    "no files": ((None, None, None), NoCredentialsError, "there is no profile 'default' of .*credentials and .*config"),
    "empty files": (("", "", None), NoCredentialsError, "there is no profile 'default'"),
    "a profile that is not there": ((f"[default]\n{KEYS}", None, "edge"), CredentialsError, "no profile 'edge'"),
    "a section without its word": ((None, f"[edge]\n{KEYS}", "edge"), CredentialsError, "no profile 'edge'"),
    "a profile without keys": (("[edge]\nregion = x\n", None, "edge"), NoCredentialsError, "has no aws_access_key_id"),
    "a secret alone": (("[default]\naws_secret_access_key={S}\n", None, None), NoCredentialsError, "aws_access_key_id"),
    "no secret": (("[default]\naws_access_key_id={I}\n", None, None), CredentialsError, "aws_secret_access_key is mis"),
    "an empty secret": (
        ("[default]\naws_access_key_id={I}\naws_secret_access_key=\n", None, None),
        CredentialsError,
        "aws_secret_access_key is empty",
    ),
    "an empty key": (
        ("[default]\naws_access_key_id=\naws_secret_access_key={S}\n", None, None),
        CredentialsError,
        "aws_access_key_id is empty",
    ),
    "a secret of two lines": (
        ("[default]\naws_access_key_id={I}\naws_secret_access_key={S}\n  {S}\n", None, None),
        CredentialsError,
        "profile 'default' of .*credentials: secret_access_key",
    ),
    "a line without a section": (("{S}\n", None, None), CredentialsError, r"no \[section\] before .*, line 1"),
    "a line that is no setting": ((f"[default]\n{KEYS}{{S}}\n", None, None), CredentialsError, "name = value, line 4"),
    "a section twice": ((f"[default]\n{KEYS}[default]\n{KEYS}", None, None), CredentialsError, "section .* line 4"),
    "a secret twice": ((f"[default]\n{KEYS}{KEYS}", None, None), CredentialsError, "setting comes twice.* line 4"),
    "a broken config file": ((f"[default]\n{KEYS}", "[default\n{S}", None), CredentialsError, "cannot read .*config"),
    "a role": ((None, f"[default]\n{ROLE}source_profile = x\n", None), CredentialsError, OTHER_WAY),
    "a role of this machine": (
        (None, f"[profile edge]\n{ROLE}credential_source = Ec2InstanceMetadata\n", "edge"),
        CredentialsError,
        rf"assuming a role, which is {OTHER_WAY}\(botocore.session.Session\(profile='edge'\)\)",
    ),
    "a role that wins over keys": (
        (f"[default]\n{KEYS}", f"[default]\n{ROLE}source_profile = x\n", None),
        CredentialsError,
        OTHER_WAY,
    ),
    "a role alone": ((None, f"[default]\n{ROLE}", None), CredentialsError, OTHER_WAY),
    "a web identity": (
        (None, f"[default]\n{ROLE}web_identity_token_file = /x\n", None),
        CredentialsError,
        f"web identity, which is {OTHER_WAY}",
    ),
    "single sign-on": (
        (None, "[default]\nsso_session = a\nsso_account_id = 1\nsso_role_name = x\n", None),
        CredentialsError,
        f"single sign-on, which is {OTHER_WAY}",
    ),
    "older single sign-on": (
        (None, "[default]\nsso_start_url = https://x\n", None),
        CredentialsError,
        f"single sign-on, which is {OTHER_WAY}",
    ),
    "a program": (
        (None, "[default]\ncredential_process = /bin/echo {S}\n", None),
        CredentialsError,
        rf"a program \(credential_process\), which is {OTHER_WAY}",
    ),
}


@pytest.mark.parametrize(("files", "kind", "match"), BAD_FILES.values(), ids=list(BAD_FILES))
def test_what_is_wrong_with_the_files_is_told_without_a_word_of_them(
    files: Files, kind: type[CredentialsError], match: str, tmp_path: Path
) -> None:
    provider = SharedFilesCredentials(environ=write(tmp_path, files))
    with refused(match, kind):
        provider.get(NOW)
    assert SECRET not in repr(provider)


def test_the_usual_places_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ".aws"
    folder.mkdir()
    write(folder, (f"[default]\n{KEYS}[edge]\n{OTHER_KEYS}", None, None))
    assert SharedFilesCredentials().get(NOW).access_key_id == KEY_ID
    assert SharedFilesCredentials("edge").get(NOW).access_key_id == "OTHER"
    monkeypatch.setenv("AWS_DEFAULT_PROFILE", "edge")
    assert SharedFilesCredentials().get(NOW).access_key_id == "OTHER"
    monkeypatch.setenv("AWS_PROFILE", "default")
    assert SharedFilesCredentials().get(NOW).access_key_id == KEY_ID
    assert SharedFilesCredentials("edge").get(NOW).access_key_id == "OTHER"
    monkeypatch.setenv("FOLDER", str(tmp_path / "nowhere"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "$FOLDER/credentials")
    with refused(r"nowhere/credentials and .*\.aws/config"):
        SharedFilesCredentials().get(NOW)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")
    assert SharedFilesCredentials().get(NOW).access_key_id == KEY_ID


def test_files_are_read_again_when_they_have_changed(tmp_path: Path) -> None:
    environ = write(tmp_path, (None, None, None))
    provider = SharedFilesCredentials(environ=environ)
    with refused("there is no", NoCredentialsError):
        provider.get(NOW)
    write(tmp_path, (f"[default]\n{KEYS}", None, None))
    first = provider.get(NOW)
    assert provider.get(NOW) is first
    new = tmp_path / "new"  # as tools write it: in place of the old one
    new.write_text(fill(f"[default]\n{OTHER_KEYS}"))
    new.replace(tmp_path / "credentials")
    assert provider.get(NOW).access_key_id == "OTHER"
    environ["AWS_PROFILE"] = "edge"
    with refused("there is no profile 'edge'"):
        provider.get(NOW)


def test_a_file_may_begin_with_the_mark_of_its_encoding(tmp_path: Path) -> None:
    environ = write(tmp_path, (f"\N{BOM}[default]\nname = Größe\n{KEYS}", None, None))
    assert SharedFilesCredentials(environ=environ).get(NOW) == Credentials(KEY_ID, SECRET)


UNREADABLE: dict[str, tuple[bytes, str]] = {
    "not UTF-8": (b"[default]\naws_secret_access_key = \xff\xfe" + SECRET.encode(), "it is not UTF-8"),
    "too large": (b"#" * (1024 * 1024 + 1), "it has more than 1048576 bytes"),
}


@pytest.mark.parametrize(("data", "match"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, data: bytes, match: str) -> None:
    path = tmp_path / "credentials"
    path.write_bytes(data)
    with refused(f"cannot read {path}: {match}"):
        SharedFilesCredentials(credentials_file=path, environ={}).get(NOW)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads every file")
def test_a_file_of_another_user_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text(fill(f"[default]\n{KEYS}"))
    path.chmod(0)
    with refused("cannot read .*Permission denied"):
        SharedFilesCredentials(credentials_file=path, environ={}).get(NOW)


@pytest.mark.parametrize("name", ["", "\0"])
def test_a_name_that_no_profile_can_have_is_refused(name: Any) -> None:
    with refused("profile"):
        SharedFilesCredentials(name).get(NOW)
