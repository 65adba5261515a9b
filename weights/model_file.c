/*
 * Models in one .safetensors file, in the names of the original code: each component becomes a set
 * of views of that file under diffusers' names, with a configuration worked out from names and
 * shapes.
 */
#include "weights/convert.h"
#include "weights/derive.h"
#include "weights/model_private.h"
#include "weights/names_ldm.h"
#include "weights/quote.h"
#include "weights/weights_private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#define UNET "model.diffusion_model."

/* How a text encoder is spelled. */
enum spelling { NONE, CLIP, OPENCLIP };

struct prefix {
    const char *text;
    enum model_part part;
    enum spelling spelling; /* of a text encoder */
};

/* Where components lie. The refiner's only encoder is diffusers' second. */
static const struct prefix prefixes[] = {
    {"cond_stage_model.transformer.", MODEL_TEXT, CLIP},
    {"cond_stage_model.model.", MODEL_TEXT, OPENCLIP},
    {"conditioner.embedders.0.transformer.", MODEL_TEXT, CLIP},
    {"conditioner.embedders.0.model.", MODEL_TEXT_2, OPENCLIP},
    {"conditioner.embedders.1.model.", MODEL_TEXT_2, OPENCLIP},
    {"conditioner.embedders.1.transformer.", MODEL_TEXT_2, CLIP},
    {"first_stage_model.", MODEL_VAE, NONE},
};

struct checkpoint {
    struct model *m;
    struct safetensors *st;
    struct ldm_unet unet;
    int vae_levels, text_layers[2];
    bool sizes, drop_last; /* SDXL's label embedding; SD 2.x's encoder is used up to its last layer
                              but one */
};

static bool has_prefix(const struct safetensors *st, const char *prefix)
{
    for (size_t i = 0; i < safetensors_count(st); i++)
        if (g_str_has_prefix(safetensors_tensor(st, i)->name, prefix))
            return true;
    return false;
}

static bool name_contains(const struct safetensors *st, const char *part)
{
    for (size_t i = 0; i < safetensors_count(st); i++)
        if (strstr(safetensors_tensor(st, i)->name, part))
            return true;
    return false;
}

/* What a file that is no checkpoint is, by a name in it: a sentence about %s. */
static const char *other_kind(const struct safetensors *st)
{
    static const struct {
        const char *prefix, *part, *kind;
    } kinds[] = {
        {"", ".lora_down.",
         N_("%s is a LoRA; an add-on is named in the prompt (<lora:name:1>), not opened as a "
            "model.")},
        {"", ".lora_A.",
         N_("%s is a LoRA; an add-on is named in the prompt (<lora:name:1>), not opened as a "
            "model.")},
        {"", ".hada_w1_a",
         N_("%s is a LoRA; an add-on is named in the prompt (<lora:name:1>), not opened as a "
            "model.")},
        {"", ".lokr_w",
         N_("%s is a LoRA; an add-on is named in the prompt (<lora:name:1>), not opened as a "
            "model.")},
        {"control_model.", NULL, N_("%s is a ControlNet, which this version can't use.")},
        {"input_hint_block.", NULL, N_("%s is a ControlNet, which this version can't use.")},
        {"controlnet_cond_embedding.", NULL,
         N_("%s is a ControlNet, which this version can't use.")},
        {"", "double_blocks.0.",
         N_("%s is a Flux model; this version supports SD 1.x, SD 2.x and SDXL.")},
        {"", "joint_blocks.0.",
         N_("%s is an SD 3 model; this version supports SD 1.x, SD 2.x and SDXL.")},
        {"", "cap_embedder.",
         N_("%s is a Lumina model; this version supports SD 1.x, SD 2.x and SDXL.")},
        {UNET, NULL,
         N_("%s is a model of another family; this version supports SD 1.x, SD 2.x and SDXL.")},
        {"first_stage_model.", NULL, N_("%s is an autoencoder (VAE) alone, not a whole model.")},
        {"decoder.up", NULL, N_("%s is an autoencoder (VAE) alone, not a whole model.")},
        {"down_blocks.", NULL, N_("%s is the U-Net of a diffusers folder; open the folder.")},
        {"text_model.", NULL, N_("%s is a text encoder alone, not a whole model.")},
        {"emb_params", NULL,
         N_("%s is a textual-inversion embedding; its name is used in the prompt.")},
        {"clip_g", NULL,
         N_("%s is a textual-inversion embedding; its name is used in the prompt.")},
        {"conv_first.", NULL, N_("%s is an upscaler, not a model that makes pictures.")},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(kinds); i++)
        if (kinds[i].part ? name_contains(st, kinds[i].part) : has_prefix(st, kinds[i].prefix))
            return kinds[i].kind;
    return NULL;
}

