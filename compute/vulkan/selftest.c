/*
 * Which kernels a device runs, found by running them: a path must give the results of a plain loop
 * on awkward shapes, and the fastest on a typical layer is taken. Drivers announce matrix units
 * that are slower than plain code, or wrong.
 */
#include "compute/vulkan/internal.h"

#include "compute/op.h"
#include "compute/tape.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

/* Written into the file: results of other kernels than these are not believed. */
#define KERNELS_VERSION 5

struct layer {
    int height, width, inputs, outputs, kernel, stride;
};

struct choice {
    enum path path;
    struct matrix_shape shape;
    double rate;
};

static const char *const path_names[] = {"shared", "register", "matrix", "matrix2"};

float selftest_value(size_t i, unsigned seed)
{
    uint32_t z = (uint32_t)i * 2246822519u + seed * 2654435761u;
    z ^= z >> 15;
    z *= 3266489917u;
    z ^= z >> 13;
    return (float)((int)(z % 128) - 64) / 64;
}

static bool read_values(const struct weight *w, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    (void)error;
    for (size_t i = 0; i < count; i++) {
        float v = selftest_value(first + i, GPOINTER_TO_UINT(w->owner)) / 8;
        if (as == DTYPE_F32)
            ((float *)dst)[i] = v;
        else
            ((uint16_t *)dst)[i] = half_from_float(v);
    }
    return true;
}

static double expected_value(const struct layer *l, int y, int x, int o)
{
    double sum = (double)selftest_value((size_t)o, 3) / 8;
    for (int ky = 0; ky < l->kernel; ky++)
        for (int kx = 0; kx < l->kernel; kx++) {
            int iy = y * l->stride + ky - l->kernel / 2, ix = x * l->stride + kx - l->kernel / 2;
            if (iy < 0 || ix < 0 || iy >= l->height || ix >= l->width)
                continue;
            for (int c = 0; c < l->inputs; c++) {
                size_t in = ((size_t)iy * (size_t)l->width + (size_t)ix) * (size_t)l->inputs;
                size_t w =
                    (((size_t)o * (size_t)l->inputs + (size_t)c) * (size_t)l->kernel + (size_t)ky) *
                        (size_t)l->kernel +
                    (size_t)kx;
                sum += (double)selftest_value(in + (size_t)c, 1) * (double)selftest_value(w, 2) / 8;
            }
        }
    return sum;
}

/* Seconds of the best of a few runs (of one that is slow), and the error of up to 500 outputs
 * (relative to their norm).
 */
static bool run_layer(struct vulkan_backend *b, const struct layer *l, double *seconds,
                      double *difference, GError **error)
{
    struct weight w = {.name = "self-test",
                       .rank = 4,
                       .dims = {l->outputs, l->inputs, l->kernel, l->kernel},
                       .read = read_values,
                       .owner = GUINT_TO_POINTER(2)};
    struct weight bias = {.name = "self-test",
                          .rank = 1,
                          .dims = {l->outputs},
                          .read = read_values,
                          .owner = GUINT_TO_POINTER(3)};
    struct tape *t = tape_create("self-test");
    struct tensor *x =
        tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){1, l->height, l->width, l->inputs});
    struct tensor *y =
        op_conv2d(t, x, &w, &bias, (struct conv2d_params){.stride = l->stride, .padding = -1});
    tape_output(t, "y", y);
    size_t in_count = tensor_count(x), count = tensor_count(y);
    g_autofree float *data = g_new(float, MAX(in_count, count));
    for (size_t i = 0; i < in_count; i++)
        data[i] = selftest_value(i, 1);
    bool good = tape_finish(t, &b->base, NULL, error);
    if (good)
        tape_write(t, "x", data);
    *seconds = 1e9;
    for (int i = 0; good && i < 4 && (i == 0 || *seconds < 0.5); i++) {
        gint64 start = g_get_monotonic_time();
        good = tape_run(t, NULL, error);
        *seconds = MIN(*seconds, (double)(g_get_monotonic_time() - start) * 1e-6);
    }
    if (good) {
        tape_read(t, "y", data);
        double error_sum = 0, norm = 0;
        for (size_t i = 0; i < count; i += MAX(count / 499, 1)) {
            int pixel = (int)(i / (size_t)l->outputs), o = (int)(i % (size_t)l->outputs);
            int line = (int)y->dims[2];
            double e = expected_value(l, pixel / line, pixel % line, o);
            error_sum += ((double)data[i] - e) * ((double)data[i] - e);
            norm += e * e;
        }
        *difference = sqrt(error_sum / norm);
    }
    tape_destroy(t);
    pack_forget_unused(b, false);
    return good;
}

