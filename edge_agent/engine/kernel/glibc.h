/* Put before pool.c by CMakeLists.txt, for the extension module alone: a static program, as the tests build, has no
 * versions of symbols. Binds to the oldest version of those that glibc 2.34 renamed when it merged libpthread into
 * libc, so that a wheel also loads on glibc 2.17 (aarch64) or 2.14 (x86-64). The interpreter has libpthread loaded
 * there. */
#include <features.h>
#if defined(__GLIBC__) && defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
#elif defined(__GLIBC__) && defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#endif
#ifdef OLDEST
__asm__(".symver pthread_create,pthread_create@" OLDEST);
__asm__(".symver pthread_join,pthread_join@" OLDEST);
#endif
