/* Inference: which way a lane goes, and what follows where outcomes and belief contradict each other.
 *
 * One factor: Bayes' rule on probabilities; a lane whose outcomes are far from its belief goes over logarithms
 * instead, clipped at epsilon as pymdp clips them, where a product of probabilities could vanish. Several factors:
 * iteration over states, or over classes of them, or variable elimination. */
#ifndef EDGE_AGENT_FACTORS_H
#define EDGE_AGENT_FACTORS_H

#include "elimination.h"
#include "surprise.h"

#define CAREFUL 24.0f         /* nats of free energy, from which clipping can matter: ln epsilon is -36 */
#define CONTRADICTION_1 33.0f /* rules 1: nats of free energy; every state was at the clip somewhere */

/* From prior to ``q``, which is in proportion to the posterior; returns the free energy. A lane goes over
 * classes of states if the model has them and its outcomes are hard: a rule of that lane alone. */
static Row settle(const Model *m, const Strip *s, const float *prior, float *q, float *work) {
    if (m->options.exact && m->factors > 1) return eliminate(m, s, prior, q, work);
    if (!m->outcome_classes.patterns) return settle_states(m, s, prior, q, work);
    Mask soft = patternless(m, s);
    if (!any(soft)) return settle_classes(m, s, prior, q, work);
    float *states = work;
    work += (int64_t)m->states * LANES;
    Row slow = settle_states(m, s, prior, states, work), energy = settle_classes(m, s, prior, q, work);
    for (int32_t k = 0; k < m->states; k++) choose_row(soft, load(states + (int64_t)k * LANES), q + (int64_t)k * LANES);
    return choose(soft, slow, energy);
}

/* Codes and beliefs of all factors from ``q``, in proportion to the posterior. */
static void encode_all(const Model *m, const Strip *s, const float *q, float *beliefs) {
    for (int32_t f = 0; f < m->factors; f++) {
        int64_t row = (int64_t)m->first_state[f] * LANES;
        Row sum, top;
        extent(q + row, m->num_states[f], &sum, &top);
        encode(m, s, f, q + row, top, beliefs + row);
    }
}

/* Where outcomes contradict the prediction (lanes ``lost`` of those whose posterior is ``q``): start again from the
 * likelihood. Lanes whose outcomes are as odd without the belief keep it. Returns the lanes that started again;
 * ``fresh`` and ``work`` have room for the states. */
static Mask start_again(const Model *m, const Strip *s, Mask lost, const float *prior, float *q, Row *energy,
                        float *fresh, float *work) {
    float *even = work;
    work += (int64_t)m->states * LANES;
    copy_rows(even, prior, m->states);
    replace_prior(m, lost, 0, even);
    Row restarted = settle(m, s, even, fresh, work);
    Mask explained = both(lost, less(constant(EXPLAINED), sub(*energy, restarted)));
    for (int32_t k = 0; k < m->states; k++)
        choose_row(explained, load(fresh + (int64_t)k * LANES), q + (int64_t)k * LANES);
    *energy = choose(explained, restarted, *energy);
    return explained;
}

/* Several factors, from ``prior``; ``q`` becomes the beliefs. */
static void infer_iterated(const Model *m, const Strip *s, float *prior, float *q, float *work) {
    float *fresh = work;
    if (m->options.reset) work += (int64_t)m->states * LANES;
    Row energy = settle(m, s, prior, q, work);
    int first = m->options.rules == 1;
    Mask lost = first ? less(constant(CONTRADICTION_1), energy) : surprising(m, s, prior, energy, work);
    if (any(lost)) {
        Mask explained = lost;
        if (m->options.reset) explained = start_again(m, s, lost, prior, q, &energy, fresh, work);
        note(s, first ? explained : lost);
    }
    encode_all(m, s, q, q);
    if (s->free_energy) store(s->free_energy, energy);
}

/* One factor under rules 1: a lane whose likelihood vanished started again from an even prior, or from D. */
static void start_again_1(const Model *m, const Strip *s, Mask lost, float *x, float *offset, float *work) {
    int32_t n = m->num_states[0];
    Row sum, top;
    note(s, lost);
    replace_prior(m, lost, 0, x);
    store(offset, choose(lost, constant(0.0f), load(offset)));
    weigh(m, s, lost, x, offset, work);
    extent(x, n, &sum, &top);
    lost = less(top, constant(IMPOSSIBLE));
    if (!any(lost)) return; /* no state explains it: back to D */
    for (int32_t k = 0; k < n; k++) {
        float *p = x + (int64_t)k * LANES;
        store(p, choose(lost, constant(m->D[k]), load(p)));
    }
    store(offset, choose(lost, constant(-36.04365f), load(offset)));
}

/* One factor: codes, beliefs and free energy from ``prior``, which is used up. */
static void infer_bayes(const Model *m, const Strip *s, float *prior, float *beliefs, float *work) {
    int32_t n = m->num_states[0];
    float offset[LANES] __attribute__((aligned(64))) = {0};
    Mask everyone;
    EACH everyone.v[i] = (VI){} - 1;
    Row sum, top;
    weigh(m, s, everyone, prior, offset, work);
    extent(prior, n, &sum, &top);
    Row energy = sub(constant(0.0f), add(row_log(sum), load(offset)));
    if (m->options.rules == 1) {
        Mask lost = less(top, constant(IMPOSSIBLE));
        if (any(lost)) {
            start_again_1(m, s, lost, prior, offset, work);
            extent(prior, n, &sum, &top);
            energy = sub(constant(0.0f), add(row_log(sum), load(offset)));
        }
    } else {
        Mask odd = less(constant(NO_CHANCE), energy), careful = less(constant(CAREFUL), energy);
        if (any(odd)) {
            float *predicted = work, *q = predicted + (int64_t)n * LANES, *rest = q + (int64_t)n * LANES;
            predict(m, s, beliefs, predicted, rest);
            if (any(careful)) {
                Row slow = settle_states(m, s, predicted, q, rest);
                for (int32_t k = 0; k < n; k++)
                    choose_row(careful, load(q + (int64_t)k * LANES), prior + (int64_t)k * LANES);
                energy = choose(careful, slow, energy);
            }
            Mask lost = surprising(m, s, predicted, energy, rest);
            note(s, lost);
            if (m->options.reset && any(lost)) start_again(m, s, lost, predicted, prior, &energy, q, rest);
            extent(prior, n, &sum, &top);
        }
    }
    encode(m, s, 0, prior, top, beliefs);
    if (s->free_energy) store(s->free_energy, energy);
}

#endif
