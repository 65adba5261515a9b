#include "weights/lora.h"

#include "weights/convert.h"
#include "weights/lora_private.h"
#include "weights/quote.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

#define MAX_WEIGHT 10.0

static void module_free(void *data)
{
    struct lora_module *m = data;
    g_free(m->name);
    g_free(m);
}

static bool malformed(const struct lora *l, const struct lora_module *m, const char *sentence,
                      GError **error)
{
    g_autofree char *file = weights_quote(safetensors_label(l->file), -1);
    g_autofree char *part = weights_quote(m->name, -1);
    g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE, sentence, file, part);
    return false;
}

/* ---- opening ---- */

/* Collects the tensors of each module. */
static bool collect(struct lora *l, GError **error)
{
    g_autoptr(GHashTable) by_name = g_hash_table_new(g_str_hash, g_str_equal);
    g_autofree char *file = weights_quote(safetensors_label(l->file), -1);
    for (size_t i = 0; i < safetensors_count(l->file); i++) {
        const struct st_tensor *t = safetensors_tensor(l->file, i);
        const char *kind;
        enum lora_role role = 0;
        g_autofree char *name = lora_split_name(t->name, &role, &kind);
        if (kind) { /* L1 */
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
                        _("%s uses %s, not supported yet."), file, _(kind));
            return false;
        }
        if (!name)
            continue; /* bundled embeddings, training state */
        struct lora_module *m = g_hash_table_lookup(by_name, name);
        if (!m) {
            m = g_new0(struct lora_module, 1);
            m->name = g_steal_pointer(&name);
            g_ptr_array_add(l->modules, m);
            g_hash_table_insert(by_name, m->name, m);
        }
        if (m->role[role])
            return malformed(l, m, _("Can't open %s: its part %s is there twice."), error);
        m->role[role] = t;
    }
    if (l->modules->len)
        return true;
    g_set_error(
        error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
        _("Can't open %s: it is no LoRA (none of its tensors is named like a part of one)."), file);
    return false;
}

/* Rank 1 to 8 and not empty, so that rows and columns mean something. */
static bool is_matrix(const struct st_tensor *t)
{
    return t->rank >= 1 && t->count > 0;
}

static size_t rows_of(const struct st_tensor *t)
{
    return (size_t)t->dims[0];
}

static size_t columns_of(const struct st_tensor *t)
{
    return (size_t)(t->count / t->dims[0]);
}

/*
 * up [out, r] and down [r, inner], or with a core [r, r, kernel] around which down is [r, in] and
 * up, in LyCORIS' files, is [r, out].
 */
static bool check_pair(const struct st_tensor *up, const struct st_tensor *down,
                       const struct st_tensor *core, bool up_transposed, size_t *out, size_t *inner,
                       size_t *rank)
{
    if (!up || !down || !is_matrix(up) || !is_matrix(down) || (core && !is_matrix(core)))
        return false;
    bool turned = core && up_transposed;
    *out = turned ? columns_of(up) : rows_of(up);
    size_t up_rank = turned ? rows_of(up) : columns_of(up);
    *rank = rows_of(down);
    *inner = columns_of(down);
    if (core) {
        if (core->rank < 3 || rows_of(core) != up_rank || core->dims[1] != *rank)
            return false;
        *inner *= columns_of(core) / *rank;
        *rank = up_rank;
    }
    return *rank == up_rank && *rank >= 1 && *rank <= MIN(*out, *inner);
}

static bool check_kron(struct lora_module *m)
{
    size_t out1, in1, out2, in2, rank1 = 0, rank2 = 0;
    const struct st_tensor **r = m->role;
    if (r[LOKR_W1] && is_matrix(r[LOKR_W1])) {
        out1 = rows_of(r[LOKR_W1]);
        in1 = columns_of(r[LOKR_W1]);
    } else if (!check_pair(r[LOKR_W1A], r[LOKR_W1B], NULL, false, &out1, &in1, &rank1)) {
        return false;
    }
    if (r[LOKR_W2] && is_matrix(r[LOKR_W2])) {
        out2 = rows_of(r[LOKR_W2]);
        in2 = columns_of(r[LOKR_W2]);
    } else if (!check_pair(r[LOKR_W2A], r[LOKR_W2B], r[LOKR_T2], true, &out2, &in2, &rank2)) {
        return false;
    }
    m->rank = rank2 ? rank2 : rank1; /* none: then alpha has nothing to be divided by */
    return !__builtin_mul_overflow(out1, out2, &m->out) &&
           !__builtin_mul_overflow(in1, in2, &m->inner);
}

