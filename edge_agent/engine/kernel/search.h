/* Sophisticated inference: a search over actions and the observations that can follow them (sophisticated.py).
 *
 * One agent is searched at a time, and the lanes are nodes of its tree: LANES beliefs are planned together, by the
 * program of one step, and LANES posteriors inferred together. A lane's bits depend on nothing but itself, so the tree
 * does not depend on their number. Nodes lie in a pool of fixed size, parents before their children, the children of a
 * node side by side; after each level the pool is compacted, so that what was pruned makes room. A level for which
 * there is no room is dropped whole: the values stay those of the level before. */
#ifndef EDGE_AGENT_SEARCH_H
#define EDGE_AGENT_SEARCH_H

#include "factors.h"
#include "plan.h"

typedef struct {
    float share;
    int32_t outcome;
} Ranked;

/* Parts of the memory of a search: rows of LANES, then what has no lanes. */
typedef struct {
    const Model *m;
    const Strip *s;
    float *scratch;                 /* of the strip: beliefs, the program's rows */
    float *roots, *values, *shares; /* of the strip's agents */
    float *gains;                   /* of single steps of LANES nodes */
    float *predicted, *outcomes;    /* of one action of LANES nodes */
    float *prior, *posterior;       /* of LANES observation nodes to come */
    int32_t *seen, *waiting;        /* their outcomes, and their numbers */
    Ranked *ranked;                 /* outcomes of one node, a modality after another */
    Node *nodes;
    float *beliefs;              /* [nodes][states] */
    int32_t size, used, pending; /* used: with nodes beyond max_branching, which count but are not stored */
} Search;

static float *part_of(float **next, int64_t floats) {
    float *part = *next;
    *next += (floats + 15) / 16 * 16;
    return part;
}

static void lay_out(const Model *m, const Strip *s, float *scratch, Search *z) {
    int64_t states = (int64_t)m->states * LANES, policies = (int64_t)m->policies * LANES, outcomes = 0;
    for (int32_t i = 0; i < m->modalities; i++) outcomes += m->num_obs[i];
    float *next = s->search;
    *z = (Search){.m = m, .s = s, .scratch = scratch};
    z->roots = part_of(&next, states);
    z->values = part_of(&next, policies);
    z->shares = part_of(&next, policies);
    z->gains = part_of(&next, policies);
    z->predicted = part_of(&next, states);
    z->prior = part_of(&next, states);
    z->posterior = part_of(&next, states);
    z->outcomes = part_of(&next, outcomes * LANES);
    z->seen = (int32_t *)(void *)part_of(&next, (int64_t)m->modalities * LANES);
    z->waiting = (int32_t *)(void *)part_of(&next, LANES);
    z->ranked = (Ranked *)(void *)part_of(&next, 2 * outcomes);
    z->nodes = (Node *)(void *)part_of(&next, (int64_t)m->options.search.max_nodes * (int64_t)(sizeof(Node) / 4));
    z->beliefs = next;
}

/* The columns of idle lanes become that of lane 0, so that their numbers are some. */
static void fill_idle(float *rows, int64_t count, int32_t active) {
    for (int64_t k = 0; k < count; k++, rows += LANES)
        for (int32_t lane = active; lane < LANES; lane++) rows[lane] = rows[0];
}

/* Posterior of LANES priors and outcomes, in proportion to it. */
static void infer_nodes(const Model *m, const Strip *s, const float *prior, float *q, float *work) {
    if (m->factors > 1) {
        settle(m, s, prior, q, work);
        return;
    }
    float offset[LANES] __attribute__((aligned(64))) = {0};
    Mask everyone;
    EACH everyone.v[i] = (VI){} - 1;
    Row sum, top;
    copy_rows(q, prior, m->states);
    weigh(m, s, everyone, q, offset, work);
    extent(q, m->states, &sum, &top);
    Row energy = sub(constant(0.0f), add(row_log(sum), load(offset)));
    Mask careful = less(constant(CAREFUL), energy);
    if (!any(careful)) return;
    float *slow = work;
    settle_states(m, s, prior, slow, work + (int64_t)m->states * LANES);
    for (int32_t k = 0; k < m->states; k++) choose_row(careful, load(at(slow, k)), at(q, k));
}

