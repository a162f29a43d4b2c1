"""Messages to the server: packet ids, the server's Receive Maximum, and the acknowledgements of QoS 1 and 2.

The state of a message lives here and not in the call that waits for it: when that call is cancelled, the exchange with
the server goes on to its end, and only then are its packet id and its place free again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from ..errors import IotwireError, OutboxFullError, ProtocolViolationError, PublishError
from ..mqtt import PubAck, PubComp, PubRec, PubRel, ReasonCode

__all__ = ["Outgoing", "PacketIds", "describe_reason"]

_log = logging.getLogger("iotwire.client")


def describe_reason(reason_code: int) -> str:
    """A reason code for people, such as "NOT_AUTHORIZED (0x87)"."""
    return f"{getattr(reason_code, 'name', 'reason code')} (0x{int(reason_code):02X})"


class PacketIds:
    """The packet ids 1 to 65535, shared by PUBLISH, SUBSCRIBE and UNSUBSCRIBE [MQTT-2.2.1-3]."""

    def __init__(self) -> None:
        self._used: set[int] = set()
        self._last = 0

    def take(self) -> int:
        """An id that is not in use. The ids go round, so that a late answer to an old one hits nothing new."""
        if len(self._used) == 0xFFFF:
            raise OutboxFullError("all 65535 packet ids wait for an acknowledgement")
        while True:
            self._last = self._last % 0xFFFF + 1
            if self._last not in self._used:
                self._used.add(self._last)
                return self._last

    def give_back(self, packet_id: int) -> None:
        self._used.remove(packet_id)


class _InFlight:
    __slots__ = ("done", "is_released", "qos", "reason_code")

    def __init__(self, qos: int, done: asyncio.Future[ReasonCode]) -> None:
        self.qos = qos
        self.done = done
        self.is_released = False  # QoS 2: PUBREL has been sent
        self.reason_code = ReasonCode.SUCCESS


class Outgoing:
    """The sending half of one connection.

    It has a number of places, one for each QoS 1 or 2 message that may be unacknowledged at once: none before `open`.
    send: writes an encoded packet.
    """

    def __init__(self, version: int, packet_ids: PacketIds, *, send: Callable[[bytes], None]) -> None:
        self._version = version
        self._free_places = 0
        self._packet_ids = packet_ids
        self._send = send
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._in_flight: dict[int, _InFlight] = {}

    def open(self, places: int) -> None:
        """CONNACK has come: so many messages may be unacknowledged."""
        self._free_places = places

    async def take_place(self) -> None:
        """Wait, first come first served, until one more message may be unacknowledged."""
        if self._free_places and not self._waiting:
            self._free_places -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except BaseException:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.free_place()  # given and cancelled at once: it is for the next one
            elif place in self._waiting:
                self._waiting.remove(place)
            raise

    def free_place(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free_places += 1

    def begin(self, packet_id: int, qos: int) -> asyncio.Future[ReasonCode]:
        """A message is about to be written. The result is its reason code once it is acknowledged for good."""
        done = asyncio.get_running_loop().create_future()
        self._in_flight[packet_id] = _InFlight(qos, done)
        return done

    def on_puback(self, packet: PubAck) -> None:
        message = self._in_flight.get(packet.packet_id)
        if message is None:
            _log.debug("PUBACK for packet id %d, which is not in use", packet.packet_id)
            return
        if message.qos != 1:
            raise ProtocolViolationError(f"PUBACK for packet id {packet.packet_id}, a QoS 2 message", clause="4.3.3")
        self._finish(packet.packet_id, message, packet.reason_code)

    def on_pubrec(self, packet: PubRec) -> None:
        message = self._in_flight.get(packet.packet_id)
        if message is None:
            unknown = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if self._version >= 5 else ReasonCode.SUCCESS
            self._send(PubRel(packet.packet_id, unknown).encode(self._version))
        elif message.qos != 2:
            raise ProtocolViolationError(f"PUBREC for packet id {packet.packet_id}, a QoS 1 message", clause="4.3.2")
        elif packet.reason_code >= 0x80:
            self._finish(packet.packet_id, message, packet.reason_code)
        else:
            message.is_released = True
            message.reason_code = packet.reason_code
            self._send(PubRel(packet.packet_id).encode(self._version))

    def on_pubcomp(self, packet: PubComp) -> None:
        message = self._in_flight.get(packet.packet_id)
        if message is None:
            _log.debug("PUBCOMP for packet id %d, which is not in use", packet.packet_id)
            return
        if not message.is_released:
            raise ProtocolViolationError(
                f"PUBCOMP for packet id {packet.packet_id}, which has not been released", clause="4.3.3"
            )
        self._finish(packet.packet_id, message, packet.reason_code or message.reason_code)

    def fail(self, make_error: Callable[[], IotwireError]) -> None:
        """The connection has ended: everything that waits fails."""
        for message in self._in_flight.values():
            if not message.done.done():
                message.done.set_exception(make_error())
        self._in_flight.clear()
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(make_error())

    def _finish(self, packet_id: int, message: _InFlight, reason_code: ReasonCode) -> None:
        del self._in_flight[packet_id]
        self._packet_ids.give_back(packet_id)
        self.free_place()
        if message.done.done():
            return  # the call was cancelled
        if reason_code < 0x80:
            message.done.set_result(reason_code)
        else:
            refusal = f"the server refused the message: {describe_reason(reason_code)}"
            message.done.set_exception(PublishError(refusal, reason_code=reason_code))
