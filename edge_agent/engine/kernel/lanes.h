/* One value a lane: vectors of the instruction set's width, LANES of them wide together, and their functions.
 *
 * Loops over ``PARTS`` have a constant count and are unrolled, so a Row lives in registers. */
#ifndef EDGE_AGENT_LANES_H
#define EDGE_AGENT_LANES_H

#include "vectors.h"

#define PARTS (LANES * 4 / VECTOR_BYTES)

typedef struct { V v[PARTS]; } Row;
typedef struct { VI v[PARTS]; } Mask; /* all ones or all zeros a lane */

#define EACH for (int i = 0; i < PARTS; i++)

INLINE float *at(float *scratch, int64_t row) { return scratch + row * LANES; }

INLINE Row load(const float *p) {
    Row r;
    EACH r.v[i] = ((const V *)p)[i];
    return r;
}
INLINE void store(float *p, Row r) { EACH((V *)p)[i] = r.v[i]; }
INLINE Row constant(float x) {
    Row r;
    EACH r.v[i] = (V){} + x;
    return r;
}
INLINE Row add(Row a, Row b) {
    EACH a.v[i] += b.v[i];
    return a;
}
INLINE Row sub(Row a, Row b) {
    EACH a.v[i] -= b.v[i];
    return a;
}
INLINE Row mul(Row a, Row b) {
    EACH a.v[i] *= b.v[i];
    return a;
}
INLINE Row divide(Row a, Row b) {
    EACH a.v[i] /= b.v[i];
    return a;
}
INLINE Row scale(Row a, float w) {
    EACH a.v[i] *= w;
    return a;
}
INLINE Row add_product(Row acc, Row a, Row b) {
    EACH acc.v[i] = vmadd(a.v[i], b.v[i], acc.v[i]);
    return acc;
}
INLINE Row subtract_product(Row acc, Row a, Row b) {
    EACH acc.v[i] = vmadd(-a.v[i], b.v[i], acc.v[i]);
    return acc;
}
INLINE Row add_scaled(Row acc, float w, const float *p) {
    EACH acc.v[i] = vmadd((V){} + w, ((const V *)p)[i], acc.v[i]);
    return acc;
}
INLINE Row add_scaled_row(Row acc, float w, Row r) {
    EACH acc.v[i] = vmadd((V){} + w, r.v[i], acc.v[i]);
    return acc;
}

INLINE Mask less(Row a, Row b) {
    Mask m;
    EACH m.v[i] = a.v[i] < b.v[i];
    return m;
}
INLINE Row choose(Mask m, Row a, Row b) {
    EACH a.v[i] = vselect(m.v[i], a.v[i], b.v[i]);
    return a;
}
INLINE Row larger(Row a, Row b) {
    EACH a.v[i] = vlarger(a.v[i], b.v[i]);
    return a;
}
INLINE Row magnitude(Row a) {
    EACH a.v[i] = (V)((VI)a.v[i] & 0x7fffffff);
    return a;
}
INLINE Mask both(Mask a, Mask b) {
    EACH a.v[i] &= b.v[i];
    return a;
}
INLINE Mask either(Mask a, Mask b) {
    EACH a.v[i] |= b.v[i];
    return a;
}
INLINE Mask none(void) {
    Mask m;
    EACH m.v[i] = (VI){};
    return m;
}

INLINE int any(Mask m) {
    VI all = m.v[0];
    for (int i = 1; i < PARTS; i++) all |= m.v[i];
    int32_t lanes[VECTOR_BYTES / 4], found = 0;
    memcpy(lanes, &all, sizeof lanes);
    for (int i = 0; i < VECTOR_BYTES / 4; i++) found |= lanes[i];
    return found != 0;
}

/* Bytes go through plain loops, which compilers vectorise; their vector conversions from bytes go lane by lane. */
INLINE void widen(int32_t *out, const uint8_t *p) {
    for (int i = 0; i < LANES; i++) out[i] = p[i];
}
INLINE Row from_bytes(const uint8_t *p) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    widen(wide, p);
    Row r;
    EACH r.v[i] = __builtin_convertvector(((const VI *)wide)[i], V);
    return r;
}
/* Eight bits, from ``shift`` on, of values from 0 to 65535 to which ROUND was added. */
INLINE void to_bytes(uint8_t *p, Row rounded, int shift) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    EACH((VI *)wide)[i] = (VI)rounded.v[i] >> shift;
    for (int i = 0; i < LANES; i++) p[i] = (uint8_t)wide[i];
}
INLINE Mask equal_bytes(const uint8_t *p, int value) {
    int32_t wide[LANES] __attribute__((aligned(64)));
    widen(wide, p);
    Mask m;
    EACH m.v[i] = ((const VI *)wide)[i] == value;
    return m;
}

INLINE Row row_sqrt(Row a) {
    EACH a.v[i] = vsqrt(a.v[i]);
    return a;
}
INLINE Row row_exp(Row a) {
    EACH a.v[i] = vexp(a.v[i]);
    return a;
}
INLINE Row row_log(Row a) {
    EACH a.v[i] = vlog(a.v[i]);
    return a;
}
INLINE Row row_xlog2x(Row a) {
    EACH a.v[i] *= vlog2(a.v[i]);
    return a;
}
INLINE Row add_xlog2x(Row acc, Row a) {
    EACH acc.v[i] = vmadd(a.v[i], vlog2(a.v[i]), acc.v[i]);
    return acc;
}
INLINE Row row_code(Row a) {
    EACH a.v[i] = vcode(a.v[i]);
    return a;
}

#endif
