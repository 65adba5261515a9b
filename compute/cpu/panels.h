/*
 * The weights of a product as kernels.product reads them. For products of F32 they stay in memory
 * as their file has them; a range of output columns at a time is converted into a block that stays
 * in a cache, just before it is used: once for each product, whatever the number of pixels. For
 * products of BF16 they are brought into this form when the model is loaded: it takes no more
 * memory.
 */
#pragma once

#include "compute/cpu/private.h"

enum panels_form {
    PANELS_PLAIN, /* [panel][ky][kx][items][kernels.panel], rows beyond the last are 0 */
    /* The same for the first and the second half of the rows (geglu). */
    PANELS_HALVES,
    /* A 3x3 kernel behind a nearest 2x upsampling as four 2x2 kernels on the small image, one for
     * each parity of the output's row and column: [py][px] of what PANELS_PLAIN is. */
    PANELS_PHASES,
};

struct panels {
    const struct kernels *kernels;
    enum panels_form form;
    size_t halves, phases; /* 1, or 2 and 4 where the form has them */
    size_t panel;          /* columns of one */
    size_t rows, in, taps; /* of the weight; rows of one half */
    size_t count;          /* panels of one half */
    bool pairs;            /* of BF16, see kernels.h; else F32 */
    bool kept;             /* in this form in memory: nothing is converted on use */
    size_t items;          /* of one tap: `in`, or half of it */
    size_t depth;          /* rows of a panel: of one phase */
    size_t range;          /* panels of each half that are converted at once, at most */
    size_t range_bytes;    /* of them all, converted */
    size_t thread_floats;  /* scratch of each thread that fills */
};

void panels_describe(struct panels *s, const struct cpu *cpu, const struct weight *w,
                     enum panels_form form);
/* The weight as it lies in memory for this product; as step_weight(). */
const struct packed *panels_weight(const struct panels *s, struct step *step,
                                   const struct weight *weight, const int *cancel, GError **error);
/* Channels [first, first + count) of one panel as F32, [tap][count][panel]; `first` is even. Not
 * for PANELS_PHASES. */
void panels_read(const struct panels *s, const struct packed *weights, size_t panel, size_t first,
                 size_t count, float *to);
/* Bytes of all, in this form. */
size_t panels_bytes(const struct panels *s);
/*
 * For PACK_PAIRS: panel `index` of [half][count], from its rows in file order and format.
 * `scratch`: thread_floats.
 */
void panels_pack(const struct panels *s, size_t index, enum dtype dtype, const void *rows,
                 uint32_t *to, float *scratch);
/*
 * Panels [first, first + count) of each half to [phase][half][count][depth][panel]. `threads` has
 * room for all threads. False when cancelled.
 */
bool panels_fill(const struct panels *s, const struct packed *weights, size_t first, size_t count,
                 float *to, float *threads, const int *cancel);
