/*
 * Single-file checkpoints: full-size layouts (headers and empty space) of every family, whose
 * translation must be diffusers' own (tests/golden/weights_names.py), whose counts are the
 * published ones, and which bind without a missing or unused tensor. Then: how the prediction type
 * is found, files of other kinds, a VAE alone.
 */
#include "clip/clip.h"
#include "tests/check.h"
#include "tests/weights/layouts.h"
#include "unet/unet.h"
#include "vae/vae.h"
#include "weights/convert.h"
#include "weights/model.h"
#include "weights/names_ldm.h"
#include "weights/weights_private.h"

static bool same_dims(const struct weight *w, const char *dims)
{
    g_autoptr(GString) s = g_string_new(NULL);
    int rank = w->rank;
    while (rank > 2 && w->dims[rank - 1] == 1 && !g_str_has_suffix(dims, "x1"))
        rank--; /* attention as a 1x1 convolution: bind reads it as a matrix */
    for (int i = 0; i < rank; i++)
        g_string_append_printf(s, "%sx%" G_GINT64_FORMAT, "", (gint64)w->dims[i]);
    return !strcmp(rank ? s->str + 1 : "-", dims);
}

static void check_row(const struct weights *w, const struct row *r, const char *prefix)
{
    const struct entry *e = weights_entry(w, r->name);
    g_autofree char *ldm = g_strconcat(prefix, r->ldm, NULL);
    CHECK(e, "%s is missing", r->name);
    if (!e)
        return;
    CHECK(!strcmp(e->tensor->name, ldm), "%s is %s, expected %s", r->name, e->tensor->name, ldm);
    CHECK(same_dims(&e->weight, r->dims), "%s is not %s", r->name, r->dims);
    CHECK(e->transposed == (*r->how == 'T'), "%s", r->name);
    guint64 third = g_ascii_isdigit(*r->how) ? e->tensor->size / 3 * (guint64)(*r->how - '0') : 0;
    CHECK(e->offset == e->tensor->offset + third, "%s", r->name);
}

/* And back: the names that add-ons of the original code use. */
static void check_old_names(const struct weights *unet, const GPtrArray *block)
{
    struct ldm_counts counts;
    ldm_count(&counts, unet);
    for (guint i = 0; i < block->len; i++) {
        const struct row *r = g_ptr_array_index(block, i);
        if (!g_str_has_suffix(r->name, ".weight"))
            continue;
        g_autofree char *module = g_strndup(r->name, strlen(r->name) - strlen(".weight"));
        g_autofree char *old = ldm_unet_old_name(&counts, module);
        g_autofree char *name = old ? g_strconcat(old, ".weight", NULL) : NULL;
        CHECK(name && !strcmp(name, r->ldm), "%s was %s, not %s", r->name, r->ldm,
              name ? name : "nothing");
    }
}

/* One "u:0:686:859520964:model.diffusion_model." */
static void check_part(const struct model *m, const char *text, const GPtrArray *blocks)
{
    g_auto(GStrv) w = g_strsplit(text, ":", 5);
    enum model_part part = *w[0] == 'u'   ? MODEL_UNET
                           : *w[0] == 'v' ? MODEL_VAE
                           : *w[0] == 't' ? MODEL_TEXT
                                          : MODEL_TEXT_2;
    const struct weights *set = m->weights[part];
    const GPtrArray *block = g_ptr_array_index(blocks, (guint)atoi(w[1]));
    CHECK(set && m->config[part], "%s: no %s", m->label, model_part_name(part));
    if (!set)
        return;
    for (guint i = 0; i < block->len; i++)
        check_row(set, g_ptr_array_index(block, i), w[4]);
    if (part == MODEL_UNET)
        check_old_names(set, block);
    CHECK(weights_count(set) == (size_t)atoi(w[2]) && block->len == weights_count(set),
          "%s/%s: %zu tensors", m->label, model_part_name(part), weights_count(set));
    CHECK(weights_parameters(set) == g_ascii_strtoull(w[3], NULL, 10), "%s/%s: %" G_GUINT64_FORMAT,
          m->label, model_part_name(part), weights_parameters(set));
}

