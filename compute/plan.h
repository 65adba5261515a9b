/*
 * A plan: what a back end compiles. The planner turns a recorded tape into a list of nodes in order
 * of execution, after fusion, and gives every tensor a place. Pure data in terms of tensors and
 * weights; it knows no back end (which fusions apply is backend_class.fuse, alignment is
 * backend_class.alignment). Owned by the tape, valid until its program is destroyed.
 *
 * How a back end reads it:
 *  - nodes[0 .. node_count) run in this order. Every node writes node->out and reads node->in[],
 *    node->residual and node->broadcast (tensors) and node->weight, bias, norm.* (weights).
 *    OP_reshape never appears.
 *  - plan_place(plan, tensor) tells where a tensor's bytes are: an offset into one of two blocks of
 *    memory that the back end owns per program, the arena (activations; places of tensors that are
 *    not alive together overlap) or the kept block (inputs, outputs, kept values, marks: never
 *    shared), or inside the kept block of another program of the same back end. Views (reshape)
 *    have the place of their base.
 *  - plan_store(plan, tensor) is the number format of these bytes: the precision of the back end,
 *    but I32 for ids, F32 for inputs that op_time_embedding reads, and F32 for outputs written by
 *    conv2d and linear when the back end declares FUSE_F32_OUTPUT. backend_class.write() gets the
 *    host's F32 (or I32) and converts to the stored format; read() converts back to F32.
 *
 * What a node computes, with its fused fields (those that do not apply are NULL, false, OP_COUNT):
 *  - conv2d, linear: out = activation(op(input) + bias + broadcast + residual), where
 *      input = in[0], or the nearest 2x upsampling of in[0] (upsample; 3x3, stride 1,
 *      padding 1), or silu(group_norm(in[0]))
 *      (norm; first the norm, then the upsampling);
 *      with geglu the weight has 2N rows, and out [..., N] = (first half) * gelu(second half); then
 *      residual, broadcast and activation are absent.
 *  - group_norm: activation is OP_silu or OP_COUNT. With in[1] the means and variances are those
 *    in it, [B, groups, 2] in F32; with params.moments they are the output, in that form.
 *  - add: in[1] has the shape of in[0], or is [B, C] over [B, ..., C], or [1, L, C] over [B, L, C].
 *  - embedding: ids in[0], table in weight, or rows of the computed table in[1].
 *  - every other op: as in compute/op.def.
 *
 * In place: when the back end declares FUSE_IN_PLACE, the out of silu, gelu, quick_gelu, relu,
 * soft_clamp, scale, add may have the same place as an input of its size that dies there, and the
 * out of a conv2d or linear the same place as its residual (never as its in[0]). Never partly
 * overlapping. Otherwise out overlaps nothing that the node reads.
 */
#pragma once

#include "compute/backend.h"
#include "compute/op.h"

union op_params {
    struct conv2d_params conv2d;       /* stride >= 1 and padding >= 0: defaults are resolved */
    struct attention_params attention; /* scale resolved */
    struct {
        int groups;
        float eps;
        bool moments;    /* the output is what a norm would divide out: see op_group_moments() */
        int first, rows; /* of moments: of which rows of the picture */
    } group_norm;
    struct {
        float eps;
    } layer_norm;
    struct {
        float factor;
    } scale;
    struct {
        bool cos_first;
        float shift;
    } time_embedding;
};

/* A group_norm (+ silu) that a convolution applies to its input (FUSE_NORM_INPUT). */
struct input_norm {
    const struct weight *weight, *bias; /* NULL weight = no such norm, or a norm without scale */
    int groups;                         /* 0 = no norm */
    float eps;
    bool silu;
};

/* One recorded op; the planner fills in the lower half. */
struct node {
    enum op op;
    struct tensor *in[3];
    struct tensor *out;
    const struct weight *weight, *bias;
    union op_params params;
    int mark; /* index of the mark it was recorded under; -1 = none */

    struct tensor *residual;  /* shape of out */
    struct tensor *broadcast; /* [B, C] */
    enum op activation;       /* OP_silu, OP_gelu, OP_quick_gelu, OP_relu; OP_COUNT = none */
    bool geglu;
    bool upsample;
    struct input_norm norm;
};

enum place_kind {
    PLACE_NONE,   /* no memory: fused away, or never used */
    PLACE_ARENA,  /* offset into the program's arena */
    PLACE_KEPT,   /* offset into the program's kept block */
    PLACE_IMPORT, /* the place of another program's tensor: look in from_plan for from_tensor */
};

struct place {
    enum place_kind kind;
    size_t offset, bytes; /* bytes as stored, without padding to the alignment */
    struct program *from; /* PLACE_IMPORT */
    const struct plan *from_plan;
    const struct tensor *from_tensor; /* in from_plan it is PLACE_KEPT */
};

struct plan {
    const char *name; /* of the tape, for messages */
    enum dtype precision;
    struct node *nodes;
    int node_count;
    struct tensor **tensors; /* by id; borrowed from the tape */
    int tensor_count;
    struct place *places; /* by tensor id */
    enum dtype *stores;   /* by tensor id */
    bool *written,
        *read; /* by tensor id: by the host before a run, after one (outputs; not marks) */
    size_t arena_bytes, kept_bytes;
    GPtrArray *weights; /* every struct weight the nodes use, once each, in order of first use */
};

/* Embedded first in each back end's own program. */
struct program {
    struct backend *backend;
    size_t arena_bytes, kept_bytes, weight_bytes; /* as allocated; weights may be shared */
    bool profile;         /* set by the tape: measure each node in the next runs */
    double *node_seconds; /* [plan->node_count], allocated by the tape when profile is set */
    double
        device_seconds; /* that the device worked in the last run, by its own clock; 0 = unknown */
};

static inline const struct tensor *tensor_base(const struct tensor *t)
{
    while (t->view_of)
        t = t->view_of;
    return t;
}

static inline const struct place *plan_place(const struct plan *plan, const struct tensor *t)
{
    return &plan->places[tensor_base(t)->id];
}

static inline enum dtype plan_store(const struct plan *plan, const struct tensor *t)
{
    return plan->stores[tensor_base(t)->id];
}

/* Multiply-adds count as 2; 0 for ops that are not products of matrices. */
double node_flops(const struct node *node);

/* What of a tape the planner looks at. Arrays are borrowed. */
struct recording {
    const char *name;
    const struct node *nodes;
    int node_count;
    struct tensor **tensors;
    int tensor_count;
    const bool *held; /* by tensor id: input, output, kept or read at a mark: never fused away, own
                         place in the kept block */
    const bool *inputs;          /* by tensor id: written by the host; NULL = none */
    const bool *outputs;         /* by tensor id: read by the host */
    const struct place *imports; /* by tensor id: kind PLACE_IMPORT or PLACE_NONE */
};

/*
 * The precision, fusions, alignment and gap are those of a back end. With a gap every tensor has
 * memory of its own, followed by so many bytes that nobody owns. Cannot fail.
 */
struct plan *plan_create(const struct recording *recording, enum dtype precision, unsigned fuse,
                         size_t alignment, size_t gap);
void plan_destroy(struct plan *plan); /* takes NULL */
