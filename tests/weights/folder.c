/*
 * Models as folders: components, variants, shards, a cache's links, and what is refused with which
 * words. The rules for folders, and what tests them beside the functions below:
 *   shard names of 1 to 200 plain characters, no leading dot   test_shards_refused
 *   opened in the folder, links only to ordinary files          test_shards_refused, test_cache
 *   JSON of at most 16 MiB and 64 levels, no key twice          tests/weights/config.c
 *   vocabulary of at most 4 MiB, ids below the embedding's rows tests/clip/tokenizer.c
 *   architecture, memory, numbers (ST13, ST14, ST15)            tests/weights/checkpoint.c (kinds),
 *       tests/engine/loading.c (missing parts, memory), tests/weights/bind.c (NaN, too large)
 *   pickles are refused with advice (ST02)                      test_refused
 * Add-ons (L1 to L8): tests/weights/lora.c. Pictures (P1 to P7): tests/engine/read.c.
 */
#include "tests/check.h"
#include "tests/weights/files.h"
#include "weights/model.h"

#define CLASSES                                                                                    \
    "\"unet\":[\"diffusers\",\"UNet2DConditionModel\"],\"vae\":[\"diffusers\",\"AutoencoderKL\"]," \
    "\"text_encoder\":[\"transformers\",\"CLIPTextModel\"]"

static void write_tensor(const char *dir, const char *file, const char *name)
{
    g_autofree char *header =
        g_strdup_printf("{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", name);
    write_bytes(dir, file, file_bytes(header, -1, 4));
}

static void write_index(const char *dir, const char *name, const char *map)
{
    g_autofree char *text =
        g_strdup_printf("{\"metadata\":{\"total_size\":8},\"weight_map\":%s}", map);
    write_file(dir, name, text, -1);
}

#define UNET "unet/diffusion_pytorch_model"

static char *make_model(void)
{
    char *dir = temp_folder();
    write_file(
        dir, "model_index.json",
        "{\"_class_name\":\"StableDiffusionPipeline\",\"_diffusers_version\":\"0.6.0\"," CLASSES
        ",\"safety_checker\":[null,null],\"requires_safety_checker\":false}",
        -1);
    write_file(dir, "unet/config.json",
               "{\"cross_attention_dim\":768,\"block_out_channels\":[320,640,1280,1280]}", -1);
    write_file(dir, "vae/config.json", "{}", -1);
    write_file(dir, "text_encoder/config.json", "{}", -1);
    write_file(dir, "scheduler/scheduler_config.json", "{\"prediction_type\":\"epsilon\"}", -1);
    write_file(dir, "tokenizer/vocab.json", "{}", -1);
    write_file(dir, "tokenizer/merges.txt", "", -1);
    write_tensor(dir, UNET ".safetensors", "plain");
    write_tensor(dir, "text_encoder/model.safetensors", "text_model.x");
    write_tensor(dir, "vae/diffusion_pytorch_model.safetensors",
                 "mid.attentions.0.proj_attn.weight");
    return dir;
}

static void remove_file(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    CHECK(unlink(path) == 0, "%s", name);
}

static void expect_unet(const char *dir, const char *tensor)
{
    g_autoptr(GError) error = NULL;
    struct model *m = model_open(dir, &error);
    CHECK(m && weights_has(m->weights[MODEL_UNET], tensor), "%s: %s", tensor,
          error ? error->message : "");
    model_close(m);
}

static void expect_refusal(const char *dir, const char *sentence)
{
    g_autoptr(GError) error = NULL;
    struct model *m = model_open(dir, &error);
    CHECK(!m);
    CHECK_STR(error ? error->message : NULL, sentence);
    model_close(m);
}

static void test_whole(void)
{
    char *dir = make_model();
    g_autofree char *index = g_build_filename(dir, "model_index.json", NULL);
    g_autofree char *tokenizer = g_build_filename(dir, "tokenizer", NULL);
    const char *paths[] = {dir, index};
    for (int i = 0; i < 2; i++) {
        g_autoptr(GError) error = NULL;
        struct model *m = model_open(paths[i], &error);
        CHECK(m, "%s", error ? error->message : "");
        if (!m)
            continue;
        CHECK(m->family == MODEL_SD1 && m->scheduler && m->config[MODEL_VAE]);
        CHECK(m->weights[MODEL_TEXT] && !m->weights[MODEL_TEXT_2] && !m->config[MODEL_TEXT_2]);
        CHECK(weights_has(m->weights[MODEL_VAE], "mid.attentions.0.to_out.0.weight"));
        CHECK_STR(m->tokenizer[0], tokenizer);
        CHECK(!m->tokenizer[1]);
        model_close(m);
    }
    remove_folder(dir);
}

