/* A1111's text, written and read: against its own rules (tests/golden/make_metadata.py). */
#include "tests/check.h"

#include <jansson.h>

#include "engine/metadata.h"

static void test_write(void)
{
    struct request r = {.prompt = "a red apple",
                        .negative = "worm, rot",
                        .steps = 20,
                        .sampler = "DPM++ 2M",
                        .schedule = "Karras",
                        .cfg = 7,
                        .seed = 1,
                        .width = 512,
                        .height = 768,
                        .clip_skip = 1,
                        .rng = RNG_GPU};
    struct metadata_model model = {.name = "v1-5-pruned-emaonly", .hash = "6ce0161689"};
    char *text = metadata_write(&r, &model);

    CHECK_STR(text, "a red apple\nNegative prompt: worm, rot\nSteps: 20, Sampler: DPM++ 2M, "
                    "Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model hash: "
                    "6ce0161689, Model: v1-5-pruned-emaonly, Version: Figment 0.1.0");
    g_free(text);

    /* No negative line when it is empty; None is dropped; quoting; Python's str() of numbers. */
    r.negative = "";
    r.cfg = 7.1;
    r.seed = G_MAXUINT64;
    r.clip_skip = 2;
    r.rng = RNG_CPU;
    r.variation_seed = 5;
    r.variation_strength = 0.1;
    r.init_path = "x.png";
    r.strength = 0.75;
    r.fixed_eta = true;
    r.eta = 0.3;
    model = (struct metadata_model){.name = "odd, \"name\": é"};
    text = metadata_write(&r, &model);
    CHECK_STR(text, "a red apple\nSteps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: "
                    "7.1, Seed: 18446744073709551615, Size: 512x768, Model: \"odd, \\\"name\\\": "
                    "é\", Variation seed: 5, Variation seed strength: 0.1, Denoising strength: "
                    "0.75, Clip skip: 2, RNG: CPU, Eta: 0.3, Version: Figment 0.1.0");
    g_free(text);
}

static void test_parse(const json_t *c)
{
    const char *text = json_string_value(json_object_get(c, "text"));
    struct metadata *m = metadata_parse(text);
    json_t *settings = json_object_get(c, "settings"), *value;
    const char *key;

    CHECK_STR(m->prompt, json_string_value(json_object_get(c, "prompt")));
    CHECK_STR(m->negative, json_string_value(json_object_get(c, "negative")));
    CHECK(m->keys->len == json_object_size(settings), "%u pairs, expected %zu, in: %s",
          m->keys->len, json_object_size(settings), text);
    json_object_foreach(settings, key, value)
        CHECK_STR(metadata_get(m, key), json_string_value(value));
    metadata_free(m);
}

/* What was written comes back, whatever the prompt holds. */
static void test_round_trip(void)
{
    static const char *const prompts[] = {"plain", "with\nlines", "a: b, c: d, e: f",
                                          "Ein Apfel für 林檎 🍎", "(a:1.3), [b|c], x AND y"};

    for (gsize i = 0; i < G_N_ELEMENTS(prompts); i++) {
        struct request r = {.prompt = (char *)prompts[i],
                            .negative = (char *)prompts[(i + 1) % G_N_ELEMENTS(prompts)],
                            .steps = 31,
                            .sampler = "Euler a",
                            .schedule = "Karras",
                            .cfg = 2.5,
                            .seed = 12345678901234567890u,
                            .width = 256,
                            .height = 320,
                            .clip_skip = 2};
        struct metadata_model model = {.name = "starter", .hash = "0123456789"};
        struct request back = {0};
        GPtrArray *notices = g_ptr_array_new_with_free_func(g_free);
        char *text = metadata_write(&r, &model);
        struct metadata *m = metadata_parse(text);

        metadata_apply(m, &back, NULL, notices);
        CHECK_STR(m->origin, "Figment");
        CHECK_STR(back.prompt, r.prompt);
        CHECK_STR(back.negative, r.negative);
        CHECK_STR(back.sampler, "Euler a");
        CHECK_STR(back.schedule, "Karras");
        CHECK_STR(back.model, "starter");
        CHECK(back.steps == 31 && back.cfg == 2.5 && back.seed == r.seed && back.fixed_seed &&
                  back.width == 256 && back.height == 320 && back.clip_skip == 2 &&
                  back.rng == RNG_CPU,
              "a number changed");
        CHECK(notices->len == 0, "%s", notices->len ? (char *)notices->pdata[0] : "");
        g_ptr_array_unref(notices);
        metadata_free(m);
        request_clear(&back);
        g_free(text);
    }
}

