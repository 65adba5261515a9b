/*
 * The two halves of a norm, for pictures in strips: op_group_moments over some rows of a picture
 * against sums in doubles, and op_group_norm_given with these numbers against the formula.
 *
 *     test_op_moments cpu:f32 | cpu:bf16 | vulkan:f32 | vulkan:f16
 */
#include "compute/op.h"
#include "compute/poison.h"
#include "compute/tape.h"
#include "tests/backends.h"

#define EPS 1e-6f

struct shape {
    int height, width, channels, groups, first, rows;
    bool silu;
};

/* Multiples of 1/64 below 2 and around 1: exact in F32 and F16. */
static float value_at(size_t i, unsigned seed)
{
    uint32_t z = (uint32_t)i * 2654435761u + seed * 2246822519u;
    z ^= z >> 15;
    z *= 2246822519u;
    return (float)((int)(z >> 25) - 32) / 64;
}

static bool read_values(const struct weight *w, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    (void)as, (void)error;
    for (size_t i = 0; i < count; i++) /* norms read F32 on every back end */
        ((float *)dst)[i] = value_at(first + i, GPOINTER_TO_UINT(w->owner));
    return true;
}

static struct backend *create(const char *name)
{
    GError *error = NULL;
    bool cpu = g_str_has_prefix(name, "cpu");
    struct backend *b = test_backend_create(name, cpu ? "2" : NULL, &error);
    if (!b)
        g_error("no %s: %s", name, error ? error->message : "not in this build");
    return b;
}

/* Runs a finished recording and reads "y". */
static float *run(struct tape *t, struct backend *b, const float *x, const float *moments,
                  struct tensor *y)
{
    GError *error = NULL;
    tape_output(t, "y", y);
    float *out = g_new0(float, tensor_count(y));
    bool ok = tape_finish(t, b, NULL, &error);
    if (ok) {
        tape_write(t, "x", x);
        if (moments)
            tape_write(t, "moments", moments);
        ok = tape_run(t, NULL, &error);
    }
    CHECK(ok, "%s", error ? error->message : "");
    if (ok)
        tape_read(t, "y", out);
    tape_destroy(t);
    return out;
}

static double *expected_moments(const struct shape *s, const float *x)
{
    double *m = g_new0(double, 2 * s->groups);
    int size = s->channels / s->groups;
    for (int pass = 0; pass < 2; pass++)
        for (int g = 0; g < s->groups; g++) {
            double sum = 0;
            for (int p = s->first * s->width; p < (s->first + s->rows) * s->width; p++)
                for (int c = g * size; c < (g + 1) * size; c++) {
                    double v = x[p * s->channels + c];
                    sum += pass ? (v - m[2 * g]) * (v - m[2 * g]) : v;
                }
            m[2 * g + pass] = sum / ((double)size * s->rows * s->width);
        }
    return m;
}

static void try_shape(struct backend *b, const struct shape *s)
{
    int64_t dims[] = {1, s->height, s->width, s->channels}, channels = s->channels;
    size_t count = (size_t)(dims[1] * dims[2] * dims[3]);
    struct weight w = {.name = "w", .rank = 1, .dims = {channels}, .read = read_values};
    struct weight bias = w;
    w.owner = GUINT_TO_POINTER(5);
    bias.owner = GUINT_TO_POINTER(6);
    g_autofree float *x = g_new(float, count), *norm = g_new(float, count);
    for (size_t i = 0; i < count; i++)
        x[i] = value_at(i, 1) + 0.75f;
    g_autofree double *moments = expected_moments(s, x);
    g_autofree float *as_float = g_new(float, 2 * s->groups);
    for (int i = 0; i < 2 * s->groups; i++)
        as_float[i] = (float)moments[i];

    /* Inputs are exact and sums 32-bit in every precision, and moments are stored so. BF16 has no
     * place for 7 bits after the point: its inputs are rounded, to 1 in 512 at most. */
    double bound = b->precision == DTYPE_BF16 ? 1.0 / 512 : 2e-6;
    struct tape *t = tape_create("moments");
    struct tensor *in = tape_input(t, "x", DTYPE_F32, 4, dims);
    struct tensor *y = op_group_moments(t, in, s->groups, s->first, s->rows);
    g_autofree float *got = run(t, b, x, NULL, y);
    double error = check_relative_error(got, as_float, (size_t)(2 * s->groups));
    CHECK(error <= bound, "moments of %dx%dx%d, rows %d+%d: %.3g > %.3g", s->height, s->width,
          s->channels, s->first, s->rows, error, bound);

    int size = s->channels / s->groups;
    for (size_t i = 0; i < count; i++) {
        int c = (int)(i % (size_t)s->channels), g = c / size;
        double v = (x[i] - moments[2 * g]) / sqrt(moments[2 * g + 1] + (double)EPS);
        v = v * value_at((size_t)c, 5) + value_at((size_t)c, 6);
        norm[i] = (float)(s->silu ? v / (1 + exp(-v)) : v);
    }
    t = tape_create("given");
    in = tape_input(t, "x", DTYPE_F32, 4, dims);
    struct tensor *m = tape_input(t, "moments", DTYPE_F32, 3, (int64_t[]){1, s->groups, 2});
    y = op_group_norm_given(t, in, m, &w, &bias, s->groups, EPS);
    g_autofree float *out = run(t, b, x, as_float, s->silu ? op_silu(t, y) : y);
    error = check_relative_error(out, norm, count);
    /* One rounding of the result; of x as well in BF16. */
    bound = b->precision == DTYPE_F32 ? 2e-6 : b->precision == DTYPE_F16 ? 1.0 / 2048 : 1.0 / 128;
    CHECK(error <= bound, "norm of %dx%dx%d: %.3g > %.3g", s->height, s->width, s->channels, error,
          bound);
    backend_forget_weights(b);
}

int main(int argc, char **argv)
{
    static const struct shape shapes[] = {
        {4, 4, 32, 32, 0, 4, false},   {9, 16, 64, 32, 2, 5, true},   {7, 64, 24, 3, 6, 1, false},
        {40, 24, 96, 32, 8, 30, true}, {64, 72, 32, 4, 0, 64, false}, {3, 64, 12, 4, 1, 2, true},
    };
    struct backend *b = create(argc > 1 ? argv[1] : "cpu:f32");
    for (size_t gap = 0; gap < 2; gap++) { /* then among NaNs */
        b->gap = gap * POISON_GAP;
        for (gsize i = 0; i < G_N_ELEMENTS(shapes); i++)
            try_shape(b, &shapes[i]);
    }
    test_backend_destroy(b);
    return check_result();
}