static bool refuse_kind(const struct model *m, const struct safetensors *st, GError **error)
{
    g_autofree char *quoted = weights_quote(m->label, -1);
    const char *kind = other_kind(st);
    if (kind)
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED, _(kind), quoted);
    else
        g_set_error(
            error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
            _("Can't open %s: it holds no model that this version knows (SD 1.x, SD 2.x or SDXL)."),
            quoted);
    return false;
}

/* Noise that is scaled in another way: Playground 2.5 and a few of its kind. */
static bool check_noise(const struct checkpoint *c, GError **error)
{
    if (!safetensors_find(c->st, "edm_mean") && !safetensors_find(c->st, "edm_vpred.sigma_max"))
        return true;
    g_autofree char *quoted = weights_quote(c->m->label, -1);
    g_set_error(
        error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
        _("%s was trained with another kind of noise (EDM, as Playground 2.5), which this version "
          "can't use."),
        quoted);
    return false;
}

static void add_openclip(struct checkpoint *c, struct weights *w, const struct st_tensor *t,
                         const char *name)
{
    bool split, transposed;
    int layer = ldm_openclip_layer(name);
    g_autofree char *new_name = ldm_openclip_name(name, &split, &transposed);
    if (!new_name || !strcmp(name, "logit_scale"))
        return;
    if (c->drop_last && (g_str_has_prefix(name, "text_projection") || layer >= c->text_layers[0]))
        return;
    if (!split || t->rank < 1 || t->dims[0] % 3) {
        weights_add(w, new_name, c->st, t, 0, 0, transposed && t->rank == 2);
        return;
    }
    for (int part = 0; part < 3; part++) {
        g_autofree char *part_name = ldm_openclip_part(new_name, part);
        uint64_t rows = t->dims[0] / 3;
        weights_add(w, part_name, c->st, t, rows * (uint64_t)part, rows, false);
    }
}

static void add_tensor(struct checkpoint *c, const struct prefix *p, const struct st_tensor *t)
{
    const char *name = t->name + strlen(p->text);
    struct weights *w = c->m->weights[p->part];
    g_autofree char *new_name = NULL;
    if (p->spelling == OPENCLIP) {
        add_openclip(c, w, t, name);
        return;
    }
    if (p->part == MODEL_UNET)
        new_name = ldm_unet_name(&c->unet, name);
    else if (p->part == MODEL_VAE)
        new_name = ldm_vae_name(name, c->vae_levels);
    else
        new_name = ldm_clip_name(name);
    /* What has no translation stays under its own name and shows up as unused. */
    weights_add(w, new_name ? new_name : name, c->st, t, 0, 0, false);
}

