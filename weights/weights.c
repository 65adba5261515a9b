#include "weights/weights.h"

#include "weights/convert.h"
#include "weights/quote.h"
#include "weights/weights_private.h"

#include <glib/gi18n-lib.h>
#include <string.h>

enum { STAGING = 256 * 1024 }; /* bytes of a file on their way through: stays in the second cache */

static bool map_dtype(enum st_dtype from, enum dtype *to)
{
    switch (from) {
    case ST_F32:
        *to = DTYPE_F32;
        return true;
    case ST_F16:
        *to = DTYPE_F16;
        return true;
    case ST_BF16:
        *to = DTYPE_BF16;
        return true;
    case ST_F64:
        *to = DTYPE_F64;
        return true;
    case ST_F8_E4M3:
        *to = DTYPE_F8_E4M3;
        return true;
    case ST_F8_E5M2:
        *to = DTYPE_F8_E5M2;
        return true;
    default:
        return false;
    }
}

/* Bytes of elements [first, first + count) of the file's order, converted. */
static bool read_plain(const struct entry *e, enum dtype as, size_t first, size_t count, void *dst,
                       bool *finite, GError **error)
{
    enum dtype from = e->weight.dtype;
    size_t in = dtype_size(from), out = dtype_size(as);
    uint64_t offset = e->offset + (uint64_t)first * in;
    if (from == as) {
        if (!safetensors_read(e->file, offset, dst, count * in, error))
            return false;
        *finite &= convert_all_finite(as, dst, count);
        return true;
    }
    g_autofree void *staging = g_malloc(MIN(count * in, STAGING) + 1);
    for (size_t done = 0; done < count;) {
        size_t some = MIN(count - done, STAGING / in);
        if (!safetensors_read(e->file, offset + done * in, staging, some * in, error))
            return false;
        *finite &= convert_elements(from, staging, as, (char *)dst + done * out, some);
        done += some;
    }
    return true;
}

/* A transposed matrix is read whole: there are two of them in a model, of 1280 x 1280 at most. */
static bool read_transposed(const struct entry *e, enum dtype as, size_t first, size_t count,
                            void *dst, bool *finite, GError **error)
{
    size_t rows = (size_t)e->weight.dims[0], columns = (size_t)e->weight.dims[1];
    size_t size = dtype_size(as);
    g_autofree char *all = g_try_malloc(rows * columns * size + 1);
    if (!all) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NO_MEMORY,
                    _("There is not enough memory to read “%s”."), e->weight.name);
        return false;
    }
    if (!read_plain(e, as, 0, rows * columns, all, finite, error))
        return false;
    for (size_t i = 0; i < count; i++) {
        size_t row = (first + i) / columns, column = (first + i) % columns;
        memcpy((char *)dst + i * size, all + (column * rows + row) * size, size);
    }
    return true;
}

static bool read_file(const struct entry *e, enum dtype as, size_t first, size_t count, void *dst,
                      bool *finite, GError **error)
{
    return (e->transposed ? read_transposed : read_plain)(e, as, first, count, dst, finite, error);
}

static bool read_patched(const struct entry *e, enum dtype as, size_t first, size_t count,
                         void *dst, bool *finite, GError **error)
{
    enum { CHUNK = 1 << 22 }; /* elements: a patch loads its factors for each run */
    size_t out = dtype_size(as);
    g_autofree float *values = g_try_new(float, MIN(count, CHUNK) + 1);
    if (!values) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NO_MEMORY,
                    _("There is not enough memory to read “%s”."), e->weight.name);
        return false;
    }
    for (size_t done = 0; done < count;) {
        size_t some = MIN(count - done, CHUNK);
        if (!read_file(e, DTYPE_F32, first + done, some, values, finite, error) ||
            !e->patch(e->patch_data, first + done, some, values, error))
            return false;
        *finite &= convert_elements(DTYPE_F32, values, as, (char *)dst + done * out, some);
        done += some;
    }
    return true;
}

/* How many of the parts in use hold a NaN or an infinity. */
static unsigned count_invalid(const struct weights *w)
{
    enum { CHUNK = 65536 };
    g_autofree float *values = g_new(float, CHUNK);
    unsigned bad = 0;
    for (guint i = 0; i < w->entries->len; i++) {
        const struct entry *e = g_ptr_array_index(w->entries, i);
        if (!e->used || e->unreadable)
            continue;
        bool finite = true;
        size_t all = weight_count(&e->weight);
        for (size_t done = 0; finite && done < all; done += CHUNK)
            if (!read_plain(e, DTYPE_F32, done, MIN(all - done, CHUNK), values, &finite, NULL))
                break;
        bad += !finite;
    }
    return bad;
}

