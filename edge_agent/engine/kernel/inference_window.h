/* Inference over a window of ticks: marginal and variational message passing, from inference_window.py.
 *
 * An agent's window lies in rows of bytes behind its belief codes: codes of the window's prior, whether they are in
 * force (until the window was full it is D), how many slots count, then the slots, the newest last. A slot holds the
 * actions before it, a byte a factor, and its outcomes, two bytes a modality. What no outcome or control is counts as
 * missing, so that no byte leads out of a table. A tick moves all slots one place down and infers the beliefs of all
 * of them anew. A lane's slots that do not count yet are computed with the others and lead nowhere. */
#ifndef EDGE_AGENT_INFERENCE_WINDOW_H
#define EDGE_AGENT_INFERENCE_WINDOW_H

#include "factors.h"

typedef struct {
    const Model *m;
    uint8_t *in_force, *steps, *slots; /* rows of bytes */
    int64_t stride;
    int32_t count, size, lowest; /* slots, rows of one, the first that counts in some lane */
    float *prior, *log_prior;    /* [states] */
    float *q, *own;              /* [slots][states]: beliefs, and ln-likelihood of modalities of one parent */
    float *blocks;               /* of each slot: logits, work and tables of contraction.h; one of all without tables */
    float *before, *old;         /* [states]: beliefs about the slot before, and this one, of the last iteration */
    float *message, *child, *sum; /* [states of a factor] */
    float *work;
} Window;

static int64_t block_rows(const Model *m) { return 2 * (int64_t)m->states + m->over_states.tables; }

static float *block_of(const Window *w, int32_t h) {
    return at(w->blocks, w->m->over_states.tables ? h * block_rows(w->m) : 0);
}

static float *beliefs_of(const Window *w, int32_t h) { return at(w->q, (int64_t)h * w->m->states); }

static const uint8_t *action_before(const Window *w, int32_t h, int32_t f) {
    return w->slots + ((int64_t)h * w->size + f) * w->stride;
}

static Window open_window(const Model *m, const Strip *s, float *work) {
    int64_t states = m->states, codes = m->window.first_row, slots = m->window.slots;
    Window w = {.m = m, .stride = s->belief_stride, .count = (int32_t)slots, .size = m->factors + 2 * m->modalities};
    w.in_force = s->belief + 2 * codes * w.stride;
    w.steps = w.in_force + w.stride;
    w.slots = w.steps + w.stride;
    w.prior = work;
    w.log_prior = at(w.prior, states);
    w.before = at(w.log_prior, states);
    w.old = at(w.before, states);
    w.q = at(w.old, states);
    w.own = at(w.q, slots * states);
    w.blocks = at(w.own, slots * states);
    w.message = at(w.blocks, (m->over_states.tables ? slots : 1) * block_rows(m));
    w.child = at(w.message, states);
    w.sum = at(w.child, states);
    w.work = at(w.sum, states);
    return w;
}

/* Move the slots one place down; the last is this tick's. */
static void push_slot(Window *w, const Strip *s) {
    const Model *m = w->m;
    int64_t kept = (int64_t)(w->count - 1) * w->size;
    for (int64_t k = 0; k < kept; k++) memcpy(w->slots + k * w->stride, w->slots + (k + w->size) * w->stride, LANES);
    uint8_t *last = w->slots + kept * w->stride;
    w->lowest = w->count - 1;
    for (int32_t lane = 0; lane < LANES; lane++) {
        int32_t steps = w->steps[lane];
        if (s->action[lane] == ACTION_START) steps = w->in_force[lane] = 0;
        steps = steps < w->count ? steps + 1 : w->count;
        w->steps[lane] = (uint8_t)steps;
        if (lane < s->active && w->count - steps < w->lowest) w->lowest = w->count - steps;
    }
    for (int32_t f = 0; f < m->factors; f++, last += w->stride) memcpy(last, s->action + f * s->action_stride, LANES);
    for (int32_t i = 0; i < m->modalities; i++, last += 2 * w->stride)
        for (int32_t lane = 0; lane < LANES; lane++) {
            int32_t o = s->outcomes[i * LANES + lane];
            last[lane] = (uint8_t)(o & 255);
            last[w->stride + lane] = (uint8_t)(o >> 8 & 255);
        }
}

/* Lanes in which slot ``h`` counts. */
static Mask counting(const Window *w, int32_t h) {
    return less(constant((float)(w->count - h) - 0.5f), from_bytes(w->steps));
}

/* Lanes in which a known action led from slot ``h`` - 1 to slot ``h``, and both count. */
static Mask linked(const Window *w, int32_t h) {
    if (h < 1 || h >= w->count) return none();
    Mask out = counting(w, h - 1);
    for (int32_t f = 0; f < w->m->factors; f++)
        out = both(out, less(from_bytes(action_before(w, h, f)), constant((float)w->m->num_controls[f] - 0.5f)));
    return out;
}

