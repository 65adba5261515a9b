/*
 * The inside of the CPU back end. A program is a list of steps, one a node of the plan; each kind
 * of step (product.c, attention.c, norm.c, simple.c) has an init, which may pack weights and create
 * primitives, a run and a finish.
 */
#pragma once

#include "compute/cpu/cpu.h"
#include "compute/cpu/kernels.h"
#include "compute/cpu/memory.h"
#include "compute/cpu/onednn_compat.h"
#include "compute/plan.h"

struct cpu_program;
struct step;

struct cpu {
    struct backend base;
    struct dnn *dnn;
    const struct kernels *kernels;
    int threads;
    bool native_bf16; /* oneDNN multiplies BF16; otherwise products convert to F32 and back */
    bool direct;      /* products by own loops (direct.c) instead of oneDNN (product.c):
                         choose_products() */
    bool winograd;    /* and 3x3 convolutions by winograd.c */
    bool pairs;       /* attention and own products multiply pairs of BF16 */
    struct backend_class class; /* what fuses depends on direct */
    GHashTable *packed;         /* set of struct packed, by weight, revision and layout */
    struct memory_pool pool;    /* theirs */
    GPtrArray *programs;
    /* Shared by all programs, as large as the largest needs; nothing in them outlives a step (the
     * scratch) or a run (the arena). */
    void *arena, *scratch;
    size_t arena_bytes, scratch_bytes;
    size_t limit; /* bytes that may be held; 0 = what the machine has */
};

/* How a weight lies in memory. */
enum packing {
    PACK_PLAIN,  /* in file order, one thread reads */
    PACK_ONEDNN, /* in `layout` */
    PACK_FILE,   /* in file order, as products convert it on use (panels.h) */
    /* As products of BF16 read it: panels of pairs (panels.h), of the whole or of its halves. */
    PACK_PAIRS,
    PACK_PAIRS_HALVES,
};

/* A weight in the form some step wants. Owned by the back end, counted by programs. */
struct packed {
    const struct weight *weight;
    unsigned revision;
    enum packing packing;
    struct dnn_layout *layout; /* PACK_ONEDNN only */
    enum dtype dtype;          /* of data; may be BF16 where the layout is F32 (converted on use) */
    int users;
    void *data;
    size_t bytes;
};

struct step_class {
    bool (*run)(struct step *step, const int *cancel, GError **error);
    void (*finish)(struct step *step); /* frees step->state; may be NULL */
};

struct step {
    const struct step_class *class;
    struct cpu_program *program;
    const struct node *node;
    void *state;
};

struct cpu_program {
    struct program base;
    const struct plan *plan;
    struct cpu *cpu;
    struct step *steps;
    int step_count;
    void *kept;
    size_t kept_bytes;
    size_t arena_bytes, scratch_bytes; /* what a run needs of the shared blocks */
    GPtrArray *weights;                /* struct packed, each counted once by this program */
};

/* Where a tensor's bytes are during a run. */
void *step_data(const struct step *step, const struct tensor *x);
static inline enum dtype step_store(const struct step *step, const struct tensor *x)
{
    return plan_store(step->program->plan, x);
}

/* Each run gets at least this much scratch; every call is for the whole step, not added up. */
void step_need_scratch(struct step *step, size_t bytes);
void *step_scratch(const struct step *step);

/*
 * The weight in a packing and format, packed now if it is not yet; kept by the step's program until
 * that is destroyed. NULL with an error on a read error, no memory, or cancel.
 */
const struct packed *step_weight(struct step *step, const struct weight *weight,
                                 enum packing packing, const struct dnn_layout *layout,
                                 enum dtype dtype, const int *cancel, GError **error);
enum dtype cpu_weight_dtype(const struct cpu *cpu, const struct weight *w);
/* Products multiply pairs of BF16. */
static inline bool cpu_pairs(const struct cpu *cpu)
{
    return cpu->pairs && cpu->base.precision == DTYPE_BF16;
}
GHashTable *cpu_packed_table(void);
void cpu_forget_weights(struct backend *backend, bool stale);
size_t cpu_weight_bytes(const struct backend *backend, const struct plan *plan);
/* memory_take() within the limit, counted; cpu_give() is its end. */
void *cpu_take(struct cpu *cpu, size_t bytes, const char *purpose, GError **error);
void cpu_give(struct cpu *cpu, void *block, size_t bytes);
void cpu_count_bytes(struct cpu *cpu, size_t taken, size_t given);

/* n elements at x as F32: x itself, or converted into `row`. */
const float *row_read(const struct cpu *cpu, enum dtype store, const void *x, size_t first,
                      size_t n, float *row);
/* Where to compute n F32 elements that row_write() then brings to their place. */
float *row_target(enum dtype store, void *x, size_t first, float *row);
void row_write(const struct cpu *cpu, enum dtype store, void *x, size_t first, size_t n,
               const float *row);

bool step_cancelled(const int *cancel, GError **error);
/* Always false, with the error that says so. */
bool fail_cancelled(GError **error);

/* A normalization in the making: of a node (norm.c), or of a convolution's input (direct.c). */
struct norm {
    const struct step *step;
    const struct cpu *cpu;
    enum dtype in_type, out_type;
    const void *in;
    void *out;
    const float *weight, *bias;
    size_t groups; /* 0 = a layer_norm */
    float eps;
    size_t batch, rows, channels, chunk_rows, chunks;
    const float *given; /* [batch][groups] means and variances, or NULL: they are computed */
    float *moments;     /* where to put them instead of making factors, or NULL */
    float *shift, *sums, *factors, *offsets, *threads;
};

void norm_describe(struct norm *norm, const struct step *step, const struct tensor *x, int groups,
                   float eps);
size_t norm_scratch(const struct norm *norm); /* bytes */
/*
 * Fills norm->factors and norm->offsets, [batch][channels], inside the scratch: the group_norm is x
 * * factor + offset. norm->in, weight and bias are set by the caller. False when cancelled.
 */
bool norm_statistics(struct norm *norm, float *scratch, const int *cancel);

/* One a kind of node. False with an error. */
/* Whether winograd_init() can make this one; says the same of an image alone and in a batch. */
bool winograd_suits(const struct cpu *cpu, const struct node *n);
bool winograd_init(struct step *step, const int *cancel, GError **error);
bool direct_init(struct step *step, const int *cancel, GError **error);
bool product_init(struct step *step, const int *cancel, GError **error);
bool attention_init(struct step *step, const int *cancel, GError **error);
bool group_norm_init(struct step *step, const int *cancel, GError **error);
bool layer_norm_init(struct step *step, const int *cancel, GError **error);
bool simple_init(struct step *step, const int *cancel, GError **error);
