/* The inside of a tape, for compute/tape.c, ops.c and dump.c alone. */
#pragma once

#include "compute/plan.h"

struct tape_name {
    char *name;
    struct tensor *tensor;
};

struct tape {
    char *name;
    GArray *nodes;                   /* struct node */
    GPtrArray *tensors;              /* struct tensor, owned */
    GPtrArray *marks;                /* char *, owned */
    GArray *inputs, *outputs, *kept; /* struct tape_name */
    GArray *imports;                 /* struct place, by tensor id; may be shorter than tensors */
    char *problem;                   /* the sticky error */
    bool keep_marks;
    bool profile;

    struct backend *backend; /* set by tape_finish() */
    struct plan *plan;
    struct program *program;
    int importers;      /* tapes that import from this one and are alive */
    GPtrArray *sources; /* tapes this one imports from */
};

struct tensor *tape_tensor(struct tape *t, enum dtype dtype, int rank, const int64_t *dims);
/* Appends a node whose output has the given shape; returns the output. */
struct tensor *tape_node(struct tape *t, struct node node, int rank, const int64_t *dims);
struct node *tape_last(struct tape *t); /* NULL when there is none; valid until the next */
bool tape_is_input(const struct tape *t, const struct tensor *x);
/* "[2,32,32,640]" in one of a few static thread-local buffers. */
const char *dims_text(int rank, const int64_t *dims);
