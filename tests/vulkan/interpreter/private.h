/*
 * What the interpreter's files share. A module is decoded once: every result has a fixed place
 * among the cells (32 bits each), as functions of a shader never call themselves. A value takes as
 * many cells as it has scalars; a 16-bit float is kept as the 32-bit float it equals; a matrix has
 * a cell before its elements that tells whether it was written. What a module declares outside of
 * functions is evaluated while it is decoded, into the image that each workgroup begins with.
 */
#pragma once

#include "compute/vulkan/internal.h"
#include "tests/vulkan/interpreter/interpreter.h"

#include <glib.h>

union cell {
    uint32_t u;
    int32_t i;
    float f;
};

/* In cells that nobody wrote: a NaN. In the first cell of a matrix: it was written. */
#define UNWRITTEN 0xffc0dea1u
#define WRITTEN 1u

enum kind {
    KIND_VOID,
    KIND_BOOL,
    KIND_INT,
    KIND_FLOAT,
    KIND_VECTOR,
    KIND_ARRAY,
    KIND_RUNTIME_ARRAY,
    KIND_STRUCT,
    KIND_POINTER,
    KIND_FUNCTION,
    KIND_MATRIX,
    KIND_LAYOUT,
    KIND_VIEW,
};

enum matrix_use { MATRIX_A, MATRIX_B, MATRIX_ACCUMULATOR };

enum storage { /* numbers of the specification */
               STORAGE_INPUT = 1,
               STORAGE_PRIVATE = 6,
               STORAGE_FUNCTION = 7,
               STORAGE_PUSH_CONSTANT = 9,
               STORAGE_BUFFER = 12,
};

#define MAX_DIMENSIONS 5

struct type {
    enum kind kind;
    uint32_t cells;            /* 0 = no value */
    uint32_t width;            /* bits, of a float */
    const struct type *of;     /* component, element, pointee; what a function returns */
    uint32_t count;            /* components, elements, members, dimensions */
    const struct type **types; /* members */
    uint32_t *offsets;         /* bytes, of members in memory */
    uint32_t stride;           /* bytes, of elements in memory; 0 = never in memory */
    enum storage storage;
    uint32_t rows, columns;
    enum matrix_use use;
    uint32_t clamp;      /* of a layout */
    bool has_dimensions; /* of a view */
    uint32_t permutation[MAX_DIMENSIONS];
};

struct thread;
struct instruction;
typedef void (*run_function)(struct thread *t, const struct instruction *i);

/*
 * One instruction of the specification. The form of its operands, a letter each: t result type,
 * r result, v value, l literal, b block, f function, p literal and block, q value and block,
 * M memory operands, V a view if there is one, * the one before any number of times, s skipped.
 */
struct operation {
    uint32_t number;
    const char *name, *form;
    run_function run;
    bool each; /* component by component, of vectors and matrices */
    void (*check)(const struct interpreter *m, const struct instruction *i);
};

#define OPERATION(op, operands, function, ...)                                                     \
    {                                                                                              \
        .number = op, .name = #op, .form = operands, .run = function, __VA_ARGS__                  \
    }

/* A value's place and type; without a type a literal, an instruction's or a function's index. */
struct operand {
    uint32_t at;
    const struct type *type;
};

struct instruction {
    run_function run;
    run_function elements; /* of a matrix: run for its elements */
    const struct operation *operation;
    const struct type *type; /* of the result */
    uint32_t result, id;
    uint32_t count; /* components of the result */
    bool half;      /* they are 16-bit floats */
    uint32_t operand_count;
    struct operand *operands;
};

struct function {
    uint32_t id, first; /* instruction */
    const struct type *type;
    GArray *parameters; /* struct operand */
};

/* What is known of a result. */
struct value {
    const struct type *type; /* itself, when the result is a type */
    uint32_t at;             /* cell, or index of a block's or function's */
    uint32_t operation;      /* which made it; 0 = none yet */
};

struct decoration {
    uint32_t id, member, kind, value;
};

struct interpreter {
    uint32_t *words;
    size_t word_count;
    char *entry;
    const struct interpreter_constant *constants; /* while it is decoded */
    size_t constant_count;
    struct value *values; /* by id */
    uint32_t bound;
    GArray *decorations, *capabilities, *products, *matrices;
    GPtrArray *types, *operand_lists;
    GArray *code;      /* struct instruction */
    GArray *functions; /* struct function */
    GArray *image;     /* union cell: constants and what is global */
    uint32_t cells;    /* with those of functions */
    uint32_t entry_id, entry_function;
    uint32_t size_ids[3], size[3];
    bool writable[INTERPRETER_BINDINGS];
    uint32_t group_at, groups_at; /* cells of the built-in inputs; 0 = not asked for */
};

