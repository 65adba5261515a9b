/*
 * Settings that other programs leave in a PNG: ComfyUI's `prompt` graph, InvokeAI's
 * `invokeai_metadata`, Fooocus' `parameters` with `fooocus_scheme`, NovelAI's `Comment`,
 * stable-diffusion.cpp's `SDCPP`. Best effort: what is found is taken, the rest left.
 */
#include "engine/metadata_private.h"

#include <string.h>

#define DEPTH_MAX 64
#define LINKS_MAX 32 /* a graph's links followed at most; a crafted one may be a ring */

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

static void take(struct metadata *m, const char *key, const json_t *value)
{
    char *text = scalar(value);

    if (text)
        metadata_add_take(m, key, text);
}

static void take_text(char **field, const json_t *value)
{
    if (json_is_string(value)) {
        g_free(*field);
        *field = g_strdup(json_string_value(value));
    }
}

static void take_size(struct metadata *m, const json_t *width, const json_t *height)
{
    if (json_is_integer(width) && json_is_integer(height))
        metadata_add_take(m, "Size",
                          g_strdup_printf("%" JSON_INTEGER_FORMAT "x%" JSON_INTEGER_FORMAT,
                                          json_integer_value(width), json_integer_value(height)));
}

/* File name without folder and ending: what the library calls a model. */
static void take_model(struct metadata *m, const json_t *value)
{
    g_autofree char *name = scalar(value);
    char *stem, *dot;

    if (!name)
        return;
    stem = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    stem = strrchr(stem, '\\') ? strrchr(stem, '\\') + 1 : stem;
    if ((dot = strrchr(stem, '.')) && (!strcmp(dot, ".safetensors") || !strcmp(dot, ".ckpt")))
        *dot = '\0';
    metadata_add_take(m, "Model", g_strdup(stem));
}

/* ---- ComfyUI: a graph of nodes {"class_type", "inputs"}; a link is ["node id", slot] ---- */

static const json_t *follow(const json_t *graph, const json_t *link)
{
    return json_is_array(link)
               ? json_object_get(graph, json_string_value(json_array_get(link, 0)) ?: "")
               : NULL;
}

static const json_t *input(const json_t *node, const char *name)
{
    return json_object_get(json_object_get(node, "inputs"), name);
}

/* The value of the first of these inputs that is text. */
static const json_t *text_input(const json_t *node, const char *const *names)
{
    for (; *names; names++)
        if (json_is_string(input(node, *names)))
            return input(node, *names);
    return NULL;
}

/*
 * Walks up from a link, by the inputs in `via`, until a node has one of the inputs `names` as text,
 * or as a link to a node that holds text.
 */
static const json_t *find_up(const json_t *graph, const json_t *link, const char *const *names,
                             const char *const *via)
{
    static const char *const held[] = {"text", "string", "value", NULL};

    for (int i = 0; i < LINKS_MAX; i++) {
        const json_t *node = follow(graph, link), *found;

        if (!node)
            return NULL;
        if ((found = text_input(node, names)))
            return found;
        for (const char *const *name = names; *name; name++)
            if ((found = text_input(follow(graph, input(node, *name)), held)))
                return found;
        link = NULL;
        for (const char *const *name = via; *name && !link; name++)
            link = input(node, *name);
    }
    return NULL;
}

static struct metadata *from_comfy(const json_t *graph)
{
    static const char *const text[] = {"text", "text_g", "text_l", NULL};
    static const char *const text_via[] = {"conditioning", "conditioning_1", "positive", NULL};
    static const char *const model[] = {"ckpt_name", "unet_name", NULL};
    static const char *const model_via[] = {"model", NULL};
    const json_t *sampler = NULL, *latent;
    struct metadata *m;
    json_t *node;
    const char *id;