/* The networks that read these configurations find each tensor, and leave none. */
static void check_binds(struct model *m)
{
    g_autoptr(GError) error = NULL;
    struct unet unet = {0};
    struct vae vae = {0};
    CHECK(unet_init(&unet, m->weights[MODEL_UNET], m->config[MODEL_UNET], &error), "%s",
          error ? error->message : "");
    g_clear_error(&error);
    CHECK(vae_init(&vae, m->weights[MODEL_VAE], m->config[MODEL_VAE], &error), "%s",
          error ? error->message : "");
    for (int part = MODEL_TEXT; part <= MODEL_TEXT_2; part++) {
        struct clip clip = {0};
        g_clear_error(&error);
        if (m->weights[part])
            CHECK(
                clip_init(&clip, model_part_name(part), m->weights[part], m->config[part], &error),
                "%s", error ? error->message : "");
        clip_finish(&clip);
    }
    for (int part = 0; part < MODEL_PARTS; part++) {
        if (!m->weights[part])
            continue;
        g_autoptr(GPtrArray) unused = weights_unused(m->weights[part]);
        CHECK(unused->len == 0, "%s: %u unused (%s)", m->label, unused->len,
              (char *)unused->pdata[0]);
    }
    unet_finish(&unet);
    vae_finish(&vae);
}

static const struct {
    const char *name;
    enum model_family family;
} families[] = {
    {"sd1", MODEL_SD1}, {"sd2", MODEL_SD2}, {"sdxl", MODEL_SDXL}, {"refiner", MODEL_SDXL_REFINER}};

static void check_text(const struct model *m, enum model_part part, int width, int layers,
                       const char *act)
{
    const json_t *c = m->config[part];
    if (!c)
        return;
    CHECK(json_integer_value(json_object_get(c, "hidden_size")) == width);
    CHECK(json_integer_value(json_object_get(c, "num_hidden_layers")) == layers);
    CHECK(json_integer_value(json_object_get(c, "num_attention_heads")) == width / 64);
    CHECK(json_integer_value(json_object_get(c, "intermediate_size")) == width * 4);
    CHECK(json_integer_value(json_object_get(c, "vocab_size")) == 49408);
    CHECK(json_integer_value(json_object_get(c, "max_position_embeddings")) == 77);
    CHECK_STR(json_string_value(json_object_get(c, "hidden_act")), act);
    CHECK(m->pad_zero[part == MODEL_TEXT_2] == !strcmp(act, "gelu"));
}

/* "# NAME FAMILY PART...", then its extra lines */
static void check_checkpoint(const char *dir, char **lines, const GPtrArray *blocks)
{
    g_auto(GStrv) words = g_strsplit(lines[0] + 2, " ", -1);
    g_autofree char *path = g_strdup_printf("%s/%s.safetensors", dir, words[0]);
    g_autoptr(GError) error = NULL;
    struct file f = file_begin("{}");
    unsigned parts = g_strv_length(words) - 2, opened = 0;
    for (char **w = words + 2; *w; w++) {
        g_auto(GStrv) p = g_strsplit(*w, ":", 5);
        const GPtrArray *block = g_ptr_array_index(blocks, (guint)atoi(p[1]));
        for (guint i = 0; i < block->len; i++) {
            const struct row *r = g_ptr_array_index(block, i);
            g_autofree char *name = g_strconcat(p[4], r->ldm, NULL);
            file_add(&f, name, r->ldm_dims, "F16", 2);
        }
    }
    for (char **l = lines + 1; g_str_has_prefix(*l, "f "); l++) {
        g_auto(GStrv) w = g_strsplit(*l, " ", 3);
        bool places = strstr(w[1], "position_ids") != NULL;
        file_add(&f, w[1], w[2], places ? "I64" : "F16", places ? 8 : 2);
    }
    file_add(&f, "model_ema.decay", "-", "F32", 4); /* what training leaves behind */
    file_add(&f, "alphas_cumprod", "1000", "F32", 4);
    file_write(&f, path);
    struct model *m = model_open(path, &error);
    CHECK(m, "%s: %s", words[0], error ? error->message : "");
    if (!m)
        return;
    for (size_t i = 0; i < G_N_ELEMENTS(families); i++)
        if (!strcmp(families[i].name, words[1]))
            CHECK(m->family == families[i].family, "%s: %s", words[0],
                  model_family_name(m->family));
    for (char **w = words + 2; *w; w++)
        check_part(m, *w, blocks);
    for (int part = 0; part < MODEL_PARTS; part++)
        opened += m->weights[part] != NULL;
    CHECK(opened == parts, "%s: %u parts", words[0], opened);
    CHECK(weights_main_dtype(m->weights[MODEL_UNET]) == DTYPE_F16);
    check_text(m, MODEL_TEXT, strcmp(words[1], "sd2") ? 768 : 1024,
               strcmp(words[1], "sd2") ? 12 : 23, strcmp(words[1], "sd2") ? "quick_gelu" : "gelu");
    check_text(m, MODEL_TEXT_2, 1280, 32, "gelu");
    CHECK_STR(json_string_value(json_object_get(m->scheduler, "prediction_type")), "epsilon");
    check_binds(m);
    model_close(m);
    unlink(path);
}

