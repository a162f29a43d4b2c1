"""`iotwire sign token`: what it prints, where it reads its secrets, and that it shows none."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from iotwire.cli import main
from tokens import FOLDER, KEY_PASSWORD, SIGNATURES, openssl_verifies, pem

pytest.importorskip("cryptography")

TIME_LIMIT_S = 100

TOKEN, SIGNATURE = SIGNATURES["rsa-2048"][1]
KEY = str(FOLDER / "rsa-2048.key")
NAME, SIGNED = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"

Run = Callable[..., str]


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("IOTWIRE_SIGNING_KEY", "IOTWIRE_SIGNING_KEY_PASSWORD", "IOTWIRE_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`iotwire sign token` with arguments and variables: its output, or, where it fails, what it says."""

    def run(*arguments: str, status: int = 0, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        try:
            found = main(["sign", "token", *arguments])
        except SystemExit as usage:  # argparse leaves by it
            found = int(usage.code or 0)
        printed = capsys.readouterr()
        assert found == status, printed
        assert (printed.out if status else printed.err) == ""
        return printed.err if status else printed.out

    return run


def written(folder: Path, content: str | bytes) -> str:
    path = folder / "written"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_the_signature_is_on_one_line(run: Run) -> None:
    assert run("--key", KEY, IOTWIRE_TOKEN=TOKEN) == f"{SIGNATURE}\n"
    assert run("--key", KEY, "--form", "signature") == f"{SIGNATURE}\n"


def test_the_key_may_be_named_by_a_variable_and_an_argument_goes_before_it(run: Run) -> None:
    assert run(IOTWIRE_SIGNING_KEY=KEY, IOTWIRE_TOKEN=TOKEN) == f"{SIGNATURE}\n"
    assert run("--key", KEY, IOTWIRE_SIGNING_KEY="/nowhere", IOTWIRE_TOKEN=TOKEN) == f"{SIGNATURE}\n"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_line_end_is_no_part_of_a_token(run: Run, tmp_path: Path, end: str) -> None:
    path = written(tmp_path, TOKEN + end)
    assert run("--key", KEY, "--token-file", path, IOTWIRE_TOKEN="another") == f"{SIGNATURE}\n"


@pytest.mark.parametrize("more", [" ", "\n\n", "\r"])
def test_anything_else_is(run: Run, tmp_path: Path, more: str) -> None:
    assert run("--key", KEY, "--token-file", written(tmp_path, TOKEN + more)) != f"{SIGNATURE}\n"


def test_a_token_comes_through_the_standard_input(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TOKEN.encode() + b"\n")))
    assert run("--key", KEY, "--token-file", "-") == f"{SIGNATURE}\n"


def test_a_token_that_is_not_ascii_is_signed_as_utf_8(run: Run, tmp_path: Path) -> None:
    token, signature = SIGNATURES["rsa-2048"][2]
    assert not token.isascii()
    assert run("--key", KEY, IOTWIRE_TOKEN=token) == f"{signature}\n"
    assert run("--key", KEY, "--token-file", written(tmp_path, token)) == f"{signature}\n"


def test_the_password_of_a_key_comes_from_a_file_or_a_variable(run: Run, tmp_path: Path) -> None:
    key = str(FOLDER / "rsa-2048.encrypted.key")
    path = written(tmp_path, f"{KEY_PASSWORD}\n")
    assert run("--key", key, "--key-password-file", path, IOTWIRE_TOKEN=TOKEN) == f"{SIGNATURE}\n"
    assert run("--key", key, IOTWIRE_SIGNING_KEY_PASSWORD=KEY_PASSWORD) == f"{SIGNATURE}\n"
    said = run("--key", key, status=1, IOTWIRE_SIGNING_KEY_PASSWORD="wrong-sesame")
    assert said == "iotwire: password: does not open the private key, or the key is damaged\n"


def test_each_form_is_ready_to_be_sent(run: Run) -> None:
    about = ("--key", KEY, "--authorizer-name", "Door", "--token-key-name", "Key")
    fields = {NAME: "Door", SIGNED: SIGNATURE, "Key": TOKEN}
    query = run(*about, "--form", "query", IOTWIRE_TOKEN=TOKEN)
    assert dict(parse_qsl(query.rstrip("\n"), strict_parsing=True)) == fields
    assert run(*about, "--form", "username", "--username", "pi") == f"pi?{query}"
    assert run(*about, "--form", "username") == f"?{query}"
    assert run(*about, "--form", "headers") == "".join(f"{name}: {value}\n" for name, value in fields.items())
    assert run("--key", KEY, "--token-key-name", "Key", "--form", "headers").startswith(f"{SIGNED}: ")


