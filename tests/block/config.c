/* Configurations that the networks do not have, or that make no sense: a sentence for each. */
#include "tests/check.h"
#include "unet/unet.h"
#include "vae/vae.h"
#include "vae/tiny.h"
#include "weights/random.h"

static json_t *parse(const char *text)
{
    g_autofree char *quoted = g_strdelimit(g_strdup(text), "'", '"');
    json_t *json = json_loads(quoted, 0, NULL);
    g_assert(json);
    return json;
}

static void refuse(const char *text, const char *sentence)
{
    GError *error = NULL;
    struct unet_config config;
    json_t *json = parse(text);
    CHECK(!unet_config_read(&config, json, &error), "%s was read", text);
    CHECK(error && strstr(error->message, sentence), "%s: \"%s\", expected \"%s\"", text,
          error ? error->message : "", sentence);
    CHECK(error && g_str_has_prefix(error->message, "unet/config.json: "));
    g_clear_error(&error);
    json_decref(json);
}

static void refuse_vae(const char *text, const char *sentence)
{
    GError *error = NULL;
    struct vae_config config;
    json_t *json = parse(text);
    CHECK(!vae_config_read(&config, json, &error), "%s was read", text);
    CHECK(error && strstr(error->message, sentence), "%s: \"%s\", expected \"%s\"", text,
          error ? error->message : "", sentence);
    g_clear_error(&error);
    json_decref(json);
}

static void test_unet(void)
{
    refuse("{'in_channels': 0}", "“in_channels” is 0; it must be 1 to 64.");
    refuse("{'in_channels': 'four'}", "“in_channels” must be a whole number.");
    refuse("{'block_out_channels': [1000000000]}", "“block_out_channels” is 1000000000");
    refuse("{'block_out_channels': [32, 32, 32, 32, 32, 32, 32]}", "has 7 values; at most 6");
    refuse("{'block_out_channels': [320, 640]}", "must have as many values");
    refuse("{'block_out_channels': [36, 72, 144, 144]}", "36 channels cannot be split into 32");
    refuse("{'layers_per_block': 9}", "“layers_per_block” is 9; it must be 1 to 8.");
    refuse("{'layers_per_block': [1, 2]}", "“layers_per_block” has 2 values for 4 levels.");
    refuse("{'attention_head_dim': 7}", "320 channels cannot be split into 7 heads");
    refuse("{'num_attention_heads': [5, 10, 20, 19]}", "1280 channels cannot be split into 19");
    refuse("{'cross_attention_dim': [768, 768, 1024, 768]}", "“cross_attention_dim” differs");
    refuse("{'class_embed_type': 'projection'}", "class labels, as unCLIP");
    refuse("{'num_class_embeds': 1000}", "the 4x upscaler");
    refuse("{'only_cross_attention': [true, true, true, false]}", "“only_cross_attention” is set");
    refuse("{'dual_cross_attention': true}", "“dual_cross_attention” is true: this version");
    refuse("{'resnet_time_scale_shift': 'scale_shift'}", "another kind of time embedding");
    refuse("{'conv_in_kernel': 5}", "“conv_in_kernel” is 5");
    refuse("{'act_fn': 'mish'}", "“act_fn” is “mish”, which this version does not know");
    refuse("{'addition_embed_type': 'image'}", "“addition_embed_type” is “image”");
    refuse("{'addition_embed_type': 'text_time'}", "is missing or odd");
    refuse("{'encoder_hid_dim': 1024}", "Kandinsky's");
    refuse("{'center_input_sample': true}", "“center_input_sample” is true");
    refuse("{'mid_block_type': 'UNetMidBlock2DSimpleCrossAttn'}", "a middle block of type");
    refuse("{'down_block_types': ['CrossAttnDownBlock2D', 'CrossAttnDownBlock2D', "
           "'CrossAttnDownBlock2D', 'SimpleCrossAttnDownBlock2D']}",
           "blocks of type “SimpleCrossAttnDownBlock2D”");
    refuse("{'transformer_layers_per_block': [1, 2, 0, 1]}", "must hold whole numbers from 1");
    refuse("{'transformer_layers_per_block': [1, [2, 2], 1, 1]}", "is missing, which must go with");
    refuse("{'transformer_layers_per_block': [1, [2], 1, 1], "
           "'reverse_transformer_layers_per_block': [1, 1, 1, 1]}",
           "has 1 values for a block of 2 layers");
    refuse("{'norm_eps': -1}", "“norm_eps” is -1");
}

static void test_vae(void)
{
    refuse_vae("{'block_out_channels': [32, 32]}", "must have as many values");
    refuse_vae("{'down_block_types': ['AttnDownEncoderBlock2D']}", "blocks of type “AttnDown");
    refuse_vae("{'latent_channels': 17}", "it must be 1 to 16");
    refuse_vae("{'scaling_factor': 0}", "“scaling_factor” is 0");
    refuse_vae("{'latents_mean': [1, 2]}", "must have a number for each of the 4 channels");
    refuse_vae("{'latents_std': [1, 2, 0, 1]}", "out of range");
    refuse_vae("{'norm_num_groups': 33}", "64 channels cannot be split into 33 groups");
}

/* Defaults are diffusers': an empty file is an SD 1.x U-Net but for the width of the text. */
static void test_defaults(void)
{
    struct unet_config c;
    json_t *json = parse("{'num_attention_heads': [5, 10, 20, 20], 'attention_head_dim': 64}");
    CHECK(unet_config_read(&c, json, NULL));
    CHECK(c.levels == 4 && c.level[3].channels == 1280 && c.level[0].layers == 2);
    CHECK(c.level[1].heads == 10, "num_attention_heads goes before attention_head_dim");
    CHECK(c.level[0].down_depth[1] == 1 && c.level[3].down_depth[0] == 0);
    CHECK(c.level[0].up_depth[2] == 1 && c.level[3].up_depth[2] == 0 && c.mid_depth == 1);
    CHECK(c.text_channels == 1280 && c.time_channels == 1280 && c.cos_first && c.shift == 0);
    json_decref(json);
}

/* All that is missing in one message. */
static void test_missing(void)
{
    GError *error = NULL;
    struct weights *none = weights_open("tests/golden/models/vae.safetensors", &error);
    json_t *json = parse("{}");
    struct unet u;
    struct tiny tiny;
    CHECK(none && !unet_init(&u, none, json, &error));
    CHECK(error && strstr(error->message, "unet: 686 of 686 parts are missing (first: "), "%s",
          error ? error->message : "");
    g_clear_error(&error);
    CHECK(!tiny_init(&tiny, none, &error));
    CHECK(error && strstr(error->message, "is not a TAESD file"), "%s",
          error ? error->message : "");
    g_clear_error(&error);
    weights_destroy(none);
    json_decref(json);
}

int main(void)
{
    test_unet();
    test_vae();
    test_defaults();
    test_missing();
    return check_result();
}
