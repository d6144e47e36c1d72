/* Threads that take numbered pieces of work; results do not depend on who takes which. */
#ifndef EDGE_AGENT_POOL_H
#define EDGE_AGENT_POOL_H

#include <stdint.h>

enum { MAX_THREADS = 64 };

typedef void Piece(void *context, int64_t piece, int32_t thread);
typedef struct Pool Pool;

Pool *pool_start(int32_t threads); /* NULL: no memory or no thread; one thread needs none of its own */
void pool_stop(Pool *pool);
void pool_run(Pool *pool, Piece *piece, void *context, int64_t pieces);

#endif
