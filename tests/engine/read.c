/*
 * Pictures as the programs write them, chunk by chunk, made here and read as “figment read” does:
 * AUTOMATIC1111 (PNG and JPEG), ComfyUI, InvokeAI old and new, Fooocus in both of its schemes,
 * NovelAI, stable-diffusion.cpp old and new (PNG and JPEG). What metadata.c makes of texts alone is
 * tested in metadata.c; rules P1 to P7 for pictures from anywhere stand at the end.
 */
#include "tests/check.h"
#include "tests/engine/chunks.h"

#include "engine/engine.h"
#include "engine/metadata.h"
#include "tests/weights/files.h"

static char *folder;

struct text {
    const char *type, *key, *value; /* type "tEXt", "zTXt" or "iTXt" */
};

static char *write_png(const char *name, const struct text *texts)
{
    GByteArray *png = chunks_start(1, 1);
    char *path = g_build_filename(folder, name, NULL);

    for (; texts->type; texts++)
        chunks_text(png, texts->type, texts->key, texts->value);
    chunks_finish(png);
    write_file(folder, name, png->data, (gssize)png->len);
    g_byte_array_unref(png);
    return path;
}

/* A JPEG as far as its first scan: one marker with this content. */
static char *write_jpeg(const char *name, guint8 marker, const void *content, guint size)
{
    GByteArray *jpeg = g_byte_array_new();
    const guint8 start[] = {
        0xff, 0xd8, 0xff, marker, (guint8)((size + 2) >> 8), (guint8)(size + 2)};
    char *path = g_build_filename(folder, name, NULL);

    g_byte_array_append(jpeg, start, sizeof start);
    g_byte_array_append(jpeg, content, size);
    g_byte_array_append(jpeg, (const guint8 *)"\xff\xda", 2);
    write_file(folder, name, jpeg->data, (gssize)jpeg->len);
    g_byte_array_unref(jpeg);
    return path;
}

/* `pairs`: keys and values; a value of NULL: no such key. */
static void check_read(char *path, const char *origin, const char *prompt, const char *negative,
                       const char *const *pairs)
{
    g_autoptr(GError) error = NULL;
    struct metadata *m = metadata_read(path, &error);

    CHECK(m, "%s: %s", path, error ? error->message : "");
    if (m) {
        CHECK_STR(m->origin, origin);
        CHECK_STR(m->prompt, prompt);
        CHECK_STR(m->negative, negative);
        for (; *pairs; pairs += 2) {
            const char *got = metadata_get(m, pairs[0]);

            CHECK(!g_strcmp0(got, pairs[1]), "%s: %s is “%s”, expected “%s”", path, pairs[0],
                  got ? got : "not there", pairs[1] ? pairs[1] : "not there");
        }
        metadata_free(m);
    }
    g_free(path);
}

#define PNG(name, ...) write_png(name, (const struct text[]){__VA_ARGS__, {NULL, NULL, NULL}})
#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

#define A1111_SETTINGS                                                                             \
    "\nNegative prompt: worm, (rot:1.2)\nSteps: 24, Sampler: DPM++ 2M, Schedule type: Karras, "    \
    "CFG scale: 6.5, Seed: 3141592653, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, "       \
    "Clip skip: 2, Lora hashes: \"ink: 0123456789ab, add: ba9876543210\", Version: v1.10.1"