/* ST15, or a number that the back end's format cannot hold. */
static bool refuse_numbers(const struct entry *e, enum dtype as, GError **error)
{
    g_autofree char *source = weights_quote_path(e->set->source);
    /* Several threads may find one at once: the first counts, which takes a while, the others
     * don't. */
    bool first = g_atomic_int_compare_and_exchange(&e->set->invalid_counted, 0, 1);
    unsigned parts = first ? count_invalid(e->set) : 1;
    if (parts)
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    g_dngettext(GETTEXT_PACKAGE,
                                "%s contains invalid numbers in %u part (%s); images would be "
                                "black.",
                                "%s contains invalid numbers in %u parts (one is %s); images would "
                                "be black.",
                                parts),
                    source, parts, e->weight.name);
    else
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
                    _("%s: “%s” holds numbers that are too large for the format %s. Try "
                      "another precision."),
                    source, e->weight.name, dtype_name(as));
    return false;
}

static bool entry_read(const struct weight *weight, enum dtype as, size_t first, size_t count,
                       void *dst, GError **error)
{
    const struct entry *e = (const struct entry *)weight;
    size_t all = weight_count(weight);
    bool finite = true;
    g_return_val_if_fail(first <= all && count <= all - first, false);
    if (!(e->patch ? read_patched : read_file)(e, as, first, count, dst, &finite, error))
        return false;
    return finite || refuse_numbers(e, as, error);
}

unsigned weights_next_revision(void)
{
    static guint last; /* wraps after four thousand million loads; 0 is never given */
    return g_atomic_int_add(&last, 1) + 1;
}

struct weights *weights_new(const char *source)
{
    struct weights *w = g_new0(struct weights, 1);
    w->source = g_strdup(source);
    w->files = g_ptr_array_new_with_free_func((GDestroyNotify)safetensors_close);
    w->entries = g_ptr_array_new();
    return w;
}

void weights_take_file(struct weights *w, struct safetensors *st)
{
    g_ptr_array_add(w->files, st);
}

struct entry *weights_add(struct weights *w, const char *name, struct safetensors *st,
                          const struct st_tensor *t, uint64_t row, uint64_t rows, bool transposed)
{
    struct entry *e = g_new0(struct entry, 1);
    g_assert(!w->sealed);
    e->weight.name = g_strdup(name);
    e->weight.read = entry_read;
    e->weight.owner = w;
    e->weight.revision = weights_next_revision();
    e->set = w;
    e->file = st;
    e->tensor = t;
    e->offset = t->offset;
    e->transposed = transposed;
    e->unreadable = !map_dtype(t->dtype, &e->weight.dtype) || t->rank > TENSOR_MAX_RANK;
    for (unsigned i = 0; i < t->rank && !e->unreadable; i++) {
        e->weight.dims[i] = (int64_t)t->dims[i]; /* a product within the file's size: fits */
        e->weight.rank++;
    }
    if (rows && !e->unreadable) {
        g_assert(t->rank > 0 && row <= t->dims[0] && rows <= t->dims[0] - row);
        e->weight.dims[0] = (int64_t)rows;
        e->offset += t->dims[0] ? t->size / t->dims[0] * row : 0;
    }
    if (transposed && !e->unreadable) {
        g_assert(t->rank == 2 && !rows);
        e->weight.dims[0] = (int64_t)t->dims[1];
        e->weight.dims[1] = (int64_t)t->dims[0];
    }
    g_ptr_array_add(w->entries, e);
    return e;
}

static int by_name(const void *a, const void *b)
{
    const struct entry *x = *(struct entry *const *)a, *y = *(struct entry *const *)b;
    return strcmp(x->weight.name, y->weight.name);
}

static void entry_free(struct entry *e)
{
    if (e->patch_free)
        e->patch_free(e->patch_data);
    g_free((char *)e->weight.name);
    g_free(e);
}

void weights_seal(struct weights *w)
{
    g_ptr_array_sort(w->entries, by_name);
    guint kept = 0;
    for (guint i = 0; i < w->entries->len; i++) {
        const struct entry *e = g_ptr_array_index(w->entries, i);
        /* 0, 1, 2 ... 76, which old files hold: counted here, never read. */
        bool places = g_str_has_suffix(e->weight.name, ".position_ids");
        if (places || (kept && !by_name(&w->entries->pdata[kept - 1], &w->entries->pdata[i])))
            entry_free(g_ptr_array_index(w->entries, i));
        else
            w->entries->pdata[kept++] = w->entries->pdata[i];
    }
    g_ptr_array_set_size(w->entries, (int)kept);
    w->sealed = true;
}

