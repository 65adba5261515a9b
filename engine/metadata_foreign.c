/*
 * Settings that other programs leave in a PNG as JSON: InvokeAI's `invokeai_metadata` (and
 * `sd-metadata` before it), Fooocus' `parameters` with `fooocus_scheme`, NovelAI's `Comment`;
 * ComfyUI's graphs are read in metadata_comfy.c. stable-diffusion.cpp writes A1111's
 * text with JSON at its end. Keys
 * become A1111's; what has no such key is left.
 */
#include "engine/metadata_private.h"

#include <string.h>

#define DEPTH_MAX 64

/* jansson's own limit is 2048; a depth check on the text keeps to ours. */
static json_t *parse(const char *text)
{
    int depth = 0;
    bool in_string = false;

    for (const char *p = text; *p; p++) {
        if (in_string) {
            if (*p == '\\' && p[1])
                p++;
            else if (*p == '"')
                in_string = false;
        } else if (*p == '"') {
            in_string = true;
        } else if (*p == '{' || *p == '[') {
            if (++depth > DEPTH_MAX)
                return NULL;
        } else if (*p == '}' || *p == ']') {
            depth--;
        }
    }
    return json_loads(text, 0, NULL);
}

static char *scalar(const json_t *value)
{
    if (json_is_string(value))
        return g_strdup(json_string_value(value));
    if (json_is_integer(value))
        return g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
    if (json_is_real(value))
        return metadata_number(json_real_value(value));
    return NULL;
}

void metadata_take_json(struct metadata *m, const char *key, const json_t *value)
{
    char *text = scalar(value);

    if (text)
        metadata_add_take(m, key, text);
}

void metadata_take_text(char **field, const json_t *value)
{
    if (json_is_string(value)) {
        g_free(*field);
        *field = g_strdup(json_string_value(value));
    }
}

void metadata_take_size(struct metadata *m, const json_t *width, const json_t *height)
{
    if (json_is_integer(width) && json_is_integer(height))
        metadata_add_take(m, "Size",
                          g_strdup_printf("%" JSON_INTEGER_FORMAT "x%" JSON_INTEGER_FORMAT,
                                          json_integer_value(width), json_integer_value(height)));
}

/* Behind the last separator of either system. */
static char *without_folder(char *path)
{
    char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *back = strrchr(name, '\\');

    return back ? back + 1 : name;
}

/* File name without folder and ending: what the library calls a model. */
void metadata_take_model(struct metadata *m, const char *key, const json_t *value)
{
    g_autofree char *name = scalar(value);
    char *stem, *dot;

    if (!name)
        return;
    stem = without_folder(name);
    if ((dot = strrchr(stem, '.')) && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".ckpt")))
        *dot = '\0';
    metadata_add_take(m, key, g_strdup(stem));
}

void metadata_add_lora(struct metadata *m, const json_t *name, const json_t *weight)
{
    g_autofree char *file = scalar(name), *text = scalar(weight), *prompt = m->prompt;
    char *stem, *dot;

    if (!file) {
        m->prompt = g_steal_pointer(&prompt);
        return;
    }
    stem = without_folder(file);
    if ((dot = strrchr(stem, '.')) && !strcmp(dot, ".safetensors"))
        *dot = '\0';
    m->prompt =
        g_strdup_printf("%s%s<lora:%s:%s>", prompt, *prompt ? " " : "", stem, text ? text : "1");
}

/* ---- the flat ones ---- */

struct flat {
    const char *origin, *prompt, *negative, *steps, *cfg, *seed, *sampler, *schedule, *width,
        *height, *model, *hash, *vae;
};

static const struct flat invoke = {
    "InvokeAI", "positive_prompt", "negative_prompt", "steps", "cfg_scale", "seed", "scheduler",
    NULL,       "width",           "height",          "model", NULL,        NULL};