static void test_a1111(void)
{
    const char *const *pairs =
        PAIRS("Steps", "24", "Sampler", "DPM++ 2M", "Schedule type", "Karras", "CFG scale", "6.5",
              "Seed", "3141592653", "Size", "512x768", "Model hash", "6ce0161689", "Model", "v1-5",
              "Clip skip", "2", "Lora hashes", "ink: 0123456789ab, add: ba9876543210");
    g_autofree char *utf16 = NULL;
    g_autoptr(GByteArray) exif = g_byte_array_new();
    /* As piexif: IFD0 with the Exif IFD, in it the comment of the bytes that follow. */
    guint8 head[] = "Exif\0\0MM\0*\0\0\0\10\0\1\x87\x69\0\4\0\0\0\1\0\0\0\x1a\0\0\0\0"
                    "\0\1\x92\x86\0\7\0\0\0\0\0\0\0\x2c\0\0\0\0UNICODE";
    gsize size;

    check_read(PNG("a.png", {"tEXt", "parameters", "a caf\xe9 <lora:ink:1>" A1111_SETTINGS}),
               "A1111", "a café <lora:ink:1>", "worm, (rot:1.2)", pairs);
    check_read(PNG("a.png", {"iTXt", "parameters", "a 林檎 <lora:ink:1>" A1111_SETTINGS}), "A1111",
               "a 林檎 <lora:ink:1>", "worm, (rot:1.2)", pairs);
    check_read(PNG("a.png", {"zTXt", "parameters", "an apple" A1111_SETTINGS}), "A1111", "an apple",
               "worm, (rot:1.2)", pairs);
    utf16 = g_convert("a 林檎" A1111_SETTINGS, -1, "UTF-16BE", "UTF-8", NULL, &size, NULL);
    head[40] = (guint8)((size + 8) >> 8);
    head[41] = (guint8)(size + 8);
    g_byte_array_append(exif, head, sizeof head);
    g_byte_array_append(exif, (const guint8 *)utf16, (guint)size);
    check_read(write_jpeg("a.jpg", 0xe1, exif->data, exif->len), "A1111", "a 林檎",
               "worm, (rot:1.2)", pairs);
}

static void test_comfy(void)
{
    static const char prompt[] =
        "{\"3\":{\"inputs\":{\"seed\":156680208700286,\"steps\":20,\"cfg\":8,\"sampler_name\":"
        "\"euler\",\"scheduler\":\"normal\",\"denoise\":1,\"model\":[\"10\",0],\"positive\":"
        "[\"6\",0],\"negative\":[\"7\",0],\"latent_image\":[\"5\",0]},\"class_type\":\"KSampler\","
        "\"_meta\":{\"title\":\"KSampler\"}},\"4\":{\"inputs\":{\"ckpt_name\":"
        "\"sub/v1-5.safetensors\"},\"class_type\":\"CheckpointLoaderSimple\"},\"5\":{\"inputs\":"
        "{\"width\":512,\"height\":384,\"batch_size\":1},\"class_type\":\"EmptyLatentImage\"},"
        "\"6\":{\"inputs\":{\"text\":\"a (red:1.2) apple\",\"clip\":[\"10\",1]},\"class_type\":"
        "\"CLIPTextEncode\"},\"7\":{\"inputs\":{\"text\":\"text, watermark\",\"clip\":[\"10\",1]},"
        "\"class_type\":\"CLIPTextEncode\"},\"8\":{\"inputs\":{\"samples\":[\"3\",0],\"vae\":"
        "[\"4\",2]},\"class_type\":\"VAEDecode\"},\"9\":{\"inputs\":{\"filename_prefix\":"
        "\"ComfyUI\",\"images\":[\"8\",0]},\"class_type\":\"SaveImage\"},\"10\":{\"inputs\":"
        "{\"lora_name\":\"ink.safetensors\",\"strength_model\":0.7,\"strength_clip\":1,\"model\":"
        "[\"4\",0],\"clip\":[\"4\",1]},\"class_type\":\"LoraLoader\"}}";

    check_read(PNG("c.png", {"tEXt", "prompt", prompt},
                   {"tEXt", "workflow", "{\"last_node_id\":10,\"nodes\":[],\"version\":0.4}"}),
               "ComfyUI", "a (red:1.2) apple <lora:ink:0.7>", "text, watermark",
               PAIRS("Steps", "20", "Sampler", "euler", "Schedule type", "normal", "CFG scale", "8",
                     "Seed", "156680208700286", "Size", "512x384", "Model", "v1-5"));
}

