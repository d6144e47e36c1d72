/* Cuts a call into strips and runs them, on one thread or several. See tick.h.
 *
 * All agents: strips lie directly in the population's tiles. Some agents: their bytes are gathered into a strip
 * in scratch memory and scattered back. A strip is as narrow as the agents left over allow (4, 16 or the
 * instruction set's widest), so that few agents do not pay for many, and as its scratch memory asks for: strips
 * whose rows are more than a second level cache holds are the slower the wider they are. */
#include "tick.h"

#include <string.h>

#include <stdatomic.h>

enum { CACHED = 1 << 20 }; /* bytes */

static _Thread_local int64_t counted; /* contradictions of the strip at hand */

int64_t integer_at(const Table *t, int64_t tick, int64_t agent, int64_t column) {
    const char *p = t->data + tick * t->stride[0] + agent * t->stride[1] + column * t->stride[2];
    switch (t->itemsize) {
    case 1: return t->is_signed ? *(const int8_t *)p : *(const uint8_t *)p;
    case 2: return t->is_signed ? *(const int16_t *)p : *(const uint16_t *)p;
    case 4: return t->is_signed ? *(const int32_t *)p : (int64_t)*(const uint32_t *)p;
    default: return *(const int64_t *)p;
    }
}

/* A column of agents first .. first + count as int32; outcomes and controls were checked. */
static void read_column(const Table *t, int64_t tick, int64_t first, int64_t column, int32_t count, int32_t *out) {
    if (t->itemsize == 8) { /* what NumPy's integers usually are */
        const char *p = t->data + tick * t->stride[0] + first * t->stride[1] + column * t->stride[2];
        for (int32_t i = 0; i < count; i++, p += t->stride[1]) {
            int64_t value;
            memcpy(&value, p, sizeof value);
            out[i] = (int32_t)value;
        }
        return;
    }
    for (int32_t i = 0; i < count; i++) out[i] = (int32_t)integer_at(t, tick, first + i, column);
}

/* Parts of a thread's scratch memory, in floats from its start; every part begins on a cache line. */
typedef struct { int64_t outcomes, agents, soft, belief, action, evidence, contradicted, energy, search, end; } Parts;

static int64_t whole_lines(int64_t floats) { return (floats + 15) / 16 * 16; }

/* Memory of a search, as search.h lays it out. */
static int64_t search_floats(const Model *m, int64_t outcomes, int64_t w) {
    int64_t nodes = m->options.search.max_nodes, rows = 3 * ((int64_t)m->states + m->policies) + outcomes;
    if (!nodes) return 0;
    return (rows + m->states + m->modalities + 1) * w + whole_lines(2 * outcomes) +
           whole_lines(nodes * (int64_t)(sizeof(Node) / 4)) + whole_lines(nodes * m->states);
}

static Parts parts(const Model *m, int32_t lanes, int32_t strip_rows) {
    int64_t outcomes = 0;
    for (int32_t i = 0; i < m->modalities; i++) outcomes += m->num_obs[i];
    int64_t w = lanes < 16 ? 16 : lanes; /* whole cache lines */
    Parts p;
    p.outcomes = strip_rows * w;
    p.agents = p.outcomes + m->modalities * w;
    p.soft = p.agents + w;
    p.belief = p.soft + outcomes * w;
    p.action = p.belief + (m->codes * w + 63) / 64 * 16;
    p.evidence = p.action + (m->factors * w + 63) / 64 * 16;
    p.contradicted = p.evidence + (m->states * w + 63) / 64 * 16;
    p.energy = p.contradicted + 16;
    p.search = p.energy + w;
    p.end = p.search + search_floats(m, outcomes, w);
    return p;
}

int64_t tick_bytes(const Model *m, int32_t lanes, int32_t strip_rows) { return 4 * parts(m, lanes, strip_rows).end; }

void window_rows(Model *m) {
    WindowOptions *w = &m->window;
    if (!w->slots) return;
    w->first_row = m->codes;
    m->codes = 2 * m->codes + 2 + w->slots * (m->factors + 2 * m->modalities);
    for (int32_t f = 1; f < m->factors; f++)
        w->first_sum[f] = w->first_sum[f - 1] + m->num_states[f - 1] * m->num_controls[f - 1];
}

