/* Sums of tables of several factors, in the order that contraction.py planned.
 *
 * Rows are numbered from ``base`` on, where the logits are; beliefs lie apart, in the same order. */
#ifndef EDGE_AGENT_CONTRACTION_H
#define EDGE_AGENT_CONTRACTION_H

#include "tensor.h"

/* Sums at a time: as many as registers hold. */
#define SUMS (PARTS <= 2 ? 4 : PARTS <= 4 ? 2 : 1)

enum { CO_SPREAD, CO_SUM, CO_PAIR, CO_MEAN };

/* The next of a table's entries but for the last axis: moves ``index`` and the place in the other array. */
INLINE int64_t advance(int32_t axes, const int32_t *sizes, const int32_t *strides, int32_t *index, int64_t place) {
    for (int32_t d = axes - 2; d >= 0; d--) {
        place += strides[d];
        if (++index[d] < sizes[d]) break;
        place -= (int64_t)sizes[d] * strides[d];
        index[d] = 0;
    }
    return place;
}

/* Add the smaller array at row x[1] to the table at x[0] of x[2] axes: their sizes, and the array's strides. */
static void spread(const int32_t *x, const int32_t *lists, float *base) {
    int32_t axes = x[2], index[MAX_FACTORS] = {0};
    const int32_t *sizes = lists + x[3], *strides = sizes + axes;
    float *table = at(base, x[0]);
    int32_t last = sizes[axes - 1], step = strides[axes - 1];
    int64_t blocks = 1, place = 0;
    for (int32_t d = 0; d + 1 < axes; d++) blocks *= sizes[d];
    for (int64_t b = 0; b < blocks; b++, place = advance(axes, sizes, strides, index, place)) {
        const float *p = at(base, x[1] + place);
        for (int32_t k = 0; k < last; k++, table += LANES, p += (int64_t)step * LANES)
            store(table, add(load(table), load(p)));
    }
}

/* ``count`` rows of sums over ``n`` rows each: those lie ``step`` apart, those of the next sum ``next``. */
INLINE void sum_rows(float *out, const float *from, int32_t count, int64_t next, int32_t n, int64_t step,
                     const float *q, int adds) {
    Row sum[SUMS], weight = load(q);
    for (int i = 0; i < count; i++) sum[i] = mul(load(from + i * next), weight);
    for (int32_t k = 1; k < n; k++) {
        from += step;
        q += LANES;
        weight = load(q);
        for (int i = 0; i < count; i++) sum[i] = add_product(sum[i], load(from + i * next), weight);
    }
    for (int i = 0; i < count; i++) store(out + i * LANES, adds ? add(load(out + i * LANES), sum[i]) : sum[i]);
}

/* ``count`` sums, SUMS at a time: beliefs are loaded once for all of them. */
static void sum_series(float *out, const float *from, int32_t count, int64_t next, int32_t n, int64_t step,
                       const float *q, int adds) {
    for (; count >= SUMS; count -= SUMS, from += SUMS * next, out += SUMS * LANES)
        sum_rows(out, from, SUMS, next, n, step, q, adds);
    for (; count > 0; count--, from += next, out += LANES) sum_rows(out, from, 1, next, n, step, q, adds);
}

/* Rows x[0].. = the table at x[1], [x[2]][x[3]][x[4]], with its middle axis summed against the beliefs from x[5] on;
 * added to what is there if x[6]. */
static void sum_axis(const int32_t *x, float *base, const float *beliefs) {
    const float *from = at(base, x[1]), *q = beliefs + (int64_t)x[5] * LANES;
    float *out = at(base, x[0]);
    int64_t row = (int64_t)x[3] * LANES, inside = (int64_t)x[4] * LANES;
    if (x[4] == 1) {
        sum_series(out, from, x[2], row, x[3], LANES, q, x[6]);
        return;
    }
    for (int32_t l = 0; l < x[2]; l++, from += row * x[4], out += inside)
        sum_series(out, from, x[4], LANES, x[3], inside, q, x[6]);
}

/* Both messages of the table of x[1] by x[2] states at x[0], added to logits; the factors begin at x[3], x[4]. */
static void sum_pair(const int32_t *x, float *base, const float *beliefs) {
    const float *from = at(base, x[0]), *first = beliefs + (int64_t)x[3] * LANES;
    const float *second = beliefs + (int64_t)x[4] * LANES;
    float *left = at(base, x[3]), *right = at(base, x[4]);
    for (int32_t a = 0; a < x[1]; a++, left += LANES) {
        Row weight = load(first + (int64_t)a * LANES), sum = constant(0.0f);
        for (int32_t b = 0; b < x[2]; b++, from += LANES) {
            Row l = load(from);
            sum = add_product(sum, l, load(second + (int64_t)b * LANES));
            float *p = right + (int64_t)b * LANES;
            store(p, add_product(load(p), l, weight));
        }
        store(left, add(load(left), sum));
    }
}

/* Operations ``from`` to ``to``; returns the sum of the means among them. */
static Row contract(const Contraction *c, int32_t from, int32_t to, float *base, const float *beliefs) {
    Row means = constant(0.0f);
    const int32_t *op = c->ops + (int64_t)from * OP_WORDS;
    for (int32_t n = from; n < to; n++, op += OP_WORDS) {
        const int32_t *x = op + 1;
        switch (op[0]) {
        case CO_SPREAD: spread(x, c->lists, base); break;
        case CO_SUM: sum_axis(x, base, beliefs); break;
        case CO_PAIR: sum_pair(x, base, beliefs); break;
        case CO_MEAN:
            for (int32_t k = 0; k < x[1]; k++)
                means = add_product(means, load(at(base, x[0] + k)), load(beliefs + (int64_t)(x[2] + k) * LANES));
            break;
        }
    }
    return means;
}

#endif
