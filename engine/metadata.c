/* A1111's `parameters`: see metadata.h. What other programs write is read in metadata_foreign.c. */
#include "engine/metadata.h"

#include <errno.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

#include "engine/engine.h"
#include "engine/init.h"
#include "engine/metadata_private.h"

#define PARAMETERS_LEAST 3 /* fewer pairs on the last line and it is prompt text */

struct metadata *metadata_new(const char *origin)
{
    struct metadata *m = g_new0(struct metadata, 1);

    m->origin = g_strdup(origin);
    m->prompt = g_strdup("");
    m->negative = g_strdup("");
    m->keys = g_ptr_array_new_with_free_func(g_free);
    m->values = g_ptr_array_new_with_free_func(g_free);
    return m;
}

void metadata_free(struct metadata *m)
{
    if (!m)
        return;
    g_free(m->origin);
    g_free(m->prompt);
    g_free(m->negative);
    g_ptr_array_unref(m->keys);
    g_ptr_array_unref(m->values);
    g_free(m);
}

const char *metadata_get(const struct metadata *m, const char *key)
{
    for (guint i = 0; i < m->keys->len; i++)
        if (strcmp(m->keys->pdata[i], key) == 0)
            return m->values->pdata[i];
    return NULL;
}

void metadata_add_take(struct metadata *m, const char *key, char *value)
{
    for (guint i = 0; i < m->keys->len; i++)
        if (strcmp(m->keys->pdata[i], key) == 0) { /* a later one wins, in the first one's place */
            g_free(m->values->pdata[i]);
            m->values->pdata[i] = value;
            return;
        }
    g_ptr_array_add(m->keys, g_strdup(key));
    g_ptr_array_add(m->values, value);
}

void metadata_drop(struct metadata *m, const char *key)
{
    for (guint i = 0; i < m->keys->len; i++)
        if (strcmp(m->keys->pdata[i], key) == 0) {
            g_ptr_array_remove_index(m->keys, i);
            g_ptr_array_remove_index(m->values, i);
            return;
        }
}

/* ---- writing ---- */

static const char *const emphases[] = {
    [EMPHASIS_ORIGINAL] = "Original", [EMPHASIS_NO_NORM] = "No norm", [EMPHASIS_COMFY] = "ComfyUI",
    [EMPHASIS_IGNORE] = "Ignore",     [EMPHASIS_NONE] = "None",
};

const char *metadata_emphasis(enum emphasis emphasis)
{
    return emphases[emphasis];
}

char *metadata_number(double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    if (value == floor(value) && fabs(value) < 1e15)
        return g_strdup_printf("%.0f", value);
    for (int digits = 1; digits <= 17; digits++) {
        char format[8];

        g_snprintf(format, sizeof format, "%%.%dg", digits);
        g_ascii_formatd(text, sizeof text, format, value);
        if (g_ascii_strtod(text, NULL) == value)
            break;
    }
    return g_strdup(text);
}

/* As json.dumps(text, ensure_ascii=False). */
static void append_quoted(GString *out, const char *text)
{
    static const char plain[] = "\"\\\n\r\t\b\f", letter[] = "\"\\nrtbf";

    g_string_append_c(out, '"');
    for (const char *p = text; *p; p++) {
        const char *special = strchr(plain, *p);

        if (special)
            g_string_append_printf(out, "\\%c", letter[special - plain]);
        else if ((guchar)*p < 0x20)
            g_string_append_printf(out, "\\u%04x", (guchar)*p);
        else
            g_string_append_c(out, *p);
    }
    g_string_append_c(out, '"');
}

static void append_pair(GString *out, const char *key, const char *value)
{
    if (!value)
        return;
    g_string_append_printf(out, "%s: ", key);
    if (strpbrk(value, ",\n:"))
        append_quoted(out, value);
    else
        g_string_append(out, value);
    g_string_append(out, ", ");
}

static void append_number(GString *out, const char *key, double value)
{
    g_autofree char *text = metadata_number(value);

    append_pair(out, key, text);
}

