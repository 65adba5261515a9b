/*
 * A tape: the recorded forward pass of a network. Recording creates no back-end object and cannot
 * fail line by line (errors are sticky); tape_finish() plans memory and compiles once; tape_run()
 * runs many times.
 *
 *     struct tape *t = tape_create("unet");
 *     struct tensor *x = tape_input(t, "latent", DTYPE_F32, 4, (int64_t[]){2, 64, 64, 4});
 *     tape_output(t, "out", unet_forward(t, unet, x, ...));
 *     if (!tape_finish(t, backend, &error)) ...
 *     tape_write(t, "latent", data); tape_run(t, cancel, &error); tape_read(t, "out", data);
 *
 * One thread at a time. A tape borrows its back end and its weights: destroy it first.
 */
#pragma once

#include "compute/tensor.h"

struct backend;
struct tape;

struct tape *tape_create(const char *name);
void tape_destroy(struct tape *t); /* takes NULL */

/* A value written by the caller before each run. Host format: F32 or I32. */
struct tensor *tape_input(struct tape *t, const char *name, enum dtype dtype, int rank,
                          const int64_t *dims);
/* Makes a value readable by the caller after a run, as F32. */
void tape_output(struct tape *t, const char *name, struct tensor *x);
/*
 * Makes a value of this tape outlive its runs in the back end's memory, so that another tape may
 * import it (a prompt's keys and values, time embeddings). The importing tape must be destroyed
 * before this one.
 */
void tape_keep(struct tape *t, const char *name, struct tensor *x);
struct tensor *tape_import(struct tape *t, struct tape *from, const char *name);

/*
 * Names what follows: profile label, name of a dumped tensor, cancel point, place where a
 * submission may be split.
 */
void tape_mark(struct tape *t, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Makes the sticky error (the first one stays); for forward code that meets an impossible
 * configuration. */
void tape_fail(struct tape *t, const char *format, ...) G_GNUC_PRINTF(2, 3);

/*
 * Plans (lifetimes, arena, fusion), packs weights that are not packed yet, compiles. `cancel` may
 * be NULL; it is read between weights. Fails with the sticky error, an out-of-memory sentence, a
 * read error of a weight, or "cancelled" (G_IO_ERROR, G_IO_ERROR_CANCELLED). A tape that failed can
 * only be destroyed.
 */
bool tape_finish(struct tape *t, struct backend *backend, const int *cancel, GError **error);

/*
 * Runs. `cancel`, when not NULL, is read (g_atomic_int_get) at marks and between long kernels:
 * nonzero ends the run with G_IO_ERROR_CANCELLED; the tape can run again.
 */
bool tape_run(struct tape *t, const int *cancel, GError **error);

/* Copies a whole input in, or a whole output out. Sizes are the tensor's; names must exist
 * (programmer error). */
void tape_write(struct tape *t, const char *name, const void *data);
void tape_read(struct tape *t, const char *name, float *data);

/* Values after a run under the names of the marks (debugging, golden tests): only when asked for
 * before tape_finish(). */
void tape_keep_marks(struct tape *t);
/* The last value recorded under mark `mark` (before the next mark); dims are filled in, data is F32
 * (g_free), or NULL when there is none. */
float *tape_read_mark(struct tape *t, const char *mark, int *rank, int64_t *dims);

struct tape_memory {
    size_t arena;   /* bytes of activations */
    size_t kept;    /* inputs, outputs, kept values */
    size_t weights; /* packed weights this tape uses (may be shared with other tapes) */
};
struct tape_memory tape_memory(const struct tape *t);
/* The same before tape_finish(), as it would be on this back end, without the back end's scratch;
 * zeros for a tape with an error. Cheap: nothing is read, nothing compiled. */
struct tape_memory tape_estimate(struct tape *t, struct backend *backend);

/* Prints the network: marks, ops, shapes, arena places, memory, FLOPs. Works before tape_finish()
 * (shapes only). */
void tape_dump(const struct tape *t, GString *out);
/* Multiply-adds count as 2. */
double tape_flops(const struct tape *t);
/* Whether runs are measured. */
void tape_profile(struct tape *t, bool on);
/* Seconds and FLOPs of the last run in the kinds of ops from `first` to `last` of enum op; false
 * when nothing was measured. */
bool tape_profile_ops(const struct tape *t, int first, int last, double *seconds, double *flops);
/* Seconds that the device worked in the last run, by its own clock; 0 = it has none. */
double tape_device_seconds(const struct tape *t);
