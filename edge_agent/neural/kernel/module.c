/* The Python face of a step of networks: limited API 3.11, as the engine's kernel.
 *
 * `Feed` holds a population's columns and what drives its runtime: `put` gives a view of the runtime's inputs,
 * `invoke` runs it, `take` gives a view of an output each. A view is let go before the runtime runs: LiteRT
 * refuses to run while somebody holds one. One call a step does all that a loop by hand does in five; on a
 * network of a few microseconds the calls are what costs. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "feed.h"
#include "philox.h"

enum { MAX_OUTPUTS = 16, MAX_RANK = 8 };

static PyObject *observation_error, *bundle_error, *numpy_contiguous, *float32_type;

typedef struct {
    PyObject_HEAD
    PyObject *name, *put, *invoke, *take;
    Windows windows;
    int64_t size, batch, width, input_width;
    int rank, outputs, argmax;
    int64_t shape[MAX_RANK];
    Py_buffer window, seen, chosen, column[MAX_OUTPUTS];
} Feed;

/* A call's arguments, read and checked. */
typedef struct {
    Py_buffer observations, agents;
    PyObject *converted;
    const float *x;
    const int64_t *who;
    int64_t count;
} Given;

static int is_float(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=' || *format == '<') format++;
    return format[0] == 'f' && !format[1];
}

static void given_release(Given *given) {
    PyBuffer_Release(&given->observations);
    PyBuffer_Release(&given->agents);
    Py_CLEAR(given->converted);
}

/* Read observations as float32, C-contiguous: as they are if they are, else converted by NumPy. */
static int read_observations(const Feed *feed, PyObject *object, Given *given) {
    const int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT;
    if (!PyObject_GetBuffer(object, &given->observations, flags)) {
        if (is_float(&given->observations)) return 0;
        PyBuffer_Release(&given->observations);
    }
    PyErr_Clear();
    given->converted = PyObject_CallFunctionObjArgs(numpy_contiguous, object, float32_type, NULL);
    if (!given->converted) {
        if (PyErr_ExceptionMatches(PyExc_ValueError) || PyErr_ExceptionMatches(PyExc_TypeError))
            PyErr_Format(observation_error, "%U: observations are not an array of numbers", feed->name);
        return -1;
    }
    return PyObject_GetBuffer(given->converted, &given->observations, flags);
}

static PyObject *shape_text(int rank, const Py_ssize_t *shape) {
    PyObject *tuple = PyTuple_New(rank);
    for (int i = 0; tuple && i < rank; i++) PyTuple_SetItem(tuple, i, PyLong_FromSsize_t(shape[i]));
    PyObject *text = tuple ? PyObject_Repr(tuple) : NULL;
    Py_XDECREF(tuple);
    return text;
}

static int refuse_shape(const Feed *feed, const Given *given) {
    Py_ssize_t wanted[MAX_RANK + 1] = {(Py_ssize_t)given->count};
    for (int i = 0; i < feed->rank; i++) wanted[i + 1] = (Py_ssize_t)feed->shape[i];
    PyObject *found = shape_text(given->observations.ndim, given->observations.shape);
    PyObject *expected = shape_text(feed->rank + 1, wanted);
    if (found && expected)
        PyErr_Format(observation_error, "%U: observations are %U, expected %U", feed->name, found, expected);
    Py_XDECREF(found);
    Py_XDECREF(expected);
    return -1;
}

/* Read (observations, agents); 0, or -1 with an error set. `agents` is None or int64, in range and distinct:
 * population.py has seen to that. */
static int read_given(const Feed *feed, PyObject *const *args, Py_ssize_t count, Given *given) {
    if (count != 2) {
        PyErr_Format(PyExc_TypeError, "%zd arguments, expected 2", count);
        return -1;
    }
    given->count = feed->size;
    if (args[1] != Py_None) {
        if (PyObject_GetBuffer(args[1], &given->agents, PyBUF_C_CONTIGUOUS)) return -1;
        given->who = given->agents.buf;
        given->count = given->agents.len / 8;
    }
    if (read_observations(feed, args[0], given)) return -1;
    const Py_buffer *view = &given->observations;
    int fits = view->ndim == feed->rank + 1 && view->shape[0] == given->count;
    for (int i = 0; fits && i < feed->rank; i++) fits = view->shape[i + 1] == feed->shape[i];
    if (!fits) return refuse_shape(feed, given);
    given->x = view->buf;
    int64_t bad = first_not_finite(given->x, given->count * feed->width);
    if (bad < 0) return 0;
    int64_t row = bad / feed->width;
    PyErr_Format(observation_error, "%U: observation of agent %lld is not finite", feed->name,
                 (long long)(given->who ? given->who[row] : row));
    return -1;
}

static inline int64_t agent_of(const Given *given, int64_t row) { return given->who ? given->who[row] : row; }

static void push(const Feed *feed, const Given *given) {
    for (int64_t row = 0; row < given->count; row++)
        window_push(&feed->windows, agent_of(given, row), given->x + row * feed->width);
}

