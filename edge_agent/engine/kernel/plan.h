/* Planning: run the program that planning.py wrote, then the posterior over policies and the action.
 *
 * The program expands every node of the policy tree once and adds up G, the negative expected free energy, a
 * policy; see model.h for its operations. */
#ifndef EDGE_AGENT_PLAN_H
#define EDGE_AGENT_PLAN_H

#include "../../neural/kernel/philox.h"
#include "integers.h"
#include "tensor.h"

/* Sum of x log2 x of the tensor's rows applied to ``source``, in LOG2_UNIT. */
INLINE Row disorder(const Tensor *stored, const float *source) {
    const Tensor own = *stored, *t = &own; /* a copy that no store can change: it stays in registers */
    Row sum = constant(0.0f), rest = unlisted(t, 0, source);
    if (t->single)
        for (int32_t k = 0; k < t->rows; k++) sum = add_xlog2x(sum, apply_single(t, k, source, rest));
    else
        for (int32_t k = 0; k < t->rows; k++) sum = add_xlog2x(sum, apply(t, k, source, rest));
    return sum;
}

#if LANES == 4
/* The same for lane 0 alone: four rows share a vector of logarithms, and are added in the same order. */
INLINE Row disorder_of_one_codes(const Tensor *t, const float *source, int wide) {
    Row rest = unlisted(t, 0, source);
    float sum = 0.0f;
    int32_t k = 0;
    for (; k + 4 <= t->rows; k += 4) {
        V packed = {};
        if (t->single)
            for (int i = 0; i < 4; i++) packed[i] = apply_single_codes(t, k + i, source, rest, wide).v[0][0];
        else
            for (int i = 0; i < 4; i++) packed[i] = apply_codes(t, k + i, source, rest, wide).v[0][0];
        V l = vlog2(packed);
        for (int i = 0; i < 4; i++) sum = madd1(packed[i], l[i], sum);
    }
    for (; k < t->rows; k++) {
        V x = apply_codes(t, k, source, rest, wide).v[0];
        sum = madd1(x[0], vlog2(x)[0], sum);
    }
    return constant(sum);
}

/* A loop per width of codes, and a function of its own: with the branch in the loop or inlined into run_plan(), gcc
 * keeps the four values in memory, and the vector waits for their stores. */
static __attribute__((noinline)) Row disorder_of_one(const Tensor *stored, const float *source) {
    const Tensor own = *stored, *t = &own;
    return t->wide ? disorder_of_one_codes(t, source, 1) : disorder_of_one_codes(t, source, 0);
}
#define DISORDER(t, source, active) ((active) == 1 ? disorder_of_one(t, source) : disorder(t, source))
#else
#define DISORDER(t, source, active) disorder(t, source)
#endif

/* Sum over ``n`` rows of the products of both. */
INLINE Row product(const float *left, const float *right, int32_t n) {
    Row sum = constant(0.0f);
    for (int64_t k = 0; k < n; k++) sum = add_product(sum, load(left + k * LANES), load(right + k * LANES));
    return sum;
}

/* Operations of which few models have many. They are functions of their own: inlined, they cost the loops of the
 * others registers. */
static __attribute__((noinline)) void dot_rows(const int32_t *x, const float *fold, float *scratch) {
    const float *source = at(scratch, x[2]);
    fold += x[0];
    for (int32_t i = 0; i < x[4]; i++, fold += x[1]) {
        Row sum = constant(0.0f);
        for (int32_t k = 0; k < x[1]; k++) sum = add_scaled(sum, fold[k], source + (int64_t)k * LANES);
        store(at(scratch, x[3] + i), sum);
    }
}

static __attribute__((noinline)) void expand_packed(const Tensor *t, const int32_t *x, const float *fold,
                                                    float *scratch) {
    float *out = at(scratch, x[4]);
    apply_packed(t, x[1] / t->group_rows, at(scratch, x[3]), PARTS, out);
    if (x[5] < 0) return;
    Row value = constant(0.0f);
    for (int32_t k = 0; k < x[2]; k++) value = add_scaled(value, fold[x[5] + k], at(out, k));
    store(at(scratch, x[6]), value);
}

