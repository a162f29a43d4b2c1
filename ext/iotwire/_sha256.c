/* See _sha256.h. The names of FIPS 180-4 are kept: a to h, W, K, and its functions by their numbers. */

#include "_sha256.h"

#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
    #include <immintrin.h>
    #define IOTWIRE_HAS_SHA_NI 1
    /* For these functions alone: the rest of the module runs on any x86-64. */
    #define IOTWIRE_SHA_CODE __attribute__((target("sha,ssse3,sse4.1")))
#elif defined(_MSC_VER) && defined(_M_X64)
    #include <immintrin.h>
    #define IOTWIRE_HAS_SHA_NI 1
    #define IOTWIRE_SHA_CODE
#elif defined(__GNUC__) && defined(__aarch64__) && defined(__ARM_NEON)
    #include <arm_neon.h>
    #define IOTWIRE_HAS_SHA2 1
    #if defined(__ARM_FEATURE_SHA2) || defined(__ARM_FEATURE_CRYPTO) /* the whole build may use it, as on a Mac */
        #define IOTWIRE_SHA_CODE
    #elif defined(__clang__)
        #define IOTWIRE_SHA_CODE __attribute__((target("sha2")))
    #else
        #define IOTWIRE_SHA_CODE __attribute__((target("+crypto")))
    #endif
#endif

/* Bits of _cpu.pxd's Feature. */
#define FEATURE_SHA_NI 4
#define FEATURE_SHA2 8

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes [4.2.2]. */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

/* The same of the square roots of the first eight primes [5.3.3]. */
static const uint32_t INITIAL[8] = {
    0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};

/* Called through a pointer that the compiler must read, it may not be known to be memset, and not be left out. */
static void* (*const volatile set_bytes)(void*, int, size_t) = memset;

void iotwire_wipe(void* secret, size_t size) {
    if (size != 0) set_bytes(secret, 0, size);
}

int iotwire_differ(const uint8_t* one, const uint8_t* other, size_t size) {
    volatile uint8_t difference = 0; /* volatile: no early end may be made of this */
    size_t at;
    for (at = 0; at < size; at++) difference = (uint8_t) (difference | (one[at] ^ other[at]));
    return difference != 0;
}

static uint32_t read_u32(const uint8_t* at) {
    return (uint32_t) at[0] << 24 | (uint32_t) at[1] << 16 | (uint32_t) at[2] << 8 | at[3];
}

static void put_u32(uint8_t* at, uint32_t value) {
    at[0] = (uint8_t) (value >> 24);
    at[1] = (uint8_t) (value >> 16);
    at[2] = (uint8_t) (value >> 8);
    at[3] = (uint8_t) value;
}

/* ---- portable [6.2.2] */

#define ROTATED(x, n) ((x) >> (n) | (x) << (32 - (n)))
#define SIGMA_0(x) (ROTATED(x, 2) ^ ROTATED(x, 13) ^ ROTATED(x, 22))
#define SIGMA_1(x) (ROTATED(x, 6) ^ ROTATED(x, 11) ^ ROTATED(x, 25))
#define SMALL_SIGMA_0(x) (ROTATED(x, 7) ^ ROTATED(x, 18) ^ (x) >> 3)
#define SMALL_SIGMA_1(x) (ROTATED(x, 17) ^ ROTATED(x, 19) ^ (x) >> 10)
#define CHOICE(x, y, z) ((z) ^ ((x) & ((y) ^ (z))))
#define MAJORITY(x, y, z) (((x) & (y)) | ((z) & ((x) | (y))))

/* Sixteen words of W are all that is needed at a time: word t takes the place of word t - 16. */
#define EXPANDED(t) \
    (W[(t) & 15] += SMALL_SIGMA_1(W[((t) - 2) & 15]) + W[((t) - 7) & 15] + SMALL_SIGMA_0(W[((t) - 15) & 15]))

/* A round without the moves from each letter to the next: of eight in turn, each has its letters one further on. */
#define ROUND(a, b, c, d, e, f, g, h, word, t) \
    do { \
        uint32_t T_1 = h + SIGMA_1(e) + CHOICE(e, f, g) + K[t] + (word); \
        d += T_1; \
        h = T_1 + SIGMA_0(a) + MAJORITY(a, b, c); \
    } while (0)

