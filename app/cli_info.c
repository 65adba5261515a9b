/* figment models, devices, inspect, read: what is there and what is in it. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "app/cli.h"
#include "engine/device.h"
#include "engine/engine.h"
#include "engine/facts.h"
#include "engine/library.h"
#include "engine/metadata.h"
#include "engine/settings.h"
#include "weights/model.h"
#include "weights/quote.h"
#include "weights/safetensors.h"

static int print_json(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

    puts(text);
    free(text);
    json_decref(value);
    return CLI_DONE;
}

static void set_text(json_t *object, const char *key, const char *text)
{
    if (text)
        json_object_set_new(object, key, json_string(text));
}

/* ---- models ---- */

static json_t *model_json(const struct model_info *info, uint64_t budget)
{
    json_t *o = json_object();
    uint64_t needs = library_needs(info);

    set_text(o, "name", info->name);
    set_text(o, "path", info->path);
    set_text(o, "family", info->family);
    set_text(o, "kind", info->kind);
    set_text(o, "precision", info->precision);
    set_text(o, "problem", info->problem);
    set_text(o, "preview", info->preview);
    set_text(o, "sha256", info->sha256);
    json_object_set_new(o, "bundled", json_boolean(info->bundled));
    json_object_set_new(o, "bytes", json_integer((json_int_t)info->bytes));
    json_object_set_new(o, "parameters", json_integer((json_int_t)info->parameters));
    if (needs)
        json_object_set_new(o, "needs", json_integer((json_int_t)needs));
    if (needs && budget)
        json_object_set_new(o, "fits", json_boolean(needs <= budget));
    if (info->defaults.width) {
        json_object_set_new(o, "width", json_integer(info->defaults.width));
        json_object_set_new(o, "height", json_integer(info->defaults.height));
    }
    return o;
}

/* "SDXL inpainting f16" */
static char *model_description(const struct model_info *info)
{
    const char *parts[4] = {NULL};
    int n = 0;

    if (info->bundled || info->family)
        parts[n++] = info->bundled ? "bundled" : info->family;
    if (info->kind)
        parts[n++] = info->kind;
    if (info->precision)
        parts[n++] = info->precision;
    return g_strjoinv(" ", (char **)parts);
}

static void print_model(const struct model_info *info, uint64_t budget)
{
    g_autofree char *size = weights_size_text(info->bytes), *what = model_description(info);
    g_autofree char *name = weights_escape(info->name, -1), *path = weights_escape(info->path, -1);
    g_autofree char *problem = info->problem ? weights_escape(info->problem, -1) : NULL;
    uint64_t needs = library_needs(info);

    printf("%-28s %-22s %9s  %.10s%s%s%s%s%s\n", name, what, size,
           info->sha256 ? info->sha256 : "-", info->sha256 ? "  " : "           ", path,
           needs && budget && needs > budget ? " (does not fit)" : "", problem ? ": " : "",
           problem ? problem : "");
}

static void compute_hash(struct model_info *info)
{
    if (!info->sha256 && !info->problem)
        info->sha256 = facts_sha256(info->path, false, NULL);
}