/* Infer the beliefs of the observation nodes that wait for it. */
static void flush(Search *z) {
    const Model *m = z->m;
    if (!z->pending) return;
    fill_idle(z->prior, m->states, z->pending);
    for (int32_t i = 0; i < m->modalities; i++)
        for (int32_t lane = z->pending; lane < LANES; lane++) z->seen[i * LANES + lane] = z->seen[i * LANES];
    Strip inner = {.outcomes = z->seen, .active = z->pending};
    infer_nodes(m, &inner, z->prior, z->posterior, at(z->scratch, 2 * (int64_t)m->states));
    for (int32_t f = 0; f < m->factors; f++) {
        float *q = at(z->posterior, m->first_state[f]);
        Row sum, top;
        extent(q, m->num_states[f], &sum, &top);
        Row inverse = divide(constant(1.0f), sum);
        for (int32_t k = 0; k < m->num_states[f]; k++) store(at(q, k), mul(load(at(q, k)), inverse));
    }
    for (int32_t lane = 0; lane < z->pending; lane++) {
        float *out = z->beliefs + (int64_t)z->waiting[lane] * m->states;
        for (int32_t k = 0; k < m->states; k++) out[k] = z->posterior[(int64_t)k * LANES + lane];
    }
    z->pending = 0;
}

/* Sort by descending share, then by outcome. */
static void sort_ranked(Ranked *x, int32_t count) {
    for (int32_t gap = count / 2; gap > 0; gap /= 2)
        for (int32_t i = gap; i < count; i++) {
            Ranked one = x[i];
            int32_t k = i;
            for (; k >= gap; k -= gap) {
                Ranked other = x[k - gap];
                if (other.share > one.share || (other.share == one.share && other.outcome < one.outcome)) break;
                x[k] = other;
            }
            x[k] = one;
        }
}

/* Predicted outcomes of one lane that can be followed, the most probable first; writes how many a modality has. */
static void rank_outcomes(Search *z, int32_t lane, int32_t *counts) {
    const Model *m = z->m;
    const float *row = z->outcomes + lane;
    Ranked *out = z->ranked;
    for (int32_t i = 0; i < m->modalities; i++, out += m->num_obs[i - 1]) {
        float sum = 0.0f;
        for (int32_t o = 0; o < m->num_obs[i]; o++) sum += row[(int64_t)o * LANES];
        counts[i] = 0;
        for (int32_t o = 0; o < m->num_obs[i]; o++) {
            float share = row[(int64_t)o * LANES] / sum;
            if (share > m->options.search.observation_threshold) out[counts[i]++] = (Ranked){share, o};
        }
        sort_ranked(out, counts[i]);
        row += (int64_t)m->num_obs[i] * LANES;
    }
}

static Node *new_node(Search *z, int32_t number) {
    Node *node = &z->nodes[z->size++];
    *node = (Node){.number = number};
    return node;
}

/* The observation nodes of an action of one lane. Returns -1 where there is no room. */
static int follow(Search *z, int32_t action, int32_t lane) {
    const Model *m = z->m;
    const SearchOptions *o = &m->options.search;
    int32_t counts[MAX_MODALITIES], index[MAX_MODALITIES] = {0}, depth = 0;
    const Ranked *first[MAX_MODALITIES];
    float joint[MAX_MODALITIES + 1] = {1.0f};
    rank_outcomes(z, lane, counts);
    const Ranked *next = z->ranked;
    for (int32_t i = 0; i < m->modalities; next += m->num_obs[i++]) first[i] = next;
    z->nodes[action].first = z->size;
    while (depth >= 0) {
        float here = index[depth] < counts[depth] ? joint[depth] * first[depth][index[depth]].share : 0.0f;
        if (here <= o->observation_threshold) {
            if (--depth >= 0) index[depth]++;
            continue;
        }
        if (depth + 1 < m->modalities) {
            joint[++depth] = here;
            index[depth] = 0;
            continue;
        }
        if (++z->used >= o->max_nodes - 1) return -1;
        if (z->nodes[action].count < o->max_branching) {
            int32_t column = z->pending++;
            for (int32_t i = 0; i < m->modalities; i++) z->seen[i * LANES + column] = first[i][index[i]].outcome;
            for (int64_t k = 0; k < m->states; k++) z->prior[k * LANES + column] = z->predicted[k * LANES + lane];
            z->waiting[column] = z->size;
            z->nodes[action].count++;
            new_node(z, OBSERVATION)->probability = here;
            if (z->pending == LANES) flush(z);
        }
        index[depth]++;
    }
    return 0;
}

