/* Vectors of floats, VECTOR_BYTES wide, and functions of their elements.
 *
 * Only +, -, *, /, a * b + c rounded once, comparisons, conversions and integer operations are used, in a fixed
 * order, and the compiler may not contract them: an element has the same bits whatever the vector's width.
 *
 * RULES_1: compiled for bundles without options, whose golden vectors were made when a * b + c was rounded twice. */
#ifndef EDGE_AGENT_VECTORS_H
#define EDGE_AGENT_VECTORS_H

#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float V __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t VI __attribute__((vector_size(VECTOR_BYTES), may_alias));

/* a * b + c, rounded once: exact in double precision but for its last rounding. The odd neighbour of an inexact sum
 * rounds to what the exact sum would (Boldo and Melquiond 2008, "Emulation of FMA"). */
INLINE float madd_by_doubles(float a, float b, float c) {
    double product = (double)a * (double)b, third = (double)c, sum = product + third;
    double part = sum - product, error = (product - (sum - part)) + (third - part);
    uint64_t bits;
    memcpy(&bits, &sum, sizeof bits);
    if (error != 0.0 && !(bits & 1)) bits += (error > 0.0) == (sum > 0.0) ? 1 : (uint64_t)-1;
    memcpy(&sum, &bits, sizeof bits);
    return (float)sum;
}

/* a * b + c, rounded once; twice under rules 1. */
INLINE float madd1(float a, float b, float c) {
#ifdef RULES_1
    return a * b + c;
#elif defined(__FMA__) || defined(__aarch64__)
    return __builtin_fmaf(a, b, c);
#else
    return madd_by_doubles(a, b, c);
#endif
}
INLINE V vmadd(V a, V b, V c) {
#ifdef RULES_1
    return a * b + c;
#elif defined(__AVX512F__) && VECTOR_BYTES == 64
    return (V)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__) && VECTOR_BYTES == 32
    return (V)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__FMA__) && VECTOR_BYTES == 16
    return (V)_mm_fmadd_ps((__m128)a, (__m128)b, (__m128)c);
#elif defined(__aarch64__) && VECTOR_BYTES == 16
    return (V)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#elif defined(__SSE2__) && VECTOR_BYTES == 16
    __m128 x = (__m128)a, y = (__m128)b, z = (__m128)c;
    __m128d low = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(x), _mm_cvtps_pd(y)), _mm_cvtps_pd(z));
    __m128d high = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(x, x)), _mm_cvtps_pd(_mm_movehl_ps(y, y))),
                              _mm_cvtps_pd(_mm_movehl_ps(z, z)));
    /* Rounding a double again goes wrong only half way between two floats, or below the smallest normal one. */
    VI ends = (VI)_mm_shuffle_ps((__m128)low, (__m128)high, _MM_SHUFFLE(2, 0, 2, 0));
    VI starts = (VI)_mm_shuffle_ps((__m128)low, (__m128)high, _MM_SHUFFLE(3, 1, 3, 1)) & 0x7fffffff;
    VI doubtful = ((ends & 0x1fffffff) == 0x10000000) | ((starts < 0x38100000) & (starts != 0));
    V sum = (V)_mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
    if (_mm_movemask_ps((__m128)doubtful))
        for (int i = 0; i < 4; i++) sum[i] = madd_by_doubles(a[i], b[i], c[i]);
    return sum;
#else
    for (int i = 0; i < VECTOR_BYTES / 4; i++) a[i] = madd1(a[i], b[i], c[i]);
    return a;
#endif
}

INLINE VI vbits(V x) { return (VI)x; }
INLINE V vselect(VI m, V a, V b) { return (V)((m & (VI)a) | (~m & (VI)b)); }
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

/* c4 x^4 + c3 x^3 + c2 x^2 + c1 x + c0 */
#define POLYNOMIAL_4(x, c4, c3, c2, c1, c0)                                                                            \
    vmadd(vmadd(vmadd(vmadd((V){} + (c4), x, (V){} + (c3)), x, (V){} + (c2)), x, (V){} + (c1)), x, (V){} + (c0))

/* exp(x) for x <= 0 or small; it goes down to 2^-60, so that products of a few stay normal numbers (others are
 * slow). Relative error 3e-6. Adding ROUND leaves the nearest integer in the low bits of the mantissa. */
#define ROUND 12582912.0f
INLINE V vexp(V x) {
    V y = x * 1.44269504f;
    y = vlarger(y, (V){} - 60.0f);
    V whole = y + ROUND;
    V f = y - (whole - ROUND);
    V p = POLYNOMIAL_4(f, 0.00957010183f, 0.0559178603f, 0.240247448f, 0.693121815f, 0.999999261f);
    return (V)((VI)p + (vbits(whole) << 23));
}

/* ln x for positive normal x: absolute error 2e-6. See vlog2. */
INLINE V vlog(V x) {
    V e = __builtin_convertvector(vbits(x) - 0x3f800000, V) * (1.0f / 8388608.0f);
    V m = (V)((vbits(x) & 0x007fffff) | 0x3f800000);
    V p = POLYNOMIAL_4(m, -0.0256910842f, 0.275148729f, -1.26691811f, 3.28652847f, -5.34198888f);
    p = vmadd(vmadd(p, m, (V){} + 5.11296295f), m, (V){} - 2.04004023f);
    return (e + p) * 0.693147181f;
}

/* log2 x in units of 2^-23, for x >= 0, of which x log2 x is made: x log2 x is 0 for 0. A float's bits, as an integer,
 * are its exponent and mantissa: a logarithm but for log2 m - (m - 1) and the exponent's bias, which a quartic gives to
 * 1.3e-4 (minimax, and exact at powers of two in these operations, so that certain outcomes have no entropy). */
#define LN2 0.693147181f
#define LOG2_UNIT (1.0f / 8388608.0f)
INLINE V vlog2(V x) {
    V m = (V)((vbits(x) & 0x007fffff) | 0x3f800000), e = __builtin_convertvector(vbits(x), V);
#ifdef RULES_1
    return e + POLYNOMIAL_4(m, -688962.375f, 5450178.0f, -17902424.0f, 25890488.0f, -1078102528.0f);
#else
    V p = vmadd(vmadd((V){} - 688962.0f, m, (V){} + 5450178.0f), m, (V){} - 17902424.0f);
    return vmadd(vmadd(p, m, (V){} + 25890520.0f), m, e - 1078102528.0f);
#endif
}

/* 255 x^(1/4) for x >= 0, relative error 1.5e-4: an estimate r of x^(-1/4) from the exponent, then one step of
 * third order, whose constants are fitted to the estimate's errors and hold the cube root of 255. */
INLINE V vcode(V x) {
    V r = (V)(0x4f504000 - (vbits(x) >> 2));
    V s = r * r;
    V e = x * (s * s);
    r = r * vmadd(e, vmadd((V){} + 1.42587385f, e, (V){} - 4.37586243f), (V){} + 9.29358589f);
    return x * (r * (r * r));
}

#endif
