"""What is counted, instruction by instruction: the operations, and the program that runs each between two marks.

A mark is a call of os.getppid(): valgrind and the plugin of tools/arm/count.c both look out for it, so the same program
serves natively and emulated. It runs with one seed for string hashes: dictionaries then probe alike in every run.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from contenders import Contender, Entry, Missing, Peer, Read, one_by_one
from inputs import CONTENT_TYPE, USER_PROPERTIES, Message, puback, stream_of

HERE = Path(__file__).resolve().parent
EMPTY = "empty statement"
UNROLL = 10

# Runs in the interpreter whose instructions are counted: argv holds the names of the operations.
DRIVER = f"""
import gc, sys
from os import getppid as mark
sys.path.insert(0, {str(HERE)!r})
from counted import UNROLL, make_room, operations
from timing import compile_loop
every = operations()
gc.disable()
for name in sys.argv[1:]:
    operation = every[name]
    loop = compile_loop(operation.statement, operation.names, UNROLL)
    loop.run(20)
    gc.collect()
    made = make_room()
    mark()
    loop.run(operation.iterations)
    mark()
"""
ENVIRONMENT = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}


def make_room() -> list[bytes]:
    """Free memory of every small size that CPython's allocator knows, as long as the list is held.

    Without it, what ran before decides whether an object that comes and goes has a pool to come from, or takes a whole
    one and gives it back each time: 50 instructions more.
    """
    made = [bytes(size) for size in range(0, 480, 8) for _ in range(100)]
    del made[::2]
    return made


class Operation(NamedTuple):
    """A statement, the names it uses, and how many packets it handles."""

    statement: str
    names: dict[str, object]
    packets: int

    @property
    def iterations(self) -> int:
        """How often a loop runs: often enough that the marks around it do not show."""
        return 1000 if self.packets == 1 else 20


def operations() -> dict[str, Operation]:
    """By name: ours, the floor's, and as "peer: operation" those of the peers that are installed."""
    from floor import load_floor
    from ours import Iotwire
    from peers import Mqtt5, Paho, installed_peers

    ours, floor, message = Iotwire(), load_floor(), Message()
    described = Message(content_type=CONTENT_TYPE, user_properties=USER_PROPERTIES)
    messages, packet_ids = stream_of(message), list(range(1, len(stream_of(message)) + 1))
    distinct = stream_of(message, distinct_topics=True)
    never_again = stream_of(described, distinct_topics=True, distinct_properties=True)
    nothing_read, all_read = ours.decode(described, Read.NOTHING), ours.decode(described, Read.ALL)
    pubacks = b"".join(puback(packet_id) for packet_id in packet_ids)
    found: dict[str, tuple[Entry, int]] = {
        "encode_publish, positional": (ours.encode_positional(message), 1),
        "encode_publish, by keyword": (ours.encode_by_keyword(message), 1),
        "encode_publish, with properties": (ours.encode_positional(described), 1),
        "Publish(...).encode()": (ours.encode_object(message), 1),
        "PreparedPublish.encode": (ours.encode_prepared(message), 1),
        "decode one": (ours.decode(message, Read.NOTHING), 1),
        "decode one, with properties": (nothing_read, 1),
        "decode one, with properties, read all": (all_read, 1),
        "decode a stream": (ours.decode_stream(messages), len(messages)),
        "decode a stream, topics all different": (ours.decode_stream(distinct), len(distinct)),
        "decode a stream, with properties": (ours.decode_stream(stream_of(described)), len(messages)),
        "decode a stream, nothing comes again": (ours.decode_stream(never_again), len(messages)),
        "decode each, nothing comes again": (one_by_one(nothing_read, never_again), len(messages)),
        "decode each, nothing comes again, read all": (one_by_one(all_read, never_again), len(messages)),
        "decode a stream of PUBACK": (ours.decode_pubacks(pubacks), len(messages)),
        "PUBACK: encode": (ours.encode_puback(1234), 1),
    }

    def add_peer(peer: Peer) -> None:
        found[f"{peer.name}: encode"] = (peer.encode(message), 1)
        found[f"{peer.name}: encode, with properties"] = (peer.encode(described), 1)
        found[f"{peer.name}: decode one"] = (peer.decode(message, Read.NOTHING), 1)
        found[f"{peer.name}: decode one, with properties"] = (peer.decode(described, Read.NOTHING), 1)
        found[f"{peer.name}: decode one, with properties, read all"] = (peer.decode(described, Read.ALL), 1)
        found[f"{peer.name}: decode a stream"] = (peer.decode_stream(messages), len(messages))
        found[f"{peer.name}: decode a stream, topics all different"] = (peer.decode_stream(distinct), len(distinct))
        found[f"{peer.name}: decode a stream of PUBACK"] = (peer.decode_pubacks(pubacks), len(messages))

    for peer in installed_peers()[0]:
        if isinstance(peer, Mqtt5 | Paho):
            add_peer(peer)
    if not isinstance(floor, Missing):
        found["floor: one exact copy"] = (floor.copy(message.wire), 1)
        found["floor: a stream"] = (floor.publishes(messages), len(messages))
        found["floor: a stream of PUBACK"] = (floor.pubacks(packet_ids), len(messages))
    return {EMPTY: Operation("pass", {}, 1)} | {
        name: Operation(entry.statement, dict(entry.names), packets)
        for name, (entry, packets) in found.items()
        if isinstance(entry, Contender)
    }


def for_one_packet(totals: dict[str, int], every: dict[str, Operation]) -> dict[str, float]:
    """Instructions for one packet from those of whole loops, the empty statement taken off."""
    overhead = totals[EMPTY] / every[EMPTY].iterations
    return {
        name: round((total / every[name].iterations - overhead) / (UNROLL * every[name].packets), 1)
        for name, total in totals.items()
        if name != EMPTY
    }