static void test_invoke(void)
{
    static const char now[] =
        "{\"app_version\":\"4.2.0\",\"generation_mode\":\"txt2img\",\"positive_prompt\":\"an "
        "apple\",\"negative_prompt\":\"worm\",\"width\":512,\"height\":640,\"seed\":2718281828,"
        "\"rand_device\":\"cpu\",\"cfg_scale\":7.5,\"cfg_rescale_multiplier\":0.0,\"steps\":30,"
        "\"scheduler\":\"euler_a\",\"clip_skip\":0,\"model\":{\"key\":\"x\",\"hash\":\"blake3:0\","
        "\"name\":\"v1-5\",\"base\":\"sd-1\",\"type\":\"main\"},\"controlnets\":[],\"loras\":[{"
        "\"model\":{\"key\":\"y\",\"name\":\"ink\",\"type\":\"lora\"},\"weight\":0.75}],\"vae\":{"
        "\"key\":\"z\",\"name\":\"fix\"}}";
    static const char old[] =
        "{\"model\":\"stable diffusion\",\"model_weights\":\"sd-1.5\",\"model_hash\":\"cc6cb2\","
        "\"app_id\":\"invoke-ai/InvokeAI\",\"app_version\":\"v2.3.0\",\"image\":{\"prompt\":[{"
        "\"prompt\":\"an apple [worm]\",\"weight\":1.0}],\"steps\":40,\"cfg_scale\":7.5,"
        "\"threshold\":0,\"seed\":42,\"height\":512,\"width\":576,\"sampler\":\"k_euler_a\","
        "\"type\":\"txt2img\"}}";

    check_read(PNG("i.png", {"tEXt", "invokeai_metadata", now},
                   {"tEXt", "invokeai_workflow", "{\"nodes\":[]}"}),
               "InvokeAI", "an apple <lora:ink:0.75>", "worm",
               PAIRS("Steps", "30", "Sampler", "euler_a", "CFG scale", "7.5", "Seed", "2718281828",
                     "Size", "512x640", "Model", "v1-5"));
    check_read(PNG("i.png",
                   {"tEXt", "Dream", "\"an apple [worm]\" -s 40 -S 42 -W 576 -H 512 -C 7.5"},
                   {"tEXt", "sd-metadata", old}),
               "InvokeAI", "an apple", "worm",
               PAIRS("Steps", "40", "Sampler", "k_euler_a", "CFG scale", "7.5", "Seed", "42",
                     "Size", "576x512", "Model", "sd-1.5"));
}

static void test_fooocus(void)
{
    static const char own[] =
        "{\"adm_guidance\":\"(1.5, 0.8, 0.3)\",\"base_model\":\"jugger_v8\",\"base_model_hash\":"
        "\"aeb7e9e689\",\"clip_skip\":2,\"full_negative_prompt\":[\"worm\",\"blurry\"],"
        "\"full_prompt\":[\"cinematic an apple\",\"an apple, sharp\"],\"guidance_scale\":4,"
        "\"loras\":[[\"offset.safetensors\",0.1,\"4852686128\"]],\"metadata_scheme\":\"fooocus\","
        "\"negative_prompt\":\"worm\",\"performance\":\"Speed\",\"prompt\":\"an apple\","
        "\"prompt_expansion\":\"an apple, sharp\",\"refiner_model\":\"None\",\"refiner_switch\":"
        "0.5,\"resolution\":\"(896, 1152)\",\"sampler\":\"dpmpp_2m_sde_gpu\",\"scheduler\":"
        "\"karras\",\"seed\":\"1234567890123456789\",\"sharpness\":2,\"steps\":30,\"styles\":\"["
        "'Fooocus V2']\",\"vae\":\"Default (model)\",\"version\":\"Fooocus v2.5.5\"}";

    check_read(PNG("f.png", {"tEXt", "fooocus_scheme", "fooocus"}, {"tEXt", "parameters", own}),
               "Fooocus", "an apple <lora:offset:0.1>", "worm",
               PAIRS("Steps", "30", "Sampler", "dpmpp_2m_sde_gpu", "Schedule type", "karras",
                     "CFG scale", "4", "Seed", "1234567890123456789", "Size", "896x1152",
                     "Clip skip", "2", "Model", "jugger_v8", "Model hash", "aeb7e9e689", "VAE",
                     NULL));
    check_read(PNG("f.png", {"tEXt", "fooocus_scheme", "a1111"},
                   {"tEXt", "parameters",
                    "an apple\nNegative prompt: worm\nSteps: 30, Sampler: DPM++ 2M SDE Karras, "
                    "Seed: 99, Size: 896x1152, CFG scale: 4, Sharpness: 2, ADM Guidance: "
                    "\"(1.5, 0.8, 0.3)\", Model: jugger_v8, Model hash: aeb7e9e689, Performance: "
                    "Speed, Version: Fooocus v2.5.5"}),
               "Fooocus", "an apple", "worm",
               PAIRS("Steps", "30", "Sampler", "DPM++ 2M SDE Karras", "Seed", "99", "Size",
                     "896x1152", "Model", "jugger_v8"));
}