    json_object_foreach((json_t *)graph, id, node)
    {
        const char *type = json_string_value(json_object_get(node, "class_type"));

        if (type && strstr(type, "KSampler") && (!sampler || !strcmp(type, "KSampler")))
            sampler = node;
    }
    if (!sampler)
        return NULL;
    m = metadata_new("ComfyUI");
    take(m, "Steps", input(sampler, "steps"));
    take(m, "Sampler", input(sampler, "sampler_name"));
    take(m, "Schedule type", input(sampler, "scheduler"));
    take(m, "CFG scale", input(sampler, "cfg"));
    take(m, "Seed", input(sampler, "seed") ? input(sampler, "seed") : input(sampler, "noise_seed"));
    take_text(&m->prompt, find_up(graph, input(sampler, "positive"), text, text_via));
    take_text(&m->negative, find_up(graph, input(sampler, "negative"), text, text_via));
    latent = follow(graph, input(sampler, "latent_image"));
    take_size(m, input(latent, "width"), input(latent, "height"));
    take_model(m, find_up(graph, input(sampler, "model"), model, model_via));
    return m;
}

/* ---- the flat ones ---- */

struct flat {
    const char *origin, *prompt, *negative, *steps, *cfg, *seed, *sampler, *schedule, *width,
        *height, *model;
};

static const struct flat invoke = {
    "InvokeAI", "positive_prompt", "negative_prompt", "steps", "cfg_scale", "seed", "scheduler",
    NULL,       "width",           "height",          "model"};
static const struct flat fooocus = {"Fooocus", "prompt",         "negative_prompt",
                                    "steps",   "guidance_scale", "seed",
                                    "sampler", "scheduler",      NULL,
                                    NULL,      "base_model"};
static const struct flat novelai = {"NovelAI", "prompt",         "uc",    "steps",  "scale", "seed",
                                    "sampler", "noise_schedule", "width", "height", NULL};

static const json_t *member(const json_t *object, const char *name)
{
    return name ? json_object_get(object, name) : NULL;
}

static struct metadata *from_flat(const json_t *object, const struct flat *names)
{
    struct metadata *m;
    const json_t *model = member(object, names->model);
    const char *size = json_string_value(json_object_get(object, "resolution"));
    int width, height;

    if (!json_is_string(member(object, names->prompt)))
        return NULL;
    m = metadata_new(names->origin);
    take_text(&m->prompt, member(object, names->prompt));
    take_text(&m->negative, member(object, names->negative));
    take(m, "Steps", member(object, names->steps));
    take(m, "Sampler", member(object, names->sampler));
    take(m, "Schedule type", member(object, names->schedule));
    take(m, "CFG scale", member(object, names->cfg));
    take(m, "Seed", member(object, names->seed));
    take_size(m, member(object, names->width), member(object, names->height));
    if (size && sscanf(size, "(%6d, %6d)", &width, &height) == 2)
        metadata_add_take(m, "Size", g_strdup_printf("%dx%d", width, height));
    take_model(m, json_is_object(model)
                      ? (json_object_get(model, "name") ? json_object_get(model, "name")
                                                        : json_object_get(model, "model_name"))
                      : model);
    return m;
}

static struct metadata *try_json(const char *text, const struct flat *names)
{
    json_t *object = text ? parse(text) : NULL;
    struct metadata *m = NULL;

    if (json_is_object(object))
        m = names ? from_flat(object, names) : from_comfy(object);
    json_decref(object);
    return m;
}

static const char *find(GHashTable *texts, const char *key)
{
    return g_hash_table_lookup(texts, key);
}

struct metadata *metadata_from_texts(GHashTable *texts)
{
    const char *parameters = find(texts, "parameters");
    struct metadata *m = NULL;

    if (parameters && *parameters == '{' && find(texts, "fooocus_scheme"))
        m = try_json(parameters, &fooocus);
    if (!m && parameters)
        return metadata_parse(parameters);
    if (!m)
        m = try_json(find(texts, "invokeai_metadata"), &invoke);
    if (!m)
        m = try_json(find(texts, "prompt"), NULL);
    if (!m && g_strcmp0(find(texts, "Software"), "NovelAI") == 0)
        m = try_json(find(texts, "Comment"), &novelai);
    return m;
}
