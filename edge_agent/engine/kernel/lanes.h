/* One value a lane: vectors of the instruction set's width, LANES of them wide together, and their functions.
 *
 * Only +, -, *, /, comparisons, conversions and integer operations are used, in a fixed order, and the
 * compiler may not contract them: a lane has the same bits whatever the vector width. Loops over ``PARTS``
 * have a constant count and are unrolled, so a Row lives in registers. */
#ifndef EDGE_AGENT_LANES_H
#define EDGE_AGENT_LANES_H

#include <stdint.h>
#include <string.h>

#define PARTS (LANES * 4 / VECTOR_BYTES)
#define INLINE static inline __attribute__((always_inline))

typedef float V __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t VI __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t VB __attribute__((vector_size(VECTOR_BYTES / 4)));
typedef uint8_t VBU __attribute__((vector_size(VECTOR_BYTES / 4), aligned(1)));

typedef struct { V v[PARTS]; } Row;
typedef struct { VI v[PARTS]; } Mask; /* all ones or all zeros a lane */

#define EACH for (int i = 0; i < PARTS; i++)

INLINE float *at(float *scratch, int64_t row) { return scratch + row * LANES; }

INLINE Row load(const float *p) { Row r; EACH r.v[i] = ((const V *)p)[i]; return r; }
INLINE void store(float *p, Row r) { EACH ((V *)p)[i] = r.v[i]; }
INLINE Row constant(float x) { Row r; EACH r.v[i] = (V){} + x; return r; }
INLINE Row add(Row a, Row b) { EACH a.v[i] += b.v[i]; return a; }
INLINE Row sub(Row a, Row b) { EACH a.v[i] -= b.v[i]; return a; }
INLINE Row mul(Row a, Row b) { EACH a.v[i] *= b.v[i]; return a; }
INLINE Row divide(Row a, Row b) { EACH a.v[i] /= b.v[i]; return a; }
INLINE Row scale(Row a, float w) { EACH a.v[i] *= w; return a; }
INLINE Row add_scaled(Row acc, float w, const float *p) { EACH acc.v[i] += w * ((const V *)p)[i]; return acc; }

INLINE VI vbits(V x) { return (VI)x; }
INLINE V vselect(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }
INLINE Mask less(Row a, Row b) { Mask m; EACH m.v[i] = a.v[i] < b.v[i]; return m; }
INLINE Row choose(Mask m, Row a, Row b) { EACH a.v[i] = vselect(m.v[i], a.v[i], b.v[i]); return a; }
INLINE Row larger(Row a, Row b) { return choose(less(a, b), b, a); }
INLINE Row magnitude(Row a) { EACH a.v[i] = (V)((VI)a.v[i] & 0x7fffffff); return a; }
INLINE Mask both(Mask a, Mask b) { EACH a.v[i] &= b.v[i]; return a; }
INLINE Mask either(Mask a, Mask b) { EACH a.v[i] |= b.v[i]; return a; }
INLINE Mask none(void) { Mask m; EACH m.v[i] = (VI){}; return m; }

INLINE int any(Mask m) {
    VI all = m.v[0];
    for (int i = 1; i < PARTS; i++) all |= m.v[i];
    int32_t lanes[VECTOR_BYTES / 4], found = 0;
    memcpy(lanes, &all, sizeof lanes);
    for (int i = 0; i < VECTOR_BYTES / 4; i++) found |= lanes[i];
    return found != 0;
}

INLINE Row from_bytes(const uint8_t *p) {
    Row r;
    EACH {
        VB b = (VB)((const VBU *)p)[i];
        r.v[i] = __builtin_convertvector(__builtin_convertvector(b, VI), V);
    }
    return r;
}
INLINE void to_bytes(uint8_t *p, Row r) {
    EACH ((VBU *)p)[i] = (VBU)__builtin_convertvector(__builtin_convertvector(r.v[i], VI), VB);
}
INLINE Mask equal_bytes(const uint8_t *p, int value) {
    Mask m;
    EACH m.v[i] = __builtin_convertvector((VB)((const VBU *)p)[i], VI) == value;
    return m;
}

/* exp(x), x <= 0 or small; below -87 the result is exp(-87). Relative error 2e-7. */
INLINE V vexp(V x) {
    x = vselect(x < -87.0f, (V){} - 87.0f, x);
    V scaled = x * 1.44269504f;
    V biased = scaled + 256.5f; /* positive: truncation rounds to nearest */
    VI n = __builtin_convertvector(biased, VI) - 256;
    V f = __builtin_convertvector(n, V);
    V r = (x - f * 0.693359375f) + f * 2.12194440e-4f;
    V p = ((((1.9875691500e-4f * r + 1.3981999507e-3f) * r + 8.3334519073e-3f) * r + 4.1665795894e-2f) * r +
           1.6666665459e-1f) * r + 5.0000001201e-1f;
    p = (p * r * r + r) + 1.0f;
    return (V)((VI)p + (n << 23));
}

/* ln x for positive normal x. Absolute error 1e-7 near 1, relative 1e-7 elsewhere. */
INLINE V vlog(V x) {
    VI bits = vbits(x) - 0x3f3504f3; /* centre the mantissa on sqrt(1/2) .. sqrt(2) */
    VI e = bits >> 23;
    V m = (V)(vbits(x) - (e << 23));
    V f = __builtin_convertvector(e, V);
    V z = m - 1.0f;
    V p = ((((((((7.0376836292e-2f * z - 1.1514610310e-1f) * z + 1.1676998740e-1f) * z - 1.2420140846e-1f) * z +
               1.4249322787e-1f) * z - 1.6668057665e-1f) * z + 2.0000714765e-1f) * z - 2.4999993993e-1f) * z +
           3.3333331174e-1f);
    V zz = z * z;
    V tail = z * zz * p - 2.12194440e-4f * f;
    tail = tail - 0.5f * zz;
    return (z + tail) + 0.693359375f * f;
}

/* x log2 x for x >= 0 (0 gives 0). Absolute error of the logarithm 2e-5. */
INLINE V vxlog2x(V x) {
    VI bits = vbits(x) - 0x3f3504f3;
    VI e = bits >> 23;
    V m = (V)(vbits(x) - (e << 23));
    V z = m - 1.0f;
    V p = ((((-0.1945213f * z + 0.3163344f) * z - 0.3652411f) * z + 0.4797573f) * z - 0.7212131f) * z + 1.4427022f;
    return x * (__builtin_convertvector(e, V) + p * z);
}

/* x^(1/4) for x >= 0: an estimate from the exponent, then Newton's iteration for x^(-1/4). */
INLINE V vroot4(V x) {
    V r = (V)(0x4f58cae5 - (vbits(x) >> 2));
    V s = r * r;
    r = r * (1.25f - 0.25f * x * (s * s));
    s = r * r;
    r = r * (1.25f - 0.25f * x * (s * s));
    return x * (r * r * r);
}

INLINE Row row_exp(Row a) { EACH a.v[i] = vexp(a.v[i]); return a; }
INLINE Row row_log(Row a) { EACH a.v[i] = vlog(a.v[i]); return a; }
INLINE Row row_xlog2x(Row a) { EACH a.v[i] = vxlog2x(a.v[i]); return a; }
INLINE Row row_root4(Row a) { EACH a.v[i] = vroot4(a.v[i]); return a; }

#endif
