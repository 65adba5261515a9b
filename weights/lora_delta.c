/*
 * The numbers of add-ons: rows of U D (LoRA), of (U1 D1) * (U2 D2) (LoHa), of a Kronecker product
 * (LoKr), or a difference from the file, added to a run of a parameter's elements. Matrices are
 * [out, inner], where inner is in * kh * kw of a convolution. A product costs 2 r operations an
 * element: it is the whole cost of applying a LoRA, hence the vectors.
 */
#include "weights/convert.h"
#include "weights/lora_private.h"
#include "weights/quote.h"

#include <float.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#define HAVE_AVX2 1
#endif

/* A factor in F32, [rows, columns]. */
struct factor {
    float *values;
    size_t rows, columns;
};

/* What is loaded for one run of elements. */
struct factors {
    struct factor up, down;   /* PRODUCT; HADAMARD; KRONECKER: the small and the large matrix */
    struct factor up2, down2; /* HADAMARD */
    float *difference;
};

static float *load_tensor(const struct lora *l, const struct st_tensor *t, size_t first,
                          size_t count, GError **error)
{
    enum dtype dtype = t->dtype == ST_F32 ? DTYPE_F32 : t->dtype == ST_F16 ? DTYPE_F16 : DTYPE_BF16;
    size_t size = dtype_size(dtype);
    g_autofree void *raw = g_try_malloc(count * size + 1);
    g_autofree float *values = g_try_new(float, count + 1);
    if (!raw || !values) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NO_MEMORY,
                    _("There is not enough memory to apply a LoRA."));
        return NULL;
    }
    if (!safetensors_read(l->file, t->offset + first * size, raw, count * size, error))
        return NULL;
    convert_elements(dtype, raw, DTYPE_F32, values, count);
    return g_steal_pointer(&values);
}

static bool load_factor(struct factor *f, const struct lora *l, const struct st_tensor *t,
                        GError **error)
{
    f->rows = (size_t)t->dims[0];
    f->columns = (size_t)t->count / f->rows;
    f->values = load_tensor(l, t, 0, (size_t)t->count, error);
    return f->values != NULL;
}

static void transpose(struct factor *f)
{
    float *v = g_new(float, f->rows * f->columns);
    for (size_t i = 0; i < f->rows; i++)
        for (size_t j = 0; j < f->columns; j++)
            v[j * f->rows + i] = f->values[i * f->columns + j];
    g_free(f->values);
    *f = (struct factor){v, f->columns, f->rows};
}

/* core [r1, r2, k], down [r2, in]: sum over r2 of core[a, b, k] down[b, i], [r1, in * k]. */
static void fold_core(const struct factor *core, struct factor *down)
{
    size_t r1 = core->rows, r2 = down->rows, in = down->columns, k = core->columns / r2;
    float *v = g_new0(float, r1 *in *k);
    for (size_t a = 0; a < r1; a++)
        for (size_t b = 0; b < r2; b++)
            for (size_t i = 0; i < in; i++)
                for (size_t n = 0; n < k; n++)
                    v[(a * in + i) * k + n] +=
                        core->values[(a * r2 + b) * k + n] * down->values[b * in + i];
    g_free(down->values);
    *down = (struct factor){v, r1, in * k};
}

/* up [out, r] and down [r, inner]; with a core, up may be stored the other way (LyCORIS). */
static bool load_pair(struct factor *up, struct factor *down, const struct lora *l,
                      const struct lora_module *m, enum lora_role up_role, enum lora_role down_role,
                      enum lora_role core_role, bool up_transposed, GError **error)
{
    if (!load_factor(up, l, m->role[up_role], error) ||
        !load_factor(down, l, m->role[down_role], error))
        return false;
    if (!m->role[core_role])
        return true;
    struct factor core = {0};
    if (!load_factor(&core, l, m->role[core_role], error))
        return false;
    fold_core(&core, down);
    if (up_transposed)
        transpose(up);
    g_free(core.values);
    return true;
}

static void multiply(struct factor *a, struct factor *b)
{
    float *v = g_new0(float, a->rows * b->columns);
    for (size_t i = 0; i < a->rows; i++)
        for (size_t k = 0; k < a->columns; k++)
            for (size_t j = 0; j < b->columns; j++)
                v[i * b->columns + j] +=
                    a->values[i * a->columns + k] * b->values[k * b->columns + j];
    g_free(a->values);
    *a = (struct factor){v, a->rows, b->columns};
    g_clear_pointer(&b->values, g_free);
}