/* L2 */
static bool check_shapes(const struct lora *l, struct lora_module *m, GError **error)
{
    const struct st_tensor **r = m->role;
    bool ok = true;
    m->has_weight = true;
    if (r[LORA_DOWN] || r[LORA_UP]) {
        m->kind = LORA_PRODUCT;
        ok = check_pair(r[LORA_UP], r[LORA_DOWN], r[LORA_MID], false, &m->out, &m->inner, &m->rank);
    } else if (r[HADA_W1A] || r[HADA_W1B]) {
        size_t out = 0, inner = 0, rank;
        m->kind = LORA_HADAMARD;
        ok = check_pair(r[HADA_W1A], r[HADA_W1B], r[HADA_T1], true, &m->out, &m->inner, &m->rank) &&
             check_pair(r[HADA_W2A], r[HADA_W2B], r[HADA_T2], true, &out, &inner, &rank) &&
             out == m->out && inner == m->inner && rank == m->rank;
    } else if (r[LOKR_W1] || r[LOKR_W1A]) {
        m->kind = LORA_KRONECKER;
        ok = check_kron(m);
    } else {
        m->kind = LORA_DIFFERENCE;
        m->has_weight = r[DIFF_WEIGHT] != NULL;
        ok = (r[DIFF_WEIGHT] || r[DIFF_BIAS]) && (!r[DIFF_WEIGHT] || is_matrix(r[DIFF_WEIGHT]));
        if (ok && r[DIFF_WEIGHT]) {
            m->out = rows_of(r[DIFF_WEIGHT]);
            m->inner = columns_of(r[DIFF_WEIGHT]);
        }
    }
    if (!ok || (m->kind != LORA_DIFFERENCE && r[DIFF_WEIGHT]))
        return malformed(
            l, m,
            _("Can't open %s: its part %s is incomplete, or its shapes do not belong together."),
            error);
    return true;
}

static bool read_all(const struct lora *l, const struct st_tensor *t, float *values, size_t room,
                     bool *finite, GError **error)
{
    enum dtype dtype = t->dtype == ST_F32 ? DTYPE_F32 : t->dtype == ST_F16 ? DTYPE_F16 : DTYPE_BF16;
    size_t size = dtype_size(dtype);
    for (uint64_t done = 0; done < t->count; done += room) {
        size_t some = (size_t)MIN(t->count - done, room);
        if (!safetensors_read(l->file, t->offset + done * size, values, some * size, error))
            return false;
        *finite &= convert_all_finite(dtype, values, some);
    }
    return true;
}

/* L6; `values` is room for `room` elements. */
static bool check_numbers(const struct lora *l, float *values, size_t room, GError **error)
{
    g_autofree char *file = weights_quote(safetensors_label(l->file), -1);
    unsigned bad = 0;
    for (guint i = 0; i < l->modules->len; i++) {
        const struct lora_module *m = g_ptr_array_index(l->modules, i);
        for (int role = 0; role < LORA_ROLES; role++) {
            const struct st_tensor *t = m->role[role];
            bool finite = true;
            if (!t)
                continue;
            if (role == LORA_ALPHA)
                continue; /* read_alphas() */
            if (t->dtype != ST_F32 && t->dtype != ST_F16 && t->dtype != ST_BF16) {
                g_autofree char *name = weights_quote(t->name, -1);
                g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
                            _("%s uses the number format %s, which this version can't read."), name,
                            st_dtype_name(t->dtype));
                return false;
            }
            if (!read_all(l, t, values, room, &finite, error))
                return false;
            bad += !finite;
        }
    }
    if (bad)
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    g_dngettext(GETTEXT_PACKAGE,
                                "%s contains invalid numbers in %u part; images would be black.",
                                "%s contains invalid numbers in %u parts; images would be black.",
                                bad),
                    file, bad);
    return !bad;
}

