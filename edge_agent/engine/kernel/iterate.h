/* Fixed-point iteration for several factors (Heins et al. 2022; pymdp's run_factorized_fpi). See infer.h. */
#ifndef EDGE_AGENT_ITERATE_H
#define EDGE_AGENT_ITERATE_H

#include "contraction.h"
#include "infer.h"

#define COLUMNS 32
#define FEW_OUTCOMES 16 /* of a dense modality: a pass over its lanes an outcome */

/* Add ln-likelihood of one lane's outcome of modality ``i`` to ``out`` [width]; returns what is common to all. */
static float log_likelihood_lane(const Model *m, const Strip *s, int32_t i, int32_t lane, float *out, float *work) {
    const Tensor *t = &m->tensors[i];
    int32_t o = s->outcomes[i * LANES + lane];
    out += lane;
    if (o == OUTCOME_MISSING) return 0.0f;
    if (o == OUTCOME_SOFT) {
        soft_likelihood(t, s->soft[i] + lane, m->num_obs[i], work);
        for (int32_t j = 0; j < t->width; j++) out[(int64_t)j * LANES] += work[j];
        return 0.0f;
    }
    if (t->sparse) {
        for (uint32_t k = t->starts[o]; k < t->starts[o + 1]; k++)
            out[(int64_t)t->columns[k] * LANES] += t->logarithm[code_at(t, k, t->wide)];
        return t->log_background;
    }
    int64_t first = (int64_t)o * t->width;
    for (int32_t j = 0; j < t->width; j++) out[(int64_t)j * LANES] += t->logarithm[code_at(t, first + j, t->wide)];
    return 0.0f;
}

/* Add the logarithm of a base to ``out`` [width], where the outcome of modality ``i`` is hard. */
static void add_log_shares(const Strip *s, const Tensor *t, int32_t i, float *out) {
    if (!t->base) return;
    Mask hard = observed(s, i);
    for (int32_t j = 0; j < t->width; j++, out += LANES) {
        Row p = load(out);
        store(out, choose(hard, add(p, constant(t->log_share[j])), p));
    }
}

/* Add the ln-likelihoods of the hard outcomes of a dense modality ``i`` to ``out`` [width], as the lanes' would one by
 * one: a row of the tensor is added in the lanes that met its outcome. */
static void add_dense_likelihoods(const Strip *s, const Tensor *stored, int32_t i, float *out) {
    const Tensor own = *stored, *t = &own;
    const VI *outcomes = (const VI *)(s->outcomes + i * LANES);
    for (int32_t o = 0; o < t->rows; o++) {
        Mask here;
        EACH here.v[i] = outcomes[i] == o;
        if (!any(here)) continue;
        int64_t first = (int64_t)o * t->width;
        for (int32_t j = 0; j < t->width; j++) {
            Row p = load(at(out, j));
            store(at(out, j), choose(here, add(p, constant(t->logarithm[code_at(t, first + j, t->wide)])), p));
        }
    }
}

/* Add all ln-likelihoods of modality ``i`` to ``out`` [width]; ``offset`` collects what is common to all states. Of a
 * dense tensor with many outcomes some columns of all lanes come after the others, since the rows of all columns are
 * more than a cache holds. */
static void log_likelihoods(const Model *m, const Strip *s, int32_t i, float *out, float *offset, float *work) {
    const Tensor *t = &m->tensors[i];
    int together = !t->sparse && t->rows <= FEW_OUTCOMES;
    add_log_shares(s, t, i, out);
    if (together) add_dense_likelihoods(s, t, i, out);
    if (t->sparse || s->soft[i]) {
        for (int32_t lane = 0; lane < s->active; lane++)
            if (!together || s->outcomes[i * LANES + lane] == OUTCOME_SOFT)
                offset[lane] += log_likelihood_lane(m, s, i, lane, out, work);
        return;
    }
    if (together) return;
    for (int32_t start = 0; start < t->width; start += COLUMNS) {
        int32_t end = start + COLUMNS < t->width ? start + COLUMNS : t->width;
        for (int32_t lane = 0; lane < s->active; lane++) {
            int32_t o = s->outcomes[i * LANES + lane];
            if (o == OUTCOME_MISSING) continue;
            int64_t first = (int64_t)o * t->width;
            float *p = out + (int64_t)start * LANES + lane;
            for (int32_t j = start; j < end; j++, p += LANES) *p += t->logarithm[code_at(t, first + j, t->wide)];
        }
    }
}

