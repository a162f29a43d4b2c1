"""Messages from the server: topic aliases, exactly-once, and acknowledgements in the order of arrival."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from ..errors import ProtocolViolationError
from ..mqtt import PubAck, PubComp, Publish, PubRec, PubRel, ReasonCode
from .inbox import Receipt

__all__ = ["Incoming"]


class Incoming:
    """The receiving half of one connection.

    send: writes an encoded packet. deliver: hands a message on; whoever cannot take it yet holds its receipt.
    pause_reading, resume_reading: called where more messages than `receive_maximum` are held in memory unacknowledged,
    and where they no longer are. A 3.1.1 server knows of no such limit, and mosquitto 2.0.11, the one of Debian 12,
    exceeds it by a burst with each acknowledgement: TCP holds both back. A QoS 2 message that was taken is held no
    more, though the standard counts it until its PUBCOMP.
    """

    def __init__(
        self,
        version: int,
        receive_maximum: int,
        topic_alias_maximum: int,
        *,
        send: Callable[[bytes], None],
        deliver: Callable[[Publish, Receipt | None], None],
        pause_reading: Callable[[], None],
        resume_reading: Callable[[], None],
    ) -> None:
        self._version = version
        self._receive_maximum = receive_maximum
        self._topic_alias_maximum = topic_alias_maximum
        self._send = send
        self._deliver = deliver
        self._pause_reading = pause_reading
        self._resume_reading = resume_reading
        self._topics_by_alias: dict[int, str] = {}
        self._unacknowledged: dict[int, Receipt] = {}
        self._order: deque[Receipt] = deque()
        self._unreleased: set[int] = set()  # QoS 2, PUBREC sent: the message was taken, its PUBREL has not come

    def on_publish(self, packet: Publish) -> None:
        message = packet if packet.topic_alias is None else self._resolve_alias(packet, packet.topic_alias)
        if packet.packet_id is None:
            self._deliver(message, None)
            return
        packet_id = packet.packet_id
        if packet_id in self._unacknowledged:
            return  # sent again while its acknowledgement is held back: that one answers both
        if packet_id in self._unreleased:
            if packet.qos != 2:
                raise ProtocolViolationError(
                    f"PUBLISH with QoS {packet.qos} uses packet id {packet_id} of an unfinished QoS 2 message",
                    reason_code=0x82,
                    clause="MQTT-2.2.1-4",
                )
            self._send(PubRec(packet_id).encode(self._version))  # a duplicate: answered, not delivered [MQTT-4.3.3-10]
            return
        receipt = Receipt(packet_id, packet.qos, self._settle)
        self._unacknowledged[packet_id] = receipt
        self._order.append(receipt)
        self._deliver(message, receipt)
        self._settle()
        if len(self._unacknowledged) > self._receive_maximum:
            self._pause_reading()

    def on_pubrel(self, packet: PubRel) -> None:
        if packet.packet_id in self._unreleased:
            self._unreleased.remove(packet.packet_id)
            self._send(PubComp(packet.packet_id).encode(self._version))
        elif packet.packet_id in self._unacknowledged:
            raise ProtocolViolationError(
                f"PUBREL for packet id {packet.packet_id}, whose PUBLISH has not been answered", clause="4.3.3"
            )
        else:
            unknown = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND if self._version >= 5 else ReasonCode.SUCCESS
            self._send(PubComp(packet.packet_id, unknown).encode(self._version))

    def _settle(self) -> None:
        """Send the acknowledgements that nothing holds back, in the order of arrival [MQTT-4.6.0-2, -3].

        One that is held back holds up those behind it: the standard allows no other order.
        """
        while self._order and not self._order[0].holders:
            receipt = self._order.popleft()
            del self._unacknowledged[receipt.packet_id]
            if receipt.qos == 2:
                self._unreleased.add(receipt.packet_id)
                self._send(PubRec(receipt.packet_id).encode(self._version))
            else:
                self._send(PubAck(receipt.packet_id).encode(self._version))
        if len(self._unacknowledged) <= self._receive_maximum:
            self._resume_reading()

    def _resolve_alias(self, packet: Publish, alias: int) -> Publish:
        """The same message with its topic spelt out and without the alias, which means nothing to the application."""
        if alias > self._topic_alias_maximum:
            raise ProtocolViolationError(
                f"topic alias {alias}, where this client allows {self._topic_alias_maximum}",
                reason_code=ReasonCode.TOPIC_ALIAS_INVALID,
                clause="MQTT-3.3.2-9",
            )
        if packet.topic:
            self._topics_by_alias[alias] = packet.topic
        topic = self._topics_by_alias.get(alias)
        if topic is None:
            raise ProtocolViolationError(
                f"topic alias {alias} was never given a topic", reason_code=0x82, clause="3.3.2.3.4"
            )
        return Publish(
            topic,
            packet.payload,
            qos=packet.qos,
            retain=packet.retain,
            dup=packet.dup,
            packet_id=packet.packet_id,
            payload_format_indicator=packet.payload_format_indicator,
            message_expiry_interval=packet.message_expiry_interval,
            response_topic=packet.response_topic,
            correlation_data=packet.correlation_data,
            user_properties=packet.user_properties,
            subscription_identifiers=packet.subscription_identifiers,
            content_type=packet.content_type,
        )
