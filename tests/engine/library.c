/*
 * The library: folders of A1111, ComfyUI (with extra_model_paths.yaml), Fooocus and the Hugging
 * Face cache, in place; what each model is, once and then from the cache; hashes; pictures beside
 * them. Models are small ones, or headers of the published sizes with a hole for data.
 */
#include "tests/check.h"

#include <gio/gio.h>
#include <utime.h>

#include "engine/facts.h"
#include "engine/hash.h"
#include "engine/library.h"
#include "engine/parts.h"
#include "engine/places.h"
#include "engine/style_names.h"
#include "tests/weights/files.h"

static char *home;

static char *path_in(const char *name)
{
    return g_build_filename(home, name, NULL);
}

/* A checkpoint that holds enough to be told apart, of F16 zeros; in_channels of its U-Net. */
static void write_checkpoint(const char *name, int in, int context, bool labels)
{
    g_autoptr(GString) header = g_string_new("{");
    g_autoptr(GByteArray) bytes = NULL;
    size_t at = 0;
    const struct {
        const char *name;
        int dims[4];
    } tensors[] = {
        {"input_blocks.0.0.weight", {320, in, 3, 3}},
        {"input_blocks.1.0.in_layers.0.weight", {320}},
        {"input_blocks.1.0.out_layers.3.weight", {320, 320, 3, 3}},
        {"input_blocks.1.1.transformer_blocks.0.norm1.weight", {320}},
        {"input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight", {320, context}},
        {"output_blocks.0.0.in_layers.0.weight", {640}},
        {"out.2.weight", {4, 320, 3, 3}},
        {labels ? "label_emb.0.0.weight" : "extra", {1280, 2816}},
    };

    for (gsize i = 0; i < G_N_ELEMENTS(tensors); i++) {
        size_t n = 2;

        g_string_append_printf(header,
                               "%s\"model.diffusion_model.%s\":{\"dtype\":\"F16\",\"shape\":[",
                               i ? "," : "", tensors[i].name);
        for (int k = 0; k < 4 && tensors[i].dims[k]; k++) {
            g_string_append_printf(header, "%s%d", k ? "," : "", tensors[i].dims[k]);
            n *= (size_t)tensors[i].dims[k];
        }
        g_string_append_printf(header, "],\"data_offsets\":[%zu,%zu]}", at, at + n);
        at += n;
    }
    g_string_append_c(header, '}');
    bytes = file_bytes(header->str, -1, 0);
    {
        gsize start = bytes->len;

        g_byte_array_set_size(bytes, (guint)(start + at));
        memset(bytes->data + start, 0, at);
    }
    write_file(home, name, bytes->data, (gssize)bytes->len);
}

static const struct model_info *listed(const GPtrArray *list, const char *name)
{
    for (guint i = 0; i < list->len; i++) {
        const struct model_info *info = list->pdata[i];

        if (strcmp(info->name, name) == 0)
            return info;
    }
    CHECK(false, "%s is not listed", name);
    return NULL;
}

static void link_folder(const char *target, const char *name)
{
    g_autofree char *path = path_in(name), *parent = g_path_get_dirname(path);
    g_autofree char *whole = g_canonicalize_filename(target, NULL);

    CHECK(g_mkdir_with_parents(parent, 0700) == 0 && symlink(whole, path) == 0, "%s", name);
}

static void make_homes(void)
{
    write_checkpoint("stable-diffusion-webui/models/Stable-diffusion/painter.safetensors", 4, 768,
                     false);
    write_checkpoint("stable-diffusion-webui/models/Stable-diffusion/sub/filler.safetensors", 9,
                     768, false);
    write_checkpoint("stable-diffusion-webui/models/Stable-diffusion/editor.safetensors", 8, 768,
                     false);
    write_file(home, "stable-diffusion-webui/models/Stable-diffusion/painter.preview.png", "x", 1);
    write_file(home, "stable-diffusion-webui/models/Stable-diffusion/notes.safetensors", "x", 1);
    write_file(home, "stable-diffusion-webui/models/Stable-diffusion/painter.vae.safetensors", "x",
               1);
    write_file(home, "stable-diffusion-webui/styles.csv",
               "name,prompt,negative_prompt\nInk,\"ink, {prompt}\",colour\n", -1);
    write_checkpoint("elsewhere/ckpt/big.safetensors", 4, 2048, true);
    write_file(home, "elsewhere/autoencoders/one.safetensors", "x", 1);
    write_file(home, "elsewhere/lo/ras/two.safetensors", "x", 1);
    write_file(home, "ComfyUI/extra_model_paths.yaml",
               "#comment: x\n"
               "a111:\n"
               "    base_path: ~/elsewhere   # where\n"
               "\n"
               "    checkpoints: ckpt\n"
               "    vae: 'autoencoders'\n"
               "    loras: |\n"
               "         lo/ras\n"
               "         no/such/folder\n"
               "    configs: models/Stable-diffusion\n"
               "other:\n"
               "    checkpoints: nowhere\n",
               -1);
    link_folder("tests/golden/tiny", "Fooocus/models/checkpoints/small");
    link_folder("tests/golden/tiny",
                ".cache/huggingface/hub/models--someone--tiny-model/snapshots/0123abc");
    write_file(home, ".cache/huggingface/hub/models--someone--tiny-model/refs/main", "0123abc\n",
               -1);
    write_file(home, ".cache/huggingface/hub/models--someone--broken/refs/main", "0123abc", -1);
}