/* A view of `rows` rows out of a callable, float32 as the runtime's adapter has checked; 0, or -1 with an error
 * set. The format is not asked for: NumPy takes longer to spell it than to do all the rest. */
static int view_of(PyObject *callable, int64_t rows, int64_t width, int flags, PyObject **object, Py_buffer *view) {
    if (!(*object = PyObject_CallNoArgs(callable))) return -1;
    if (PyObject_GetBuffer(*object, view, PyBUF_C_CONTIGUOUS | flags)) {
        Py_CLEAR(*object);
        return -1;
    }
    if (view->len == rows * width * 4) return 0;
    PyErr_Format(bundle_error, "the runtime gave %zd bytes, expected %lld", view->len, (long long)(rows * width * 4));
    PyBuffer_Release(view);
    Py_CLEAR(*object);
    return -1;
}

static int put_rows(const Feed *feed, const Given *given, int64_t start, int64_t count) {
    PyObject *object;
    Py_buffer view;
    if (view_of(feed->put, feed->batch, feed->input_width, PyBUF_WRITABLE, &object, &view)) return -1;
    float *input = view.buf;
    size_t row = (size_t)feed->input_width * 4;
    if (!feed->windows.window) memcpy(input, given->x + start * feed->width, (size_t)count * row);
    else
        for (int64_t i = 0; i < count; i++)
            window_show(&feed->windows, agent_of(given, start + i), input + i * feed->input_width);
    /* Rows that nobody looks at: zeros, so that what the network makes of them is always the same. */
    memset(input + count * feed->input_width, 0, (size_t)(feed->batch - count) * row);
    PyBuffer_Release(&view);
    Py_DECREF(object);
    return 0;
}

static int take_rows(const Feed *feed, const Given *given, int64_t start, int64_t count) {
    int64_t *chosen = feed->chosen.buf;
    for (int k = 0; k < feed->outputs; k++) {
        const Py_buffer *column = &feed->column[k];
        int64_t width = column->len / 4 / feed->size;
        PyObject *object;
        Py_buffer view;
        if (view_of(PyTuple_GetItem(feed->take, k), feed->batch, width, 0, &object, &view)) return -1;
        const float *y = view.buf;
        float *kept = column->buf;
        if (!given->who) memcpy(kept + start * width, y, (size_t)(count * width) * 4);
        else
            for (int64_t i = 0; i < count; i++)
                memcpy(kept + given->who[start + i] * width, y + i * width, (size_t)width * 4);
        if (k == feed->argmax)
            for (int64_t i = 0; i < count; i++) chosen[start + i] = largest(y + i * width, width);
        PyBuffer_Release(&view);
        Py_DECREF(object);
    }
    return 0;
}

/* step(observations, agents): outputs into the columns of those agents; where an action is the largest entry of
 * an output, its index into the first rows of `chosen`, in the order of the call */