/* A LoKr matrix, whole or as a product. */
static bool load_kron(struct factor *f, const struct lora *l, const struct lora_module *m,
                      enum lora_role whole, enum lora_role a, enum lora_role b, enum lora_role core,
                      GError **error)
{
    if (m->role[whole])
        return load_factor(f, l, m->role[whole], error);
    struct factor right = {0};
    bool ok = load_pair(f, &right, l, m, a, b, core, true, error);
    if (ok)
        multiply(f, &right);
    g_free(right.values);
    return ok;
}

static void factors_free(struct factors *f)
{
    g_free(f->up.values);
    g_free(f->down.values);
    g_free(f->up2.values);
    g_free(f->down2.values);
    g_free(f->difference);
}

static bool factors_load(struct factors *f, const struct lora_delta *d, size_t first, size_t count,
                         GError **error)
{
    const struct lora_module *m = d->module;
    const struct lora *l = d->lora;
    *f = (struct factors){0};
    if (d->bias || m->kind == LORA_DIFFERENCE) {
        f->difference =
            load_tensor(l, m->role[d->bias ? DIFF_BIAS : DIFF_WEIGHT], first, count, error);
        return f->difference != NULL;
    }
    switch (m->kind) {
    case LORA_PRODUCT:
        return load_pair(&f->up, &f->down, l, m, LORA_UP, LORA_DOWN, LORA_MID, false, error);
    case LORA_HADAMARD:
        return load_pair(&f->up, &f->down, l, m, HADA_W1A, HADA_W1B, HADA_T1, true, error) &&
               load_pair(&f->up2, &f->down2, l, m, HADA_W2A, HADA_W2B, HADA_T2, true, error);
    case LORA_KRONECKER:
        /* The first matrix has no core: any role that its modules lack stands for none. */
        return load_kron(&f->up, l, m, LOKR_W1, LOKR_W1A, LOKR_W1B, LORA_MID, error) &&
               load_kron(&f->down, l, m, LOKR_W2, LOKR_W2A, LOKR_W2B, LOKR_T2, error);
    case LORA_DIFFERENCE:
        break;
    }
    return false;
}

typedef float vec __attribute__((vector_size(32), aligned(4)));
enum { LANES = 8, ROWS = 4, TILE = 2 * LANES, STRIP = 4 * TILE };

/* y[rows, n] += s * u[rows, r] d[r, n], without vectors: the edges. */
static inline __attribute__((always_inline)) void product_edge(const float *u, size_t r,
                                                               const float *d, size_t stride,
                                                               size_t rows, size_t n, float s,
                                                               float *y, size_t y_stride)
{
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++) {
            float sum = 0;
            for (size_t k = 0; k < r; k++)
                sum += u[i * r + k] * d[k * stride + j];
            y[i * y_stride + j] += s * sum;
        }
}

/* ROWS rows and TILE columns stay in registers while k runs. */
static inline __attribute__((always_inline)) void product_tile(const float *u, size_t r,
                                                               const float *d, size_t stride,
                                                               float s, float *y, size_t y_stride)
{
    vec sum[ROWS][2] = {{{0}}};
    for (size_t k = 0; k < r; k++) {
        vec d0 = *(const vec *)(d + k * stride), d1 = *(const vec *)(d + k * stride + LANES);
        for (int row = 0; row < ROWS; row++) {
            float c = u[(size_t)row * r + k];
            sum[row][0] += c * d0;
            sum[row][1] += c * d1;
        }
    }
    for (size_t row = 0; row < ROWS; row++) {
        float *to = y + row * y_stride;
        *(vec *)to += s * sum[row][0];
        *(vec *)(to + LANES) += s * sum[row][1];
    }
}

/* By strips of STRIP columns, whose part of d stays in the first cache. */
static inline __attribute__((always_inline)) void product_body(const float *u, size_t r,
                                                               const float *d, size_t stride,
                                                               size_t rows, size_t n, float s,
                                                               float *y, size_t y_stride)
{
    size_t whole_rows = rows / ROWS * ROWS, whole = n / TILE * TILE;
    for (size_t strip = 0; strip < whole; strip += STRIP)
        for (size_t i = 0; i < whole_rows; i += ROWS)
            for (size_t j = strip; j < MIN(strip + STRIP, whole); j += TILE)
                product_tile(u + i * r, r, d + j, stride, s, y + i * y_stride + j, y_stride);
    product_edge(u, r, d + whole, stride, whole_rows, n - whole, s, y + whole, y_stride);
    product_edge(u + whole_rows * r, r, d, stride, rows - whole_rows, n, s,
                 y + whole_rows * y_stride, y_stride);
}

