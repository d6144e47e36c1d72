/* Predict and infer: from belief codes, last actions and outcomes to belief codes and free energy.
 *
 * Scratch rows: beliefs [states], prior [states], then work space (module.c: inference_rows). Bayes' rule for
 * one factor works on probabilities; fixed-point iteration for several on logarithms, num_iter times at most. A lane
 * stops changing once an iteration moves it by less than SETTLED: a rule of that lane alone, so its bits do not
 * depend on its neighbours. */
#ifndef EDGE_AGENT_INFER_H
#define EDGE_AGENT_INFER_H

#include "integers.h"
#include "tensor.h"

#define SETTLED 1e-5f
#define EPSILON 2.220446e-16f
#define EXPLAINED 20.0f /* nats: by this much the outcomes fit better once the belief is dropped */
#define IMPOSSIBLE 1e-35f
#define EVIDENCE_FLOOR 1e-12f /* a peer's code 0 means "below 2e-10", not "never" */

/* Beliefs [states] from their codes, each factor normalised. */
static void decode(const Model *m, const Strip *s, float *beliefs) {
    for (int32_t f = 0; f < m->factors; f++) {
        const uint8_t *codes = s->belief + m->first_code[f] * s->belief_stride;
        int64_t step = s->belief_stride << m->wide_belief[f];
        float *out = beliefs + (int64_t)m->first_state[f] * LANES;
        Row sum = constant(0.0f);
        for (int32_t k = 0; k < m->num_states[f]; k++, codes += step) {
            Row c = from_bytes(codes);
            if (m->wide_belief[f]) c = add_scaled_row(c, 256.0f, from_bytes(codes + s->belief_stride));
            c = mul(c, c);
            c = mul(c, c);
            sum = add(sum, c);
            store(out + (int64_t)k * LANES, c);
        }
        Row inverse = divide(constant(1.0f), sum);
        for (int32_t k = 0; k < m->num_states[f]; k++) {
            float *p = out + (int64_t)k * LANES;
            store(p, mul(load(p), inverse));
        }
    }
}

/* Codes of factor ``f`` from values proportional to its posterior, whose largest is ``top``; and the beliefs that
 * decode() would give for them. A code of 16 bits is two rows of bytes, the low one first. */
static void encode(const Model *m, const Strip *s, int32_t f, const float *values, Row top, float *beliefs) {
    uint8_t *codes = s->belief + m->first_code[f] * s->belief_stride;
    int32_t count = m->num_states[f], wide = m->wide_belief[f];
    Row inverse = divide(constant(1.0f), top), sum = constant(0.0f), zero = constant(0.0f);
    for (int32_t k = 0; k < count; k++, codes += s->belief_stride << wide) {
        Row part = larger(mul(load(values + (int64_t)k * LANES), inverse), zero); /* rounding can go below it */
        Row code = wide ? scale(row_sqrt(row_sqrt(part)), 65535.0f) : row_code(part);
        Row rounded = add(code, constant(ROUND));
        to_bytes(codes, rounded, 0);
        if (wide) to_bytes(codes + s->belief_stride, rounded, 8);
        Row c = sub(rounded, constant(ROUND));
        c = mul(c, c);
        c = mul(c, c);
        sum = add(sum, c);
        store(beliefs + (int64_t)k * LANES, c);
    }
    inverse = divide(constant(1.0f), sum);
    for (int32_t k = 0; k < count; k++) {
        float *p = beliefs + (int64_t)k * LANES;
        store(p, mul(load(p), inverse));
    }
}

/* Add entry ``e`` of the mixed form. */
INLINE Row add_weighted(Row acc, const float *patterns, const Tensor *t, uint32_t e, const float *source) {
    Row weight = load(patterns + (int64_t)t->mixed_patterns[e] * LANES);
    return add_product(acc, weight, load(source + (int64_t)t->mixed_columns[e] * LANES));
}

/* Rows of ``t`` for lanes whose controls differ. A pattern is the weights that one entry has under each control;
 * a lane's weight is that of its control, so a row costs its entries once and not once a control. Adding an
 * entry of weight 0 changes nothing: the bits are those of apply(). */