static int64_t agent_at(const Tick *c, int64_t i) { return c->agents ? c->agents[i] : i; }

static uint8_t *byte_of(uint8_t *base, const Population *p, int32_t rows, int64_t agent, int32_t row) {
    return base + (agent / p->lanes * rows + row) * p->lanes + agent % p->lanes;
}

/* Agents first .. first + active of the call, in a strip of ``w`` lanes. */
static void run_strip(const Tick *c, int64_t first, int32_t active, int32_t w, RunStrip *run, float *scratch) {
    const Population *p = c->population;
    const Model *m = p->model;
    Parts part = parts(m, p->isa->wide > 16 ? p->isa->wide : 16, p->strip_rows);
    int32_t *outcomes = (int32_t *)(scratch + part.outcomes);
    uint32_t *agents = (uint32_t *)(scratch + part.agents);
    uint8_t *contradicted = (uint8_t *)(scratch + part.contradicted);
    float *energy = scratch + part.energy;
    Strip s = {.free_energy = energy, .contradicted = contradicted, .agents = agents, .active = active};
    s.search = scratch + part.search;
    int gathered = c->agents || c->start || c->actions.data;
    if (gathered) {
        s.belief = (uint8_t *)(scratch + part.belief);
        s.action = (uint8_t *)(scratch + part.action);
        s.belief_stride = s.action_stride = w;
        memset(s.action, ACTION_START, (size_t)(m->factors * w));
        memset(s.belief, 255, (size_t)(m->codes * w));
        for (int32_t lane = 0; lane < active; lane++) {
            int64_t agent = agent_at(c, first + lane);
            for (int32_t k = 0; k < m->codes; k++)
                s.belief[k * w + lane] =
                    c->start ? c->start[(first + lane) * m->codes + k] : *byte_of(p->belief, p, m->codes, agent, k);
            for (int32_t f = 0; f < m->factors; f++)
                s.action[f * w + lane] = *byte_of(p->action, p, m->factors, agent, f);
        }
    } else {
        s.belief = byte_of(p->belief, p, m->codes, first, 0);
        s.action = byte_of(p->action, p, m->factors, first, 0);
        s.belief_stride = s.action_stride = p->lanes;
    }
    for (int32_t lane = 0; lane < w; lane++) agents[lane] = lane < active ? (uint32_t)agent_at(c, first + lane) : 0;
    s.seed = p->seed;
    s.tick = c->tick;
    s.selection = p->selection;
    s.stochastic = p->stochastic;
    for (int32_t k = 0; k < (c->ticks ? c->ticks : 1); k++) {
        int last = k + 1 >= c->ticks;
        if (c->ticks) {
            s.outcomes = outcomes;
            memset(contradicted, 0, (size_t)w);
            for (int32_t i = 0; i < m->modalities; i++) {
                read_column(&c->observations, k, first, i, active, outcomes + i * w);
                for (int32_t lane = active; lane < w; lane++) outcomes[i * w + lane] = OUTCOME_MISSING;
            }
        }
        if (c->actions.data)
            for (int32_t f = 0; f < m->factors; f++)
                for (int32_t lane = 0; lane < active; lane++) {
                    int64_t u = integer_at(&c->actions, k, first + lane, f);
                    s.action[f * w + lane] = u < 0 ? ACTION_STILL : (uint8_t)u;
                }
        uint8_t *evidence = (uint8_t *)(scratch + part.evidence);
        for (int32_t f = 0; f < m->factors; f++) {
            const Table *t = &c->evidence[f];
            if (!t->data) continue;
            uint8_t *rows = evidence + (int64_t)m->first_state[f] * w;
            memset(rows, 255, (size_t)(m->num_states[f] * w));
            for (int32_t lane = 0; lane < active; lane++)
                for (int32_t j = 0; j < m->num_states[f]; j++)
                    rows[j * w + lane] = (uint8_t)integer_at(t, k, first + lane, j);
            s.evidence[f] = rows;
        }
        float *soft = scratch + part.soft;
        for (int32_t i = 0; i < m->modalities; soft += (int64_t)m->num_obs[i] * w, i++) {
            const Table *t = &c->soft[i];
            if (!t->data) continue;
            s.soft[i] = soft;
            for (int32_t lane = 0; lane < active; lane++) {
                float total = 0.0f;
                for (int32_t o = 0; o < m->num_obs[i]; o++) {
                    float x;
                    memcpy(&x, t->data + k * t->stride[0] + (first + lane) * t->stride[1] + o * t->stride[2], 4);
                    soft[o * w + lane] = x;
                    total += x;
                }
                if (total > 0.0f) outcomes[i * w + lane] = OUTCOME_SOFT;
            }
        }
        if (last) {
            s.plan = c->plan;
            s.G = c->G ? c->G + first * m->policies : NULL;
            s.q_pi = c->q_pi ? c->q_pi + first * m->policies : NULL;
            s.choose = c->chosen != NULL;
        }
        run(m, &s, scratch);
        if (!c->ticks) continue;
        for (int32_t lane = 0; lane < active; lane++) counted += contradicted[lane];
        if (s.choose) continue;
        for (int32_t f = 0; f < m->factors; f++) /* D was the prior of this tick, not of the next */
            for (int32_t lane = 0; lane < active; lane++) {
                uint8_t *u = &s.action[f * s.action_stride + lane];
                if (*u == ACTION_START) *u = ACTION_STILL;
            }
    }
    for (int32_t lane = 0; lane < active; lane++) {
        int64_t agent = agent_at(c, first + lane);
        if (c->ticks) p->free_energy[agent] = energy[lane];
        if (c->chosen)
            for (int32_t f = 0; f < m->factors; f++)
                c->chosen[(first + lane) * m->factors + f] = s.action[f * s.action_stride + lane];
        if (!gathered) continue;
        for (int32_t k = 0; k < m->codes; k++) *byte_of(p->belief, p, m->codes, agent, k) = s.belief[k * w + lane];
        if (!c->chosen && c->actions.data) continue; /* a re-run leaves the action that stands */
        for (int32_t f = 0; f < m->factors; f++) *byte_of(p->action, p, m->factors, agent, f) = s.action[f * w + lane];
    }
}

