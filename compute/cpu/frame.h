/*
 * What both own products (direct.c, winograd.c) begin with: the input of a convolution, copied into
 * a frame of zeros, converted, normalized and activated on the way; the statistics of that norm;
 * the bias that sums start from.
 */
#pragma once

#include "compute/cpu/private.h"

/* The small weights of a node; NULL where it has none. */
struct frame_vectors {
    const struct packed *bias, *norm_weight, *norm_bias;
};

struct frame {
    const struct step *step;
    const struct cpu *cpu;
    const struct frame_vectors *vectors;
    struct norm norm;
    enum dtype type;
    const void *in;
    const void *broadcast;          /* [batch][out], or NULL */
    size_t height, width, channels; /* of the input */
    bool pairs;                     /* pixels are pairs of BF16, see kernels.h; else F32 */
    size_t items;                   /* of a pixel */
    size_t scale;                   /* 2: a pixel of the input is four (nearest upsampling) */
    size_t top, left;               /* zeros before the input */
    size_t columns, rows;           /* pixels of one image in `data` */
    size_t image, first;            /* where `data` begins: image, row (those of `top` count) */
    float *data;                    /* [image][rows][columns][items], whatever these are */
};

bool frame_vectors_init(struct frame_vectors *v, struct step *step, const int *cancel,
                        GError **error);
/* Scratch that frame_begin() wants: a multiple of 64 bytes, 0 without a norm. */
size_t frame_norm_bytes(const struct step *step);
/*
 * Finds the data of a run and computes the statistics. The caller sets sizes and `data` then. False
 * when cancelled.
 */
bool frame_begin(struct frame *f, const struct step *step, const struct frame_vectors *vectors,
                 void *norm_scratch, const int *cancel);
/* Pixels of the input from an element on, all of one image, as items. */
void frame_pixels(const struct frame *f, size_t element, size_t pixels, size_t image, float *to);
/* The first rows of so many images. False when cancelled. */
bool frame_fill(const struct frame *f, size_t images, size_t rows, const int *cancel);
/* bias + broadcast of output columns [column, column + n), `out` in all; 0 beyond the last. The
 * broadcast tensor has only the columns of the first half. */
void frame_start_row(const struct frame *f, size_t image, size_t half, size_t out, size_t column,
                     size_t n, float *row);