#define EIGHT_ROUNDS(WORD, t) \
    do { \
        ROUND(a, b, c, d, e, f, g, h, WORD((t)), (t)); \
        ROUND(h, a, b, c, d, e, f, g, WORD((t) + 1), (t) + 1); \
        ROUND(g, h, a, b, c, d, e, f, WORD((t) + 2), (t) + 2); \
        ROUND(f, g, h, a, b, c, d, e, WORD((t) + 3), (t) + 3); \
        ROUND(e, f, g, h, a, b, c, d, WORD((t) + 4), (t) + 4); \
        ROUND(d, e, f, g, h, a, b, c, WORD((t) + 5), (t) + 5); \
        ROUND(c, d, e, f, g, h, a, b, WORD((t) + 6), (t) + 6); \
        ROUND(b, c, d, e, f, g, h, a, WORD((t) + 7), (t) + 7); \
    } while (0)

#define AS_READ(t) W[(t)]

static void compress_portable(uint32_t state[8], const uint8_t* blocks, size_t count) {
    uint32_t W[16];
    for (; count != 0; count--, blocks += IOTWIRE_BLOCK_SIZE) {
        uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
        uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
        int t;
        for (t = 0; t < 16; t++) W[t] = read_u32(blocks + 4 * t);
        for (t = 0; t < 16; t += 8) EIGHT_ROUNDS(AS_READ, t);
        for (t = 16; t < 64; t += 16) { /* sixteen in a turn: the places in W are then known to the compiler */
            EIGHT_ROUNDS(EXPANDED, t);
            EIGHT_ROUNDS(EXPANDED, t + 8);
        }
        state[0] += a;
        state[1] += b;
        state[2] += c;
        state[3] += d;
        state[4] += e;
        state[5] += f;
        state[6] += g;
        state[7] += h;
    }
    iotwire_wipe(W, sizeof W); /* the first blocks of an HMAC are its key */
}

/* ---- with instructions: four words of W in each of `w0` to `w3`, which take the place of those sixteen before */

#define ALL_ROUNDS(FOUR_ROUNDS, EXPAND) \
    do { \
        int t; \
        FOUR_ROUNDS(w0, 0); \
        FOUR_ROUNDS(w1, 4); \
        FOUR_ROUNDS(w2, 8); \
        FOUR_ROUNDS(w3, 12); \
        for (t = 16; t < 64; t += 16) { \
            EXPAND(w0, w1, w2, w3); \
            FOUR_ROUNDS(w0, t); \
            EXPAND(w1, w2, w3, w0); \
            FOUR_ROUNDS(w1, t + 4); \
            EXPAND(w2, w3, w0, w1); \
            FOUR_ROUNDS(w2, t + 8); \
            EXPAND(w3, w0, w1, w2); \
            FOUR_ROUNDS(w3, t + 12); \
        } \
    } while (0)

/* ---- x86-64: an instruction for two rounds, and two for the next four words of W */

#if defined(IOTWIRE_HAS_SHA_NI)

IOTWIRE_SHA_CODE static __m128i four_words(const uint8_t* at, __m128i big_endian) {
    __m128i words;
    memcpy(&words, at, sizeof words);
    return _mm_shuffle_epi8(words, big_endian);
}

IOTWIRE_SHA_CODE static __m128i four_constants(int t) {
    __m128i constants;
    memcpy(&constants, K + t, sizeof constants);
    return constants;
}

/* Four rounds with the words in `w0`. */
#define FOUR_ROUNDS_NI(w0, t) \
    do { \
        __m128i sums = _mm_add_epi32(w0, four_constants(t)); \
        CDGH = _mm_sha256rnds2_epu32(CDGH, ABEF, sums); \
        ABEF = _mm_sha256rnds2_epu32(ABEF, CDGH, _mm_shuffle_epi32(sums, 0x0E)); \
    } while (0)

/* W[t] to W[t + 3] into the place of the sixteen-before; `w1` to `w3` follow those in order. */
#define EXPAND_NI(w0, w1, w2, w3) \
    (w0 = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4)), w3))

