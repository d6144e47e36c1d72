/* Exact inference of several factors: runs the program that elimination.py wrote.
 *
 * Probabilities, scaled so that the largest of a table is about 1; what was left out is collected as a logarithm.
 * A table in which almost nothing is left was multiplied by outcomes that contradict each other or the belief:
 * single precision could lose all of it, so such a lane is run again by itself in double precision. Where even
 * that loses all, the belief stays as predicted. */
#ifndef EDGE_AGENT_ELIMINATION_H
#define EDGE_AGENT_ELIMINATION_H

#include "outcome_classes.h"

#define LITTLE 1e-24f

enum { EX_LIKELIHOOD, EX_SET, EX_TIMES, EX_SUM, EX_SCALE, EX_RATIO, EX_MARGINAL };

/* Likelihood of one lane's outcome of modality ``i`` into ``out`` [width], clipped at epsilon and relative to the
 * largest; returns the logarithm of that. */
static float likelihood_lane(const Model *m, const Strip *s, int32_t i, int32_t lane, float *out) {
    const Tensor *t = &m->tensors[i];
    int32_t o = s->outcomes[i * LANES + lane];
    float top = 0.0f;
    if (o == OUTCOME_SOFT) {
        top = soft_likelihood(t, s->soft[i] + lane, m->num_obs[i], out);
        for (int32_t j = 0; j < t->width; j++) out[j] = exp1(out[j] - top);
        return top;
    }
    if (o == OUTCOME_MISSING) {
        for (int32_t j = 0; j < t->width; j++) out[j] = 1.0f;
        return 0.0f;
    }
    if (t->sparse) {
        for (int32_t j = 0; j < t->width; j++) out[j] = t->base ? t->base[j] : t->background;
        for (uint32_t k = t->starts[o]; k < t->starts[o + 1]; k++) {
            float listed = t->palette[code_at(t, k, t->wide)];
            out[t->columns[k]] = t->base ? t->base[t->columns[k]] + listed : listed;
        }
    } else {
        int64_t first = (int64_t)o * t->width;
        for (int32_t j = 0; j < t->width; j++) out[j] = t->palette[code_at(t, first + j, t->wide)];
    }
    for (int32_t j = 0; j < t->width; j++) {
        out[j] = out[j] < EPSILON ? EPSILON : out[j];
        top = top < out[j] ? out[j] : top;
    }
    float inverse = 1.0f / top;
    for (int32_t j = 0; j < t->width; j++) out[j] *= inverse;
    return log1(top);
}

/* SET, TIMES or SUM: table x[0] of x[1] axes, lists[x[2] ..], and the array of x[4] rows at x[3]. */
static void combine(int32_t op, const int32_t *x, const int32_t *lists, float *base) {
    int32_t axes = x[1], index[MAX_FACTORS] = {0};
    const int32_t *sizes = lists + x[2], *strides = sizes + axes;
    float *table = at(base, x[0]), *other = at(base, x[3]);
    int32_t last = sizes[axes - 1], step = strides[axes - 1];
    int64_t blocks = 1, place = 0;
    for (int32_t d = 0; d + 1 < axes; d++) blocks *= sizes[d];
    if (op == EX_SUM)
        for (int32_t k = 0; k < x[4]; k++) store(at(other, k), constant(0.0f));
    for (int64_t b = 0; b < blocks; b++, place = advance(axes, sizes, strides, index, place)) {
        float *p = at(other, place);
        if (op == EX_SUM && !step) {
            Row sum = load(p);
            for (int32_t k = 0; k < last; k++, table += LANES) sum = add(sum, load(table));
            store(p, sum);
        } else if (op == EX_SUM) {
            for (int32_t k = 0; k < last; k++, table += LANES, p += (int64_t)step * LANES)
                store(p, add(load(p), load(table)));
        } else if (op == EX_TIMES) {
            for (int32_t k = 0; k < last; k++, table += LANES, p += (int64_t)step * LANES)
                store(table, mul(load(table), load(p)));
        } else {
            for (int32_t k = 0; k < last; k++, table += LANES, p += (int64_t)step * LANES) store(table, load(p));
        }
    }
}