static void test_novelai(void)
{
    static const char comment[] =
        "{\"prompt\":\"an apple, {best}\",\"steps\":28,\"height\":1216,\"width\":832,\"scale\":5.0,"
        "\"uncond_scale\":1.0,\"cfg_rescale\":0.0,\"seed\":2718281828,\"n_samples\":1,"
        "\"noise_schedule\":\"karras\",\"sampler\":\"k_euler_ancestral\",\"sm\":false,\"uc\":"
        "\"worm\",\"request_type\":\"PromptGenerateRequest\",\"signed_hash\":\"0\"}";

    check_read(PNG("n.png", {"tEXt", "Title", "AI generated image"},
                   {"tEXt", "Description", "an apple, {best}"}, {"tEXt", "Software", "NovelAI"},
                   {"tEXt", "Source", "Stable Diffusion XL 7BCCAA2C"},
                   {"tEXt", "Generation time", "4.5"}, {"tEXt", "Comment", comment}),
               "NovelAI", "an apple, {best}", "worm",
               PAIRS("Steps", "28", "Sampler", "k_euler_ancestral", "Schedule type", "karras",
                     "CFG scale", "5", "Seed", "2718281828", "Size", "832x1216"));
}

#define SDCPP_TEXT                                                                                 \
    "\nNegative prompt: worm\nSteps: 20, CFG scale: 7.000000, Guidance: 3.500000, Eta: "
#define SDCPP_REST                                                                                 \
    ", Seed: 42, Size: 512x640, Model: sd.safetensors, RNG: cuda, Sampler: euler_a karras, "
/* The prompt in it looks like settings, and must not be taken for some. */
#define SDCPP_JSON                                                                                 \
    "Version: stable-diffusion.cpp, SDCPP: {\"clip_skip\":2,\"generator\":{\"commit\":\"1\","      \
    "\"name\":\"stable-diffusion.cpp\",\"version\":\"2\"},\"height\":640,\"loras\":[{"             \
    "\"is_high_noise\":false,\"multiplier\":0.5,\"name\":\"ink.safetensors\"}],\"mode\":"          \
    "\"img_gen\",\"models\":{\"model\":\"sd.safetensors\",\"vae\":\"fix.safetensors\"},"           \
    "\"prompt\":{\"negative\":\"worm\",\"positive\":\"x, Steps: 99, Seed: 98, Version: 97\"},"     \
    "\"rng\":\"cuda\",\"sampling\":{\"eta\":null,\"guidance\":{\"txt_cfg\":7.0},\"method\":"       \
    "\"euler_a\",\"scheduler\":\"karras\",\"steps\":20},\"schema\":\"sdcpp.image.params/v1\","     \
    "\"seed\":42,\"strength\":0.6,\"width\":512}"

static void test_sdcpp(void)
{
    static const char text[] = "a 林檎 <lora:ink:0.5>" SDCPP_TEXT "inf" SDCPP_REST SDCPP_JSON;
    g_autoptr(GByteArray) comment = g_byte_array_new();
    const char *const *pairs = PAIRS(
        "Steps", "20", "CFG scale", "7", "Seed", "42", "Size", "512x640", "Model", "sd", "VAE",
        "fix", "Sampler", "euler_a", "Schedule type", "karras", "Clip skip", "2",
        "Denoising strength", "0.6", "Eta", NULL, "Version", "stable-diffusion.cpp", "SDCPP", NULL);
    struct metadata *m;
    struct request r = {0};
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    char *path = PNG("s.png", {"tEXt", "parameters", text}); /* UTF-8, as it writes it */

    m = metadata_read(path, NULL);
    if (m)
        metadata_apply(m, &r, NULL, notices);
    CHECK_STR(r.sampler, "Euler a");
    CHECK_STR(r.schedule, "Karras");
    CHECK(r.seed == 42 && !r.fixed_eta && r.rng == RNG_GPU && notices->len == 0, "%u notices",
          notices->len);
    metadata_free(m);
    request_clear(&r);
    check_read(path, "stable-diffusion.cpp", "a 林檎 <lora:ink:0.5>", "worm", pairs);
    g_byte_array_append(comment, (const guint8 *)"parameters", 11);
    g_byte_array_append(comment, (const guint8 *)text, sizeof text);
    check_read(write_jpeg("s.jpg", 0xfe, comment->data, comment->len), "stable-diffusion.cpp",
               "a 林檎 <lora:ink:0.5>", "worm", pairs);
    /* Before there was JSON; its eta was only looked at by two samplers. */
    check_read(
        PNG("s.png", {"tEXt", "parameters",
                      "an apple" SDCPP_TEXT "0.000000" SDCPP_REST "Version: stable-diffusion.cpp"}),
        "stable-diffusion.cpp", "an apple", "worm",
        PAIRS("Steps", "20", "Sampler", "euler_a karras", "Seed", "42", "Eta", NULL));
    /* JSON that is none: what the text says stands. */
    check_read(PNG("s.png", {"tEXt", "parameters",
                             "an apple" SDCPP_TEXT "0.000000" SDCPP_REST
                             "Version: stable-diffusion.cpp, SDCPP: {\"seed\":7"}),
               "stable-diffusion.cpp", "an apple", "worm", PAIRS("Seed", "42", "Steps", "20"));
}