/* What is iterated: the states of every factor, or classes of them (outcome_classes.h). */
typedef struct { int32_t first[MAX_FACTORS], count[MAX_FACTORS], rows; } Shape;

static void shape_of(const int32_t *counts, int32_t factors, Shape *z) {
    z->rows = 0;
    for (int32_t f = 0; f < factors; f++) {
        z->first[f] = z->rows;
        z->count[f] = counts[f];
        z->rows += counts[f];
    }
}

static int32_t joint_count(const Model *m, const Shape *z, int32_t i) {
    int32_t total = 1;
    for (int32_t d = 0; d < m->a_parents[i]; d++) total *= z->count[m->a_deps[i][d]];
    return total;
}

/* Rules 1: logits += E[ll] over all parents but each in turn, entry by entry. */
static void marginals_1(const Model *m, const Shape *z, int32_t i, const float *ll, const float *q, float *logits) {
    int32_t count = m->a_parents[i], index[MAX_FACTORS] = {0}, width = joint_count(m, z, i);
    const int32_t *deps = m->a_deps[i];
    if (count == 2) {
        int32_t x[] = {0, z->count[deps[0]], z->count[deps[1]], z->first[deps[0]], z->first[deps[1]]};
        x[0] = (int32_t)((ll - logits) / LANES);
        sum_pair(x, logits, q);
        return;
    }
    for (int32_t j = 0; j < width; j++, ll += LANES) {
        for (int32_t keep = 0; keep < count; keep++) {
            Row term = load(ll);
            for (int32_t d = 0; d < count; d++)
                if (d != keep) term = mul(term, load(q + (int64_t)(z->first[deps[d]] + index[d]) * LANES));
            float *p = logits + (int64_t)(z->first[deps[keep]] + index[keep]) * LANES;
            store(p, add(load(p), term));
        }
        for (int32_t d = count - 1; d >= 0 && ++index[d] == z->count[deps[d]]; d--) index[d] = 0;
    }
}

/* q = softmax(logits) of ``n`` rows, except in ``settled`` lanes; returns the largest change a lane. */
INLINE Row soften(const float *logits, int32_t n, float *q, float *fresh, Mask settled) {
    Row top = load(logits);
    for (int32_t k = 1; k < n; k++) top = larger(top, load(logits + (int64_t)k * LANES));
    Row sum = constant(0.0f);
    for (int32_t k = 0; k < n; k++) {
        Row e = row_exp(sub(load(logits + (int64_t)k * LANES), top));
        sum = add(sum, e);
        store(fresh + (int64_t)k * LANES, e);
    }
    Row inverse = divide(constant(1.0f), sum), change = constant(0.0f);
    for (int32_t k = 0; k < n; k++) {
        float *p = q + (int64_t)k * LANES;
        Row old = load(p), now = choose(settled, old, mul(load(fresh + (int64_t)k * LANES), inverse));
        change = larger(change, magnitude(sub(now, old)));
        store(p, now);
    }
    return change;
}

/* From log_prior to q, which holds the first guess; ``work``: two rows a state, then the tables of joint
 * ln-likelihoods. */
