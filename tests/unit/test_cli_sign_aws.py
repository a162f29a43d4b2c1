"""`iotwire sign url` and `iotwire sign request`: what they print, where they read their secrets, what they refuse."""

from __future__ import annotations

import http.client
import io
import re
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iotwire.adapters import RouteContext
from iotwire.cli import main
from iotwire.route import TlsPlan
from iotwire.sigv4 import Credentials, verify_request

HOST = "a1b2c3-ats.iot.eu-central-1.amazonaws.com"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "open-sesame"}
CREDENTIALS = Credentials("AKIDEXAMPLE", "open-sesame")
TEMPORARY = Credentials("AKIDEXAMPLE", "open-sesame", "to/ken+")

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("AWS_", "IOTWIRE_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`iotwire sign` with arguments and variables: its output, or, where it fails, what it says."""

    def run(*arguments: str, status: int = 0, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            found = main(["sign", *arguments])
        except SystemExit as usage:  # argparse leaves by it
            found = int(usage.code or 0)
        printed = capsys.readouterr()
        assert found == status, printed
        assert (printed.out if status else printed.err) == ""
        return printed.err if status else printed.out

    return run


def headers_of(printed: str) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (line.partition(": ") for line in printed.splitlines())]


# ---- url


@pytest.mark.parametrize("credentials", [CREDENTIALS, TEMPORARY])
def test_a_url_counts_for_the_service(run: Run, credentials: Credentials) -> None:
    token = {"AWS_SESSION_TOKEN": credentials.session_token} if credentials.session_token else {}
    url = run("url", HOST, "--expires", "600", **KEYS, **token).rstrip("\n")
    assert url.startswith(f"wss://{HOST}/mqtt?X-Amz-Algorithm=AWS4-HMAC-SHA256&")
    found = verify_request(
        "GET",
        url.removeprefix(f"wss://{HOST}"),
        {"Host": HOST},
        b"",
        {credentials.access_key_id: credentials}.get,
        now=datetime.now(UTC),
        region="eu-central-1",
        service="iotdevicegateway",
        sign_session_token=False,
    )
    assert (found.presigned, found.expires_s) == (True, 600)


def test_the_host_may_be_named_by_a_variable_and_the_region_by_an_option_or_one(run: Run) -> None:
    for arguments, variables, region in (
        ((), {"AWS_DEFAULT_REGION": "us-west-1"}, "us-west-1"),
        ((), {"AWS_REGION": "us-west-2"}, "us-west-2"),
        (("--region", "us-east-2"), {}, "us-east-2"),
    ):
        url = run("url", *arguments, IOTWIRE_ENDPOINT="iot.example.com", **KEYS, **variables)
        assert f"%2F{region}%2Fiotdevicegateway%2F" in url


def test_credentials_come_from_a_profile(run: Run, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[pump]\naws_access_key_id = AKIDPUMP\naws_secret_access_key = open-sesame\n")
    assert "X-Amz-Credential=AKIDPUMP%2F" in run("url", HOST, "--profile", "pump", **KEYS)


# ---- request


def test_headers_sign_a_request(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"21.5\n")))
    url = f"https://{HOST}/topics/a%2Fb?qos=1"
    signed = run("request", url, "--body-file", "-", "-H", "Content-Type: text/plain", **KEYS)
    headers = [("Host", HOST), ("Content-Type", "text/plain"), *headers_of(signed)]
    found = verify_request(
        "POST",
        url.removeprefix(f"https://{HOST}"),
        headers,
        b"21.5\n",
        {"AKIDEXAMPLE": CREDENTIALS}.get,
        now=datetime.now(UTC),
        region="eu-central-1",
        service="iotdata",
    )
    assert found.signed_headers == ("content-type", "host", "x-amz-date")


def test_any_service_can_be_signed_for(run: Run) -> None:
    url = "https://sts.example.com/?Action=GetCallerIdentity"
    signed = run("request", url, "-X", "GET", "--service", "sts", "--region", "us-east-1", **KEYS)
    found = verify_request(
        "GET",
        "/?Action=GetCallerIdentity",
        [("Host", "sts.example.com"), *headers_of(signed)],
        b"",
        {"AKIDEXAMPLE": CREDENTIALS}.get,
        now=datetime.now(UTC),
        region="us-east-1",
        service="sts",
    )
    assert not found.presigned


def test_a_request_by_another_http_client_is_taken_by_the_emulator(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="the emulator makes its certificates with the package cryptography")
    from running_emulator import a_running_emulator

    with a_running_emulator() as emulator:
        credentials = emulator.credentials[0]
        (tmp_path / "body").write_bytes(b"21.5")
        signed = run(
            "request",
            f"https://{emulator.host}/topics/a%2Fb?qos=1",
            "--body-file",
            str(tmp_path / "body"),
            "--region",
            emulator.region,
            "--service",
            "iotdata",
            AWS_ACCESS_KEY_ID=credentials.access_key_id,
            AWS_SECRET_ACCESS_KEY=credentials.secret_access_key,
        )
        context: ssl.SSLContext = RouteContext(TlsPlan(emulator.host, ca=emulator.device.ca))
        for body, status in ((b"21.5", 200), (b"21.6", 403)):
            connection = http.client.HTTPSConnection(emulator.addresses[0], emulator.ports[443], context=context)
            headers = {"Host": emulator.host, **dict(headers_of(signed))}
            connection.request("POST", "/topics/a%2Fb?qos=1", body, headers)
            assert connection.getresponse().status == status
            connection.close()


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("url",), 2, "no host"),
        (("url", HOST, "--expires", "0"), 2, "from 1 to 604800"),
        (("url", HOST, "--region", "eu central"), 2, "the name of a region"),
        (("url", "iot.example.com"), 1, "--region: a signature needs the region"),
        (("url", HOST, "--thing-name", "pump"), 1, "--role-alias"),
        (("url", HOST, "--role-alias", "door"), 1, "--credentials-endpoint, --cert and --key"),
        (("request", "http://a.test/"), 1, "URL: one with https://"),
        (("request", "https://[::1/"), 1, "URL: one with https://"),
        (("request", "https://a.test/", "--region", "eu-central-1"), 1, "--service"),
        (("request", f"https://{HOST}/", "-H", "nothing"), 2, "a header such as"),
        (("request", f"https://{HOST}/", "--body-file", "/nowhere"), 1, "--body-file: cannot read /nowhere"),
        (("request", f"https://{HOST}/", "--body-file", "-", "--key-password-file", "-"), 2, "can be one thing"),
    ],
)
def test_what_cannot_be_signed_is_one_sentence(run: Run, arguments: tuple[str, ...], status: int, message: str) -> None:
    assert message in run(*arguments, status=status, **KEYS)


def test_without_credentials_it_says_where_it_looked(run: Run) -> None:
    said = run("url", HOST, status=1)
    assert re.search("environment: .* not set", said)
    assert said.count("\n") == 1


@pytest.mark.parametrize("kind", ["url", "request"])
@pytest.mark.parametrize("option", ["--secret-access-key", "--session-token", "--access-key-id"])
def test_credentials_among_the_arguments_are_refused(run: Run, kind: str, option: str) -> None:
    said = run(kind, f"https://{HOST}/", option, "open-sesame-2", status=2)
    assert f"set AWS_{option[2:].replace('-', '_').upper()}" in said
    assert "open-sesame-2" not in said
