"""The files that AWS's tools share, ~/.aws/credentials and ~/.aws/config, with their profiles.

They are read as botocore reads them, with the same parser: section and value forms that work there work here. What a
profile may say beside keys (roles, single sign-on, programs) needs AWS's own packages; an error says so.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from ..credentials import stamp_source
from ..errors import CredentialsError, NoCredentialsError
from ..sigv4 import Credentials
from .document import make_credentials, read_now, read_setting

__all__ = ["SharedFilesCredentials"]

MAX_FILE_BYTES = 1024 * 1024
ACCESS_KEY_ID = "aws_access_key_id"
SECRET_ACCESS_KEY = "aws_secret_access_key"  # noqa: S105 -- the name of a setting
SESSION_TOKENS = ("aws_session_token", "aws_security_token")

Profile = Mapping[str, str]


class Other(NamedTuple):
    """Another way than keys that a profile may name. settings: all of them make it one. wins: over keys beside them."""

    what: str
    settings: tuple[str, ...]
    wins: bool


OTHERS = (
    Other("assuming a role with a web identity", ("role_arn", "web_identity_token_file"), True),
    Other("assuming a role", ("role_arn",), True),
    Other("single sign-on", ("sso_account_id",), True),
    Other("single sign-on", ("sso_role_name",), True),
    Other("single sign-on", ("sso_session",), False),
    Other("single sign-on", ("sso_start_url",), False),
    Other("a login session", ("login_session",), False),
    Other("a program (credential_process)", ("credential_process",), False),
)


class SharedFilesCredentials:
    """The keys of a profile in the files that AWS's tools share. Read again when a file has changed.

    profile: its name; None for AWS_PROFILE (or AWS_DEFAULT_PROFILE), and without that "default".
    credentials_file, config_file: their paths; None for AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE, and without
        them ~/.aws/credentials and ~/.aws/config. Where both have keys for the profile, the credentials file wins.
    environ: another mapping than os.environ.
    """

    def __init__(
        self,
        profile: str | None = None,
        *,
        credentials_file: str | os.PathLike[str] | None = None,
        config_file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if profile == "":
            raise CredentialsError("profile: the name of a profile or None is expected")
        self._profile = profile
        self._credentials_file = credentials_file
        self._config_file = config_file
        self._environ = environ
        self._latest: tuple[object, Credentials] | None = None

    def __repr__(self) -> str:
        return "SharedFilesCredentials()" if self._profile is None else f"SharedFilesCredentials({self._profile!r})"

    def get(self, now: datetime) -> Credentials:
        """The credentials. now: an aware time.

        Raises NoCredentialsError where the profile has none, or there is no default profile; CredentialsError for a
        file that cannot be read, a profile that was named and is not there, one whose keys are not complete, and one
        that needs more than this.
        """
        read_now(now)
        named = self._profile or self._setting("AWS_PROFILE") or self._setting("AWS_DEFAULT_PROFILE")
        profile = named or "default"
        paths = [
            self._path(self._credentials_file, "AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            self._path(self._config_file, "AWS_CONFIG_FILE", "config"),
        ]
        key = (profile, *((path, stamp_source(path)) for path in paths))
        latest = self._latest
        if latest is not None and latest[0] == key:
            return latest[1]
        found = self._read(profile, paths, is_named=bool(named))
        self._latest = (key, found)
        return found

    def _read(self, profile: str, paths: list[str], *, is_named: bool) -> Credentials:
        of_credentials = _read_sections(paths[0]).get(profile)
        of_config = _profiles_of(_read_sections(paths[1])).get(profile)
        where = f"profile {profile!r} of {paths[0]} and {paths[1]}"
        if of_credentials is None and of_config is None:
            raise (CredentialsError if is_named else NoCredentialsError)(f"there is no {where}")
        together = {**(of_config or {}), **(of_credentials or {})}
        _refuse_others(together, profile, where, only_winners=True)
        for path, settings in zip(paths, (of_credentials, of_config), strict=True):
            if settings is not None and ACCESS_KEY_ID in settings:
                return _make(settings, f"profile {profile!r} of {path}")
        _refuse_others(together, profile, where, only_winners=False)
        raise NoCredentialsError(f"{where} has no {ACCESS_KEY_ID}")

    def _setting(self, name: str) -> str:
        return read_setting(self._environ, name)

    def _path(self, given: str | os.PathLike[str] | None, variable: str, default: str) -> str:
        path = os.fspath(given) if given is not None else self._setting(variable) or os.path.join("~", ".aws", default)
        return os.path.expanduser(os.path.expandvars(path))


def _make(settings: Profile, where: str) -> Credentials:
    for name in (ACCESS_KEY_ID, SECRET_ACCESS_KEY):
        if not settings.get(name):
            raise CredentialsError(f"{where}: {name} is {'empty' if name in settings else 'missing'}")
    token = next((settings[name] for name in SESSION_TOKENS if settings.get(name)), None)
    return make_credentials(where, settings[ACCESS_KEY_ID], settings[SECRET_ACCESS_KEY], token)


def _refuse_others(settings: Profile, profile: str, where: str, *, only_winners: bool) -> None:
    for other in OTHERS:
        if (other.wins or not only_winners) and all(settings.get(name) for name in other.settings):
            raise CredentialsError(
                f"{where} gets its credentials by {other.what}, which is not in this release; with botocore installed, "
                f"BotocoreCredentials(botocore.session.Session(profile={profile!r})) does it"
            )


def _profiles_of(sections: Mapping[str, Profile]) -> dict[str, Profile]:
    """The profiles among the sections of a config file: [default], [profile name], [profile "a name"]."""
    profiles: dict[str, Profile] = {}
    for section, settings in sections.items():
        if section == "default":
            profiles.setdefault(section, settings)
        elif section.startswith("profile"):
            import shlex

            try:
                words = shlex.split(section)
            except ValueError:  # a quote without its other one
                continue
            if len(words) == 2:
                profiles[words[1]] = settings
    return profiles


def _read_sections(path: str) -> Mapping[str, Profile]:
    """The sections of a file; none where there is no file. Raises CredentialsError, which repeats nothing of it."""
    import configparser

    if not os.path.isfile(path):
        return {}
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise CredentialsError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise CredentialsError(f"cannot read {path}: it has more than {MAX_FILE_BYTES} bytes")
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(data.decode("utf-8-sig"))
    except configparser.Error as error:
        wrong = _describe(error)
    except UnicodeDecodeError:
        wrong = "it is not UTF-8"
    else:
        return {section: dict(parser.items(section)) for section in parser.sections()}
    # Not in the `except`: those errors hold lines of the file, and would go along as the context of ours.
    raise CredentialsError(f"cannot read {path}: {wrong}")


def _describe(error: Exception) -> str:
    """What the parser found, without the line, which may have a key in it."""
    kinds = {
        "MissingSectionHeaderError": "there is no [section] before its first setting",
        "DuplicateSectionError": "a section comes twice",
        "DuplicateOptionError": "a setting comes twice in a section",
    }
    wrong = kinds.get(type(error).__name__, "a line is neither a [section] nor name = value")
    lines = [number for number, _ in getattr(error, "errors", ())]
    line = lines[0] if lines else getattr(error, "lineno", None)
    return wrong if line is None else f"{wrong}, line {line}"