/* Sum of x log2 x of a group of the tensor's rows, which list two entries each, in LOG2_UNIT. */
static __attribute__((noinline)) Row disorder_of_twins(const Tensor *stored, int32_t group, const float *source,
                                                       int32_t active) {
    const Tensor own = *stored, *t = &own;
    int32_t k = group * t->group_rows, end = k + t->group_rows;
    Row sum = constant(0.0f), rest = constant(t->background);
    (void)active;
#if LANES == 4
    for (; active == 1 && k + 4 <= end; k += 4) { /* four rows of lane 0 share a vector of logarithms */
        float first[4];
        for (int i = 0; i < 4; i++) first[i] = apply_twin(t, k + i, source, rest).v[0][0];
        V x = (V){first[0], first[1], first[2], first[3]}, l = vlog2(x);
        for (int i = 0; i < 4; i++) sum.v[0] = vmadd((V){} + x[i], (V){} + l[i], sum.v[0]);
    }
#endif
    for (; k < end; k++) sum = add_xlog2x(sum, apply_twin(t, k, source, rest));
    return sum;
}

static __attribute__((noinline)) void group_entropy(const Tensor *t, const int32_t *x, int32_t active, float *scratch) {
    const float *source = at(scratch, x[1]);
    float *value = at(scratch, x[2]);
    Row sum = t->weights ? disorder_packed(t, x[3], source, active) : disorder_of_twins(t, x[3], source, active);
    store(value, add_scaled_row(load(value), -LN2 * LOG2_UNIT, sum));
}

/* out [count] = x log2 x of the tensor's rows from ``first`` on, applied to ``source``. */
static __attribute__((noinline)) void write_xlog2x(const Tensor *stored, int32_t first, int32_t count,
                                                   const float *source, int32_t active, float *out) {
    const Tensor own = *stored, *t = &own;
    Row rest = unlisted(t, first, source);
    int32_t k = 0;
#if LANES == 4
    for (; active == 1 && k + 4 <= count; k += 4) { /* four rows of lane 0 share a vector of logarithms */
        V packed = {};
        for (int i = 0; i < 4; i++) packed[i] = apply(t, first + k + i, source, rest).v[0][0];
        V x = packed * vlog2(packed);
        for (int i = 0; i < 4; i++) *(V *)at(out, k + i) = (V){} + x[i];
    }
#endif
    (void)active;
    for (; k < count; k++) store(at(out, k), row_xlog2x(apply(t, first + k, source, rest)));
}

static __attribute__((noinline)) void product_rows(const int32_t *x, float *scratch) {
    const float *left = at(scratch, x[1]), *right = at(scratch, x[2]);
    for (int32_t i = 0; i < x[4]; i++, left += (int64_t)x[0] * LANES)
        store(at(scratch, x[3] + i), product(left, right, x[0]));
}

static __attribute__((noinline)) void outcome_entropy(const int32_t *x, float *scratch) {
    const float *left = at(scratch, x[1]), *right = at(scratch, x[2]);
    float *value = at(scratch, x[4]);
    Row sum = constant(0.0f);
    for (int32_t i = 0; i < x[3]; i++, left += (int64_t)x[0] * LANES) sum = add_xlog2x(sum, product(left, right, x[0]));
    store(value, add_scaled_row(load(value), -LN2 * LOG2_UNIT, sum));
}

/* Sum over ``count`` rows from ``row`` of both tensors' products: what is predicted, and what it would teach. */
static Row gain(const Tensor *predicted, const Tensor *weights, int32_t row, int32_t count, const float *source) {
    const Tensor a = *predicted, w = *weights;
    Row sum = constant(0.0f), outcomes = unlisted(&a, row, source), gains = unlisted(&w, row, source);
    for (int32_t k = row; k < row + count; k++)
        sum = add_product(sum, apply(&a, k, source, outcomes), apply(&w, k, source, gains));
    return sum;
}

/* Lowest of ``count`` rows that is the largest, or less by no more than that part of it, as a number a lane. */
INLINE Row largest(const float *rows, int32_t count, float tie, Row *best) {
    Row top = load(rows), which = constant(0.0f);
    for (int32_t k = 1; k < count; k++) top = larger(top, load(rows + (int64_t)k * LANES));
    Row bound = add_scaled_row(top, -tie, top);
    for (int32_t k = count - 1; k >= 0; k--) {
        Mask below = less(load(rows + (int64_t)k * LANES), bound);
        which = choose(below, which, constant((float)k));
    }
    *best = top;
    return which;
}

