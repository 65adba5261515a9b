/* What the keys of add-ons mean: a module of the model, in one of many spellings, and a role in it.
 */
#include "weights/lora_private.h"
#include "weights/names_ldm.h"

#include <glib/gi18n-lib.h>
#include <string.h>

static const struct {
    const char *end;
    enum lora_role role;
} roles[] = {
    {".lora_down.weight", LORA_DOWN}, /* kohya */
    {".lora_up.weight", LORA_UP},
    {".lora_mid.weight", LORA_MID},
    {".alpha", LORA_ALPHA},
    {".dora_scale", LORA_DORA},
    {".lora_linear_layer.down.weight", LORA_DOWN}, /* diffusers, in the order that it had them */
    {".lora_linear_layer.up.weight", LORA_UP},
    {"_lora.down.weight", LORA_DOWN},
    {"_lora.up.weight", LORA_UP},
    {".lora.down.weight", LORA_DOWN},
    {".lora.up.weight", LORA_UP},
    {".lora_A.weight", LORA_DOWN}, /* PEFT */
    {".lora_B.weight", LORA_UP},
    {".lora_A.default.weight", LORA_DOWN},
    {".lora_B.default.weight", LORA_UP},
    {".lora_magnitude_vector", LORA_DORA},
    {".lora_magnitude_vector.weight", LORA_DORA},
    {".lora_magnitude_vector.default.weight", LORA_DORA},
    {".hada_w1_a", HADA_W1A}, /* LyCORIS */
    {".hada_w1_b", HADA_W1B},
    {".hada_w2_a", HADA_W2A},
    {".hada_w2_b", HADA_W2B},
    {".hada_t1", HADA_T1},
    {".hada_t2", HADA_T2},
    {".lokr_w1", LOKR_W1},
    {".lokr_w1_a", LOKR_W1A},
    {".lokr_w1_b", LOKR_W1B},
    {".lokr_w2", LOKR_W2},
    {".lokr_w2_a", LOKR_W2A},
    {".lokr_w2_b", LOKR_W2B},
    {".lokr_t2", LOKR_T2},
    {".diff", DIFF_WEIGHT},
    {".diff_b", DIFF_BIAS},
    {".w_norm", DIFF_WEIGHT},
    {".b_norm", DIFF_BIAS},
};

static const struct {
    const char *part, *kind;
} unknown[] = {{".oft_blocks", "OFT"},  {".oft_diag", "OFT"},
               {".oft_r", "OFT"},       {".boft_", "BOFT"},
               {".on_input", "IA3"},    {".a1.weight", "GLoRA"},
               {".b1.weight", "GLoRA"}, {".lora_embedding_", N_("embeddings of PEFT")}};

/* What wraps a module's name, at its start and inside it. */
static char *clean(const char *module)
{
    static const char *const starts[] = {"base_model.model."};
    for (size_t i = 0; i < G_N_ELEMENTS(starts); i++)
        if (g_str_has_prefix(module, starts[i]))
            module += strlen(starts[i]);
    GString *s = g_string_new(module);
    g_string_replace(s, ".processor.", ".", 0);
    g_string_replace(s, ".base_layer", "", 0);
    if (g_str_has_suffix(s->str, ".to_out")) /* of "to_out_lora", an attention processor's */
        g_string_append(s, ".0");
    return g_string_free(s, FALSE);
}

char *lora_split_name(const char *name, enum lora_role *role, const char **kind)
{
    *kind = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(roles); i++) {
        if (!g_str_has_suffix(name, roles[i].end))
            continue;
        g_autofree char *module = g_strndup(name, strlen(name) - strlen(roles[i].end));
        *role = roles[i].role;
        return clean(module);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(unknown); i++)
        if (strstr(name, unknown[i].part))
            *kind = unknown[i].kind;
    return NULL;
}

struct target {
    struct entry *entry;
    bool text;
};

struct lora_targets {
    GHashTable *by_name; /* to struct target */
};

static void add(struct lora_targets *t, char *name, struct entry *e, bool text)
{
    if (g_hash_table_contains(t->by_name, name)) {
        g_free(name);
        return;
    }
    struct target *target = g_new(struct target, 1);
    *target = (struct target){e, text};
    g_hash_table_insert(t->by_name, name, target);
}

static char *underscored(const char *prefix, const char *module)
{
    char *s = g_strconcat(prefix, module, NULL);
    for (char *p = s + strlen(prefix); *p; p++)
        if (*p == '.')
            *p = '_';
    return s;
}

static void add_unet(struct lora_targets *t, struct entry *e, const struct ldm_counts *counts,
                     const char *module)
{
    g_autofree char *old = ldm_unet_old_name(counts, module);
    add(t, underscored("lora_unet_", module), e, false);
    add(t, underscored("lycoris_", module), e, false);
    add(t, g_strconcat("unet.", module, NULL), e, false);
    add(t, g_strdup(module), e, false);
    if (!old)
        return;
    add(t, underscored("lora_unet_", old), e, false);
    add(t, underscored("lycoris_", old), e, false);
    add(t, g_strconcat("diffusion_model.", old, NULL), e, false);
}

static void add_text(struct lora_targets *t, struct entry *e, int which, const char *module)
{
    static const char *const kohya[][2] = {{"lora_te_", "lora_te1_"}, {"lora_te2_", NULL}};
    static const char *const diffusers[] = {"text_encoder.", "text_encoder_2."};
    /* transformers 5 writes files without "text_model."; add-ons come with and without it. */
    static const char wrap[] = "text_model.";
    const char *inner = g_str_has_prefix(module, wrap) ? module + strlen(wrap) : module;
    g_autofree char *full = g_strconcat(wrap, inner, NULL);
    const char *spellings[] = {module, inner, full};
    for (size_t k = 0; k < G_N_ELEMENTS(spellings); k++) {
        for (int i = 0; i < 2 && kohya[which][i]; i++)
            add(t, underscored(kohya[which][i], spellings[k]), e, true);
        add(t, g_strconcat(diffusers[which], spellings[k], NULL), e, true);
    }
}

struct lora_targets *lora_targets_create(const struct model *m)
{
    struct lora_targets *t = g_new0(struct lora_targets, 1);
    t->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    for (int part = 0; part < MODEL_PARTS; part++) {
        const struct weights *w = m->weights[part];
        struct ldm_counts counts;
        if (!w || part == MODEL_VAE)
            continue;
        if (part == MODEL_UNET)
            ldm_count(&counts, w);
        for (guint i = 0; i < w->entries->len; i++) {
            struct entry *e = g_ptr_array_index(w->entries, i);
            if (e->unreadable || !g_str_has_suffix(e->weight.name, ".weight"))
                continue;
            g_autofree char *module =
                g_strndup(e->weight.name, strlen(e->weight.name) - strlen(".weight"));
            if (part == MODEL_UNET)
                add_unet(t, e, &counts, module);
            else
                add_text(t, e, part == MODEL_TEXT_2, module);
        }
    }
    return t;
}

void lora_targets_destroy(struct lora_targets *t)
{
    g_hash_table_unref(t->by_name);
    g_free(t);
}

struct entry *lora_targets_find(const struct lora_targets *t, const char *module, bool *text)
{
    const struct target *target = g_hash_table_lookup(t->by_name, module);
    if (!target)
        return NULL;
    *text = target->text;
    return target->entry;
}