static void apply_mixed(const Tensor *stored, const uint8_t *action, int32_t controls, int32_t states,
                        const float *source, float *out, float *patterns) {
    const Tensor own = *stored, *t = &own; /* a copy that no store can change: it stays in registers */
    for (int32_t p = 0; p < t->patterns; p++) store(patterns + (int64_t)p * LANES, constant(0.0f));
    for (int32_t u = 0; u < controls; u++) {
        Mask here = equal_bytes(action, u);
        if (!any(here)) continue;
        for (int32_t p = 0; p < t->patterns; p++) {
            float *row = patterns + (int64_t)p * LANES;
            store(row, choose(here, constant(t->pattern[p * controls + u]), load(row)));
        }
    }
    for (int32_t k = 0; k < states; k++) {
        uint32_t e = t->mixed_starts[k], end = t->mixed_starts[k + 1];
        Row acc = constant(t->background);
        for (; e < end; e++) acc = add_weighted(acc, patterns, t, e, source);
        store(out + (int64_t)k * LANES, acc);
    }
}

/* Prior of every factor from the last action of every lane. */
static void predict(const Model *m, const Strip *s, const float *beliefs, float *prior, float *work) {
    for (int32_t f = 0; f < m->factors; f++) {
        const uint8_t *action = s->action + f * s->action_stride;
        int32_t n = m->num_states[f], controls = m->num_controls[f], present = 0;
        float *out = prior + (int64_t)m->first_state[f] * LANES;
        const Tensor copy = m->tensors[m->modalities + f], *t = &copy;
        Mask start = equal_bytes(action, ACTION_START), still = equal_bytes(action, ACTION_STILL);
        for (int32_t u = 0; u < controls; u++) present += any(equal_bytes(action, u));
        const float *source = present ? joint(m, beliefs, m->b_parents[f], m->b_deps[f], work) : 0;
        if (present && t->weights) {
            apply_by_control(&m->tensors[m->modalities + f], action, controls, n, m->spread, source, out,
                             work + 2 * (int64_t)m->widest * LANES);
        } else if (present > 1 && t->patterns) {
            apply_mixed(&m->tensors[m->modalities + f], action, controls, n, source, out,
                        work + 2 * (int64_t)m->widest * LANES);
        } else {
            for (int32_t u = 0; u < controls; u++) {
                Mask here = equal_bytes(action, u);
                if (!any(here)) continue;
                Row rest = unlisted(t, (int64_t)u * n, source);
                for (int32_t k = 0; k < n; k++) {
                    float *p = out + (int64_t)k * LANES;
                    store(p, choose(here, apply(t, (int64_t)u * n + k, source, rest), load(p)));
                }
            }
        }
        if (t->sparse && t->background > 0.0f && m->options.rules > 1) /* rounding can go below 0 */
            for (int32_t k = 0; k < n; k++) {
                float *p = out + (int64_t)k * LANES;
                store(p, larger(load(p), constant(0.0f)));
            }
        if (!any(either(start, still))) continue;
        const float *own = beliefs + (int64_t)m->first_state[f] * LANES, *D = m->D + m->first_state[f];
        for (int32_t k = 0; k < n; k++) {
            float *p = out + (int64_t)k * LANES;
            Row prediction = choose(still, load(own + (int64_t)k * LANES), load(p));
            store(p, choose(start, constant(D[k]), prediction));
        }
    }
}

/* ln-likelihood of a soft outcome of one lane into ``out`` [width]; returns its largest. */
static float soft_likelihood(const Tensor *t, const float *soft, int32_t outcomes, float *out) {
    for (int32_t j = 0; j < t->width; j++) out[j] = 0.0f;
    float common = 0.0f;
    for (int32_t o = 0; o < outcomes; o++) {
        float p = soft[(int64_t)o * LANES];
        if (p == 0.0f) continue;
        if (t->sparse) {
            common += p * t->log_background;
            for (int32_t j = 0; t->base && j < t->width; j++) out[j] += p * t->log_share[j];
            for (uint32_t k = t->starts[o]; k < t->starts[o + 1]; k++)
                out[t->columns[k]] += p * t->logarithm[code_at(t, k, t->wide)];
        } else {
            int64_t first = (int64_t)o * t->width;
            for (int32_t j = 0; j < t->width; j++) out[j] += p * t->logarithm[code_at(t, first + j, t->wide)];
        }
    }
    float top = out[0] + common;
    for (int32_t j = 0; j < t->width; j++) {
        out[j] += common;
        if (top < out[j]) top = out[j];
    }
    return top;
}

INLINE float exp1(float x) {
    V v = (V){} + x;
    return vexp(v)[0];
}
INLINE float log1(float x) {
    V v = (V){} + x;
    return vlog(v)[0];
}

/* Lanes whose outcome of modality ``i`` is one of its outcomes: not missing, and not soft. */
INLINE Mask observed(const Strip *s, int32_t i) {
    const VI *outcomes = (const VI *)(s->outcomes + i * LANES);
    Mask m;
    EACH m.v[i] = outcomes[i] > OUTCOME_MISSING;
    return m;
}