static void iterate(const Model *m, const Shape *z, const Contraction *c, const float *log_prior, float *q,
                    float *work) {
    float *logits = work, *fresh = work + (int64_t)z->rows * LANES;
    Mask settled = none();
    contract(c, 0, c->once, work, q);
    for (int32_t turn = 0; turn < m->options.num_iter; turn++) {
        memcpy(logits, log_prior, sizeof(float) * LANES * (size_t)z->rows);
        contract(c, c->once, c->once + c->turn, work, q);
        for (int32_t i = 0; m->options.rules == 1 && i < m->modalities; i++)
            if (m->a_parents[i] > 1) marginals_1(m, z, i, at(work, c->places[i]), q, logits);
        Row change = constant(0.0f);
        for (int32_t f = 0; f < m->factors; f++) {
            if (turn > 0 && !m->coupled[f]) continue;
            int64_t row = (int64_t)z->first[f] * LANES;
            Row moved = soften(logits + row, z->count[f], q + row, fresh + row, settled);
            if (m->coupled[f]) change = larger(change, moved);
        }
        settled = either(settled, less(change, constant(SETTLED)));
        Mask open;
        EACH open.v[i] = ~settled.v[i];
        if (!any(open)) break;
    }
}

/* Free energy less what the joint modalities explain. */
static Row unexplained(const Model *m, const Shape *z, const Contraction *c, float *work, const float *q, Row energy) {
    if (m->options.rules > 1) return sub(energy, contract(c, c->once + c->turn, c->count, work, q));
    for (int32_t i = 0; i < m->modalities; i++) {
        if (m->a_parents[i] == 1) continue;
        int32_t index[MAX_FACTORS] = {0}, count = m->a_parents[i], width = joint_count(m, z, i);
        const int32_t *deps = m->a_deps[i];
        const float *ll = at(work, c->places[i]);
        for (int32_t j = 0; j < width; j++, ll += LANES) {
            Row term = load(ll);
            for (int32_t d = 0; d < count; d++)
                term = mul(term, load(q + (int64_t)(z->first[deps[d]] + index[d]) * LANES));
            energy = sub(energy, term);
            for (int32_t d = count - 1; d >= 0 && ++index[d] == z->count[deps[d]]; d--) index[d] = 0;
        }
    }
    return energy;
}

/* Iterate over all states, from prior to q; returns the free energy. ``work``: see population.py. */
static Row settle_states(const Model *m, const Strip *s, const float *prior, float *q, float *work) {
    float *log_prior = work, *turns = log_prior + (int64_t)m->states * LANES;
    const Contraction *c = &m->over_states;
    Shape z;
    shape_of(m->num_states, m->factors, &z);
    float lane_work[m->widest];
    float offset[LANES] __attribute__((aligned(64))) = {0};
    for (int32_t f = 0; f < m->factors; f++)
        for (int32_t k = 0; k < m->num_states[f]; k++) {
            int64_t row = (int64_t)(m->first_state[f] + k) * LANES;
            Row value = row_log(larger(load(prior + row), constant(EPSILON)));
            if (s->evidence[f]) {
                Row c = scale(from_bytes(s->evidence[f] + (int64_t)k * LANES), 1.0f / 255.0f);
                c = mul(c, c);
                value = add(value, row_log(larger(mul(c, c), constant(EVIDENCE_FLOOR))));
            }
            store(log_prior + row, value);
            store(q + row, constant(1.0f / (float)m->num_states[f]));
        }
    memset(at(turns, 2 * (int64_t)m->states), 0, sizeof(float) * LANES * (size_t)c->tables);
    for (int32_t i = 0; i < m->modalities; i++) {
        float *out = c->places[i] < 0 ? at(log_prior, m->first_state[m->a_deps[i][0]]) : at(turns, c->places[i]);
        log_likelihoods(m, s, i, out, offset, lane_work);
    }
    iterate(m, &z, c, log_prior, q, turns);
    Row energy = sub(constant(0.0f), load(offset)), disorder = constant(0.0f);
    for (int32_t k = 0; k < m->states; k++) {
        Row value = load(q + (int64_t)k * LANES);
        disorder = add_xlog2x(disorder, value);
        energy = subtract_product(energy, value, load(log_prior + (int64_t)k * LANES));
    }
    energy = add_scaled_row(energy, LN2 * LOG2_UNIT, disorder);
    return unexplained(m, &z, c, turns, q, energy);
}

#endif