/* Beliefs after the first action of a policy, and what they predict. */
static void predict_action(Search *z, int32_t policy) {
    const Model *m = z->m;
    float *work = at(z->scratch, 2 * (int64_t)m->states), *out = z->outcomes;
    for (int32_t f = 0; f < m->factors; f++) {
        const Tensor own = m->tensors[m->modalities + f], *t = &own;
        const float *source = joint(m, z->scratch, m->b_parents[f], m->b_deps[f], work);
        int64_t row = (int64_t)m->first_act[(int64_t)policy * m->factors + f] * m->num_states[f];
        Row rest = unlisted(t, row, source);
        for (int32_t k = 0; k < m->num_states[f]; k++) /* rounding can go below 0 */
            store(at(z->predicted, m->first_state[f] + k), larger(apply(t, row + k, source, rest), constant(0.0f)));
    }
    for (int32_t i = 0; i < m->modalities; i++) {
        const Tensor own = m->tensors[i], *t = &own;
        const float *source = joint(m, z->predicted, m->a_parents[i], m->a_deps[i], work);
        Row rest = unlisted(t, 0, source);
        for (int32_t o = 0; o < t->rows; o++, out += LANES) store(out, apply(t, o, source, rest));
    }
}

/* Give ``count`` leaves their actions, and those their observation nodes. Returns -1 where there is no room. */
static int grow(Search *z, const int32_t *leaves, int32_t count) {
    const Model *m = z->m;
    int32_t next[LANES];
    for (int32_t lane = 0; lane < LANES; lane++) {
        const float *q = z->beliefs + (int64_t)leaves[lane < count ? lane : 0] * m->states;
        for (int32_t k = 0; k < m->states; k++) z->scratch[(int64_t)k * LANES + lane] = q[k];
    }
    run_plan(m, z->s->plan, count, z->scratch);
    float *shares = at(z->scratch, z->s->plan->values);
    copy_rows(z->gains, shares, m->policies);
    policy_posterior(m, shares);
    for (int32_t lane = 0; lane < count; lane++) {
        Node *leaf = &z->nodes[leaves[lane]];
        leaf->expanded = 1;
        leaf->first = next[lane] = z->size;
        for (int32_t p = 0; p < m->policies; p++) {
            if (shares[(int64_t)p * LANES + lane] <= m->options.search.policy_threshold) continue;
            if (++z->used >= m->options.search.max_nodes - 1) return -1;
            new_node(z, p)->value = z->gains[(int64_t)p * LANES + lane];
            leaf->count++;
        }
    }
    for (int32_t p = 0; p < m->policies; p++) {
        int32_t predicted = 0;
        for (int32_t lane = 0; lane < count; lane++) {
            const Node *leaf = &z->nodes[leaves[lane]];
            if (next[lane] == leaf->first + leaf->count || z->nodes[next[lane]].number != p) continue;
            if (!predicted++) predict_action(z, p);
            if (follow(z, next[lane]++, lane)) return -1;
        }
    }
    flush(z);
    return 0;
}

/* Values from the leaves to the root, whose actions' go into ``values`` and whose posterior goes into ``shares``
 * (columns of LANES); what is improbable is marked. Returns the entropy of the root's posterior, in nats. */