/* A workgroup that runs. */
struct thread {
    const struct interpreter *m;
    const struct interpreter_dispatch *dispatch;
    struct watches *watches; /* of all threads */
    union cell *cells;
    uint32_t next;            /* instruction */
    uint32_t block, previous; /* instructions that begin them */
    uint32_t depth;           /* of calls */
    bool returned;
    const union cell *value; /* what was returned */
    uint32_t group[3], self; /* self: the number of the workgroup, from 1 */
};

/* What a tensor layout and a view are: SPV_NV_tensor_addressing, "Tensor Layout and View". */
struct tensor_layout {
    uint32_t created; /* WRITTEN */
    uint32_t block_size[MAX_DIMENSIONS];
    uint32_t dimension[MAX_DIMENSIONS];
    uint32_t stride[MAX_DIMENSIONS];
    int32_t offset[MAX_DIMENSIONS];
    uint32_t span[MAX_DIMENSIONS];
    uint32_t clamp_value;
};

struct tensor_view {
    uint32_t created;
    uint32_t dimension[MAX_DIMENSIONS];
    uint32_t stride[MAX_DIMENSIONS];
    uint32_t clip_row_offset, clip_row_span, clip_column_offset, clip_column_span;
};

/* Ends the program: the module is not what this interprets, or an instruction of it went wrong. */
void interpreter_refuse(const struct interpreter *m, const char *format, ...)
    G_GNUC_PRINTF(2, 3) G_GNUC_NORETURN;
void interpreter_fault(const struct thread *t, const struct instruction *i, const char *format, ...)
    G_GNUC_PRINTF(3, 4) G_GNUC_NORETURN;

/* decode.c */
const struct type *interpreter_type(const struct interpreter *m, uint32_t id);
uint32_t interpreter_cells(struct interpreter *m, uint32_t count);
void interpreter_define(struct interpreter *m, uint32_t id, const struct type *type, uint32_t at,
                        uint32_t operation);
void interpreter_decode_operands(struct interpreter *m, struct instruction *i,
                                 const uint32_t *words, uint32_t count);
const struct operation *interpreter_operation(uint32_t number);

/* types.c: what stands outside of functions; false = not such an instruction. */
bool interpreter_declare(struct interpreter *m, const uint32_t *words, uint32_t count);

/* run.c */
void interpreter_call(struct thread *t, const struct function *f);

/* matrix.c: an instruction by components, on the elements of matrices */
void interpreter_run_elements(struct thread *t, const struct instruction *i);
void interpreter_check_conversion(const struct interpreter *m, const struct instruction *i);

/* memory.c */
void interpreter_unwrite(union cell *cells, uint32_t count);
void interpreter_compose(union cell *to, const struct type *type, const union cell *cells,
                         const struct operand *parts, uint32_t count);
/* `bytes` of a buffer from where a pointer points, plus `offset`, to be read or written. */
uint8_t *interpreter_reach(const struct thread *t, const struct instruction *i,
                           const struct operand *pointer, uint64_t offset, uint32_t bytes,
                           bool write);

/* races.c; bytes that are read or written now */
struct watches *interpreter_watch(const struct interpreter *m,
                                  const struct interpreter_dispatch *d);
void interpreter_unwatch(struct watches *w);
void interpreter_note(const struct thread *t, const struct instruction *i, const uint8_t *at,
                      uint32_t bytes, bool write);

/* layout.c: an operand that was created; elements of `count` dimensions, less than 2^32 */
struct tensor_layout interpreter_layout(const struct thread *t, const struct instruction *i,
                                        uint32_t operand);
struct tensor_view interpreter_view(const struct thread *t, const struct instruction *i,
                                    uint32_t operand);
uint32_t interpreter_times(const struct thread *t, const struct instruction *i, uint64_t a,
                           uint32_t b);

/* arithmetic.c */
float interpreter_half(float value); /* rounded to 16 bits, to the nearest, ties to even */
const struct operation *interpreter_extended(uint32_t number);

/* A table of operations ends with one without a name. */
extern const struct operation control_operations[], memory_operations[], arithmetic_operations[],
    matrix_operations[], layout_operations[], tensor_operations[];

static inline const union cell *cells_of(const struct thread *t, const struct instruction *i,
                                         uint32_t operand)
{
    return &t->cells[i->operands[operand].at];
}

static inline union cell *result_of(const struct thread *t, const struct instruction *i)
{
    return &t->cells[i->result];
}
