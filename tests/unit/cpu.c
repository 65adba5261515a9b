/*
 * What the CPU back end promises beyond its arithmetic: weights packed once and shared, memory
 * given back, cancel while packing and while running, errors as sentences, kept values, the same
 * bytes whatever the number of threads.
 */
#include "compute/cpu/cpu.h"
#include "compute/op.h"
#include "compute/tape.h"
#include "tests/check.h"
#include "weights/convert.h"

#include <gio/gio.h>
#include <sys/resource.h>

struct source {
    size_t reads; /* elements */
    bool broken;  /* reading fails */
    int *cancel;  /* set while reading */
};

static bool read_source(const struct weight *weight, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    struct source *s = (struct source *)weight->owner;
    __atomic_fetch_add(&s->reads, count, __ATOMIC_RELAXED);
    if (s->broken) {
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "weights: the file has shrunk");
        return false;
    }
    if (s->cancel)
        g_atomic_int_set(s->cancel, 1);
    for (size_t i = 0; i < count; i++) {
        float x = (float)((int)((first + i) * 37 % 101) - 50) / 256;
        if (as == DTYPE_F32)
            ((float *)dst)[i] = x;
        else
            memset((uint16_t *)dst + i, 0, 2);
    }
    return true;
}

static struct weight make_weight(struct source *s, int64_t out, int64_t in)
{
    return (struct weight){
        .name = "w", .rank = 2, .dims = {out, in}, .read = read_source, .owner = s};
}

static struct backend *open_cpu(enum dtype precision, int threads)
{
    GError *error = NULL;
    struct backend *backend = cpu_backend_create(precision, threads, &error);
    CHECK(backend, "%s", error ? error->message : "");
    g_clear_error(&error);
    return backend;
}

static struct tape *linear_tape(const struct weight *w)
{
    struct tape *t = tape_create("linear");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 2, (int64_t[]){7, w->dims[1]});
    tape_output(t, "out", op_linear(t, op_scale(t, x, 2), w, NULL));
    return t;
}

static void test_sharing(void)
{
    struct backend *backend = open_cpu(DTYPE_F32, 2);
    struct source source = {0};
    struct weight w = make_weight(&source, 96, 64);
    struct tape *first = linear_tape(&w), *second = linear_tape(&w);
    CHECK(tape_finish(first, backend, NULL, NULL), "first");
    size_t reads = source.reads, bytes = backend->bytes_now;
    CHECK(reads == 96 * 64, "%zu elements read", reads);
    CHECK(tape_finish(second, backend, NULL, NULL), "second");
    CHECK(source.reads == reads, "the second tape read again");
    size_t kept = tape_memory(second).kept;
    CHECK(backend->bytes_now == bytes + kept, "%zu more than kept values",
          backend->bytes_now - bytes);
    tape_destroy(first);
    backend_forget_weights(backend);
    float x[7 * 64] = {1}, y[7 * 96];
    tape_write(second, "x", x);
    CHECK(tape_run(second, NULL, NULL), "a weight in use is not forgotten");
    tape_read(second, "out", y);
    CHECK(fabsf(y[1] - 2 * (float)((64 * 37 % 101) - 50) / 256) < 1e-6f, "%g", (double)y[1]);
    w.revision++; /* an add-on changed it: a new tape sees the new values */
    struct tape *third = linear_tape(&w);
    CHECK(tape_finish(third, backend, NULL, NULL) && source.reads == 2 * reads, "%zu",
          source.reads);
    tape_destroy(second);
    tape_destroy(third);
    backend_forget_weights(backend);
    CHECK(backend->bytes_now == 0, "%zu bytes stay", backend->bytes_now);
    CHECK(backend->bytes_peak >= 2 * 96 * 64 * 4, "%zu", backend->bytes_peak);
    backend_destroy(backend);
}

