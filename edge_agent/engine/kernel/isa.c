/* The table of instruction sets. "baseline" is what every CPU of the architecture has: SSE2 on x86-64, NEON on
 * AArch64. Strips of 4 lanes use 128-bit vectors in every set. */
#include "isa.h"

#include <stddef.h>

RunStrip strip_baseline_4, strip_baseline_16, strip_baseline_wide;

static int always(void) { return 1; }

#if defined(__x86_64__)
RunStrip strip_avx2_4, strip_avx2_16, strip_avx2_wide, strip_avx512_4, strip_avx512_16, strip_avx512_wide;

static int has_avx2(void) { return __builtin_cpu_supports("avx2"); }
static int has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#endif

const Isa ISAS[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, {strip_avx512_4, strip_avx512_16, strip_avx512_wide}, WIDE_AVX512},
    {"avx2", has_avx2, {strip_avx2_4, strip_avx2_16, strip_avx2_wide}, WIDE_AVX2},
#endif
    {"baseline", always, {strip_baseline_4, strip_baseline_16, strip_baseline_wide}, WIDE_BASELINE},
    {NULL, NULL, {NULL, NULL, NULL}, 0},
};