static void test_variants(void)
{
    /* Each is preferred to those after it: written in reverse, each becomes the one that is read.
     */
    static const char *const files[] = {"non_ema", "ema", "bf16", "fp16"};
    char *dir = make_model();
    remove_file(dir, UNET ".safetensors");
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++) {
        g_autofree char *name = g_strdup_printf(UNET ".%s.safetensors", files[i]);
        write_tensor(dir, name, files[i]);
        expect_unet(dir, files[i]);
    }
    write_tensor(dir, UNET "-00001-of-00002.safetensors", "one");
    write_tensor(dir, UNET "-00002-of-00002.safetensors", "two");
    write_index(dir, UNET ".safetensors.index.json",
                "{\"one\":\"diffusion_pytorch_model-00001-of-00002.safetensors\","
                "\"two\":\"diffusion_pytorch_model-00002-of-00002.safetensors\"}");
    expect_unet(dir, "one");
    expect_unet(dir, "two");
    write_tensor(dir, UNET ".safetensors", "plain");
    expect_unet(dir, "plain");
    remove_folder(dir);
    /* Shards of a variant, under both names that diffusers has given their index. */
    static const char *const names[] = {UNET ".safetensors.index.fp16.json",
                                        UNET ".fp16.safetensors.index.json"};
    for (int i = 0; i < 2; i++) {
        dir = make_model();
        remove_file(dir, UNET ".safetensors");
        write_tensor(dir, UNET ".fp16-00001-of-00001.safetensors", "half");
        write_index(dir, names[i],
                    "{\"half\":\"diffusion_pytorch_model.fp16-00001-of-00001.safetensors\"}");
        expect_unet(dir, "half");
        remove_folder(dir);
    }
}

static void test_shards_refused(void)
{
    static const char index[] = UNET ".safetensors.index.json";
#define INDEX "Can't open “" UNET ".safetensors.index.json”: "
    static const struct {
        const char *map, *sentence;
    } cases[] = {
        {"{\"a\":\"../x\"}",
         "This model folder refers to a file outside itself (“../x”). It was not opened."},
        {"{\"a\":\"/etc/passwd\"}",
         "This model folder refers to a file outside itself (“/etc/passwd”). It was not opened."},
        {"{\"a\":\"..\"}",
         "This model folder refers to a file outside itself (“..”). It was not opened."},
        {"{\"a\":\".hidden\"}",
         "This model folder refers to a file outside itself (“.hidden”). It was not opened."},
        {"{\"a\":\"sub/x.safetensors\"}", "This model folder refers to a file outside itself "
                                          "(“sub/x.safetensors”). It was not opened."},
        {"{\"a\":\"\"}",
         "This model folder refers to a file outside itself (“”). It was not opened."},
        {"{\"a\":\"x\\n\"}",
         "This model folder refers to a file outside itself (“x\\x0a”). It was not opened."},
        {"{\"a\":\"none.safetensors\"}",
         "Can't open “unet/none.safetensors”: there is no such file."},
        {"{\"b\":\"a.safetensors\"}",
         INDEX "it lists “b” in “a.safetensors”, which does not hold it."},
        {"{\"a\":1}", INDEX "the entry for “a” is no file name."},
        {"[]", INDEX "it holds no list of tensors (“weight_map”)."},
        {"{\"a\":\"a.safetensors\",\"a\":\"a.safetensors\"}",
         INDEX "it is not valid JSON (line 1)."},
        {"{\"a\":\"fifo\"}", "Can't open “unet/fifo”: it is not an ordinary file."},
        {"{\"a\":\"pickle.safetensors\"}",
         "Can't open “unet/pickle.safetensors”: this is a PyTorch pickle file, which can run "
         "programs "
         "on your computer. Use a .safetensors version of the model."},
    };
    char *dir = make_model();
    g_autofree char *fifo = g_build_filename(dir, "unet", "fifo", NULL);
    remove_file(dir, UNET ".safetensors");
    CHECK(mkfifo(fifo, 0600) == 0);
    write_tensor(dir, "unet/a.safetensors", "a");
    write_file(dir, "unet/pickle.safetensors", "PK\3\4..........", -1);
    write_tensor(dir, "x", "a");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        write_index(dir, index, cases[i].map);
        expect_refusal(dir, cases[i].sentence);
    }
    for (gsize length = 200; length <= 201; length++) { /* the longest name, and one more */
        g_autofree char *name = g_strnfill(length, 'n');
        g_autofree char *file = g_build_filename("unet", name, NULL),
                        *map = g_strdup_printf("{\"a\":\"%s\"}", name);

        write_tensor(dir, file, "a");
        write_index(dir, index, map);
        if (length == 200) {
            expect_unet(dir, "a");
        } else {
            g_autoptr(GError) error = NULL;

            CHECK(!model_open(dir, &error));
            CHECK(error &&
                      g_str_has_prefix(error->message,
                                       "This model folder refers to a file outside itself (“nnn"),
                  "%s", error ? error->message : "");
        }
        remove_file(dir, file);
    }
    g_autoptr(GString) many = g_string_new("{");
    for (int i = 0; i < 257; i++) {
        g_autofree char *file = g_strdup_printf("unet/s%d", i), *name = g_strdup_printf("t%d", i);
        write_tensor(dir, file, name);
        g_string_append_printf(many, "%s\"%s\":\"s%d\"", i ? "," : "", name, i);
    }
    g_string_append_c(many, '}');
    write_index(dir, index, many->str);
    expect_refusal(dir, INDEX "it lists more than 256 files.");
    remove_folder(dir);
}