/*
 * The rules for pictures from anywhere, and what tests them beside the functions below:
 *   P1 an ordinary file of at most 256 MiB                  test_p1; fifo and device: engine/png
 *   P2 libpng's low-level API with limits                    engine/png: test_large, test_bombs
 *   P3 which texts are read, how long, deep and clean        test_p3; zTXt bombs: engine/png
 *   P4 numbers finite and clamped, each with a notice        test_p4
 *   P5 names are looked up, by hash, then by name            test_p5; the lookup: engine/library
 *   P6 a list of what will change; nothing runs by itself    test_p6; the window's list: ui/program
 *   P7 pictures without settings                             test_p7; --no-metadata: cli/generate
 */
static void test_p1(void)
{
    g_autofree char *path = g_build_filename(folder, "big.png", NULL);
    g_autofree char *fifo = g_build_filename(folder, "fifo.png", NULL);
    static const goffset limit = (goffset)256 << 20;
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    g_autoptr(GError) error = NULL;

    CHECK(fd >= 0 && ftruncate(fd, limit + 1) == 0); /* a hole: no byte of it is read */
    close(fd);
    CHECK(!metadata_read(path, &error));
    CHECK_STR(error ? error->message : NULL,
              "“big.png” is too large for a picture file (the limit is 256 MiB).");
    g_clear_error(&error);
    CHECK(mkfifo(fifo, 0600) == 0 && !metadata_read(fifo, &error));
    CHECK_STR(error ? error->message : NULL, "Can't open “fifo.png”: it is not an ordinary file.");
    g_clear_error(&error);
    CHECK(!metadata_read(folder, &error) && strstr(error->message, "it is not an ordinary file."));
}

/* The text that a picture's `parameters` come out as, or NULL. */
static char *kept(const char *type, const char *value)
{
    g_autofree char *path = PNG("p.png", {type, "parameters", value});
    struct metadata *m = metadata_read(path, NULL);
    char *prompt = m ? g_strdup(m->prompt) : NULL;

    metadata_free(m);
    return prompt;
}

static void check_kept(const char *type, const char *value, const char *expected)
{
    g_autofree char *got = kept(type, value);

    CHECK(!g_strcmp0(got, expected), "“%s”, expected “%s”", got ? got : "nothing",
          expected ? expected : "nothing");
}

static char *nested(int depth)
{
    GString *s = g_string_new("{\"prompt\":\"x\",\"a\":");

    for (int i = 1; i < depth; i++)
        g_string_append_c(s, '[');
    for (int i = 1; i < depth; i++)
        g_string_append_c(s, ']');
    g_string_append_c(s, '}');
    return g_string_free(s, FALSE);
}