static void test_failures(void)
{
    struct backend *backend = open_cpu(DTYPE_F32, 2);
    struct source broken = {.broken = true};
    struct weight w = make_weight(&broken, 32, 16);
    struct tape *t = linear_tape(&w);
    GError *error = NULL;
    CHECK(!tape_finish(t, backend, NULL, &error), "a broken file");
    CHECK_STR(error ? error->message : NULL, "weights: the file has shrunk");
    g_clear_error(&error);
    tape_destroy(t);

    int cancel = 0;
    struct source slow = {.cancel = &cancel};
    w = make_weight(&slow, 4096, 256);
    t = linear_tape(&w);
    CHECK(!tape_finish(t, backend, &cancel, &error), "cancelled while packing");
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED), "%s",
          error ? error->message : "");
    CHECK(slow.reads < 4096 * 256, "read to the end all the same");
    g_clear_error(&error);
    tape_destroy(t);
    CHECK(backend->bytes_now == 0, "%zu bytes stay", backend->bytes_now);

    struct source good = {0};
    w = make_weight(&good, 10, 8);
    t = tape_create("ids");
    struct tensor *ids = tape_input(t, "ids", DTYPE_I32, 1, (int64_t[]){3});
    tape_output(t, "out", op_embedding(t, ids, &w));
    CHECK(tape_finish(t, backend, NULL, NULL), "embedding");
    tape_write(t, "ids", (int32_t[]){1, 10, 2});
    CHECK(!tape_run(t, NULL, &error), "an id outside the table");
    CHECK_STR(error ? error->message : NULL, "cpu: token 10 is outside 'w', which has 10 rows");
    g_clear_error(&error);
    tape_destroy(t);
    backend_destroy(backend);
}

/* ---- formats of files ---- */

/* A weight of a file: bytes in its format, until an add-on adds a number to all. */
struct stored {
    enum dtype dtype;
    const void *bytes;
    float added;
    size_t as[DTYPE_F8_E5M2 + 1]; /* elements read in each format */
};

static bool read_stored(const struct weight *weight, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    struct stored *s = (struct stored *)weight->owner;
    const char *from = (const char *)s->bytes + first * dtype_size(s->dtype);
    __atomic_fetch_add(&s->as[as], count, __ATOMIC_RELAXED);
    if (!weight->changed)
        return convert_elements(s->dtype, from, as, dst, count);
    g_autofree float *values = g_new(float, count + 1);
    convert_elements(s->dtype, from, DTYPE_F32, values, count);
    for (size_t i = 0; i < count; i++)
        values[i] += s->added;
    if (convert_elements(DTYPE_F32, values, as, dst, count))
        return true;
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_FAILED, "too large for %s", dtype_name(as));
    return false;
}

enum { OUT = 37, IN = 19, KERNEL = 9 }; /* the last panel is not full, nor the last of 8 in a row */

/* A 3x3 convolution of one pixel in the middle: every element of the weight, by its place. */
static float *run_stored(struct backend *backend, const struct weight *w)
{
    struct tape *t = tape_create("stored");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){IN, 3, 3, IN});
    tape_output(t, "out", op_conv2d(t, x, w, NULL, (struct conv2d_params){.padding = 1}));
    GError *error = NULL;
    bool ok = tape_finish(t, backend, NULL, &error);
    CHECK(ok, "%s", error ? error->message : "");
    g_clear_error(&error);
    float *y = g_new0(float, IN *KERNEL *OUT), *pixels = g_new0(float, IN *KERNEL *IN);
    for (size_t i = 0; i < IN; i++)
        pixels[(i * KERNEL + 4) * IN + i] = 1;
    tape_write(t, "x", pixels);
    CHECK(!ok || tape_run(t, NULL, NULL), "run");
    if (ok)
        tape_read(t, "out", y);
    tape_destroy(t);
    g_free(pixels);
    return y;
}

/* Exactly: one product with 1, the rest with 0. What hardware takes for 0 in BF16 aside. */
static void check_stored(const float *y, const struct stored *s, enum dtype kept,
                         enum dtype rounded)
{
    size_t wrong = 0;
    for (size_t o = 0; o < OUT; o++)
        for (size_t i = 0; i < IN; i++)
            for (size_t k = 0; k < KERNEL; k++) {
                float x;
                uint8_t half[4];
                convert_elements(s->dtype,
                                 (const char *)s->bytes +
                                     ((o * IN + i) * KERNEL + k) * dtype_size(s->dtype),
                                 DTYPE_F32, &x, 1);
                x += s->added;
                convert_elements(DTYPE_F32, &x, kept, half, 1);
                convert_elements(kept, half, DTYPE_F32, &x, 1);
                convert_elements(DTYPE_F32, &x, rounded, half, 1);
                convert_elements(rounded, half, DTYPE_F32, &x, 1);
                float got = y[(i * KERNEL + (KERNEL - 1 - k)) * OUT + o];
                wrong += got != x && !(rounded == DTYPE_BF16 && got == 0 && fabsf(x) < 1.2e-38f);
            }
    CHECK(!wrong, "%s: %zu elements", dtype_name(s->dtype), wrong);
}