/*
 * Alpha of files that newer diffusers wrote: they hold PEFT's configuration as JSON, with a part's
 * name before each key, and alphas of single modules in a pattern.
 */
static double described_alpha(const json_t *description, const char *module)
{
    static const char *const parts[] = {"unet.", "text_encoder.", "text_encoder_2."};
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        if (!g_str_has_prefix(module, parts[i]))
            continue;
        g_autofree char *key = g_strconcat(parts[i], "lora_alpha", NULL);
        g_autofree char *pattern_key = g_strconcat(parts[i], "alpha_pattern", NULL);
        const json_t *pattern = json_object_get(description, pattern_key);
        const json_t *own = json_object_get(pattern, module + strlen(parts[i]));
        const json_t *alpha = own ? own : json_object_get(description, key);
        return json_is_number(alpha) ? json_number_value(alpha) : 0;
    }
    return 0;
}

/* One number in any format that scripts have written; 0 when it is none. */
static double read_scalar(const struct lora *l, const struct st_tensor *t)
{
    union {
        uint8_t bytes[8];
        int32_t i32;
        int64_t i64;
        double f64;
    } raw = {{0}};
    float value = 0;
    if (t->count != 1 || t->size > sizeof raw ||
        !safetensors_read(l->file, t->offset, raw.bytes, (size_t)t->size, NULL))
        return 0;
    switch (t->dtype) {
    case ST_F32:
    case ST_F16:
    case ST_BF16:
        convert_elements(t->dtype == ST_F32   ? DTYPE_F32
                         : t->dtype == ST_F16 ? DTYPE_F16
                                              : DTYPE_BF16,
                         raw.bytes, DTYPE_F32, &value, 1);
        return (double)value;
    case ST_F64:
        return raw.f64;
    case ST_I64:
        return (double)raw.i64;
    case ST_I32:
        return raw.i32;
    default:
        return 0;
    }
}

