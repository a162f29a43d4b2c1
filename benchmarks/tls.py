"""The TLS codec in one process with its peers: `make bench-tls`, or `python benchmarks/tls.py`.

Prints how long each operation takes, how many times longer a peer takes for the same result, and whether the targets
are reached; then what decoding costs as a hello grows. Before a clock starts, everybody must have made the same bytes
from the same values, or read the same values from the same bytes.

tlslite-ng is the pure-Python TLS whose messages can be used without a connection. It hands out messages without records
and takes the same, so ours does more. ssl is no peer: it makes a hello only with a context and a connection of its own.
It is here as what a program would otherwise have to do to see one.
"""

from __future__ import annotations

import argparse
import os
import ssl
import sys
from contextlib import suppress
from statistics import median
from typing import Any

from contenders import Contender, Entry, Missing
from timing import Spread, compile_loop, interleave

from iotwire.tls import ClientHello, server_name_extension

HOST = "a1b2c3d4e5f6g7-ats.iot.eu-central-1.amazonaws.com"
PROTOCOL = "x-amzn-mqtt-ca"

ENCODE_LIMIT_NS, DECODE_LIMIT_NS = 1500, 2000
TARGET = 50.0  # times faster than a peer in pure Python
LINEAR = 1.5  # a byte of a long hello may cost so many times one of a short hello


def ours_encode() -> Contender:
    names = {"ClientHello": ClientHello, "host": HOST, "protocols": (PROTOCOL,)}
    return Contender("iotwire", "result = ClientHello(host, protocols).encode()", names, read_back)


def ours_decode(records: bytes) -> Contender:
    return Contender(
        "iotwire",
        "result = decode(records)",
        {"decode": ClientHello.decode, "records": records},
        lambda hello: (hello.server_name, list(hello.alpn_protocols), hello.cipher_suites, hello.random),
    )


def ours_route(records: bytes) -> Contender:
    return Contender(
        "iotwire",
        "hello = decode(records); result = hello.server_name, hello.alpn_protocols",
        {"decode": ClientHello.decode, "records": records},
        lambda pair: (pair[0], list(pair[1])),
    )


def read_back(records: bytes) -> object:
    """The values of a hello, less its random."""
    hello = ClientHello.decode(records)
    assert hello is not None
    extensions = dict(hello.extensions)
    return hello.server_name, hello.alpn_protocols, hello.versions, hello.cipher_suites, sorted(extensions.items())


class Tlslite:
    """tlslite-ng."""

    name = "tlslite-ng"

    def __init__(self, model: ClientHello) -> None:
        from tlslite import extensions, messages
        from tlslite.utils.codec import Parser

        self._messages, self._extensions, self._parser = messages, extensions, Parser
        self._model = model

    def encode(self) -> Contender:
        """The same values; the header of the record is put on where the outcome is compared."""
        e, model = self._extensions, self._model
        lines = {
            "sni": lambda: e.SNIExtension().create(bytearray(HOST, "ascii")),
            "alpn": lambda: e.ALPNExtension().create([bytearray(PROTOCOL, "ascii")]),
            "versions": lambda: e.SupportedVersionsExtension().create([(3, 4), (3, 3)]),
            "groups": lambda: e.SupportedGroupsExtension().create(list(model.groups)),
            "signatures": lambda: e.SignatureAlgorithmsExtension().create(
                [divmod(each, 256) for each in model.signature_algorithms]
            ),
            "points": lambda: e.ECPointFormatsExtension().create([0]),
            "shares": lambda: e.ClientKeyShareExtension().create([]),
            "secret": lambda: e.TLSExtension(extType=23).create(bytearray()),
        }
        suites = list(model.cipher_suites)

        def make() -> bytearray:
            hello = self._messages.ClientHello().create(
                (3, 3), bytearray(os.urandom(32)), bytearray(), suites, extensions=[line() for line in lines.values()]
            )
            written: bytearray = hello.write()
            return written

        return Contender(self.name, "result = make()", {"make": make}, lambda b: read_back(record_of(bytes(b))))

    def decode(self) -> Contender:
        return self._decoder(
            lambda hello: (
                hello.server_name.decode(),
                protocols_of(hello),
                tuple(hello.cipher_suites),
                bytes(hello.random),
            ),
            "",
        )

    def route(self) -> Contender:
        return self._decoder(
            lambda pair: (pair[0].decode(), [bytes(name).decode() for name in pair[1]]),
            "; result = result.server_name, result.getExtension(16).protocol_names",
        )

    def _decoder(self, outcome: Any, read: str) -> Contender:
        names = {
            "ClientHello": self._messages.ClientHello,
            "Parser": self._parser,
            "body": bytearray(self._model.handshake[1:]),  # its parser starts after the type
        }
        return Contender(self.name, f"result = ClientHello().parse(Parser(body)){read}", names, outcome)


def protocols_of(hello: Any) -> list[str]:
    return [bytes(name).decode() for name in hello.getExtension(16).protocol_names]