static int extended(const Model *m) { return m->window.slots || m->options.search.max_nodes; }

static RunStrip *strip_of(const Population *p, int kind) {
    if (p->model->options.rules == 1) return p->isa->rules_1[kind];
    return extended(p->model) ? p->isa->extended[kind] : p->isa->run[kind];
}

/* Width of the next strip of ``left`` agents: 0 of 4, 1 of 16, 2 of the widest. */
static int width_of(const Population *p, int64_t left) {
    int64_t cached = CACHED / 4 / p->strip_rows;
    return left <= 4 || cached < 16 ? 0 : left <= 16 || cached < p->isa->wide || extended(p->model) ? 1 : 2;
}

/* A piece is up to TILE agents of the call. */
static void run_piece(void *context, int64_t piece, int32_t thread) {
    Tick *c = context;
    const Population *p = c->population;
    int64_t first = piece * TILE, end = first + TILE < c->count ? first + TILE : c->count;
    float *scratch = p->scratch + thread * p->scratch_floats;
    counted = 0;
    while (first < end) {
        int64_t left = end - first;
        int kind = width_of(p, left);
        int32_t w = kind == 0 ? 4 : kind == 1 ? 16 : p->isa->wide;
        int32_t active = left < w ? (int32_t)left : w;
        run_strip(c, first, active, w, strip_of(p, kind), scratch);
        first += active;
    }
    if (counted) atomic_fetch_add((_Atomic int64_t *)&c->contradictions, counted);
}

void tick_run(Tick *c) {
    int64_t pieces = (c->count + TILE - 1) / TILE;
    if (c->population->pool && pieces > 1) pool_run(c->population->pool, run_piece, c, pieces);
    else
        for (int64_t piece = 0; piece < pieces; piece++) run_piece(c, piece, 0);
}
