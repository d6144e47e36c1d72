/* See counts.h. Agents are taken in groups of COUNT_LANES: codes become lists of (state, units), then the products of
 * the lists are added agent by agent. The rounding is in float32 and in the order of the states, so that units.py has
 * the same bits in NumPy. */
#include "counts.h"

#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

enum { ACTION_START = 255 };

/* What one factor's beliefs of a group of agents came out as. */
typedef struct {
    const Share *shares; /* [lane][room] */
    const int32_t *held; /* [lane] */
    int64_t room;
    int64_t states;
} Lists;

static int64_t rows_of(const int64_t *factor) { return factor[1] << factor[2]; }

static int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t counts_scratch(const int64_t *factors, int64_t factor_count) {
    int64_t lists = 0, gathered = 0, rows = 0, states = 0;
    for (int64_t f = 0; f < factor_count; f++, factors += FACTOR_WORDS) {
        lists += 2 * aligned((int64_t)sizeof(Share) * COUNT_LANES * factors[1]);
        lists += 2 * aligned((int64_t)sizeof(int32_t) * COUNT_LANES);
        rows = rows_of(factors);
        if (factors[1] > states) states = factors[1];
        if (rows * COUNT_LANES > gathered) gathered = rows * COUNT_LANES;
    }
    return lists + aligned((int64_t)sizeof(float) * states) + aligned(gathered) + 64;
}

/* A bit for each of 64 bytes: whether it is ``least``, from 1 to 128, or more. */
INLINE uint64_t reaching(const uint8_t *row, uint8_t least) {
    uint64_t out = 0;
#if defined(__SSE2__)
    for (int i = 0; i < 4; i++) {
        __m128i part = _mm_loadu_si128((const __m128i *)(row + 16 * i));
        __m128i bound = _mm_set1_epi8((char)least);
        uint32_t found = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_max_epu8(part, bound), part));
        out |= (uint64_t)found << (16 * i);
    }
#else
    for (int i = 0; i < 8; i++) {
        uint64_t word, low = 0x7f7f7f7f7f7f7f7fu;
        memcpy(&word, row + 8 * i, sizeof word);
        uint64_t bound = 0x0101010101010101u * (128u - least);
        uint64_t high = (((word & low) + bound) | word) & ~low; /* the top bit of each byte that is not less */
        out |= (high >> 7) * 0x0102040810204080u >> 56 << (8 * i);
    }
#endif
    return out;
}

/* Append the codes of a row that are ``least`` or more to their lanes' lists; most beliefs are about few states. */
INLINE void collect(const uint8_t *row, int64_t stride, int wide, uint32_t least, uint16_t state, int64_t room,
                    Share *shares, int32_t *held) {
    uint64_t left = wide ? reaching(row + stride, (uint8_t)(least >> 8)) : reaching(row, (uint8_t)least);
    for (; left; left &= left - 1) {
        int lane = __builtin_ctzll(left);
        uint32_t code = row[lane];
        if (wide) code |= (uint32_t)row[stride + lane] << 8;
        if (wide && code < least) continue;
        shares[lane * room + held[lane]++] = (Share){state, (uint16_t)code};
    }
}

INLINE float fourth(uint16_t code) {
    float x = (float)code;
    x *= x;
    return x * x;
}

/* Make shares of the codes of one lane; returns how many have a unit at least. ``sums``: room for as many floats. The
 * running sum is taken once, since each addition waits for the one before; the rest does not. */
INLINE int32_t divide_units(Share *shares, int32_t held, float units, float *sums) {
    float sum = 0.0f;
    for (int32_t j = 0; j < held; j++) sums[j] = sum += fourth(shares[j].units);
    float scale = units / sum;
    int32_t given = 0, kept = 0;
    for (int32_t j = 0; j < held; j++) {
        int32_t now = (int32_t)(sums[j] * scale + 0.5f);
        shares[kept] = (Share){shares[j].state, (uint16_t)(now - given)};
        kept += now != given;
        given = now;
    }
    return kept;
}

