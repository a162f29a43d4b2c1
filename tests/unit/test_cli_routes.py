"""`iotwire routes`: the matrix, and what is open from here."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iotwire import ROUTES
from iotwire.cli import main
from iotwire.emulator import Emulator
from running_emulator import AUTHORIZER, SIGNING_KEY, TOKEN_KEY_NAME, a_running_emulator, environment_of

pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")

HOST = "a1b2c3-ats.iot.eu-central-1.amazonaws.com"

Run = Callable[..., str]


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with a_running_emulator() as running:
        yield running


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    for name in list(os.environ):
        if name.startswith(("AWS_", "IOTWIRE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def run(*arguments: str, status: int = 0, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert main(["routes", *arguments]) == status
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return run


def open_rows(printed: str) -> list[int]:
    rows = [json.loads(line) for line in printed.splitlines()]
    assert [row["number"] for row in rows] == list(range(1, 10))
    return [row["number"] for row in rows if row["is_open"]]


def test_the_matrix_is_a_table(run: Run) -> None:
    lines = run().splitlines()
    assert lines[0] == "AWS IoT Core"
    assert [line.split()[0] for line in lines[3:]] == [str(row.number) for row in ROUTES]
    for row, line in zip(ROUTES, lines[3:], strict=True):
        assert str(row.port) in line
        assert (row.alpn or "none") in line
    assert "open" not in " ".join(lines)


def test_the_matrix_as_json(run: Run) -> None:
    rows = [json.loads(line) for line in run("--format", "json").splitlines()]
    assert rows[1] == {
        "number": 2,
        "protocol": "mqtt",
        "authentication": "x509",
        "port": 443,
        "alpn": "x-amzn-mqtt-ca",
        "operations": ["publish", "subscribe"],
    }


def test_nothing_is_open_without_a_proof_and_it_says_what_is_missing(run: Run) -> None:
    printed = " ".join(run(HOST, status=1).split())
    assert "region eu-central-1" in printed
    assert "rows 1, 2, 7, 8: no certificate is given: --cert, --key" in printed
    assert "rows 3, 5, 9: no authorizer is named" in printed
    assert "rows 4, 6: there are no credentials: environment: AWS_ACCESS_KEY_ID is not set" in printed


def test_what_is_given_opens_its_rows(run: Run, emulator: Emulator) -> None:
    credentials = emulator.credentials[0]
    certificate = environment_of(emulator)
    keys = {
        "AWS_ACCESS_KEY_ID": credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": credentials.secret_access_key,
    }
    custom = {
        "IOTWIRE_AUTHORIZER": AUTHORIZER,
        "IOTWIRE_TOKEN_KEY_NAME": TOKEN_KEY_NAME,
        "IOTWIRE_TOKEN": "sesame-1",
        "IOTWIRE_SIGNING_KEY": str(SIGNING_KEY),
    }
    json_of = ("--format", "json")
    assert open_rows(run(*json_of, **certificate)) == [1, 2, 7, 8]
    assert open_rows(run(*json_of, **keys)) == [1, 2, 7, 8]  # a signature needs a region
    assert open_rows(run(*json_of, AWS_REGION=emulator.region)) == [1, 2, 4, 6, 7, 8]
    printed = run(*json_of, **custom)
    assert open_rows(printed) == list(range(1, 10))
    assert "sesame-1" not in printed
    assert credentials.secret_access_key not in printed
    assert f"127.0.0.1:{emulator.ports[8443]}" in run()


def test_a_key_that_is_wrong_closes_its_rows(run: Run, emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("nothing of the kind")
    printed = run(status=1, **environment_of(emulator) | {"IOTWIRE_KEY": str(tmp_path / "key")})
    assert "cannot use the certificate" in " ".join(printed.split())


def test_a_host_that_is_given_twice_is_a_usage_error(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_of:
        main(["routes", HOST, "-h", HOST])
    assert exit_of.value.code == 2
    assert "given twice" in capsys.readouterr().err