char *metadata_write(const struct request *s, const struct metadata_model *model)
{
    GString *out = g_string_new(s->prompt ? s->prompt : "");
    char text[64];

    if (s->negative && *s->negative)
        g_string_append_printf(out, "\nNegative prompt: %s", s->negative);
    g_string_append_c(out, '\n');
    append_number(out, "Steps", s->steps);
    append_pair(out, "Sampler", s->sampler);
    append_pair(out, "Schedule type", s->schedule);
    append_number(out, "CFG scale", s->cfg);
    g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, s->seed);
    append_pair(out, "Seed", text);
    g_snprintf(text, sizeof text, "%dx%d", s->width, s->height);
    append_pair(out, "Size", text);
    append_pair(out, "Model hash", model ? model->hash : NULL);
    append_pair(out, "Model", model ? model->name : NULL);
    append_pair(out, "VAE hash", model ? model->vae_hash : NULL);
    append_pair(out, "VAE", model ? model->vae : NULL);
    if (s->variation_strength > 0) {
        g_snprintf(text, sizeof text, "%" G_GUINT64_FORMAT, s->variation_seed);
        append_pair(out, "Variation seed", text);
        append_number(out, "Variation seed strength", s->variation_strength);
    }
    if (s->init_path)
        append_number(out, "Denoising strength", s->strength);
    if (s->clip_skip > 1)
        append_number(out, "Clip skip", s->clip_skip);
    if (s->rng == RNG_CPU)
        append_pair(out, "RNG", "CPU");
    if (s->mask_path)
        append_number(out, "Mask blur", MASK_BLUR);
    if (s->fixed_eta)
        append_number(out, "Eta", s->eta);
    if (s->emphasis != EMPHASIS_ORIGINAL && s->prompt && strpbrk(s->prompt, "(["))
        append_pair(out, "Emphasis", metadata_emphasis(s->emphasis));
    if (s->taesd)
        append_pair(out, "VAE Decoder", "TAESD");
    append_pair(out, "Version", "Figment " FIGMENT_VERSION);
    g_string_truncate(out, out->len - 2);
    return g_strstrip(g_string_free(out, FALSE));
}

/* ---- reading ---- */

static bool is_word(gunichar c)
{
    return c == '_' || g_unichar_isalnum(c);
}

static bool is_key(gunichar c)
{
    return is_word(c) || c == ' ' || c == '-' || c == '/';
}

/* Python's str.strip(): Unicode's spaces at both ends. */
static char *strip_copy(const char *text, size_t length)
{
    const char *end = text + length;

    while (text < end && g_unichar_isspace(g_utf8_get_char(text)))
        text = g_utf8_next_char(text);
    while (text < end) {
        const char *last = g_utf8_prev_char(end);

        if (!g_unichar_isspace(g_utf8_get_char(last)))
            break;
        end = last;
    }
    return g_strndup(text, (gsize)(end - text));
}

/* What json.loads() gives for a quoted string, or the text as it is. */
static char *unquote(const char *text, size_t length)
{
    g_autofree char *copy = g_strndup(text, length);
    json_t *value;
    char *plain;

    if (length < 2 || copy[0] != '"' || copy[length - 1] != '"')
        return g_steal_pointer(&copy);
    value = json_loads(copy, JSON_DECODE_ANY, NULL);
    plain = g_strdup(json_is_string(value) ? json_string_value(value) : copy);
    json_decref(value);
    return plain;
}

/* `"(?:\\.|[^\\"])+"` at p: the length with both quotes, or 0. */
static size_t quoted_length(const char *p)
{
    const char *start = p++;

    if (*start != '"' || *p == '"')
        return 0;
    while (*p && *p != '"') {
        if (*p == '\\') {
            if (!p[1])
                return 0;
            p++;
        }
        p = g_utf8_next_char(p);
    }
    return *p == '"' ? (size_t)(p + 1 - start) : 0;
}

struct pair {
    const char *key, *value;
    size_t key_length, value_length;
};

/*
 * A1111's pattern `\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)` by hand, from *at on, in
 * linear time (a regular expression takes quadratic time for a long line without colons).
 */