static void test_refused(void)
{
    char *dir = make_model();
    remove_file(dir, UNET ".safetensors");
    expect_refusal(dir,
                   "Can't open “unet”: the folder holds no diffusion_pytorch_model.safetensors.");
    write_file(dir, UNET ".bin", "PK", -1);
    expect_refusal(dir, "Can't open “" UNET
                        ".bin”: this is a PyTorch pickle file, which can run programs on "
                        "your computer. Use a .safetensors version of the model.");
    write_tensor(dir, UNET "-00001-of-00002.safetensors", "one");
    expect_refusal(
        dir,
        "Can't open “unet”: it holds diffusion_pytorch_model-00001-of-00002.safetensors, but not "
        "the index file that belongs to it (diffusion_pytorch_model.safetensors.index.json).");
    write_tensor(dir, UNET ".safetensors", "plain");
    write_file(dir, "vae/config.json", "{\"a\":}", -1);
    expect_refusal(dir, "Can't open “vae/config.json”: it is not valid JSON (line 1).");
    remove_file(dir, "vae/config.json");
    expect_refusal(dir, "Can't open “vae/config.json”: there is no such file.");
    g_autofree char *vae = g_build_filename(dir, "vae", NULL),
                    *away = g_build_filename(dir, "away", NULL);
    CHECK(rename(vae, away) == 0);
    g_autofree char *base = g_path_get_basename(dir);
    g_autofree char *missing =
        g_strdup_printf("Can't open “%s”: its folder “vae” is missing.", base);
    expect_refusal(dir, missing);
    write_file(dir, "model_index.json",
               "{\"_class_name\":\"FluxPipeline\",\"transformer\":[\"diffusers\","
               "\"FluxTransformer2DModel\"],"
               "\"vae\":[\"diffusers\",\"AutoencoderKL\"]}",
               -1);
    g_autofree char *flux = g_strdup_printf(
        "“%s” is a FluxPipeline model; this version supports SD 1.x, SD 2.x and SDXL.", base);
    expect_refusal(dir, flux);
    remove_file(dir, "model_index.json");
    g_autofree char *no_index =
        g_strdup_printf("Can't open “%s”: the folder holds no model_index.json.", base);
    expect_refusal(dir, no_index);
    remove_folder(dir);
    expect_refusal("/nonexistent/model", "Can't open “model”: there is no such file or folder.");
}

/* models--org--name/{refs/main,snapshots/COMMIT/...} whose files are links to blobs. */
static void test_cache(void)
{
    char *dir = temp_folder(), *model = make_model();
    g_autofree char *repo = g_build_filename(dir, "models--runwayml--stable-diffusion", NULL);
    g_autofree char *snapshots = g_build_filename(repo, "snapshots", NULL);
    g_autofree char *snapshot =
        g_build_filename(snapshots, "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", NULL);
    g_autofree char *file = g_build_filename(snapshot, UNET ".safetensors", NULL);
    CHECK(g_mkdir_with_parents(snapshots, 0700) == 0 && rename(model, snapshot) == 0);
    g_free(model);
    write_tensor(repo, "blobs/6ce01616", "plain");
    CHECK(unlink(file) == 0 && symlink("../../../blobs/6ce01616", file) == 0);
    expect_unet(repo, "plain"); /* the only snapshot */
    write_file(repo, "refs/main", "451f4fe16113bff5a5d2269ed5ad43b0592e9a14", -1);
    expect_unet(repo, "plain");
    struct model *m = model_open(repo, NULL);
    CHECK(m);
    if (m)
        CHECK_STR(m->label, "stable-diffusion");
    model_close(m);
    write_file(repo, "refs/main", "../../..", -1); /* leads nowhere: ignored */
    expect_unet(repo, "plain");
    CHECK(unlink(file) == 0 && symlink("/dev/zero", file) == 0);
    expect_refusal(repo, "Can't open “" UNET ".safetensors”: it is not an ordinary file.");
    remove_folder(dir);
}

int main(void)
{
    test_whole();
    test_variants();
    test_shards_refused();
    test_refused();
    test_cache();
    return check_result();
}
