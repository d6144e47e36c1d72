/* Contradictions: observations that the model gives no chance (reference.py, contradicts()).
 *
 * What is compared with what the model expects of its own observations: the surprise of the outcomes, which is the
 * free energy where inference is exact, and for fixed-point iteration and windows at most the sum over modalities of
 * the surprise that each is by itself (an iteration that went astray has a free energy, and no contradiction). The
 * expected surprise and its variance are sums over the modalities observed. It costs as much as planning one step,
 * so lanes whose free energy is small are not looked at. */
#ifndef EDGE_AGENT_SURPRISE_H
#define EDGE_AGENT_SURPRISE_H

#include "infer.h"

#define NO_CHANCE 16.0f /* nats above what is expected: a chance of one in ten million */
#define DEVIATIONS 3.0f /* and so many standard deviations */

/* Lanes of ``energy`` whose outcomes are a contradiction to the prediction ``prior``. */
static Mask surprising(const Model *m, const Strip *s, const float *prior, Row energy, float *work) {
    Mask odd = less(constant(NO_CHANCE), energy);
    if (!any(odd)) return odd;
    Row surprise = constant(0.0f), expected = constant(0.0f), variance = constant(0.0f), zero = constant(0.0f);
    for (int32_t i = 0; i < m->modalities; i++) {
        const Tensor own = m->tensors[i], *t = &own;
        const float *source = joint(m, prior, m->a_parents[i], m->a_deps[i], work);
        const VI *outcomes = (const VI *)(s->outcomes + i * LANES);
        Row mean = zero, square = zero, said = zero, rest = unlisted(t, 0, source);
        for (int32_t k = 0; k < t->rows; k++) {
            Row p = larger(apply(t, k, source, rest), constant(EPSILON)), l = row_log(p), weighted = mul(p, l);
            mean = sub(mean, weighted);
            square = add_product(square, weighted, l);
            Mask here, soft;
            EACH here.v[i] = outcomes[i] == k;
            EACH soft.v[i] = outcomes[i] == OUTCOME_SOFT;
            said = choose(here, sub(zero, l), said);
            if (s->soft[i]) said = choose(soft, subtract_product(said, load(s->soft[i] + (int64_t)k * LANES), l), said);
        }
        Mask missing;
        EACH missing.v[i] = outcomes[i] == OUTCOME_MISSING;
        surprise = add(surprise, choose(missing, zero, said));
        expected = add(expected, choose(missing, zero, mean));
        variance = add(variance, choose(missing, zero, larger(subtract_product(square, mean, mean), zero)));
    }
    if ((m->factors == 1 && !m->window.slots) || m->options.exact) surprise = energy;
    surprise = choose(less(energy, surprise), energy, surprise);
    Row limit = add_scaled_row(constant(NO_CHANCE), DEVIATIONS, row_sqrt(variance));
    return both(odd, less(add(expected, limit), surprise));
}

#endif