#ifdef HAVE_AVX2
__attribute__((target("avx2,fma"))) static void product_avx2(const float *u, size_t r,
                                                             const float *d, size_t stride,
                                                             size_t rows, size_t n, float s,
                                                             float *y, size_t y_stride)
{
    product_body(u, r, d, stride, rows, n, s, y, y_stride);
}
#endif

static void product(const float *u, size_t r, const float *d, size_t stride, size_t rows, size_t n,
                    float s, float *y, size_t y_stride)
{
#ifdef HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        product_avx2(u, r, d, stride, rows, n, s, y, y_stride);
        return;
    }
#endif
    product_body(u, r, d, stride, rows, n, s, y, y_stride);
}

static void hadamard(const struct factors *f, size_t row, size_t rows, size_t column, size_t n,
                     float s, float *y, size_t y_stride)
{
    g_autofree float *a = g_new(float, ROWS *n), *b = g_new(float, ROWS *n);
    for (size_t i = 0; i < rows; i += ROWS) {
        size_t some = MIN(rows - i, ROWS);
        memset(a, 0, some * n * sizeof *a);
        memset(b, 0, some * n * sizeof *b);
        product(f->up.values + (row + i) * f->up.columns, f->up.columns, f->down.values + column,
                f->down.columns, some, n, 1, a, n);
        product(f->up2.values + (row + i) * f->up2.columns, f->up2.columns,
                f->down2.values + column, f->down2.columns, some, n, 1, b, n);
        for (size_t k = 0; k < some; k++)
            for (size_t j = 0; j < n; j++)
                y[(i + k) * y_stride + j] += s * a[k * n + j] * b[k * n + j];
    }
}

static void kronecker(const struct factors *f, size_t row, size_t rows, size_t column, size_t n,
                      float s, float *y, size_t y_stride)
{
    size_t large_rows = f->down.rows, width = f->down.columns;
    for (size_t i = 0; i < rows; i++) {
        const float *small = f->up.values + (row + i) / large_rows * f->up.columns;
        const float *large = f->down.values + (row + i) % large_rows * width;
        for (size_t j = 0; j < n; j++)
            y[i * y_stride + j] += s * small[(column + j) / width] * large[(column + j) % width];
    }
}

/* A rectangle of the matrix. */
static void add_rectangle(const struct lora_delta *d, const struct factors *f, size_t row,
                          size_t rows, size_t column, size_t n, float s, float *y)
{
    size_t stride = d->module->inner;
    if (d->module->kind == LORA_PRODUCT)
        product(f->up.values + row * f->up.columns, f->up.columns, f->down.values + column,
                f->down.columns, rows, n, s, y, stride);
    else if (d->module->kind == LORA_HADAMARD)
        hadamard(f, row, rows, column, n, s, y, stride);
    else
        kronecker(f, row, rows, column, n, s, y, stride);
}

struct band {
    const struct lora_delta *delta;
    const struct factors *factors;
    size_t row, rows;
    float strength, *values;
};

static void *run_band(void *data)
{
    const struct band *b = data;
    add_rectangle(b->delta, b->factors, b->row, b->rows, 0, b->delta->module->inner, b->strength,
                  b->values);
    return NULL;
}

/* Whole rows, in bands on all cores. Bands end at multiples of ROWS: their number changes no bit.
 */
static void add_rows(const struct lora_delta *d, const struct factors *f, size_t row, size_t rows,
                     float s, float *values)
{
    enum { MAX_BANDS = 8, WORTH = 4 << 20 /* multiplications: about a millisecond */ };
    struct band bands[MAX_BANDS];
    GThread *threads[MAX_BANDS] = {0};
    size_t inner = d->module->inner, work = rows * inner * MAX(d->module->rank, 1);
    size_t n = MIN(MIN((size_t)g_get_num_processors(), MAX_BANDS), work / WORTH + 1);
    size_t each = ((rows + n - 1) / n + ROWS - 1) / ROWS * ROWS;
    for (size_t i = 0; i < n; i++) {
        size_t first = MIN(i * each, rows);
        bands[i] =
            (struct band){d, f, row + first, MIN(each, rows - first), s, values + first * inner};
        if (i + 1 < n && bands[i].rows)
            threads[i] = g_thread_try_new("lora", run_band, &bands[i], NULL);
    }
    for (size_t i = n; i-- > 0;) /* the last is this thread's own: first, while the others run */
        if (threads[i])
            g_thread_join(threads[i]);
        else if (bands[i].rows)
            run_band(&bands[i]);
}

