/* Filling a Core from what population.py hands over. Everything was checked in Python. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

void *core_hold(Core *core, PyObject *object, Py_ssize_t itemsize, int writable, int64_t *count) {
    if (core->held == core->room) {
        int32_t room = core->room ? 2 * core->room : 32;
        Py_buffer *grown = realloc(core->buffers, (size_t)room * sizeof *grown);
        if (!grown) return PyErr_NoMemory();
        core->buffers = grown;
        core->room = room;
    }
    Py_buffer *view = &core->buffers[core->held];
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | (writable ? PyBUF_WRITABLE : 0))) return NULL;
    core->held++;
    if (view->itemsize != itemsize) {
        PyErr_Format(PyExc_TypeError, "itemsize %zd, expected %zd", view->itemsize, itemsize);
        return NULL;
    }
    if (count) *count = view->len / itemsize;
    return view->buf;
}

/* (rows, width, states of the factor, bytes of a code, bytes of a belief code, background, its logarithm, palette,
 * codes, columns, starts, base, tables, the mixed form: pattern, columns, patterns, starts; weights, their unit, rows
 * of a group) */
static int fill_tensor(Core *core, Tensor *t, int32_t *states, int32_t *belief_bytes, PyObject *tuple) {
    PyObject *palette, *codes, *columns, *starts, *base, *tables, *pattern, *mixed_columns, *mixed_patterns,
        *mixed_starts, *weights;
    int64_t values, listed, based, patterns, integers;
    int code_bytes;
    if (!PyArg_ParseTuple(tuple, "iiiiiffOOOOOOOOOOOfi", &t->rows, &t->width, states, &code_bytes, belief_bytes,
                          &t->background, &t->log_background, &palette, &codes, &columns, &starts, &base, &tables,
                          &pattern, &mixed_columns, &mixed_patterns, &mixed_starts, &weights, &t->unit, &t->group_rows))
        return -1;
    float *table;
    if (!(t->palette = core_hold(core, palette, 4, 0, &values)) ||
        !(t->codes = core_hold(core, codes, code_bytes, 0, NULL)) ||
        !(t->columns = core_hold(core, columns, 2, 0, NULL)) || !(t->starts = core_hold(core, starts, 4, 0, &listed)) ||
        !(t->base = core_hold(core, base, 4, 0, &based)) || !(table = core_hold(core, tables, 4, 0, NULL)) ||
        !(t->pattern = core_hold(core, pattern, 4, 0, &patterns)) ||
        !(t->mixed_columns = core_hold(core, mixed_columns, 2, 0, NULL)) ||
        !(t->mixed_patterns = core_hold(core, mixed_patterns, 1, 0, NULL)) ||
        !(t->mixed_starts = core_hold(core, mixed_starts, 4, 0, NULL)) ||
        !(t->weights = core_hold(core, weights, 2, 0, &integers)))
        return -1;
    if (!integers) t->weights = NULL;
    t->patterns = *states ? (int32_t)(patterns * *states / t->rows) : 0;
    t->wide = code_bytes == 2;
    t->sparse = listed > 0;
    t->single = t->sparse;
    t->twin = t->sparse && !t->wide;
    for (int32_t r = 0; t->single && r < t->rows; r++) t->single = t->starts[r + 1] - t->starts[r] == 1;
    for (int32_t r = 0; t->twin && r < t->rows; r++) t->twin = t->starts[r + 1] - t->starts[r] == 2;
    t->values = (int32_t)values;
    if (!based) t->base = NULL;
    t->base_rows = based ? (int32_t)(t->rows * (int64_t)t->width / based) : t->rows;
    t->difference = based ? t->palette : table;
    t->ratio = based ? table : table + values;
    t->logarithm = t->ratio + values;
    t->share = t->logarithm + values;
    t->log_share = t->share + t->width;
    return 0;
}

static int fill_dependencies(Model *m, PyObject *a_deps, PyObject *b_deps) {
    for (int32_t i = 0; i < m->modalities + m->factors; i++) {
        int is_a = i < m->modalities;
        int32_t j = is_a ? i : i - m->modalities;
        PyObject *deps = PyTuple_GetItem(is_a ? a_deps : b_deps, j);
        if (!deps) return -1;
        Py_ssize_t count = PyTuple_Size(deps);
        if (count < 0) return -1;
        int32_t *out = is_a ? m->a_deps[j] : m->b_deps[j];
        *(is_a ? &m->a_parents[j] : &m->b_parents[j]) = (int32_t)count;
        for (Py_ssize_t k = 0; k < count; k++) {
            out[k] = (int32_t)PyLong_AsLong(PyTuple_GetItem(deps, k));
            if (is_a && count > 1) m->coupled[out[k]] = 1;
        }
    }
    return PyErr_Occurred() ? -1 : 0;
}

