"""Keys, tokens and signatures that openssl made (tests/vectors/tokens/make.sh), for every test of authorizers."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from support import CHECKOUT

FOLDER = CHECKOUT / "tests" / "vectors" / "tokens"
KEY_PASSWORD = "open-sesame"

# By the name of the key: pairs of a token and its signature.
SIGNATURES: dict[str, list[list[str]]] = json.loads((FOLDER / "signatures.json").read_text(encoding="utf-8"))


def pem(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def openssl(*arguments: str, stdin: bytes = b"", check: bool = True) -> bytes:
    """What the openssl command prints. check: whether an exit status that is not 0 fails the test."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("the openssl command is not installed")
    return subprocess.run([program, *arguments], input=stdin, capture_output=True, timeout=60, check=check).stdout


def openssl_verifies(public_key: Path, token: bytes, signature: bytes, folder: Path) -> bool:
    """Whether `openssl dgst -sha256 -verify` takes a raw signature for a token."""
    (folder / "signature").write_bytes(signature)
    command = ["dgst", "-sha256", "-verify", str(public_key), "-signature", str(folder / "signature")]
    printed = openssl(*command, stdin=token, check=False)
    assert printed in (b"Verified OK\n", b"Verification failure\n"), printed
    return printed == b"Verified OK\n"
