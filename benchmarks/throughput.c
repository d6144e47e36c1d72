/* Loops of the kernel's vector operations on registers alone: what a core can do of them. See throughput.py. */
#include "vectors.h"

#define CHAINS 12 /* independent of each other: enough to hide latency, few enough for registers */
#define LOGARITHMS 4

enum { MULTIPLY_ADD = 1, XLOG2X = 9 + 1 }; /* operations, as limit.py counts them; with what keeps values in range */

static float total(const V *x, int count) {
    float sum = 0.0f;
    for (int i = 0; i < count; i++) sum += x[i][0];
    return sum;
}

/* Vector operations of ``turns`` rounds of multiply-adds; ``sink`` keeps the compiler from leaving them out. */
int64_t multiply_adds(int64_t turns, float *sink) {
    V x[CHAINS], factor = (V){} + 0.5f, term = (V){} + *sink;
    for (int i = 0; i < CHAINS; i++) x[i] = (V){} + (float)i;
    for (int64_t n = 0; n < turns; n++)
        for (int i = 0; i < CHAINS; i++) x[i] = vmadd(x[i], factor, term);
    *sink = total(x, CHAINS);
    return turns * CHAINS * MULTIPLY_ADD;
}

/* The same of x log2 x. */
int64_t logarithms(int64_t turns, float *sink) {
    V x[LOGARITHMS], factor = (V){} + 1e-9f, term = (V){} + *sink;
    for (int i = 0; i < LOGARITHMS; i++) x[i] = (V){} + (float)(i + 1);
    for (int64_t n = 0; n < turns; n++)
        for (int i = 0; i < LOGARITHMS; i++) x[i] = vmadd(x[i] * vlog2(x[i]), factor, term);
    *sink = total(x, LOGARITHMS);
    return turns * LOGARITHMS * XLOG2X;
}