static void test_p3(void)
{
    static const size_t limit = (size_t)1 << 20;
    g_autofree char *most = g_strnfill(limit, 'a'), *more = g_strnfill(limit + 1, 'a');
    g_autofree char *got = kept("tEXt", most), *none = kept("tEXt", more);
    g_autofree char *deepest = nested(64), *deeper = nested(65), *path = NULL;
    g_autoptr(GError) error = NULL;

    CHECK(got && strlen(got) == limit && !none);
    check_kept("tEXt",
               "a\x01"
               "b\x1b[31mc\x7f\x9b"
               "d\te\nf",
               "ab[31mcd\te\nf");
    check_kept("iTXt",
               "a\xc2\x85\xe2\x80\xa8"
               "b",
               "a\xe2\x80\xa8"
               "b"); /* C1 goes, U+2028 stays */
    check_kept("iTXt", "bad \xff\xfe UTF-8", NULL);
    check_kept("tEXt", "caf\xe9", "café");
    /* Only known keys; a second one of the same name counts for nothing. */
    path = PNG("p.png", {"tEXt", "Comment", "Steps: 1, Seed: 2, Size: 8x8"},
               {"tEXt", "Parameters", "x"});
    CHECK(!metadata_read(path, &error));
    CHECK_STR(error ? error->message : NULL, "“p.png” carries no settings.");
    g_free(path);
    path = PNG("p.png", {"tEXt", "parameters", "first"}, {"tEXt", "parameters", "second"});
    check_read(g_steal_pointer(&path), "A1111", "first", "", PAIRS(NULL));
    /* JSON of 64 levels is read, of 65 is text. */
    check_read(PNG("p.png", {"tEXt", "parameters", deepest}), "Fooocus", "x", "", PAIRS(NULL));
    check_read(PNG("p.png", {"tEXt", "parameters", deeper}), "A1111", deeper, "", PAIRS(NULL));
}

/* A setting as a picture says it, and the field it becomes. */
static void check_number(const char *key, const char *value, double expected, const char *notice)
{
    g_autofree char *text = g_strdup_printf("x\nSampler: Euler, Version: v1, %s: %s", key, value);
    struct metadata *m = metadata_parse(text);
    struct request r = {.steps = 7,
                        .cfg = 7,
                        .seed = 7,
                        .strength = 0.7,
                        .clip_skip = 7,
                        .width = 512,
                        .height = 512};
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
    double got;

    metadata_apply(m, &r, NULL, notices);
    got = !strcmp(key, "Steps")       ? r.steps
          : !strcmp(key, "CFG scale") ? r.cfg
          : !strcmp(key, "Seed")      ? (double)r.seed
          : !strcmp(key, "Size")      ? r.width * 10000.0 + r.height
          : !strcmp(key, "Clip skip") ? r.clip_skip
                                      : r.strength;
    CHECK(got == expected, "%s: %s is %g", key, value, got);
    CHECK(notices->len == (notice != NULL), "%s: %s: %u notices", key, value, notices->len);
    if (notice && notices->len)
        CHECK_STR(notices->pdata[0], notice);
    metadata_free(m);
    request_clear(&r);
}

static void test_p4(void)
{
    check_number("Steps", "500", 500, NULL);
    check_number("Steps", "501", 500, "Steps was 501 and became 500.");
    check_number("Steps", "0", 1, "Steps was 0 and became 1.");
    check_number("Steps", "1e400", 7, "Steps is not a number and was left out.");
    check_number("Steps", "abc", 7, "Steps is not a number and was left out.");
    check_number("CFG scale", "50", 50, NULL);
    check_number("CFG scale", "50.5", 50, "CFG scale was 50.5 and became 50.");
    check_number("CFG scale", "-1", 0, "CFG scale was -1 and became 0.");
    check_number("CFG scale", "inf", 7, "CFG scale is not a number and was left out.");
    check_number("CFG scale", "NaN", 7, "CFG scale is not a number and was left out.");
    check_number("Size", "64x4096", 64 * 10000.0 + 4096, NULL);
    check_number("Size", "63x4104", 64 * 10000.0 + 4096, "Size was 63x4104 and became 64x4096.");
    check_number("Size", "513x509", 512 * 10000.0 + 512, "Size was 513x509 and became 512x512.");
    check_number("Size", "512x", 512 * 10000.0 + 512, "Size is not like 512x512 and was left out.");
    check_number("Seed", "18446744073709551615", 18446744073709551615.0, NULL);
#define NO_SEED "Seed is not a whole number from 0 to 2^64 - 1 and was left out."
    check_number("Seed", "18446744073709551616", 7, NO_SEED);
    check_number("Seed", "-1", 7, NO_SEED);
    check_number("Seed", "1.5", 7, NO_SEED);
    check_number("Denoising strength", "1", 1, NULL);
    check_number("Denoising strength", "1.01", 1, "Denoising strength was 1.01 and became 1.");
    check_number("Denoising strength", "-0.5", 0, "Denoising strength was -0.5 and became 0.");
    check_number("Clip skip", "13", 12, "Clip skip was 13 and became 12.");
    check_number("Sampler", "Quantum Leap", 0.7,
                 "The sampler “Quantum Leap” is not known here; the default stays.");
}

