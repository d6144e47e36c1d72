/* Fixed-point iteration for several factors (Heins et al. 2022; pymdp's run_factorized_fpi). See infer.h. */
#ifndef EDGE_AGENT_ITERATE_H
#define EDGE_AGENT_ITERATE_H

#include "infer.h"

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

/* logits += E[ll] over all parents but each in turn; returns nothing for joint sizes: ``ll`` has them all. */
static void marginals(const Model *m, const Shape *z, int32_t i, const float *ll, const float *q, float *logits) {
    int32_t count = m->a_parents[i];
    const int32_t *deps = m->a_deps[i];
    if (count == 2) {
        const float *qa = q + (int64_t)z->first[deps[0]] * LANES;
        const float *qb = q + (int64_t)z->first[deps[1]] * LANES;
        float *la = logits + (int64_t)z->first[deps[0]] * LANES;
        float *lb = logits + (int64_t)z->first[deps[1]] * LANES;
        int32_t nb = z->count[deps[1]];
        for (int32_t a = 0; a < z->count[deps[0]]; a++) {
            Row weight = load(qa + (int64_t)a * LANES), acc = constant(0.0f);
            for (int32_t b = 0; b < nb; b++, ll += LANES) {
                Row l = load(ll);
                acc = add(acc, mul(l, load(qb + (int64_t)b * LANES)));
                float *p = lb + (int64_t)b * LANES;
                store(p, add(load(p), mul(l, weight)));
            }
            float *p = la + (int64_t)a * LANES;
            store(p, add(load(p), acc));
        }
        return;
    }
    int32_t index[MAX_FACTORS] = {0};
    int32_t width = joint_count(m, z, i);
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

/* From log_prior and joint ln-likelihoods to q, which holds the first guess; ``work``: two rows a state. */
static void iterate(const Model *m, const Shape *z, const float *log_prior, const float *ll, float *q, float *work) {
    float *logits = work, *fresh = work + (int64_t)z->rows * LANES;
    Mask settled = none();
    for (int32_t turn = 0; turn < m->options.num_iter; turn++) {
        memcpy(logits, log_prior, sizeof(float) * LANES * (size_t)z->rows);
        const float *table = ll;
        for (int32_t i = 0; i < m->modalities; i++)
            if (m->a_parents[i] > 1) {
                marginals(m, z, i, table, q, logits);
                table += (int64_t)joint_count(m, z, i) * LANES;
            }
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
static Row unexplained(const Model *m, const Shape *z, const float *ll, const float *q, Row energy) {
    for (int32_t i = 0; i < m->modalities; i++) {
        if (m->a_parents[i] == 1) continue;
        int32_t index[MAX_FACTORS] = {0}, count = m->a_parents[i], width = joint_count(m, z, i);
        const int32_t *deps = m->a_deps[i];
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
    float *ll = turns + 2 * (int64_t)m->states * LANES;
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
    float *next = ll;
    for (int32_t i = 0; i < m->modalities; i++) {
        if (m->a_parents[i] == 1) {
            float *out = log_prior + (int64_t)m->first_state[m->a_deps[i][0]] * LANES;
            for (int32_t lane = 0; lane < LANES; lane++)
                offset[lane] += log_likelihood_lane(m, s, i, lane, out, lane_work);
            continue;
        }
        memset(next, 0, sizeof(float) * LANES * (size_t)m->tensors[i].width);
        for (int32_t lane = 0; lane < LANES; lane++)
            offset[lane] += log_likelihood_lane(m, s, i, lane, next, lane_work);
        next += (int64_t)m->tensors[i].width * LANES;
    }
    iterate(m, &z, log_prior, ll, q, turns);
    Row energy = sub(constant(0.0f), load(offset)), disorder = constant(0.0f);
    for (int32_t k = 0; k < m->states; k++) {
        Row value = load(q + (int64_t)k * LANES);
        disorder = add(disorder, row_xlog2x(value));
        energy = sub(energy, mul(value, load(log_prior + (int64_t)k * LANES)));
    }
    energy = add(energy, scale(disorder, LN2 * XLOG2X_UNIT));
    return unexplained(m, &z, ll, q, energy);
}

#endif
