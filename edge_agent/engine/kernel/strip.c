/* One tick of one strip of LANES agents. Compiled once an instruction set and width; see CMakeLists.txt.
 *
 * Planning starts from the beliefs as they are stored, so whoever asks for G later gets what the step used. */
#include "search.h"

void STRIP(const Model *m, const Strip *s, float *scratch) {
    float *beliefs = scratch, *prior = at(scratch, m->states), *work = at(scratch, 2 * (int64_t)m->states);
    decode(m, s, beliefs);
    if (s->outcomes) {
        predict(m, s, beliefs, prior, work);
        if (m->factors == 1) infer_bayes(m, s, prior, beliefs, work);
        else infer_iterated(m, s, prior, beliefs, work);
    }
    if (!s->plan) return;
    if (m->options.search.max_nodes) {
        float *found, *shares;
        search_strip(m, s, scratch, &found, &shares);
        if (s->G) hand_out(found, m->policies, s->active, s->G);
        if (s->q_pi) hand_out(shares, m->policies, s->active, s->q_pi);
        if (s->choose) act(m, s, shares, at(scratch, m->states));
        return;
    }
    run_plan(m, s->plan, s->active, scratch);
    float *values = at(scratch, s->plan->values);
    if (s->G) hand_out(values, m->policies, s->active, s->G);
    if (!s->q_pi && !s->choose) return;
    policy_posterior(m, values);
    if (s->q_pi) hand_out(values, m->policies, s->active, s->q_pi);
    if (s->choose) act(m, s, values, at(scratch, m->states));
}