static bool next_pair(const char **at, struct pair *pair)
{
    const char *p = *at;

    for (;;) {
        const char *key;
        size_t quoted;

        while (*p && !is_word(g_utf8_get_char(p)))
            p = g_utf8_next_char(p);
        if (!*p)
            return false;
        key = p;
        while (*p && is_key(g_utf8_get_char(p)))
            p = g_utf8_next_char(p);
        if (*p != ':' || p == g_utf8_next_char(key))
            continue;
        pair->key = key;
        pair->key_length = (size_t)(p++ - key);
        while (g_unichar_isspace(g_utf8_get_char(p)))
            p = g_utf8_next_char(p);
        quoted = quoted_length(p);
        if (!quoted || (p[quoted] && p[quoted] != ','))
            quoted = strcspn(p, ",");
        pair->value = p;
        pair->value_length = quoted;
        p += quoted;
        *at = *p ? p + 1 : p;
        return true;
    }
}

static bool is_size(const char *value, int *width, int *height)
{
    char rest;

    return sscanf(value, "%6dx%6d%c", width, height, &rest) == 2 && g_ascii_isdigit(value[0]);
}

/* A line of the text before the settings: the prompt or, from its label on, the negative one. */
static void append_line(GString *prompt, GString *negative, bool *in_negative, const char *text,
                        size_t length)
{
    static const char label[] = "Negative prompt:";
    g_autofree char *line = strip_copy(text, length);
    const char *rest = line;
    g_autofree char *stripped = NULL;
    GString *to;

    if (g_str_has_prefix(line, label)) {
        *in_negative = true;
        stripped = strip_copy(line + strlen(label), strlen(line) - strlen(label));
        rest = stripped;
    }
    to = *in_negative ? negative : prompt;
    if (to->len)
        g_string_append_c(to, '\n');
    g_string_append(to, rest);
}

static void parse_settings(struct metadata *m, const char *line)
{
    struct pair pair;

    while (next_pair(&line, &pair)) {
        g_autofree char *key = g_strndup(pair.key, pair.key_length);

        if (pair.value_length)
            metadata_add_take(m, key, unquote(pair.value, pair.value_length));
    }
}

static void take_origin(struct metadata *m)
{
    static const char *const origins[] = {"Figment", "stable-diffusion.cpp", "Fooocus"};
    const char *version = metadata_get(m, "Version");

    for (gsize i = 0; version && i < G_N_ELEMENTS(origins); i++)
        if (g_str_has_prefix(version, origins[i])) {
            g_free(m->origin);
            m->origin = g_strdup(origins[i]);
        }
}

/* Before it wrote JSON, stable-diffusion.cpp wrote an eta that only DDIM and TCD looked at. */
static void drop_idle_eta(struct metadata *m)
{
    const char *sampler = metadata_get(m, "Sampler");

    if (strcmp(m->origin, "stable-diffusion.cpp") == 0 && sampler &&
        !g_str_has_prefix(sampler, "ddim") && !g_str_has_prefix(sampler, "tcd"))
        metadata_drop(m, "Eta");
}

struct metadata *metadata_parse(const char *text)
{
    struct metadata *m = metadata_new("A1111");
    g_autofree char *whole = g_utf8_validate(text, -1, NULL) ? strip_copy(text, strlen(text))
                                                             : g_utf8_make_valid(text, -1);
    static const char sdcpp[] = ", SDCPP: ";
    char *last = strrchr(whole, '\n'), *settings = last ? last + 1 : whole, *json;
    const char *at = settings, *line = whole;
    GString *prompt = g_string_new(NULL), *negative = g_string_new(NULL);
    bool in_negative = false;
    struct pair pair;
    int pairs = 0;

    while (pairs < PARAMETERS_LEAST && next_pair(&at, &pair))
        pairs++;
    if (pairs < PARAMETERS_LEAST)
        settings = whole + strlen(whole);
    json = strstr(settings, sdcpp);
    while (line < settings) {
        size_t length = strcspn(line, "\n");

        append_line(prompt, negative, &in_negative, line, length);
        line += length + (line[length] == '\n');
    }
    if (json) /* holds the prompt, which may look like settings */
        *json = '\0';
    parse_settings(m, settings);
    g_free(m->prompt);
    g_free(m->negative);
    m->prompt = g_string_free(prompt, FALSE);
    m->negative = g_string_free(negative, FALSE);
    take_origin(m);
    if (json)
        metadata_take_sdcpp(m, json + strlen(sdcpp));
    else
        drop_idle_eta(m);
    return m;
}

