"""PUBLISH without a packet object in between. The bytes are those of `Publish(...).encode(version)`."""

from collections.abc import Iterable
from typing import Self, final

from typing_extensions import Buffer

def encode_publish(
    topic: str,
    payload: Buffer = b"",
    qos: int = 0,
    retain: bool = False,
    packet_id: int | None = None,
    dup: bool = False,
    version: int = 5,
    *,
    payload_format_indicator: int | None = None,
    message_expiry_interval: int | None = None,
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation_data: Buffer | None = None,
    subscription_identifiers: Iterable[int] = (),
    topic_alias: int | None = None,
    user_properties: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The bytes of a PUBLISH [3.3]; positional calls are the fastest.

    topic: 1 to 65535 bytes as UTF-8, no wildcards; may be empty with a topic_alias. payload: any C-contiguous buffer.
    qos: 0, 1 or 2. packet_id: 1 to 65535 with qos 1 or 2, None with qos 0. dup: False with qos 0. version: 4 or 5.
    The properties are those of `Publish` and need version 5.
    Raises EncodeError that names the argument.
    """

def encode_publish_header(
    topic: str,
    payload: Buffer = b"",
    qos: int = 0,
    retain: bool = False,
    packet_id: int | None = None,
    dup: bool = False,
    version: int = 5,
    *,
    payload_format_indicator: int | None = None,
    message_expiry_interval: int | None = None,
    content_type: str | None = None,
    response_topic: str | None = None,
    correlation_data: Buffer | None = None,
    subscription_identifiers: Iterable[int] = (),
    topic_alias: int | None = None,
    user_properties: Iterable[tuple[str, str]] = (),
) -> bytes:
    """All of `encode_publish(...)` but the payload, which is only measured: for a scatter-gather write of the two."""

@final
class PreparedPublish:
    """A PUBLISH of which everything but payload and packet identifier is constant: checked and encoded once.

    Arguments and errors are those of `encode_publish`. Immutable; may be shared between threads.
    """

    def __new__(
        cls,
        topic: str,
        qos: int = 0,
        retain: bool = False,
        version: int = 5,
        *,
        payload_format_indicator: int | None = None,
        message_expiry_interval: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: Buffer | None = None,
        subscription_identifiers: Iterable[int] = (),
        topic_alias: int | None = None,
        user_properties: Iterable[tuple[str, str]] = (),
    ) -> Self: ...
    @property
    def topic(self) -> str: ...
    @property
    def qos(self) -> int: ...
    @property
    def retain(self) -> bool: ...
    @property
    def version(self) -> int: ...
    def encode(self, payload: Buffer, packet_id: int | None = None) -> bytes:
        """The bytes of the PUBLISH with this payload, any C-contiguous buffer.

        packet_id: 1 to 65535 with qos 1 or 2, None with qos 0. Raises EncodeError that names the argument.
        """