static bool wrong_numbers(const struct vulkan_backend *b, const struct choice *c, double difference,
                          GError **error)
{
    g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                _("“%s” computes wrong numbers with its %s kernels (error %.2g)."), b->d->info.name,
                path_names[c->path], difference);
    return false;
}

/* Right on every shape? Then its rate. Inputs are exact, sums are 32-bit and outputs F32, so that
 * right means 1e-5; a wrong lane or a 16-bit sum gives 1e-3 or more. */
static bool try_path(struct vulkan_backend *b, struct choice *c, bool measure, GError **error)
{
    static const struct layer odd[] = {{9, 7, 20, 36, 3, 1},   {11, 13, 96, 130, 1, 1},
                                       {5, 30, 5, 7, 3, 1},    {9, 21, 96, 64, 3, 1},
                                       {18, 9, 128, 96, 3, 2}, {13, 11, 64, 160, 1, 1}};
    struct layer typical = {32, 32, 320, 320, 3, 1};
    struct layer many = {128, 128, 64, 160, 1, 1}; /* large tiles, where they fill the device */
    double seconds, difference;
    b->path = c->path;
    b->shape = c->shape;
    for (size_t i = 0; i < G_N_ELEMENTS(odd); i++) {
        if (!run_layer(b, &odd[i], &seconds, &difference, error))
            return false;
        if (!(difference < 1e-5))
            return wrong_numbers(b, c, difference, error);
    }
    if (c->path >= PATH_MATRIX) {
        if (!run_layer(b, &many, &seconds, &difference, error))
            return false;
        if (!(difference < 1e-5))
            return wrong_numbers(b, c, difference, error);
        if (!selftest_attention(b, &difference, error))
            return false;
        if (!(difference < SELFTEST_ATTENTION_ERROR))
            return wrong_numbers(b, c, difference, error);
    }
    c->rate = b->rate;
    if (!measure)
        return true;
    if (!run_layer(b, &typical, &seconds, &difference, error))
        return false;
    c->rate = 2.0 * 32 * 32 * 320 * 320 * 9 / seconds;
    return difference < 1e-5;
}

static bool can_register(const struct vulkan_backend *b)
{
    return b->d->texel_kernels && b->d->subgroup_min <= 8 && b->d->subgroup_max >= 8;
}

static bool can_matrix(const struct vulkan_backend *b, const struct matrix_shape *s)
{
    uint32_t local = 4 * b->d->subgroup;
    bool whole =
        32 % s->m == 0 && 32 % s->n == 0 && 32 % s->k == 0 && MIN(MIN(s->m, s->n), s->k) >= 8;
    return b->base.precision == DTYPE_F16 && pipelines_have("conv2d_matrix", "_f16") && whole &&
           local <= b->d->limits.invocations && local <= 512 && b->d->limits.shared >= 32768;
}

static bool can_matrix2(const struct vulkan_backend *b)
{
    return b->base.precision == DTYPE_F16 && pipelines_have("conv2d_matrix2", "_f16") &&
           b->d->matrix2[0].local;
}

