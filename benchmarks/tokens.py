"""What an authorizer's token costs: `make bench-tokens`, or `python benchmarks/tokens.py`.

Signing against cryptography's bare signature with base64, which is what it is made of; user names against the same by
`urllib.parse.quote`. All in turns in one process. The exit status is not 0 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cryptography
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from timing import Spread, compile_loop, interleave

from iotwire.custom_auth import CustomAuth, TokenSigner

KEYS = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "tokens"
# The size of a small JWT: what is signed of it, in characters that need no encoding but the dot's neighbours.
TOKEN = f"eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.{'eyJzdWIiOiJnYXRld2F5LTcifQ' * 5}"
NAME, SIGNED = "x-amz-customauthorizer-name", "x-amz-customauthorizer-signature"


@dataclass(frozen=True)
class Row:
    """One thing done both ways. target: how many times as long as we the other way has to take."""

    label: str
    ours: Callable[[], str]
    theirs: Callable[[], str]
    target: float | None

    def measure(self, rounds: int) -> dict[str, Any]:
        if self.ours() != self.theirs():
            raise AssertionError(f"{self.label}: not the same text")
        loops = [compile_loop("call()", {"call": call}, unroll=2) for call in (self.ours, self.theirs)]
        ours, theirs = interleave(loops, rounds)
        ratio = Spread.of([b / a for a, b in zip(ours, theirs, strict=True)])
        return {
            "operation": self.label,
            "ns": Spread.of(ours)._asdict(),
            "their_ns": Spread.of(theirs)._asdict(),
            "times": ratio._asdict(),
            "target": self.target,
            "reached": None if self.target is None else ratio.median >= self.target,
        }


def signing(bits: int) -> Row:
    """A token signed, in base64."""
    pem = (KEYS / f"rsa-{bits}.key").read_bytes()
    signer, key = TokenSigner(pem), load_pem_private_key(pem, None)
    assert isinstance(key, RSAPrivateKey)
    token, padding, digest = TOKEN.encode(), PKCS1v15(), SHA256()
    return Row(
        f"sign, {bits} bits",
        lambda: signer.sign(token),
        lambda: b64encode(key.sign(token, padding, digest)).decode(),
        1 / 1.05,
    )


def quoted_username(token: str, signature: str) -> str:
    """The user name as one writes it without us."""
    return (
        f"pi?{NAME}={quote('Door', safe='')}&{SIGNED}={quote(signature, safe='')}"
        f"&{quote('TokenKey', safe='')}={quote(token, safe='')}"
    )


def usernames() -> list[Row]:
    """User names of a token that stays, and of one that is another each time."""
    signature = TokenSigner((KEYS / "rsa-2048.key").read_bytes()).sign(TOKEN)
    pair = TOKEN, signature
    constant = CustomAuth("Door", token_key_name="TokenKey", token=TOKEN, token_signature=signature, username="pi")
    fresh = CustomAuth("Door", token_key_name="TokenKey", token=lambda: pair, username="pi")
    head, middle = f"pi?{NAME}=Door&{SIGNED}=", "&TokenKey="

    def supplied() -> tuple[str, str]:
        return pair

    def with_constants_kept() -> str:
        token, signature = supplied()
        return f"{head}{quote(signature, safe='')}{middle}{quote(token, safe='')}"

    return [
        Row("mqtt_username, the same token", constant.mqtt_username, lambda: quoted_username(*pair), 5),
        Row("mqtt_username, a fresh token", fresh.mqtt_username, lambda: quoted_username(*supplied()), 5),
        Row("  against quote of what changes alone", fresh.mqtt_username, with_constants_kept, None),
        Row("query, a fresh token", fresh.query, lambda: quoted_username(*supplied())[3:], 5),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="turns each way takes (default: 100)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    options = parser.parse_args(arguments)

    rows = [signing(2048), signing(3072), signing(4096), *usernames()]
    print(f"cryptography {cryptography.__version__}, Python {sys.version.split()[0]}; {options.rounds} rounds")
    print("x: what the other way takes, divided by what we take: the median over the rounds")
    print(f"{'operation':40} {'ns':>10} {'theirs':>10} {'x':>8}  target")
    lines = []
    for row in rows:
        line = row.measure(options.rounds)
        lines.append(line)
        target = "" if row.target is None else f"{row.target:.2f} {'reached' if line['reached'] else 'MISSED'}"
        cells = f"{line['ns']['median']:10.0f} {line['their_ns']['median']:10.0f} {line['times']['median']:8.3f}"
        print(f"{row.label:40} {cells}  {target}".rstrip())
    if options.json:
        options.json.write_text(json.dumps(lines, indent=1) + "\n")
    return 0 if all(line["reached"] is not False for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
