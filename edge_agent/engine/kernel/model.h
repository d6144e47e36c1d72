/* What the kernel knows of a model, a population's strip, and a tick: plain structures, filled by module.c.
 *
 * Everything here was validated in Python before; the kernel trusts it. Rows are arrays of one float a lane;
 * a lane is an agent. "Row numbers" count such rows from the start of a thread's scratch memory. */
#ifndef EDGE_AGENT_MODEL_H
#define EDGE_AGENT_MODEL_H

#include <stdint.h>

enum {
    TILE = 64, /* lanes of a storage tile of a population of more than 16 agents */
    MAX_FACTORS = 16,
    MAX_MODALITIES = 64,
    ACTION_START = 255, /* the agent was reset: its prior is D */
    ACTION_STILL = 254, /* beliefs were set from outside: they are the prior, nothing is predicted */
    OUTCOME_MISSING = -1,
    OUTCOME_SOFT = -2, /* the outcome is a distribution, in strip.soft */
};

/* A stored tensor (storage.py). The tables have an entry a palette value, or one more for the background. */
typedef struct {
    int32_t rows, width, sparse, values;
    int32_t single; /* sparse, and every row lists exactly one entry */
    int32_t twin;   /* sparse, codes of 8 bits, and every row lists exactly two entries */
    int32_t wide;   /* codes have 16 bits */
    const float *palette;
    const uint8_t *codes; /* uint16_t if wide */
    const uint16_t *columns;
    const uint32_t *starts;
    float background;
    float log_background;
    const float *base; /* [rows / base_rows][width]: the value of a column's entries that are not listed; or NULL */
    int32_t base_rows;
    const float *pattern; /* mixed: weights [patterns][controls] an entry has under each control, less background */
    const uint16_t *mixed_columns;
    const uint8_t *mixed_patterns;
    const uint32_t *mixed_starts;
    int32_t patterns;        /* 0: no such form */
    const float *difference; /* value - background, or value - base */
    const float *ratio;      /* value / background; value itself where the background is 0 */
    const float *logarithm;  /* ln value, clipped at the float64 epsilon; sparse: less log_background */
    /* Of a likelihood over a base, [width]: the base, clipped at epsilon, relative to its largest value, which is
     * ``background``; and its logarithm. ``ratio`` and ``logarithm`` are relative to the column's base. */
    const float *share, *log_share;
    const int16_t *weights; /* of what is multiplied in integers, as integers.h lays them out; or NULL */
    float unit;             /* what a weight of 1 stands for */
    int32_t group_rows;     /* rows that are applied together: outcomes, or the states after a control */
} Tensor;

/* Classes of states that an outcome leaves alike (outcome_classes.py). */
typedef struct {
    int32_t patterns;    /* 0: none */
    int32_t rows, width; /* classes of all factors, joint classes of all coupling modalities */
    const int32_t *strides, *classes;
    const uint16_t *order, *starts;
    const float *weights, *common;
} OutcomeClasses;

/* Tables of several factors and the order in which iteration sums them (contraction.py). ``once`` operations come
 * before the first iteration, ``turn`` in each, the others give the mean under the beliefs. */
typedef struct {
    int32_t count, once, turn, tables; /* operations of all kinds; rows of all tables */
    const int32_t *ops, *lists;
    const int32_t *places; /* [modalities]: the first row of its table, -1: it has one parent */
} Contraction;

/* The program of exact inference (elimination.py), for several factors; count is 0 without it. */
typedef struct {
    int32_t count, rows;
    const int32_t *ops, *lists;
} Elimination;

/* Planning operations, planning.py: eight words each. */
enum {
    OP_COPY,    /* row a = row b */
    OP_ADD,     /* row a = row b + row c */
    OP_EXPAND,  /* rows e.. = tensor a, rows b .. b + c, applied to rows d..; row g = fold[f ..] . rows e.. unless f < 0
                 */
    OP_JOINT,   /* rows a.. = outer product of rows b.. (c of them) and rows d.. (e of them) */
    OP_ENTROPY, /* row c += entropy of tensor a applied to rows b.. */
    OP_DOT,     /* row d + i = fold[a + i b .. a + i b + b] . rows c.., for i up to e */
    OP_LISTED,  /* row d = fold[a] + fold[a + 1 .. a + 1 + b] . rows c + lists[e ..] */
    OP_GATHER,  /* rows a .. a + b = sums of rows c..; lists[d ..] has where each begins, then the rows' numbers */
    OP_NOVELTY, /* row f = sum over c .. c + d of (tensor a applied to rows e..) (tensor b applied to rows e..) */
    OP_PRODUCT, /* row d + i = rows b + i a .. b + i a + a . rows c.., for i up to e */
    OP_OUTCOMES,      /* row e += entropy of rows b + i a .. b + i a + a . rows c.., for i up to d */
    OP_PACK,          /* rows c.. = rows b .. b + a as integers: what tensors with weights are applied to */
    OP_XLOG2X,        /* rows e.. = x log2 x of tensor a, rows b .. b + c, applied to rows d.. */
    OP_GROUP_ENTROPY, /* the same of a tensor with weights, or twin, but of group d of its rows */
    OP_EXPAND_PACKED, /* as OP_EXPAND, of a tensor with weights */
    OP_WORDS = 8
};