static GArray *candidates(const struct vulkan_backend *b)
{
    GArray *list = g_array_new(false, true, sizeof(struct choice));
    struct choice c = {.path = PATH_REGISTER};
    if (can_register(b))
        g_array_append_val(list, c);
    c.path = PATH_SHARED;
    g_array_append_val(list, c);
    struct choice second = {.path = PATH_MATRIX2};
    c.path = PATH_MATRIX;
    for (int i = 0; i < b->d->matrix_count; i++) {
        c.shape = b->d->matrix[i];
        if (!can_matrix(b, &c.shape))
            continue;
        g_array_append_val(list, c);
        if (!second.shape.m) /* for layers that do not fit */
            second.shape = c.shape;
    }
    if (can_matrix2(b))
        g_array_append_val(list, second);
    return list;
}

static void describe(GString *text, const struct choice *c)
{
    static const char *const names[] = {"shared memory", "registers", "cooperative matrix",
                                        "workgroup matrix"};
    g_string_append(text, names[c->path]);
    if (c->shape.m)
        g_string_append_printf(text, " %ux%ux%u", c->shape.m, c->shape.n, c->shape.k);
    g_string_append_printf(text, ", %.3g TFLOP/s", c->rate * 1e-12);
}

static void take(struct vulkan_backend *b, const struct choice *c, bool measured)
{
    b->path = c->path;
    b->shape = c->shape;
    if (measured)
        b->rate = c->rate;
}

static char *file_of(const struct vulkan_backend *b)
{
    return pipelines_cache_path(b->d, ".kernels");
}

/* What is written down, whether or not it can be used now. */
static bool read_choice(GKeyFile *file, const char *group, struct choice *c)
{
    if (g_key_file_get_integer(file, group, "version", NULL) != KERNELS_VERSION)
        return false;
    int p = g_key_file_get_integer(file, group, "path", NULL);
    c->path = p >= 0 && p <= PATH_MATRIX2 ? (enum path)p : PATH_SHARED;
    c->shape.m = (uint32_t)g_key_file_get_integer(file, group, "m", NULL);
    c->shape.n = (uint32_t)g_key_file_get_integer(file, group, "n", NULL);
    c->shape.k = (uint32_t)g_key_file_get_integer(file, group, "k", NULL);
    c->rate = g_key_file_get_double(file, group, "rate", NULL);
    return c->rate > 1e8;
}

void selftest_recall(const struct device *d, char *text, size_t size)
{
    g_autofree char *path = pipelines_cache_path(d, ".kernels");
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GString) found = g_string_new(NULL);
    static const enum dtype precisions[] = {DTYPE_F16, DTYPE_F32};
    g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(precisions); i++) {
        struct choice c;
        if (!read_choice(file, dtype_name(precisions[i]), &c))
            continue;
        g_string_append_printf(found, "%s%s: ", found->len ? "; " : "", dtype_name(precisions[i]));
        describe(found, &c);
    }
    g_strlcpy(text, found->str, size);
}

static bool load(const struct vulkan_backend *b, struct choice *c)
{
    g_autofree char *path = file_of(b);
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL) ||
        !read_choice(file, dtype_name(b->base.precision), c) ||
        (c->path == PATH_REGISTER && !can_register(b)))
        return false;
    bool shaped = c->path == PATH_MATRIX || c->shape.m, listed = !shaped;
    for (int i = 0; i < b->d->matrix_count; i++)
        listed |= memcmp(&b->d->matrix[i], &c->shape, sizeof c->shape) == 0;
    return listed && (!shaped || can_matrix(b, &c->shape)) &&
           (c->path != PATH_MATRIX2 || can_matrix2(b));
}

