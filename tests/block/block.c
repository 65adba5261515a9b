#include "tests/block/block.h"

#include "tests/backends.h"
#include "tests/reference.h"
#include "weights/config.h"

#include <fcntl.h>

#define FOLDER "tests/golden/models/"

static const char *choice(int argc, char **argv, int i, const char *variable, const char *usual)
{
    const char *env = g_getenv(variable);
    return argc > i ? argv[i] : env ? env : usual;
}

bool block_test_init(struct block_test *test, int argc, char **argv)
{
    const char *device = choice(argc, argv, 1, "FIGMENT_TEST_DEVICE", "reference");
    const char *precision = choice(argc, argv, 2, "FIGMENT_TEST_PRECISION", "f32");
    enum dtype dtype = test_precision(precision);
    g_autofree char *name = g_strconcat(device, ":", precision, NULL);
    GError *error = NULL;

    *test = (struct block_test){.loosen = 1, .worst_psnr = INFINITY};
    test->backend = g_str_equal(device, "reference") ? reference_backend_create()
                                                     : test_backend_create(name, NULL, &error);
    if (!test->backend || test->backend->precision != dtype) {
        printf("no %s back end for %s here%s%s\n", device, precision, error ? ": " : "",
               error ? error->message : "");
        return false;
    }
    /*
     * F32 sums in another order than PyTorch's: 1e-7 a sum, less than 1e-5 through a whole network,
     * and a wrong epsilon or swapped halves give more than 1e-3. BF16 keeps 8 bits, 4e-3 for each
     * rounding, which grows with the square root of the depth of a residual network. Vulkan's
     * bounds are those of pictures: shaders may use the device's own exp and sin.
     */
    if (!g_str_equal(device, "vulkan"))
        test->relative = dtype == DTYPE_F32 ? 1e-4 : 2e-2;
    else
        test->psnr = dtype == DTYPE_F32 ? 50 : 30;
    return true;
}

bool block_test_finish(struct block_test *test)
{
    printf("%s: worst relative error %.2e, worst PSNR %.1f dB\n", test->backend->label, test->worst,
           test->worst_psnr);
    test_backend_destroy(test->backend);
    return check_failed == 0 && check_passed > 0;
}

struct weights *golden_open(const char *name)
{
    g_autofree char *path = g_strdup_printf(FOLDER "%s.safetensors", name);
    GError *error = NULL;
    struct weights *golden = weights_open(path, &error);
    if (!golden)
        g_error("%s", error->message);
    return golden;
}

json_t *golden_config(const char *name, uint64_t *seed)
{
    g_autofree char *path = g_strdup_printf(FOLDER "%s.json", name);
    GError *error = NULL;
    json_t *json = config_load(AT_FDCWD, path, path, &error);
    if (!json)
        g_error("%s", error->message);
    *seed = (uint64_t)json_integer_value(json_object_get(json, "_seed"));
    return json;
}

float *golden_read(struct weights *golden, const char *name, int *rank, int64_t *dims)
{
    const struct weight *w = weights_find(golden, name);
    GError *error = NULL;
    if (!w)
        return NULL;
    float *values = g_new(float, weight_count(w));
    if (!w->read(w, DTYPE_F32, 0, weight_count(w), values, &error))
        g_error("%s", error->message);
    *rank = w->rank;
    memcpy(dims, w->dims, sizeof w->dims);
    return values;
}

struct tensor *golden_input(struct tape *t, struct weights *golden, const char *name)
{
    const struct weight *w = weights_find(golden, name);
    return w ? tape_input(t, name, DTYPE_F32, w->rank, w->dims) : NULL;
}

void golden_write(struct tape *t, struct weights *golden, const char *name)
{
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    g_autofree float *values = golden_read(golden, name, &rank, dims);
    if (values)
        tape_write(t, name, values);
}

static double psnr(const float *got, const float *expected, size_t n)
{
    double error = 0, low = INFINITY, high = -INFINITY;
    for (size_t i = 0; i < n; i++) {
        error += pow((double)got[i] - expected[i], 2);
        low = MIN(low, expected[i]);
        high = MAX(high, expected[i]);
    }
    return 10 * log10(pow(high - low, 2) / (error / (double)n + 1e-30));
}

void golden_compare(struct block_test *test, struct weights *golden, const char *model,
                    const char *name, const float *got, size_t count)
{
    int rank;
    int64_t dims[TENSOR_MAX_RANK];
    g_autofree float *expected = golden_read(golden, name, &rank, dims);
    CHECK(expected, "%s: there is no golden '%s'", model, name);
    size_t n = expected ? weight_count(weights_find(golden, name)) : 0;
    CHECK(n == count, "%s: %s has %zu values, expected %zu", model, name, count, n);
    if (!n || n != count)
        return;
    double relative = check_relative_error(got, expected, n), db = psnr(got, expected, n);
    if (test->relative)
        CHECK(relative <= test->relative * test->loosen, "%s: %s is off by %.2e", model, name,
              relative);
    if (test->psnr)
        CHECK(db >= test->psnr, "%s: %s: PSNR %.1f dB", model, name, db);
    if (g_getenv("FIGMENT_TEST_VERBOSE"))
        printf("  %-8s %-16s %.2e  %.1f dB\n", model, name, relative, db);
    test->worst = MAX(test->worst, relative);
    test->worst_psnr = MIN(test->worst_psnr, db);
}

void golden_compare_marks(struct block_test *test, struct tape *t, struct weights *golden,
                          const char *model, int marks)
{
    static const char *const names[] = {"conv_in",        "mid",        "out", "vae.mid",
                                        "encode.conv_in", "encode.mid", NULL};
    static const char *const series[] = {"down.%d", "up.%d", "vae.up.%d", "encode.down.%d", NULL};
    g_autoptr(GPtrArray) all = g_ptr_array_new_with_free_func(g_free);
    for (int i = 0; names[i]; i++)
        g_ptr_array_add(all, g_strdup(names[i]));
    for (int i = 0; series[i]; i++)
        for (int j = 0; j < 6; j++) {
            GString *name = g_string_new(series[i]);
            g_autofree char *number = g_strdup_printf("%d", j);
            g_string_replace(name, "%d", number, 0);
            g_ptr_array_add(all, g_string_free(name, FALSE));
        }
    int compared = 0;
    for (guint i = 0; i < all->len; i++) {
        int rank;
        int64_t dims[TENSOR_MAX_RANK];
        if (!weights_has(golden, all->pdata[i]))
            continue;
        g_autofree float *got = tape_read_mark(t, all->pdata[i], &rank, dims);
        if (!got) /* another tape's */
            continue;
        size_t count = 1;
        for (int d = 0; d < rank; d++)
            count *= (size_t)dims[d];
        golden_compare(test, golden, model, all->pdata[i], got, count);
        compared++;
    }
    CHECK(compared >= marks, "%s: %d marks were compared, expected %d", model, compared, marks);
}

void golden_compare_output(struct block_test *test, struct tape *t, struct weights *golden,
                           const char *model, const char *output, const char *name)
{
    const struct weight *w = weights_find(golden, name);
    CHECK(w, "%s: there is no golden '%s'", model, name);
    if (!w)
        return;
    g_autofree float *got = g_new(float, weight_count(w));
    tape_read(t, output, got);
    golden_compare(test, golden, model, name, got, weight_count(w));
}