def record_of(message: bytes) -> bytes:
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def ssl_encode() -> Contender:
    """What a program does that wants to see the hello of its context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols([PROTOCOL])

    def make() -> bytes:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            context.wrap_bio(incoming, outgoing, server_hostname=HOST).do_handshake()
        return outgoing.read()

    return Contender("ssl", "result = make()", {"make": make}, lambda records: None)


def compare(name: str, ours: Contender, others: list[Entry], rounds: int, limit_ns: float) -> list[str]:
    """Print a table of one operation; what was wanted and not reached."""
    there = [entry for entry in others if isinstance(entry, Contender)]
    expected = ours.outcome(run_once(ours))
    for contender in there:
        if contender.who != "ssl":
            contender.check(expected)
    loops = [compile_loop(each.statement, each.names) for each in (ours, *there)]
    figures = interleave(loops, rounds)
    own = Spread.of(figures[0])
    missed = []
    print(f"\n{name}")
    verdict = "" if not limit_ns else f"   at most {limit_ns:.0f} ns: {'yes' if own.low <= limit_ns else 'NO'}"
    print(f"  {ours.who:12} {own.low:10.0f} ns{verdict}")
    if limit_ns and own.low > limit_ns:
        missed.append(f"{name}: {own.low:.0f} ns of {limit_ns:.0f}")
    for contender, times in zip(there, figures[1:], strict=True):
        ratio = median(other / mine for other, mine in zip(times, figures[0], strict=True))
        wanted = TARGET if contender.who == Tlslite.name else None
        said = "" if wanted is None else f"   at least {wanted:.0f}: {'yes' if ratio >= wanted else 'NO'}"
        print(f"  {contender.who:12} {Spread.of(times).low:10.0f} ns   {ratio:7.1f} times ours{said}")
        if wanted is not None and ratio < wanted:
            missed.append(f"{name}: {ratio:.1f} of {wanted:.0f} times {contender.who}")
    for entry in others:
        if isinstance(entry, Missing):
            print(f"  {entry.who:12} {entry.why}")
    return missed


def run_once(contender: Contender) -> Any:
    namespace = dict(contender.names)
    exec(contender.statement, namespace)
    return namespace["result"]


def growth(rounds: int) -> list[str]:
    """What a byte costs as a hello grows, for each thing that can be many in it."""
    kinds = {
        "extensions": lambda n: ClientHello(HOST, extensions=[(200 + i, b"") for i in range(n // 4)]),
        "cipher suites": lambda n: ClientHello(HOST, cipher_suites=range(1, n // 2)),
        "key shares": lambda n: ClientHello(HOST, key_shares=[(i, b"k") for i in range(n // 5)]),
        "protocols": lambda n: ClientHello(HOST, [str(i) for i in range(n // 6)]),
    }
    missed = []
    print("\ndecode, as a hello grows: ns for each of its bytes")
    for name, make in kinds.items():
        sizes = (2_000, 8_000, 32_000, 60_000)
        wires = [make(size).encode() for size in sizes]
        loops = [compile_loop("decode(wire)", {"decode": ClientHello.decode, "wire": wire}, 1) for wire in wires]
        costs = [Spread.of(times).low / len(wire) for times, wire in zip(interleave(loops, rounds), wires, strict=True)]
        print(f"  {name:14}" + "".join(f"{size:>8}: {cost:5.2f}" for size, cost in zip(sizes, costs, strict=True)))
        if costs[-1] > costs[0] * LINEAR:
            missed.append(f"{name}: {costs[-1]:.2f} ns a byte at {sizes[-1]}, {costs[0]:.2f} at {sizes[0]}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description="The TLS codec against its peers.")
    parser.add_argument("--rounds", type=int, default=60, help="turns for each contender (default 60)")
    options = parser.parse_args()
    model = ClientHello(HOST, (PROTOCOL,))
    assert server_name_extension(HOST) in model.encode()
    peer: Tlslite | Missing
    try:
        peer = Tlslite(model)
    except ImportError as error:
        peer = Missing(Tlslite.name, f"is not installed ({error})")
    entries: list[list[Entry]] = (
        [[peer], [peer], [peer]]
        if isinstance(peer, Missing)
        else [
            [peer.encode()],
            [peer.decode()],
            [peer.route()],
        ]
    )
    records = model.encode()
    print(f"a hello of {len(records)} bytes with SNI and ALPN; nanoseconds give a scale, ratios count")
    missed = compare("encode", ours_encode(), [*entries[0], ssl_encode()], options.rounds, ENCODE_LIMIT_NS)
    missed += compare("decode", ours_decode(records), entries[1], options.rounds, DECODE_LIMIT_NS)
    missed += compare("decode, SNI and ALPN read", ours_route(records), entries[2], options.rounds, DECODE_LIMIT_NS)
    missed += growth(options.rounds // 4 or 1)
    print("\nevery target is reached" if not missed else "\nmissed: " + "; ".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