static void open_sets(struct checkpoint *c)
{
    struct prefix unet = {c->unet.prefix, MODEL_UNET, NONE};
    for (int part = 0; part < MODEL_PARTS; part++)
        if (c->m->config[part]) {
            c->m->weights[part] = weights_new(c->m->label);
            weights_take_file(c->m->weights[part], safetensors_ref(c->st));
        }
    for (size_t i = 0; i < safetensors_count(c->st); i++) {
        const struct st_tensor *t = safetensors_tensor(c->st, i);
        const struct prefix *p = NULL;
        for (size_t k = 0; k < G_N_ELEMENTS(prefixes) && !p; k++)
            if (g_str_has_prefix(t->name, prefixes[k].text) && c->m->weights[prefixes[k].part])
                p = &prefixes[k];
        if (!p && g_str_has_prefix(t->name, unet.text) &&
            (*unet.text || ldm_unet_name(&c->unet, t->name)))
            p = &unet;
        if (p)
            add_tensor(c, p, t);
    }
    for (int part = 0; part < MODEL_PARTS; part++)
        if (c->m->weights[part])
            weights_seal(c->m->weights[part]);
}

static void open_texts(struct checkpoint *c)
{
    for (size_t i = 0; i < G_N_ELEMENTS(prefixes); i++) {
        const struct prefix *p = &prefixes[i];
        int which = p->part == MODEL_TEXT_2;
        if (p->spelling == NONE || c->m->config[p->part] || !has_prefix(c->st, p->text))
            continue;
        if (p->spelling == OPENCLIP) {
            c->m->pad_zero[which] = true;
            c->m->config[p->part] =
                derive_openclip(c->st, p->text, c->drop_last, &c->text_layers[which]);
        } else {
            g_autofree char *inner = g_strconcat(p->text, "text_model.", NULL);
            c->m->config[p->part] = derive_clip(c->st, has_prefix(c->st, inner) ? inner : p->text);
        }
    }
}

static bool find_unet(struct checkpoint *c)
{
    return ldm_unet_scan(&c->unet, c->st, UNET) || ldm_unet_scan(&c->unet, c->st, "");
}

/* Whether a file with the same stem and .yaml, as the original code needs, says "v". */
static int yaml_prediction(const char *path)
{
    enum { MAX = 1024 * 1024 };
    const char *dot = strrchr(path, '.');
    g_autofree char *yaml =
        g_strdup_printf("%.*s.yaml", (int)(dot ? dot - path : (long)strlen(path)), path);
    g_autofree char *text = g_malloc0(MAX + 1);
    int fd = open(yaml, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), found = -1;
    ssize_t n = fd >= 0 ? read(fd, text, MAX) : -1;
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return -1;
    g_autoptr(GRegex) regex = g_regex_new("^\\s*parameterization\\s*:\\s*[\"']?(\\w+)",
                                          G_REGEX_MULTILINE | G_REGEX_RAW, 0, NULL);
    g_autoptr(GMatchInfo) match = NULL;
    if (g_regex_match_full(regex, text, n, 0, 0, &match, NULL)) {
        g_autofree char *word = g_match_info_fetch(match, 1);
        found = !strcmp(word, "v");
    }
    return found;
}

/*
 * SD 2.x trained on v has wider biases in its last transformer (ComfyUI's test). Unreadable or
 * strange: not v.
 */
static bool wide_biases(const struct checkpoint *c)
{
    static const char name[] = "output_blocks.11.1.transformer_blocks.0.norm1.bias";
    enum { MAX = 4096 };
    g_autofree char *full = g_strconcat(c->unet.prefix, name, NULL);
    const struct st_tensor *t = safetensors_find(c->st, full);
    struct entry *e =
        c->m->weights[MODEL_UNET]
            ? weights_entry(c->m->weights[MODEL_UNET],
                            "up_blocks.3.attentions.2.transformer_blocks.0.norm1.bias")
            : NULL;
    float v[MAX];
    if (!t || !e || e->unreadable || t->count < 2 || t->count > MAX ||
        !e->weight.read(&e->weight, DTYPE_F32, 0, (size_t)t->count, v, NULL))
        return false;
    double sum = 0, squares = 0, n = (double)t->count;
    for (uint64_t i = 0; i < t->count; i++)
        sum += v[i];
    for (uint64_t i = 0; i < t->count; i++)
        squares += (v[i] - sum / n) * (v[i] - sum / n);
    return sqrt(squares / (n - 1)) > 0.09;
}

