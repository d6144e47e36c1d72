/* Dirichlet counts in integers: beliefs rounded once to whole units, and their products added up.
 *
 * States that have less than half a unit together are left out: codes below the least (units.py). The rest of a
 * belief is rounded by its running sum: w_s = floor(c_s + 1/2) - floor(c_{s-1} + 1/2), c the running sum in units of
 * 2^-k. The units of a belief sum to 2^k exactly, so that products of beliefs are exact integers whose sum is known.
 * Integers are
 * added: no order of agents, ticks or devices changes the result. */
#ifndef EDGE_AGENT_COUNTS_H
#define EDGE_AGENT_COUNTS_H

#include <stdint.h>

enum {
    COUNT_LANES = 64,
    COUNT_PARENTS = 16,
    FACTOR_WORDS = 6,                /* first row of codes, states, codes have 16 bits, k, controls, least code */
    TENSOR_WORDS = 4 + COUNT_PARENTS /* kind, modality or factor, first cell, parents, their factors */
};

enum { LEARN_A, LEARN_B, LEARN_D };

typedef struct { uint16_t state, units; } Share;

typedef struct {
    int64_t *counts; /* [sets][cells] */
    int64_t sets, cells;
    const int64_t *factors; /* [factor_count][FACTOR_WORDS] */
    const int64_t *tensors; /* [tensor_count][TENSOR_WORDS] */
    int64_t factor_count, tensor_count, modalities;
    int64_t lanes;                            /* of a storage tile */
    const uint8_t *before, *after, *executed; /* codes and actions: [tile][row][lane] */
    const int64_t *observations;              /* [count][modalities] */
    const int64_t *agents;                    /* [count], or NULL: all in order */
    int64_t count;
    uint8_t *scratch; /* counts_scratch bytes */
} Lesson;

int64_t counts_scratch(const int64_t *factors, int64_t factor_count);
void counts_add(const Lesson *lesson);

#endif