static void test_list(void)
{
    g_autoptr(GPtrArray) list = library_list(NULL);
    const struct model_info *info = listed(list, "painter");

    CHECK(list->len == 8, "%u models", list->len); /* with the bundled one */
    if (info) {
        CHECK_STR(info->family, "SD 1.x");
        CHECK_STR(info->precision, "f16");
        CHECK(!info->kind && !info->problem && info->preview && info->unet_parameters > 1000000);
        CHECK(info->defaults.width == 512 && library_needs(info) > info->unet_parameters * 2);
    }
    if ((info = listed(list, "filler")))
        CHECK_STR(info->kind, "inpainting");
    if ((info = listed(list, "editor")))
        CHECK_STR(info->kind, "instruct");
    if ((info = listed(list, "big"))) { /* through extra_model_paths.yaml */
        CHECK_STR(info->family, "SDXL");
        CHECK(info->defaults.width == 1024);
    }
    if ((info = listed(list, "notes")))
        CHECK(info->problem && !info->family, "a file that is none is told why");
    info = listed(list, "small");
    CHECK(info && info->folder && !info->problem && info->parameters > 0);
    info = listed(list, "tiny-model");
    CHECK(info && info->folder, "a repository of the cache by its name");
}

/* What is added by the user: the program's folder, its models, or one folder, all the same. */
static void test_added(void)
{
    static const char *const ways[] = {"webui", "webui/models", "webui/models/Stable-diffusion"};
    g_autofree char *first = NULL;

    write_checkpoint("webui/models/Stable-diffusion/mine.safetensors", 4, 768, false);
    write_checkpoint("webui/outputs/mistake.safetensors", 4, 768, false);
    write_file(home, "webui/models/VAE/soft.safetensors", "x", 1);
    for (gsize i = 0; i < G_N_ELEMENTS(ways); i++) {
        g_autofree char *folder = path_in(ways[i]);
        char *folders[] = {folder, NULL};
        g_autoptr(GPtrArray) list = library_list(folders);
        g_autoptr(GPtrArray) vaes = parts_vaes(folders);
        bool soft = false;

        CHECK(listed(list, "mine") != NULL && list->len == 9, "%s: %u", ways[i], list->len);
        for (guint k = 0; k < vaes->len; k++)
            soft |= g_str_has_suffix(vaes->pdata[k], "/webui/models/VAE/soft.safetensors");
        CHECK(soft, "%s: its autoencoders", ways[i]);
    }
}

static void test_vaes(void)
{
    g_autofree char *path =
        path_in("stable-diffusion-webui/models/Stable-diffusion/painter.safetensors");
    struct model_info model = {.path = path};
    g_autofree char *beside = parts_find_vae(NULL, &model, NULL, NULL);
    g_autofree char *none = parts_find_vae(NULL, &model, "None", NULL);
    g_autofree char *named = parts_find_vae(NULL, &model, "one", NULL);
    g_autoptr(GPtrArray) loras = places_find(NULL, PLACE_LORAS);
    g_autoptr(GPtrArray) files = places_files(loras, ".safetensors");

    CHECK(beside && g_str_has_suffix(beside, "/painter.vae.safetensors"), "A1111's Automatic");
    CHECK(!none);
    CHECK(named && g_str_has_suffix(named, "/autoencoders/one.safetensors"), "quoted in the yaml");
    CHECK(files->len == 1 && g_str_has_suffix(files->pdata[0], "lo/ras/two.safetensors"),
          "a yaml value of several lines: %u", files->len);
}

