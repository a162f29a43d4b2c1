"""Several sources of credentials in order, botocore's among them, and the names under which all are imported."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("h11")

import iotwire
import iotwire.credentials
import iotwire.providers
from iotwire import (
    X509,
    BotocoreCredentials,
    ContainerCredentials,
    CredentialsError,
    EnvironmentCredentials,
    InstanceCredentials,
    IotCredentials,
    NoCredentialsError,
    ProviderChain,
    Refreshing,
    SharedFilesCredentials,
)
from iotwire.client.backoff import is_refusal
from iotwire.errors import ConnectError, RequestTimeoutError
from iotwire.sigv4 import Credentials
from providing import (
    KEY_ID,
    NOW,
    SECRET,
    TOKEN,
    Source,
    after,
    credentials,
    document,
    encode,
    no_settings,  # noqa: F401 -- a fixture
    nothing_secret_is_logged,  # noqa: F401 -- a fixture
    refused,
)
from scripted_http import Taking, answer, http_server
from scripted_threads import InThread, happened

pytestmark = pytest.mark.usefixtures("nothing_secret_is_logged", "no_settings")


FIRST, SECOND = credentials(3600, key_id="FIRST"), credentials(7200, key_id="SECOND")


def absent(name: str) -> NoCredentialsError:
    return NoCredentialsError(f"{name} is not set up")


# ---- the chain


def test_the_first_that_has_credentials_is_asked_alone_from_then_on() -> None:
    sources = Source(absent("one")), Source(FIRST), Source(SECOND)
    chain = ProviderChain(sources)
    assert chain.answered is None
    for second in range(3):
        assert chain.get(after(second)) is FIRST
    assert [len(each.asked) for each in sources] == [1, 3, 0]
    assert chain.answered is sources[1]


def test_a_source_that_is_set_up_and_fails_is_not_passed_over() -> None:
    sources = Source(absent("one")), Source(CredentialsError("two is broken")), Source(SECOND)
    chain = ProviderChain(sources)
    with refused("two is broken"):
        chain.get(NOW)
    assert not sources[2].asked
    sources[1].given = [FIRST]
    assert chain.get(NOW) is FIRST


def test_a_source_that_is_gone_is_looked_for_anew() -> None:
    sources = Source(FIRST, absent("one")), Source(SECOND)
    chain = ProviderChain(sources)
    assert chain.get(NOW) is FIRST
    assert chain.get(NOW) is SECOND
    assert chain.answered is sources[1]
    sources[1].given = [absent("two")]
    with refused("no credentials: one is not set up; two is not set up", NoCredentialsError):
        chain.get(NOW)
    assert chain.answered is None


def test_a_remembered_source_that_fails_is_still_the_one() -> None:
    sources = Source(FIRST, CredentialsError("broken"), FIRST), Source(SECOND)
    chain = ProviderChain(sources)
    chain.get(NOW)
    with refused("broken"):
        chain.get(NOW)
    assert chain.get(NOW) is FIRST
    assert not sources[1].asked


@pytest.mark.parametrize("given", [FIRST, CredentialsError("broken")], ids=["given", "failed"])
def test_threads_that_come_at_once_search_once(given: Any) -> None:
    is_asked, may_answer = threading.Event(), threading.Event()

    def give() -> Credentials:
        is_asked.set()
        happened(may_answer)
        return Source(given).get(NOW)

    absent_one, source = Source(absent("one")), Source(give)
    chain = ProviderChain([absent_one, source])
    threads = [InThread(chain.get, NOW)]
    happened(is_asked)
    threads += [InThread(chain.get, NOW) for _ in range(6)]
    may_answer.set()
    for each in threads:
        if given is FIRST:
            assert each.result() is FIRST
        else:
            with refused("broken"):
                each.result()
    if given is FIRST:
        assert len(absent_one.asked) == 1


def test_the_usual_order_is_that_of_the_sdks() -> None:
    iot = IotCredentials("c1.credentials.iot.eu-west-1.amazonaws.com", "alias", X509("a.pem", "a.key"))
    kinds = [type(each) for each in ProviderChain(iot=iot)._providers]
    assert kinds == [
        EnvironmentCredentials,
        SharedFilesCredentials,
        IotCredentials,
        ContainerCredentials,
        InstanceCredentials,
    ]
    # A profile that the program names wins over keys in the environment.
    assert [type(each) for each in ProviderChain(profile="edge")._providers] == [
        SharedFilesCredentials,
        ContainerCredentials,
        InstanceCredentials,
    ]
    assert repr(ProviderChain(profile="edge")).startswith("ProviderChain([SharedFilesCredentials('edge'), Container")


def test_the_usual_sources_win_over_one_another_in_that_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with refused(
        "AWS_ACCESS_KEY_ID is not set; .*'default' of .*; container.*; instance metadata: t", NoCredentialsError
    ):
        ProviderChain().get(NOW)
    with http_server(Taking(*[answer(200, encode(document(AccessKeyId="CONTAINER")))] * 3)) as local:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://127.0.0.1:{local.port}/")
        assert ProviderChain().get(NOW).access_key_id == "CONTAINER"
        (tmp_path / ".aws").mkdir()
        (tmp_path / ".aws" / "credentials").write_text(
            f"[default]\naws_access_key_id = FILE\naws_secret_access_key = {SECRET}\n"
        )
        assert ProviderChain().get(NOW).access_key_id == "FILE"
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENVIRONMENT")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        assert ProviderChain().get(NOW).access_key_id == "ENVIRONMENT"
        assert ProviderChain(profile="default").get(NOW).access_key_id == "FILE"


def test_a_chain_in_a_chain_and_in_a_refreshing_one() -> None:
    inner = ProviderChain([Source(absent("one"))])
    outer = Refreshing(ProviderChain([inner, Source(FIRST)]))
    assert outer.get(NOW) is FIRST


BAD_CHAINS: dict[str, tuple[Callable[[], object], str]] = {
    "no providers": (lambda: ProviderChain([]), "providers"),
    "keys": (lambda: ProviderChain([credentials()]), "providers"),  # type: ignore[list-item]
    "a profile for none": (lambda: ProviderChain([Source(FIRST)], profile="x"), "profile"),
}


@pytest.mark.parametrize(("make", "match"), BAD_CHAINS.values(), ids=list(BAD_CHAINS))
def test_what_is_no_chain_is_refused(make: Callable[[], object], match: str) -> None:
    with refused(match):
        make()


def test_a_service_that_was_not_reached_is_no_refusal_of_this_client() -> None:
    """A client that cannot get credentials because a link is down tries again as soon as after any lost link."""
    for cause, expected in (
        (None, True),
        (ConnectError("x", step="tcp"), False),
        (RequestTimeoutError("x"), False),
        (ValueError("x"), True),
    ):
        error = CredentialsError("x")
        error.__cause__ = cause
        assert is_refusal(error) == expected


# ---- botocore


def frozen(key: Any = KEY_ID, secret: Any = SECRET, token: Any = TOKEN) -> SimpleNamespace:
    return SimpleNamespace(access_key=key, secret_key=secret, token=token)


class Asked:
    """What has one method, as the things of botocore have."""

    def __init__(self, name: str, given: Any) -> None:
        setattr(self, name, self._give)
        self.given = given
        self.count = 0

    def _give(self) -> Any:
        self.count += 1
        if isinstance(self.given, BaseException):
            raise self.given
        return self.given


@pytest.mark.parametrize("method", ["get_credentials", "load_credentials", "load"])
def test_what_botocore_finds_is_asked_for_once_and_read_each_time(method: str) -> None:
    found = Asked("get_frozen_credentials", frozen())
    source = Asked(method, None)
    provider = BotocoreCredentials(source)
    with refused("botocore finds no credentials", NoCredentialsError):
        provider.get(NOW)
    source.given = found
    first = provider.get(NOW)
    assert first == Credentials(KEY_ID, SECRET, TOKEN)
    assert provider.get(NOW) is first
    found.given = frozen("RENEWED", token=None)
    assert provider.get(NOW) == Credentials("RENEWED", SECRET)
    assert (source.count, found.count) == (2, 3)
    assert repr(provider) == "BotocoreCredentials(Asked)"


BAD_FROZEN: dict[str, tuple[Any, str]] = {
    "no key": (frozen(None), "no access key or no secret"),
    "no secret": (frozen(secret=""), "no access key or no secret"),
    "a secret with a space": (frozen(secret=f"{SECRET} x"), "botocore: secret_access_key"),
    "bytes": (frozen(token=TOKEN.encode()), "botocore: session_token"),
    "something else": ({"access_key": KEY_ID}, "no access key or no secret"),
    "an error": (ValueError("no"), "botocore gives no credentials: ValueError"),
}


@pytest.mark.parametrize(("given", "match"), BAD_FROZEN.values(), ids=list(BAD_FROZEN))
def test_what_botocore_gives_is_checked(given: Any, match: str) -> None:
    with refused(match):
        BotocoreCredentials(Asked("get_frozen_credentials", given)).get(NOW)


def test_an_asyncio_session_is_told_apart() -> None:
    async def get() -> Any:
        return frozen()

    with refused("not one for asyncio"):
        BotocoreCredentials(Asked("get_frozen_credentials", get())).get(NOW)
    with refused("not one for asyncio"):
        BotocoreCredentials(Asked("get_credentials", get())).get(NOW)


@pytest.mark.parametrize("source", [None, credentials(), "profile", Asked, {}], ids=str)
def test_what_is_none_of_botocore_is_refused(source: Any) -> None:
    with refused("source: a session"):
        BotocoreCredentials(source)


def test_botocore_itself_gives_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    session_room = pytest.importorskip("botocore.session")
    credentials_room = pytest.importorskip("botocore.credentials")
    # A way that iotwire has not itself: a program prints them.
    (tmp_path / "print").write_text(
        f'#!/bin/sh\necho \'{{"Version": 1, "AccessKeyId": "{KEY_ID}", "SecretAccessKey": "{SECRET}"}}\'\n'
    )
    (tmp_path / "print").chmod(0o700)
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(f"[profile edge]\ncredential_process = {tmp_path / 'print'}\n")
    wanted = Credentials(KEY_ID, SECRET)
    with refused("credential_process.*BotocoreCredentials"):
        SharedFilesCredentials("edge").get(NOW)
    session = session_room.Session(profile="edge")
    for source in (session, session.get_credentials(), credentials_room.Credentials(KEY_ID, SECRET)):
        assert BotocoreCredentials(source).get(NOW) == wanted
    for name, value in (("AWS_ACCESS_KEY_ID", KEY_ID), ("AWS_SECRET_ACCESS_KEY", SECRET)):
        monkeypatch.setenv(name, value)
    resolver = credentials_room.CredentialResolver([credentials_room.EnvProvider()])
    for source in (resolver, credentials_room.EnvProvider()):
        assert BotocoreCredentials(source).get(NOW) == wanted
    assert ProviderChain([Source(absent("one")), BotocoreCredentials(session)]).get(NOW) == wanted


def test_botocore_that_fails_is_an_error_without_its_words(tmp_path: Path) -> None:
    session_room = pytest.importorskip("botocore.session")
    with refused("botocore gives no credentials: ProfileNotFound"):
        BotocoreCredentials(session_room.Session(profile="nowhere")).get(NOW)


def test_both_botocore_and_this_take_the_same_from_the_same_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The container endpoint and the metadata service, as botocore asks them."""
    credentials_room = pytest.importorskip("botocore.credentials")
    told = encode(document(10**9))
    with http_server(Taking(*[answer(200, told)] * 2)) as local:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"http://localhost:{local.port}/x")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "of-a-test")
        theirs = BotocoreCredentials(credentials_room.ContainerProvider()).get(NOW)
        ours = ContainerCredentials().get(NOW)
    assert (ours.access_key_id, ours.secret_access_key, ours.session_token) == (KEY_ID, SECRET, TOKEN)
    assert theirs == Credentials(KEY_ID, SECRET, TOKEN)