static void test_clamped(void)
{
    struct metadata *m = metadata_parse(
        "x\nSteps: 100000, Sampler: DPM++ 2M Karras, CFG scale: nan, Seed: -5, Size: 99999x13, "
        "Clip skip: 2, Denoising strength: 3, Hires upscale: 2, RNG: NV");
    struct request r = {.cfg = 3, .sampler = g_strdup("Euler")};
    GPtrArray *changes = g_ptr_array_new_with_free_func(g_free);
    GPtrArray *notices = g_ptr_array_new_with_free_func(g_free);

    metadata_apply(m, &r, changes, notices);
    CHECK(r.steps == 500, "%d", r.steps);
    CHECK(r.cfg == 3, "%g", r.cfg);
    CHECK(!r.fixed_seed, "a negative seed was taken");
    CHECK(r.width == 4096 && r.height == 64, "%dx%d", r.width, r.height);
    CHECK(r.strength == 1, "%g", r.strength);
    CHECK(r.rng == RNG_GPU, "A1111's default generator");
    CHECK_STR(r.sampler, "DPM++ 2M");
    CHECK_STR(r.schedule, "Karras");
    CHECK(notices->len == 6, "%u notices", notices->len);
    CHECK_STR(notices->pdata[0], "Steps was 100000 and became 500.");
    g_ptr_array_unref(changes);
    g_ptr_array_unref(notices);
    metadata_free(m);

    m = metadata_parse("x\nSteps: 5, Sampler: Quantum Leap, CFG scale: 2");
    notices = g_ptr_array_new_with_free_func(g_free);
    metadata_apply(m, &r, NULL, notices);
    CHECK_STR(r.sampler, "DPM++ 2M");
    CHECK_STR(notices->pdata[0], "The sampler “Quantum Leap” is not known here; DPM++ 2M stays.");
    g_ptr_array_unref(notices);
    metadata_free(m);
    request_clear(&r);
}

static struct metadata *from(const char *key, const char *value, const char *key2,
                             const char *value2)
{
    GHashTable *texts = g_hash_table_new(g_str_hash, g_str_equal);
    struct metadata *m;

    g_hash_table_insert(texts, (char *)key, (char *)value);
    if (key2)
        g_hash_table_insert(texts, (char *)key2, (char *)value2);
    m = metadata_from_texts(texts);
    g_hash_table_unref(texts);
    return m;
}

static void check_foreign(struct metadata *m, const char *origin, const char *prompt,
                          const char *negative, const char *seed, const char *size)
{
    CHECK(m, "%s was not understood", origin);
    if (!m)
        return;
    CHECK_STR(m->origin, origin);
    CHECK_STR(m->prompt, prompt);
    CHECK_STR(m->negative, negative);
    CHECK_STR(metadata_get(m, "Seed"), seed);
    CHECK_STR(metadata_get(m, "Size"), size);
    metadata_free(m);
}

static void check_keys(struct metadata *m, const char *origin, const char *prompt,
                       const char *const *pairs)
{
    CHECK(m, "%s was not understood", origin);
    if (!m)
        return;
    CHECK_STR(m->origin, origin);
    CHECK_STR(m->prompt, prompt);
    for (; *pairs; pairs += 2)
        CHECK_STR(metadata_get(m, pairs[0]), pairs[1]);
    metadata_free(m);
}

