/* Division for 32-bit ARM, which has no instruction for it that all boards share: compilers call a function instead.
 *
 * zig would take that from its compiler_rt, which is one object, and with it comes a memcpy of its own that shadows the C
 * library's: copying 256 bytes then takes six times as many instructions. With these functions linked first, nothing of
 * compiler_rt is needed. Only cold code of ours divides: a check of type sizes at import, and numbers in messages.
 *
 * The names and their results, quotient and remainder in two registers, are those of the ARM run-time ABI (RTABI, 4.3.1).
 */

typedef unsigned int u32;
typedef unsigned long long u64;

#ifndef HIDDEN  /* a test wants to see them */
#define HIDDEN __attribute__((visibility("hidden")))
#endif

HIDDEN u64 __aeabi_uidivmod(u32 numerator, u32 denominator) {
    u32 quotient = 0;
    if (denominator != 0) {  /* the ABI leaves the result of a division by zero open; C has no such division */
        int shift = __builtin_clz(denominator) - __builtin_clz(numerator | 1);
        for (; shift >= 0; shift--) {
            if (numerator >> shift >= denominator) {
                numerator -= denominator << shift;
                quotient |= 1u << shift;
            }
        }
    }
    return (u64) numerator << 32 | quotient;
}

HIDDEN u32 __aeabi_uidiv(u32 numerator, u32 denominator) {
    return (u32) __aeabi_uidivmod(numerator, denominator);
}

HIDDEN u64 __aeabi_idivmod(int numerator, int denominator) {
    u64 both = __aeabi_uidivmod(numerator < 0 ? -(u32) numerator : (u32) numerator,
                                denominator < 0 ? -(u32) denominator : (u32) denominator);
    u32 quotient = (u32) both, remainder = (u32) (both >> 32);
    if ((numerator < 0) != (denominator < 0)) quotient = -quotient;
    if (numerator < 0) remainder = -remainder;  /* C truncates, so the remainder has the sign of the numerator */
    return (u64) remainder << 32 | quotient;
}

HIDDEN int __aeabi_idiv(int numerator, int denominator) {
    return (int) __aeabi_idivmod(numerator, denominator);
}