/* Multiply ``x`` [width] by a base, in the lanes of ``who``; what is listed is made up for lane by lane. */
static void multiply_shares(const Tensor *t, Mask who, float *x) {
    for (int32_t j = 0; j < t->width; j++, x += LANES) {
        Row p = load(x);
        store(x, choose(who, scale(p, t->share[j]), p));
    }
}

/* Multiply one lane of ``x`` [states of the only factor] by the likelihood of its outcome of modality ``i``.
 * Returns the logarithm of the factor that was left out. */
static float multiply_likelihood(const Model *m, const Strip *s, int32_t i, int32_t lane, float *x, float *work) {
    const Tensor *t = &m->tensors[i];
    int32_t o = s->outcomes[i * LANES + lane];
    x += lane;
    if (o == OUTCOME_MISSING) return 0.0f;
    if (o == OUTCOME_SOFT) {
        float top = soft_likelihood(t, s->soft[i] + lane, m->num_obs[i], work);
        for (int32_t j = 0; j < t->width; j++) x[(int64_t)j * LANES] *= exp1(work[j] - top);
        return top;
    }
    if (!t->sparse) {
        int64_t first = (int64_t)o * t->width;
        for (int32_t j = 0; j < t->width; j++) x[(int64_t)j * LANES] *= t->palette[code_at(t, first + j, t->wide)];
        return 0.0f;
    }
    uint32_t start = t->starts[o], end = t->starts[o + 1];
    if (t->background == 0.0f) { /* no base, and all but the listed states are impossible */
        for (uint32_t k = start; k < end; k++) work[k - start] = x[(int64_t)t->columns[k] * LANES];
        for (int32_t j = 0; j < t->width; j++) x[(int64_t)j * LANES] = 0.0f;
        for (uint32_t k = start; k < end; k++)
            x[(int64_t)t->columns[k] * LANES] = work[k - start] * t->ratio[code_at(t, k, t->wide)];
        return 0.0f;
    }
    for (uint32_t k = start; k < end; k++) x[(int64_t)t->columns[k] * LANES] *= t->ratio[code_at(t, k, t->wide)];
    return t->log_background;
}

/* Sum and largest of ``count`` rows. */
INLINE void extent(const float *x, int32_t count, Row *sum, Row *top) {
    Row total = constant(0.0f), best = constant(0.0f);
    for (int32_t k = 0; k < count; k++) {
        Row r = load(x + (int64_t)k * LANES);
        total = add(total, r);
        best = larger(best, r);
    }
    *sum = total;
    *top = best;
}

/* All modalities and the evidence, for the lanes of ``who``; ``offset`` collects what was left out, in nats.
 * Between modalities values are scaled back, so that many small likelihoods do not underflow. */
static void weigh(const Model *m, const Strip *s, Mask who, float *x, float *offset, float *work) {
    int32_t n = m->num_states[0], chosen[LANES];
    memcpy(chosen, &who, sizeof chosen);
    for (int32_t i = 0; i < m->modalities; i++) {
        if (m->tensors[i].base) multiply_shares(&m->tensors[i], both(who, observed(s, i)), x);
        for (int32_t lane = 0; lane < LANES; lane++)
            if (chosen[lane]) offset[lane] += multiply_likelihood(m, s, i, lane, x, work);
        if (i + 1 == m->modalities && !s->evidence[0]) break;
        Row sum, top;
        extent(x, n, &sum, &top);
        Mask usable = both(who, less(constant(IMPOSSIBLE), top));
        Row inverse = choose(usable, divide(constant(1.0f), top), constant(1.0f));
        for (int32_t k = 0; k < n; k++) store(x + (int64_t)k * LANES, mul(load(x + (int64_t)k * LANES), inverse));
        store(offset, add(load(offset), choose(usable, row_log(top), constant(0.0f))));
    }
    if (s->evidence[0])
        for (int32_t k = 0; k < n; k++) {
            Row c = scale(from_bytes(s->evidence[0] + (int64_t)k * LANES), 1.0f / 255.0f);
            c = mul(c, c);
            c = larger(mul(c, c), constant(EVIDENCE_FLOOR));
            float *p = x + (int64_t)k * LANES;
            store(p, choose(who, mul(load(p), c), load(p)));
        }
}

static void note(const Strip *s, Mask who) {
    int32_t chosen[LANES];
    memcpy(chosen, &who, sizeof chosen);
    for (int32_t lane = 0; lane < LANES; lane++) s->contradicted[lane] |= chosen[lane] != 0;
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

INLINE void copy_rows(float *out, const float *from, int64_t rows) {
    memcpy(out, from, sizeof(float) * LANES * (size_t)rows);
}

#endif
