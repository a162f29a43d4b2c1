"""Sees what the broker got: a subscriber with a socket of its own, which tells whether all publishers do the same work.

A client that leaves messages out, sends them twice, or with another QoS than was asked for, is not compared.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from broker import HOST

from iotwire.mqtt import ConnAck, Connect, Decoder, PingReq, PingResp, Publish, SubAck, Subscribe, Subscription

TIMEOUT_S = 30.0


class DifferentWorkError(Exception):
    """A contender did not do what the others do."""


class Witness:
    """From the beginning of a `with` block on it gets the messages of a topic."""

    def __init__(self, port: int, topic: str) -> None:
        self._topic = topic
        self._socket = socket.create_connection((HOST, port), TIMEOUT_S)
        self._decoder = Decoder(5)
        self._seen: list[Publish] = []

    def __enter__(self) -> Self:
        self._ask(Connect("witness", keep_alive=0), ConnAck)
        self._ask(Subscribe(1, [Subscription(self._topic, 2)]), SubAck)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def check(self, who: str, payloads: Iterable[bytes], qos: int) -> None:
        """Raise DifferentWorkError unless exactly these messages have come, with this QoS, in whatever order.

        The broker answers a PINGREQ behind what it had for this subscriber before.
        """
        self._ask(PingReq(), PingResp)
        wanted, got = Counter(payloads), Counter(bytes(packet.payload) for packet in self._seen)
        if got != wanted:
            missing, further = (wanted - got).total(), (got - wanted).total()
            raise DifferentWorkError(
                f"{who}: of {wanted.total()} messages {missing} are missing, {further} are not asked for"
            )
        others = {packet.qos for packet in self._seen} - {qos}
        if others:
            raise DifferentWorkError(f"{who}: messages of QoS {others}, where QoS {qos} was asked for")

    def _ask(self, packet: Any, answer: type) -> None:
        self._socket.sendall(packet.encode(5))
        while True:
            data = self._socket.recv(1 << 20)
            if not data:
                raise ConnectionError("the broker ended the witness's connection")
            packets = self._decoder.feed(data)
            self._seen += [each for each in packets if isinstance(each, Publish)]
            if any(isinstance(each, answer) for each in packets):
                return