/* What these programs write today, with everything that has a place here. */
static void check_programs(void)
{
    /* ComfyUI: a sampler in parts, two LoRA, an autoencoder and clip skip of their own, and an
     * enlarged latent. */
    check_keys(
        from("prompt",
             "{\"1\":{\"class_type\":\"SamplerCustomAdvanced\",\"inputs\":{\"noise\":[\"2\",0],"
             "\"guider\":[\"3\",0],\"sampler\":[\"4\",0],\"sigmas\":[\"5\",0],"
             "\"latent_image\":[\"6\",0]}},"
             "\"2\":{\"class_type\":\"RandomNoise\",\"inputs\":{\"noise_seed\":123}},"
             "\"3\":{\"class_type\":\"CFGGuider\",\"inputs\":{\"cfg\":4.5,\"model\":[\"8\",0],"
             "\"positive\":[\"9\",0],\"negative\":[\"10\",0]}},"
             "\"4\":{\"class_type\":\"KSamplerSelect\",\"inputs\":{\"sampler_name\":\"euler\"}},"
             "\"5\":{\"class_type\":\"BasicScheduler\",\"inputs\":{\"scheduler\":\"normal\","
             "\"steps\":25,\"denoise\":1}},"
             "\"6\":{\"class_type\":\"LatentUpscaleBy\",\"inputs\":{\"samples\":[\"7\",0]}},"
             "\"7\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":{\"width\":640,"
             "\"height\":512}},"
             "\"8\":{\"class_type\":\"LoraLoader\",\"inputs\":{\"lora_name\":"
             "\"style/ink.safetensors\",\"strength_model\":0.8,\"model\":[\"11\",0],"
             "\"clip\":[\"11\",1]}},"
             "\"9\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"apple\","
             "\"clip\":[\"12\",0]}},"
             "\"10\":{\"class_type\":\"CLIPTextEncode\",\"inputs\":{\"text\":\"worm\","
             "\"clip\":[\"12\",0]}},"
             "\"11\":{\"class_type\":\"LoraLoaderModelOnly\",\"inputs\":{\"lora_name\":"
             "\"more.safetensors\",\"strength_model\":1.0,\"model\":[\"13\",0]}},"
             "\"12\":{\"class_type\":\"CLIPSetLastLayer\",\"inputs\":{"
             "\"stop_at_clip_layer\":-2,\"clip\":[\"8\",1]}},"
             "\"13\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":"
             "\"xl.safetensors\"}},"
             "\"14\":{\"class_type\":\"VAELoader\",\"inputs\":{\"vae_name\":"
             "\"fix.safetensors\"}}}",
             NULL, NULL),
        "ComfyUI", "apple <lora:ink:0.8> <lora:more:1>",
        (const char *[]){"Steps", "25", "Sampler", "euler", "Schedule type", "normal", "CFG scale",
                         "4.5", "Seed", "123", "Size", "640x512", "Clip skip", "2", "Model", "xl",
                         "VAE", "fix", NULL});
    check_keys(from("parameters",
                    "{\"base_model\":\"jugger_v8\",\"base_model_hash\":\"aeb7e9e689\","
                    "\"clip_skip\":2,\"guidance_scale\":4,\"loras\":[[\"off.safetensors\",0.1,"
                    "\"4852686128\"]],\"negative_prompt\":\"\",\"prompt\":\"apple\","
                    "\"resolution\":\"(1152, 896)\",\"sampler\":\"dpmpp_2m_sde_gpu\","
                    "\"scheduler\":\"karras\",\"seed\":\"12345678901234567890\",\"steps\":30,"
                    "\"styles\":\"['Fooocus V2']\",\"vae\":\"Default (model)\"}",
                    "fooocus_scheme", "fooocus"),
               "Fooocus", "apple <lora:off:0.1>",
               (const char *[]){"Model hash", "aeb7e9e689", "Clip skip", "2", "Seed",
                                "12345678901234567890", "Styles", "['Fooocus V2']", "Sampler",
                                "dpmpp_2m_sde_gpu", NULL});
    check_keys(from("invokeai_metadata",
                    "{\"positive_prompt\":\"apple\",\"negative_prompt\":\"\",\"seed\":7,"
                    "\"clip_skip\":1,\"steps\":30,\"cfg_scale\":7.5,\"scheduler\":\"dpmpp_2m_k\","
                    "\"model\":{\"name\":\"m\",\"base\":\"sd-1\"},\"loras\":[{\"model\":{"
                    "\"name\":\"ink\"},\"weight\":0.75}],\"strength\":0.6}",
                    NULL, NULL),
               "InvokeAI", "apple <lora:ink:0.75>",
               (const char *[]){"Clip skip", "2", "Denoising strength", "0.6", "Model", "m", NULL});
    check_keys(from("sd-metadata",
                    "{\"model\":\"stable diffusion\",\"model_weights\":\"sd-1.5\",\"image\":{"
                    "\"prompt\":[{\"prompt\":\"apple [worm]\",\"weight\":1}],\"steps\":20,"
                    "\"cfg_scale\":7.5,\"seed\":9,\"width\":512,\"height\":512,\"sampler\":"
                    "\"k_lms\"}}",
                    NULL, NULL),
               "InvokeAI", "apple",
               (const char *[]){"Sampler", "k_lms", "Model", "sd-1.5", "Size", "512x512", NULL});
    check_keys(from("Comment",
                    "{\"prompt\":\"apple\",\"uc\":\"\",\"seed\":5,\"steps\":28,\"scale\":5,"
                    "\"sampler\":\"k_euler_ancestral\",\"noise_schedule\":\"native\"}",
                    "Software", "NovelAI"),
               "NovelAI", "apple",
               (const char *[]){"Sampler", "k_euler_ancestral", "Steps", "28", NULL});
    {
        struct metadata *m =
            metadata_parse("apple\nNegative prompt: worm\nSteps: 20, CFG scale: 7.000000, "
                           "Guidance: 3.500000, Eta: 0.000000, Seed: 42, Size: 512x512, Model: "
                           "sd.safetensors, RNG: cuda, Sampler: euler_a karras, Version: "
                           "stable-diffusion.cpp");
        struct request r = {0};

        CHECK_STR(m->origin, "stable-diffusion.cpp");
        metadata_apply(m, &r, NULL, NULL);
        CHECK_STR(r.sampler, "Euler a");
        CHECK_STR(r.schedule, "Karras");
        CHECK(r.cfg == 7 && r.steps == 20 && r.seed == 42 && r.rng == RNG_GPU);
        request_clear(&r);
        metadata_free(m);
    }
}

/* Names from a picture are looked up, never opened (P5); what A1111 calls its emphasis. */
static void test_names(void)
{
    struct metadata *m = metadata_parse("(a)\nSteps: 20, Sampler: Euler, Seed: 1, VAE hash: 0123, "
                                        "VAE: ../../etc/passwd, Emphasis: No norm");
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    struct request r = {0};
    char *text;

    metadata_apply(m, &r, NULL, notices);
    CHECK(!r.vae && notices->len == 1, "%u", notices->len);
    CHECK(r.emphasis == EMPHASIS_NO_NORM);
    r.vae = g_strdup("fix.safetensors");
    text = metadata_write(&r, &(struct metadata_model){.name = "m",
                                                       .hash = "0123456789",
                                                       .vae = "fix.safetensors",
                                                       .vae_hash = "9876543210"});
    CHECK(strstr(text, "Model hash: 0123456789, Model: m, VAE hash: 9876543210, VAE: "
                       "fix.safetensors, ") &&
              strstr(text, ", Emphasis: No norm, Version: "),
          "%s", text);
    g_free(text);
    r.emphasis = EMPHASIS_COMFY;
    g_free(r.prompt);
    r.prompt = g_strdup("plain");
    text = metadata_write(&r, NULL);
    CHECK(!strstr(text, "Emphasis"), "only where something is emphasized, as A1111");
    g_free(text);
    request_clear(&r);
    metadata_free(m);
}

static void test_foreign(void)
{
    static const char comfy[] =
        "{\"3\":{\"class_type\":\"KSampler\",\"inputs\":{\"seed\":77,\"steps\":20,\"cfg\":8.0,"
        "\"sampler_name\":\"dpmpp_2m\",\"scheduler\":\"karras\",\"denoise\":1.0,\"model\":[\"4\",0]"
        ","
        "\"positive\":[\"6\",0],\"negative\":[\"7\",0],\"latent_image\":[\"5\",0]}},"
        "\"4\":{\"class_type\":\"CheckpointLoaderSimple\",\"inputs\":{\"ckpt_name\":"
        "\"SD1.5\\\\v1-5.safetensors\"}},\"5\":{\"class_type\":\"EmptyLatentImage\",\"inputs\":"
        "{\"width\":512,\"height\":640,\"batch_size\":1}},\"6\":{\"class_type\":\"CLIPTextEncode\","
        "\"inputs\":{\"text\":[\"9\",0],\"clip\":[\"4\",1]}},\"7\":{\"class_type\":"
        "\"CLIPTextEncode\",\"inputs\":{\"text\":\"worm\",\"clip\":[\"4\",1]}},\"9\":{\"class_"
        "type\":"
        "\"StringConstant\",\"inputs\":{\"string\":\"apple\"}}}";
    /* A ring of links must end. */
    static const char ring[] =
        "{\"1\":{\"class_type\":\"KSampler\",\"inputs\":{\"positive\":[\"2\",0],\"model\":[\"2\",0]"
        "}},"
        "\"2\":{\"class_type\":\"X\",\"inputs\":{\"conditioning\":[\"2\",0],\"model\":[\"2\",0],"
        "\"text\":[\"2\",0]}}}";
    GString *deep = g_string_new(NULL);
    struct metadata *m = from("prompt", comfy, NULL, NULL);

    CHECK_STR(m ? metadata_get(m, "Model") : NULL, "v1-5");
    CHECK_STR(m ? metadata_get(m, "Sampler") : NULL, "dpmpp_2m");
    check_foreign(m, "ComfyUI", "apple", "worm", "77", "512x640");
    m = from("prompt", ring, NULL, NULL);
    CHECK(m && !*m->prompt, "a ring of links");
    metadata_free(m);
    check_foreign(from("invokeai_metadata",
                       "{\"positive_prompt\":\"apple\",\"negative_prompt\":\"worm\",\"seed\":5,"
                       "\"width\":512,\"height\":512,\"steps\":30,\"cfg_scale\":7.5,\"scheduler\":"
                       "\"euler\",\"model\":{\"name\":\"m\"}}",
                       NULL, NULL),
                  "InvokeAI", "apple", "worm", "5", "512x512");
    check_foreign(from("parameters",
                       "{\"prompt\":\"apple\",\"negative_prompt\":\"worm\",\"seed\":\"5\","
                       "\"resolution\":\"(896, 1152)\",\"steps\":30}",
                       "fooocus_scheme", "fooocus"),
                  "Fooocus", "apple", "worm", "5", "896x1152");
    check_foreign(from("Comment",
                       "{\"prompt\":\"apple\",\"uc\":\"worm\",\"seed\":5,\"width\":832,"
                       "\"height\":1216,\"scale\":5}",
                       "Software", "NovelAI"),
                  "NovelAI", "apple", "worm", "5", "832x1216");
    check_programs();
    for (int i = 0; i < 100000; i++)
        g_string_append_c(deep, '[');
    CHECK(!from("prompt", deep->str, NULL, NULL), "too deep");
    g_string_free(deep, TRUE);
}

int main(void)
{
    json_t *cases = json_load_file("tests/golden/metadata.json", 0, NULL);

    test_write();
    CHECK(json_array_size(cases) > 150, "the golden file is not there");
    for (size_t i = 0; i < json_array_size(cases); i++)
        test_parse(json_array_get(cases, i));
    json_decref(cases);
    test_round_trip();
    test_clamped();
    test_foreign();
    test_names();
    return check_result();
}
