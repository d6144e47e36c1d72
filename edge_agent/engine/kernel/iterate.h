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
            out[(int64_t)t->columns[k] * LANES] += t->logarithm[t->codes[k]];
        return t->log_background;
    }
    const uint8_t *codes = t->codes + (int64_t)o * t->width;
    for (int32_t j = 0; j < t->width; j++) out[(int64_t)j * LANES] += t->logarithm[codes[j]];
    return 0.0f;
}

/* logits += E[ll] over all parents but each in turn; returns nothing for joint sizes: ``ll`` has them all. */
static void marginals(const Model *m, int32_t i, const float *ll, const float *q, float *logits) {
    int32_t count = m->a_parents[i];
    const int32_t *deps = m->a_deps[i];
    if (count == 2) {
        const float *qa = q + (int64_t)m->first_state[deps[0]] * LANES;
        const float *qb = q + (int64_t)m->first_state[deps[1]] * LANES;
        float *la = logits + (int64_t)m->first_state[deps[0]] * LANES;
        float *lb = logits + (int64_t)m->first_state[deps[1]] * LANES;
        int32_t nb = m->num_states[deps[1]];
        for (int32_t a = 0; a < m->num_states[deps[0]]; a++) {
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
    for (int32_t j = 0; j < m->tensors[i].width; j++, ll += LANES) {
        for (int32_t keep = 0; keep < count; keep++) {
            Row term = load(ll);
            for (int32_t d = 0; d < count; d++)
                if (d != keep) term = mul(term, load(q + (int64_t)(m->first_state[deps[d]] + index[d]) * LANES));
            float *p = logits + (int64_t)(m->first_state[deps[keep]] + index[keep]) * LANES;
            store(p, add(load(p), term));
        }
        for (int32_t d = count - 1; d >= 0 && ++index[d] == m->num_states[deps[d]]; d--) index[d] = 0;
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

/* Iterate from prior to q; returns the free energy. ``work``: see inference_rows. */
static Row settle(const Model *m, const Strip *s, const float *prior, float *q, float *work) {
    float *log_prior = work, *logits = log_prior + (int64_t)m->states * LANES;
    float *fresh = logits + (int64_t)m->states * LANES, *ll = fresh + (int64_t)m->states * LANES;
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
    Mask settled = none();
    for (int32_t turn = 0; turn < ITERATIONS; turn++) {
        memcpy(logits, log_prior, sizeof(float) * LANES * (size_t)m->states);
        const float *table = ll;
        for (int32_t i = 0; i < m->modalities; i++)
            if (m->a_parents[i] > 1) {
                marginals(m, i, table, q, logits);
                table += (int64_t)m->tensors[i].width * LANES;
            }
        Row change = constant(0.0f);
        for (int32_t f = 0; f < m->factors; f++) {
            if (turn > 0 && !m->coupled[f]) continue;
            int64_t row = (int64_t)m->first_state[f] * LANES;
            Row moved = soften(logits + row, m->num_states[f], q + row, fresh + row, settled);
            if (m->coupled[f]) change = larger(change, moved);
        }
        settled = either(settled, less(change, constant(SETTLED)));
        Mask open;
        EACH open.v[i] = ~settled.v[i];
        if (!any(open)) break;
    }
    Row energy = sub(constant(0.0f), load(offset)), disorder = constant(0.0f);
    for (int32_t k = 0; k < m->states; k++) {
        Row value = load(q + (int64_t)k * LANES);
        disorder = add(disorder, row_xlog2x(value));
        energy = sub(energy, mul(value, load(log_prior + (int64_t)k * LANES)));
    }
    energy = add(energy, scale(disorder, LN2 * XLOG2X_UNIT));
    const float *table = ll;
    for (int32_t i = 0; i < m->modalities; i++) {
        if (m->a_parents[i] == 1) continue;
        int32_t index[MAX_FACTORS] = {0}, count = m->a_parents[i];
        const int32_t *deps = m->a_deps[i];
        for (int32_t j = 0; j < m->tensors[i].width; j++, table += LANES) {
            Row term = load(table);
            for (int32_t d = 0; d < count; d++)
                term = mul(term, load(q + (int64_t)(m->first_state[deps[d]] + index[d]) * LANES));
            energy = sub(energy, term);
            for (int32_t d = count - 1; d >= 0 && ++index[d] == m->num_states[deps[d]]; d--) index[d] = 0;
        }
    }
    return energy;
}

/* The prior of lanes in ``who`` becomes even, or what was saved. */
static void replace_prior(const Model *m, Mask who, const float *saved, float *prior) {
    for (int32_t f = 0; f < m->factors; f++) {
        Row even = constant(1.0f / (float)m->num_states[f]);
        for (int32_t k = 0; k < m->num_states[f]; k++) {
            int64_t row = (int64_t)(m->first_state[f] + k) * LANES;
            store(prior + row, choose(who, saved ? load(saved + row) : even, load(prior + row)));
        }
    }
}

/* Codes and free energy of several factors from ``prior``; ``q`` is overwritten. */
static void infer_iterated(const Model *m, const Strip *s, float *prior, float *q, float *work) {
    float *saved = work;
    work += (int64_t)m->states * LANES;
    Row energy = settle(m, s, prior, q, work);
    Mask lost = less(constant(CONTRADICTION), energy);
    if (any(lost)) { /* start again from the likelihood; the other lanes come out as before */
        memcpy(saved, prior, sizeof(float) * LANES * (size_t)m->states);
        replace_prior(m, lost, 0, prior);
        Row restarted = settle(m, s, prior, q, work);
        Mask explained = both(lost, less(constant(EXPLAINED), sub(energy, restarted))), helpless = none();
        EACH helpless.v[i] = lost.v[i] & ~explained.v[i];
        note(s, explained);
        energy = choose(explained, restarted, energy);
        if (any(helpless)) { /* the outcomes are as odd without the belief: it stays */
            replace_prior(m, helpless, saved, prior);
            settle(m, s, prior, q, work);
        }
    }
    for (int32_t f = 0; f < m->factors; f++) {
        const float *values = q + (int64_t)m->first_state[f] * LANES;
        Row sum, top;
        extent(values, m->num_states[f], &sum, &top);
        encode(values, m->num_states[f], top, s->belief + m->first_state[f] * s->belief_stride, s->belief_stride);
    }
    if (s->free_energy) store(s->free_energy, energy);
}

#endif