static GPtrArray *all_blocks;
static char **all_lines;

static void test_layouts(const char *dir)
{
    unsigned checkpoints = 0;
    GPtrArray *block = NULL;
    all_lines = golden_lines();
    all_blocks = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    CHECK(all_lines, "the golden file is missing");
    for (char **l = all_lines; l && *l && **l; l++) {
        if (g_str_has_prefix(*l, "b ")) {
            block = new_block(*l, all_blocks);
        } else if (g_str_has_prefix(*l, "# ")) {
            check_checkpoint(dir, l, all_blocks);
            checkpoints++;
            block = NULL;
        } else if (!g_str_has_prefix(*l, "f ")) {
            put_row(block, parse_row(*l));
        }
    }
    CHECK(checkpoints == 12, "%u checkpoints", checkpoints);
}

/* The SD 2.x layout with marks; what the prediction type comes out as. */
static void check_prediction(const char *dir, const char *metadata, const char *mark,
                             const char *yaml, float spread, int in_channels, const char *expected)
{
    static const char bias[] =
        "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias";
    g_autofree char *path = g_build_filename(dir, "two.safetensors", NULL);
    g_autofree char *beside = g_build_filename(dir, "two.yaml", NULL);
    g_autoptr(GError) error = NULL;
    struct file f = file_begin(metadata);
    guint64 place = 0;
    const GPtrArray *unet = g_ptr_array_index(all_blocks, 7),
                    *text = g_ptr_array_index(all_blocks, 8);
    g_autofree char *first = g_strdup_printf("320x%dx3x3", in_channels);
    for (int k = 0; k < 2; k++) {
        const GPtrArray *block = k ? text : unet;
        for (guint i = 0; i < block->len; i++) {
            const struct row *r = g_ptr_array_index(block, i);
            g_autofree char *name =
                g_strconcat(k ? "cond_stage_model.model." : "model.diffusion_model.", r->ldm, NULL);
            guint64 at = file_add(&f, name, strcmp(r->name, "conv_in.weight") ? r->ldm_dims : first,
                                  "F16", 2);
            if (!strcmp(name, bias))
                place = at;
        }
    }
    if (mark)
        file_add(&f, mark, "-", "F16", 2);
    place += file_write(&f, path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    for (int i = 0; i < 320; i++) { /* standard deviation: spread */
        uint16_t h = convert_f32_to_f16(i % 2 ? spread : -spread);
        CHECK(pwrite(fd, &h, 2, (off_t)place + 2 * i) == 2);
    }
    close(fd);
    if (yaml)
        CHECK(g_file_set_contents(beside, yaml, -1, NULL));
    struct model *m = model_open(path, &error);
    CHECK(m, "%s", error ? error->message : "");
    if (m) {
        const char *got = json_string_value(json_object_get(m->scheduler, "prediction_type"));
        CHECK(!g_strcmp0(got, expected), "%s %s %s %g: %s", metadata, mark ? mark : "",
              yaml ? yaml : "", (double)spread, got);
        CHECK(json_is_true(json_object_get(m->scheduler, "rescale_betas_zero_snr")) ==
              !g_strcmp0(mark, "ztsnr"));
        CHECK(json_integer_value(json_object_get(m->config[MODEL_UNET], "sample_size")) ==
              (strcmp(expected, "epsilon") ? 96 : 64));
        CHECK(!m->weights[MODEL_VAE]);
        /* This file has 23 layers, as after diffusers: none is dropped. */
        CHECK(json_integer_value(json_object_get(m->config[MODEL_TEXT], "num_hidden_layers")) ==
              23);
    }
    model_close(m);
    unlink(beside);
}

static void test_prediction(const char *dir)
{
    static const char v[] = "v_prediction", eps[] = "epsilon";
    check_prediction(dir, "{}", NULL, NULL, 0.05f, 4, eps);
    check_prediction(dir, "{}", NULL, NULL, 0.1f, 4, v);
    check_prediction(dir, "{}", NULL, NULL, 0.1f, 9, eps); /* the inpainting model predicts noise */
    check_prediction(dir, "{}", "v_pred", NULL, 0, 4, v);
    check_prediction(dir, "{}", "ztsnr", NULL, 0, 4, eps);
    check_prediction(dir, "{\"modelspec.prediction_type\":\"v\"}", NULL, NULL, 0, 4, v);
    check_prediction(dir, "{\"modelspec.prediction_type\":\"epsilon\"}", NULL, NULL, 0.1f, 4, eps);
    check_prediction(dir, "{}", NULL, "model:\n  params:\n    parameterization: \"v\"\n    x: 1\n",
                     0, 4, v);
    check_prediction(dir, "{}", NULL, "    parameterization: v\r\n", 0, 4, v);
    check_prediction(dir, "{}", NULL, "    parameterization: \"eps\"\n", 0.1f, 4, eps);
    check_prediction(dir, "{}", NULL, "    # parameterization: \"v\"\n    beta: 1\n", 0, 4, eps);
    check_prediction(dir, "{}", NULL, "\xff\xfe parameterization: broken", 0.1f, 4, v);
}

static void check_kind(const char *dir, const char *tensor, const char *kind) /* ST13 */
{
    g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
    g_autofree char *sentence = g_strdup_printf("“x.safetensors” is %s.", kind);
    g_autoptr(GError) error = NULL;
    struct file f = file_begin("{}");
    file_add(&f, tensor, "1", "F16", 2);
    file_write(&f, path);
    CHECK(!model_open(path, &error));
    CHECK_STR(error ? error->message : NULL, sentence);
}

static void test_other_kinds(const char *dir)
{
#define LORA "a LoRA; an add-on is named in the prompt (<lora:name:1>), not opened as a model"
#define OTHERS "; this version supports SD 1.x, SD 2.x and SDXL"
    check_kind(dir, "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight", LORA);
    check_kind(dir, "unet.mid_block.attentions.0.proj_in.lora_A.weight", LORA);
    check_kind(dir, "control_model.time_embed.0.weight",
               "a ControlNet, which this version can't use");
    check_kind(dir, "model.diffusion_model.double_blocks.0.img_attn.qkv.weight",
               "a Flux model" OTHERS);
    check_kind(dir, "model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight",
               "an SD 3 model" OTHERS);
    check_kind(dir, "model.diffusion_model.blocks.0.weight", "a model of another family" OTHERS);
    check_kind(dir, "first_stage_model.decoder.conv_in.weight",
               "an autoencoder (VAE) alone, not a whole model");
    check_kind(dir, "decoder.up.0.block.0.conv1.weight",
               "an autoencoder (VAE) alone, not a whole model");
    check_kind(dir, "down_blocks.0.resnets.0.conv1.weight",
               "the U-Net of a diffusers folder; open the folder");
    check_kind(dir, "text_model.embeddings.token_embedding.weight",
               "a text encoder alone, not a whole model");
    check_kind(dir, "emb_params", "a textual-inversion embedding; its name is used in the prompt");
    g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    struct file f = file_begin("{}");
    file_add(&f, "anything", "1", "F16", 2);
    file_write(&f, path);
    CHECK(!model_open(path, &error));
    CHECK_STR(error ? error->message : NULL,
              "Can't open “x.safetensors”: it holds no model that this version "
              "knows (SD 1.x, SD 2.x or SDXL).");
    g_clear_error(&error);
    CHECK(g_file_set_contents(path, "PK\3\4 a pickle in disguise", -1, NULL));
    CHECK(!model_open(path, &error) && strstr(error->message, "PyTorch pickle file"));
}

static void test_noise_kind(const char *dir)
{
    g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
    g_autoptr(GError) error = NULL;
    struct file f = file_begin("{}");
    const GPtrArray *unet = g_ptr_array_index(all_blocks, 9);
    for (guint i = 0; i < unet->len; i++) {
        const struct row *r = g_ptr_array_index(unet, i);
        g_autofree char *name = g_strconcat("model.diffusion_model.", r->ldm, NULL);
        file_add(&f, name, r->ldm_dims, "F16", 2);
    }
    file_add(&f, "edm_mean", "4", "F32", 4);
    file_write(&f, path);
    CHECK(!model_open(path, &error));
    CHECK(error && strstr(error->message, "another kind of noise"), "%s",
          error ? error->message : "");
}

/* A VAE alone, in the original's names with and without their prefix, and in diffusers' old and new
 * ones. */
static void test_vae_alone(const char *dir)
{
    const GPtrArray *rows = g_ptr_array_index(all_blocks, 1);
    g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
    for (int kind = 0; kind < 4; kind++) {
        static const char *const old[][2] = {
            {"to_q", "query"}, {"to_k", "key"}, {"to_v", "value"}, {"to_out.0", "proj_attn"}};
        struct file f = file_begin("{}");
        for (guint i = 0; i < rows->len; i++) {
            const struct row *r = g_ptr_array_index(rows, i);
            g_autoptr(GString) name = g_string_new(kind < 2 ? r->ldm : r->name);
            if (kind == 0)
                g_string_prepend(name, "first_stage_model.");
            for (int k = 0; kind == 3 && k < 4; k++)
                g_string_replace(name, old[k][0], old[k][1], 1);
            file_add(&f, name->str, kind < 2 ? r->ldm_dims : r->dims, "F32", 4);
        }
        file_write(&f, path);
        g_autoptr(GError) error = NULL;
        json_t *config = NULL;
        struct vae vae = {0};
        struct weights *w = model_open_vae(path, &config, &error);
        CHECK(w && vae_init(&vae, w, config, &error), "kind %d: %s", kind,
              error ? error->message : "");
        if (w) {
            g_autoptr(GPtrArray) unused = weights_unused(w);
            CHECK(unused->len == 0 && vae.has_encoder, "kind %d: %u unused", kind, unused->len);
        }
        vae_finish(&vae);
        weights_destroy(w);
        json_decref(config);
    }
    g_autoptr(GError) error = NULL;
    json_t *config;
    struct file f = file_begin("{}");
    file_add(&f, "emb_params", "1", "F16", 2);
    file_write(&f, path);
    CHECK(!model_open_vae(path, &config, &error) && !config);
    CHECK_STR(error ? error->message : NULL,
              "“x.safetensors” is a textual-inversion embedding; its name is used in the prompt.");
}

/* The layout of SD 1.x with names changed, dropped and of other shapes: never more than a sentence.
 */
static void test_mutants(const char *dir)
{
    static const char *const edits[][2] = {{"input_blocks.1.", "input_blocks.13."},
                                           {"output_blocks.11.", "output_blocks.99999."},
                                           {"transformer_blocks.0", "transformer_blocks.1"},
                                           {".0.op.", ".0.op.op."},
                                           {"320x", "32x"},
                                           {"x3x3", ""},
                                           {"in_layers.2", "in_layers"},
                                           {"1280x1280", "1x0"},
                                           {"middle_block", "middle"},
                                           {"proj_in.weight", "proj_in"},
                                           {"320x4x3x3", "320"},
                                           {"49408x768", "768"},
                                           {"attn2.to_k", "x"}};
    g_autofree char *path = g_build_filename(dir, "x.safetensors", NULL);
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    unsigned bound = 0, total = 60;
    for (unsigned i = 0; i < total; i++) {
        const char *const *edit = edits[i % G_N_ELEMENTS(edits)];
        struct file f = file_begin("{}");
        int keep = i < G_N_ELEMENTS(edits) ? 1000 : 990; /* of 1000 */
        for (int part = 0; part < 3; part++) {
            static const char *const prefix[] = {"model.diffusion_model.", "first_stage_model.",
                                                 "cond_stage_model.transformer."};
            const GPtrArray *block = g_ptr_array_index(all_blocks, (guint)part);
            for (guint k = 0; k < block->len; k++) {
                const struct row *r = g_ptr_array_index(block, k);
                g_autoptr(GString) name = g_string_new(prefix[part]),
                                   shape = g_string_new(r->ldm_dims);
                g_string_append(name, r->ldm);
                g_string_replace(name, edit[0], edit[1], 0);
                g_string_replace(shape, edit[0], edit[1], 0);
                if (g_rand_int_range(rand, 0, 1000) < keep)
                    file_add(&f, name->str, shape->str, "F16", 2);
            }
        }
        file_write(&f, path);
        g_autoptr(GError) error = NULL;
        struct model *m = model_open(path, &error);
        struct unet unet = {0};
        struct vae vae = {0};
        bool ok = m && m->weights[MODEL_VAE] &&
                  unet_init(&unet, m->weights[MODEL_UNET], m->config[MODEL_UNET], &error) &&
                  vae_init(&vae, m->weights[MODEL_VAE], m->config[MODEL_VAE], &error);
        CHECK(ok || !m || !m->weights[MODEL_VAE] ||
                  (error && g_str_has_suffix(error->message, ".")),
              "%s", error ? error->message : "no error");
        CHECK(m || (error && g_str_has_suffix(error->message, ".")));
        bound += ok;
        unet_finish(&unet);
        vae_finish(&vae);
        model_close(m);
    }
    CHECK(bound < total / 4, "%u of %u were accepted", bound,
          total); /* some edits touch the text alone */
}

int main(void)
{
    char *dir = temp_folder();
    test_layouts(dir);
    test_prediction(dir);
    test_other_kinds(dir);
    test_noise_kind(dir);
    test_vae_alone(dir);
    test_mutants(dir);
    remove_folder(dir);
    g_strfreev(all_lines);
    g_ptr_array_unref(all_blocks);
    return check_result();
}