/* The shares of a group's beliefs about a factor whose codes begin at ``codes``, rows ``stride`` bytes apart. */
static void share_out(const int64_t *factor, const uint8_t *codes, int64_t stride, Share *shares, int32_t *held,
                      float *sums) {
    int64_t states = factor[1];
    uint32_t least = (uint32_t)factor[5];
    memset(held, 0, sizeof(int32_t) * COUNT_LANES);
    if (factor[2])
        for (int64_t s = 0; s < states; s++)
            collect(codes + 2 * s * stride, stride, 1, least, (uint16_t)s, states, shares, held);
    else
        for (int64_t s = 0; s < states; s++)
            collect(codes + s * stride, stride, 0, least, (uint16_t)s, states, shares, held);
    float units = (float)((int64_t)1 << factor[3]);
    for (int lane = 0; lane < COUNT_LANES; lane++)
        held[lane] = divide_units(shares + lane * states, held[lane], units, sums);
}

/* row[k] += part * units[k]: two factors of 32 bits each, which vectors multiply. */
INLINE void add_row(int64_t *row, uint32_t part, const uint32_t *units, int64_t count) {
    for (int64_t k = 0; k < count; k++) row[k] += (int64_t)((uint64_t)part * units[k]);
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void add_row_avx2(int64_t *row, uint32_t part, const uint32_t *units,
                                                         int64_t count) {
    add_row(row, part, units, count);
}
#endif

/* Add the product of two lists of which the second, ``others``, has most states; ``spread`` [states] is room for it. */
static void add_dense(int64_t *cells, const Share *shares, int32_t held, int64_t inner, const Share *others,
                      int32_t more, int64_t states, int64_t weight, uint32_t *spread) {
#if defined(__x86_64__)
    int fast = __builtin_cpu_supports("avx2");
#endif
    memset(spread, 0, sizeof *spread * (size_t)states);
    for (int32_t k = 0; k < more; k++) spread[others[k].state] = others[k].units;
    for (int32_t j = 0; j < held; j++) {
        int64_t *row = cells + shares[j].state * inner;
        uint32_t part = (uint32_t)(weight * shares[j].units);
#if defined(__x86_64__)
        if (fast) {
            add_row_avx2(row, part, spread, states);
            continue;
        }
#endif
        add_row(row, part, spread, states);
    }
}

/* Add the product of ``count`` lists, times ``weight``, to the cells from ``cells`` on, in C order. ``spread``: room of
 * ``add_dense``. */
static void add_product(int64_t *cells, const Lists *const *lists, const int64_t *inner, int64_t count, int32_t lane,
                        int64_t weight, uint32_t *spread) {
    const Share *shares = lists[0]->shares + lane * lists[0]->room;
    int32_t held = lists[0]->held[lane];
    if (count == 1) {
        for (int32_t j = 0; j < held; j++) cells[shares[j].state] += weight * shares[j].units;
        return;
    }
    if (count == 2) { /* what most models have: no call a share */
        const Share *others = lists[1]->shares + lane * lists[1]->room;
        int32_t more = lists[1]->held[lane];
        if (4 * more >= lists[1]->states && weight <= UINT16_MAX) {
            add_dense(cells, shares, held, inner[0], others, more, lists[1]->states, weight, spread);
            return;
        }
        for (int32_t j = 0; j < held; j++) {
            int64_t *row = cells + shares[j].state * inner[0], part = weight * shares[j].units;
            for (int32_t k = 0; k < more; k++) row[others[k].state] += part * others[k].units;
        }
        return;
    }
    for (int32_t j = 0; j < held; j++)
        add_product(cells + shares[j].state * inner[0], lists + 1, inner + 1, count - 1, lane, weight * shares[j].units,
                    spread);
}

/* A learned tensor: which lists its products take, and how far apart their states lie. */
typedef struct {
    int64_t kind, number, first, count, width;
    const Lists *lists[COUNT_PARENTS + 1];
    int64_t inner[COUNT_PARENTS + 1]; /* cells of a state of list i: the product of the lists behind it */
} Learned;

static void prepare(Learned *out, const int64_t *tensor, const Lists *before, const Lists *after) {
    out->kind = tensor[0];
    out->number = tensor[1];
    out->first = tensor[2];
    out->count = 0;
    if (out->kind != LEARN_A) out->lists[out->count++] = &after[out->number];
    for (int64_t i = 0; i < tensor[3]; i++)
        out->lists[out->count++] = (out->kind == LEARN_A ? after : before) + tensor[4 + i];
    out->width = 1;
    for (int64_t i = out->count; i-- > 0;) {
        out->inner[i] = out->width;
        out->width *= out->lists[i]->states;
    }
}

/* The row of an agent's counts that a tick belongs to, or -1: there is nothing to learn. */
static int64_t row_of(const Lesson *l, const Learned *t, int64_t i, int64_t executed) {
    if (t->kind == LEARN_A) return l->observations[i * l->modalities + t->number];
    if (t->kind == LEARN_D) return executed == ACTION_START ? 0 : -1;
    return executed < l->factors[t->number * FACTOR_WORDS + 4] ? executed : -1;
}

/* Bytes of ``rows`` rows from ``first`` on for a group of agents, as [row][COUNT_LANES]. */
static const uint8_t *gather(const Lesson *l, const uint8_t *base, int64_t all, const int64_t *numbers, int64_t first,
                             int64_t rows, int32_t active, uint8_t *out) {
    memset(out, 0, (size_t)(rows * COUNT_LANES));
    for (int32_t i = 0; i < active; i++) {
        const uint8_t *from = base + (numbers[i] / l->lanes * all + first) * l->lanes + numbers[i] % l->lanes;
        for (int64_t r = 0; r < rows; r++) out[r * COUNT_LANES + i] = from[r * l->lanes];
    }
    return out;
}

void counts_add(const Lesson *l) {
    Lists before[COUNT_PARENTS], after[COUNT_PARENTS];
    Learned learned[COUNT_PARENTS * 8];
    uint8_t *room = l->scratch;
    int64_t all = 0, most = 0;
    for (int64_t f = 0; f < l->factor_count; f++) {
        const int64_t *factor = l->factors + f * FACTOR_WORDS;
        for (int late = 0; late < 2; late++) {
            Lists *one = (late ? after : before) + f;
            one->room = factor[1];
            one->states = factor[1];
            one->held = (const int32_t *)room;
            room += aligned((int64_t)sizeof(int32_t) * COUNT_LANES);
            one->shares = (const Share *)room;
            room += aligned((int64_t)sizeof(Share) * COUNT_LANES * one->room);
        }
        all += rows_of(factor);
        if (factor[1] > most) most = factor[1];
    }
    float *sums = (float *)(void *)room;
    room += aligned((int64_t)sizeof(float) * most);
    int needs[2][COUNT_PARENTS] = {{0}};
    for (int64_t t = 0; t < l->tensor_count; t++) {
        prepare(&learned[t], l->tensors + t * TENSOR_WORDS, before, after);
        for (int64_t i = 0; i < learned[t].count; i++) {
            const Lists *one = learned[t].lists[i];
            int late = one >= after && one < after + COUNT_PARENTS;
            needs[late][one - (late ? after : before)] = 1;
        }
    }
    for (int64_t first = 0; first < l->count; first += COUNT_LANES) {
        int32_t active = l->count - first < COUNT_LANES ? (int32_t)(l->count - first) : COUNT_LANES;
        int64_t numbers[COUNT_LANES];
        for (int32_t i = 0; i < active; i++) numbers[i] = l->agents ? l->agents[first + i] : first + i;
        int direct = !l->agents && l->lanes == COUNT_LANES;
        for (int64_t f = 0; f < l->factor_count; f++) {
            const int64_t *factor = l->factors + f * FACTOR_WORDS;
            for (int late = 0; late < 2; late++) {
                if (!needs[late][f]) continue;
                const uint8_t *base = late ? l->after : l->before, *codes;
                int64_t stride = direct ? l->lanes : COUNT_LANES;
                if (direct) codes = base + (first / l->lanes * all + factor[0]) * l->lanes + first % l->lanes;
                else codes = gather(l, base, all, numbers, factor[0], rows_of(factor), active, room);
                Lists *one = (late ? after : before) + f;
                share_out(factor, codes, stride, (Share *)one->shares, (int32_t *)one->held, sums);
            }
        }
        for (int32_t i = 0; i < active; i++) {
            int64_t *cells = l->counts + (l->sets > 1 ? numbers[i] * l->cells : 0);
            const uint8_t *acts =
                l->executed + numbers[i] / l->lanes * l->factor_count * l->lanes + numbers[i] % l->lanes;
            for (int64_t t = 0; t < l->tensor_count; t++) {
                const Learned *one = &learned[t];
                int64_t executed = one->kind == LEARN_A ? 0 : acts[one->number * l->lanes];
                int64_t row = row_of(l, one, first + i, executed);
                if (row < 0) continue;
                add_product(cells + one->first + row * one->width, one->lists, one->inner, one->count, i, 1,
                            (uint32_t *)(void *)sums);
            }
        }
    }
}