/* In F32 weights are kept as they are; in BF16 as pairs, which every CPU can be told to use. */
static void test_formats(enum dtype precision)
{
    static const enum dtype formats[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F8_E4M3,
                                         DTYPE_F8_E5M2};
    bool pairs = precision == DTYPE_BF16;
    g_autofree uint8_t *bytes = g_malloc0(OUT * IN * KERNEL * 4);
    for (size_t f = 0; f < G_N_ELEMENTS(formats); f++) {
        struct stored s = {.dtype = formats[f], .bytes = bytes};
        size_t size = dtype_size(s.dtype), count = OUT * IN * KERNEL, most = 0;
        for (size_t i = 0; i < count * size; i++) /* all exponents below 1, all signs, subnormals */
            bytes[i] = (uint8_t)(i % size == size - 1 ? (i / size * 37) & 0xbb : i * 101);
        struct weight w = {.name = "w",
                           .dtype = s.dtype,
                           .rank = 4,
                           .dims = {OUT, IN, 3, 3},
                           .read = read_stored,
                           .owner = &s};
        struct backend *backend = open_cpu(precision, 2);
        size_t before = backend->bytes_now;
        float *first = run_stored(backend, &w);
        size_t kept = backend->bytes_now - before;
        check_stored(first, &s, DTYPE_F32, precision);
        for (size_t k = 0; k < G_N_ELEMENTS(s.as); k++)
            most += s.as[k];
        CHECK(s.as[s.dtype] == most, "%s is not read as it is", dtype_name(s.dtype));
        CHECK(pairs || kept == count * size, "%s: %zu bytes for %zu elements", dtype_name(s.dtype),
              kept, count);

        /* An add-on: more digits than an F8 has; then what F16 cannot hold; then none. */
        static const float added[] = {0.37f, 1e6f};
        for (size_t k = 0; k < G_N_ELEMENTS(added); k++) {
            s.added = added[k];
            w.revision++;
            w.changed = true;
            float *changed = run_stored(backend, &w);
            bool is_f8 = size == 1, half = k == 0 && (is_f8 || (!pairs && size == 2));
            check_stored(changed, &s, half ? DTYPE_F16 : DTYPE_F32, precision);
            g_free(changed);
        }
        s.added = 0;
        w.revision++;
        w.changed = false;
        float *again = run_stored(backend, &w);
        CHECK(memcmp(first, again, (size_t)IN * KERNEL * OUT * sizeof *first) == 0,
              "%s: other bits without the add-on", dtype_name(s.dtype));
        CHECK(backend->bytes_now - before == kept, "%s: %zu bytes stay", dtype_name(s.dtype),
              backend->bytes_now - before - kept);
        g_free(first);
        g_free(again);
        backend_forget_weights(backend);
        backend_destroy(backend);
    }
}

static gpointer cancel_soon(gpointer data)
{
    g_usleep(20000);
    g_atomic_int_set((int *)data, 1);
    return NULL;
}

/* Many minutes of work: the test ends because the cancel is seen inside the kernel. */
static void test_cancel(void)
{
    struct backend *backend = open_cpu(DTYPE_F32, 2);
    struct tape *t = tape_create("long");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 3, (int64_t[]){8, 32768, 64});
    tape_output(t, "out", op_attention(t, x, x, x, (struct attention_params){.heads = 1}));
    GError *error = NULL;
    CHECK(tape_finish(t, backend, NULL, &error), "%s", error ? error->message : "");
    int cancel = 0;
    GThread *thread = g_thread_new("cancel", cancel_soon, &cancel);
    CHECK(!tape_run(t, &cancel, &error), "ran to the end");
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_CANCELLED), "%s",
          error ? error->message : "");
    g_thread_join(thread);
    g_clear_error(&error);
    tape_destroy(t);
    backend_destroy(backend);
}

