/* The Core object: a model's tables, a population's columns, and the buffers that keep both alive. */
#ifndef EDGE_AGENT_CORE_H
#define EDGE_AGENT_CORE_H

#include <Python.h>

#include "tick.h"

enum { PLAN_BUFFERS = 3 };

typedef struct {
    PyObject_HEAD
    Model model;
    Population population;
    Plan plan;
    uint64_t tick;
    int64_t contradictions;
    Py_buffer *buffers;
    int32_t held, room;
    Py_buffer plan_buffers[PLAN_BUFFERS];
} Core;

/* Pointer to the contiguous buffer of ``object``, held until the Core goes; NULL with an error set. */
void *core_hold(Core *core, PyObject *object, Py_ssize_t itemsize, int writable, int64_t *count);

/* core_new.c */
int core_fill(Core *core, PyObject *args);
void core_release(Core *core);

/* module.c */
extern PyObject *observation_error, *numpy_empty;

#endif