int cli_models(int argc, char **argv)
{
    bool json = false, hash = false;
    char *folders[2] = {NULL}, *device = NULL;
    const struct cli_option options[] = {
        CLI_OPTION_STRING("--device", "NAME", "what they must fit on (auto, cpu, vulkan:N)",
                          &device),
        CLI_OPTION_STRING("--models", "FOLDER", "one more folder to look into", &folders[0]),
        CLI_OPTION_FLAG("--hash", "compute hashes that are not known yet (a few seconds each)",
                        &hash),
        CLI_OPTION_FLAG("--json", "as JSON", &json),
    };
    const struct cli_command command = {
        "models",
        "[OPTIONS]",
        "Lists the models on this machine: name, kind, size, hash, path.",
        options,
        G_N_ELEMENTS(options),
        0,
        0,
        NULL,
    };
    g_autoptr(GPtrArray) list = NULL;
    GError *error = NULL;
    uint64_t budget;
    json_t *array;
    int status;

    if (!cli_parse(&command, argc, argv, &status))
        return status;
    if (!settings_device(device, &error))
        return cli_fail_error(error);
    list = library_list(folders);
    budget = device_budget(device, NULL);
    g_free(folders[0]);
    g_free(device);
    for (guint i = 0; hash && i < list->len; i++)
        compute_hash(list->pdata[i]);
    if (json) {
        array = json_array();
        for (guint i = 0; i < list->len; i++)
            json_array_append_new(array, model_json(list->pdata[i], budget));
        return print_json(array);
    }
    for (guint i = 0; i < list->len; i++)
        print_model(list->pdata[i], budget);
    if (!list->len) {
        g_autofree char *folder = library_models_folder();

        return cli_fail(CLI_DONE, "There are no models yet; put some into “%s”.", folder);
    }
    return CLI_DONE;
}

/* ---- devices ---- */

int cli_devices(int argc, char **argv)
{
    bool json = false;
    const struct cli_option options[] = {CLI_OPTION_FLAG("--json", "as JSON", &json)};
    const struct cli_command command = {
        "devices",
        "[OPTIONS]",
        "Lists what can compute; * is what “auto” takes.",
        options,
        G_N_ELEMENTS(options),
        0,
        0,
        NULL,
    };
    g_autoptr(GPtrArray) list = NULL;
    json_t *array;
    int status;

    if (!cli_parse(&command, argc, argv, &status))
        return status;
    list = engine_devices();
    array = json_array();
    for (guint i = 0; i < list->len; i++) {
        const struct device_info *info = list->pdata[i];
        g_autofree char *memory = info->memory ? weights_size_text(info->memory) : g_strdup("");

        if (json)
            json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:I, s:b}", "name", info->name,
                                                   "label", info->label, "details", info->details,
                                                   "memory", (json_int_t)info->memory, "automatic",
                                                   info->automatic));
        else
            printf("%c %-10s %s%s%s%s%s\n", info->automatic ? '*' : ' ', info->name, info->label,
                   *memory ? ", " : "", memory, *info->details ? ", " : "", info->details);
    }
    if (json)
        return print_json(array);
    json_decref(array);
    return CLI_DONE;
}

/* ---- inspect ---- */

static int print_file(const char *path, bool all)
{
    GError *error = NULL;
    struct safetensors *st = safetensors_open(path, &error);
    g_autofree char *size = NULL;

    if (!st) {
        int status = cli_fail(CLI_INPUT, "%s", error->message);

        g_error_free(error);
        return status;
    }
    size = weights_size_text(safetensors_file_size(st));
    printf("%s: %zu tensors, %s\n", safetensors_label(st), safetensors_count(st), size);
    for (size_t i = 0; i < safetensors_metadata_count(st); i++) {
        g_autofree char *key = weights_escape(safetensors_metadata_key(st, i), -1);
        g_autofree char *value = weights_escape(safetensors_metadata_value(st, i), -1);

        printf("  %s: %s\n", key, value);
    }
    for (size_t i = 0; all && i < safetensors_count(st); i++) {
        const struct st_tensor *t = safetensors_tensor(st, i);
        g_autofree char *name = weights_escape(t->name, -1);

        printf("  %-72s %-5s [", name, st_dtype_name(t->dtype));
        for (unsigned k = 0; k < t->rank; k++)
            printf("%s%" G_GUINT64_FORMAT, k ? "," : "", t->dims[k]);
        printf("]\n");
    }
    safetensors_close(st);
    return CLI_DONE;
}

static void print_part(const struct model *m, enum model_part part)
{
    const struct weights *w = m->weights[part];
    g_autofree char *size = weights_size_text(weights_bytes(w));

    printf("  %-16s %9s  %-4s %7.1f M parameters in %zu tensors\n", model_part_name(part), size,
           dtype_name(weights_main_dtype(w)), (double)weights_parameters(w) / 1e6,
           weights_count(w));
}