def test_openssl_verifies_what_a_process_of_its_own_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "iotwire", "sign", "token", "--key", KEY, "--token-file", "-"],
        input=b"a fresh token",
        capture_output=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    raw = base64.b64decode(done.stdout.rstrip(b"\n"), validate=True)
    assert openssl_verifies(FOLDER / "rsa-2048.pem", b"a fresh token", raw, tmp_path)


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--form", "username"), "--token-key-name is needed for --form username"),
        (("--form", "headers", "--authorizer-name", "Door"), "--token-key-name is needed for --form headers"),
        (("--token-key-name", "Key"), "have no place in a signature"),
        (("--authorizer-name", "Door"), "have no place in a signature"),
        (("--form", "query", "--token-key-name", "Key", "--username", "pi"), "--username is part of --form username"),
        (("--form", "json"), "invalid choice"),
        (("--key-password-file", "-", "--token-file", "-"), "the standard input can be one of"),
    ],
)
def test_options_that_do_not_fit_are_a_usage_error(run: Run, arguments: tuple[str, ...], message: str) -> None:
    said = run("--key", KEY, *arguments, status=2, IOTWIRE_TOKEN=TOKEN)
    assert message in said
    assert "usage: iotwire sign token" in said


def test_a_kind_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["sign"])
    assert "KIND" in capsys.readouterr().err


def test_what_is_missing_is_said_with_where_to_give_it(run: Run, tmp_path: Path) -> None:
    assert run(status=1, IOTWIRE_TOKEN=TOKEN) == (
        "iotwire: --key: no private key; give its file, or name it in IOTWIRE_SIGNING_KEY\n"
    )
    assert run("--key", KEY, status=1, IOTWIRE_TOKEN="") == (
        "iotwire: --token-file: no token; give its file, or set IOTWIRE_TOKEN\n"
    )
    assert run("--key", KEY, "--token-file", written(tmp_path, "\n"), status=1) == "iotwire: token: must not be empty\n"


def test_a_file_that_cannot_be_read_is_named_with_its_option(run: Run, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    for option in ("--key", "--token-file", "--key-password-file"):
        said = run("--key", KEY, option, missing, status=1, IOTWIRE_TOKEN=TOKEN)
        assert said == f"iotwire: {option}: cannot read {missing}: No such file or directory\n"
    assert run("--key", KEY, "--token-file", str(tmp_path), status=1).startswith("iotwire: --token-file: cannot read ")
    assert "is larger than" in run("--key", KEY, "--token-file", written(tmp_path, bytes(1 << 21)), status=1)


def test_without_cryptography_one_sentence_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None; from iotwire.cli import main;"
        f"sys.exit(main(['sign', 'token', '--key', {KEY!r}, '--token-file', '-']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="t", capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "pip install iotwire[crypto]" in done.stderr


# ---- secrets

SECRET = "hunter2-s3cret"


def test_a_secret_in_an_argument_is_refused_and_not_repeated(run: Run) -> None:
    for arguments in (("--token", SECRET), (f"--token={SECRET}",), ("--token", SECRET, "--form", "query")):
        said = run("--key", KEY, *arguments, status=2)
        assert "every user of this machine can read arguments: set IOTWIRE_TOKEN" in said
        assert SECRET not in said
    for arguments in (("--key-password", SECRET), (f"--key-password={SECRET}",)):
        said = run("--key", KEY, *arguments, status=2)
        assert "set IOTWIRE_SIGNING_KEY_PASSWORD, or give --key-password-file" in said
        assert SECRET not in said
    said = run("--key", pem("rsa-2048.key").decode(), status=1, IOTWIRE_TOKEN=TOKEN)
    assert said == "iotwire: --key: the path of a file is expected, not its contents\n"


def test_a_mistake_shows_no_secret(run: Run, tmp_path: Path) -> None:
    form = ("--token-key-name", "Key", "--form", "headers")
    said = [
        run("--key", KEY, *form, status=1, IOTWIRE_TOKEN=SECRET + "é"),
        run("--key", KEY, "--token-file", written(tmp_path, SECRET.encode() + b"\xff"), status=1),
        run("--key", KEY, "--token-file", written(tmp_path, SECRET * 10_000), *form[:2], "--form", "query", status=1),
        run("--key", written(tmp_path, SECRET), status=1, IOTWIRE_TOKEN="t"),
        run("--key", KEY, status=1, IOTWIRE_SIGNING_KEY_PASSWORD=SECRET),
    ]
    for text in said:
        assert text.startswith("iotwire: ")
        assert SECRET not in text


@pytest.mark.skipif(sys.platform == "win32", reason="environment variables are bytes only where they may be no text")
def test_a_variable_that_is_no_text_is_refused(run: Run) -> None:
    assert run("--key", KEY, status=1, IOTWIRE_TOKEN=f"{SECRET}\udcff") == (
        "iotwire: IOTWIRE_TOKEN: text in UTF-8 is expected\n"
    )