static const struct flat fooocus = {"Fooocus", "prompt",         "negative_prompt",
                                    "steps",   "guidance_scale", "seed",
                                    "sampler", "scheduler",      NULL,
                                    NULL,      "base_model",     "base_model_hash",
                                    "vae"};
static const struct flat novelai = {"NovelAI", "prompt",         "uc",    "steps",  "scale", "seed",
                                    "sampler", "noise_schedule", "width", "height", NULL,    NULL,
                                    NULL};
static const struct flat invoke_old = {
    "InvokeAI", "prompt", "negative_prompt", "steps", "cfg_scale", "seed", "sampler",
    NULL,       "width",  "height",          NULL,    NULL,        NULL};

static const json_t *member(const json_t *object, const char *name)
{
    return name ? json_object_get(object, name) : NULL;
}

/* A name, or an object that has one. */
static const json_t *named(const json_t *value)
{
    static const char *const keys[] = {"name", "model_name", "lora_name", NULL};

    for (const char *const *key = keys; json_is_object(value) && *key; key++)
        if (json_is_string(json_object_get(value, *key)))
            return json_object_get(value, *key);
    return value;
}

/* InvokeAI: {"model" or "lora": {...}, "weight"}; Fooocus: [file, weight, hash]. */
static void take_loras(struct metadata *m, const json_t *loras)
{
    for (size_t i = 0; i < MIN(json_array_size(loras), 64); i++) {
        const json_t *one = json_array_get(loras, i);

        if (json_is_array(one))
            metadata_add_lora(m, json_array_get(one, 0), json_array_get(one, 1));
        else
            metadata_add_lora(m,
                              named(json_object_get(one, "model") ? json_object_get(one, "model")
                                                                  : json_object_get(one, "lora")),
                              json_object_get(one, "weight"));
    }
}

/* NovelAI's "native" is the sampler's own. */
static void take_schedule(struct metadata *m, const json_t *value)
{
    if (g_strcmp0(json_string_value(value), "native") != 0)
        metadata_take_json(m, "Schedule type", value);
}

static struct metadata *from_flat(const json_t *object, const struct flat *names)
{
    struct metadata *m;
    const char *size = json_string_value(json_object_get(object, "resolution"));
    const json_t *skip = json_object_get(object, "clip_skip");
    int width, height;

    if (!json_is_string(member(object, names->prompt)))
        return NULL;
    m = metadata_new(names->origin);
    metadata_take_text(&m->prompt, member(object, names->prompt));
    metadata_take_text(&m->negative, member(object, names->negative));
    metadata_take_json(m, "Steps", member(object, names->steps));
    metadata_take_json(m, "Sampler", member(object, names->sampler));
    take_schedule(m, member(object, names->schedule));
    metadata_take_json(m, "CFG scale", member(object, names->cfg));
    metadata_take_json(m, "Seed", member(object, names->seed));
    metadata_take_size(m, member(object, names->width), member(object, names->height));
    if (size && sscanf(size, "(%6d, %6d)", &width, &height) == 2)
        metadata_add_take(m, "Size", g_strdup_printf("%dx%d", width, height));
    metadata_take_json(m, "Model hash", member(object, names->hash));
    metadata_take_model(m, "Model", named(member(object, names->model)));
    if (json_is_string(member(object, names->vae)) &&
        strcmp(json_string_value(member(object, names->vae)), "Default (model)") != 0)
        metadata_take_model(m, "VAE", member(object, names->vae));
    /* InvokeAI counts the layers left out, Fooocus as A1111. */
    if (json_is_integer(skip) && json_integer_value(skip) >= 0)
        metadata_add_take(
            m, "Clip skip",
            g_strdup_printf("%d", (int)MIN(json_integer_value(skip), 12) + (names == &invoke)));
    metadata_take_json(m, "Styles", json_object_get(object, "styles"));
    metadata_take_json(m, "Denoising strength", json_object_get(object, "strength"));
    take_loras(m, json_object_get(object, "loras"));
    return m;
}

