/* The table of instruction sets. "baseline" is what every CPU of the architecture has: SSE2 on x86-64, NEON on
 * AArch64. Strips of 4 lanes use 128-bit vectors in every set. */
#include "isa.h"

#include <stddef.h>

#define STRIPS(isa) strip_##isa##_4, strip_##isa##_16, strip_##isa##_wide
#define RULES_1(isa) rules_1_##isa##_4, rules_1_##isa##_16, rules_1_##isa##_wide
#define EXTENDED(isa) extended_##isa##_4, extended_##isa##_16
#define DECLARE(isa) RunStrip STRIPS(isa), RULES_1(isa), EXTENDED(isa)

DECLARE(baseline);

static int always(void) { return 1; }

#if defined(__x86_64__)
DECLARE(avx2);
DECLARE(avx512);

static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const Isa ISAS[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, {STRIPS(avx512)}, {RULES_1(avx512)}, {EXTENDED(avx512)}, WIDE_AVX512},
    {"avx2", has_avx2, {STRIPS(avx2)}, {RULES_1(avx2)}, {EXTENDED(avx2)}, WIDE_AVX2},
#endif
    {"baseline", always, {STRIPS(baseline)}, {RULES_1(baseline)}, {EXTENDED(baseline)}, WIDE_BASELINE},
    {.name = NULL},
};
