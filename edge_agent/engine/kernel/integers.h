/* Products of dense tensors with beliefs, in integers of 16 bits (integer_weights.py says of which tensors).
 *
 * A weight is an integer in the tensor's unit, a belief one in a unit of its lane; products are added up in 32 bits
 * without overflow, so a sum is exact in any order, on every instruction set. Two columns are multiplied at once: a
 * packed row has the beliefs of both in one element a lane, 16 bits each.
 *
 * Weights are laid out as they are read: of four rows the first two columns, then the next two. Rows are in groups,
 * of those that are applied together (a control's); a group is padded to whole blocks of four rows, and a row to
 * whole pairs.
 *
 * The unit of a lane: its largest belief is at most 32767, and a row's sum stays below 2^31. Where a row adds up to
 * ``spread`` times the tensor's largest weight at most, that holds for beliefs that add up to ROOM, and for beliefs
 * of at most ROOM / spread. What an integer stands for is taken from the integers' sum, so that many small beliefs
 * that are rounded to 0 leave the sum of all as it was. */
#ifndef EDGE_AGENT_INTEGERS_H
#define EDGE_AGENT_INTEGERS_H

#include "lanes.h"
#include "model.h"

#define LARGEST 32767.0f
#define ROOM 65000.0f /* of 65,536: beliefs do not add up to 1 exactly */
#define ROUND_BITS 0x4b400000
#define VECTOR_LANES (VECTOR_BYTES / 4)
#define BLOCK                                                                                                          \
    (PARTS < 2 ? 1 : 2) /* vectors of sums a row, and rows, that registers hold with what they are made of             \
                         */
#define BLOCK_ROWS 4
#define CACHED_WEIGHTS 32768 /* that are read for all lanes before the next: 64 KB */

#if defined(__AVX512BW__) && VECTOR_BYTES == 64
typedef __m512i Weights;
INLINE Weights weights_at(const int32_t *pair) { return _mm512_set1_epi32(*pair); }
INLINE VI add_products(VI sum, VI beliefs, Weights w) { return sum + (VI)_mm512_madd_epi16((__m512i)beliefs, w); }
#elif defined(__AVX2__) && VECTOR_BYTES == 32
typedef __m256i Weights;
INLINE Weights weights_at(const int32_t *pair) { return _mm256_set1_epi32(*pair); }
INLINE VI add_products(VI sum, VI beliefs, Weights w) { return sum + (VI)_mm256_madd_epi16((__m256i)beliefs, w); }
#elif defined(__SSE2__) && VECTOR_BYTES == 16
typedef __m128i Weights;
INLINE Weights weights_at(const int32_t *pair) { return _mm_set1_epi32(*pair); }
INLINE VI add_products(VI sum, VI beliefs, Weights w) { return sum + (VI)_mm_madd_epi16((__m128i)beliefs, w); }
#elif defined(__ARM_NEON) && defined(__aarch64__) && VECTOR_BYTES == 16
/* A vector has four lanes' beliefs of the first column, then those of the second. */
typedef int16x4_t Weights;
INLINE Weights weights_at(const int32_t *pair) { return vreinterpret_s16_s32(vld1_dup_s32(pair)); }
INLINE VI add_products(VI sum, VI beliefs, Weights w) {
    int32x4_t out = vmlal_lane_s16((int32x4_t)sum, vget_low_s16((int16x8_t)beliefs), w, 0);
    return (VI)vmlal_high_lane_s16(out, (int16x8_t)beliefs, w, 1);
}
#else
typedef int32_t Weights;
INLINE Weights weights_at(const int32_t *pair) { return *pair; }
INLINE VI add_products(VI sum, VI beliefs, Weights w) {
    int32_t first = (int16_t)(w & 0xffff), second = w >> 16;
    return sum + (beliefs << 16 >> 16) * first + (beliefs >> 16) * second;
}
#endif

INLINE float *at_row(float *rows, int64_t row, int32_t lanes) { return rows + row * lanes; }

INLINE VI pair_of(VI first, VI second) {
#if defined(__ARM_NEON) && defined(__aarch64__)
    return (VI)vcombine_s16(vmovn_s32((int32x4_t)first), vmovn_s32((int32x4_t)second));
#else
    return (first & 0xffff) | (second << 16);
#endif
}

