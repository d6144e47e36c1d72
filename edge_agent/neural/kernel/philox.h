/* Philox4x64-10, a counter-based generator: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
 * The constants are that paper's; the numbers are those of numpy.random.Philox(key, counter).random(). */
#ifndef EDGE_AGENT_PHILOX_H
#define EDGE_AGENT_PHILOX_H

#include <stdint.h>

static inline uint64_t multiply_high(uint64_t a, uint64_t b) {
    uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    uint64_t middle = a1 * b0 + (a0 * b0 >> 32), other = a0 * b1 + (uint32_t)middle;
    return a1 * b1 + (middle >> 32) + (other >> 32);
}

/* A number in [0, 1): the first of the block after `counter` (its low words; the others are 0), as numpy draws it. */
static inline double philox_uniform(uint64_t key0, uint64_t key1, uint64_t counter0, uint64_t counter1) {
    uint64_t c[4] = {counter0 + 1, counter1 + (counter0 + 1 == 0), 0, 0};
    for (int round = 0; round < 10; round++) {
        const uint64_t m0 = 0xD2E7470EE14C6C93u, m1 = 0xCA5A826395121157u;
        uint64_t high0 = multiply_high(m0, c[0]), low0 = m0 * c[0], high1 = multiply_high(m1, c[2]), low1 = m1 * c[2];
        uint64_t next[4] = {high1 ^ c[1] ^ key0, low1, high0 ^ c[3] ^ key1, low0};
        for (int i = 0; i < 4; i++) c[i] = next[i];
        key0 += 0x9E3779B97F4A7C15u;
        key1 += 0xBB67AE8584CAA73Bu;
    }
    return (double)(c[0] >> 11) * 0x1p-53;
}

#endif