/* Of sophisticated inference (search.h); max_nodes is 0 without it. */
typedef struct {
    int32_t max_nodes, max_branching;
    float policy_threshold, observation_threshold;
    float entropy_stop, value_stop;
    float penalty;
} SearchOptions;

/* Of inference over a window of ticks (inference_window.h); slots is 0 without it. */
typedef struct {
    int32_t slots, variational;
    int32_t first_row; /* of its rows of bytes, behind the belief codes */
    int32_t first_sum[MAX_FACTORS];
    const float *inverse_sums; /* of every row of B, a factor after another: 1 over its sum */
} WindowOptions;

enum { OBSERVATION = -1 };

/* A node of a search: a belief after an observation, or an action. */
typedef struct {
    int32_t number;       /* of the policy, OBSERVATION */
    int32_t first, count; /* children */
    int32_t moved;        /* its number once nodes are compacted */
    float value;          /* of an action's own step; of a belief the mean under its posterior */
    float total;          /* of an action, with what follows it */
    float probability;    /* of the outcome; of the action under its parent's posterior */
    uint8_t expanded, dead;
} Node;

/* What the agent's options (options.py) leave for the kernel to know. */
typedef struct {
    float gamma, alpha;
    float tie;         /* probabilities that differ by no more than this part are a tie */
    float log_epsilon; /* of inductive planning */
    int32_t num_iter;
    int32_t rules; /* 1: ties and contradictions as of bundles without options */
    int32_t exact, reset;
    const uint16_t *nearer;   /* inductive planning: [states], the row of ``ways`` that is a step nearer; NULL: none */
    const uint8_t *ways;      /* 1: the state is in this row; a factor after the other, [depth][states of it] */
    const int64_t *first_way; /* [factors]: where a factor begins in ``ways`` */
    SearchOptions search;
} Options;

enum { UNREACHABLE = 65535 };

typedef struct {
    int32_t factors, modalities, policies, states; /* states: of all factors together */
    int32_t num_states[MAX_FACTORS], first_state[MAX_FACTORS], num_controls[MAX_FACTORS];
    int32_t wide_belief[MAX_FACTORS];       /* codes of this factor's beliefs have 16 bits: two rows of bytes a state */
    int32_t first_code[MAX_FACTORS], codes; /* rows of belief codes, where a factor begins; all of a state's bytes */
    int32_t num_obs[MAX_MODALITIES];
    int32_t a_parents[MAX_MODALITIES], a_deps[MAX_MODALITIES][MAX_FACTORS];
    int32_t b_parents[MAX_FACTORS], b_deps[MAX_FACTORS][MAX_FACTORS];
    Tensor *tensors;          /* A of every modality, B of every factor, then what planning has of its own */
    const float *D;           /* [states] */
    const float *log_E;       /* [policies] or NULL when uniform */
    const uint8_t *first_act; /* [policies][factors] */
    Options options;
    int32_t widest;               /* the largest width of a tensor */
    float spread;                 /* of integers.h: the largest sum of a row of weights beside the largest weight */
    int32_t coupled[MAX_FACTORS]; /* whether a modality joins this factor with another */
    OutcomeClasses outcome_classes;
    Contraction over_states, over_classes;
    Elimination elimination;
    WindowOptions window;
} Model;

/* A planning program for a horizon, with or without the epistemic term. */
typedef struct {
    const int32_t *ops;
    int32_t count;
    const float *fold;
    const int32_t *lists;
    int32_t values;    /* row number of G of policy 0 */
    int32_t penalties; /* row number of the inductive value of the first state, -1: there is none */
    int32_t horizon;   /* levels of a search, whose steps the program plans */
} Plan;

enum { SELECT_MARGINAL, SELECT_FULL };

/* One strip: LANES agents, whose arrays are [row][lane] with the given strides in elements. */
typedef struct {
    uint8_t *belief;
    int64_t belief_stride;
    uint8_t *action;
    int64_t action_stride;
    const int32_t *outcomes;              /* [modalities][LANES], NULL: no inference, plan from the beliefs */
    const float *soft[MAX_MODALITIES];    /* [num_obs][LANES] or NULL */
    const uint8_t *evidence[MAX_FACTORS]; /* [num_states][LANES] or NULL */
    float *free_energy;                   /* [LANES] or NULL */
    uint8_t *contradicted;                /* [LANES]: set to 1 where the observation contradicted the belief */
    const uint32_t *agents;               /* [LANES]: numbers for the random generator */
    const Plan *plan;                     /* NULL: no planning */
    float *search;                        /* memory of a search */
    float *G, *q_pi;                      /* [LANES][policies] or NULL: copies for the caller */
    int32_t active;                       /* lanes that count */
    int32_t choose;                       /* write the chosen action to ``action`` */
    int32_t selection, stochastic;
    uint64_t seed, tick;
} Strip;

typedef void RunStrip(const Model *, const Strip *, float *scratch);

#endif
