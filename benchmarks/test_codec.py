"""pytest-benchmark suites of PUBLISH, streams and PUBACK: `make bench`. One group for each operation, everybody in it.

An execution is one packet, and there are 1000 in a round; a stream is decoded once a round, so there the microseconds
are those of 200 packets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from comparisons import Comparison, Comparisons
from contenders import Contender, Read
from floor import Floor, load_floor
from inputs import CONTENT_TYPE, USER_PROPERTIES, Message, stream_of
from ours import Iotwire
from peers import installed_peers
from suite import cases, present, take_time, timed

OURS, FLOOR = Iotwire(), load_floor()
COMPARISONS = list(Comparisons(OURS, installed_peers()[0], FLOOR).main())
CASES = [
    pytest.param(comparison, contender, id=f"{comparison.name}-{contender.who}-{number}")
    for comparison in COMPARISONS
    for number, contender in enumerate(comparison.contenders())
]
PAYLOADS = {"0B": 0, "16B": 16, "256B": 256, "4KiB": 4096, "32KiB": 32768, "128KiB": 131_072}
PIECES = (1, 7, 61, 1021, 1448, 16_381)  # bytes that arrive at once: no packet ends where one of them does


def _messages() -> list[tuple[str, Message]]:
    """PUBLISH packets by name: every size of payload, in both versions, with properties where there are any."""
    found = []
    for name, size in PAYLOADS.items():
        payload = (bytes(range(256)) * (size // 256 + 1))[:size]
        found.append((f"v4-{name}", Message(payload=payload, version=4)))
        found.append((f"v5-{name}", Message(payload=payload)))
        described = Message(payload=payload, content_type=CONTENT_TYPE, user_properties=USER_PROPERTIES)
        found.append((f"v5-{name}-properties", described))
    return found


def _encoders(message: Message) -> list[Contender]:
    floor = present(FLOOR.copy(message.wire)) if isinstance(FLOOR, Floor) else []
    return [OURS.encode_positional(message), OURS.encode_prepared(message), *floor]


def _decoders(message: Message) -> list[Contender]:
    contenders = [OURS.decode(message, Read.NOTHING)]
    if isinstance(FLOOR, Floor):
        floor = FLOOR.publishes([message])
        contenders.append(replace(floor, outcome=lambda packets: floor.outcome(packets)[0]))
    return contenders


def _in_pieces(messages: list[Message], size: int) -> list[Contender]:
    floor = present(FLOOR.publishes(messages)) if isinstance(FLOOR, Floor) else []
    return [OURS.decode_pieces(messages, size), *floor]


PAYLOAD_CASES = cases(
    group
    for name, message in _messages()
    for group in (
        (f"encode-{name}", message.wire, _encoders(message)),
        (f"decode-{name}", message.fields, _decoders(message)),
    )
)
PIECES_CASES = cases(
    (f"stream-v{version}-in-{size}B", [message.fields for message in messages], _in_pieces(messages, size))
    for version in (4, 5)
    for messages in [stream_of(Message(version=version))]
    for size in PIECES
)


@timed
@pytest.mark.parametrize(("comparison", "contender"), CASES)
def test_what_it_costs(benchmark: Any, comparison: Comparison, contender: Contender) -> None:
    contender.check(comparison.expected)
    executions = 1000 if comparison.operations == 1 else 1
    take_time(benchmark, comparison.name, contender, executions, unroll=comparison.unroll)


@timed
@pytest.mark.parametrize(("group", "expected", "contender"), PAYLOAD_CASES)
def test_what_a_payload_costs(benchmark: Any, group: str, expected: object, contender: Contender) -> None:
    contender.check(expected)
    take_time(benchmark, group, contender, 1000)


@timed
@pytest.mark.parametrize(("group", "expected", "contender"), PIECES_CASES)
def test_what_a_cut_stream_costs(benchmark: Any, group: str, expected: object, contender: Contender) -> None:
    contender.check(expected)
    take_time(benchmark, group, contender, 1)