static bool predicts_v(const struct checkpoint *c)
{
    const char *said = safetensors_metadata(c->st, "modelspec.prediction_type");
    if (safetensors_find(c->st, "v_pred"))
        return true;
    if (said)
        return !strcmp(said, "v") || !strcmp(said, "v_prediction");
    int yaml = yaml_prediction(c->m->path);
    if (yaml >= 0)
        return yaml;
    const json_t *config = c->m->config[MODEL_UNET];
    return c->drop_last && json_integer_value(json_object_get(config, "in_channels")) == 4 &&
           wide_biases(c);
}

/* Both text encoders' prefixes decide how a label embedding and an OpenCLIP encoder are meant. */
static void decide_kind(struct checkpoint *c)
{
    g_autofree char *name = g_strconcat(c->unet.prefix, "label_emb.0.0.weight", NULL);
    const struct st_tensor *label = safetensors_find(c->st, name);
    bool alone = !has_prefix(c->st, "cond_stage_model.");
    c->sizes = label && alone;
    c->drop_last = has_prefix(c->st, "cond_stage_model.model.");
}

bool model_open_file(struct model *m, GError **error)
{
    struct checkpoint c = {.m = m, .st = safetensors_open(m->path, error)};
    bool ok = false;
    if (!c.st)
        return false;
    if (!find_unet(&c)) {
        refuse_kind(m, c.st, error);
        goto out;
    }
    if (!check_noise(&c, error))
        goto out;
    decide_kind(&c);
    m->config[MODEL_UNET] = derive_unet(&c.unet, c.st, c.sizes);
    if (has_prefix(c.st, "first_stage_model."))
        m->config[MODEL_VAE] = derive_vae(c.st, "first_stage_model.", false,
                                          c.sizes ? 0.13025 : 0.18215, c.sizes, &c.vae_levels);
    open_texts(&c);
    open_sets(&c);
    m->family = model_family_of(m->config[MODEL_UNET]);
    bool v = predicts_v(&c);
    if (v && c.drop_last)
        json_object_set_new(m->config[MODEL_UNET], "sample_size", json_integer(96));
    m->scheduler = derive_scheduler(v, safetensors_find(c.st, "ztsnr") != NULL);
    ok = true;
out:
    safetensors_close(c.st);
    return ok;
}

struct weights *model_open_vae(const char *path, json_t **config, GError **error)
{
    struct model m = {.label = g_path_get_basename(path)};
    struct safetensors *st = safetensors_open(path, error);
    struct weights *w = NULL;
    int levels;
    *config = NULL;
    if (!st)
        goto out;
    bool wrapped = has_prefix(st, "first_stage_model.decoder.");
    bool diffusers = has_prefix(st, "decoder.up_blocks.");
    const char *prefix = wrapped ? "first_stage_model." : "";
    if (!wrapped && !diffusers && !has_prefix(st, "decoder.up.")) {
        refuse_kind(&m, st, error);
        goto out;
    }
    /* A VAE alone does not say whose it is: the caller scales as the model that it joins does. */
    *config = derive_vae(st, prefix, diffusers, 0.18215, true, &levels);
    w = weights_new(m.label);
    weights_take_file(w, safetensors_ref(st));
    for (size_t i = 0; i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        if (!g_str_has_prefix(t->name, prefix))
            continue;
        const char *name = t->name + strlen(prefix);
        g_autofree char *new_name =
            diffusers ? names_old_attention(name) : ldm_vae_name(name, levels);
        weights_add(w, new_name ? new_name : name, st, t, 0, 0, false);
    }
    weights_seal(w);
out:
    safetensors_close(st);
    g_free(m.label);
    return w;
}
