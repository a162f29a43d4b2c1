"""What the processor can do, asked at run time. Compiled.

Every module works without any of these features; each is used where it is there.
"""

from collections.abc import Iterable

def available() -> frozenset[str]:
    """The features that this processor has, by name.

    - `"sse2"`: 16-byte registers, in every x86-64.
    - `"neon"`: 16-byte registers of ARM, in every aarch64 and most armv7.
    - `"sha_ni"`: SHA-256 instructions of x86-64, with SSSE3 and SSE4.1.
    - `"sha2"`: SHA-256 instructions of ARMv8's Cryptography Extension.
    """

def in_use() -> frozenset[str]:
    """The features that code may use: all that are available, unless `use` said otherwise."""

def use(names: Iterable[str] | None = None) -> None:
    """Allow these features and no others, for the whole process; None allows all that are available.

    This is for tests that try every path. Call it before other threads start.
    Raises IotwireError for a name that is unknown or that this processor does not have.
    """