/* L3 */
static bool read_alphas(struct lora *l, GError **error)
{
    const char *text = safetensors_metadata(l->file, "lora_adapter_metadata");
    json_t *description = text ? json_loads(text, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool ok = true;
    for (guint i = 0; i < l->modules->len && ok; i++) {
        struct lora_module *m = g_ptr_array_index(l->modules, i);
        const struct st_tensor *t = m->role[LORA_ALPHA];
        double alpha = t ? read_scalar(l, t) : described_alpha(description, m->name);
        m->scale = 1;
        ok = !t || (isfinite(alpha) && alpha > 0);
        if (!ok)
            malformed(l, m, _("Can't open %s: its part %s has an impossible alpha."), error);
        if (isfinite(alpha) && alpha > 0 && m->rank)
            m->scale = alpha / (double)m->rank;
    }
    json_decref(description);
    return ok;
}

static enum model_family find_family(const struct lora *l)
{
    for (guint i = 0; i < l->modules->len; i++) {
        const struct lora_module *m = g_ptr_array_index(l->modules, i);
        bool cross =
            g_str_has_suffix(m->name, "attn2_to_k") || g_str_has_suffix(m->name, "attn2.to_k");
        if (!cross || !m->has_weight)
            continue;
        switch (m->inner) {
        case 768:
            return MODEL_SD1;
        case 1024:
            return MODEL_SD2;
        case 2048:
            return MODEL_SDXL;
        case 1280:
            return MODEL_SDXL_REFINER;
        }
    }
    return MODEL_OTHER;
}

struct lora *lora_open(const char *path, GError **error)
{
    enum { ROOM = 65536 };
    struct safetensors *file = safetensors_open(path, error);
    if (!file)
        return NULL;
    struct lora *l = g_new0(struct lora, 1);
    g_autofree float *values = g_new(float, ROOM);
    l->refs = 1;
    l->file = file;
    l->modules = g_ptr_array_new_with_free_func(module_free);
    bool ok = collect(l, error);
    for (guint i = 0; ok && i < l->modules->len; i++)
        ok = check_shapes(l, g_ptr_array_index(l->modules, i), error);
    if (ok && check_numbers(l, values, ROOM, error) && read_alphas(l, error)) {
        l->family = find_family(l);
        return l;
    }
    lora_close(l);
    return NULL;
}

static struct lora *lora_ref(struct lora *l)
{
    g_atomic_int_inc(&l->refs);
    return l;
}

void lora_close(struct lora *l)
{
    if (!l || !g_atomic_int_dec_and_test(&l->refs))
        return;
    g_ptr_array_unref(l->modules);
    safetensors_close(l->file);
    g_free(l);
}

const char *lora_alias(const struct lora *l)
{
    return safetensors_metadata(l->file, "ss_output_name");
}

/* ---- applying ---- */

static void delta_clear(void *data)
{
    struct lora_delta *d = data;
    g_free(d->norms);
    lora_close(d->lora);
}

static void recipe_free(void *data)
{
    struct lora_recipe *r = data;
    g_array_unref(r->deltas);
    g_mutex_clear(&r->lock);
    g_free(r);
}

static struct lora_recipe *recipe_of(GHashTable *recipes, struct entry *e)
{
    struct lora_recipe *r = g_hash_table_lookup(recipes, e);
    if (r)
        return r;
    r = g_new0(struct lora_recipe, 1);
    r->entry = e;
    g_mutex_init(&r->lock);
    r->deltas = g_array_new(FALSE, FALSE, sizeof(struct lora_delta));
    g_array_set_clear_func(r->deltas, delta_clear);
    g_hash_table_insert(recipes, e, r);
    return r;
}

/* L4, for a weight: rows and the rest; linear and 1x1 convolution are the same. */
static bool fits(const struct entry *e, const struct lora_module *m)
{
    size_t count = weight_count(&e->weight);
    return e->weight.rank >= 1 && (size_t)e->weight.dims[0] == m->out && m->inner == count / m->out;
}

/* DoRA's magnitudes are one for each output ([out] or [out, 1]) or each input ([1, in]). */
static bool dora_fits(const struct entry *e, const struct lora_module *m, bool *by_input)
{
    const struct st_tensor *t = m->role[LORA_DORA];
    size_t in = e->weight.rank > 1 ? (size_t)e->weight.dims[1] : 1;
    *by_input = t->rank > 1 && t->dims[0] == 1 && m->out > 1;
    return t->count == (*by_input ? in : m->out) && e->weight.dims[0] > 0;
}

static struct entry *bias_of(const struct entry *e)
{
    g_autofree char *name = g_strndup(e->weight.name, strlen(e->weight.name) - strlen("weight"));
    g_autofree char *bias = g_strconcat(name, "bias", NULL);
    struct entry *b = weights_entry(e->set, bias);
    return b && !b->unreadable ? b : NULL;
}

/* Adds one module's changes; false when it has no place in the model. */
static bool add_module(GHashTable *recipes, const struct lora_targets *targets,
                       const struct lora_use *use, const struct lora_module *m)
{
    bool text = false, by_input = false;
    struct entry *e = lora_targets_find(targets, m->name, &text), *bias = NULL;
    if (!e || !e->file || (m->has_weight && !fits(e, m)))
        return false;
    if (m->has_weight && m->role[LORA_DORA] && !dora_fits(e, m, &by_input))
        return false;
    if (m->role[DIFF_BIAS]) {
        bias = bias_of(e);
        if (!bias || weight_count(&bias->weight) != m->role[DIFF_BIAS]->count)
            return false;
    }
    struct lora_delta d = {.lora = use->lora,
                           .module = m,
                           .strength = (float)(text ? use->text : use->unet),
                           .by_input = by_input};
    if (d.strength == 0) /* as if it were not there: not even a rounding of 0 is added */
        return true;
    if (m->has_weight) {
        lora_ref(d.lora);
        g_array_append_val(recipe_of(recipes, e)->deltas, d);
    }
    if (bias) {
        d.bias = true;
        lora_ref(d.lora);
        g_array_append_val(recipe_of(recipes, bias)->deltas, d);
    }
    return true;
}

static const char *family_word(enum model_family family)
{
    static const char *const words[] = {N_("another family"), "SD 1.5", "SD 2.x", "SDXL",
                                        N_("the SDXL refiner")};
    return _(words[family]);
}

static bool add_lora(const struct model *m, GHashTable *recipes, const struct lora_targets *targets,
                     const struct lora_use *use, GPtrArray *notes, GError **error)
{
    const struct lora *l = use->lora;
    g_autofree char *name = weights_quote(safetensors_label(l->file), -1);
    guint fitting = 0;
    if (!isfinite(use->unet) || !isfinite(use->text) || fabs(use->unet) > MAX_WEIGHT ||
        fabs(use->text) > MAX_WEIGHT) { /* L7 */
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH,
                    _("The weight of %s must be between -10 and 10."), name);
        return false;
    }
    if (l->family != MODEL_OTHER && m->family != MODEL_OTHER && l->family != m->family) { /* L4 */
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH,
                    _("%s was made for %s; the loaded model is %s."), name, family_word(l->family),
                    family_word(m->family));
        return false;
    }
    for (guint i = 0; i < l->modules->len; i++)
        fitting += add_module(recipes, targets, use, g_ptr_array_index(l->modules, i));
    if (!fitting) { /* L5 */
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH,
                    _("None of the %u parts of %s fits this model."), l->modules->len, name);
        return false;
    }
    if (fitting < l->modules->len && notes)
        g_ptr_array_add(
            notes, g_strdup_printf(
                       g_dngettext(GETTEXT_PACKAGE,
                                   "%u of %u parts of %s don't fit this model and were skipped.",
                                   "%u of %u parts of %s don't fit this model and were skipped.",
                                   l->modules->len - fitting),
                       l->modules->len - fitting, l->modules->len, name));
    return true;
}