/* Elements [first, first + count): an end of a row, whole rows, a start of a row. */
static bool add_delta(const struct lora_delta *d, size_t first, size_t count, float strength,
                      float *values, GError **error)
{
    struct factors f;
    float s = strength * (float)d->module->scale;
    bool ok = factors_load(&f, d, first, count, error);
    if (ok && f.difference) {
        for (size_t i = 0; i < count; i++)
            values[i] += strength * f.difference[i];
    } else if (ok) {
        size_t inner = d->module->inner;
        while (count) {
            size_t row = first / inner, column = first % inner;
            bool part = column || count < inner;
            size_t n = part ? MIN(inner - column, count) : inner, rows = part ? 1 : count / inner;
            if (part)
                add_rectangle(d, &f, row, 1, column, n, s, values);
            else
                add_rows(d, &f, row, rows, s, values);
            values += rows * n;
            first += rows * n;
            count -= rows * n;
        }
    }
    factors_free(&f);
    return ok;
}

/* DoRA: magnitude over the norm of W + delta, along each output's or each input's elements. */
static bool make_norms(struct lora_recipe *recipe, struct lora_delta *d, GError **error)
{
    const struct lora_module *m = d->module;
    const struct st_tensor *t = m->role[LORA_DORA];
    size_t in = recipe->entry->weight.rank > 1 ? (size_t)recipe->entry->weight.dims[1] : 1;
    size_t kernel = m->inner / in, n = d->by_input ? in : m->out;
    size_t rows = MAX(((size_t)1 << 22) / m->inner, 1);
    g_autofree float *magnitudes = load_tensor(d->lora, t, 0, n, error);
    g_autofree double *squares = g_new0(double, n);
    g_autofree float *chunk = g_try_new(float, rows * m->inner);
    if (!magnitudes || !chunk)
        return false;
    for (size_t row = 0; row < m->out; row += rows) {
        size_t some = MIN(rows, m->out - row);
        if (!weights_read_unpatched(recipe->entry, row * m->inner, some * m->inner, chunk, error) ||
            !add_delta(d, row * m->inner, some * m->inner, 1, chunk, error))
            return false;
        for (size_t i = 0; i < some * m->inner; i++) {
            size_t at = d->by_input ? i % m->inner / kernel : row + i / m->inner;
            squares[at] += (double)chunk[i] * chunk[i];
        }
    }
    for (size_t i = 0; i < n; i++)
        magnitudes[i] = (float)(magnitudes[i] / (sqrt(squares[i]) + FLT_EPSILON));
    d->norms = g_steal_pointer(&magnitudes);
    return true;
}

/* values += strength * (norm (W + delta) - W) */
static bool add_dora(struct lora_recipe *recipe, struct lora_delta *d, const float *base,
                     size_t first, size_t count, float *values, GError **error)
{
    const struct lora_module *m = d->module;
    size_t in = recipe->entry->weight.rank > 1 ? (size_t)recipe->entry->weight.dims[1] : 1;
    size_t kernel = m->inner / in;
    g_mutex_lock(&recipe->lock);
    bool ok = d->norms || make_norms(recipe, d, error);
    g_mutex_unlock(&recipe->lock);
    g_autofree float *whole = ok ? g_try_new(float, count + 1) : NULL;
    if (!whole) {
        if (ok)
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NO_MEMORY,
                        _("There is not enough memory to apply a LoRA."));
        return false;
    }
    memcpy(whole, base, count * sizeof *whole);
    if (!add_delta(d, first, count, 1, whole, error))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t at = d->by_input ? (first + i) % m->inner / kernel : (first + i) / m->inner;
        values[i] += d->strength * (d->norms[at] * whole[i] - base[i]);
    }
    return true;
}

bool lora_patch(void *data, size_t first, size_t count, float *values, GError **error)
{
    struct lora_recipe *recipe = data;
    g_autofree float *base = NULL;
    for (guint i = 0; i < recipe->deltas->len; i++) {
        struct lora_delta *d = &g_array_index(recipe->deltas, struct lora_delta, i);
        if (!d->module->role[LORA_DORA] || d->bias) {
            if (!add_delta(d, first, count, d->strength, values, error))
                return false;
            continue;
        }
        if (!base) { /* a DoRA is of the file's parameters, whatever else is applied */
            base = g_new(float, count + 1);
            if (!weights_read_unpatched(recipe->entry, first, count, base, error))
                return false;
        }
        if (!add_dora(recipe, d, base, first, count, values, error))
            return false;
    }
    return true;
}
