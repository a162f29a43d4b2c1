"""Signature Version 4 against botocore and awscrt, and SHA-256 against OpenSSL's: `make bench-signing`.

All take turns in one process; a ratio is the median over the rounds of a peer's time divided by ours within a round. A
peer is given what it can keep: its credentials, its provider and its signer are made beforehand, as ours are. Before
anything is timed, all have to agree on the signature.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from timing import Spread, compile_loop, interleave

from iotwire import _cpu
from iotwire._sigv4 import sha256
from iotwire.sigv4 import Credentials, Signer, presign_mqtt_url

KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//" + "aB3+/x9Z" * 90  # as long as those of the IoT credentials provider
HOST = "a3qjexampleffp-ats.iot.us-west-2.amazonaws.com"
REGION = "us-west-2"
NOW = dt.datetime(2024, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
URL = f"https://{HOST}/topics/sensors%2Froom1%2Ftemperature?qos=1"
HEADERS = {"Host": HOST, "Content-Type": "application/octet-stream"}
BODY = bytes(range(256))
MEGABYTE = bytes(range(256)) * 4096

SIGNATURE = re.compile(r"Signature=([0-9a-f]{64})")


def signature_of(text: str) -> str:
    """The one signature in a URL or a header."""
    (found,) = SIGNATURE.findall(text)
    return str(found)


@dataclass
class Contest:
    """One operation: ours, the peers' with the ratio that is wanted, and how to see that all make the same."""

    name: str
    ours: Callable[[], Any]
    peers: dict[str, Callable[[], Any]] = field(default_factory=dict)
    targets: dict[str, float] = field(default_factory=dict)
    compared: Callable[[Any], Any] = lambda made: made
    unroll: int = 10

    def check(self) -> None:
        """Raise where a peer makes something else."""
        wanted = self.compared(self.ours())
        for who, make in self.peers.items():
            if self.compared(make()) != wanted:
                raise AssertionError(f"{self.name}: {who} does not make what we make")


def botocore_signers(token: str | None) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """To presign a WebSocket's URL, the token appended as AWS IoT wants it, and to sign the headers of a publish."""
    import botocore.auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as TheirCredentials
    from botocore.session import get_session  # noqa: F401  # loads what a program that uses botocore has loaded

    botocore.auth.get_current_datetime = lambda *_, **__: NOW.replace(tzinfo=None)
    presigner = botocore.auth.SigV4QueryAuth(TheirCredentials(KEY_ID, SECRET), "iotdevicegateway", REGION, 86400)
    signer = botocore.auth.SigV4Auth(TheirCredentials(KEY_ID, SECRET, token), "iotdata", REGION)
    from urllib.parse import quote

    def presign() -> str:
        request = AWSRequest("GET", f"wss://{HOST}/mqtt")
        presigner.add_auth(request)
        return request.url if token is None else f"{request.url}&X-Amz-Security-Token={quote(token, safe='')}"

    def sign() -> str:
        request = AWSRequest("POST", URL, HEADERS, BODY)
        signer.add_auth(request)
        return str(request.headers["Authorization"])

    return presign, sign


def awscrt_presigner(token: str | None) -> Callable[[], Any]:
    """As awsiotsdk presigns a WebSocket's URL, awaited."""
    from awscrt import auth, http

    provider = auth.AwsCredentialsProvider.new_static(KEY_ID, SECRET, token)

    def presign() -> str:
        request = http.HttpRequest("GET", "/mqtt", http.HttpHeaders([("Host", HOST)]))
        config = auth.AwsSigningConfig(
            algorithm=auth.AwsSigningAlgorithm.V4,
            signature_type=auth.AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
            credentials_provider=provider,
            region=REGION,
            service="iotdevicegateway",
            date=NOW,
            omit_session_token=True,
            expiration_in_seconds=86400,
        )
        return str(auth.aws_sign_request(request, config).result(10).path)

    return presign


def contests() -> tuple[list[Contest], list[str]]:
    """All operations, and what is said of peers that are not here."""
    absent: list[str] = []
    rows: list[Contest] = []
    for name, token in (("", None), (", session token", TOKEN)):
        who = Credentials(KEY_ID, SECRET, token)
        signer = Signer(REGION, "iotdata")
        presign = Contest(
            f"presign_mqtt_url{name}",
            lambda who=who: presign_mqtt_url(HOST, REGION, who, now=NOW),
            targets={"awscrt": 10, "botocore": 50},
            compared=signature_of,
        )
        sign = Contest(
            f"sign_headers, 256 B{name}",
            lambda who=who, signer=signer: signer.sign_headers("POST", URL, HEADERS, BODY, who, now=NOW),
            targets={"botocore": 20},
            compared=lambda made: signature_of(made["Authorization"] if isinstance(made, dict) else made),
        )
        try:
            presign.peers["botocore"], sign.peers["botocore"] = botocore_signers(token)
        except ImportError:
            absent.append("botocore is not installed")
        try:
            presign.peers["awscrt"] = awscrt_presigner(token)
        except ImportError:
            absent.append("awscrt is not installed")
        rows += [presign, sign]
    has_instructions = bool(_cpu.available() & {"sha_ni", "sha2"})
    rows.append(
        Contest(
            "SHA-256 of 1 MB",
            lambda: sha256(MEGABYTE),
            {"OpenSSL": lambda: hashlib.sha256(MEGABYTE).digest()},
            {"OpenSSL": 0.9} if has_instructions else {},
            unroll=1,
        )
    )
    return rows, sorted(set(absent))


def main(arguments: list[str] | None = None) -> int:
    """Measure, print; 1 where a target is missed and --check was given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60, help="turns each contender takes (default: 60)")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    options = parser.parse_args(arguments)

    rows, absent = contests()
    for line in absent:
        print(line)
    print("us: for one call of ours, the median; x: a peer's time divided by ours, the median within a round")
    print(f"{'operation':<38}{'us':>9}{'  against':<12}{'x':>8}{'wanted':>9}")
    missed = 0
    figures: dict[str, Any] = {}
    for row in rows:
        row.check()
        makers = [row.ours, *row.peers.values()]
        loops = [compile_loop("make()", {"make": make}, row.unroll) for make in makers]
        ours, *theirs = interleave(loops, options.rounds)
        figures[row.name] = {"us": Spread.of(ours).median / 1000}
        for who, times in zip(row.peers, theirs, strict=True):
            ratio = Spread.of([their / our for their, our in zip(times, ours, strict=True)])
            wanted = row.targets.get(who)
            short = wanted is not None and ratio.median < wanted
            missed += short
            figures[row.name][who] = ratio._asdict()
            print(
                f"{row.name:<38}{Spread.of(ours).median / 1000:>9.2f}  {who:<10}{ratio.median:>8.2f}"
                f"{f'{wanted:g}' if wanted is not None else '-':>9}{'  BELOW' if short else ''}"
            )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