static float go_back(Search *z, float *values, float *shares) {
    const Model *m = z->m;
    const SearchOptions *o = &m->options.search;
    float gamma = m->options.gamma, entropy = 0.0f;
    for (int32_t i = z->size - 1; i >= 0; i--) {
        Node *node = &z->nodes[i];
        Node *child = z->nodes + node->first, *end = child + node->count;
        if (node->number != OBSERVATION) {
            float total = 0.0f;
            for (Node *c = child; c < end; c++) total += c->value * c->probability;
            node->total = node->count ? node->value + total : -o->penalty;
            continue;
        }
        if (!node->expanded) continue;
        int32_t spare = o->max_branching - node->count; /* places with the penalty */
        float top = spare ? -gamma * o->penalty : gamma * child->total, sum, value;
        for (Node *c = child; c < end; c++) top = top < gamma * c->total ? gamma * c->total : top;
        float rest = exp1(-gamma * o->penalty - top);
        sum = (float)spare * rest;
        for (Node *c = child; c < end; c++) sum += c->probability = exp1(gamma * c->total - top);
        float inverse = 1.0f / sum;
        rest *= inverse;
        value = -o->penalty * rest * (float)spare;
        for (Node *c = child; c < end; c++) {
            c->probability *= inverse;
            c->dead = c->probability < o->policy_threshold;
            value += c->probability * c->total;
        }
        node->value = value;
        if (i > 0) continue;
        for (int32_t p = 0; p < m->policies; p++) {
            values[(int64_t)p * LANES] = -o->penalty;
            shares[(int64_t)p * LANES] = rest;
        }
        for (Node *c = child; c < end; c++) {
            values[(int64_t)c->number * LANES] = c->total;
            shares[(int64_t)c->number * LANES] = c->probability;
            if (c->probability > EPSILON) entropy -= c->probability * log1(c->probability);
        }
        if (rest > EPSILON) entropy -= (float)spare * rest * log1(rest);
    }
    return entropy;
}

/* Move nodes together over those that are dead, and what is below them. */
static void compact(Search *z) {
    int64_t states = z->m->states;
    int32_t size = 0;
    for (int32_t i = 0; i < z->size; i++) {
        Node *node = &z->nodes[i];
        node->moved = node->dead ? -1 : size++;
        for (int32_t c = node->first; node->dead && c < node->first + node->count; c++) z->nodes[c].dead = 1;
    }
    for (int32_t i = 0; i < z->size; i++) {
        Node node = z->nodes[i];
        if (node.dead) continue;
        int32_t first = node.first, count = node.count;
        node.count = 0;
        for (int32_t c = first; c < first + count; c++) {
            if (z->nodes[c].dead) continue;
            if (!node.count++) node.first = z->nodes[c].moved;
        }
        z->nodes[node.moved] = node;
        if (node.number == OBSERVATION && !node.expanded && node.moved != i)
            memcpy(z->beliefs + node.moved * states, z->beliefs + i * states, sizeof(float) * (size_t)states);
    }
    z->size = z->used = size;
}

/* Search from the beliefs of one agent; writes its columns of ``values`` and ``shares``. */
static void search_agent(Search *z, int32_t lane) {
    const Model *m = z->m;
    const SearchOptions *o = &m->options.search;
    float *values = z->values + lane, *shares = z->shares + lane;
    z->size = z->used = z->pending = 0;
    z->used++;
    new_node(z, OBSERVATION)->probability = 1.0f;
    for (int64_t k = 0; k < m->states; k++) z->beliefs[k] = z->roots[k * LANES + lane];
    for (int32_t level = 0; level < z->s->plan->horizon; level++) {
        int32_t leaves[LANES], count = 0, room = 1, end = z->size;
        for (int32_t i = 0; i < end && room; i++) {
            if (z->nodes[i].number == OBSERVATION && !z->nodes[i].expanded) leaves[count++] = i;
            if (count == LANES || (count && i + 1 == end)) {
                room = !grow(z, leaves, count);
                count = 0;
            }
        }
        z->pending = 0;
        if (!level && !room) { /* the values of single steps */
            float *rows = at(z->scratch, z->s->plan->values);
            copy_rows(rows, z->gains, m->policies);
            policy_posterior(m, rows);
            for (int64_t p = 0; p < m->policies; p++) {
                values[p * LANES] = z->gains[p * LANES];
                shares[p * LANES] = rows[p * LANES];
            }
        }
        if (!room) return;
        float entropy = go_back(z, values, shares);
        if (entropy <= o->entropy_stop || z->nodes[0].value >= o->value_stop) return;
        compact(z);
    }
}

/* Values and posterior of every active agent, into the rows of ``values`` and ``shares`` that are returned. */
static void search_strip(const Model *m, const Strip *s, float *scratch, float **values, float **shares) {
    Search z;
    lay_out(m, s, scratch, &z);
    copy_rows(z.roots, scratch, m->states);
    for (int32_t lane = 0; lane < s->active; lane++) search_agent(&z, lane);
    fill_idle(z.shares, m->policies, s->active);
    *values = z.values;
    *shares = z.shares;
}

#endif