static void test_p5(void)
{
    static const char *const names[] = {"/etc/passwd", "../../x", "..\\x", "a/b.safetensors"};
    static const char *const keys[] = {"Model", "VAE"};

    for (gsize i = 0; i < G_N_ELEMENTS(names) * G_N_ELEMENTS(keys); i++) {
        const char *key = keys[i % 2];
        g_autofree char *text =
            g_strdup_printf("x\nSteps: 5, Sampler: Euler, %s: \"%s\"", key, names[i / 2]);
        g_autofree char *sentence = g_strdup_printf("%s is no file name and was left out.", key);
        g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);
        struct metadata *m = metadata_parse(text);
        struct request r = {.model = g_strdup("mine"), .vae = g_strdup("mine")};

        metadata_apply(m, &r, NULL, notices);
        CHECK_STR(r.model, "mine");
        CHECK_STR(r.vae, "mine");
        CHECK_STR(notices->len ? notices->pdata[0] : NULL, sentence);
        metadata_free(m);
        request_clear(&r);
    }
}

/* Every setting is in one of the two lists; reading one makes no job and no file. */
static void test_p6(void)
{
    g_autofree char *path =
        PNG("p.png", {"tEXt", "parameters",
                      "an apple\nNegative prompt: worm\nSteps: 900, Sampler: Euler a, Schedule "
                      "type: Karras, CFG scale: 6, Seed: 5, Size: 512x512, Model: v1-5, Hires "
                      "upscale: 2, Version: v1.10.1"});
    static const char *const expected[] = {
        "Prompt: an apple", "Negative prompt: worm", "CFG scale: 6",          "Seed: 5",
        "Size: 512x512",    "Sampler: Euler a",      "Schedule type: Karras", "Model: v1-5"};
    struct metadata *m = metadata_read(path, NULL);
    struct request r = {0};
    g_autoptr(GPtrArray) changes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) notices = g_ptr_array_new_with_free_func(g_free);

    CHECK(m != NULL);
    if (!m)
        return;
    metadata_apply(m, &r, changes, notices);
    CHECK(changes->len == G_N_ELEMENTS(expected), "%u changes", changes->len);
    for (guint i = 0; i < changes->len && i < G_N_ELEMENTS(expected); i++)
        CHECK_STR(changes->pdata[i], expected[i]);
    CHECK(notices->len == 2, "%u", notices->len);
    CHECK_STR(notices->pdata[0], "Steps was 900 and became 500.");
    CHECK_STR(notices->pdata[1], "Hires upscale (2) is not done here; the picture will differ.");
    metadata_free(m);
    request_clear(&r);
}

static void test_p7(void)
{
    struct picture picture = {1, 1, g_bytes_new_static("abc", 3)};
    g_autoptr(GBytes) png = picture_encode_png(&picture, NULL, NULL);
    g_autoptr(GBytes) jpeg = picture_encode_jpeg(&picture, 90, NULL, NULL);

    CHECK(png && !memmem(g_bytes_get_data(png, NULL), g_bytes_get_size(png), "tEXt", 4) &&
          !memmem(g_bytes_get_data(png, NULL), g_bytes_get_size(png), "iTXt", 4));
    CHECK(jpeg && !memmem(g_bytes_get_data(jpeg, NULL), g_bytes_get_size(jpeg), "Exif", 4));
    picture_clear(&picture);
}

int main(void)
{
    folder = temp_folder();
    test_a1111();
    test_comfy();
    test_invoke();
    test_fooocus();
    test_novelai();
    test_sdcpp();
    test_p1();
    test_p3();
    test_p4();
    test_p5();
    test_p6();
    test_p7();
    remove_folder(folder);
    return check_result();
}
