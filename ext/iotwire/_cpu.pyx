# cython: language_level=3
# cython: embedsignature=True, embedsignature.format=clinic, binding=False
"""Asks the processor what it can do, and lets a test say that it cannot."""

from iotwire.errors import IotwireError

cdef extern from *:
    """
    #define IOTWIRE_SSE2 1
    #define IOTWIRE_NEON 2
    #define IOTWIRE_SHA_NI 4
    #define IOTWIRE_SHA2 8

    #if defined(__x86_64__) || defined(_M_X64)
        #if defined(_MSC_VER)
            #include <intrin.h>
        #else
            #include <cpuid.h>
        #endif
        static int iotwire_cpu_features(void) {
            unsigned leaf_1[4] = {0}, leaf_7[4] = {0};  /* EAX, EBX, ECX, EDX */
            int found = IOTWIRE_SSE2;
        #if defined(_MSC_VER)
            __cpuid((int*) leaf_1, 0);
            if (leaf_1[0] >= 7) __cpuidex((int*) leaf_7, 7, 0);
            __cpuid((int*) leaf_1, 1);
        #else
            __get_cpuid(1, &leaf_1[0], &leaf_1[1], &leaf_1[2], &leaf_1[3]);
            __get_cpuid_count(7, 0, &leaf_7[0], &leaf_7[1], &leaf_7[2], &leaf_7[3]);
        #endif
            if ((leaf_7[1] >> 29 & 1) && (leaf_1[2] >> 9 & 1) && (leaf_1[2] >> 19 & 1)) found |= IOTWIRE_SHA_NI;
            return found;
        }
    #elif (defined(__aarch64__) || defined(__arm__)) && defined(__linux__)
        #include <sys/auxv.h>
        /* The bits are the kernel's (asm/hwcap.h); that header is not the same on all C libraries. */
        static int iotwire_cpu_features(void) {
            int found = 0;
        #if defined(__aarch64__)
            unsigned long capabilities = getauxval(AT_HWCAP);
            if (capabilities >> 1 & 1) found |= IOTWIRE_NEON;  /* HWCAP_ASIMD */
            if (capabilities >> 6 & 1) found |= IOTWIRE_SHA2;  /* HWCAP_SHA2 */
        #else
            if (getauxval(AT_HWCAP) >> 12 & 1) found |= IOTWIRE_NEON;  /* HWCAP_NEON */
            if (getauxval(AT_HWCAP2) >> 3 & 1) found |= IOTWIRE_SHA2;  /* HWCAP2_SHA2 */
        #endif
            return found;
        }
    #elif defined(__aarch64__) && defined(__APPLE__)
        static int iotwire_cpu_features(void) { return IOTWIRE_NEON | IOTWIRE_SHA2; }  /* every Mac with ARM has both */
    #elif defined(_M_ARM64)
        #include <windows.h>
        static int iotwire_cpu_features(void) {
            return IOTWIRE_NEON | (IsProcessorFeaturePresent(30) ? IOTWIRE_SHA2 : 0);  /* PF_ARM_V8_CRYPTO_... */
        }
    #else
        static int iotwire_cpu_features(void) { return 0; }
    #endif
    """
    int cpu_features "iotwire_cpu_features"() noexcept

cdef int found = cpu_features()
cdef dict features = {"sse2": SSE2, "neon": NEON, "sha_ni": SHA_NI, "sha2": SHA2}

enabled = found


cdef frozenset names_of(int bits):
    return frozenset([name for name, bit in features.items() if bits & <int> bit])


def available():
    """The features that this processor has, by name: of "sse2", "neon", "sha_ni" and "sha2"."""
    return names_of(found)


def in_use():
    """The features that code may use: all that are available, unless `use` said otherwise."""
    return names_of(enabled)


def use(names=None):
    """Allow these features and no others; None allows all that are available. For tests, before other threads start.

    Raises IotwireError for a name that is unknown, or that this processor does not have.
    """
    global enabled
    cdef int bits = 0
    if names is None:
        enabled = found
        return
    for name in names:
        if not found & <int> features.get(name, 0):
            raise IotwireError(f"{name!r} is not a feature of this processor: {', '.join(sorted(available()))} are")
        bits |= <int> features[name]
    enabled = bits
