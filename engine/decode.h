/*
 * Latents to pictures and back through the autoencoder, with a compiled tape for the last size.
 *
 * A latent that took minutes is not lost to a decoder that fails: a picture that does not fit in
 * memory whole is decoded in strips, then in smaller ones, at last on the CPU in F32, which also
 * helps when the numbers of a short format overflow. Strips have no seams: they come out as in the
 * whole picture, at the price of several times the work. Engine's thread.
 */
#pragma once

#include "compute/backend.h"
#include "vae/tiny.h"
#include "vae/vae.h"

struct decoder;

/* `tiny` (NULL: none) is TAESD, for decoder_quick(). What was done in another way than asked for is
 * told in `notices` (NULL: nowhere), which it keeps a reference of. */
struct decoder *decoder_create(struct backend *backend, const struct vae *vae,
                               const struct tiny *tiny, GPtrArray *notices);
void decoder_destroy(struct decoder *d); /* takes NULL */

/* latent [H, W, L], scaled as the U-Net's, to picture [F*H, F*W, 3], -1 to 1 and a little beyond.
 * Fails when the CPU fails, too, when it is cancelled, or with ENGINE_ERROR_NUMBERS. */
bool decoder_decode(struct decoder *d, const float *latent, int height, int width, float *picture,
                    const int *cancel, GError **error);
/* The same by TAESD: a glimpse in a fraction of the time. False when there is none. */
bool decoder_quick(struct decoder *d, const float *latent, int height, int width, float *picture,
                   const int *cancel, GError **error);
/* picture [F*H, F*W, 3] to the mean of its latent [H, W, L], scaled. Fails when the model has no
 * encoder. */
bool decoder_encode(struct decoder *d, const float *picture, int height, int width, float *latent,
                    const int *cancel, GError **error);
/* Sets the sentence of a picture that holds a NaN or an infinity (ENGINE_ERROR_NUMBERS). */
void decoder_fail_numbers(GError **error);
/* Frees the tapes (their weights stay packed until backend_forget_weights()). */
void decoder_forget(struct decoder *d);

/* Cells a strip of the last picture is high; 0 = it was decoded whole. */
int decoder_strips(const struct decoder *d);
/* Bytes that decoding this size whole, or in strips of `rows` cells (64, 32, 16, 8), takes beside
 * the weights. */
size_t decoder_bytes(const struct decoder *d, int height, int width, int rows);
/* What decoding this size whole takes, and its FLOPs (may be NULL). Nothing is compiled. */
struct tape_memory decoder_memory(const struct decoder *d, int height, int width, double *flops);
/* The rows of a strip (0 = whole) that fit in `budget` bytes; the fewest when none do. */
int decoder_choose(const struct decoder *d, int height, int width, size_t budget);
/* Starts with strips of so many rows at the next picture (0 = whole). */
void decoder_begin(struct decoder *d, int rows);

/* FLOPs of decoding the last size (of one tile, when it was cut). */
double decoder_flops(const struct decoder *d);
void decoder_dump(const struct decoder *d, GString *out);
