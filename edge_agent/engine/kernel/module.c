/* The Python face of the kernel: limited API 3.11, so one wheel serves every later Python.
 *
 * ``step`` with an integer array is the path that has to be short: arguments are read through the buffer
 * protocol, checked, and the tick runs without the GIL. ``run`` takes everything else; population.py has
 * checked its arrays. */
#include "core.h"

#include <string.h>

PyObject *observation_error, *numpy_empty;
static PyObject *int64_type;

/* An integer array [rank dimensions], any strides. 0, or -1 with TypeError or ValueError set. */
static int integers(PyObject *object, Py_buffer *view, int rank, Table *table) {
    if (PyObject_GetBuffer(object, view, PyBUF_STRIDES | PyBUF_FORMAT)) return -1;
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=' || *format == '<') format++;
    if (!*format || format[1] || !strchr("bBhHiIlLqQ", *format)) {
        PyErr_Format(PyExc_TypeError, "array of format %s, expected integers", format);
        PyBuffer_Release(view);
        return -1;
    }
    if (view->ndim != rank) {
        PyErr_Format(PyExc_ValueError, "%d dimensions, expected %d", view->ndim, rank);
        PyBuffer_Release(view);
        return -1;
    }
    memset(table, 0, sizeof *table);
    table->data = view->buf;
    table->itemsize = (int32_t)view->itemsize;
    table->is_signed = *format >= 'a';
    for (int i = 0; i < rank; i++) table->stride[3 - rank + i] = view->strides[i];
    return 0;
}

/* Whether all outcomes of an agent are; false also where the quick look does not apply. */
static inline int in_range(const Model *m, const Table *t, int64_t tick, int64_t agent) {
    if (t->itemsize != 8) return 0;
    const char *p = t->data + tick * t->stride[0] + agent * t->stride[1];
    int good = 1;
    for (int32_t j = 0; j < m->modalities; j++, p += t->stride[2]) {
        uint64_t o;
        memcpy(&o, p, sizeof o);
        good &= o + 1 <= (uint64_t)m->num_obs[j];
    }
    return good;
}

/* Every outcome is in range, or ObservationError names agent and modality. */
static int check_outcomes(const Core *core, const Tick *c) {
    const Model *m = &core->model;
    for (int32_t k = 0; k < c->ticks; k++)
        for (int64_t i = 0; i < c->count; i++) {
            if (in_range(m, &c->observations, k, i)) continue;
            for (int32_t j = 0; j < m->modalities; j++) {
                int64_t o = integer_at(&c->observations, k, i, j);
                if (o >= OUTCOME_MISSING && o < m->num_obs[j]) continue;
                PyErr_Format(observation_error, "observations: agent %lld, modality %d: %lld, expected -1 to %d",
                             (long long)(c->agents ? c->agents[i] : i), (int)j, (long long)o, (int)m->num_obs[j] - 1);
                return -1;
            }
        }
    return 0;
}

/* Agents of a call: all, or an int64 array of distinct numbers that population.py checked. */
static int read_agents(const Core *core, PyObject *object, Py_buffer *view, Tick *c) {
    c->count = core->population.size;
    if (object == Py_None) return 0;
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS)) return -1;
    if (view->itemsize != 8) {
        PyErr_SetString(PyExc_TypeError, "agents: expected int64");
        return -1;
    }
    c->agents = view->buf;
    c->count = view->len / 8;
    return 0;
}

static PyObject *new_actions(const Core *core, int64_t count, int64_t **data, Py_buffer *view) {
    PyObject *out =
        PyObject_CallFunction(numpy_empty, "((Li)O)", (long long)count, (int)core->model.factors, int64_type);
    if (!out) return NULL;
    if (PyObject_GetBuffer(out, view, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) {
        Py_DECREF(out);
        return NULL;
    }
    *data = view->buf;
    return out;
}

static int ready(const Core *core) {
    if (core->plan.ops) return 0;
    PyErr_SetString(PyExc_RuntimeError, "no plan");
    return -1;
}

/* step(observations, agents) -> actions; infer(observations, agents) */
static PyObject *advance(Core *core, PyObject *const *args, Py_ssize_t count, int act) {
    if (count != 2) return PyErr_Format(PyExc_TypeError, "%zd arguments, expected 2", count);
    if (ready(core)) return NULL;
    Py_buffer observations = {0}, agents = {0}, chosen = {0};
    Tick c = {.population = &core->population, .ticks = 1, .tick = core->tick};
    PyObject *out = NULL;
    if (integers(args[0], &observations, 2, &c.observations)) return NULL;
    if (read_agents(core, args[1], &agents, &c)) goto done;
    if (observations.shape[0] != c.count || observations.shape[1] != core->model.modalities) {
        PyErr_Format(observation_error, "observations: shape (%zd, %zd), expected (%lld, %d)", observations.shape[0],
                     observations.shape[1], (long long)c.count, (int)core->model.modalities);
        goto done;
    }
    if (check_outcomes(core, &c)) goto done;
    if (act) {
        if (!(out = new_actions(core, c.count, &c.chosen, &chosen))) goto done;
        c.plan = &core->plan;
    }
    Py_BEGIN_ALLOW_THREADS
    tick_run(&c);
    Py_END_ALLOW_THREADS
    core->tick++;
    core->contradictions += c.contradictions;
    if (!act) out = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&observations);
    PyBuffer_Release(&agents);
    PyBuffer_Release(&chosen);
    return out;
}

