/* A register-resident loop of what a step does most: multiplications and additions of vectors, not contracted.
 * Twelve chains hide the latency of both. Returns the number of vector operations done. */
#include <stdint.h>

enum { CHAINS = 12 };

typedef float V __attribute__((vector_size(VECTOR_BYTES)));

int64_t vector_operations(int64_t turns, float *out) {
    V x[CHAINS], factor = (V){} + 0.999f, term = (V){} + 0.001f;
    for (int i = 0; i < CHAINS; i++) x[i] = (V){} + (float)i;
    for (int64_t t = 0; t < turns; t++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * factor + term;
        __asm__ volatile("" : "+m"(t)); /* the turns stay as many as were asked for */
    }
    for (int i = 0; i < CHAINS; i++) *out += x[i][0];
    return 2 * CHAINS * turns;
}