static void test_kept_values(void)
{
    struct backend *backend = open_cpu(DTYPE_F32, 2);
    struct source source = {0};
    struct weight w = make_weight(&source, 24, 16);
    float x[5 * 16], direct[5 * 24], through[5 * 24];
    for (int i = 0; i < 5 * 16; i++)
        x[i] = (float)(i % 13) - 6;
    struct tape *from = tape_create("from"), *to = tape_create("to");
    struct tensor *y = tape_input(from, "x", DTYPE_F32, 2, (int64_t[]){5, 16});
    tape_mark(from, "product");
    y = op_linear(from, y, &w, NULL);
    tape_keep(from, "y", y);
    tape_mark(from, "doubled");
    tape_output(from, "out", op_scale(from, y, 2));
    tape_keep_marks(from);
    CHECK(tape_finish(from, backend, NULL, NULL), "from");
    tape_output(to, "out", op_scale(to, tape_import(to, from, "y"), 2));
    CHECK(tape_finish(to, backend, NULL, NULL), "to");
    tape_write(from, "x", x);
    CHECK(tape_run(from, NULL, NULL) && tape_run(to, NULL, NULL), "run");
    tape_read(from, "out", direct);
    tape_read(to, "out", through);
    CHECK(memcmp(direct, through, sizeof direct) == 0, "an imported value is the kept value");
    int rank;
    int64_t dims[4];
    g_autofree float *mark = tape_read_mark(from, "product", &rank, dims);
    CHECK(mark && rank == 2 && dims[1] == 24 && mark[3] * 2 == direct[3], "value of a mark");
    tape_destroy(to);
    tape_destroy(from);
    backend_destroy(backend);
}

static void run_net(int threads, float *out, size_t count)
{
    struct backend *backend = open_cpu(DTYPE_F32, threads);
    struct source source = {0};
    struct weight w = make_weight(&source, 40, 40), big = make_weight(&source, 40, 40);
    big.rank = 4;
    big.dims[2] = big.dims[3] = 3;
    struct tape *t = tape_create("net");
    struct tensor *x = tape_input(t, "x", DTYPE_F32, 4, (int64_t[]){1, 21, 19, 40});
    struct tensor *y = op_silu(t, op_group_norm(t, x, NULL, NULL, 8, 1e-5f));
    y = op_conv2d(t, y, &big, NULL, (struct conv2d_params){.padding = -1});
    y = op_reshape(t, y, 3, (int64_t[]){1, 21 * 19, 40});
    y = op_attention(t, y, y, y, (struct attention_params){.heads = 4});
    y = op_layer_norm(t, op_linear(t, y, &w, NULL), NULL, NULL, 1e-5f);
    tape_output(t, "out", y);
    CHECK(tape_finish(t, backend, NULL, NULL), "finish");
    g_autofree float *data = g_new(float, count);
    for (size_t i = 0; i < count; i++)
        data[i] = sinf((float)i);
    tape_write(t, "x", data);
    CHECK(tape_run(t, NULL, NULL), "run");
    tape_read(t, "out", out);
    tape_destroy(t);
    backend_destroy(backend);
}

static void test_threads(void)
{
    const size_t count = 21 * 19 * 40;
    g_autofree float *one = g_new0(float, count), *three = g_new0(float, count);
    g_setenv("FIGMENT_CPU_PRODUCTS", "own", TRUE); /* oneDNN may cut its sums by threads */
    run_net(1, one, count);
    run_net(3, three, count);
    g_unsetenv("FIGMENT_CPU_PRODUCTS");
    CHECK(memcmp(one, three, count * sizeof *one) == 0, "the number of threads shows");
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* GCC's name; a sanitizer needs terabytes of addresses */
#endif
#endif

/* Last: the limit stays. oneDNN's code generator would crash without addresses to work in. */
static void test_address_space(void)
{
#if !defined(__SANITIZE_ADDRESS__)
    struct rlimit limit = {.rlim_cur = 64 << 20, .rlim_max = RLIM_INFINITY};
    GError *error = NULL;
    if (setrlimit(RLIMIT_AS, &limit) != 0)
        return;
    CHECK(!cpu_backend_create(DTYPE_F32, 1, &error), "created without address space");
    CHECK(g_error_matches(error, G_IO_ERROR, G_IO_ERROR_NO_SPACE) &&
              strstr(error->message, "ulimit -v"),
          "%s", error ? error->message : "");
    g_clear_error(&error);
#endif
}

int main(void)
{
    test_sharing();
    test_failures();
    test_formats(DTYPE_F32);
    g_setenv("FIGMENT_CPU_PAIRS", "1", TRUE);
    test_formats(DTYPE_BF16);
    g_unsetenv("FIGMENT_CPU_PAIRS");
    test_cancel();
    test_kept_values();
    test_threads();
    test_address_space();
    return check_result();
}
