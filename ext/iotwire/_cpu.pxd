# cython: language_level=3
"""Which of the processor's features code may use: asked once at run time, so that one wheel serves every board.

Whoever has a second path for a feature looks at `enabled` before it takes it, and keeps a path that needs none.
"""

cdef enum Feature:  # bits of `enabled`
    SSE2 = 1    # 16-byte registers: in every x86-64
    NEON = 2    # 16-byte registers: in every aarch64, in most of armv7, in none of armv6
    SHA_NI = 4  # SHA-256 on x86-64, with the SSSE3 and SSE4.1 that such code needs besides
    SHA2 = 8    # SHA-256 of ARMv8's Cryptography Extension; the Raspberry Pi 3 and 4 do without

cdef int enabled
