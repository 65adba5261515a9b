/*
 * Settings in ComfyUI's `prompt`: a graph of nodes {"class_type", "inputs"}, where an input is a
 * value or a link ["node id", slot]. The settings are those of the node that samples and of what it
 * is linked to; a graph of nodes that are not known gives what can be found.
 */
#include "engine/metadata_private.h"

#include <string.h>

#define LINKS_MAX 32 /* links followed at most; a crafted graph may be a ring */

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

static const char *type_of(const json_t *node)
{
    const char *type = json_string_value(json_object_get(node, "class_type"));

    return type ? type : "";
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

/* The first node up the chain of `via` that has the input, or NULL. */
static const json_t *node_with(const json_t *graph, const json_t *link, const char *name,
                               const char *const *via)
{
    for (int i = 0; i < LINKS_MAX; i++) {
        const json_t *node = follow(graph, link);

        if (!node || input(node, name))
            return node;
        link = NULL;
        for (const char *const *v = via; *v && !link; v++)
            link = input(node, *v);
    }
    return NULL;
}

/* KSampler and its kind, else a SamplerCustom, whose settings are spread over nodes. */
static const json_t *find_sampler(const json_t *graph)
{
    const json_t *sampler = NULL;
    json_t *node;
    const char *id;

    json_object_foreach((json_t *)graph, id, node)
    {
        if (strstr(type_of(node), "KSampler") && strcmp(type_of(node), "KSamplerSelect") != 0 &&
            (!sampler || !strcmp(type_of(node), "KSampler")))
            sampler = node;
        else if (!sampler && g_str_has_prefix(type_of(node), "SamplerCustom"))
            sampler = node;
    }
    return sampler;
}

/* A value that is the sampler's own, or of the node that one of its inputs is linked to. */
static const json_t *spread(const json_t *graph, const json_t *sampler, const char *name,
                            const char *link)
{
    const json_t *own = input(sampler, name);

    return own && !json_is_array(own) ? own : input(follow(graph, input(sampler, link)), name);
}

static void take_loras(struct metadata *m, const json_t *graph, const json_t *link)
{
    for (int i = 0; i < LINKS_MAX; i++) {
        const json_t *node = follow(graph, link);

        if (!node)
            return;
        if (json_is_string(input(node, "lora_name")))
            metadata_add_lora(m, input(node, "lora_name"), input(node, "strength_model"));
        link = input(node, "model");
    }
}

static void take_add_ons(struct metadata *m, const json_t *graph, const json_t *model,
                         const json_t *positive)
{
    static const char *const clip_via[] = {"clip", "conditioning", "positive", NULL};
    const json_t *skip =
        input(node_with(graph, positive, "stop_at_clip_layer", clip_via), "stop_at_clip_layer");
    json_t *node;
    const char *id;

    take_loras(m, graph, model);
    if (json_is_integer(skip) && json_integer_value(skip) < 0 && json_integer_value(skip) >= -12)
        metadata_add_take(m, "Clip skip", g_strdup_printf("%d", (int)-json_integer_value(skip)));
    json_object_foreach((json_t *)graph, id, node)
    {
        if (strcmp(type_of(node), "VAELoader") == 0)
            metadata_take_model(m, "VAE", input(node, "vae_name"));
    }
}

struct metadata *metadata_from_comfy(const json_t *graph)
{
    static const char *const text[] = {"text", "text_g", "text_l", NULL};
    static const char *const text_via[] = {"conditioning", "conditioning_1", "positive", NULL};
    static const char *const model[] = {"ckpt_name", "unet_name", NULL};
    static const char *const model_via[] = {"model", NULL};
    static const char *const latent_via[] = {"samples", "latent_image", "latent", NULL};
    const json_t *sampler = find_sampler(graph), *guider, *latent, *positive, *negative, *from;
    struct metadata *m;

    if (!sampler)
        return NULL;
    m = metadata_new("ComfyUI");
    guider = follow(graph, input(sampler, "guider"));
    guider = guider ? guider : sampler;
    metadata_take_json(m, "Steps", spread(graph, sampler, "steps", "sigmas"));
    metadata_take_json(m, "Sampler", spread(graph, sampler, "sampler_name", "sampler"));
    metadata_take_json(m, "Schedule type", spread(graph, sampler, "scheduler", "sigmas"));
    metadata_take_json(m, "CFG scale", input(guider, "cfg"));
    metadata_take_json(m, "Seed",
                       input(sampler, "seed") ? input(sampler, "seed")
                                              : spread(graph, sampler, "noise_seed", "noise"));
    positive =
        input(guider, "positive") ? input(guider, "positive") : input(guider, "conditioning");
    negative = input(guider, "negative");
    metadata_take_text(&m->prompt, find_up(graph, positive, text, text_via));
    metadata_take_text(&m->negative, find_up(graph, negative, text, text_via));
    latent = node_with(graph, input(sampler, "latent_image"), "width", latent_via);
    metadata_take_size(m, input(latent, "width"), input(latent, "height"));
    if (json_is_number(input(sampler, "denoise")) &&
        json_number_value(input(sampler, "denoise")) < 1)
        metadata_take_json(m, "Denoising strength", input(sampler, "denoise"));
    from = input(guider, "model") ? input(guider, "model") : input(sampler, "model");
    metadata_take_model(m, "Model", find_up(graph, from, model, model_via));
    take_add_ons(m, graph, from, positive);
    return m;
}
