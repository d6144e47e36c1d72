/* One value a lane: vectors of the instruction set's width, LANES of them wide together, and their functions.
 *
 * Only +, -, *, /, comparisons, conversions and integer operations are used, in a fixed order, and the
 * compiler may not contract them: a lane has the same bits whatever the vector width. Loops over ``PARTS``
 * have a constant count and are unrolled, so a Row lives in registers. */
#ifndef EDGE_AGENT_LANES_H
#define EDGE_AGENT_LANES_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define PARTS (LANES * 4 / VECTOR_BYTES)
#define INLINE static inline __attribute__((always_inline))

typedef float V __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t VI __attribute__((vector_size(VECTOR_BYTES), may_alias));

typedef struct { V v[PARTS]; } Row;
typedef struct { VI v[PARTS]; } Mask; /* all ones or all zeros a lane */

#define EACH for (int i = 0; i < PARTS; i++)

INLINE float *at(float *scratch, int64_t row) { return scratch + row * LANES; }

INLINE Row load(const float *p) {
    Row r;
    EACH r.v[i] = ((const V *)p)[i];
    return r;
}
INLINE void store(float *p, Row r) { EACH((V *)p)[i] = r.v[i]; }
INLINE Row constant(float x) {
    Row r;
    EACH r.v[i] = (V){} + x;
    return r;
}
INLINE Row add(Row a, Row b) {
    EACH a.v[i] += b.v[i];
    return a;
}
INLINE Row sub(Row a, Row b) {
    EACH a.v[i] -= b.v[i];
    return a;
}
INLINE Row mul(Row a, Row b) {
    EACH a.v[i] *= b.v[i];
    return a;
}
INLINE Row divide(Row a, Row b) {
    EACH a.v[i] /= b.v[i];
    return a;
}
INLINE Row scale(Row a, float w) {
    EACH a.v[i] *= w;
    return a;
}
INLINE Row add_scaled(Row acc, float w, const float *p) {
    EACH acc.v[i] += w * ((const V *)p)[i];
    return acc;
}

INLINE VI vbits(V x) { return (VI)x; }
INLINE V vselect(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }
INLINE Mask less(Row a, Row b) {
    Mask m;
    EACH m.v[i] = a.v[i] < b.v[i];
    return m;
}
INLINE Row choose(Mask m, Row a, Row b) {
    EACH a.v[i] = vselect(m.v[i], a.v[i], b.v[i]);
    return a;
}
INLINE V vlarger(V a, V b) { /* one instruction where there is one; values are never NaN */
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    return (V)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX__) && VECTOR_BYTES == 32
    return (V)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__) && VECTOR_BYTES == 16
    return (V)_mm_max_ps((__m128)a, (__m128)b);
#elif defined(__ARM_NEON) && VECTOR_BYTES == 16
    return (V)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
#else
    return vselect(a < b, b, a);
#endif
}
INLINE V vsqrt(V x) { /* correctly rounded, as IEEE wants it */
#if defined(__AVX512F__) && VECTOR_BYTES == 64
    return (V)_mm512_sqrt_ps((__m512)x);
#elif defined(__AVX__) && VECTOR_BYTES == 32
    return (V)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__) && VECTOR_BYTES == 16
    return (V)_mm_sqrt_ps((__m128)x);
#elif defined(__ARM_NEON) && defined(__aarch64__) && VECTOR_BYTES == 16
    return (V)vsqrtq_f32((float32x4_t)x);
#else
    for (int i = 0; i < VECTOR_BYTES / 4; i++) x[i] = __builtin_sqrtf(x[i]);
    return x;
