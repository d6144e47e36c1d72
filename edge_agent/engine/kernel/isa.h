/* The instruction sets this file was built for, and the strips of each. */
#ifndef EDGE_AGENT_ISA_H
#define EDGE_AGENT_ISA_H

#include "model.h"

typedef struct {
    const char *name;
    int (*supported)(void);
    RunStrip *run[3];      /* 4, 16 and ``wide`` lanes */
    RunStrip *rules_1[3];  /* the same, of bundles without options */
    RunStrip *extended[2]; /* with a search or over a window: 4 and 16 lanes */
    int32_t wide;
} Isa;

extern const Isa ISAS[]; /* the widest first; ends with a NULL name */

#endif