static bool same_recipe(const struct entry *e, const struct lora_recipe *r)
{
    if (e->patch != lora_patch || !r)
        return e->patch != lora_patch && !r;
    const struct lora_recipe *old = e->patch_data;
    if (old->deltas->len != r->deltas->len)
        return false;
    for (guint i = 0; i < r->deltas->len; i++) {
        const struct lora_delta *a = &g_array_index(old->deltas, struct lora_delta, i);
        const struct lora_delta *b = &g_array_index(r->deltas, struct lora_delta, i);
        if (a->module != b->module || a->bias != b->bias || a->strength != b->strength)
            return false;
    }
    return true;
}

/* Gives each parameter its recipe, or none; those that have it already stay as they are. */
static void install(struct model *m, GHashTable *recipes)
{
    for (int part = 0; part < MODEL_PARTS; part++) {
        struct weights *w = m->weights[part];
        for (guint i = 0; w && i < w->entries->len; i++) {
            struct entry *e = g_ptr_array_index(w->entries, i);
            struct lora_recipe *r = g_hash_table_lookup(recipes, e);
            if (same_recipe(e, r))
                continue;
            g_hash_table_steal(recipes, e);
            if (r)
                weights_set_patch(e, lora_patch, r, recipe_free);
            else
                weights_set_patch(e, NULL, NULL, NULL);
        }
    }
}

bool lora_apply(struct model *m, const struct lora_use *uses, size_t n, GPtrArray *notes,
                GError **error)
{
    g_autoptr(GHashTable) recipes =
        g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, recipe_free);
    struct lora_targets *targets = n ? lora_targets_create(m) : NULL;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = add_lora(m, recipes, targets, &uses[i], notes, error);
    if (targets)
        lora_targets_destroy(targets);
    if (ok)
        install(m, recipes);
    return ok;
}
