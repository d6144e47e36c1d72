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

typedef float V __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t VI __attribute__((vector_size(VECTOR_BYTES), may_alias));

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

/* Bytes go through plain loops, which compilers vectorise; their vector conversions from bytes go lane by lane. */
INLINE void widen(int32_t *out, const uint8_t *p) {
    for (int i = 0; i < LANES; i++) out[i] = p[i];
}
INLINE Row from_bytes(const uint8_t *p) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    widen(wide, p);
    Row r;
    EACH r.v[i] = __builtin_convertvector(((const VI *)wide)[i], V);
    return r;
}
INLINE void to_bytes(uint8_t *p, Row r) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    EACH ((VI *)wide)[i] = __builtin_convertvector(r.v[i], VI);
    for (int i = 0; i < LANES; i++) p[i] = (uint8_t)wide[i];
}
INLINE Mask equal_bytes(const uint8_t *p, int value) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    widen(wide, p);
    Mask m;
    EACH m.v[i] = ((const VI *)wide)[i] == value;
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

/* x log2 x in units of 2^-23, for x >= 0 (0 gives 0). A float's bits, as an integer, are its exponent and
 * mantissa: a logarithm but for log2 m - (m - 1), which a cubic gives to 6.4e-4 (minimax). The errors of the
 * terms of an entropy have both signs; the tests hold its error below 3e-4 nats. */
#define XLOG2X_UNIT (1.0f / 8388608.0f)
INLINE V vxlog2x(V x) {
    VI bits = vbits(x) - 0x3f800000;
    V m = (V)((vbits(x) & 0x007fffff) | 0x3f800000);
    V p = ((1327486.04f * m - 8823765.9f) * m + 17178895.4f) * m - 9677271.02f;
    return x * (__builtin_convertvector(bits, V) + p);
}

/* x^(1/4) for x >= 0, relative error 1.5e-4: an estimate r of x^(-1/4) from the exponent, then one step of third
 * order, whose constants are fitted to the estimate's errors. */
INLINE V vroot4(V x) {
    V r = (V)(0x4f504000 - (vbits(x) >> 2));
    V s = r * r;
    V e = x * (s * s);
    r = r * (1.46555883f + e * (0.22485422f * e - 0.69005483f));
    return x * (r * (r * r));
}

INLINE Row row_exp(Row a) { EACH a.v[i] = vexp(a.v[i]); return a; }
INLINE Row row_log(Row a) { EACH a.v[i] = vlog(a.v[i]); return a; }
INLINE Row row_xlog2x(Row a) { EACH a.v[i] = vxlog2x(a.v[i]); return a; }
INLINE Row row_root4(Row a) { EACH a.v[i] = vroot4(a.v[i]); return a; }

#endif