struct weights *weights_open(const char *path, GError **error)
{
    struct safetensors *st = safetensors_open(path, error);
    if (!st)
        return NULL;
    struct weights *w = weights_new(path);
    weights_take_file(w, st);
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        weights_add(w, t->name, st, t, 0, 0, false);
    }
    weights_seal(w);
    return w;
}

void weights_destroy(struct weights *w)
{
    if (!w)
        return;
    for (guint i = 0; i < w->entries->len; i++)
        entry_free(g_ptr_array_index(w->entries, i));
    g_ptr_array_unref(w->entries);
    g_ptr_array_unref(w->files);
    g_free(w->source);
    g_free(w);
}

struct entry *weights_entry(const struct weights *w, const char *name)
{
    guint low = 0, high = w->entries->len;
    g_assert(w->sealed);
    while (low < high) {
        guint mid = low + (high - low) / 2;
        struct entry *e = g_ptr_array_index(w->entries, mid);
        int order = strcmp(name, e->weight.name);
        if (order == 0)
            return e;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct weight *weights_find(struct weights *w, const char *name)
{
    struct entry *e = weights_entry(w, name);
    if (!e || e->unreadable)
        return NULL;
    e->used = true;
    return &e->weight;
}

bool weights_has(const struct weights *w, const char *name)
{
    return weights_entry(w, name) != NULL;
}

const char *weights_source(const struct weights *w)
{
    return w->source;
}

size_t weights_count(const struct weights *w)
{
    return w->entries->len;
}

static size_t entry_bytes(const struct entry *e)
{
    return e->unreadable ? e->tensor->size : weight_count(&e->weight) * dtype_size(e->weight.dtype);
}

size_t weights_bytes(const struct weights *w)
{
    size_t bytes = 0;
    for (guint i = 0; i < w->entries->len; i++)
        bytes += entry_bytes(g_ptr_array_index(w->entries, i));
    return bytes;
}

uint64_t weights_parameters(const struct weights *w)
{
    uint64_t n = 0;
    for (guint i = 0; i < w->entries->len; i++) {
        const struct entry *e = g_ptr_array_index(w->entries, i);
        if (!e->unreadable)
            n += weight_count(&e->weight);
    }
    return n;
}

enum dtype weights_main_dtype(const struct weights *w)
{
    size_t bytes[DTYPE_F8_E5M2 + 1] = {0};
    enum dtype most = DTYPE_F32;
    for (guint i = 0; i < w->entries->len; i++) {
        const struct entry *e = g_ptr_array_index(w->entries, i);
        if (!e->unreadable)
            bytes[e->weight.dtype] += entry_bytes(e);
    }
    for (enum dtype d = 0; d <= DTYPE_F8_E5M2; d++)
        if (bytes[d] > bytes[most])
            most = d;
    return most;
}

GPtrArray *weights_unused(const struct weights *w)
{
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < w->entries->len; i++) {
        const struct entry *e = g_ptr_array_index(w->entries, i);
        if (!e->used)
            g_ptr_array_add(names, (char *)e->weight.name);
    }
    return names;
}

char *weights_unused_sentence(const struct weights *w)
{
    enum { NAMED = 3 };
    g_autoptr(GPtrArray) names = weights_unused(w);
    if (!names->len)
        return NULL;
    g_autofree char *source = weights_quote_path(w->source);
    g_autoptr(GString) list = g_string_new(NULL);
    for (guint i = 0; i < MIN(names->len, NAMED); i++) {
        g_autofree char *name = weights_quote(g_ptr_array_index(names, i), -1);
        g_string_append_printf(list, "%s%s", i ? ", " : "", name);
    }
    g_string_append(list, names->len > NAMED ? ", …" : "");
    return g_strdup_printf(g_dngettext(GETTEXT_PACKAGE, "%u part of %s is not used (%s).",
                                       "%u parts of %s are not used (%s).", names->len),
                           names->len, source, list->str);
}

void weights_set_patch(struct entry *e, weights_patch_func patch, void *data,
                       GDestroyNotify destroy)
{
    if (e->patch_free)
        e->patch_free(e->patch_data);
    e->patch = patch;
    e->patch_data = data;
    e->patch_free = destroy;
    e->weight.revision = weights_next_revision();
    e->weight.changed = patch != NULL;
}

bool weights_read_unpatched(const struct entry *e, size_t first, size_t count, float *values,
                            GError **error)
{
    bool finite = true;
    return read_file(e, DTYPE_F32, first, count, values, &finite, error);
}