/* (patterns, strides, classes, order, starts, weights, common) */
static int fill_outcome_classes(Core *core, OutcomeClasses *a, PyObject *tuple) {
    PyObject *strides, *classes, *order, *starts, *weights, *common;
    int64_t joint;
    if (!PyArg_ParseTuple(tuple, "iOOOOOO", &a->patterns, &strides, &classes, &order, &starts, &weights, &common))
        return -1;
    if (!(a->strides = core_hold(core, strides, 4, 0, NULL)) || !(a->classes = core_hold(core, classes, 4, 0, NULL)) ||
        !(a->order = core_hold(core, order, 2, 0, NULL)) || !(a->starts = core_hold(core, starts, 2, 0, NULL)) ||
        !(a->weights = core_hold(core, weights, 4, 0, &joint)) || !(a->common = core_hold(core, common, 4, 0, NULL)))
        return -1;
    if (a->patterns) a->width = (int32_t)(joint / a->patterns);
    for (int32_t f = 0; f < core->model.factors; f++) a->rows += a->classes[f];
    return 0;
}

/* (ops, lists, rows) */
static int fill_elimination(Core *core, PyObject *tuple) {
    Elimination *e = &core->model.elimination;
    PyObject *ops, *lists;
    int64_t words;
    if (!PyArg_ParseTuple(tuple, "OOi", &ops, &lists, &e->rows)) return -1;
    if (!(e->ops = core_hold(core, ops, 4, 0, &words)) || !(e->lists = core_hold(core, lists, 4, 0, NULL))) return -1;
    e->count = (int32_t)(words / OP_WORDS);
    return 0;
}

/* Two of (ops, lists, places, operations before the first iteration, in each, rows of all tables): over states, over
 * classes. */
static int fill_contractions(Core *core, PyObject *pair) {
    Contraction *both[] = {&core->model.over_states, &core->model.over_classes};
    for (Py_ssize_t i = 0; i < 2; i++) {
        PyObject *ops, *lists, *places, *tuple = PyTuple_GetItem(pair, i);
        int64_t words;
        Contraction *c = both[i];
        if (!tuple || !PyArg_ParseTuple(tuple, "OOOiii", &ops, &lists, &places, &c->once, &c->turn, &c->tables))
            return -1;
        if (!(c->ops = core_hold(core, ops, 4, 0, &words)) || !(c->lists = core_hold(core, lists, 4, 0, NULL)) ||
            !(c->places = core_hold(core, places, 4, 0, NULL)))
            return -1;
        c->count = (int32_t)(words / OP_WORDS);
    }
    return 0;
}

/* (slots, variational, inverse sums of the rows of B): behind the tensors, whose codes come first in a state */
static int fill_window(Core *core, PyObject *tuple) {
    Model *m = &core->model;
    WindowOptions *w = &m->window;
    PyObject *sums;
    if (!PyArg_ParseTuple(tuple, "iiO", &w->slots, &w->variational, &sums) ||
        !(w->inverse_sums = core_hold(core, sums, 4, 0, NULL)))
        return -1;
    window_rows(m);
    return 0;
}

/* (gamma, alpha, tie, ln epsilon, num_iter, rules, exact, reset, nearer, ways, first_way, (max_nodes,
 * max_branching, and the thresholds and the penalty of a search)) */
static int fill_options(Core *core, PyObject *tuple) {
    Options *o = &core->model.options;
    PyObject *nearer, *ways, *first_way;
    int64_t states;
    SearchOptions *z = &o->search;
    if (!PyArg_ParseTuple(tuple, "ffffiiiiOOO(iifffff)", &o->gamma, &o->alpha, &o->tie, &o->log_epsilon, &o->num_iter,
                          &o->rules, &o->exact, &o->reset, &nearer, &ways, &first_way, &z->max_nodes, &z->max_branching,
                          &z->policy_threshold, &z->observation_threshold, &z->entropy_stop, &z->value_stop,
                          &z->penalty))
        return -1;
    if (!(o->nearer = core_hold(core, nearer, 2, 0, &states)) || !(o->ways = core_hold(core, ways, 1, 0, NULL)) ||
        !(o->first_way = core_hold(core, first_way, 8, 0, NULL)))
        return -1;
    if (!states) o->nearer = NULL;
    return 0;
}