IOTWIRE_SHA_CODE static void compress_sha_ni(uint32_t state[8], const uint8_t* blocks, size_t count) {
    /* The byte that goes to each place, the highest place first: the bytes of each word turned round. */
    const __m128i big_endian = _mm_set_epi8(12, 13, 14, 15, 8, 9, 10, 11, 4, 5, 6, 7, 0, 1, 2, 3);
    /* The instructions want the letters in this order. */
    __m128i ABEF = _mm_set_epi32((int) state[0], (int) state[1], (int) state[4], (int) state[5]);
    __m128i CDGH = _mm_set_epi32((int) state[2], (int) state[3], (int) state[6], (int) state[7]);
    uint32_t letters[4];
    for (; count != 0; count--, blocks += IOTWIRE_BLOCK_SIZE) {
        const __m128i ABEF_before = ABEF, CDGH_before = CDGH;
        __m128i w0 = four_words(blocks, big_endian);
        __m128i w1 = four_words(blocks + 16, big_endian);
        __m128i w2 = four_words(blocks + 32, big_endian);
        __m128i w3 = four_words(blocks + 48, big_endian);
        ALL_ROUNDS(FOUR_ROUNDS_NI, EXPAND_NI);
        ABEF = _mm_add_epi32(ABEF, ABEF_before);
        CDGH = _mm_add_epi32(CDGH, CDGH_before);
    }
    memcpy(letters, &ABEF, sizeof letters);
    state[0] = letters[3];
    state[1] = letters[2];
    state[4] = letters[1];
    state[5] = letters[0];
    memcpy(letters, &CDGH, sizeof letters);
    state[2] = letters[3];
    state[3] = letters[2];
    state[6] = letters[1];
    state[7] = letters[0];
}

#endif

/* ---- aarch64: an instruction for half of four rounds, and two for the next four words of W */

#if defined(IOTWIRE_HAS_SHA2)

IOTWIRE_SHA_CODE static uint32x4_t four_words(const uint8_t* at) {
    const uint8x16_t bytes = vld1q_u8(at);
#if defined(__AARCH64EB__)
    return vreinterpretq_u32_u8(bytes);
#else
    return vreinterpretq_u32_u8(vrev32q_u8(bytes));
#endif
}

#define FOUR_ROUNDS_ARM(w0, t) \
    do { \
        const uint32x4_t sums = vaddq_u32(w0, vld1q_u32(K + (t))); \
        const uint32x4_t ABCD_then = ABCD; \
        ABCD = vsha256hq_u32(ABCD, EFGH, sums); \
        EFGH = vsha256h2q_u32(EFGH, ABCD_then, sums); \
    } while (0)

#define EXPAND_ARM(w0, w1, w2, w3) (w0 = vsha256su1q_u32(vsha256su0q_u32(w0, w1), w2, w3))

IOTWIRE_SHA_CODE static void compress_sha2(uint32_t state[8], const uint8_t* blocks, size_t count) {
    uint32x4_t ABCD = vld1q_u32(state);
    uint32x4_t EFGH = vld1q_u32(state + 4);
    for (; count != 0; count--, blocks += IOTWIRE_BLOCK_SIZE) {
        const uint32x4_t ABCD_before = ABCD, EFGH_before = EFGH;
        uint32x4_t w0 = four_words(blocks);
        uint32x4_t w1 = four_words(blocks + 16);
        uint32x4_t w2 = four_words(blocks + 32);
        uint32x4_t w3 = four_words(blocks + 48);
        ALL_ROUNDS(FOUR_ROUNDS_ARM, EXPAND_ARM);
        ABCD = vaddq_u32(ABCD, ABCD_before);
        EFGH = vaddq_u32(EFGH, EFGH_before);
    }
    vst1q_u32(state, ABCD);
    vst1q_u32(state + 4, EFGH);
}

#endif

static iotwire_compress chosen(int features) {
#if defined(IOTWIRE_HAS_SHA_NI)
    if (features & FEATURE_SHA_NI) return compress_sha_ni;
#elif defined(IOTWIRE_HAS_SHA2)
    if (features & FEATURE_SHA2) return compress_sha2;
#endif
    (void) features;
    return compress_portable;
}

/* ---- any number of bytes */

void iotwire_sha256_begin(iotwire_sha256* hash, int features) {
    memcpy(hash->state, INITIAL, sizeof hash->state);
    hash->size = 0;
    hash->compress = chosen(features);
}

