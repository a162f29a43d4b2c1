"""A fuzzer of Signature Version 4 that needs nothing but Python: `python tests/fuzz/fuzz_sigv4.py --seconds 60`.

It makes requests of odd morsels, and holds both sides to what must be true of any of them:

- nothing but an IotwireError leaves them;
- the canonical request is what a plain model of the rules, below, makes of it;
- what is signed verifies, in headers and presigned, and says who signed it;
- a request that was changed and is accepted all the same says the same as before.

A run is told by its seed: input number N of seed S is the same wherever it is run. A failure prints how to see it
again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import random
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fuzz import frame
from fuzz.frame import BrokenError
from iotwire.errors import EncodeError, SignatureError
from iotwire.sigv4 import UNSIGNED_HEADERS, Credentials, Signer, canonical_request, verify_request

if TYPE_CHECKING:
    from collections.abc import Iterable

NOW = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
CREDENTIALS = [Credentials("AKIDEXAMPLE", "s" * 40), Credentials("ASIAEXAMPLE", "t" * 40, "to/ken+" * 9 + "==")]

# What paths, queries and headers are made of, and what has meant trouble in some signer.
LETTERS = ("a", "b", "Z", "0", "-", "_", "~", ".", "..", "%2F", "%2f", "%C3%BC", "%41", "%7E", "%20", "ü", "𝄞", " ")
PATH_MORSELS = (
    *LETTERS,
    "/",
    "/",
    "//",
    "/./",
    "/../",
    "%",
    "%2",
    "%zz",
    "+",
    ":",
    "@",
    "*",
    "'",
    "!",
    "$",
    "=",
    "&",
    ";",
)
QUERY_MORSELS = (
    *LETTERS,
    "&",
    "&",
    "=",
    "=",
    "&&",
    "+",
    "/",
    "?",
    "*",
    "'",
    "%",
    "%2",
    "%26",
    "%3D",
    ";",
    ",",
    "X-Amz-A",
)
NAME_MORSELS = ("a", "B", "-", "x-amz-", "X-Amz-Meta", "content-type", "1", "_", "Connection", "User-Agent")
VALUE_MORSELS = ("a", "b", " ", "  ", "\t", ",", ";", ":", "=", '"', "ü", "\n ", "\r\n\t", "1", "/")
HOSTILE = (
    "\0",
    "\n",
    "\r",
    "\x7f",
    "#",
    "\ud800",
    "X-Amz-Date=",
    "X-Amz-Signature",
    "AWS4-HMAC-SHA256",
    "%00",
    ":",
    "@",
)


@dataclass
class Tally:
    """What a run has seen."""

    inputs: int = 0
    signed: int = 0
    refused: int = 0
    changed: int = 0

    def __str__(self) -> str:
        return f"{self.inputs} inputs, {self.signed} signed, {self.refused} refused, {self.changed} found changed"


def some(chance: random.Random, morsels: tuple[str, ...], most: int) -> str:
    return "".join(chance.choices(morsels, k=chance.randrange(most + 1)))


@dataclass
class Input:
    """A request to sign, and how."""

    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes
    double: bool
    normalize: bool

    @classmethod
    def make(cls, chance: random.Random) -> Input:
        names = [some(chance, NAME_MORSELS, 3) or "n" for _ in range(chance.choice((0, 1, 2, 3, 5, 14)))]
        made = cls(
            "/" + some(chance, PATH_MORSELS, 10),
            some(chance, QUERY_MORSELS, chance.choice((0, 4, 12, 60))),
            [(name, some(chance, VALUE_MORSELS, 8) + "." * chance.randrange(2)) for name in names],
            chance.randbytes(chance.choice((0, 1, 63, 64, 200))),
            chance.random() < 0.7,
            chance.random() < 0.7,
        )
        if chance.random() < 0.1:
            made.path += chance.choice(HOSTILE)
        if chance.random() < 0.1:
            made.query += chance.choice(HOSTILE)
        if chance.random() < 0.1 and made.headers:
            name, value = made.headers.pop()
            made.headers.append((name, value + chance.choice(HOSTILE) + "x"))
        return made

    @property
    def url(self) -> str:
        return f"https://iot.example{self.path}" + (f"?{self.query}" if self.query else "")


# The rules, as plainly as Python can say them.


def model_of_path(path: str, *, double: bool, normalize: bool) -> str:
    if normalize:
        kept: list[str] = []
        for segment in path.split("/"):
            if segment == "..":
                kept = kept[:-1]
            elif segment not in ("", "."):
                kept.append(segment)
        path = "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
    return quote(path, safe="/-._~") if double else path


def model_of_query(query: str) -> str:
    pairs = [pair.partition("=")[::2] for pair in query.split("&") if pair]
    encoded = [tuple(quote(unquote_to_bytes(part), safe="-._~") for part in pair) for pair in pairs]
    return "&".join(f"{name}={value}" for name, value in sorted(encoded) if name != "X-Amz-Signature")


def model_of(request: Input) -> str:
    values: dict[str, list[str]] = {"host": ["iot.example"]} if "host" not in dict(request.headers) else {}
    for name, value in request.headers:
        if name.lower() not in UNSIGNED_HEADERS:
            values.setdefault(name.lower(), []).append(" ".join(re.split("[ \t\r\n]+", value.strip(" \t\r\n"))))
    return "\n".join(
        [
            "POST",
            model_of_path(request.path, double=request.double, normalize=request.normalize),
            model_of_query(request.query),
            *(f"{name}:{','.join(values[name])}" for name in sorted(values)),
            "",
            ";".join(sorted(values)),
            hashlib.sha256(request.body).hexdigest(),
        ]
    )


# What must be true.


def check(request: Input, chance: random.Random, tally: Tally) -> None:
    tally.inputs += 1
    who = chance.choice(CREDENTIALS)
    signer = Signer("us-west-2", "iotdata", double_encode_path=request.double, normalize_path=request.normalize)
    try:
        canonical = canonical_request(
            "POST",
            request.url,
            request.headers,
            request.body,
            double_encode_path=request.double,
            normalize_path=request.normalize,
        )
        added = signer.sign_headers("POST", request.url, request.headers, request.body, who, now=NOW)
        url = signer.presign_url(
            "POST",
            request.url,
            who,
            now=NOW,
            expires=60,
            headers=request.headers,
            body=request.body,
            sign_session_token=chance.random() < 0.5,
        )
    except EncodeError:
        tally.refused += 1
        return
    if canonical != model_of(request):
        raise BrokenError(f"canonical:\n{canonical}\nmodel:\n{model_of(request)}")
    tally.signed += 1
    sent = [("Host", "iot.example"), *request.headers]
    check_verified(
        request, request.url.removeprefix("https://iot.example"), [*sent, *added.items()], who, chance, tally
    )
    check_verified(request, url.removeprefix("https://iot.example"), sent, who, chance, tally)


def check_verified(
    request: Input, target: str, headers: list[tuple[str, str]], who: Credentials, chance: random.Random, tally: Tally
) -> None:
    def verify(target: str, headers: list[tuple[str, str]], body: bytes) -> object:
        return verify_request(
            "POST",
            target,
            headers,
            body,
            {one.access_key_id: one for one in CREDENTIALS}.get,
            now=NOW,
            double_encode_path=request.double,
            normalize_path=request.normalize,
        )

    try:
        right = verify(target, headers, request.body)
    except SignatureError as error:
        # What a server must not believe, though a signer need not mind it.
        if error.check == "malformed" or (error.check == "signed_headers" and "x-amz-" in str(error)):
            return
        raise
    if getattr(right, "access_key_id", None) != who.access_key_id:
        raise BrokenError(f"signed by {who}, verified as {right}")
    changed_headers, body = list(headers), request.body
    kind = chance.randrange(4)
    if kind == 0 and body:
        at = chance.randrange(len(body))
        body = body[:at] + bytes([body[at] ^ 1 << chance.randrange(8)]) + body[at + 1 :]
    elif kind == 1:
        number = chance.randrange(len(headers))
        name, value = headers[number]
        at = chance.randrange(len(value) + 1)
        changed_headers[number] = (name, value[:at] + chance.choice(VALUE_MORSELS + HOSTILE) + value[at:])
    elif kind == 2:
        changed_headers.insert(chance.randrange(len(headers) + 1), chance.choice(headers))
    else:
        at = chance.randrange(len(target) + 1)
        target = target[:at] + chance.choice(QUERY_MORSELS + HOSTILE) + target[at + chance.randrange(3) :]
    try:
        other = verify(target, changed_headers, body)
    except SignatureError:
        tally.changed += 1
        return
    if other != right or body != request.body:
        raise BrokenError(f"changed to {target!r} and {changed_headers!r}, and believed")


def run(seed: int, numbers: Iterable[int]) -> Tally:
    """Try the inputs of these numbers. A failure is printed and raised."""
    tally = Tally()
    frame.run_inputs(seed, numbers, Input.make, lambda request, chance: check(request, chance, tally), repr)
    return tally


if __name__ == "__main__":
    sys.exit(frame.main("Fuzz Signature Version 4.", lambda _: [], lambda _, seed, numbers: run(seed, numbers)))
