"""MQTT packets, 3.1.1 and 5.0. Numbers in brackets are clauses of MQTT 5.0.

Packets are immutable, equal by value, picklable, and may be shared between threads. Making one checks every
argument; what the protocol forbids is an EncodeError that names it. An MQTT 5 property that is absent reads as None, or
as () where it may repeat; 3.1.1 cannot carry any.
"""

from collections.abc import Iterable
from typing import final

from typing_extensions import Buffer, disjoint_base

from iotwire._enums import ConnectReturnCode, ReasonCode

@disjoint_base
class Record:
    """A packet, or a part of one."""

    def __hash__(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...

@disjoint_base
class Packet(Record):
    """An MQTT control packet."""

    def encode(self, version: int = 5) -> bytes:
        """The packet's bytes in MQTT `version`: 4 is 3.1.1, 5 is 5.0.

        Raises EncodeError, naming the field, where that version cannot carry what the packet holds.
        """

    def encoded_size(self, version: int = 5) -> int:
        """How many bytes `encode(version)` gives, without making them. Raises EncodeError as `encode` does."""

@final
class Will(Record):
    """What the server publishes when the connection ends without DISCONNECT [3.1.2.5]."""

    __match_args__ = ("topic", "payload")

    def __init__(
        self,
        topic: str,
        payload: Buffer = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        payload_format_indicator: int | None = None,
        message_expiry_interval: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: Buffer | None = None,
        will_delay_interval: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def topic(self) -> str:
        """Topic name, 1 to 65535 bytes as UTF-8, no wildcards [3.1.3.3]."""

    @property
    def payload(self) -> bytes:
        """0 to 65535 bytes [3.1.3.4]."""

    @property
    def qos(self) -> int:
        """0, 1 or 2 [3.1.2.6]."""

    @property
    def retain(self) -> bool:
        """Whether it is published as a retained message [3.1.2.7]."""

    @property
    def payload_format_indicator(self) -> int | None:
        """0: bytes, 1: UTF-8 text [3.3.2.3.2]."""

    @property
    def message_expiry_interval(self) -> int | None:
        """Lifetime in seconds, 0 to 4294967295 [3.3.2.3.3]."""

    @property
    def content_type(self) -> str | None:
        """What the payload is, as its sender and receiver agree [3.3.2.3.9]."""

    @property
    def response_topic(self) -> str | None:
        """Topic name for the answer; not empty, no wildcards [3.3.2.3.5]."""

    @property
    def correlation_data(self) -> bytes | None:
        """Tells the requester which request an answer is for, 0 to 65535 bytes [3.3.2.3.6]."""

    @property
    def will_delay_interval(self) -> int | None:
        """Seconds before the will is sent, 0 to 4294967295 [3.1.3.2.2]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class Connect(Packet):
    """CONNECT [3.1]. The protocol level is the version it is encoded with."""

    __match_args__ = ("client_id",)

    def __init__(
        self,
        client_id: str = "",
        *,
        clean_start: bool = True,
        keep_alive: int = 60,
        username: str | None = None,
        password: Buffer | None = None,
        will: Will | None = None,
        session_expiry_interval: int | None = None,
        authentication_method: str | None = None,
        authentication_data: Buffer | None = None,
        request_problem_information: bool | None = None,
        request_response_information: bool | None = None,
        receive_maximum: int | None = None,
        topic_alias_maximum: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
        maximum_packet_size: int | None = None,
    ) -> None: ...
    @property
    def client_id(self) -> str:
        """0 to 65535 bytes as UTF-8; empty lets the server choose, in 3.1.1 with clean_start alone [3.1.3.1]."""

    @property
    def clean_start(self) -> bool:
        """Clean Start; Clean Session in 3.1.1 [3.1.2.4]."""

    @property
    def keep_alive(self) -> int:
        """Seconds, 0 (off) to 65535 [3.1.2.10]."""

    @property
    def username(self) -> str | None:
        """0 to 65535 bytes as UTF-8; what follows a '?' is never shown [3.1.3.5]."""

    @property
    def password(self) -> bytes | None:
        """0 to 65535 bytes; never shown; in 3.1.1 it needs a username [3.1.3.6]."""

    @property
    def will(self) -> Will | None:
        """[3.1.2.5]."""

    @property
    def session_expiry_interval(self) -> int | None:
        """Seconds the session outlives its connection, 0 to 4294967295, which is for ever [3.1.2.11.2]."""

    @property
    def authentication_method(self) -> str | None:
        """Name of the method of enhanced authentication [3.1.2.11.9]."""

    @property
    def authentication_data(self) -> bytes | None:
        """Of that method, 0 to 65535 bytes; needs authentication_method; never shown [3.1.2.11.10]."""

    @property
    def request_problem_information(self) -> bool | None:
        """Whether failures may carry reason strings and user properties [3.1.2.11.7]."""

    @property
    def request_response_information(self) -> bool | None:
        """Whether CONNACK should carry response_information [3.1.2.11.6]."""

    @property
    def receive_maximum(self) -> int | None:
        """QoS 1 and 2 messages its sender takes at once, 1 to 65535 [3.1.2.11.3]."""

    @property
    def topic_alias_maximum(self) -> int | None:
        """Highest topic alias its sender takes, 0 to 65535 [3.1.2.11.5]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

    @property
    def maximum_packet_size(self) -> int | None:
        """Bytes of the largest packet its sender takes, 1 to 4294967295 [3.1.2.11.4]."""

@final
class ConnAck(Packet):
    """CONNACK [3.2]."""

    __match_args__ = ("reason_code",)

    def __init__(
        self,
        reason_code: int = 0,
        *,
        session_present: bool = False,
        session_expiry_interval: int | None = None,
        assigned_client_identifier: str | None = None,
        server_keep_alive: int | None = None,
        authentication_method: str | None = None,
        authentication_data: Buffer | None = None,
        response_information: str | None = None,
        server_reference: str | None = None,
        reason_string: str | None = None,
        receive_maximum: int | None = None,
        topic_alias_maximum: int | None = None,
        maximum_qos: int | None = None,
        retain_available: bool | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
        maximum_packet_size: int | None = None,
        wildcard_subscription_available: bool | None = None,
        subscription_identifier_available: bool | None = None,
        shared_subscription_available: bool | None = None,
    ) -> None: ...
    @property
    def reason_code(self) -> ReasonCode | ConnectReturnCode:
        """A ConnectReturnCode where 3.1.1 has one, else a ReasonCode [3.2.2.2]."""

    @property
    def session_present(self) -> bool:
        """Whether the server still had the session; False with a code that refuses [3.2.2.1.1]."""

    @property
    def session_expiry_interval(self) -> int | None:
        """Seconds the session outlives its connection, 0 to 4294967295, which is for ever [3.1.2.11.2]."""

    @property
    def assigned_client_identifier(self) -> str | None:
        """The client id that the server made [3.2.2.3.7]."""

    @property
    def server_keep_alive(self) -> int | None:
        """Seconds, 0 to 65535; replaces the client's own [3.2.2.3.14]."""

    @property
    def authentication_method(self) -> str | None:
        """Name of the method of enhanced authentication [3.1.2.11.9]."""

    @property
    def authentication_data(self) -> bytes | None:
        """Of that method, 0 to 65535 bytes; needs authentication_method; never shown [3.1.2.11.10]."""

    @property
    def response_information(self) -> str | None:
        """Basis for making response topics [3.2.2.3.15]."""

    @property
    def server_reference(self) -> str | None:
        """Another server to use [4.11]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def receive_maximum(self) -> int | None:
        """QoS 1 and 2 messages its sender takes at once, 1 to 65535 [3.1.2.11.3]."""

    @property
    def topic_alias_maximum(self) -> int | None:
        """Highest topic alias its sender takes, 0 to 65535 [3.1.2.11.5]."""

    @property
    def maximum_qos(self) -> int | None:
        """0 or 1; absent means 2 [3.2.2.3.4]."""

    @property
    def retain_available(self) -> bool | None:
        """Absent means yes [3.2.2.3.5]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

    @property
    def maximum_packet_size(self) -> int | None:
        """Bytes of the largest packet its sender takes, 1 to 4294967295 [3.1.2.11.4]."""

    @property
    def wildcard_subscription_available(self) -> bool | None:
        """Absent means yes [3.2.2.3.11]."""

    @property
    def subscription_identifier_available(self) -> bool | None:
        """Absent means yes [3.2.2.3.12]."""

    @property
    def shared_subscription_available(self) -> bool | None:
        """Absent means yes [3.2.2.3.13]."""

@final
class Publish(Packet):
    """PUBLISH [3.3]."""

    __match_args__ = ("topic", "payload")

    def __init__(
        self,
        topic: str,
        payload: Buffer = b"",
        *,
        qos: int = 0,
        retain: bool = False,
        dup: bool = False,
        packet_id: int | None = None,
        payload_format_indicator: int | None = None,
        message_expiry_interval: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: Buffer | None = None,
        subscription_identifiers: Iterable[int] = (),
        topic_alias: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def topic(self) -> str:
        """Topic name, 1 to 65535 bytes as UTF-8, no wildcards; may be empty with a topic_alias [3.3.2.1]."""

    @property
    def payload(self) -> bytes | memoryview:
        """A memoryview only from a Decoder with payload="view" [3.3.3]."""

    @property
    def qos(self) -> int:
        """0, 1 or 2 [3.3.1.2]."""

    @property
    def retain(self) -> bool:
        """[3.3.1.3]."""

    @property
    def dup(self) -> bool:
        """Sent before; False with QoS 0 [3.3.1.1]."""

    @property
    def packet_id(self) -> int | None:
        """1 to 65535 with QoS 1 and 2, None with QoS 0; encode needs it [3.3.2.2]."""

    @property
    def payload_format_indicator(self) -> int | None:
        """0: bytes, 1: UTF-8 text [3.3.2.3.2]."""

    @property
    def message_expiry_interval(self) -> int | None:
        """Lifetime in seconds, 0 to 4294967295 [3.3.2.3.3]."""

    @property
    def content_type(self) -> str | None:
        """What the payload is, as its sender and receiver agree [3.3.2.3.9]."""

    @property
    def response_topic(self) -> str | None:
        """Topic name for the answer; not empty, no wildcards [3.3.2.3.5]."""

    @property
    def correlation_data(self) -> bytes | None:
        """Tells the requester which request an answer is for, 0 to 65535 bytes [3.3.2.3.6]."""

    @property
    def subscription_identifiers(self) -> tuple[int, ...]:
        """Those of the subscriptions that matched, 1 to 268435455 each [3.3.2.3.8]."""

    @property
    def topic_alias(self) -> int | None:
        """Stands for the topic, 1 to 65535 [3.3.2.3.4]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class PubAck(Packet):
    """PUBACK: the answer to a PUBLISH of QoS 1 [3.4]."""

    __match_args__ = ("packet_id", "reason_code")

    def __init__(
        self,
        packet_id: int,
        reason_code: int = 0,
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def reason_code(self) -> ReasonCode:
        """Under 0x80 success, from 0x80 failure [3.4.2.1]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class PubRec(Packet):
    """PUBREC: the first answer to a PUBLISH of QoS 2 [3.5]."""

    __match_args__ = ("packet_id", "reason_code")

    def __init__(
        self,
        packet_id: int,
        reason_code: int = 0,
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def reason_code(self) -> ReasonCode:
        """Under 0x80 success, from 0x80 failure [3.5.2.1]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class PubRel(Packet):
    """PUBREL: the answer to PUBREC [3.6]."""

    __match_args__ = ("packet_id", "reason_code")

    def __init__(
        self,
        packet_id: int,
        reason_code: int = 0,
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def reason_code(self) -> ReasonCode:
        """Under 0x80 success, from 0x80 failure [3.6.2.1]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class PubComp(Packet):
    """PUBCOMP: the answer to PUBREL, the end of a QoS 2 exchange [3.7]."""

    __match_args__ = ("packet_id", "reason_code")

    def __init__(
        self,
        packet_id: int,
        reason_code: int = 0,
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def reason_code(self) -> ReasonCode:
        """Under 0x80 success, from 0x80 failure [3.7.2.1]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class Subscription(Record):
    """A topic filter and its options, a part of SUBSCRIBE [3.8.3]."""

    __match_args__ = ("topic_filter", "qos")

    def __init__(
        self,
        topic_filter: str,
        qos: int = 0,
        *,
        no_local: bool = False,
        retain_as_published: bool = False,
        retain_handling: int = 0,
    ) -> None: ...
    @property
    def topic_filter(self) -> str:
        """1 to 65535 bytes as UTF-8 [4.7]."""

    @property
    def qos(self) -> int:
        """Highest QoS to be sent, 0, 1 or 2."""

    @property
    def no_local(self) -> bool:
        """Not what this client publishes itself; not on a shared subscription. MQTT 5.0."""

    @property
    def retain_as_published(self) -> bool:
        """Keep the RETAIN flag of what is forwarded. MQTT 5.0."""

    @property
    def retain_handling(self) -> int:
        """0, 1 or 2: see RetainHandling. MQTT 5.0."""

@final
class Subscribe(Packet):
    """SUBSCRIBE [3.8]."""

    __match_args__ = ("packet_id", "subscriptions")

    def __init__(
        self,
        packet_id: int,
        subscriptions: Iterable[Subscription],
        *,
        subscription_identifier: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """At least one [3.8.3]."""

    @property
    def subscription_identifier(self) -> int | None:
        """1 to 268435455 [3.8.2.1.2]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class SubAck(Packet):
    """SUBACK [3.9]."""

    __match_args__ = ("packet_id", "reason_codes")

    def __init__(
        self,
        packet_id: int,
        reason_codes: Iterable[int] = (),
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def reason_codes(self) -> tuple[ReasonCode, ...]:
        """One for each topic filter, in order [3.9.3]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class UnsubAck(Packet):
    """UNSUBACK [3.11]; in 3.1.1 it has no reason codes."""

    __match_args__ = ("packet_id", "reason_codes")

    def __init__(
        self,
        packet_id: int,
        reason_codes: Iterable[int] = (),
        *,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def reason_codes(self) -> tuple[ReasonCode, ...]:
        """One for each topic filter, in order [3.11.3]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class Unsubscribe(Packet):
    """UNSUBSCRIBE [3.10]."""

    __match_args__ = ("packet_id", "topic_filters")

    def __init__(
        self,
        packet_id: int,
        topic_filters: Iterable[str],
        *,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def packet_id(self) -> int:
        """Packet identifier, 1 to 65535 [2.2.1]."""

    @property
    def topic_filters(self) -> tuple[str, ...]:
        """At least one [3.10.3]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class PingReq(Packet):
    """PINGREQ [3.12]."""

    def __init__(self) -> None: ...

@final
class PingResp(Packet):
    """PINGRESP [3.13]."""

    def __init__(self) -> None: ...

@final
class Disconnect(Packet):
    """DISCONNECT [3.14]; in 3.1.1 from the client only, and empty."""

    __match_args__ = ("reason_code",)

    def __init__(
        self,
        reason_code: int = 0,
        *,
        session_expiry_interval: int | None = None,
        server_reference: str | None = None,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def reason_code(self) -> ReasonCode:
        """Under 0x80 success, from 0x80 failure [3.14.2.1]."""

    @property
    def session_expiry_interval(self) -> int | None:
        """Seconds the session outlives its connection, 0 to 4294967295, which is for ever [3.1.2.11.2]."""

    @property
    def server_reference(self) -> str | None:
        """Another server to use [4.11]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

@final
class Auth(Packet):
    """AUTH [3.15]. MQTT 5.0."""

    __match_args__ = ("reason_code",)

    def __init__(
        self,
        reason_code: int = 0,
        *,
        authentication_method: str | None = None,
        authentication_data: Buffer | None = None,
        reason_string: str | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> None: ...
    @property
    def reason_code(self) -> ReasonCode:
        """Under 0x80 success, from 0x80 failure [3.15.2.1]."""

    @property
    def authentication_method(self) -> str | None:
        """Name of the method of enhanced authentication [3.1.2.11.9]."""

    @property
    def authentication_data(self) -> bytes | None:
        """Of that method, 0 to 65535 bytes; needs authentication_method; never shown [3.1.2.11.10]."""

    @property
    def reason_string(self) -> str | None:
        """For people to read, not for programs to parse [3.2.2.3.9]."""

    @property
    def user_properties(self) -> tuple[tuple[str, str], ...]:
        """(name, value) pairs in wire order, repeats kept [3.1.2.11.8]."""

def decode(data: Buffer, version: int | None = 5) -> tuple[Packet, int] | None:
    """The first packet in `data` and its size in bytes; None while it is incomplete.

    data: any C-contiguous buffer. version: 4, 5, or None for a CONNECT that says it itself.
    Raises MalformedPacketError or ProtocolViolationError, as soon as the bytes at hand cannot become right.
    """