static PyObject *core_step(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    return advance((Core *)self, args, count, 1);
}
static PyObject *core_infer(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    return advance((Core *)self, args, count, 0);
}

/* Table of a float32 or uint8 array [ticks, count, columns] in a tuple that may hold None. */
static int read_tables(PyObject *tuple, Table *tables, int32_t room, Py_buffer *views, int32_t *held) {
    if (tuple == Py_None) return 0;
    for (Py_ssize_t i = 0; i < PyTuple_Size(tuple) && i < room; i++) {
        PyObject *item = PyTuple_GetItem(tuple, i);
        if (item == Py_None) continue;
        Py_buffer *view = &views[*held];
        if (PyObject_GetBuffer(item, view, PyBUF_STRIDES)) return -1;
        (*held)++;
        tables[i] =
            (Table){view->buf, {view->strides[0], view->strides[1], view->strides[2]}, (int32_t)view->itemsize, 0};
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* run(observations [K, n, M] or None, agents, evidence, soft, actions, start, G, q_pi, act) -> actions or None */
static PyObject *core_run(PyObject *self, PyObject *args) {
    Core *core = (Core *)self;
    PyObject *observations, *agents, *evidence, *soft, *actions, *start, *G, *q_pi, *out = NULL;
    int act;
    if (!PyArg_ParseTuple(args, "OOOOOOOOp", &observations, &agents, &evidence, &soft, &actions, &start, &G, &q_pi,
                          &act))
        return NULL;
    if (ready(core)) return NULL;
    Py_buffer views[MAX_FACTORS + MAX_MODALITIES + 8];
    int32_t held = 0;
    memset(views, 0, sizeof views);
    Tick c = {.population = &core->population, .tick = core->tick};
    if (read_agents(core, agents, &views[held++], &c)) goto done;
    if (observations != Py_None) {
        if (integers(observations, &views[held], 3, &c.observations)) goto done;
        c.ticks = (int32_t)views[held++].shape[0];
        if (check_outcomes(core, &c)) goto done;
    }
    if (actions != Py_None) {
        if (integers(actions, &views[held], 3, &c.actions)) goto done;
        held++;
    }
    if (read_tables(evidence, c.evidence, MAX_FACTORS, views, &held)) goto done;
    if (read_tables(soft, c.soft, MAX_MODALITIES, views, &held)) goto done;
    if (start != Py_None) {
        if (PyObject_GetBuffer(start, &views[held], PyBUF_C_CONTIGUOUS)) goto done;
        c.start = views[held++].buf;
    }
    PyObject *wanted[] = {G, q_pi};
    for (int i = 0; i < 2; i++) {
        if (wanted[i] == Py_None) continue;
        if (PyObject_GetBuffer(wanted[i], &views[held], PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)) goto done;
        *(i ? &c.q_pi : &c.G) = views[held++].buf;
    }
    if (act && !(out = new_actions(core, c.count, &c.chosen, &views[held++]))) goto done;
    if (act || c.G || c.q_pi) c.plan = &core->plan;
    Py_BEGIN_ALLOW_THREADS
    tick_run(&c);
    Py_END_ALLOW_THREADS
    core->contradictions += c.contradictions;
    if (!act) out = Py_NewRef(Py_None);
done:
    for (int32_t i = 0; i < held; i++) PyBuffer_Release(&views[i]);
    return out;
}

/* set_plan(ops, fold, lists, values row, penalties row, horizon, selection, stochastic) */
static PyObject *core_set_plan(PyObject *self, PyObject *args) {
    Core *core = (Core *)self;
    PyObject *arrays[PLAN_BUFFERS];
    int values, penalties, horizon, selection, stochastic;
    if (!PyArg_ParseTuple(args, "OOOiiiii", &arrays[0], &arrays[1], &arrays[2], &values, &penalties, &horizon,
                          &selection, &stochastic))
        return NULL;
    if (penalties >= 0 && !core->model.options.nearer) {
        PyErr_SetString(PyExc_ValueError, "penalties without ways");
        return NULL;
    }
    Py_buffer fresh[PLAN_BUFFERS] = {{0}};
    for (int i = 0; i < PLAN_BUFFERS; i++)
        if (PyObject_GetBuffer(arrays[i], &fresh[i], PyBUF_C_CONTIGUOUS)) {
            while (i--) PyBuffer_Release(&fresh[i]);
            return NULL;
        }
    for (int i = 0; i < PLAN_BUFFERS; i++) {
        PyBuffer_Release(&core->plan_buffers[i]);
        core->plan_buffers[i] = fresh[i];
    }
    core->plan = (Plan){
        fresh[0].buf, (int32_t)(fresh[0].len / 4 / OP_WORDS), fresh[1].buf, fresh[2].buf, values, penalties, horizon};
    core->population.selection = selection;
    core->population.stochastic = stochastic;
    Py_RETURN_NONE;
}

static PyObject *get_tick(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(((Core *)self)->tick);
}
static int set_tick(PyObject *self, PyObject *value, void *unused) {
    (void)unused;
    unsigned long long tick = PyLong_AsUnsignedLongLong(value);
    if (PyErr_Occurred()) return -1;
    ((Core *)self)->tick = tick;
    return 0;
}
static PyObject *get_contradictions(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(((Core *)self)->contradictions);
}
static int set_contradictions(PyObject *self, PyObject *value, void *unused) {
    (void)unused;
    ((Core *)self)->contradictions = PyLong_AsLongLong(value);
    return PyErr_Occurred() ? -1 : 0;
}

static PyObject *core_create(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    (void)keywords;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Core *core = (Core *)allocate(type, 0);
    if (core && core_fill(core, args)) {
        Py_DECREF(core);
        return NULL;
    }
    return (PyObject *)core;
}

static void core_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    core_release((Core *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyMethodDef core_methods[] = {{"step", (PyCFunction)(void (*)(void))core_step, METH_FASTCALL, NULL},
                                     {"infer", (PyCFunction)(void (*)(void))core_infer, METH_FASTCALL, NULL},
                                     {"run", core_run, METH_VARARGS, NULL},
                                     {"set_plan", core_set_plan, METH_VARARGS, NULL},
                                     {NULL, NULL, 0, NULL}};

static PyGetSetDef core_properties[] = {{"tick", get_tick, set_tick, NULL, NULL},
                                        {"contradictions", get_contradictions, set_contradictions, NULL, NULL},
                                        {NULL, NULL, NULL, NULL, NULL}};

static PyType_Slot core_slots[] = {{Py_tp_new, core_create},
                                   {Py_tp_dealloc, core_dealloc},
                                   {Py_tp_methods, core_methods},
                                   {Py_tp_getset, core_properties},
                                   {0, NULL}};

static PyType_Spec core_spec = {"edge_agent.engine._kernel.Core", sizeof(Core), 0, Py_TPFLAGS_DEFAULT, core_slots};

/* isas() -> ((name, supported, lanes), ...), the widest first */
static PyObject *isas(PyObject *module, PyObject *unused) {
    (void)module;
    (void)unused;
    PyObject *list = PyList_New(0);
    for (const Isa *isa = ISAS; list && isa->name; isa++) {
        PyObject *item = Py_BuildValue("(sNi)", isa->name, PyBool_FromLong(isa->supported()), (int)isa->wide);
        if (!item || PyList_Append(list, item)) Py_CLEAR(list);
        Py_XDECREF(item);
    }
    return list;
}

/* thread_floats(states, rows of belief codes, sum of outcomes, modalities, factors, lanes, strip rows, policies, nodes
 * of a search): scratch of a thread */
static PyObject *thread_floats(PyObject *module, PyObject *args) {
    (void)module;
    Model m = {0};
    int outcomes, lanes, rows;
    if (!PyArg_ParseTuple(args, "iiiiiiiii", &m.states, &m.codes, &outcomes, &m.modalities, &m.factors, &lanes, &rows,
                          &m.policies, &m.options.search.max_nodes))
        return NULL;
    m.num_obs[0] = outcomes;
    return PyLong_FromLongLong(tick_bytes(&m, lanes, rows) / 4);
}

static PyMethodDef methods[] = {
    {"isas", isas, METH_NOARGS, NULL}, {"thread_floats", thread_floats, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "Vector kernel of the engine.", -1, methods, NULL, NULL, NULL, NULL};

static PyObject *attribute(const char *module, const char *name) {
    PyObject *found = PyImport_ImportModule(module), *value = NULL;
    if (found) value = PyObject_GetAttrString(found, name);
    Py_XDECREF(found);
    return value;
}

PyMODINIT_FUNC PyInit__kernel(void) {
    if (!(observation_error = attribute("edge_agent.errors", "ObservationError")) ||
        !(numpy_empty = attribute("numpy", "empty")) || !(int64_type = attribute("numpy", "int64")))
        return NULL;
    PyObject *module = PyModule_Create(&definition), *type = PyType_FromSpec(&core_spec);
    if (!module || !type || PyModule_AddObjectRef(module, "Core", type)) {
        Py_XDECREF(module);
        Py_XDECREF(type);
        return NULL;
    }
    Py_DECREF(type);
    return module;
}
