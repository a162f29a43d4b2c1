"""`iotwire emulator --broker`: what its URL says, and where its password may and may not stand."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from iotwire import CredentialsError, RouteError
from iotwire.cli import main
from iotwire.cli.brokers import BrokerUrl, add_broker_arguments, broker_url, make_broker

SECRET = "sesame-1"


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("mqtt://broker.test", BrokerUrl("broker.test", 1883, False, None), "mqtt://broker.test:1883"),
        ("mqtts://broker.test", BrokerUrl("broker.test", 8883, True, None), "mqtts://broker.test:8883"),
        ("mqtt://bench@broker.test:1884", BrokerUrl("broker.test", 1884, False, "bench"), "mqtt://broker.test:1884"),
        ("mqtt://a%40b%3Ac@10.0.0.1/", BrokerUrl("10.0.0.1", 1883, False, "a@b:c"), "mqtt://10.0.0.1:1883"),
        ("mqtts://[::1]:8884", BrokerUrl("::1", 8884, True, None), "mqtts://[::1]:8884"),
        ("mqtt://@broker.test", BrokerUrl("broker.test", 1883, False, None), "mqtt://broker.test:1883"),
    ],
)
def test_a_url_says_where_the_broker_is(text: str, expected: BrokerUrl, shown: str) -> None:
    found = broker_url(text)
    assert found == expected
    assert str(found) == shown


@pytest.mark.parametrize(
    "text", ["", "broker.test", "http://broker.test", "mqtt://", "mqtt://h:0", "mqtt://h:70000", "mqtt://h/topic"]
)
def test_what_is_no_url_of_a_broker_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="mqtt://HOST:PORT or mqtts://HOST:PORT is expected"):
        broker_url(text)


@pytest.mark.parametrize(
    "text",
    [f"mqtt://u:{SECRET}@h", f"mqtts://u:{SECRET}@h:1", f"mqtt://u?token={SECRET}@h", f"http://u:{SECRET}@h"],
)
def test_a_password_in_a_url_is_refused_and_not_repeated(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["emulator", "--broker", text])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "every user of this machine can read arguments: set IOTWIRE_BROKER_PASSWORD" in told
    assert SECRET not in told


def test_nor_is_one_in_an_option_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["emulator", "--broker", "mqtt://u@h", "--broker-password", SECRET])
    told = capsys.readouterr().err
    assert "every user of this machine can read arguments: set IOTWIRE_BROKER_PASSWORD" in told
    assert SECRET not in told


def read(*arguments: str) -> Any:
    parser = argparse.ArgumentParser()
    add_broker_arguments(parser)
    return make_broker(parser.parse_args(arguments))


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IOTWIRE_BROKER_PASSWORD", raising=False)


def test_the_password_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    now = datetime.now(UTC)
    attempt = read("--broker", "mqtt://bench@broker.test", "--broker-password-file", str(file)).prepare(now)
    assert (attempt.host, attempt.port, attempt.tls) == ("broker.test", 1883, None)
    assert (attempt.username, attempt.password) == ("bench", SECRET.encode())
    monkeypatch.setenv("IOTWIRE_BROKER_PASSWORD", "sesame-2")
    broker = read("--broker", "mqtt://bench@broker.test")
    assert broker.prepare(now).password == b"sesame-2"
    assert "sesame" not in repr(broker)
    assert read() is None  # the variable alone means no broker


def test_tls_has_the_authority_that_is_given() -> None:
    attempt = read("--broker", "mqtts://broker.test", "--broker-ca", "ca.pem").prepare(datetime.now(UTC))
    assert (attempt.tls.server_name, attempt.tls.ca) == ("broker.test", "ca.pem")
    assert read("--broker", "mqtts://broker.test").prepare(datetime.now(UTC)).tls.ca is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--broker-ca", "ca.pem"], "--broker-ca: belongs to --broker"),
        (["--broker-password-file", "x"], "--broker-password-file: belongs to --broker"),
        (["--broker", "mqtt://h", "--broker-ca", "ca.pem"], "--broker-ca: is for a broker with TLS"),
    ],
)
def test_options_that_would_have_no_use_are_refused(arguments: list[str], told: str) -> None:
    with pytest.raises(RouteError, match=told):
        read(*arguments)


def test_a_password_needs_a_user_name_and_its_file_to_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CredentialsError, match="--broker-password-file: cannot read"):
        read("--broker", "mqtt://u@h", "--broker-password-file", str(tmp_path / "none"))
    monkeypatch.setenv("IOTWIRE_BROKER_PASSWORD", SECRET)
    with pytest.raises(RouteError, match="no user name") as caught:
        read("--broker", "mqtt://h")
    assert SECRET not in str(caught.value)