/* ``source`` [width] as pairs, then the row of what an integer of each lane stands for; a row has ``vectors``
 * vectors. */
static __attribute__((noinline)) void pack(const float *source, int32_t width, float spread, int32_t vectors,
                                           float *packed) {
    int32_t pairs = (width + 1) / 2;
    for (int32_t v = 0; v < vectors; v++) {
        const V *from = (const V *)source + v;
        VI *to = (VI *)packed + v;
        V top = from[0], total = from[0], zero = {};
        VI kept = {};
        for (int64_t k = 1; k < width; k++) {
            top = vlarger(top, from[k * vectors]);
            total += from[k * vectors];
        }
        V unit = (V){} + ROOM - 0.5f * spread, part = 1.0f / top;
        unit = vlarger(unit, unit / spread * part);
        unit = vselect(unit < LARGEST * part, unit, LARGEST * part);
        for (int64_t k = 0; k < pairs; k++) {
            V first = from[2 * k * vectors], second = 2 * k + 1 < width ? from[(2 * k + 1) * vectors] : zero;
            VI a = vbits(vmadd(first, unit, (V){} + ROUND)) - ROUND_BITS,
               b = vbits(vmadd(second, unit, (V){} + ROUND)) - ROUND_BITS;
            to[k * vectors] = pair_of(a, b);
            kept += a + b;
        }
        ((V *)packed)[(int64_t)pairs * vectors + v] = total / __builtin_convertvector(kept, V);
    }
}

/* The four rows of weights from ``weights`` on applied to ``beliefs``: ``count`` vectors of each. */
INLINE void apply_block(const Tensor *t, const int16_t *weights, const float *packed, int64_t vectors, int32_t v,
                        int count, V out[BLOCK_ROWS][BLOCK]) {
    int64_t pairs = (t->width + 1) / 2;
    const int32_t *w = (const int32_t *)weights;
    const VI *beliefs = (const VI *)packed + v;
    VI sum[BLOCK_ROWS][BLOCK];
    for (int n = 0; n < BLOCK_ROWS; n++)
        for (int i = 0; i < count; i++) sum[n][i] = (VI){};
    for (int64_t k = 0; k < pairs; k++, beliefs += vectors, w += BLOCK_ROWS) {
        VI x[BLOCK];
        for (int i = 0; i < count; i++) x[i] = beliefs[i];
        for (int n = 0; n < BLOCK_ROWS; n++) {
            Weights pair = weights_at(w + n);
            for (int i = 0; i < count; i++) sum[n][i] = add_products(sum[n][i], x[i], pair);
        }
    }
    for (int i = 0; i < count; i++) {
        V unit = ((const V *)beliefs)[i] * t->unit;
        for (int n = 0; n < BLOCK_ROWS; n++) out[n][i] = __builtin_convertvector(sum[n][i], V) * unit;
    }
}

/* Where the weights of group ``group`` begin, and the rows whose weights are read again from a cache. */
INLINE const int16_t *group_weights(const Tensor *t, int32_t group) {
    int64_t blocks = (t->group_rows + BLOCK_ROWS - 1) / BLOCK_ROWS;
    return t->weights + group * blocks * BLOCK_ROWS * (t->width + t->width % 2);
}
INLINE int32_t rows_at_once(const Tensor *t) {
    int32_t rows = CACHED_WEIGHTS / (t->width + 1) / BLOCK_ROWS * BLOCK_ROWS;
    return rows < BLOCK_ROWS ? BLOCK_ROWS : rows < t->group_rows ? rows : t->group_rows;
}

INLINE void store_block(const Tensor *t, const int16_t *weights, int32_t rows, const float *packed, int32_t vectors,
                        int32_t v, int count, float *out) {
    V found[BLOCK_ROWS][BLOCK];
    apply_block(t, weights, packed, vectors, v, count, found);
    for (int n = 0; n < BLOCK_ROWS && n < rows; n++)
        for (int i = 0; i < count; i++) ((V *)out)[(int64_t)n * vectors + v + i] = found[n][i];
}

