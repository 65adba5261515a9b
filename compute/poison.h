/*
 * A debugging aid: FIGMENT_POISON=1 makes a read or a write of memory that an op does not own show.
 * Tensors then never share memory, lie POISON_GAP bytes apart, and everything but a program's
 * inputs is filled with 0xFF before each run, which is a NaN in every format. A kernel that reads
 * behind its tensor gets a NaN, even where it multiplies by 0; one that writes there fails the run.
 * Slow, and needs many times the memory: for tests of small networks.
 */
#pragma once

#include "compute/plan.h"

#define POISON_GAP ((size_t)4096)
#define POISON_BYTE 0xFF

/* POISON_GAP when FIGMENT_POISON is set, else 0: for backend.gap. */
size_t poison_gap(void);

/* Calls fill for every place in the kept block that nodes write, as stored, with its padding. */
typedef void (*poison_fill)(void *data, size_t offset, size_t bytes);
void poison_outputs(const struct plan *plan, poison_fill fill, void *data);

/*
 * After a run: false, with the op's name, when a gap behind a tensor is not as it was filled. Ops
 * may write whole vectors: up to the next multiple of `alignment` nothing is checked. The blocks
 * must be visible to the CPU.
 */
bool poison_intact(const struct plan *plan, size_t alignment, const void *arena, const void *kept,
                   GError **error);