void iotwire_sha256_add(iotwire_sha256* hash, const uint8_t* data, size_t size) {
    const size_t waiting = (size_t) (hash->size % IOTWIRE_BLOCK_SIZE);
    if (size == 0) return; /* `data` may then be NULL */
    hash->size += size;
    if (waiting != 0) {
        const size_t missing = IOTWIRE_BLOCK_SIZE - waiting;
        if (size < missing) {
            memcpy(hash->block + waiting, data, size);
            return;
        }
        memcpy(hash->block + waiting, data, missing);
        hash->compress(hash->state, hash->block, 1);
        data += missing;
        size -= missing;
    }
    if (size >= IOTWIRE_BLOCK_SIZE) {
        hash->compress(hash->state, data, size / IOTWIRE_BLOCK_SIZE);
        data += size - size % IOTWIRE_BLOCK_SIZE;
        size %= IOTWIRE_BLOCK_SIZE;
    }
    if (size != 0) memcpy(hash->block, data, size);
}

void iotwire_sha256_end(iotwire_sha256* hash, uint8_t digest[IOTWIRE_DIGEST_SIZE]) {
    /* A one bit, zeros, and the size in bits as the last eight bytes of a block [5.1.1]. */
    const uint64_t bits = hash->size << 3;
    size_t waiting = (size_t) (hash->size % IOTWIRE_BLOCK_SIZE);
    int i;
    hash->block[waiting++] = 0x80;
    if (waiting > IOTWIRE_BLOCK_SIZE - 8) {
        memset(hash->block + waiting, 0, IOTWIRE_BLOCK_SIZE - waiting);
        hash->compress(hash->state, hash->block, 1);
        waiting = 0;
    }
    memset(hash->block + waiting, 0, IOTWIRE_BLOCK_SIZE - 8 - waiting);
    put_u32(hash->block + IOTWIRE_BLOCK_SIZE - 8, (uint32_t) (bits >> 32));
    put_u32(hash->block + IOTWIRE_BLOCK_SIZE - 4, (uint32_t) bits);
    hash->compress(hash->state, hash->block, 1);
    for (i = 0; i < 8; i++) put_u32(digest + 4 * i, hash->state[i]);
    iotwire_wipe(hash, sizeof *hash);
}

/* ---- HMAC */

void iotwire_hmac_prepare(iotwire_hmac_key* prepared, const uint8_t* key, size_t size, int features) {
    const iotwire_compress compress = chosen(features);
    uint8_t block[IOTWIRE_BLOCK_SIZE] = {0};
    int i;
    if (size > IOTWIRE_BLOCK_SIZE) {
        iotwire_sha256 hash;
        iotwire_sha256_begin(&hash, features);
        iotwire_sha256_add(&hash, key, size);
        iotwire_sha256_end(&hash, block);
    } else if (size != 0) {
        memcpy(block, key, size);
    }
    for (i = 0; i < IOTWIRE_BLOCK_SIZE; i++) block[i] ^= 0x36; /* ipad */
    memcpy(prepared->inner, INITIAL, sizeof prepared->inner);
    compress(prepared->inner, block, 1);
    for (i = 0; i < IOTWIRE_BLOCK_SIZE; i++) block[i] ^= 0x36 ^ 0x5C; /* opad */
    memcpy(prepared->outer, INITIAL, sizeof prepared->outer);
    compress(prepared->outer, block, 1);
    iotwire_wipe(block, sizeof block);
}

void iotwire_hmac(
    const iotwire_hmac_key* key, const uint8_t* data, size_t size, uint8_t code[IOTWIRE_DIGEST_SIZE], int features) {
    iotwire_sha256 hash;
    iotwire_sha256_begin(&hash, features);
    memcpy(hash.state, key->inner, sizeof hash.state);
    hash.size = IOTWIRE_BLOCK_SIZE;
    iotwire_sha256_add(&hash, data, size);
    iotwire_sha256_end(&hash, code);
    iotwire_sha256_begin(&hash, features);
    memcpy(hash.state, key->outer, sizeof hash.state);
    hash.size = IOTWIRE_BLOCK_SIZE;
    iotwire_sha256_add(&hash, code, IOTWIRE_DIGEST_SIZE);
    iotwire_sha256_end(&hash, code);
}