static PyObject *feed_step(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    const Feed *feed = (Feed *)self;
    Given given = {0};
    int failed = read_given(feed, args, count, &given);
    if (!failed && feed->windows.window) push(feed, &given);
    for (int64_t start = 0; !failed && start < given.count; start += feed->batch) {
        int64_t left = given.count - start, rows = left < feed->batch ? left : feed->batch;
        PyObject *ran = put_rows(feed, &given, start, rows) ? NULL : PyObject_CallNoArgs(feed->invoke);
        failed = !ran || take_rows(feed, &given, start, rows);
        Py_XDECREF(ran);
    }
    given_release(&given);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

/* infer(observations, agents): into the windows alone */
static PyObject *feed_infer(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    const Feed *feed = (Feed *)self;
    Given given = {0};
    int failed = read_given(feed, args, count, &given);
    if (!failed && feed->windows.window) push(feed, &given);
    given_release(&given);
    if (failed) return NULL;
    Py_RETURN_NONE;
}

static int hold(PyObject *array, int64_t bytes, Py_buffer *view) {
    if (PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) return -1;
    if (view->len == bytes || bytes < 0) return 0;
    PyErr_Format(PyExc_ValueError, "a column of %zd bytes, expected %lld", view->len, (long long)bytes);
    return -1;
}

/* (name, size, batch, observation shape, (outer, length, inner), window, seen, chosen, columns, argmax, put, invoke,
 * take) */
static int feed_fill(Feed *feed, PyObject *args) {
    PyObject *shape, *window, *seen, *chosen, *columns;
    long long size, batch, outer, length, inner;
    if (!PyArg_ParseTuple(args, "ULLO!(LLL)OOOO!iOOO!", &feed->name, &size, &batch, &PyTuple_Type, &shape, &outer,
                          &length, &inner, &window, &seen, &chosen, &PyTuple_Type, &columns, &feed->argmax, &feed->put,
                          &feed->invoke, &PyTuple_Type, &feed->take)) {
        feed->name = feed->put = feed->invoke = feed->take = NULL;
        return -1;
    }
    Py_INCREF(feed->name);
    Py_INCREF(feed->put);
    Py_INCREF(feed->invoke);
    Py_INCREF(feed->take);
    feed->size = size;
    feed->batch = batch;
    feed->rank = (int)PyTuple_Size(shape);
    Py_ssize_t outputs = PyTuple_Size(columns);
    if (size < 1 || batch < 1 || feed->rank > MAX_RANK || outputs > MAX_OUTPUTS ||
        outputs != PyTuple_Size(feed->take)) {
        PyErr_Format(PyExc_ValueError, "%d axes and %zd outputs, expected at most %d and %d", feed->rank, outputs,
                     MAX_RANK, MAX_OUTPUTS);
        return -1;
    }
    feed->width = 1;
    for (int i = 0; i < feed->rank; i++) feed->width *= feed->shape[i] = PyLong_AsLongLong(PyTuple_GetItem(shape, i));
    feed->input_width = feed->width * length;
    if (PyErr_Occurred()) return -1;
    if (feed->width != outer * inner || feed->width < 1) {
        PyErr_SetString(PyExc_ValueError, "the window does not fit the observation");
        return -1;
    }
    if (length > 1 && hold(window, size * feed->input_width * 4, &feed->window)) return -1;
    if (hold(seen, size * 4, &feed->seen) || hold(chosen, size * 8, &feed->chosen)) return -1;
    feed->windows = (Windows){outer, length, inner, length > 1 ? feed->window.buf : NULL, feed->seen.buf};
    for (; feed->outputs < outputs; feed->outputs++)
        if (hold(PyTuple_GetItem(columns, feed->outputs), -1, &feed->column[feed->outputs])) return -1;
    return 0;
}

static PyObject *feed_create(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    (void)keywords;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Feed *feed = (Feed *)allocate(type, 0);
    if (feed && feed_fill(feed, args)) {
        Py_DECREF(feed);
        return NULL;
    }
    return (PyObject *)feed;
}

static void feed_dealloc(PyObject *self) {
    Feed *feed = (Feed *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyBuffer_Release(&feed->window);
    PyBuffer_Release(&feed->seen);
    PyBuffer_Release(&feed->chosen);
    for (int k = 0; k < MAX_OUTPUTS; k++) PyBuffer_Release(&feed->column[k]);
    Py_XDECREF(feed->name);
    Py_XDECREF(feed->put);
    Py_XDECREF(feed->invoke);
    Py_XDECREF(feed->take);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef feed_methods[] = {{"step", (PyCFunction)(void (*)(void))feed_step, METH_FASTCALL, NULL},
                                     {"infer", (PyCFunction)(void (*)(void))feed_infer, METH_FASTCALL, NULL},
                                     {NULL, NULL, 0, NULL}};

static PyType_Slot feed_slots[] = {
    {Py_tp_new, feed_create}, {Py_tp_dealloc, feed_dealloc}, {Py_tp_methods, feed_methods}, {0, NULL}};

static PyType_Spec feed_spec = {"edge_agent.neural._feed.Feed", sizeof(Feed), 0, Py_TPFLAGS_DEFAULT, feed_slots};

/* draw(seed, tick, agents int64 [n], out float64 [n]) */
static PyObject *draw(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long seed, tick;
    PyObject *agents, *out;
    if (!PyArg_ParseTuple(args, "KKOO", &seed, &tick, &agents, &out)) return NULL;
    Py_buffer who, numbers;
    if (PyObject_GetBuffer(agents, &who, PyBUF_C_CONTIGUOUS)) return NULL;
    if (PyObject_GetBuffer(out, &numbers, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) {
        PyBuffer_Release(&who);
        return NULL;
    }
    Py_ssize_t count = (who.len < numbers.len ? who.len : numbers.len) / 8;
    const int64_t *agent = who.buf;
    double *number = numbers.buf;
    for (Py_ssize_t i = 0; i < count; i++) number[i] = philox_uniform(seed, tick, (uint64_t)agent[i], 0);
    PyBuffer_Release(&who);
    PyBuffer_Release(&numbers);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"draw", draw, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_feed", "A step of networks around its runtime.", -1, methods, NULL, NULL, NULL, NULL};

static PyObject *attribute(const char *module, const char *name) {
    PyObject *found = PyImport_ImportModule(module), *value = NULL;
    if (found) value = PyObject_GetAttrString(found, name);
    Py_XDECREF(found);
    return value;
}

PyMODINIT_FUNC PyInit__feed(void) {
    if (!(observation_error = attribute("edge_agent.errors", "ObservationError")) ||
        !(bundle_error = attribute("edge_agent.errors", "BundleError")) ||
        !(numpy_contiguous = attribute("numpy", "ascontiguousarray")) ||
        !(float32_type = attribute("numpy", "float32")))
        return NULL;
    PyObject *module = PyModule_Create(&definition), *type = PyType_FromSpec(&feed_spec);
    if (!module || !type || PyModule_AddObjectRef(module, "Feed", type)) {
        Py_XDECREF(module);
        Py_XDECREF(type);
        return NULL;
    }
    Py_DECREF(type);
    return module;
}