/* ln-likelihoods of slot ``h``; ``offset`` collects what is common to all states. */
static void weigh_slot(const Window *w, const Strip *s, int32_t h, float *offset) {
    const Model *m = w->m;
    const Contraction *c = &m->over_states;
    float lane_work[m->widest], *own = at(w->own, (int64_t)h * m->states), *block = block_of(w, h);
    int32_t *outcomes = (int32_t *)(void *)w->work;
    const uint8_t *seen = action_before(w, h, m->factors);
    int32_t counts[LANES];
    Mask here = counting(w, h);
    memcpy(counts, &here, sizeof counts);
    for (int32_t i = 0; i < m->modalities; i++, seen += 2 * w->stride)
        for (int32_t lane = 0; lane < LANES; lane++) {
            int32_t o = seen[lane] | seen[w->stride + lane] << 8;
            outcomes[i * LANES + lane] = counts[lane] && o < m->num_obs[i] ? o : OUTCOME_MISSING;
        }
    Strip there = {.outcomes = outcomes, .active = s->active};
    memset(own, 0, sizeof(float) * LANES * (size_t)m->states);
    memset(at(block, 2 * (int64_t)m->states), 0, sizeof(float) * LANES * (size_t)c->tables);
    for (int32_t i = 0; i < m->modalities; i++)
        log_likelihoods(m, &there, i,
                        c->places[i] < 0 ? at(own, m->first_state[m->a_deps[i][0]]) : at(block, c->places[i]), offset,
                        lane_work);
}

/* Row ``r`` of ln B applied to ``source`` [width], whose lanes sum to 1. */
static Row apply_logarithms(const Tensor *t, int64_t r, const float *source) {
    Row acc = constant(t->sparse ? t->log_background : 0.0f);
    if (t->sparse)
        for (uint32_t k = t->starts[r]; k < t->starts[r + 1]; k++)
            acc = add_scaled(acc, t->logarithm[code_at(t, k, t->wide)], at((float *)source, t->columns[k]));
    else
        for (int32_t j = 0; j < t->width; j++)
            acc = add_scaled(acc, t->logarithm[code_at(t, r * t->width + j, t->wide)], at((float *)source, j));
    return acc;
}

/* Factor ``f`` of what follows ``beliefs`` under the actions of each lane, or E[ln B] (``logarithms``). */
static void move_factor(const Window *w, int32_t f, const uint8_t *action, const float *beliefs, int logarithms,
                        float *out) {
    const Model *m = w->m;
    const Tensor copy = m->tensors[m->modalities + f], *t = &copy;
    int32_t n = m->num_states[f];
    const float *source = joint(m, beliefs, m->b_parents[f], m->b_deps[f], w->work);
    memset(out, 0, sizeof(float) * LANES * (size_t)n);
    for (int32_t u = 0; u < m->num_controls[f]; u++) {
        Mask here = equal_bytes(action, u);
        if (!any(here)) continue;
        Row rest = unlisted(t, (int64_t)u * n, source);
        for (int32_t k = 0; k < n; k++) {
            int64_t r = (int64_t)u * n + k;
            Row value = logarithms ? apply_logarithms(t, r, source) : larger(apply(t, r, source, rest), constant(0.0f));
            store(at(out, k), choose(here, value, load(at(out, k))));
        }
    }
}

/* Add one value [``weight``] of each entry of row ``r``, or its logarithm, to ``out`` [width]; of a sparse tensor what
 * is listed, less the background. */
static void add_row(const Tensor *t, int64_t r, Row weight, int logarithms, float *out) {
    const float *values = logarithms ? t->logarithm : t->sparse ? t->difference : t->palette;
    int64_t first = t->sparse ? t->starts[r] : r * t->width, last = t->sparse ? t->starts[r + 1] : first + t->width;
    for (int64_t k = first; k < last; k++) {
        float *p = at(out, t->sparse ? t->columns[k] : k - first);
        store(p, add_scaled_row(load(p), values[code_at(t, k, t->wide)], weight));
    }
}

/* The same, summed over the other parents' beliefs ``others``: to ``out`` [states of the parent that is kept], which
 * is cleared first. ``inside``: joint states of the parents after it. */
static void spread_row(const Tensor *t, int64_t r, const float *others, int32_t states, int32_t inside, int logarithms,
                       float *out) {
    const float *values = logarithms ? t->logarithm : t->sparse ? t->difference : t->palette;
    int64_t first = t->sparse ? t->starts[r] : r * t->width, last = t->sparse ? t->starts[r + 1] : first + t->width;
    Row rest = constant(!t->sparse ? 0.0f : logarithms ? t->log_background : t->background);
    for (int32_t k = 0; k < states; k++) store(at(out, k), rest);
    for (int64_t k = first; k < last; k++) {
        int32_t column = (int32_t)(t->sparse ? t->columns[k] : k - first), outer = column / inside;
        const float *other = at((float *)others, (int64_t)(outer / states) * inside + column % inside);
        float *p = at(out, outer % states);
        store(p, add_scaled(load(p), values[code_at(t, k, t->wide)], other));
    }
}