/* out [rows of the group] = a group of the tensor's rows applied to ``packed``. */
static __attribute__((noinline)) void apply_packed(const Tensor *stored, int32_t group, const float *packed,
                                                   int32_t vectors, float *out) {
    const Tensor own = *stored, *t = &own;
    int32_t rows = t->group_rows, step = rows_at_once(t), lanes = vectors * VECTOR_LANES;
    const int16_t *weights = group_weights(t, group);
    int64_t wide = t->width + t->width % 2;
    for (int32_t first = 0; first < rows; first += step) {
        int32_t end = first + step < rows ? first + step : rows, v = 0;
        for (; v + BLOCK <= vectors; v += BLOCK)
            for (int32_t k = first; k < end; k += BLOCK_ROWS)
                store_block(t, weights + k * wide, end - k, packed, vectors, v, BLOCK, at_row(out, k, lanes));
        for (; v < vectors; v++)
            for (int32_t k = first; k < end; k += BLOCK_ROWS)
                store_block(t, weights + k * wide, end - k, packed, vectors, v, 1, at_row(out, k, lanes));
    }
}

/* Sum of x log2 x of a group of the tensor's rows applied to ``packed``, in LOG2_UNIT. */
static __attribute__((noinline)) Row disorder_packed(const Tensor *stored, int32_t group, const float *packed,
                                                     int32_t active) {
    const Tensor own = *stored, *t = &own;
    int32_t rows = t->group_rows, step = rows_at_once(t);
    const int16_t *weights = group_weights(t, group);
    int64_t wide = t->width + t->width % 2;
    Row total = constant(0.0f);
    (void)active;
    for (int32_t first = 0; first < rows; first += step) {
        int32_t end = first + step < rows ? first + step : rows;
        for (int32_t v = 0; v < PARTS; v += BLOCK) {
            V found[BLOCK_ROWS][BLOCK], sum[BLOCK];
            for (int i = 0; i < BLOCK; i++) sum[i] = total.v[v + i];
            for (int32_t k = first; k < end; k += BLOCK_ROWS) {
                apply_block(t, weights + k * wide, packed, PARTS, v, BLOCK, found);
#if LANES == 4
                if (active == 1) { /* rows of lane 0 share a vector of logarithms, and are added in the same order */
                    V x = {found[0][0][0], found[1][0][0], found[2][0][0], found[3][0][0]}, l = vlog2(x);
                    for (int n = 0; n < BLOCK_ROWS && k + n < end; n++)
                        sum[0] = vmadd((V){} + x[n], (V){} + l[n], sum[0]);
                    continue;
                }
#endif
                for (int n = 0; n < BLOCK_ROWS && k + n < end; n++)
                    for (int i = 0; i < BLOCK; i++) sum[i] = vmadd(found[n][i], vlog2(found[n][i]), sum[i]);
            }
            for (int i = 0; i < BLOCK; i++) total.v[v + i] = sum[i];
        }
    }
    return total;
}

/* out [states] = the tensor of each lane's control applied to ``source`` [width]; other lanes are left as they are.
 * Lanes of the same control are gathered, so that a control costs what its lanes do. ``work``: rows. */
static __attribute__((noinline)) void apply_by_control(const Tensor *t, const uint8_t *action, int32_t controls,
                                                       int32_t states, float spread, const float *source, float *out,
                                                       float *work) {
    int32_t pairs = (t->width + 1) / 2;
    for (int32_t u = 0; u < controls; u++) {
        int32_t lanes[LANES], count = 0;
        for (int32_t lane = 0; lane < LANES; lane++)
            if (action[lane] == u) lanes[count++] = lane;
        if (!count) continue;
        if (count == LANES) {
            pack(source, t->width, spread, PARTS, work);
            apply_packed(t, u, work, PARTS, out);
            continue;
        }
        int32_t vectors = (count + VECTOR_LANES - 1) / VECTOR_LANES, wide = vectors * VECTOR_LANES;
        float *packed = work + (int64_t)t->width * LANES, *product = packed + (int64_t)(pairs + 1) * LANES;
        for (int32_t lane = count; lane < wide; lane++) lanes[lane] = lanes[0];
        for (int64_t k = 0; k < t->width; k++)
            for (int32_t lane = 0; lane < wide; lane++) work[k * wide + lane] = source[k * LANES + lanes[lane]];
        pack(work, t->width, spread, vectors, packed);
        apply_packed(t, u, packed, vectors, product);
        for (int64_t k = 0; k < states; k++)
            for (int32_t lane = 0; lane < count; lane++) out[k * LANES + lanes[lane]] = product[k * wide + lane];
    }
}

#endif
