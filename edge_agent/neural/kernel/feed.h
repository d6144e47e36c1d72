/* What a step of networks does around the runtime's own work, on plain memory: no Python in here.
 *
 * An observation is [outer, inner] floats, an input of the network [outer, length, inner]: the last `length`
 * observations, the oldest first, interleaved as the network's window axis wants it. With length 1 they are
 * the same. A window is an input that goes round along its second axis; `seen` says where it stands, 0 for an
 * agent that has not observed anything yet. */
#ifndef EDGE_AGENT_FEED_H
#define EDGE_AGENT_FEED_H

#include <stdint.h>
#include <string.h>

typedef struct {
    int64_t outer, length, inner;
    float *window;  /* [size, outer, length, inner], NULL where length is 1 */
    uint32_t *seen; /* [size] */
} Windows;

/* Index of the first number that is not finite, or -1. */
static inline int64_t first_not_finite(const float *x, int64_t count) {
    uint32_t found = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        found |= (bits & 0x7f800000u) == 0x7f800000u;
    }
    if (!found) return -1;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], 4);
        if ((bits & 0x7f800000u) == 0x7f800000u) return i;
    }
    return -1;
}

/* Add an observation to an agent's window; the first one stands for all those before it. */
static inline void window_push(const Windows *w, int64_t agent, const float *x) {
    uint32_t seen = w->seen[agent];
    int64_t slots = seen ? 1 : w->length, first = seen ? seen % w->length : 0;
    for (int64_t o = 0; o < w->outer; o++) {
        float *ring = w->window + (agent * w->outer + o) * w->length * w->inner;
        for (int64_t slot = first; slot < first + slots; slot++)
            for (int64_t i = 0; i < w->inner; i++) ring[slot * w->inner + i] = x[o * w->inner + i];
    }
    /* From here on it goes round between length and 2 * length - 1: it never overflows to "nothing seen". */
    w->seen[agent] = (int64_t)seen + 1 == 2 * w->length ? (uint32_t)w->length : seen + 1;
}

/* Write what the network sees of an agent, [outer, length, inner]. */
static inline void window_show(const Windows *w, int64_t agent, float *input) {
    int64_t floats = w->length * w->inner, newer = w->seen[agent] % w->length * w->inner, older = floats - newer;
    for (int64_t o = 0; o < w->outer; o++) {
        const float *ring = w->window + (agent * w->outer + o) * floats;
        memcpy(input + o * floats, ring + newer, (size_t)older * 4);
        memcpy(input + o * floats + older, ring, (size_t)newer * 4);
    }
}

/* Index of the largest of `count` numbers: the lowest of equals, the first that is not a number if there is one. */
static inline int64_t largest(const float *y, int64_t count) {
    int64_t best = 0;
    for (int64_t i = 0; i < count; i++) {
        if (y[i] != y[i]) return i;
        if (y[i] > y[best]) best = i;
    }
    return best;
}

#endif
