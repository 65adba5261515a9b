#include "tests/op/op_test.h"

#include "compute/poison.h"
#include "tests/backends.h"

#include <gio/gio.h>

#define GOLDEN "tests/golden/ops.bin"

struct op_value {
    char *name;
    struct weight weight;
    float *data;
    int32_t *ids;
    size_t count;
};

struct golden {
    char *line;
    size_t count, every, sample_count;
    double sum, norm;
    float *samples;
};

static void value_free(gpointer data)
{
    struct op_value *v = (struct op_value *)data;
    g_free(v->name);
    g_free(v->data);
    g_free(v->ids);
    g_free(v);
}

/* value() of make_ops.py. */
static void fill(const char *line, const char *name, double scale, double shift, float *out,
                 size_t n)
{
    g_autofree char *key = g_strdup_printf("%s/%s", line, name);
    guint64 h = 0xCBF29CE484222325u;
    for (const char *c = key; *c; c++)
        h = (h ^ (guint8)*c) * 0x100000001B3u;
    for (size_t i = 0; i < n; i++) {
        guint64 z = h + (i + 1) * 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        z ^= z >> 31;
        out[i] = (float)(((double)(z >> 56) - 128) / 64 * scale + shift);
    }
}

static bool find_key(const char *line, const char *key, const char **value)
{
    g_autofree char *start = g_strdup_printf(" %s=", key);
    const char *found = strstr(line, start);
    *value = found ? found + strlen(start) : NULL;
    return found != NULL;
}

double op_number(const struct op_case *c, const char *key, double otherwise)
{
    const char *value;
    return find_key(c->line, key, &value) ? g_ascii_strtod(value, NULL) : otherwise;
}

int op_int(const struct op_case *c, const char *key, int otherwise)
{
    return (int)op_number(c, key, otherwise);
}

bool op_is(const struct op_case *c, const char *key, const char *expected)
{
    const char *value;
    return find_key(c->line, key, &value) && g_str_has_prefix(value, expected);
}

bool op_is_16bit(const struct op_case *c)
{
    return c->backend->precision != DTYPE_F32;
}

static size_t count_of(int rank, const int64_t *dims)
{
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        n *= (size_t)dims[i];
    return n;
}

static struct op_value *value_new(struct op_case *c, const char *name, double scale, double shift,
                                  size_t count)
{
    struct op_value *v = g_new0(struct op_value, 1);
    v->name = g_strdup(name);
    v->count = count;
    v->data = g_new(float, count);
    fill(c->line, name, scale, shift, v->data, count);
    return v;
}

struct tensor *op_input(struct op_case *c, const char *name, double scale, double shift, int rank,
                        const int64_t *dims)
{
    g_ptr_array_add(c->inputs, value_new(c, name, scale, shift, count_of(rank, dims)));
    return tape_input(c->tape, name, DTYPE_F32, rank, dims);
}

struct tensor *op_ids(struct op_case *c, const char *name, int modulus, int factor, int rank,
                      const int64_t *dims)
{
    struct op_value *v = value_new(c, name, 64, 128, count_of(rank, dims));
    v->ids = g_new(int32_t, v->count);
    for (size_t i = 0; i < v->count; i++)
        v->ids[i] = (int32_t)v->data[i] * factor % modulus;
    g_ptr_array_add(c->inputs, v);
    return tape_input(c->tape, name, DTYPE_I32, rank, dims);
}

struct tensor *op_steps(struct op_case *c, const char *name, int64_t count)
{
    struct op_value *v = value_new(c, name, 64, 128, (size_t)count);
    for (size_t i = 0; i < v->count; i++)
        v->data[i] = (float)((int)v->data[i] * 4 % 1000);
    g_ptr_array_add(c->inputs, v);
    return tape_input(c->tape, name, DTYPE_F32, 1, &count);
}