/* Message to factor ``f`` of the beliefs ``future`` about factor ``g`` after the actions of each lane, into w->sum;
 * ``present``: beliefs about the slot itself. Marginal messages have no logarithm yet. */
static void hear_child(const Window *w, int32_t f, int32_t g, const uint8_t *action, const float *present,
                       const float *future) {
    const Model *m = w->m;
    const Tensor copy = m->tensors[m->modalities + g], *t = &copy;
    int32_t n = m->num_states[f], rows = m->num_states[g], logarithms = m->window.variational, inside = 1, count = 0;
    int32_t others[MAX_FACTORS];
    for (int32_t d = 0; d < m->b_parents[g]; d++) {
        int32_t parent = m->b_deps[g][d];
        if (parent != f) others[count++] = parent, inside *= m->num_states[parent];
        else inside = 1;
    }
    const float *shares = count ? joint(m, present, count, others, w->work) : NULL;
    const float *inverse = m->window.inverse_sums + m->window.first_sum[g];
    future += (int64_t)m->first_state[g] * LANES;
    memset(w->sum, 0, sizeof(float) * LANES * (size_t)n);
    for (int32_t u = 0; u < m->num_controls[g]; u++) {
        Mask here = equal_bytes(action, u);
        if (!any(here)) continue;
        float *sum = w->message;
        Row total = constant(0.0f);
        memset(sum, 0, sizeof(float) * LANES * (size_t)n);
        for (int32_t j = 0; j < rows; j++) {
            int64_t r = (int64_t)u * rows + j;
            Row weight = load(at((float *)future, j));
            if (!count) {
                if (!logarithms) weight = scale(weight, inverse[r]);
                total = add(total, weight);
                add_row(t, r, weight, logarithms, sum);
                continue;
            }
            spread_row(t, r, shares, n, inside, logarithms, w->child);
            if (!logarithms) {
                Row norm = constant(0.0f);
                for (int32_t k = 0; k < n; k++) norm = add(norm, load(at(w->child, k)));
                weight = divide(weight, larger(norm, constant(EPSILON)));
            }
            for (int32_t k = 0; k < n; k++)
                store(at(sum, k), add_product(load(at(sum, k)), weight, load(at(w->child, k))));
        }
        Row rest = constant(0.0f);
        if (!count && t->sparse) rest = scale(total, logarithms ? t->log_background : t->background);
        for (int32_t k = 0; k < n; k++)
            store(at(w->sum, k), choose(here, add(load(at(sum, k)), rest), load(at(w->sum, k))));
    }
}

/* Logits of slot ``h`` [states], whose likelihoods lie in its block, with the messages of both neighbours. */
static void add_messages(const Window *w, int32_t h, float *logits) {
    const Model *m = w->m;
    Mask earlier = linked(w, h), later = linked(w, h + 1);
    int past = any(earlier), future = any(later);
    Row one = constant(1.0f), share = m->window.variational ? one : choose(later, constant(0.5f), one);
    for (int32_t f = 0; f < m->factors; f++) {
        float *out = at(logits, m->first_state[f]), *first = at(w->log_prior, m->first_state[f]);
        if (past) move_factor(w, f, action_before(w, h, f), w->before, m->window.variational, w->message);
        for (int32_t k = 0; k < m->num_states[f]; k++) {
            Row message = load(at(first, k));
            if (past) {
                Row moved = load(at(w->message, k));
                if (!m->window.variational) moved = row_log(larger(moved, constant(EPSILON)));
                message = choose(earlier, moved, message);
            }
            store(at(out, k), add_product(load(at(out, k)), share, message));
        }
        for (int32_t g = 0; future && g < m->factors; g++) {
            int child = 0;
            for (int32_t d = 0; d < m->b_parents[g]; d++) child |= m->b_deps[g][d] == f;
            if (!child) continue;
            hear_child(w, f, g, action_before(w, h + 1, g), w->old, beliefs_of(w, h + 1));
            for (int32_t k = 0; k < m->num_states[f]; k++) {
                Row heard = load(at(w->sum, k));
                if (!m->window.variational) heard = row_log(larger(heard, constant(EPSILON)));
                heard = choose(later, mul(share, heard), constant(0.0f));
                store(at(out, k), add(load(at(out, k)), heard));
            }
        }
    }
}

