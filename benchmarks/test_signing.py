"""pytest-benchmark suites of Signature Version 4 and of custom authorizers' tokens: `make bench`.

The operations and the peers are those of signing.py and tokens.py, which have the ratios. A round is 10 executions.
"""

from __future__ import annotations

from typing import Any

import pytest
from contenders import Contender
from suite import cases, named, take_time, timed

EXECUTIONS, ROUNDS = 10, 10


def signatures() -> list[tuple[str, object, list[Contender]]]:
    """SigV4 and SHA-256. awscrt signs on a thread of its own, whose time this clock does not see: it is left out."""
    from signing import contests

    found: list[tuple[str, object, list[Contender]]] = []
    for row in contests()[0]:
        makers = {"iotwire": row.ours, **row.peers}
        makers.pop("awscrt", None)
        contenders = [named(who, make, row.compared) for who, make in makers.items()]
        found.append((row.name.replace(", ", "-").replace(" ", "-"), row.compared(row.ours()), contenders))
    return found


def tokens() -> list[tuple[str, object, list[Contender]]]:
    """Tokens signed, and user names made; where there is cryptography. Its bare signature is the floor of signing."""
    try:
        from tokens import signing, usernames
    except ImportError:
        return []
    rows = [(signing(bits), "floor") for bits in (2048, 4096)] + [(row, "urllib") for row in usernames()]
    return [
        (
            row.label.strip().replace(", ", "-").replace(" ", "-"),
            row.ours(),
            [named("iotwire", row.ours), named(who, row.theirs)],
        )
        for row, who in rows
    ]


@timed
@pytest.mark.parametrize(("group", "expected", "contender"), cases([*signatures(), *tokens()]))
def test_what_signing_costs(benchmark: Any, group: str, expected: object, contender: Contender) -> None:
    contender.check(expected)
    take_time(benchmark, group, contender, EXECUTIONS, rounds=ROUNDS)
