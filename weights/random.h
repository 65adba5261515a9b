/*
 * Parameters without files, for benchmarks and tests of shapes: whatever a network binds exists, in
 * the shape it asks for, drawn from a seeded generator when it is read. Linear and convolution
 * weights keep the size of what goes through them, norms are near 1, biases near 0, and
 * what branches add is half as large as what they are added to, so that a whole U-Net of them stays
 * finite in f16 and loses no more to rounding than a trained one.
 */
#pragma once

#include "weights/weights.h"

/* Counts as stored in `dtype`. Destroy with weights_destroy(). */
struct weights *weights_random(const char *source, enum dtype dtype, uint64_t seed);

/* Makes a parameter that code looks for before it binds it. Dims follow as int. */
void weights_random_add(struct weights *w, const char *name, int rank, ...);