/* The same of one lane in double precision. */
static void combine_one(int32_t op, const int32_t *x, const int32_t *lists, double *base) {
    int32_t axes = x[1], index[MAX_FACTORS] = {0};
    const int32_t *sizes = lists + x[2], *strides = sizes + axes;
    double *table = base + x[0], *other = base + x[3];
    int32_t last = sizes[axes - 1], step = strides[axes - 1];
    int64_t blocks = 1, place = 0;
    for (int32_t d = 0; d + 1 < axes; d++) blocks *= sizes[d];
    if (op == EX_SUM)
        for (int32_t k = 0; k < x[4]; k++) other[k] = 0.0;
    for (int64_t b = 0; b < blocks; b++, place = advance(axes, sizes, strides, index, place))
        for (int32_t k = 0; k < last; k++, table++) {
            double *p = other + place + (int64_t)k * step;
            if (op == EX_SUM) *p += *table;
            else if (op == EX_TIMES) *table *= *p;
            else *table = *p;
        }
}

/* ln x for positive x of any size. */
static float log_double(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t exponent = (int32_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
    memcpy(&x, &bits, sizeof x);
    return log1((float)x) + (float)exponent * LN2;
}

/* One lane from its weights ``x`` to its marginals ``q``; adds to ``offset``. Returns whether anything was left. */
static int eliminate_one(const Model *m, const Strip *s, int32_t lane, const float *x, float *q, double *base,
                         float *offset, float *lane_work) {
    const int32_t *op = m->elimination.ops;
    float total = 0.0f;
    for (int32_t k = 0; k < m->states; k++) base[k] = x[(int64_t)k * LANES + lane];
    for (int32_t n = 0; n < m->elimination.count; n++, op += OP_WORDS) {
        const int32_t *a = op + 1;
        if (op[0] == EX_LIKELIHOOD) {
            total += likelihood_lane(m, s, a[0], lane, lane_work);
            for (int32_t j = 0; j < m->tensors[a[0]].width; j++) base[a[1] + j] = lane_work[j];
        } else if (op[0] == EX_SCALE) {
            double top = 0.0, *p = base + a[0];
            for (int32_t k = 0; k < a[1]; k++) top = p[k] > top ? p[k] : top;
            if (top < 1e-290) return 0;
            for (int32_t k = 0; k < a[1]; k++) p[k] /= top;
            total += log_double(top);
        } else if (op[0] == EX_RATIO) {
            for (int32_t k = 0; k < a[2]; k++) {
                double below = base[a[1] + k];
                base[a[0] + k] /= below > 1e-300 ? below : 1e-300;
            }
        } else if (op[0] == EX_MARGINAL) {
            double sum = 0.0, *p = base + m->first_state[a[0]];
            for (int32_t k = 0; k < m->num_states[a[0]]; k++) sum += p[k];
            if (!(sum > 1e-290)) return 0;
            if (a[1]) total += log_double(sum);
            for (int32_t k = 0; k < m->num_states[a[0]]; k++)
                q[(int64_t)(m->first_state[a[0]] + k) * LANES + lane] = (float)(p[k] / sum);
        } else {
            combine_one(op[0], a, m->elimination.lists, base);
        }
    }
    offset[lane] += total;
    return 1;
}

/* From prior to ``q``, in proportion to the marginals of the posterior; returns the free energy, -ln p(o). */
static Row eliminate(const Model *m, const Strip *s, const float *prior, float *q, float *work) {
    float *base = work, *x = q, lane_work[m->widest];
    double *one = (double *)(void *)at(work, m->elimination.rows);
    float offset[LANES] __attribute__((aligned(64))) = {0}, own[LANES] __attribute__((aligned(64)));
    multiply_own_likelihoods(m, s, prior, x, offset, lane_work);
    for (int32_t f = 0; f < m->factors; f++)
        scale_back(x + (int64_t)m->first_state[f] * LANES, m->num_states[f], offset);
    Row energy = constant(0.0f);
    Mask little = none();
    copy_rows(base, x, m->states);
    memcpy(own, offset, sizeof own);
    const int32_t *op = m->elimination.ops;
    for (int32_t n = 0; n < m->elimination.count; n++, op += OP_WORDS) {
        const int32_t *a = op + 1;
        switch (op[0]) {
        case EX_LIKELIHOOD: {
            float *out = at(base, a[1]);
            int32_t width = m->tensors[a[0]].width;
            for (int32_t lane = 0; lane < LANES; lane++) {
                own[lane] += likelihood_lane(m, s, a[0], lane, lane_work);
                for (int32_t j = 0; j < width; j++) out[(int64_t)j * LANES + lane] = lane_work[j];
            }
            break;
        }
        case EX_SCALE: {
            Row sum, top;
            float *p = at(base, a[0]);
            extent(p, a[1], &sum, &top);
            little = either(little, less(top, constant(LITTLE)));
            top = larger(top, constant(LITTLE));
            Row inverse = divide(constant(1.0f), top);
            for (int32_t k = 0; k < a[1]; k++) store(at(p, k), mul(load(at(p, k)), inverse));
            store(own, add(load(own), row_log(top)));
            break;
        }
        case EX_RATIO:
            for (int32_t k = 0; k < a[2]; k++) {
                float *p = at(base, a[0] + k);
                store(p, divide(load(p), larger(load(at(base, a[1] + k)), constant(FAINT))));
            }
            break;
        case EX_MARGINAL: {
            Row sum, top;
            int64_t row = (int64_t)m->first_state[a[0]] * LANES;
            extent(base + row, m->num_states[a[0]], &sum, &top);
            little = either(little, less(top, constant(LITTLE)));
            if (a[1]) energy = sub(energy, row_log(larger(sum, constant(LITTLE))));
            break;
        }
        default: combine(op[0], a, m->elimination.lists, base);
        }
    }
    for (int32_t f = 0; f < m->factors; f++) {
        if (m->coupled[f]) continue;
        Row sum, top;
        extent(x + (int64_t)m->first_state[f] * LANES, m->num_states[f], &sum, &top);
        store(offset, add(load(offset), row_log(sum)));
        store(own, add(load(own), row_log(sum)));
    }
    energy = sub(energy, load(own));
    if (any(little)) {
        int32_t chosen[LANES];
        float values[LANES] __attribute__((aligned(64)));
        memcpy(chosen, &little, sizeof chosen);
        store(values, energy);
        for (int32_t f = 0; f < m->factors; f++) /* the others' marginals, before their weights go */
            if (m->coupled[f])
                for (int32_t k = m->first_state[f]; k < m->first_state[f] + m->num_states[f]; k++) {
                    Row weight = load(at(x, k));
                    store(at(x, k), choose(little, weight, load(at(base, k))));
                }
        for (int32_t lane = 0; lane < LANES; lane++) {
            if (!chosen[lane]) continue;
            if (!eliminate_one(m, s, lane, x, q, one, offset, lane_work)) {
                for (int32_t k = 0; k < m->states; k++) q[(int64_t)k * LANES + lane] = prior[(int64_t)k * LANES + lane];
                offset[lane] -= 667.7f; /* ln of what double precision ends at */
            }
            values[lane] = -offset[lane];
        }
        return load(values);
    }
    for (int32_t f = 0; f < m->factors; f++)
        if (m->coupled[f]) copy_rows(at(q, m->first_state[f]), at(base, m->first_state[f]), m->num_states[f]);
    return energy;
}

#endif