struct metadata *metadata_read(const char *path, GError **error)
{
    g_autoptr(GBytes) bytes = picture_load(path, error);
    g_autofree char *name = g_path_get_basename(path);
    g_autoptr(GHashTable) texts = NULL;
    struct metadata *m;
    gsize size;
    const guint8 *data;

    if (!bytes)
        return NULL;
    data = g_bytes_get_data(bytes, &size);
    if (size >= 2 && data[0] == 0xff && data[1] == 0xd8) {
        g_autofree char *comment = picture_read_jpeg_comment(path, error);

        return comment ? metadata_from_comment(comment) : NULL;
    }
    if (!picture_decode_png(bytes, name, NULL, &texts, error))
        return NULL;
    if (!(m = metadata_from_texts(texts)))
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT, _("“%s” carries no settings."), name);
    return m;
}

/* ---- taking over ---- */

struct taking {
    const struct metadata *m;
    struct request *request;
    GPtrArray *changes, *notices;
};

static void say(GPtrArray *to, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void say(GPtrArray *to, const char *format, ...)
{
    va_list arguments;

    if (!to)
        return;
    va_start(arguments, format);
    g_ptr_array_add(to, g_strdup_vprintf(format, arguments));
    va_end(arguments);
}

/* A number within [low, high]; false when there is none of that key, or no number in it. */
static bool take_number(const struct taking *t, const char *key, double low, double high,
                        double *value)
{
    const char *text = metadata_get(t->m, key);
    char *end;
    double number;

    if (!text)
        return false;
    number = g_ascii_strtod(text, &end);
    if (end == text || !isfinite(number)) {
        say(t->notices, _("%s is not a number and was left out."), _(key));
        return false;
    }
    *value = CLAMP(number, low, high);
    if (*value != number) {
        g_autofree char *was = metadata_number(number), *now = metadata_number(*value);

        say(t->notices, _("%s was %s and became %s."), _(key), was, now);
    } else {
        g_autofree char *now = metadata_number(*value);

        say(t->changes, _("%s: %s"), _(key), now);
    }
    return true;
}

static bool take_seed(const struct taking *t, const char *key, uint64_t *seed)
{
    const char *text = metadata_get(t->m, key);
    char *end;
    guint64 number;

    if (!text)
        return false;
    errno = 0;
    number = g_ascii_strtoull(text, &end, 10);
    if (end == text || *end || errno || text[0] == '-') {
        say(t->notices, _("%s is not a whole number from 0 to 2^64 - 1 and was left out."), _(key));
        return false;
    }
    *seed = number;
    say(t->changes, _("%s: %s"), _(key), text);
    return true;
}

static void take_string(const struct taking *t, const char *key, char **field)
{
    const char *text = metadata_get(t->m, key);

    if (!text)
        return;
    g_free(*field);
    *field = g_strdup(text);
    say(t->changes, _("%s: %s"), _(key), text);
}

static void take_size(const struct taking *t)
{
    const char *text = metadata_get(t->m, "Size");
    int width, height, w, h;

    if (!text)
        return;
    if (!is_size(text, &width, &height)) {
        say(t->notices, _("Size is not like 512x512 and was left out."));
        return;
    }
    w = CLAMP((width + 4) / 8 * 8, 64, 4096);
    h = CLAMP((height + 4) / 8 * 8, 64, 4096);
    if (w != width || h != height)
        say(t->notices, _("Size was %dx%d and became %dx%d."), width, height, w, h);
    else
        say(t->changes, _("Size: %dx%d"), w, h);
    t->request->width = w;
    t->request->height = h;
}

/* A name to be looked up, never a path. */
static void take_name(const struct taking *t, const char *key, char **field)
{
    const char *name = metadata_get(t->m, key);

    if (name && strpbrk(name, "/\\"))
        say(t->notices, _("%s is no file name and was left out."), _(key));
    else
        take_string(t, key, field);
}

static void take_emphasis(const struct taking *t)
{
    const char *name = metadata_get(t->m, "Emphasis"), *decoder = metadata_get(t->m, "VAE Decoder");

    /* ComfyUI's pictures follow its own grammar. */
    t->request->emphasis =
        strcmp(t->m->origin, "ComfyUI") == 0 ? EMPHASIS_COMFY : EMPHASIS_ORIGINAL;
    for (gsize i = 0; name && i < G_N_ELEMENTS(emphases); i++)
        if (g_ascii_strcasecmp(name, emphases[i]) == 0)
            t->request->emphasis = (enum emphasis)i;
    if (name)
        say(t->changes, _("Emphasis: %s"), emphases[t->request->emphasis]);
    t->request->taesd = g_strcmp0(decoder, "TAESD") == 0;
}

/* A1111 draws on the GPU unless it says otherwise, stable-diffusion.cpp in the same way ("cuda");
 * ComfyUI, InvokeAI and diffusers draw on the CPU. */
static bool takes_gpu_noise(const struct metadata *m)
{
    const char *rng = metadata_get(m, "RNG");

    if (strcmp(m->origin, "A1111") == 0)
        return g_strcmp0(rng, "CPU") != 0;
    if (strcmp(m->origin, "Figment") == 0)
        return !rng || strcmp(rng, "CPU") != 0;
    return strcmp(m->origin, "stable-diffusion.cpp") == 0 && g_strcmp0(rng, "cpu") != 0;
}

/* What these settings did to the picture cannot be repeated. */
static const char *const not_honoured[] = {
    N_("Hires upscale"),
    N_("Hires resize"),
    N_("Hires steps"),
    N_("Hires upscaler"),
    N_("Face restoration"),
    N_("Lora hashes"),
    N_("TI hashes"),
    N_("Tiling"),
    N_("Refiner"),
    N_("Seed resize from"),
    N_("ENSD"),
    N_("Token merging ratio"),
    N_("NGMS"),
    N_("Mask blur"),
    N_("Styles"),
};

void metadata_apply(const struct metadata *m, struct request *r, GPtrArray *changes,
                    GPtrArray *notices)
{
    struct taking t = {m, r, changes, notices};
    double value;

    g_free(r->prompt);
    g_free(r->negative);
    r->prompt = g_strdup(m->prompt);
    r->negative = g_strdup(m->negative);
    say(changes, _("Prompt: %s"), m->prompt);
    if (*m->negative)
        say(changes, _("Negative prompt: %s"), m->negative);
    if (take_number(&t, N_("Steps"), 1, 500, &value))
        r->steps = (int)value;
    if (take_number(&t, N_("CFG scale"), 0, 50, &value))
        r->cfg = value;
    if (take_seed(&t, N_("Seed"), &r->seed))
        r->fixed_seed = true;
    take_size(&t);
    metadata_take_sampler(m, r, changes, notices);
    take_name(&t, N_("Model"), &r->model);
    take_name(&t, N_("VAE"), &r->vae);
    take_emphasis(&t);
    if (take_number(&t, N_("Clip skip"), 1, 12, &value))
        r->clip_skip = (int)value;
    if (take_number(&t, N_("Eta"), 0, 1, &value)) {
        r->eta = value;
        r->fixed_eta = true;
    }
    if (metadata_get(m, "Variation seed") &&
        take_seed(&t, N_("Variation seed"), &r->variation_seed) &&
        take_number(&t, N_("Variation seed strength"), 0, 1, &value))
        r->variation_strength = value;
    if (take_number(&t, N_("Denoising strength"), 0, 1, &value))
        r->strength = value;
    r->rng = takes_gpu_noise(m) ? RNG_GPU : RNG_CPU;
    for (gsize i = 0; i < G_N_ELEMENTS(not_honoured); i++)
        if (metadata_get(m, not_honoured[i]))
            say(notices, _("%s (%s) is not done here; the picture will differ."),
                _(not_honoured[i]), metadata_get(m, not_honoured[i]));
}