#endif
}
INLINE Row larger(Row a, Row b) {
    EACH a.v[i] = vlarger(a.v[i], b.v[i]);
    return a;
}
INLINE Row magnitude(Row a) {
    EACH a.v[i] = (V)((VI)a.v[i] & 0x7fffffff);
    return a;
}
INLINE Mask both(Mask a, Mask b) {
    EACH a.v[i] &= b.v[i];
    return a;
}
INLINE Mask either(Mask a, Mask b) {
    EACH a.v[i] |= b.v[i];
    return a;
}
INLINE Mask none(void) {
    Mask m;
    EACH m.v[i] = (VI){};
    return m;
}

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
/* Eight bits, from ``shift`` on, of values from 0 to 65535 to which ROUND was added. */
INLINE void to_bytes(uint8_t *p, Row rounded, int shift) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    EACH((VI *)wide)[i] = (VI)rounded.v[i] >> shift;
    for (int i = 0; i < LANES; i++) p[i] = (uint8_t)wide[i];
}
INLINE Mask equal_bytes(const uint8_t *p, int value) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    widen(wide, p);
    Mask m;
    EACH m.v[i] = ((const VI *)wide)[i] == value;
    return m;
}

/* exp(x) for x <= 0 or small; it goes down to 2^-60, so that products of a few stay normal numbers (others are
 * slow). Relative error 3e-6. Adding ROUND leaves the nearest integer in the low bits of the mantissa. */
#define ROUND 12582912.0f
INLINE V vexp(V x) {
    V y = x * 1.44269504f;
    y = vlarger(y, (V){} - 60.0f);
    V whole = y + ROUND;
    V f = y - (whole - ROUND);
    V p = (((0.00957010183f * f + 0.0559178603f) * f + 0.240247448f) * f + 0.693121815f) * f + 0.999999261f;
    return (V)((VI)p + (vbits(whole) << 23));
}

/* ln x for positive normal x: absolute error 2e-6. See vxlog2x. */
INLINE V vlog(V x) {
    V e = __builtin_convertvector(vbits(x) - 0x3f800000, V) * (1.0f / 8388608.0f);
    V m = (V)((vbits(x) & 0x007fffff) | 0x3f800000);
    V p = (((((-0.0256910842f * m + 0.275148729f) * m - 1.26691811f) * m + 3.28652847f) * m - 5.34198888f) * m +
           5.11296295f) *
              m -
          2.04004023f;
    return (e + p) * 0.693147181f;
}

/* x log2 x in units of 2^-23, for x >= 0 (0 gives 0). A float's bits, as an integer, are its exponent and
 * mantissa: a logarithm but for log2 m - (m - 1) and the exponent's bias, which a quartic gives to 1.3e-4 (minimax,
 * and exact at powers of two in these operations, so that certain outcomes have no entropy). */
#define LN2 0.693147181f
#define XLOG2X_UNIT (1.0f / 8388608.0f)
INLINE V vxlog2x(V x) {
    V m = (V)((vbits(x) & 0x007fffff) | 0x3f800000);
    V p = (((-688962.375f * m + 5450178.0f) * m - 17902424.0f) * m + 25890488.0f) * m - 1078102528.0f;
    return x * (__builtin_convertvector(vbits(x), V) + p);
}

/* 255 x^(1/4) for x >= 0, relative error 1.5e-4: an estimate r of x^(-1/4) from the exponent, then one step of
 * third order, whose constants are fitted to the estimate's errors and hold the cube root of 255. */
INLINE V vcode(V x) {
    V r = (V)(0x4f504000 - (vbits(x) >> 2));
    V s = r * r;
    V e = x * (s * s);
    r = r * (9.29358589f + e * (1.42587385f * e - 4.37586243f));
    return x * (r * (r * r));
}

INLINE Row row_sqrt(Row a) {
    EACH a.v[i] = vsqrt(a.v[i]);
    return a;
}
INLINE Row row_exp(Row a) {
    EACH a.v[i] = vexp(a.v[i]);
    return a;
}
INLINE Row row_log(Row a) {
    EACH a.v[i] = vlog(a.v[i]);
    return a;
}
INLINE Row row_xlog2x(Row a) {
    EACH a.v[i] = vxlog2x(a.v[i]);
    return a;
}
INLINE Row row_code(Row a) {
    EACH a.v[i] = vcode(a.v[i]);
    return a;
}

#endif