static uint16_t to_bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if ((bits & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Of the values that tests use: normal or 0. */
static uint16_t to_f16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    bits &= 0x7fffffff;
    if (bits < 0x38800000) {
        CHECK(bits == 0, "%g is too small for f16 here", (double)x);
        return sign;
    }
    bits += 0xfff + (bits >> 13 & 1);
    return (uint16_t)(sign | ((bits >> 13) - 0x1c000));
}

static bool read_weight(const struct weight *weight, enum dtype as, size_t first, size_t count,
                        void *dst, GError **error)
{
    const struct op_value *v = (const struct op_value *)weight->owner;
    (void)error;
    for (size_t i = 0; i < count; i++) {
        float x = v->data[first + i];
        if (as == DTYPE_F32)
            ((float *)dst)[i] = x;
        else if (as == DTYPE_BF16)
            ((uint16_t *)dst)[i] = to_bf16(x);
        else
            ((uint16_t *)dst)[i] = to_f16(x);
    }
    return true;
}

const struct weight *op_weight(struct op_case *c, const char *name, double scale, int rank,
                               const int64_t *dims)
{
    struct op_value *v = value_new(c, name, scale, 0, count_of(rank, dims));
    g_ptr_array_add(c->weights, v);
    v->weight = (struct weight){.name = v->name,
                                .dtype = DTYPE_F32,
                                .rank = rank,
                                .revision = 0,
                                .read = read_weight,
                                .owner = v};
    memcpy(v->weight.dims, dims, sizeof *dims * (size_t)rank);
    return &v->weight;
}

struct tensor *op_rows(struct op_case *c, const char *name, double scale, double shift,
                       int64_t last)
{
    int64_t b = op_int(c, "b", 0), r = op_int(c, "r", 1);
    return b ? op_input(c, name, scale, shift, 3, (int64_t[]){b, r, last})
             : op_input(c, name, scale, shift, 2, (int64_t[]){r, last});
}

/* ---- goldens ---- */

static void golden_free(gpointer data)
{
    struct golden *g = (struct golden *)data;
    g_free(g->line);
    g_free(g->samples);
    g_free(g);
}

static GPtrArray *goldens_read(void)
{
    GPtrArray *goldens = g_ptr_array_new_with_free_func(golden_free);
    FILE *f = fopen(GOLDEN, "rbe");
    char magic[8];
    uint32_t count = 0, n[3];
    bool ok = f && fread(magic, 8, 1, f) == 1 && fread(&count, 4, 1, f) == 1;
    for (uint32_t i = 0; ok && i < count; i++) {
        struct golden *g = g_new0(struct golden, 1);
        g_ptr_array_add(goldens, g);
        uint32_t length = 0;
        ok = fread(&length, 4, 1, f) == 1 && length < 1000;
        g->line = g_malloc0(ok ? length + 1 : 1);
        ok = ok && fread(g->line, length, 1, f) == 1 && fread(n, 4, 3, f) == 3 &&
             fread(&g->sum, 8, 1, f) == 1 && fread(&g->norm, 8, 1, f) == 1 && n[2] <= 100000;
        g->count = ok ? n[0] : 0;
        g->every = ok ? n[1] : 1;
        g->sample_count = ok ? n[2] : 0;
        g->samples = g_new0(float, g->sample_count + 1);
        ok = ok && fread(g->samples, 4, g->sample_count, f) == g->sample_count;
    }
    CHECK(ok, "cannot read %s", GOLDEN);
    if (f)
        fclose(f);
    return goldens;
}

/* ---- running ---- */

static void case_init(struct op_case *c, const char *line, struct backend *backend)
{
    c->line = line;
    c->backend = backend;
    c->tape = tape_create(line);
    c->inputs = g_ptr_array_new_with_free_func(value_free);
    c->weights = g_ptr_array_new_with_free_func(value_free);
}

static void case_finish(struct op_case *c)
{
    tape_destroy(c->tape);
    backend_forget_weights(c->backend);
    g_ptr_array_free(c->inputs, TRUE);
    g_ptr_array_free(c->weights, TRUE);
}

/* The whole output of the case's tape, or NULL with a failed check. */
static float *case_run(struct op_case *c, const struct tensor *out, struct op_value *poison)
{
    GError *error = NULL;
    bool ok = tape_finish(c->tape, c->backend, NULL, &error);
    for (guint i = 0; ok && i < c->inputs->len; i++) {
        const struct op_value *v = c->inputs->pdata[i];
        const struct op_value *data = poison && strcmp(poison->name, v->name) == 0 ? poison : v;
        tape_write(c->tape, v->name, v->ids ? (const void *)v->ids : (const void *)data->data);
    }
    ok = ok && tape_run(c->tape, NULL, &error);
    CHECK(ok, "%s: %s", c->line, error ? error->message : "");
    g_clear_error(&error);
    if (!ok)
        return NULL;
    float *data = g_new(float, tensor_count(out));
    tape_read(c->tape, "out", data);
    return data;
}

/*
 * The bounds on the norm of the error over the norm of the result. Inputs and weights are exact in
 * every format and sums are F32, so F32 leaves the rounding of sums (a few hundred terms: 1e-6 or
 * so) and the elementary functions (2e-7), and the 16-bit formats one rounding of the result (half
 * an ulp: 2^-9 or 2^-12 at most) and of the weights of attention and the scores' sum, which have as
 * many bits again.
 */
static double bound_of(enum dtype precision)
{
    switch (precision) {
    case DTYPE_BF16:
        return 1.0 / 256;
    case DTYPE_F16:
        return 1.0 / 2048;
    default:
        return 5e-6;
    }
}

static void compare(const struct golden *g, const float *got, enum dtype precision)
{
    double bound = bound_of(precision);
    g_autofree float *samples = g_new(float, g->sample_count + 1);
    double sum = 0, norm = 0, absolute = 0;
    for (size_t i = 0; i < g->count; i++) {
        sum += (double)got[i];
        norm += (double)got[i] * (double)got[i];
        absolute += fabs((double)got[i]);
    }
    for (size_t i = 0; i < g->sample_count; i++)
        samples[i] = got[i * g->every];
    double error = check_relative_error(samples, g->samples, g->sample_count);
    CHECK(error <= bound, "%s: relative error %.3g > %.3g (first %g, expected %g)", g->line, error,
          bound, (double)samples[0], (double)g->samples[0]);
    CHECK(fabs(sqrt(norm) - g->norm) <= bound * g->norm + 1e-30, "%s: norm %g, expected %g",
          g->line, sqrt(norm), g->norm);
    CHECK(fabs(sum - g->sum) <= bound * absolute + 1e-30, "%s: sum %g, expected %g", g->line, sum,
          g->sum);
}

/* A NaN in the first input must be seen in the output: it is never turned into a number. */
static void check_nan(const char *line, struct backend *backend)
{
    struct op_case c;
    case_init(&c, line, backend);
    struct tensor *out = op_record(&c);
    struct op_value *first = c.inputs->len ? c.inputs->pdata[0] : NULL;
    if (out && first && !first->ids) {
        tape_output(c.tape, "out", out);
        struct op_value poison = *first;
        poison.data = g_memdup2(first->data, first->count * sizeof(float));
        poison.data[first->count / 2] = NAN;
        g_autofree float *got = case_run(&c, out, &poison);
        size_t found = 0;
        for (size_t i = 0; got && i < tensor_count(out); i++)
            found += isnan(got[i]);
        CHECK(found > 0, "%s: a NaN disappeared", line);
        g_free(poison.data);
    }
    case_finish(&c);
}

static void run_case(const struct golden *g, struct backend *backend)
{
    struct op_case c;
    case_init(&c, g->line, backend);
    struct tensor *out = op_record(&c);
    if (out) {
        CHECK(tensor_count(out) == g->count, "%s: %zu elements, expected %zu", g->line,
              tensor_count(out), g->count);
        tape_output(c.tape, "out", out);
        g_autofree float *got = case_run(&c, out, NULL);
        if (got && tensor_count(out) == g->count)
            compare(g, got, backend->precision);
        GError *error = NULL;
        g_autofree float *again = g_new0(float, tensor_count(out));
        if (got && tape_run(c.tape, NULL, &error)) {
            tape_read(c.tape, "out", again);
            CHECK(memcmp(got, again, tensor_count(out) * sizeof *got) == 0,
                  "%s: the second run differs", g->line);
        }
    }
    case_finish(&c);
}

static struct backend *open_backend(const char *name)
{
    GError *error = NULL;
    bool cpu = g_str_has_prefix(name, "cpu");
    struct backend *backend = test_backend_create(name, cpu ? "2" : NULL, &error);
    if (!backend)
        fprintf(stderr, "no back end '%s': %s\n", name, error ? error->message : "unknown name");
    g_clear_error(&error);
    return backend;
}

static int finish(struct backend *backend)
{
    test_backend_destroy(backend);
    return check_result();
}

/* ---- fused = unfused on the CPU ---- */

static float *run_line(const char *line, struct backend *backend, size_t *count, int *nodes)
{
    struct op_case c;
    case_init(&c, line, backend);
    struct tensor *out = op_record(&c);
    tape_output(c.tape, "out", out);
    float *got = case_run(&c, out, NULL);
    *count = tensor_count(out);
    g_autoptr(GString) text = g_string_new(NULL);
    tape_dump(c.tape, text);
    const char *operations = strstr(text->str, ": ");
    *nodes = operations ? atoi(operations + 2) : 0;
    int cancel = 1;
    GError *error = NULL;
    CHECK(!tape_run(c.tape, &cancel, &error), "%s: ran although cancelled", line);
    CHECK(error && error->code == G_IO_ERROR_CANCELLED, "%s: %s", line,
          error ? error->message : "no error");
    g_clear_error(&error);
    if (got && tape_run(c.tape, NULL, &error)) {
        g_autofree float *again = g_new0(float, *count);
        tape_read(c.tape, "out", again);
        CHECK(memcmp(got, again, *count * sizeof *got) == 0, "%s: differs after a cancel", line);
    }
    case_finish(&c);
    return got;
}

/* FIGMENT_TEST_CASES: only so many lines, for what makes each take minutes (tests/validation.sh).
 */
static size_t most_cases(void)
{
    const char *text = g_getenv("FIGMENT_TEST_CASES");
    return text && atoi(text) > 0 ? (size_t)atoi(text) : SIZE_MAX;
}

/* The CPU back end, F32, that fuses nothing: `class` lives as long. */
static struct backend *open_reference(struct backend_class *class)
{
    GError *error = NULL;
    struct backend *cpu = cpu_backend_create(DTYPE_F32, 2, &error);
    if (!cpu)
        g_error("%s", error->message);
    *class = *cpu->class;
    class->fuse = 0;
    cpu->class = class;
    return cpu;
}

static int compare_lines(const char *backend_name, const char *const *lines, size_t count,
                         bool networks)
{
    struct backend *backend = open_backend(backend_name);
    if (!backend)
        return EXIT_FAILURE;
    struct backend_class plain;
    struct backend *cpu = open_reference(&plain);
    backend->gap = POISON_GAP; /* NaNs around the one, tensors close together in the other */
    for (size_t i = 0; i < MIN(count, most_cases()); i++) {
        size_t n = 0, expected_n = 0;
        int nodes = 0, plain_nodes = 0;
        g_autofree float *got = run_line(lines[i], backend, &n, &nodes);
        g_autofree float *expected = run_line(lines[i], cpu, &expected_n, &plain_nodes);
        CHECK(!networks || nodes < plain_nodes, "%s: nothing was fused (%d of %d)", lines[i], nodes,
              plain_nodes);
        CHECK(got && expected && n == expected_n, "%s: nothing to compare", lines[i]);
        if (!got || !expected || n != expected_n)
            continue;
        /* What is fused is rounded once, as one op is; networks are a few of these in a row. */
        double bound = bound_of(backend->precision);
        if (networks && backend->precision != DTYPE_F32)
            bound *= 4;
        double error = check_relative_error(got, expected, n);
        CHECK(error <= bound, "%s: relative error %.3g > %.3g", lines[i], error, bound);
    }
    backend_destroy(cpu);
    return finish(backend);
}

int op_test_fused(const char *backend, const char *const *lines, size_t count)
{
    return compare_lines(backend, lines, count, true);
}

int op_test_lines(const char *backend, const char *const *lines, size_t count)
{
    return compare_lines(backend, lines, count, false);
}

int op_test_goldens(const char *backend_name)
{
    struct backend *backend = open_backend(backend_name);
    if (!backend)
        return EXIT_FAILURE;
    g_autoptr(GPtrArray) goldens = goldens_read();
    g_autofree char *prefix = g_strdup_printf("%s ", op_under_test);
    size_t cases = 0;
    for (guint i = 0; i < goldens->len && cases < most_cases(); i++) {
        const struct golden *g = goldens->pdata[i];
        if (!g_str_has_prefix(g->line, prefix))
            continue;
        /* Then among NaNs: what an op reads or writes and does not own shows. */
        backend->gap = 0;
        run_case(g, backend);
        backend->gap = POISON_GAP;
        run_case(g, backend);
        check_nan(g->line, backend);
        cases++;
    }
    CHECK(cases > 0, "%s has no case in %s", op_under_test, GOLDEN);
    return finish(backend);
}
