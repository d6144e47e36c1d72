/* The kernel without Python: runs a dumped model over dumped observations and writes what came out.
 *
 *     driver DUMP ISA THREADS OUT
 *
 * For machines where only the kernel is (an emulated AArch64) and for sanitizers. A dump (dump.py) is a row of
 * blobs, each an int64 length and bytes, padded to 64. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tick.h"

static char *cursor;

static void *blob(int64_t *count, int64_t itemsize) {
    int64_t length;
    memcpy(&length, cursor, 8);
    char *data = cursor + 64;
    cursor = data + (length + 63) / 64 * 64;
    if (count) *count = length / itemsize;
    return data;
}

static void *aligned(int64_t bytes) {
    void *p = aligned_alloc(64, (size_t)((bytes + 63) / 64 * 64));
    if (!p) exit(1);
    return p;
}

static char *read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) exit(1);
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    rewind(file);
    char *data = aligned(size);
    if (fread(data, 1, (size_t)size, file) != (size_t)size) exit(1);
    fclose(file);
    return data;
}

static void read_tensor(Tensor *t, Model *m, int32_t f) {
    const int32_t *sizes = blob(NULL, 4);
    const float *background = blob(NULL, 4);
    int64_t values, listed, based;
    t->rows = sizes[0];
    t->width = sizes[1];
    t->wide = sizes[3] == 2;
    t->patterns = sizes[5];
    t->background = background[0];
    t->log_background = background[1];
    t->palette = blob(&values, 4);
    t->codes = blob(NULL, 1);
    t->columns = blob(NULL, 2);
    t->starts = blob(&listed, 4);
    t->base = blob(&based, 4);
    float *tables = blob(NULL, 4);
    t->pattern = blob(NULL, 4);
    t->mixed_columns = blob(NULL, 2);
    t->mixed_patterns = blob(NULL, 1);
    t->mixed_starts = blob(NULL, 4);
    int64_t weights;
    t->weights = blob(&weights, 2);
    if (!weights) t->weights = NULL;
    t->unit = *(const float *)blob(NULL, 4);
    t->group_rows = *(const int32_t *)blob(NULL, 4);
    t->sparse = listed > 0;
    t->single = t->sparse;
    t->twin = t->sparse && !t->wide;
    for (int32_t r = 0; t->single && r < t->rows; r++) t->single = t->starts[r + 1] - t->starts[r] == 1;
    for (int32_t r = 0; t->twin && r < t->rows; r++) t->twin = t->starts[r + 1] - t->starts[r] == 2;
    t->values = (int32_t)values;
    if (!based) t->base = NULL;
    t->base_rows = based ? (int32_t)(t->rows * (int64_t)t->width / based) : t->rows;
    t->difference = based ? t->palette : tables;
    t->ratio = based ? tables : tables + values;
    t->logarithm = t->ratio + values;
    t->share = t->logarithm + values;
    t->log_share = t->share + t->width;
    if (t->width > m->widest) m->widest = t->width;
    if (f < 0) return;
    m->num_states[f] = sizes[2];
    m->num_controls[f] = t->rows / sizes[2];
    m->first_state[f] = m->states;
    m->states += sizes[2];
    m->wide_belief[f] = sizes[4] == 2;
    m->first_code[f] = m->codes;
    m->codes += sizes[2] * sizes[4];
}

static void read_outcome_classes(OutcomeClasses *a, int32_t factors) {
    int64_t joint;
    a->patterns = *(const int32_t *)blob(NULL, 4);
    a->strides = blob(NULL, 4);
    a->classes = blob(NULL, 4);
    a->order = blob(NULL, 2);
    a->starts = blob(NULL, 2);
    a->weights = blob(&joint, 4);
    a->common = blob(NULL, 4);
    if (a->patterns) a->width = (int32_t)(joint / a->patterns);
    for (int32_t f = 0; f < factors; f++) a->rows += a->classes[f];
}

static void read_contraction(Contraction *c) {
    const int32_t *counts = blob(NULL, 4);
    *c = (Contraction){.once = counts[0], .turn = counts[1], .tables = counts[2], .count = counts[3]};
    c->ops = blob(NULL, 4);
    c->lists = blob(NULL, 4);
    c->places = blob(NULL, 4);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    char *start = cursor = read_file(argv[1]);
    const int32_t *head = blob(NULL, 4);
    int32_t stored = *(const int32_t *)blob(NULL, 4);
    const float *precisions = blob(NULL, 4);
    const int32_t *counts = blob(NULL, 4);
    Model m = {.modalities = head[0], .factors = head[1], .policies = head[2]};
    m.options = (Options){.gamma = precisions[0],
                          .alpha = precisions[1],
                          .tie = precisions[2],
                          .log_epsilon = precisions[3],
                          .num_iter = counts[1],
                          .rules = counts[2],
                          .exact = counts[3],
                          .reset = counts[4]};
    m.options.nearer = blob(NULL, 2);
    m.options.ways = blob(NULL, 1);
    m.options.first_way = blob(NULL, 8);
    const int32_t *room = blob(NULL, 4);
    const float *limits = blob(NULL, 4);
    m.options.search = (SearchOptions){.max_nodes = room[0],
                                       .max_branching = room[1],
                                       .policy_threshold = limits[0],
                                       .observation_threshold = limits[1],
                                       .entropy_stop = limits[2],
                                       .value_stop = limits[3],
                                       .penalty = limits[4]};
    m.tensors = calloc((size_t)stored, sizeof(Tensor));
    for (int32_t i = 0; i < stored; i++) {
        int32_t f = i - m.modalities;
        read_tensor(&m.tensors[i], &m, f < m.factors ? f : -1);
        if (f < 0) m.num_obs[i] = m.tensors[i].rows;
        int64_t parents;
        const int32_t *deps = blob(&parents, 4);
        if (f >= m.factors) continue;
        *(f < 0 ? &m.a_parents[i] : &m.b_parents[f]) = (int32_t)parents;
        memcpy(f < 0 ? m.a_deps[i] : m.b_deps[f], deps, (size_t)parents * 4);
        for (int64_t k = 0; f < 0 && parents > 1 && k < parents; k++) m.coupled[deps[k]] = 1;
    }
    m.spread = *(const float *)blob(NULL, 4);
    read_outcome_classes(&m.outcome_classes, m.factors);
    const int32_t *exact = blob(NULL, 4);
    m.elimination = (Elimination){.count = exact[0], .rows = exact[1]};
    m.elimination.ops = blob(NULL, 4);
    m.elimination.lists = blob(NULL, 4);
    read_contraction(&m.over_states);
    read_contraction(&m.over_classes);
    const int32_t *window = blob(NULL, 4);
    m.window = (WindowOptions){.slots = window[0], .variational = window[1], .inverse_sums = blob(NULL, 4)};
    window_rows(&m);
    m.D = blob(NULL, 4);
    int64_t habits;
    m.log_E = blob(&habits, 4);
    if (!habits) m.log_E = NULL;
    m.first_act = blob(NULL, 1);
    Plan plan = {.values = head[3], .penalties = counts[0], .horizon = counts[7]};
    int64_t words, observed;
    plan.ops = blob(&words, 4);
    plan.count = (int32_t)(words / OP_WORDS);
    plan.fold = blob(NULL, 4);
    plan.lists = blob(NULL, 4);
    const char *observations = blob(&observed, 8);
    int64_t size = head[5], ticks = observed / size / m.modalities;
    int32_t lanes = size <= 4 ? 4 : size <= 16 ? 16 : TILE, threads = atoi(argv[3]);
    int64_t tiles = (size + lanes - 1) / lanes;
    Population p = {.model = &m,
                    .lanes = lanes,
                    .size = size,
                    .strip_rows = head[4],
                    .seed = 7,
                    .selection = counts[5],
                    .stochastic = counts[6]};
    for (const Isa *isa = ISAS; isa->name; isa++)
        if (!strcmp(isa->name, argv[2]) && isa->supported()) p.isa = isa;
    if (!p.isa) return 3;
    int64_t scratch = (tick_bytes(&m, p.isa->wide > 16 ? p.isa->wide : 16, p.strip_rows) + 63) / 64 * 64;
    p.scratch_floats = scratch / 4;
    p.scratch = aligned(scratch * threads);
    p.belief = aligned(tiles * m.codes * lanes);
    p.action = aligned(tiles * m.factors * lanes);
    p.free_energy = aligned(4 * size);
    memset(p.belief, 255, (size_t)(tiles * m.codes * lanes));
    memset(p.action, ACTION_START, (size_t)(tiles * m.factors * lanes));
    if (threads > 1 && !(p.pool = pool_start(threads))) return 4;
    int64_t *chosen = aligned(8 * size * m.factors);
    float *G = aligned(4 * size * m.policies), *q_pi = aligned(4 * size * m.policies);
    FILE *out = fopen(argv[4], "wb");
    if (!out) return 1;
    for (int64_t k = 0; k < ticks; k++) {
        Tick tick = {.population = &p,
                     .count = size,
                     .ticks = 1,
                     .plan = &plan,
                     .chosen = chosen,
                     .G = G,
                     .q_pi = q_pi,
                     .tick = (uint64_t)k};
        tick.observations = (Table){observations + 8 * k * size * m.modalities, {0, 8 * m.modalities, 8}, 8, 1};
        tick_run(&tick);
        fwrite(chosen, 8, (size_t)(size * m.factors), out);
        fwrite(p.free_energy, 4, (size_t)size, out);
        fwrite(G, 4, (size_t)(size * m.policies), out);
        fwrite(q_pi, 4, (size_t)(size * m.policies), out);
    }
    for (int64_t agent = 0; agent < size; agent++)
        for (int32_t s = 0; s < m.codes; s++)
            fputc(p.belief[(agent / lanes * m.codes + s) * lanes + agent % lanes], out);
    if (fclose(out)) return 1;
    if (p.pool) pool_stop(p.pool);
    free(p.scratch), free(p.belief), free(p.action), free(p.free_energy), free(chosen), free(G), free(q_pi);
    free(m.tensors), free(start);
    return 0;
}
