/* A tick of a population, or of some of its agents: which strips there are, and what each of them reads. */
#ifndef EDGE_AGENT_TICK_H
#define EDGE_AGENT_TICK_H

#include "isa.h"
#include "pool.h"

typedef struct {
    const Model *model;
    const Isa *isa;
    Pool *pool;               /* NULL: one thread */
    uint8_t *belief, *action; /* [tile][code row][lanes], [tile][factor][lanes] */
    float *free_energy;       /* [size] */
    float *scratch;           /* [threads][scratch_floats] */
    int64_t scratch_floats, size;
    int32_t lanes;      /* of a storage tile: 4, 16 or 64 */
    int32_t strip_rows; /* scratch rows of a strip */
    uint64_t seed;
    int32_t selection, stochastic;
} Population;

/* A caller's array of integers or bytes: [count][columns], any strides in bytes; itemsize 1, 2, 4, 8, signed or not. */
typedef struct {
    const char *data;
    int64_t stride[3]; /* tick, agent, column */
    int32_t itemsize, is_signed;
} Table;

typedef struct {
    Population *population;
    int64_t count;               /* agents in this call */
    const int64_t *agents;       /* their numbers, NULL: all */
    int32_t ticks;               /* 0: no inference */
    Table observations;          /* [ticks][count][modalities] */
    Table actions;               /* executed before each tick, [ticks][count][factors]; data NULL: what is stored */
    Table evidence[MAX_FACTORS]; /* uint8 [ticks][count][states]; data NULL: none */
    Table soft[MAX_MODALITIES];  /* float32 [ticks][count][outcomes]; data NULL: none */
    const uint8_t *start;        /* belief codes [count][code rows] to start from, NULL: the stored ones */
    const Plan *plan;
    float *G, *q_pi; /* [count][policies] or NULL */
    int64_t *chosen; /* [count][factors] or NULL: do not act */
    uint64_t tick;
    int64_t contradictions; /* counted here */
} Tick;

int64_t integer_at(const Table *t, int64_t tick, int64_t agent, int64_t column);
int64_t tick_bytes(const Model *m, int32_t lanes, int32_t strip_rows); /* scratch of a thread */
void window_rows(Model *m); /* once tensors and window.slots are there: makes room behind the belief codes */
void tick_run(Tick *tick);

#endif