/* Beliefs of all slots, all updated from those of the iteration before. */
static void pass_messages(const Window *w) {
    const Model *m = w->m;
    const Contraction *c = &m->over_states;
    for (int32_t h = w->lowest; h < w->count; h++) {
        for (int32_t f = 0; f < m->factors; f++)
            for (int32_t k = 0; k < m->num_states[f]; k++)
                store(at(beliefs_of(w, h), m->first_state[f] + k), constant(1.0f / (float)m->num_states[f]));
        contract(c, 0, c->once, block_of(w, h), beliefs_of(w, h));
    }
    for (int32_t turn = 0; turn < m->options.num_iter; turn++)
        for (int32_t h = w->lowest; h < w->count; h++) {
            float *logits = block_of(w, h), *fresh = at(logits, m->states), *q = beliefs_of(w, h);
            copy_rows(w->before, w->old, m->states);
            copy_rows(w->old, q, m->states);
            copy_rows(logits, at(w->own, (int64_t)h * m->states), m->states);
            contract(c, c->once, c->once + c->turn, logits, q);
            add_messages(w, h, logits);
            for (int32_t f = 0; f < m->factors; f++)
                soften(at(logits, m->first_state[f]), m->num_states[f], at(q, m->first_state[f]),
                       at(fresh, m->first_state[f]), none());
        }
}

/* Of full windows, the prior of the next one: the first slot's belief, moved. The bytes of other lanes stay, whatever
 * their neighbours do. */
static void advance_prior(const Window *w, const Strip *s) {
    const Model *m = w->m;
    if (w->count == 1 || w->lowest) return;
    Mask known = linked(w, 1);
    uint8_t *codes = (uint8_t *)w->own, *stored = s->belief + (int64_t)m->window.first_row * w->stride;
    Strip there = {.belief = codes, .belief_stride = LANES};
    for (int32_t f = 0; f < m->factors; f++) {
        Row sum, top;
        float *prior = at(w->prior, m->first_state[f]);
        move_factor(w, f, action_before(w, 1, f), beliefs_of(w, 0), 0, w->message);
        for (int32_t k = 0; k < m->num_states[f]; k++)
            store(at(prior, k), choose(known, load(at(w->message, k)), load(at(prior, k))));
        extent(prior, m->num_states[f], &sum, &top);
        encode(m, &there, f, prior, top, w->message);
    }
    for (int32_t lane = 0; lane < LANES; lane++) {
        if (w->steps[lane] < w->count) continue;
        w->in_force[lane] = 1;
        for (int64_t k = 0; k < m->window.first_row; k++) stored[k * w->stride + lane] = codes[k * LANES + lane];
    }
}

/* The window's prior: what is stored, or D. */
static void read_prior(const Window *w, const Strip *s) {
    const Model *m = w->m;
    Strip there = *s;
    there.belief = s->belief + (int64_t)m->window.first_row * w->stride;
    decode(m, &there, w->prior);
    Mask stored = equal_bytes(w->in_force, 1);
    for (int32_t k = 0; k < m->states; k++) {
        Row prior = choose(stored, load(at(w->prior, k)), constant(m->D[k]));
        store(at(w->prior, k), prior);
        store(at(w->log_prior, k), row_log(larger(prior, constant(EPSILON))));
    }
}

/* Beliefs after this tick, and their free energy relative to what was ``predicted``. */
static void infer_window(const Model *m, const Strip *s, const float *predicted, float *beliefs, float *work) {
    Window w = open_window(m, s, work);
    const Contraction *c = &m->over_states;
    Shape z;
    shape_of(m->num_states, m->factors, &z);
    float offset[LANES] __attribute__((aligned(64)));
    push_slot(&w, s);
    read_prior(&w, s);
    for (int32_t h = w.lowest; h < w.count; h++) {
        memset(offset, 0, sizeof offset); /* that of the last slot counts */
        weigh_slot(&w, s, h, offset);
    }
    pass_messages(&w);
    const float *q = beliefs_of(&w, w.count - 1), *own = at(w.own, (int64_t)(w.count - 1) * m->states);
    Row energy = sub(constant(0.0f), load(offset)), disorder = constant(0.0f);
    for (int32_t k = 0; k < m->states; k++) {
        Row value = load(at((float *)q, k)),
            expected = row_log(larger(load(at((float *)predicted, k)), constant(EPSILON)));
        disorder = add_xlog2x(disorder, value);
        energy = subtract_product(energy, value, add(expected, load(at((float *)own, k))));
    }
    energy = add_scaled_row(energy, LN2 * LOG2_UNIT, disorder);
    energy = unexplained(m, &z, c, block_of(&w, w.count - 1), q, energy);
    Mask lost = surprising(m, s, predicted, energy, w.work);
    if (any(lost)) note(s, lost);
    advance_prior(&w, s);
    encode_all(m, s, q, beliefs);
    if (s->free_energy) store(s->free_energy, energy);
}

#endif
