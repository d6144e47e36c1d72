/* Contractions of a stored tensor with rows, and outer products of rows. */
#ifndef EDGE_AGENT_TENSOR_H
#define EDGE_AGENT_TENSOR_H

#include "lanes.h"
#include "model.h"

/* Code ``k``, of 8 bits or 16. */
INLINE uint32_t code_at(const Tensor *t, int64_t k, int wide) {
    if (!wide) return t->codes[k];
    uint16_t code;
    memcpy(&code, t->codes + 2 * k, sizeof code);
    return code;
}

/* What the entries that row ``r`` does not list add up to, for ``source`` [width], whose lanes sum to 1: the same for
 * all rows of a control value. */
INLINE Row unlisted(const Tensor *t, int64_t r, const float *source) {
    if (!t->base) return constant(t->background);
    const float *base = t->base + r / t->base_rows * t->width;
    Row acc = constant(0.0f);
    for (int32_t j = 0; j < t->width; j++) acc = add_scaled(acc, base[j], source + (int64_t)j * LANES);
    return acc;
}

INLINE Row apply_codes(const Tensor *t, int64_t r, const float *source, Row rest, int wide) {
    Row acc;
    if (t->sparse) {
        acc = rest;
        uint32_t end = t->starts[r + 1];
        for (uint32_t k = t->starts[r]; k < end; k++)
            acc = add_scaled(acc, t->difference[code_at(t, k, wide)], source + (int64_t)t->columns[k] * LANES);
    } else {
        acc = constant(0.0f);
        int64_t first = r * t->width;
        for (int32_t j = 0; j < t->width; j++)
            acc = add_scaled(acc, t->palette[code_at(t, first + j, wide)], source + (int64_t)j * LANES);
    }
    return acc;
}

/* Row ``r`` of the tensor applied to ``source`` [width]; ``rest``: unlisted() of the row. */
INLINE Row apply(const Tensor *t, int64_t r, const float *source, Row rest) {
    return t->wide ? apply_codes(t, r, source, rest, 1) : apply_codes(t, r, source, rest, 0);
}

/* The same where every row lists one entry: there is nothing to predict a branch for. */
INLINE Row apply_single_codes(const Tensor *t, int64_t r, const float *source, Row rest, int wide) {
    float weight = t->difference[code_at(t, r, wide)];
    return add_scaled(rest, weight, source + (int64_t)t->columns[r] * LANES);
}
INLINE Row apply_single(const Tensor *t, int64_t r, const float *source, Row rest) {
    return apply_single_codes(t, r, source, rest, t->wide);
}

/* And where every row lists two entries, with codes of 8 bits. */
INLINE Row apply_twin(const Tensor *t, int64_t r, const float *source, Row rest) {
    const uint16_t *columns = t->columns + 2 * r;
    const uint8_t *codes = t->codes + 2 * r;
    rest = add_scaled(rest, t->difference[codes[0]], source + (int64_t)columns[0] * LANES);
    return add_scaled(rest, t->difference[codes[1]], source + (int64_t)columns[1] * LANES);
}

/* out[a * right_count + b] = left[a] * right[b]; out overlaps neither. */
INLINE void outer(float *out, const float *left, int32_t left_count, const float *right, int32_t right_count) {
    for (int32_t a = 0; a < left_count; a++) {
        Row l = load(left + (int64_t)a * LANES);
        for (int32_t b = 0; b < right_count; b++) {
            store(out, mul(l, load(right + (int64_t)b * LANES)));
            out += LANES;
        }
    }
}

/* The joint distribution of some factors of ``beliefs`` (laid out as first_state says). One factor: a view.
 * ``work`` has room for twice the joint size. */
static const float *joint(const Model *m, const float *beliefs, int32_t count, const int32_t *deps, float *work) {
    const float *current = beliefs + (int64_t)m->first_state[deps[0]] * LANES;
    int32_t size = m->num_states[deps[0]];
    float *other = work + (int64_t)m->widest * LANES;
    for (int32_t i = 1; i < count; i++) {
        int32_t next = m->num_states[deps[i]];
        outer(work, current, size, beliefs + (int64_t)m->first_state[deps[i]] * LANES, next);
        size *= next;
        current = work;
        float *spare = other;
        other = work;
        work = spare;
    }
    return current;
}

#endif
