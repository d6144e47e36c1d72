/* A pool that sleeps between runs: one mutex, two conditions, an atomic counter that hands out pieces.
 *
 * A run belongs to a generation. Workers wait for the generation to change, take pieces until none is left,
 * and report back; the caller works as thread 0 and waits for the last of them: awake for as long as a piece
 * takes, because falling asleep and being woken takes longer. */
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { LOOKS = 20000 }; /* at the others' counter before sleeping: some 10 microseconds */

struct Pool {
    pthread_mutex_t mutex;
    pthread_cond_t begin, end;
    uint64_t generation;
    int32_t threads, stopping;
    atomic_int working;
    Piece *piece;
    void *context;
    int64_t pieces;
    atomic_llong next;
    pthread_t ids[MAX_THREADS];
    struct Worker {
        Pool *pool;
        int32_t thread;
    } workers[MAX_THREADS];
};

static void take(Pool *pool, int32_t thread) {
    for (;;) {
        int64_t piece = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (piece >= pool->pieces) return;
        pool->piece(pool->context, piece, thread);
    }
}

static void *work(void *argument) {
    struct Worker *self = argument;
    Pool *pool = self->pool;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->mutex);
    for (;;) {
        while (pool->generation == seen && !pool->stopping) pthread_cond_wait(&pool->begin, &pool->mutex);
        if (pool->stopping) break;
        seen = pool->generation;
        pthread_mutex_unlock(&pool->mutex);
        take(pool, self->thread);
        int last = atomic_fetch_sub(&pool->working, 1) == 1;
        pthread_mutex_lock(&pool->mutex);
        if (last) pthread_cond_signal(&pool->end);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

Pool *pool_start(int32_t threads) {
    Pool *pool = calloc(1, sizeof *pool);
    if (!pool) return NULL;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->begin, NULL);
    pthread_cond_init(&pool->end, NULL);
    pool->threads = 1;
    for (int32_t i = 1; i < threads; i++) {
        pool->workers[i] = (struct Worker){pool, i};
        if (pthread_create(&pool->ids[i], NULL, work, &pool->workers[i])) {
            pool_stop(pool);
            return NULL;
        }
        pool->threads++;
    }
    return pool;
}

void pool_stop(Pool *pool) {
    pthread_mutex_lock(&pool->mutex);
    pool->stopping = 1;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->mutex);
    for (int32_t i = 1; i < pool->threads; i++) pthread_join(pool->ids[i], NULL);
    pthread_cond_destroy(&pool->begin);
    pthread_cond_destroy(&pool->end);
    pthread_mutex_destroy(&pool->mutex);
    free(pool);
}

void pool_run(Pool *pool, Piece *piece, void *context, int64_t pieces) {
    pthread_mutex_lock(&pool->mutex);
    pool->piece = piece;
    pool->context = context;
    pool->pieces = pieces;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->working, pool->threads - 1);
    pool->generation++;
    pthread_cond_broadcast(&pool->begin);
    pthread_mutex_unlock(&pool->mutex);
    take(pool, 0);
    for (int32_t i = 0; i < LOOKS; i++)
        if (atomic_load_explicit(&pool->working, memory_order_acquire) == 0) return;
    pthread_mutex_lock(&pool->mutex);
    while (atomic_load(&pool->working) > 0) pthread_cond_wait(&pool->end, &pool->mutex);
    pthread_mutex_unlock(&pool->mutex);
}
