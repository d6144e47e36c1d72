/* One tick of one strip of LANES agents. Compiled once per instruction set and width, once more as RULES_1 for bundles
 * without options (vectors.h), and once more as EXTENDED for agents that search (search.h) or infer over a window of
 * ticks (inference_window.h): in one function with these a step would be slower, because what all call is not inlined.
 * See CMakeLists.txt.
 *
 * Planning starts from the beliefs as they are stored, so whoever asks for G later gets what the step used. */
#include "factors.h"
#include "plan.h"
#ifdef EXTENDED
#include "inference_window.h"
#include "search.h"
#endif

void STRIP(const Model *m, const Strip *s, float *scratch) {
    float *beliefs = scratch, *prior = at(scratch, m->states), *work = at(scratch, 2 * (int64_t)m->states);
    decode(m, s, beliefs);
    if (s->outcomes) {
        predict(m, s, beliefs, prior, work);
#ifdef EXTENDED
        if (m->window.slots) infer_window(m, s, prior, beliefs, work);
        else
#endif
            if (m->factors == 1)
            infer_bayes(m, s, prior, beliefs, work);
        else infer_iterated(m, s, prior, beliefs, work);
    }
    if (!s->plan) return;
#ifdef EXTENDED
    if (m->options.search.max_nodes) {
        float *values, *shares;
        search_strip(m, s, scratch, &values, &shares);
        if (s->G) hand_out(values, m->policies, s->active, s->G);
        if (s->q_pi) hand_out(shares, m->policies, s->active, s->q_pi);
        if (s->choose) act(m, s, shares, at(scratch, m->states));
        return;
    }
#endif
    run_plan(m, s->plan, s->active, scratch);
    float *values = at(scratch, s->plan->values);
    if (s->G) hand_out(values, m->policies, s->active, s->G);
    if (!s->q_pi && !s->choose) return;
    policy_posterior(m, values);
    if (s->q_pi) hand_out(values, m->policies, s->active, s->q_pi);
    if (s->choose) act(m, s, values, at(scratch, m->states));
}
