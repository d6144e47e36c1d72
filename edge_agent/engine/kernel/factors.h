/* Inference for several factors: iterate, and start again where outcomes and belief contradict each other. */
#ifndef EDGE_AGENT_FACTORS_H
#define EDGE_AGENT_FACTORS_H

#include "alike.h"

/* From prior to ``q``, which is in proportion to the posterior; returns the free energy. A lane goes over
 * classes of states if the model has them and its outcomes are hard: a rule of that lane alone. */
static Row settle(const Model *m, const Strip *s, const float *prior, float *q, float *work) {
    if (!m->alike.patterns) return settle_states(m, s, prior, q, work);
    Mask soft = patternless(m, s);
    if (!any(soft)) return settle_classes(m, s, prior, q, work);
    float *states = work;
    work += (int64_t)m->states * LANES;
    Row slow = settle_states(m, s, prior, states, work), energy = settle_classes(m, s, prior, q, work);
    for (int32_t k = 0; k < m->states; k++) choose_row(soft, load(states + (int64_t)k * LANES), q + (int64_t)k * LANES);
    return choose(soft, slow, energy);
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

/* Codes and free energy of several factors from ``prior``; ``q`` becomes the beliefs. */
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
        float *values = q + (int64_t)m->first_state[f] * LANES;
        Row sum, top;
        extent(values, m->num_states[f], &sum, &top);
        uint8_t *codes = s->belief + m->first_state[f] * s->belief_stride;
        encode(values, m->num_states[f], top, codes, s->belief_stride, values);
    }
    if (s->free_energy) store(s->free_energy, energy);
}

#endif
