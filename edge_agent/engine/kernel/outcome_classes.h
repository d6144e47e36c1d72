/* Fixed-point iteration over classes of states that an outcome leaves alike (outcome_classes.py says why that is
 * exact).
 *
 * Values are probabilities, not logarithms: what one factor's own modalities say is multiplied on, relative to
 * their background, and only the weights of classes become logarithms. Lanes are treated pattern by pattern:
 * usually few of them meet in a strip. */
#ifndef EDGE_AGENT_OUTCOME_CLASSES_H
#define EDGE_AGENT_OUTCOME_CLASSES_H

#include "iterate.h"

#define FAINT 1e-36f /* values stay above: 2^-120, and two modalities can bring back 2^-104 */

/* Multiply one lane of a factor's ``x`` by the likelihood of its outcome of modality ``i``, which is clipped at
 * epsilon. Returns the logarithm of what was left out. */
static float multiply_clipped_likelihood(const Model *m, const Strip *s, int32_t i, int32_t lane, float *x,
                                         float *work) {
    const Tensor *t = &m->tensors[i];
    int32_t o = s->outcomes[i * LANES + lane];
    x += lane;
    if (o == OUTCOME_MISSING) return 0.0f;
    if (o == OUTCOME_SOFT) {
        float top = soft_likelihood(t, s->soft[i] + lane, m->num_obs[i], work);
        for (int32_t j = 0; j < t->width; j++) x[(int64_t)j * LANES] *= exp1(work[j] - top);
        return top;
    }
    if (t->sparse) {
        if (t->base) {
            for (uint32_t k = t->starts[o]; k < t->starts[o + 1]; k++)
                x[(int64_t)t->columns[k] * LANES] *= t->ratio[code_at(t, k, t->wide)];
            return t->log_background;
        }
        float inverse = 1.0f / (t->background < EPSILON ? EPSILON : t->background);
        for (uint32_t k = t->starts[o]; k < t->starts[o + 1]; k++) {
            float p = t->palette[code_at(t, k, t->wide)];
            x[(int64_t)t->columns[k] * LANES] *= (p < EPSILON ? EPSILON : p) * inverse;
        }
        return t->log_background;
    }
    int64_t first = (int64_t)o * t->width;
    for (int32_t j = 0; j < t->width; j++) {
        float p = t->palette[code_at(t, first + j, t->wide)];
        x[(int64_t)j * LANES] *= p < EPSILON ? EPSILON : p;
    }
    return 0.0f;
}

/* Scale a factor's rows so that the largest is 1; ``offset`` collects the logarithm. */
static void scale_back(float *x, int32_t n, float *offset) {
    Row sum, top;
    extent(x, n, &sum, &top);
    Row inverse = divide(constant(1.0f), top);
    for (int32_t k = 0; k < n; k++) {
        float *p = x + (int64_t)k * LANES;
        store(p, larger(mul(load(p), inverse), constant(FAINT)));
    }
    store(offset, add(load(offset), row_log(top)));
}

/* Prior times what each factor's own modalities and the evidence say. */
static void multiply_own_likelihoods(const Model *m, const Strip *s, const float *prior, float *x, float *offset,
                                     float *work) {
    int32_t weighed[MAX_FACTORS] = {0};
    for (int32_t k = 0; k < m->states; k++)
        store(x + (int64_t)k * LANES, larger(load(prior + (int64_t)k * LANES), constant(EPSILON)));
    for (int32_t i = 0; i < m->modalities; i++) {
        if (m->a_parents[i] > 1) continue;
        int32_t f = m->a_deps[i][0];
        float *own = x + (int64_t)m->first_state[f] * LANES;
        if (weighed[f]++) scale_back(own, m->num_states[f], offset);
        if (m->tensors[i].base) multiply_shares(&m->tensors[i], observed(s, i), own);
        for (int32_t lane = 0; lane < s->active; lane++)
            offset[lane] += multiply_clipped_likelihood(m, s, i, lane, own, work);
    }
    for (int32_t f = 0; f < m->factors; f++) {
        if (!s->evidence[f]) continue;
        float *own = x + (int64_t)m->first_state[f] * LANES;
        if (weighed[f]) scale_back(own, m->num_states[f], offset);
        for (int32_t k = 0; k < m->num_states[f]; k++) {
            Row c = scale(from_bytes(s->evidence[f] + (int64_t)k * LANES), 1.0f / 255.0f);
            c = mul(c, c);
            float *p = own + (int64_t)k * LANES;
            store(p, mul(load(p), larger(mul(c, c), constant(EVIDENCE_FLOOR))));
        }
    }
}

/* Sum of the rows that ``list`` names, in two chains. */
INLINE Row gather(const float *x, const uint16_t *list, int32_t count) {
    Row even = constant(0.0f), odd = constant(0.0f);
    int32_t k = 0;
    for (; k + 2 <= count; k += 2) {
        even = add(even, load(x + (int64_t)list[k] * LANES));
        odd = add(odd, load(x + (int64_t)list[k + 1] * LANES));
    }
    if (k < count) even = add(even, load(x + (int64_t)list[k] * LANES));
    return add(even, odd);
}

INLINE void choose_row(Mask here, Row value, float *p) { store(p, choose(here, value, load(p))); }

/* Rows of scratch memory while classes iterate. */
typedef struct { float *weight, *log_weight, *q, *turns, *ll; } Classes;