/* Inductive planning: the value of every state for agents that are most probably where ``beliefs`` say. */
static void write_penalties(const Model *m, const float *beliefs, float *out) {
    const Options *o = &m->options;
    for (int32_t f = 0; f < m->factors; f++) {
        int32_t n = m->num_states[f], first = m->first_state[f];
        float where[LANES] __attribute__((aligned(64)));
        Row best;
        store(where, largest(beliefs + (int64_t)first * LANES, n, o->tie, &best));
        for (int32_t lane = 0; lane < LANES; lane++) {
            uint16_t row = o->nearer[first + (int32_t)where[lane]];
            const uint8_t *way = o->ways + o->first_way[f] + (row == UNREACHABLE ? 0 : (int64_t)row * n);
            for (int32_t k = 0; k < n; k++)
                out[(int64_t)(first + k) * LANES + lane] = row == UNREACHABLE || way[k] ? 0.0f : o->log_epsilon;
        }
    }
}

static void run_plan(const Model *m, const Plan *plan, int32_t active, float *scratch) {
    (void)active;
    if (plan->penalties >= 0) write_penalties(m, scratch, at(scratch, plan->penalties));
    const int32_t *op = plan->ops;
    for (int32_t n = 0; n < plan->count; n++, op += OP_WORDS) {
        const int32_t *x = op + 1;
        switch (op[0]) {
        case OP_COPY: store(at(scratch, x[0]), load(at(scratch, x[1]))); break;
        case OP_ADD: store(at(scratch, x[0]), add(load(at(scratch, x[1])), load(at(scratch, x[2])))); break;
        case OP_EXPAND: {
            const Tensor own = m->tensors[x[0]], *t = &own;
            const float *source = at(scratch, x[3]);
            float *out = at(scratch, x[4]);
            Row rest = unlisted(t, x[1], source);
            if (x[5] < 0) {
                if (t->single)
                    for (int32_t k = 0; k < x[2]; k++, out += LANES)
                        store(out, apply_single(t, x[1] + k, source, rest));
                else
                    for (int32_t k = 0; k < x[2]; k++, out += LANES) store(out, apply(t, x[1] + k, source, rest));
                break;
            }
            const float *fold = plan->fold + x[5];
            Row value = constant(0.0f);
            for (int32_t k = 0; k < x[2]; k++, out += LANES) {
                Row r = apply(t, x[1] + k, source, rest);
                store(out, r);
                value = add_scaled_row(value, fold[k], r);
            }
            store(at(scratch, x[6]), value);
            break;
        }
        case OP_JOINT: outer(at(scratch, x[0]), at(scratch, x[1]), x[2], at(scratch, x[3]), x[4]); break;
        case OP_ENTROPY: {
            Row sum = DISORDER(&m->tensors[x[0]], at(scratch, x[1]), active);
            float *value = at(scratch, x[2]);
            store(value, add_scaled_row(load(value), -LN2 * LOG2_UNIT, sum));
            break;
        }
        case OP_GROUP_ENTROPY: group_entropy(&m->tensors[x[0]], x, active, scratch); break;
        case OP_EXPAND_PACKED: expand_packed(&m->tensors[x[0]], x, plan->fold, scratch); break;
        case OP_DOT: dot_rows(x, plan->fold, scratch); break;
        case OP_LISTED: {
            const float *fold = plan->fold + x[0];
            const int32_t *list = plan->lists + x[4];
            Row sum = constant(fold[0]);
            for (int32_t k = 0; k < x[1]; k++) sum = add_scaled(sum, fold[1 + k], at(scratch, x[2] + list[k]));
            store(at(scratch, x[3]), sum);
            break;
        }
        case OP_GATHER: {
            const int32_t *starts = plan->lists + x[3], *list = starts + x[1] + 1;
            for (int32_t k = 0; k < x[1]; k++) {
                Row sum = load(at(scratch, x[2] + list[starts[k]]));
                for (int32_t j = starts[k] + 1; j < starts[k + 1]; j++)
                    sum = add(sum, load(at(scratch, x[2] + list[j])));
                store(at(scratch, x[0] + k), sum);
            }
            break;
        }
        case OP_NOVELTY:
            store(at(scratch, x[5]), gain(&m->tensors[x[0]], &m->tensors[x[1]], x[2], x[3], at(scratch, x[4])));
            break;
        case OP_PRODUCT: product_rows(x, scratch); break;
        case OP_OUTCOMES: outcome_entropy(x, scratch); break;
        case OP_PACK: pack(at(scratch, x[1]), x[0], m->spread, PARTS, at(scratch, x[2])); break;
        case OP_XLOG2X:
            write_xlog2x(&m->tensors[x[0]], x[1], x[2], at(scratch, x[3]), active, at(scratch, x[4]));
            break;
        }
    }
}

