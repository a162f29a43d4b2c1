"""WebSocket frames (RFC 6455, 5) for MQTT: the compiled part of the WebSocket transport.

For both ends of a connection. Nothing is put together: MQTT takes the bytes of binary frames as one stream.
"""

from typing import final

from typing_extensions import Buffer

def encode_frame(payload: Buffer, mask: bytes | None = None, opcode: int = 2) -> bytes:
    """One whole frame, the last of its message, with any C-contiguous buffer as its payload.

    mask: the four bytes that a client's frames are masked with, unpredictable ones (RFC 6455, 5.3); None for a
    server's. opcode: 2 binary, 8 Close, 9 Ping, 10 Pong.
    Raises EncodeError for another mask, and for more than 125 bytes in a control frame.
    """

@final
class FrameReader:
    """Takes the peer's frames off what it has sent. For one connection.

    is_masked: whether its frames have to be masked, as a client's have and a server's must not be.
    max_frame: bytes that one frame may announce, 1 to 4294967295. Nothing is stored of a frame but what a control frame
    carries, so this is no bound of memory.
    """

    def __new__(cls, *, is_masked: bool = False, max_frame: int = ...) -> FrameReader: ...
    def strip(self, buffer: Buffer, nbytes: int) -> int:
        """Move what binary frames carry, of the first `nbytes` of a writable buffer, to its start: its size.

        What came before a Close or before a broken rule is still given. Look at `has_news` afterwards.
        """

    @property
    def has_news(self) -> bool:
        """Whether a Ping is to be answered, or `is_over` has become true."""

    @property
    def is_over(self) -> bool:
        """Whether the peer has closed, or broken a rule: what comes after that counts for nothing."""

    def take_ping(self) -> bytes | None:
        """What the latest Ping carried, for the Pong that answers it; None for no Ping. Earlier ones need no answer."""

    @property
    def close_code(self) -> int | None:
        """The status of the peer's Close, 1005 where it gave none; None before one came."""

    @property
    def close_reason(self) -> str:
        """What the peer's Close said besides."""

    @property
    def fault(self) -> tuple[int, str] | None:
        """The rule that the peer broke: the status to close with (RFC 6455, 7.4.1), and the fault in words."""