/* Weights, likelihoods and first guess of the lanes in ``here``, whose outcomes are ``pattern``. */
static void gather_pattern(const Model *m, const Shape *z, int32_t pattern, Mask here, const float *x, const Classes *c,
                           float *offset) {
    const OutcomeClasses *a = &m->outcome_classes;
    const uint16_t *starts = a->starts + (int64_t)pattern * (a->rows + m->factors);
    for (int32_t f = 0; f < m->factors; starts += z->count[f] + 1, f++) {
        const uint16_t *order = a->order + (int64_t)pattern * m->states + m->first_state[f];
        const float *own = x + (int64_t)m->first_state[f] * LANES;
        float part = 1.0f / (float)m->num_states[f];
        for (int32_t k = 0; k < z->count[f]; k++) {
            int64_t row = (int64_t)(z->first[f] + k) * LANES;
            int32_t size = starts[k + 1] - starts[k];
            choose_row(here, gather(own, order + starts[k], size), c->weight + row);
            choose_row(here, constant((float)size * part), c->q + row);
        }
    }
    const float *weights = a->weights + (int64_t)pattern * a->width;
    for (int32_t j = 0; j < a->width; j++) choose_row(here, constant(weights[j]), c->ll + (int64_t)j * LANES);
    choose_row(here, add(load(offset), constant(a->common[pattern])), offset);
}

/* States of the lanes in ``here`` from their classes' beliefs ``q``, which were divided by their weights. */
static void spread_pattern(const Model *m, const Shape *z, int32_t pattern, Mask here, const float *q, float *x) {
    const OutcomeClasses *a = &m->outcome_classes;
    const uint16_t *starts = a->starts + (int64_t)pattern * (a->rows + m->factors);
    for (int32_t f = 0; f < m->factors; starts += z->count[f] + 1, f++) {
        const uint16_t *order = a->order + (int64_t)pattern * m->states + m->first_state[f];
        float *own = x + (int64_t)m->first_state[f] * LANES;
        for (int32_t k = 0; k < z->count[f]; k++) {
            Row factor = load(q + (int64_t)(z->first[f] + k) * LANES);
            for (int32_t j = starts[k]; j < starts[k + 1]; j++) {
                float *p = own + (int64_t)order[j] * LANES;
                choose_row(here, mul(load(p), factor), p);
            }
        }
    }
}

/* Iterate over classes, from prior to ``x``, which is in proportion to the posterior; returns the free energy. */
static Row settle_classes(const Model *m, const Strip *s, const float *prior, float *x, float *work) {
    const OutcomeClasses *a = &m->outcome_classes;
    Shape z;
    shape_of(a->classes, m->factors, &z);
    int64_t block = (int64_t)a->rows * LANES;
    Classes c = {work, work + block, work + 2 * block, work + 3 * block, work + 5 * block};
    float lane_work[m->widest], offset[LANES] __attribute__((aligned(64))) = {0};
    multiply_own_likelihoods(m, s, prior, x, offset, lane_work);
    uint8_t patterns[LANES] = {0}, met[LANES];
    int32_t count = 0;
    for (int32_t lane = 0; lane < LANES; lane++) {
        int32_t pattern = lane < s->active ? 0 : patterns[0], k = 0; /* idle lanes add no pattern */
        for (int32_t i = 0; lane < s->active && i < m->modalities; i++)
            if (s->outcomes[i * LANES + lane] >= 0) pattern += a->strides[i] * (s->outcomes[i * LANES + lane] + 1);
        patterns[lane] = (uint8_t)pattern;
        while (k < count && met[k] != pattern) k++;
        if (k == count) met[count++] = (uint8_t)pattern;
    }
    for (int32_t k = 0; k < count; k++) gather_pattern(m, &z, met[k], equal_bytes(patterns, met[k]), x, &c, offset);
    for (int32_t k = 0; k < a->rows; k++) {
        Row weight = larger(load(c.weight + (int64_t)k * LANES), constant(FAINT));
        store(c.weight + (int64_t)k * LANES, weight);
        store(c.log_weight + (int64_t)k * LANES, row_log(weight));
    }
    iterate(m, &z, &m->over_classes, c.log_weight, c.q, c.turns);
    Row energy = sub(constant(0.0f), load(offset)), disorder = constant(0.0f);
    for (int32_t k = 0; k < a->rows; k++) {
        Row value = load(c.q + (int64_t)k * LANES);
        disorder = add_xlog2x(disorder, value);
        energy = subtract_product(energy, value, load(c.log_weight + (int64_t)k * LANES));
    }
    energy = unexplained(m, &z, &m->over_classes, c.turns, c.q, add_scaled_row(energy, LN2 * LOG2_UNIT, disorder));
    for (int32_t k = 0; k < a->rows; k++) {
        float *q = c.q + (int64_t)k * LANES;
        store(q, divide(load(q), load(c.weight + (int64_t)k * LANES)));
    }
    for (int32_t k = 0; k < count; k++) spread_pattern(m, &z, met[k], equal_bytes(patterns, met[k]), c.q, x);
    return energy;
}

/* Lanes with a soft outcome of a modality that couples factors. */
static Mask patternless(const Model *m, const Strip *s) {
    Mask soft = none();
    for (int32_t i = 0; i < m->modalities; i++) {
        if (!m->outcome_classes.strides[i] || !s->soft[i]) continue;
        const VI *outcomes = (const VI *)(s->outcomes + i * LANES);
        for (int part = 0; part < PARTS; part++) soft.v[part] |= outcomes[part] == OUTCOME_SOFT;
    }
    return soft;
}

#endif