/* Found once; a file that changed is looked at again. */
static void test_cache(void)
{
    g_autofree char *path = path_in("webui/models/Stable-diffusion/mine.safetensors");
    g_autofree char *cache = path_in(".cache/figment/models.ini"), *text = NULL;
    struct model_info *info;
    gint64 begun;

    CHECK(g_file_get_contents(cache, &text, NULL, NULL) && strstr(text, "family=SD 1.x"));
    write_checkpoint("webui/models/Stable-diffusion/mine.safetensors", 9, 768, false);
    info = library_find(NULL, path, NULL);
    CHECK(info && g_strcmp0(info->kind, "inpainting") == 0, "another file of the same name");
    model_info_free(info);
    CHECK(g_file_set_contents(cache, "\xff\xfe[not a key file", -1, NULL));
    info = library_find(NULL, path, NULL);
    CHECK(info && g_strcmp0(info->family, "SD 1.x") == 0, "a damaged cache is made again");
    model_info_free(info);
    begun = g_get_monotonic_time();
    for (int i = 0; i < 20; i++)
        model_info_free(library_find(NULL, path, NULL));
    printf("20 look-ups: %.1f ms\n", (double)(g_get_monotonic_time() - begun) / 1000);
}

static void check_match(const char *name, const char *hash, const char *expected)
{
    struct model_info *info = library_match(NULL, name, hash);

    CHECK(!g_strcmp0(info ? info->name : NULL, expected), "%s %s: %s", name ? name : "",
          hash ? hash : "", info ? info->name : "none");
    model_info_free(info);
}

static void test_hash(void)
{
    g_autofree char *path = path_in("elsewhere/ckpt/big.safetensors");
    g_autofree char *none = facts_sha256(path, true, NULL), *text = NULL, *expected = NULL;
    g_autofree char *other = NULL, *short_one = NULL;
    struct hash *hash = hash_create();
    int stop = 1;
    gsize size;
    const char *value;

    CHECK(!none, "not computed yet");
    CHECK(g_file_get_contents(path, &text, &size, NULL));
    expected = g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)text, size);
    none = facts_sha256(path, false, &stop);
    CHECK(!none, "stopped");
    hash_start(hash, path); /* beside the work */
    value = hash_value(hash);
    CHECK(value && strlen(value) == 10 && g_str_has_prefix(expected, value), "%s", value);
    other = facts_sha256(path, true, NULL);
    CHECK_STR(other, expected);
    short_one = library_hash(path, true, NULL);
    CHECK(short_one && strlen(short_one) == 10);
    {
        struct model_info *info = library_find(NULL, path, NULL);

        CHECK(info && g_strcmp0(info->sha256, expected) == 0, "and the list knows it");
        model_info_free(info);
    }
    /* What a picture says (P5): the hash counts first, then the name, and a path never. */
    check_match("of another name", short_one, "big");
    check_match("big", "0000000000", "big");
    check_match("big", NULL, "big");
    check_match(NULL, short_one, "big");
    check_match("painter", short_one, "big");
    check_match("of another name", "0000000000", NULL);
    check_match(path, NULL, NULL);
    check_match("", "", NULL);
    hash_start(hash, NULL);
    CHECK(!hash_value(hash));
    hash_destroy(hash);
}

static void test_styles(void)
{
    struct request r = {.prompt = g_strdup("a cat"), .styles = g_strdup("Ink\nPlain")};
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) all = style_names_list(NULL);

    CHECK(all->len == 1, "%u", all->len);
    CHECK(!style_names_apply(NULL, &r, &error));
    CHECK_STR(error ? error->message : NULL, "There is no style “Plain” in your styles.csv.");
    write_file(home, "share/figment/styles.csv",
               "name,prompt,negative_prompt\nPlain,simple,\nInk,own ink,\n", -1);
    g_free(r.prompt);
    r.prompt = g_strdup("a cat");
    g_clear_pointer(&r.negative, g_free);
    CHECK(style_names_apply(NULL, &r, NULL) && !r.styles);
    CHECK_STR(r.prompt, "a cat, own ink, simple"); /* the own file's comes first */
    CHECK_STR(r.negative, "");
    request_clear(&r);
}

int main(void)
{
    home = temp_folder();
    g_setenv("HOME", home, TRUE);
    g_unsetenv("HF_HOME");
    g_unsetenv("HF_HUB_CACHE");
    {
        g_autofree char *share = path_in("share"), *cache = path_in(".cache");

        g_setenv("XDG_DATA_HOME", share, TRUE);
        g_setenv("XDG_CACHE_HOME", cache, TRUE);
    }
    make_homes();
    test_list();
    test_added();
    test_vaes();
    test_cache();
    test_hash();
    test_styles();
    remove_folder(home);
    return check_result();
}