static void store(const struct vulkan_backend *b, const struct choice *c)
{
    g_autofree char *path = file_of(b), *folder = g_path_get_dirname(path);
    g_autoptr(GKeyFile) file = g_key_file_new();
    const char *group = dtype_name(b->base.precision);
    g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL); /* the other precision's group */
    g_key_file_set_integer(file, group, "version", KERNELS_VERSION);
    g_key_file_set_integer(file, group, "path", (int)c->path);
    g_key_file_set_integer(file, group, "m", (int)c->shape.m);
    g_key_file_set_integer(file, group, "n", (int)c->shape.n);
    g_key_file_set_integer(file, group, "k", (int)c->shape.k);
    g_key_file_set_double(file, group, "rate", c->rate);
    g_autoptr(GError) error = NULL;
    g_mkdir_with_parents(folder, 0700);
    if (!g_key_file_save_to_file(file, path, &error))
        g_debug("self-test: %s", error->message);
}

/*
 * A driver may crash or hang on a kernel. A start that begins to try one is counted before and
 * forgotten after, on the disk, as it may be the desktop that goes: later starts do without kernels
 * that ended one start (matrix kernels, which no machine has run yet) or two (others: somebody may
 * have ended the program in that second), until they are asked to try again.
 */
static char *mark_of(const struct vulkan_backend *b, const struct choice *c)
{
    GString *key = g_string_new(dtype_name(b->base.precision));
    g_string_append_printf(key, "-%s", path_names[c->path]);
    if (c->path == PATH_MATRIX)
        g_string_append_printf(key, "-%ux%ux%u", c->shape.m, c->shape.n, c->shape.k);
    return g_string_free(key, false);
}

static int endings_of(const struct vulkan_backend *b, const struct choice *c)
{
    g_autofree char *path = file_of(b), *mark = mark_of(b, c);
    g_autoptr(GKeyFile) file = g_key_file_new();
    if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL) ||
        g_key_file_get_integer(file, "trying", "version", NULL) != KERNELS_VERSION)
        return 0;
    return g_key_file_get_integer(file, "trying", mark, NULL);
}

static bool is_left_out(const struct vulkan_backend *b, const struct choice *c)
{
    return endings_of(b, c) >= (c->path >= PATH_MATRIX ? 1 : 2);
}

static void set_endings(const struct vulkan_backend *b, const struct choice *c, int count)
{
    g_autofree char *path = file_of(b), *folder = g_path_get_dirname(path), *mark = mark_of(b, c);
    g_autoptr(GKeyFile) file = g_key_file_new();
    g_autoptr(GError) error = NULL;
    gsize bytes;
    g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL);
    if (g_key_file_get_integer(file, "trying", "version", NULL) != KERNELS_VERSION)
        g_key_file_remove_group(file, "trying", NULL); /* of other kernels */
    g_key_file_set_integer(file, "trying", "version", KERNELS_VERSION);
    if (count)
        g_key_file_set_integer(file, "trying", mark, count);
    else
        g_key_file_remove_key(file, "trying", mark, NULL);
    g_autofree char *text = g_key_file_to_data(file, &bytes, NULL);
    g_mkdir_with_parents(folder, 0700);
    if (!g_file_set_contents_full(path, text, (gssize)bytes,
                                  G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE,
                                  0600, &error))
        g_debug("self-test: %s", error->message);
}

/* Tries kernels that nobody has given up, and leaves no mark when it comes back. A device that is
 * lost leaves one. */
static bool try_marked(struct vulkan_backend *b, struct choice *c, bool ended_too, GError **error)
{
    if (is_left_out(b, c) && !ended_too) {
        g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                    _("“%s” crashed or hung while its %s kernels were tried; they are not tried "
                      "again before its driver is another one, or FIGMENT_VULKAN_SELFTEST is "
                      "“again”."),
                    b->d->info.name, path_names[c->path]);
        return false;
    }
    set_endings(b, c, ended_too ? 1 : endings_of(b, c) + 1);
    bool right = try_path(b, c, true, error);
    if (!b->d->lost)
        set_endings(b, c, 0);
    return right;
}

