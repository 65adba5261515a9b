#include "engine/random_model.h"

#include "weights/random.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>

/* What the published config.json files say, where it is not diffusers' or transformers' default. */

#define UNET_SD "'sample_size': 64, 'cross_attention_dim': 768"
#define UNET_SD2                                                                                   \
    "'sample_size': 96, 'cross_attention_dim': 1024, 'attention_head_dim': [5, 10, 20, 20], "      \
    "'use_linear_projection': true, 'upcast_attention': true"
#define UNET_SDXL                                                                                  \
    "'sample_size': 128, 'cross_attention_dim': 2048, 'attention_head_dim': [5, 10, 20], "         \
    "'block_out_channels': [320, 640, 1280], 'transformer_layers_per_block': [1, 2, 10], "         \
    "'down_block_types': ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'], "        \
    "'up_block_types': ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], "                \
    "'use_linear_projection': true, 'addition_embed_type': 'text_time', "                          \
    "'addition_time_embed_dim': 256, 'projection_class_embeddings_input_dim': 2816"
#define UNET_REFINER                                                                               \
    "'sample_size': 128, 'cross_attention_dim': 1280, 'attention_head_dim': [6, 12, 24, 24], "     \
    "'block_out_channels': [384, 768, 1536, 1536], 'transformer_layers_per_block': 4, "            \
    "'down_block_types': "                                                                         \
    "['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', 'DownBlock2D'], "             \
    "'up_block_types': ['UpBlock2D', 'CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'], "   \
    "'use_linear_projection': true, 'addition_embed_type': 'text_time', "                          \
    "'addition_time_embed_dim': 256, 'projection_class_embeddings_input_dim': 2560"

#define VAE                                                                                        \
    "'block_out_channels': [128, 256, 512, 512], 'layers_per_block': 2, "                          \
    "'down_block_types': ['DownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D', "      \
    "'DownEncoderBlock2D'], 'up_block_types': ['UpDecoderBlock2D', 'UpDecoderBlock2D', "           \
    "'UpDecoderBlock2D', 'UpDecoderBlock2D']"

#define CLIP_L                                                                                     \
    "'architectures': ['CLIPTextModel'], 'vocab_size': 49408, 'max_position_embeddings': 77, "     \
    "'hidden_size': 768, 'num_hidden_layers': 12, 'num_attention_heads': 12, "                     \
    "'intermediate_size': 3072, 'hidden_act': 'quick_gelu', 'projection_dim': 768"
#define CLIP_H                                                                                     \
    "'architectures': ['CLIPTextModel'], 'vocab_size': 49408, 'max_position_embeddings': 77, "     \
    "'hidden_size': 1024, 'num_hidden_layers': 23, 'num_attention_heads': 16, "                    \
    "'intermediate_size': 4096, 'hidden_act': 'gelu', 'projection_dim': 512"
#define CLIP_G                                                                                     \
    "'architectures': ['CLIPTextModelWithProjection'], 'vocab_size': 49408, "                      \
    "'max_position_embeddings': 77, 'hidden_size': 1280, 'num_hidden_layers': 32, "                \
    "'num_attention_heads': 20, 'intermediate_size': 5120, 'hidden_act': 'gelu', "                 \
    "'projection_dim': 1280"

static const struct shape {
    const char *name;
    enum model_family family;
    const char *config[MODEL_PARTS]; /* NULL: no such part */
} shapes[] = {
    {"sd15",
     MODEL_SD1,
     {"{" UNET_SD "}", "{" VAE ", 'scaling_factor': 0.18215}", "{" CLIP_L "}", NULL}},
    {"sd15-inpaint",
     MODEL_SD1,
     {"{" UNET_SD ", 'in_channels': 9}", "{" VAE ", 'scaling_factor': 0.18215}", "{" CLIP_L "}",
      NULL}},
    {"sd21",
     MODEL_SD2,
     {"{" UNET_SD2 "}", "{" VAE ", 'scaling_factor': 0.18215}", "{" CLIP_H "}", NULL}},
    {"sdxl",
     MODEL_SDXL,
     {"{" UNET_SDXL "}", "{" VAE ", 'scaling_factor': 0.13025}", "{" CLIP_L "}", "{" CLIP_G "}"}},
    {"sdxl-refiner",
     MODEL_SDXL_REFINER,
     {"{" UNET_REFINER "}", "{" VAE ", 'scaling_factor': 0.13025}", NULL, "{" CLIP_G "}"}},
};

const char *const *random_model_names(void)
{
    static const char *names[G_N_ELEMENTS(shapes) + 1];
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        names[i] = shapes[i].name;
    return names;
}

static json_t *parse(const char *config)
{
    g_autofree char *text = g_strdelimit(g_strdup(config), "'", '"');
    json_t *json = json_loads(text, 0, NULL);
    g_assert(json);
    return json;
}

struct model *random_model_create(const char *name, uint64_t seed, GError **error)
{
    const struct shape *shape = NULL;
    for (size_t i = 0; i < G_N_ELEMENTS(shapes); i++)
        if (g_str_equal(shapes[i].name, name))
            shape = &shapes[i];
    if (!shape) {
        g_autofree char *all = g_strjoinv(", ", (char **)random_model_names());
        g_set_error(error, G_IO_ERROR, G_IO_ERROR_NOT_FOUND,
                    _("There is no model shape “%s”; there are: %s."), name, all);
        return NULL;
    }

    struct model *m = g_new0(struct model, 1);
    m->path = g_strdup_printf("random:%s", name);
    m->label = g_strdup(name);
    m->family = shape->family;
    for (int i = 0; i < MODEL_PARTS; i++) {
        if (!shape->config[i])
            continue;
        m->config[i] = parse(shape->config[i]);
        m->weights[i] = weights_random(m->path, DTYPE_F16, seed + (uint64_t)i);
    }
    weights_random_add(m->weights[MODEL_VAE], "encoder.conv_in.weight", 4, 128, 3, 3, 3);
    if (shape->family == MODEL_SD2)
        m->scheduler = parse("{'prediction_type': 'v_prediction'}");
    return m;
}