/* Row [count][LANES] to the caller's [active][count]. */
static void hand_out(const float *rows, int32_t count, int32_t active, float *out) {
    for (int32_t lane = 0; lane < active; lane++)
        for (int32_t p = 0; p < count; p++) out[(int64_t)lane * count + p] = rows[(int64_t)p * LANES + lane];
}

/* G rows become q(pi) rows. */
static void policy_posterior(const Model *m, float *rows) {
    Row top = constant(-3e38f);
    for (int32_t p = 0; p < m->policies; p++) {
        float *r = rows + (int64_t)p * LANES;
        Row logit = scale(load(r), m->options.gamma);
        if (m->log_E) logit = add(logit, constant(m->log_E[p]));
        store(r, logit);
        top = larger(top, logit);
    }
    Row sum = constant(0.0f);
    for (int32_t p = 0; p < m->policies; p++) {
        float *r = rows + (int64_t)p * LANES;
        Row e = row_exp(sub(load(r), top));
        sum = add(sum, e);
        store(r, e);
    }
    Row inverse = divide(constant(1.0f), sum);
    for (int32_t p = 0; p < m->policies; p++) {
        float *r = rows + (int64_t)p * LANES;
        store(r, mul(load(r), inverse));
    }
}

/* Index a lane of the largest of ``count`` rows (the lowest wins a tie), or of one drawn with weight row^alpha: by
 * a number that depends on seed, agent, tick and ``draw`` alone. */
static void select_index(const Model *m, const Strip *s, float *rows, int32_t count, uint32_t draw, uint8_t *low,
                         int32_t *index) {
    Row best, which = largest(rows, count, m->options.tie, &best);
    if (s->stochastic) {
        float u[LANES] __attribute__((aligned(64)));
        for (int32_t lane = 0; lane < LANES; lane++)
            u[lane] = (float)philox_uniform(s->seed, s->agents[lane], s->tick, draw);
        Row top = row_log(larger(best, constant(EPSILON))), sum = constant(0.0f);
        for (int32_t k = 0; k < count; k++) {
            float *r = rows + (int64_t)k * LANES;
            Row logit = scale(sub(row_log(larger(load(r), constant(EPSILON))), top), m->options.alpha);
            sum = add(sum, row_exp(logit));
            store(r, sum);
        }
        Row aim = mul(load(u), sum);
        which = constant(0.0f);
        for (int32_t k = 0; k + 1 < count; k++) {
            Mask passed = less(aim, load(rows + (int64_t)k * LANES));
            Row one = choose(passed, constant(0.0f), constant(1.0f));
            which = add(which, one);
        }
    }
    float out[LANES] __attribute__((aligned(64)));
    store(out, which);
    for (int32_t lane = 0; lane < LANES; lane++) {
        if (low) low[lane] = (uint8_t)out[lane];
        if (index) index[lane] = (int32_t)out[lane];
    }
}

/* Write the chosen action of every factor. ``rows``: q(pi); ``work``: room for the marginal of one factor. */
static void act(const Model *m, const Strip *s, float *rows, float *work) {
    if (s->selection == SELECT_FULL) {
        int32_t policy[LANES];
        select_index(m, s, rows, m->policies, 0, 0, policy);
        for (int32_t f = 0; f < m->factors; f++)
            for (int32_t lane = 0; lane < LANES; lane++)
                s->action[f * s->action_stride + lane] = m->first_act[(int64_t)policy[lane] * m->factors + f];
        return;
    }
    for (int32_t f = 0; f < m->factors; f++) {
        if (m->num_controls[f] == 1) {
            memset(s->action + f * s->action_stride, 0, LANES);
            continue;
        }
        for (int32_t u = 0; u < m->num_controls[f]; u++) store(work + (int64_t)u * LANES, constant(0.0f));
        for (int32_t p = 0; p < m->policies; p++) {
            float *r = work + (int64_t)m->first_act[(int64_t)p * m->factors + f] * LANES;
            store(r, add(load(r), load(rows + (int64_t)p * LANES)));
        }
        select_index(m, s, work, m->num_controls[f], (uint32_t)f, s->action + f * s->action_stride, 0);
    }
}

#endif