static const Isa *find_isa(const char *name) {
    for (const Isa *isa = ISAS; isa->name; isa++)
        if (!strcmp(isa->name, name) && isa->supported()) return isa;
    PyErr_Format(PyExc_ValueError, "no instruction set %s here", name);
    return NULL;
}

int core_fill(Core *core, PyObject *args) {
    Model *m = &core->model;
    Population *p = &core->population;
    PyObject *tensors, *a_deps, *b_deps, *alike, *D, *log_E, *first_act, *options, *elimination, *contractions, *window,
        *belief, *action, *energy, *scratch;
    const char *isa;
    int threads;
    unsigned long long seed;
    if (!PyArg_ParseTuple(args, "sO!O!O!O!OOOO!O!O!O!OOOOiiLiKf", &isa, &PyTuple_Type, &tensors, &PyTuple_Type, &a_deps,
                          &PyTuple_Type, &b_deps, &PyTuple_Type, &alike, &D, &log_E, &first_act, &PyTuple_Type,
                          &options, &PyTuple_Type, &elimination, &PyTuple_Type, &contractions, &PyTuple_Type, &window,
                          &belief, &action, &energy, &scratch, &p->strip_rows, &p->lanes, &p->size, &threads, &seed,
                          &m->spread))
        return -1;
    m->modalities = (int32_t)PyTuple_Size(a_deps);
    m->factors = (int32_t)PyTuple_Size(b_deps);
    int32_t stored = (int32_t)PyTuple_Size(tensors); /* A, B, and more for planning */
    if (stored < m->modalities + m->factors || m->modalities > MAX_MODALITIES || m->factors > MAX_FACTORS ||
        threads < 1 || threads > MAX_THREADS) {
        PyErr_SetString(PyExc_ValueError, "counts of tensors, factors, modalities or threads");
        return -1;
    }
    if (!(p->isa = find_isa(isa)) || fill_dependencies(m, a_deps, b_deps)) return -1;
    m->tensors = calloc((size_t)stored, sizeof *m->tensors);
    if (!m->tensors) return PyErr_NoMemory(), -1;
    for (int32_t i = 0; i < stored; i++) {
        Tensor *t = &m->tensors[i];
        int32_t states = 0, belief_bytes = 1;
        if (fill_tensor(core, t, &states, &belief_bytes, PyTuple_GetItem(tensors, i))) return -1;
        if (states) {
            int32_t f = i - m->modalities;
            m->num_states[f] = states;
            m->num_controls[f] = t->rows / states;
            m->first_state[f] = m->states;
            m->states += states;
            m->wide_belief[f] = belief_bytes == 2;
            m->first_code[f] = m->codes;
            m->codes += states * belief_bytes;
        }
        if (t->width > m->widest) m->widest = t->width;
        if (i < m->modalities) m->num_obs[i] = t->rows;
    }
    if (fill_outcome_classes(core, &m->outcome_classes, alike) || fill_options(core, options) ||
        fill_elimination(core, elimination) || fill_contractions(core, contractions) || fill_window(core, window))
        return -1;
    int64_t acts, floats;
    if (!(m->D = core_hold(core, D, 4, 0, NULL)) || !(m->first_act = core_hold(core, first_act, 1, 0, &acts)))
        return -1;
    if (log_E != Py_None && !(m->log_E = core_hold(core, log_E, 4, 0, NULL))) return -1;
    m->policies = (int32_t)(acts / m->factors);
    if (!(p->belief = core_hold(core, belief, 1, 1, NULL)) || !(p->action = core_hold(core, action, 1, 1, NULL)) ||
        !(p->free_energy = core_hold(core, energy, 4, 1, NULL)) ||
        !(p->scratch = core_hold(core, scratch, 4, 1, &floats)))
        return -1;
    p->model = m;
    p->scratch_floats = floats / threads;
    p->seed = seed;
    if (threads > 1 && !(p->pool = pool_start(threads))) return PyErr_NoMemory(), -1;
    return 0;
}

void core_release(Core *core) {
    if (core->population.pool) pool_stop(core->population.pool);
    for (int32_t i = 0; i < core->held; i++) PyBuffer_Release(&core->buffers[i]);
    for (int i = 0; i < PLAN_BUFFERS; i++) PyBuffer_Release(&core->plan_buffers[i]);
    free(core->buffers);
    free(core->model.tensors);
}
