"""A stream of MQTT packets out of bytes that arrive in any pieces."""

from typing import Literal, Self, final

from typing_extensions import Buffer

from iotwire._mqtt import Packet

@final
class Decoder:
    """Packets from a byte stream: `feed` it, or let a transport receive into it (asyncio.BufferedProtocol's names).

    version: 4, 5, or None to learn it from CONNECT (a server's side). max_packet_size: bytes of the largest packet to
    take, fixed header included, 2 to 268435460; a larger one is refused from its header. payload: "bytes", or "view"
    for read-only memoryviews of memory that is never written to again.

    An error carries in `packets` what was decoded before it in the same call; after it every call raises it again.
    For one thread at a time: a call during another's raises IotwireError. `version` and `buffered` may always be read,
    and say what the last call left.
    """

    def __new__(
        cls,
        version: int | None = 5,
        *,
        max_packet_size: int = ...,
        payload: Literal["bytes", "view"] = "bytes",
    ) -> Self: ...
    @property
    def version(self) -> int | None:
        """4 or 5; None until CONNECT has said it."""

    @property
    def buffered(self) -> int:
        """Bytes received that are not a whole packet yet."""

    def feed(self, data: Buffer) -> list[Packet]:
        """The packets that `data` completes, in order; an empty list means "not yet".

        data: any C-contiguous buffer; nothing of it is kept but bytes objects, which cannot change.
        Raises MalformedPacketError, ProtocolViolationError or PacketTooLargeError.
        """

    def get_buffer(self, sizehint: int = -1) -> memoryview:
        """Memory for a transport to receive into: writable, at least one byte.

        It belongs to the decoder again from the next call of `buffer_updated`, `feed` or `get_buffer` on.
        sizehint: bytes that the transport would like, -1 where it does not care; taken as a hint.
        """

    def buffer_updated(self, nbytes: int) -> list[Packet]:
        """The packets that `nbytes` bytes, written at the start of what `get_buffer` gave, complete.

        Raises as `feed` does, and EncodeError where `nbytes` is more than was offered.
        """