/* What is missing or of another shape in any part, or what a picture takes. */
static void print_state(const char *path)
{
    struct request request = {.model = (char *)path, .prompt = (char *)""};
    struct estimate estimate;
    g_autoptr(GError) error = NULL;
    g_autofree char *text = NULL;

    if (!estimate_request(NULL, &request, &estimate, &error)) {
        printf("  %s\n", error->message);
        return;
    }
    text = estimate_text(&estimate);
    printf("  complete; a picture takes %s%s\n", text,
           estimate.fits ? "" : ", which is more than is free");
}

static int print_parts(const struct model *m, const char *path)
{
    struct model_info *info = library_find(NULL, path, NULL);

    printf("%s: %s%s%s%s%s\n", m->label, model_family_name(m->family),
           info && info->kind ? ", " : "", info && info->kind ? info->kind : "",
           info && info->sha256 ? ", sha256 " : "", info && info->sha256 ? info->sha256 : "");
    for (int i = 0; i < MODEL_PARTS; i++)
        if (m->weights[i])
            print_part(m, (enum model_part)i);
    print_state(path);
    model_info_free(info);
    return CLI_DONE;
}

int cli_inspect(int argc, char **argv)
{
    bool tensors = false;
    char *path[1];
    const struct cli_option options[] = {
        CLI_OPTION_FLAG("--tensors", "list every tensor with its format and shape", &tensors)};
    const struct cli_command command = {
        "inspect",
        "FILE|FOLDER [OPTIONS]",
        "Tells what is in a model.",
        options,
        G_N_ELEMENTS(options),
        1,
        1,
        path,
    };
    GError *error = NULL;
    struct model *model;
    int status;

    if (!cli_parse(&command, argc, argv, &status))
        return status;
    if (!g_file_test(path[0], G_FILE_TEST_IS_DIR)) {
        status = print_file(path[0], tensors);
        /* A LoRA or an autoencoder alone is a fine file, though no model. */
        if (status == CLI_DONE && (model = model_open(path[0], NULL))) {
            print_parts(model, path[0]);
            model_close(model);
        }
        return status;
    }
    if (!(model = model_open(path[0], &error))) {
        status = cli_fail(CLI_INPUT, "%s", error->message);
        g_error_free(error);
        return status;
    }
    status = print_parts(model, path[0]);
    model_close(model);
    return status;
}

/* ---- read ---- */

static int print_metadata(const struct metadata *m, bool json)
{
    json_t *o, *settings;

    if (!json) {
        printf("Prompt: %s\n", m->prompt);
        if (*m->negative)
            printf("Negative prompt: %s\n", m->negative);
        for (guint i = 0; i < m->keys->len; i++)
            printf("%s: %s\n", (char *)m->keys->pdata[i], (char *)m->values->pdata[i]);
        return CLI_DONE;
    }
    o = json_pack("{s:s, s:s, s:s}", "origin", m->origin, "prompt", m->prompt, "negative",
                  m->negative);
    settings = json_object();
    for (guint i = 0; i < m->keys->len; i++)
        set_text(settings, m->keys->pdata[i], m->values->pdata[i]);
    json_object_set_new(o, "settings", settings);
    return print_json(o);
}

int cli_read(int argc, char **argv)
{
    bool json = false;
    char *path[1];
    const struct cli_option options[] = {CLI_OPTION_FLAG("--json", "as JSON", &json)};
    const struct cli_command command = {
        "read",
        "PICTURE [OPTIONS]",
        "Prints the settings a picture was made with (A1111's and others', PNG and JPEG).",
        options,
        G_N_ELEMENTS(options),
        1,
        1,
        path,
    };
    GError *error = NULL;
    struct metadata *m;
    int status;

    if (!cli_parse(&command, argc, argv, &status))
        return status;
    if (!(m = metadata_read(path[0], &error)))
        return cli_fail_error(error);
    status = print_metadata(m, json);
    metadata_free(m);
    return status;
}