/* Whether matrix kernels of some kind ended a start. */
static bool matrices_ended(const struct vulkan_backend *b, const GArray *list)
{
    for (guint i = 0; i < list->len; i++) {
        const struct choice *c = &g_array_index(list, struct choice, i);
        if (c->path >= PATH_MATRIX && endings_of(b, c) > 0)
            return true;
    }
    return false;
}

/* Unasked, one kind of matrix kernel that ended a start is enough to do without all of them. */
static bool measure_all(struct vulkan_backend *b, bool asked, bool ended_too, GError **error)
{
    struct choice best = {0};
    g_autoptr(GArray) list = candidates(b);
    g_autoptr(GError) first = NULL;
    bool without = !asked && matrices_ended(b, list);
    for (guint i = 0; i < list->len; i++) {
        struct choice *c = &g_array_index(list, struct choice, i);
        g_autoptr(GError) problem = NULL;
        double rate = b->rate;
        if (c->path >= PATH_MATRIX && without)
            continue;
        if (c->path == PATH_MATRIX2) /* what was fastest for the layers that do not fit */
            c->shape = best.shape;
        if (try_marked(b, c, ended_too, &problem)) {
            if (c->rate > best.rate)
                best = *c;
        } else if (b->d->lost) {
            g_propagate_error(error, g_steal_pointer(&problem));
            return false;
        } else if (problem) {
            g_debug("self-test: %s", problem->message);
            if (!first)
                first = g_steal_pointer(&problem);
        }
        b->rate = rate;
        b->scale = 1;
    }
    if (!(best.rate > 0)) {
        if (first)
            g_propagate_error(error, g_steal_pointer(&first));
        else
            g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER, _("“%s” computes wrong numbers."),
                        b->d->info.name);
        return false;
    }
    take(b, &best, true);
    store(b, &best);
    return true;
}

/* What the environment asks for must be there and be right. */
static bool take_wanted(struct vulkan_backend *b, const char *wanted, GError **error)
{
    g_autoptr(GArray) list = candidates(b);
    g_autoptr(GString) names = g_string_new(NULL);
    for (guint i = 0; i < list->len; i++) {
        struct choice *c = &g_array_index(list, struct choice, i);
        g_autofree char *shape =
            g_strdup_printf("matrix:%ux%ux%u", c->shape.m, c->shape.n, c->shape.k);
        if (strcmp(wanted, path_names[c->path]) == 0 ||
            (c->path == PATH_MATRIX && strcmp(wanted, shape) == 0)) {
            if (c->path >= PATH_MATRIX && !try_path(b, c, false, error))
                return false;
            take(b, c, false);
            return true;
        }
        g_string_append_printf(names, "%s%s", names->len ? ", " : "",
                               c->path == PATH_MATRIX ? shape : path_names[c->path]);
    }
    g_set_error(error, VULKAN_ERROR, VULKAN_ERROR_DRIVER,
                "FIGMENT_VULKAN_PATH is “%s”, which “%s” cannot use. It can be: %s.", wanted,
                b->d->info.name, names->str);
    return false;
}

bool selftest_choose(struct vulkan_backend *b, GError **error)
{
    const char *wanted = g_getenv("FIGMENT_VULKAN_PATH");
    const char *asked = g_getenv("FIGMENT_VULKAN_SELFTEST");
    struct choice c = {.path = can_register(b) ? PATH_REGISTER : PATH_SHARED, .rate = b->rate};
    if (wanted && *wanted)
        return take_wanted(b, wanted, error);
    if (asked)
        return measure_all(b, true, strcmp(asked, "again") == 0, error);
    /* A software device has one good path; measuring the others takes seconds. */
    if (b->d->info.kind == VULKAN_SOFTWARE) {
        take(b, &c, false);
        return true;
    }
    if (load(b, &c) && !is_left_out(b, &c)) {
        take(b, &c, true);
        return true;
    }
    return measure_all(b, false, false, error);
}