# ---- names


def test_every_provider_has_its_name_in_three_places() -> None:
    for name in iotwire.providers.__all__:
        there = getattr(iotwire.providers, name)
        assert getattr(iotwire.credentials, name) is there
        assert getattr(iotwire, name) is there
        assert name in iotwire.__all__
        assert name in dir(iotwire.credentials)
    assert iotwire.credentials.Credentials is Credentials
    with pytest.raises(AttributeError):
        _ = iotwire.credentials.nothing  # type: ignore[attr-defined]


def test_naming_credentials_loads_no_network() -> None:
    program = (
        "import sys; import iotwire.credentials; from iotwire import EnvironmentCredentials, X509;"
        "EnvironmentCredentials(); print({'ssl', 'asyncio', 'h11', 'socket', 'cryptography'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=100)
    assert done.stdout == "set()\n"


def test_a_chain_is_asked_by_an_event_loop() -> None:
    threads: list[str] = []

    def give(found: Credentials) -> Callable[[], Credentials]:
        def note() -> Credentials:
            threads.append(threading.current_thread().name)
            return found

        return note

    source = Source(give(FIRST), give(SECOND), absent("it"))
    chain = ProviderChain([Source(absent("one")), Refreshing(source), Source(give(FIRST))])

    async def main() -> None:
        own = threading.current_thread().name
        assert await chain.get_async(NOW) is FIRST
        assert await ProviderChain([chain]).get_async(NOW) is FIRST
        assert await chain.get_async(NOW) is FIRST
        assert await chain.get_async(after(3400)) is SECOND
        assert len(threads) == 2
        with pytest.raises(CredentialsError, match="now"):
            await chain.get_async(None)  # type: ignore[arg-type]
        assert await chain.get_async(after(7200 - 3601)) is SECOND
        assert own not in threads

    asyncio.run(main())


def test_a_chain_looks_for_another_source_from_an_event_loop_too() -> None:
    # The one that is remembered has none any more, once its credentials have expired.
    gone = Refreshing(Source(credentials(60), absent("one")))
    chain = ProviderChain([gone, Source(SECOND)])

    async def main() -> None:
        assert (await chain.get_async(NOW)).access_key_id == KEY_ID
        assert await chain.get_async(after(61)) is SECOND

    asyncio.run(main())
