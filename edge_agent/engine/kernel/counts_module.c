/* The Python face of counts.c: limited API 3.11. learner.py has checked what it hands over. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "counts.h"

enum { BUFFERS = 9 };

static void release(Py_buffer *views) {
    for (int i = 0; i < BUFFERS; i++) PyBuffer_Release(&views[i]);
}

/* add(counts [sets, cells], scratch, factors, tensors, before, after, executed, observations [n, M], agents or None,
 * lanes) */
static PyObject *add(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *given[BUFFERS];
    long long lanes;
    if (!PyArg_ParseTuple(args, "OOOOOOOOOL", &given[0], &given[1], &given[2], &given[3], &given[4], &given[5],
                          &given[6], &given[7], &given[8], &lanes))
        return NULL;
    Py_buffer views[BUFFERS] = {{0}};
    for (int i = 0; i < BUFFERS; i++) {
        if (i == BUFFERS - 1 && given[i] == Py_None) continue;
        int flags = PyBUF_C_CONTIGUOUS | (i < 2 ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(given[i], &views[i], flags)) return release(views), NULL;
    }
    const Py_buffer *counts = &views[0], *factors = &views[2], *tensors = &views[3], *seen = &views[7];
    if (counts->ndim != 2 || counts->itemsize != 8 || seen->ndim != 2 || seen->itemsize != 8 ||
        factors->itemsize != 8 || tensors->itemsize != 8 || lanes < 1) {
        release(views);
        PyErr_SetString(PyExc_TypeError, "counts, factors, tensors or observations: expected int64");
        return NULL;
    }
    Lesson lesson = {
        .counts = counts->buf,
        .sets = counts->shape[0],
        .cells = counts->shape[1],
        .factors = factors->buf,
        .factor_count = factors->len / 8 / FACTOR_WORDS,
        .tensors = tensors->buf,
        .tensor_count = tensors->len / 8 / TENSOR_WORDS,
        .before = views[4].buf,
        .after = views[5].buf,
        .executed = views[6].buf,
        .observations = seen->buf,
        .modalities = seen->shape[1],
        .count = seen->shape[0],
        .agents = views[8].obj ? views[8].buf : NULL,
        .lanes = lanes,
        .scratch = views[1].buf,
    };
    if (views[1].len < counts_scratch(lesson.factors, lesson.factor_count)) {
        release(views);
        PyErr_SetString(PyExc_ValueError, "scratch is too small");
        return NULL;
    }
    Py_BEGIN_ALLOW_THREADS
    counts_add(&lesson);
    Py_END_ALLOW_THREADS
    release(views);
    Py_RETURN_NONE;
}

/* scratch_bytes(factors) */
static PyObject *scratch_bytes(PyObject *module, PyObject *factors) {
    (void)module;
    Py_buffer view;
    if (PyObject_GetBuffer(factors, &view, PyBUF_C_CONTIGUOUS)) return NULL;
    int64_t bytes = counts_scratch(view.buf, view.len / 8 / FACTOR_WORDS);
    PyBuffer_Release(&view);
    return PyLong_FromLongLong(bytes);
}

static PyMethodDef methods[] = {
    {"add", add, METH_VARARGS, NULL}, {"scratch_bytes", scratch_bytes, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_counts", "Dirichlet counts in integers.", -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__counts(void) { return PyModule_Create(&definition); }