/* {"image": {...}, "model_weights"}; the prompt is text, or [{"prompt", "weight"}]. */
static struct metadata *from_invoke_old(const json_t *object)
{
    json_t *image = json_copy(json_object_get(object, "image"));
    json_t *prompt = json_object_get(image, "prompt"), *first = json_array_get(prompt, 0);
    struct metadata *m;

    if (json_is_object(first))
        json_object_set(image, "prompt", json_object_get(first, "prompt"));
    m = json_is_object(image) ? from_flat(image, &invoke_old) : NULL;
    if (m) {
        const char *open = strchr(m->prompt, '['), *close = open ? strchr(open, ']') : NULL;

        if (close && !close[1]) { /* "a cat [a dog]": what is in brackets is not wanted */
            g_free(m->negative);
            m->negative = g_strndup(open + 1, (gsize)(close - open - 1));
            m->prompt[open - m->prompt] = '\0';
            g_strchomp(m->prompt);
        }
        metadata_take_model(m, "Model", json_object_get(object, "model_weights"));
    }
    json_decref(image);
    return m;
}

void metadata_take_sdcpp(struct metadata *m, const char *text)
{
    json_t *root = parse(text), *sampling = json_object_get(root, "sampling"),
           *models = json_object_get(root, "models");
    const json_t *skip = json_object_get(root, "clip_skip");

    metadata_take_json(m, "Steps", json_object_get(sampling, "steps"));
    metadata_take_json(m, "Sampler", json_object_get(sampling, "method"));
    metadata_take_json(m, "Schedule type", json_object_get(sampling, "scheduler"));
    metadata_take_json(m, "CFG scale",
                       json_object_get(json_object_get(sampling, "guidance"), "txt_cfg"));
    metadata_take_json(m, "Seed", json_object_get(root, "seed"));
    metadata_take_size(m, json_object_get(root, "width"), json_object_get(root, "height"));
    metadata_take_model(m, "Model", json_object_get(models, "model"));
    metadata_take_model(m, "VAE", json_object_get(models, "vae"));
    if (json_integer_value(skip) > 0) /* else the model's own */
        metadata_take_json(m, "Clip skip", skip);
    /* An infinite one, which is null, is the sampler's own. */
    if (json_is_null(json_object_get(sampling, "eta")))
        metadata_drop(m, "Eta");
    metadata_take_json(m, "Eta", json_object_get(sampling, "eta"));
    metadata_take_json(m, "RNG", json_object_get(root, "rng"));
    metadata_take_json(m, "Denoising strength", json_object_get(root, "strength"));
    json_decref(root);
}

static struct metadata *try_json(const char *text, const struct flat *names)
{
    json_t *object = text ? parse(text) : NULL;
    struct metadata *m = NULL;

    if (json_is_object(object))
        m = names == &invoke_old ? from_invoke_old(object)
            : names              ? from_flat(object, names)
                                 : metadata_from_comfy(object);
    json_decref(object);
    return m;
}

static const char *find(GHashTable *texts, const char *key)
{
    return g_hash_table_lookup(texts, key);
}

struct metadata *metadata_from_comment(const char *text)
{
    struct metadata *m = *text == '{' ? try_json(text, &fooocus) : NULL;

    return m ? m : metadata_parse(text);
}

struct metadata *metadata_from_texts(GHashTable *texts)
{
    const char *parameters = find(texts, "parameters");
    struct metadata *m = NULL;

    if (parameters && *parameters == '{')
        m = try_json(parameters, &fooocus);
    if (!m && parameters)
        return metadata_parse(parameters);
    if (!m)
        m = try_json(find(texts, "invokeai_metadata"), &invoke);
    if (!m)
        m = try_json(find(texts, "sd-metadata"), &invoke_old);
    if (!m)
        m = try_json(find(texts, "prompt"), NULL);
    if (!m && g_strcmp0(find(texts, "Software"), "NovelAI") == 0)
        m = try_json(find(texts, "Comment"), &novelai);
    return m;
}
