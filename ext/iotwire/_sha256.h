/* SHA-256 (FIPS 180-4) and HMAC (RFC 2104) over it: what signatures are made of.

   Ours, so that signing needs neither OpenSSL nor a Python call. Three ways to do the same: portable C, SHA-NI of
   x86-64 and the Cryptography Extension of aarch64. Which one a call takes is told by `features`, the bits of _cpu.pxd,
   so that a test can force each. Nothing here allocates, and nothing reads a word through a cast pointer. */

#ifndef IOTWIRE_SHA256_H
#define IOTWIRE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define IOTWIRE_DIGEST_SIZE 32
#define IOTWIRE_BLOCK_SIZE 64

#if defined(__GNUC__) && !defined(_WIN32)
    #define IOTWIRE_HIDDEN __attribute__((visibility("hidden"))) /* for the module that this is linked into alone */
#else
    #define IOTWIRE_HIDDEN
#endif

/* Takes in whole blocks. */
typedef void (*iotwire_compress)(uint32_t state[8], const uint8_t* blocks, size_t count);

typedef struct {
    uint32_t state[8];
    uint64_t size; /* bytes so far; those of the last block that is not full wait in `block` */
    iotwire_compress compress;
    uint8_t block[IOTWIRE_BLOCK_SIZE];
} iotwire_sha256;

/* What a key makes of the state before any data: two blocks less for each message. As secret as the key. */
typedef struct {
    uint32_t inner[8];
    uint32_t outer[8];
} iotwire_hmac_key;

IOTWIRE_HIDDEN void iotwire_sha256_begin(iotwire_sha256* hash, int features);
IOTWIRE_HIDDEN void iotwire_sha256_add(iotwire_sha256* hash, const uint8_t* data, size_t size);
/* The digest; nothing of the data stays in `hash`. */
IOTWIRE_HIDDEN void iotwire_sha256_end(iotwire_sha256* hash, uint8_t digest[IOTWIRE_DIGEST_SIZE]);

/* A key of any length. */
IOTWIRE_HIDDEN void iotwire_hmac_prepare(iotwire_hmac_key* prepared, const uint8_t* key, size_t size, int features);
/* `code` may be where `data` is. */
IOTWIRE_HIDDEN void iotwire_hmac(
    const iotwire_hmac_key* key, const uint8_t* data, size_t size, uint8_t code[IOTWIRE_DIGEST_SIZE], int features);

/* Zeros over a secret that is not needed any more; no compiler may leave it out. */
IOTWIRE_HIDDEN void iotwire_wipe(void* secret, size_t size);
/* Whether they differ, in a time that does not tell where. */
IOTWIRE_HIDDEN int iotwire_differ(const uint8_t* one, const uint8_t* other, size_t size);

#endif
