#include "engine/text.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#include "clip/chunk.h"
#include "clip/clip.h"
#include "clip/emphasis.h"
#include "clip/prompt.h"
#include "engine/engine.h"

#define ENCODERS_MAX 2
#define KEPT_MAX 64 /* schedules whose encodings stay */

/* One CLIP: SDXL has two, whose outputs stand side by side. */
struct encoder {
    struct clip clip;
    struct tokenizer *tokenizer;
    struct inversion_finder *finder; /* NULL: no inversions */
    int32_t pad;
    struct clip_choice choice; /* what `tape` gives */
    bool pooled;               /* the U-Net wants this one's pooled output */
    struct tape *tape;         /* for one chunk */
};

struct text_encoder {
    struct backend *backend;
    GPtrArray *notices; /* about embeddings */
    struct encoder encoders[ENCODERS_MAX];
    int n;
    enum model_family family;
    bool two; /* SDXL: no final norm, the layer before the last, empty negatives are zeros */
    GHashTable *kept; /* key of a schedule -> GPtrArray of struct conditioning */
};

struct prompt_pair {
    GPtrArray *parts; /* struct prompt_part */
    GPtrArray *texts; /* for each part: a GPtrArray with the conditioning of each schedule entry */
    GPtrArray *negative; /* struct prompt_text */
    GPtrArray *negative_texts;
};

/* ---- opening ---- */

static bool open_encoder(struct encoder *e, struct model *m, enum model_part part,
                         struct inversions *inversions, GPtrArray *notices, GError **error)
{
    int which = part == MODEL_TEXT_2;
    bool open_clip = which == 1 || m->family == MODEL_SD2;

    if (!clip_init(&e->clip, model_part_name(part), m->weights[part], m->config[part], error))
        return false;
    e->tokenizer = m->tokenizer[which]
                       ? tokenizer_open(m->tokenizer[which], e->clip.config.vocabulary, error)
                       : tokenizer_create();
    if (!e->tokenizer)
        return false;
    e->pad = m->tokenizer[which] || !open_clip ? tokenizer_ids(e->tokenizer).pad : 0;
    e->pooled = which == 1;
    if (inversions)
        e->finder =
            inversion_finder_create(inversions, e->tokenizer, which, e->clip.config.width, notices);
    return true;
}

struct text_encoder *text_encoder_create(struct backend *backend, struct model *model,
                                         struct inversions *inversions, GPtrArray *notices,
                                         GError **error)
{
    struct text_encoder *e = g_new0(struct text_encoder, 1);
    GError *problem = NULL, *other = NULL;

    e->backend = backend;
    e->notices = notices ? g_ptr_array_ref(notices) : NULL;
    e->family = model->family;
    e->two = model->weights[MODEL_TEXT_2] != NULL;
    e->kept =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    for (int part = MODEL_TEXT; part <= MODEL_TEXT_2; part++) {
        if (!model->weights[part])
            continue;
        open_encoder(&e->encoders[e->n++], model, (enum model_part)part, inversions, notices,
                     &other);
        engine_join_errors(&problem, &other);
    }
    if (e->n && !problem)
        return e;
    if (problem)
        g_propagate_error(error, problem);
    else
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_MODEL, _("“%s” has no text encoder."),
                    model->label);
    text_encoder_destroy(e);
    return NULL;
}

void text_encoder_release(struct text_encoder *e)
{
    for (int i = 0; i < e->n; i++)
        g_clear_pointer(&e->encoders[i].tape, tape_destroy);
}

void text_encoder_forget(struct text_encoder *e)
{
    text_encoder_release(e);
    g_hash_table_remove_all(e->kept);
}

void text_encoder_destroy(struct text_encoder *e)
{
    if (!e)
        return;
    text_encoder_forget(e);
    for (int i = 0; i < e->n; i++) {
        clip_finish(&e->encoders[i].clip);
        inversion_finder_destroy(e->encoders[i].finder);
        tokenizer_destroy(e->encoders[i].tokenizer);
    }
    g_hash_table_unref(e->kept);
    g_clear_pointer(&e->notices, g_ptr_array_unref);
    g_free(e);
}

/* ---- one chunk ---- */

/* Which layer: A1111's clip skip where it applies. SDXL's is fixed, and SD 2.x's files hold either
 * the 23 layers it uses or all 24. */
static struct clip_choice choose(const struct text_encoder *e, const struct encoder *encoder,
                                 int clip_skip)
{
    if (e->two || encoder->pooled)
        return (struct clip_choice){.skip = 2, .norm = false};
    if (e->family == MODEL_SD2)
        return (struct clip_choice){.skip = encoder->clip.config.layers >= 24 ? 2 : 1,
                                    .norm = true};
    return (struct clip_choice){.skip = clip_skip, .norm = true};
}

static struct tape *record(const struct encoder *encoder, struct clip_choice choice)
{
    struct tape *t = tape_create(encoder->clip.name);
    struct tensor *embedded = tape_input(t, "embedded", DTYPE_F32, 3,
                                         (int64_t[]){1, CHUNK_LENGTH, encoder->clip.config.width});
    struct tensor *ends =
        encoder->pooled ? tape_input(t, "ends", DTYPE_I32, 1, (int64_t[]){1}) : NULL;
    struct clip_output out = clip_forward(t, &encoder->clip, embedded, ends, choice);

    tape_output(t, "hidden", out.hidden);
    if (out.pooled)
        tape_output(t, "pooled", out.pooled);
    return t;
}

static bool compile(struct text_encoder *e, struct encoder *encoder, struct clip_choice choice,
                    const int *cancel, GError **error)
{
    if (encoder->tape && encoder->choice.skip == choice.skip)
        return true;
    g_clear_pointer(&encoder->tape, tape_destroy);
    encoder->choice = choice;
    encoder->tape = record(encoder, choice);
    if (tape_finish(encoder->tape, e->backend, cancel, error))
        return true;
    g_clear_pointer(&encoder->tape, tape_destroy);
    return false;
}

/* hidden [77, C]; pooled [P] may be NULL. */
static bool run_chunk(struct encoder *encoder, const struct chunk *chunk, float *hidden,
                      float *pooled, const int *cancel, GError **error)
{
    g_autofree float *embedded = g_new(float, (gsize)CHUNK_LENGTH * encoder->clip.config.width);
    struct clip_vectors vectors[CHUNK_WORDS];
    size_t n = encoder->finder ? inversion_vectors(chunk, encoder->pooled, 0, vectors) : 0;
    int32_t end = chunk->end;

    if (!clip_embed(&encoder->clip, chunk->ids, 1, CHUNK_LENGTH, vectors, n, embedded, error))
        return false;
    tape_write(encoder->tape, "embedded", embedded);
    if (encoder->pooled)
        tape_write(encoder->tape, "ends", &end);
    if (!tape_run(encoder->tape, cancel, error))
        return false;
    tape_read(encoder->tape, "hidden", hidden);
    if (encoder->pooled && pooled)
        tape_read(encoder->tape, "pooled", pooled);
    return true;
}

/* ---- a schedule: texts that follow one another, encoded together as A1111 does ---- */

struct group {
    struct text_encoder *e;
    const GPtrArray *schedule; /* struct prompt_text */
    int clip_skip;
    enum emphasis emphasis;
    GPtrArray **chunks[ENCODERS_MAX]; /* of each encoder and text */
    int n_chunks;                     /* the most of any; shorter ones are filled up */
    int width, pooled_width;
    float **values, **pooled; /* of each text */
    const int *cancel;
};

static enum prompt_grammar grammar(enum emphasis emphasis)
{
    return emphasis == EMPHASIS_COMFY  ? PROMPT_COMFY
           : emphasis == EMPHASIS_NONE ? PROMPT_LITERAL
                                       : PROMPT_A1111;
}

static void cut(struct group *g)
{
    guint n = g->schedule->len;

    for (int i = 0; i < g->e->n; i++) {
        const struct encoder *encoder = &g->e->encoders[i];

        g->width += encoder->clip.config.width;
        if (encoder->pooled)
            g->pooled_width = encoder->clip.config.projection ? encoder->clip.config.projection
                                                              : encoder->clip.config.width;
        g->chunks[i] = g_new(GPtrArray *, n);
        for (guint t = 0; t < n; t++) {
            const struct prompt_text *text = g->schedule->pdata[t];
            struct chunk_embeddings hooks = {0};

            if (encoder->finder)
                hooks = inversion_hooks(encoder->finder);
            g->chunks[i][t] = chunk_prompt(encoder->tokenizer, text->text, grammar(g->emphasis),
                                           encoder->finder ? &hooks : NULL, encoder->pad, NULL);
            g->n_chunks = MAX(g->n_chunks, (int)g->chunks[i][t]->len);
        }
    }
    for (int i = 0; i < g->e->n; i++)
        for (guint t = 0; t < n; t++)
            while ((int)g->chunks[i][t]->len < g->n_chunks)
                g_ptr_array_add(g->chunks[i][t], chunk_create_empty(g->e->encoders[i].tokenizer,
                                                                    g->e->encoders[i].pad));
    g->values = g_new0(float *, n);
    g->pooled = g_new0(float *, n);
    for (guint t = 0; t < n; t++) {
        g->values[t] = g_new0(float, (gsize)g->n_chunks *CHUNK_LENGTH * g->width);
        if (g->pooled_width)
            g->pooled[t] = g_new0(float, g->pooled_width);
    }
}

/* The text before `t` whose k-th chunk is the same to the encoder ([a|b] comes back to `a` every
 * other step), or -1. */
static int same_before(const struct group *g, int i, int k, size_t t)
{
    const struct chunk *chunk = g->chunks[i][t]->pdata[k];

    for (size_t other = 0; other < t && !chunk->fixes->len; other++) {
        const struct chunk *before = g->chunks[i][other]->pdata[k];

        if (!before->fixes->len && before->end == chunk->end &&
            memcmp(before->ids, chunk->ids, sizeof chunk->ids) == 0)
            return (int)other;
    }
    return -1;
}

/* What the weights do to the values z of one place. */
static bool weigh(const struct group *g, struct encoder *encoder, float *z, const float *weights,
                  GError **error)
{
    size_t n = g->schedule->len, c = (size_t)encoder->clip.config.width;
    g_autofree float *nothing = NULL;
    struct chunk *chunk;
    bool ok;

    switch (g->emphasis) {
    case EMPHASIS_ORIGINAL:
        emphasis_original(z, weights, n * CHUNK_LENGTH, c);
        return true;
    case EMPHASIS_NO_NORM:
        emphasis_no_norm(z, weights, n * CHUNK_LENGTH, c);
        return true;
    case EMPHASIS_IGNORE:
    case EMPHASIS_NONE:
        return true;
    case EMPHASIS_COMFY:
        break;
    }
    nothing = g_new(float, CHUNK_LENGTH *c);
    chunk = chunk_create_empty(encoder->tokenizer, encoder->pad);
    ok = run_chunk(encoder, chunk, nothing, NULL, g->cancel, error);
    chunk_destroy(chunk);
    for (size_t t = 0; ok && t < n; t++)
        emphasis_comfy(z + t * CHUNK_LENGTH * c, nothing, weights + t * CHUNK_LENGTH, CHUNK_LENGTH,
                       c);
    return ok;
}

/* The k-th chunks of all texts through one encoder, into columns from `column` on. */
static bool run_place(struct group *g, int i, int k, int column, GError **error)
{
    struct encoder *encoder = &g->e->encoders[i];
    size_t n = g->schedule->len, c = (size_t)encoder->clip.config.width;
    g_autofree float *z = g_new(float, n *CHUNK_LENGTH *c);
    g_autofree float *weights = g_new(float, n *CHUNK_LENGTH);

    for (size_t t = 0; t < n; t++) {
        const struct chunk *chunk = g->chunks[i][t]->pdata[k];
        int same = same_before(g, i, k, t);

        if (same >= 0) {
            memcpy(z + t * CHUNK_LENGTH * c, z + (size_t)same * CHUNK_LENGTH * c,
                   CHUNK_LENGTH * c * sizeof *z);
            if (k == 0 && encoder->pooled && g->pooled[t])
                memcpy(g->pooled[t], g->pooled[same], (size_t)g->pooled_width * sizeof *z);
        } else if (!run_chunk(encoder, chunk, z + t * CHUNK_LENGTH * c,
                              k == 0 ? g->pooled[t] : NULL, g->cancel, error)) {
            return false;
        }
        memcpy(weights + t * CHUNK_LENGTH, chunk->weights, sizeof chunk->weights);
    }
    if (emphasis_needed(weights, n * CHUNK_LENGTH) && !weigh(g, encoder, z, weights, error))
        return false;
    for (size_t t = 0; t < n; t++)
        for (int row = 0; row < CHUNK_LENGTH; row++)
            memcpy(g->values[t] + ((size_t)k * CHUNK_LENGTH + row) * g->width + column,
                   z + (t * CHUNK_LENGTH + row) * c, c * sizeof *z);
    return true;
}

static bool run_group(struct group *g, GError **error)
{
    int column = 0;

    for (int i = 0; i < g->e->n; i++) {
        struct encoder *encoder = &g->e->encoders[i];

        if (!compile(g->e, encoder, choose(g->e, encoder, g->clip_skip), g->cancel, error))
            return false;
        for (int k = 0; k < g->n_chunks; k++)
            if (!run_place(g, i, k, column, error))
                return false;
        column += encoder->clip.config.width;
    }
    return true;
}

/* The values move into conditionings; everything else is freed. NULL when `ok` is false. */
static GPtrArray *finish_group(struct group *g, bool ok)
{
    GPtrArray *texts =
        ok ? g_ptr_array_new_with_free_func((GDestroyNotify)conditioning_free) : NULL;

    for (guint t = 0; t < g->schedule->len; t++) {
        if (ok) {
            g_ptr_array_add(texts, conditioning_new(g->n_chunks * CHUNK_LENGTH, g->width,
                                                    g->values[t], g->pooled_width, g->pooled[t]));
        } else {
            g_free(g->values[t]);
            g_free(g->pooled[t]);
        }
        for (int i = 0; i < g->e->n; i++)
            g_ptr_array_unref(g->chunks[i][t]);
    }
    for (int i = 0; i < g->e->n; i++)
        g_free(g->chunks[i]);
    g_free(g->values);
    g_free(g->pooled);
    return texts;
}

static char *key_of(const GPtrArray *schedule, const struct text_options *o, bool zeros)
{
    GString *key = g_string_new(NULL);

    g_string_printf(key, "%d.%d%s", o->clip_skip, (int)o->emphasis, zeros ? "z" : "");
    for (guint t = 0; t < schedule->len; t++)
        g_string_append_printf(key, "\1%s", ((struct prompt_text *)schedule->pdata[t])->text);
    return g_string_free(key, FALSE);
}

/* One conditioning for each entry of the schedule (a reference for the caller). */
static GPtrArray *encode_schedule(struct text_encoder *e, const GPtrArray *schedule, bool negative,
                                  const struct text_options *o, const int *cancel, GError **error)
{
    struct group g = {.e = e,
                      .schedule = schedule,
                      .clip_skip = o->clip_skip,
                      .emphasis = o->emphasis,
                      .cancel = cancel};
    bool zeros = negative && e->two && schedule->len == 1 &&
                 *((struct prompt_text *)schedule->pdata[0])->text == '\0';
    g_autofree char *key = key_of(schedule, o, zeros);
    GPtrArray *texts = g_hash_table_lookup(e->kept, key);

    if (texts)
        return g_ptr_array_ref(texts);
    cut(&g);
    if (!(texts = finish_group(&g, zeros || run_group(&g, error))))
        return NULL;
    if (g_hash_table_size(e->kept) >= KEPT_MAX)
        g_hash_table_remove_all(e->kept);
    g_hash_table_insert(e->kept, g_steal_pointer(&key), g_ptr_array_ref(texts));
    return texts;
}

/* ---- a prompt and its negative ---- */

static bool encode_pair(struct text_encoder *e, struct prompt_pair *p, const struct text_options *o,
                        const int *cancel, GError **error)
{
    if (p->parts->len > DENOISE_TEXTS_MAX) {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_INPUT,
                    _("The prompt has %u parts joined by AND; %d are the most."), p->parts->len,
                    DENOISE_TEXTS_MAX);
        return false;
    }
    for (guint i = 0; i < p->parts->len; i++) {
        const struct prompt_part *part = p->parts->pdata[i];
        GPtrArray *texts = encode_schedule(e, part->schedule, false, o, cancel, error);

        if (!texts)
            return false;
        g_ptr_array_add(p->texts, texts);
    }
    p->negative_texts = encode_schedule(e, p->negative, true, o, cancel, error);
    return p->negative_texts != NULL;
}

/* ComfyUI has no schedules: the whole text is in force for all steps. */
static GPtrArray *plain_schedule(const char *text, int steps)
{
    GPtrArray *schedule = prompt_schedule("", (struct prompt_timeline){.steps = steps});
    struct prompt_text *only = schedule->pdata[0];

    g_free(only->text);
    only->text = g_strdup(text);
    return schedule;
}

static void plain_pair(struct prompt_pair *p, const char *prompt, const char *negative, int steps)
{
    struct prompt_part *part;

    p->parts = prompt_parts("", (struct prompt_timeline){.steps = steps});
    part = p->parts->pdata[0];
    g_ptr_array_unref(part->schedule);
    part->schedule = plain_schedule(prompt, steps);
    p->negative = plain_schedule(negative, steps);
}

struct prompt_pair *text_encode(struct text_encoder *e, const char *prompt, const char *negative,
                                const struct text_options *o, const int *cancel, GError **error)
{
    g_autofree char *text = NULL, *without = NULL;
    struct prompt_timeline timeline = {.steps = o->steps};
    struct prompt_pair *p;

    if (!prompt_check(prompt, error) || !prompt_check(negative, error))
        return NULL;
    text = prompt_strip_comments(prompt);
    without = prompt_strip_comments(negative);
    p = g_new0(struct prompt_pair, 1);
    if (o->emphasis == EMPHASIS_COMFY) {
        plain_pair(p, prompt, negative, o->steps);
    } else {
        p->parts = prompt_parts(text, timeline);
        p->negative = prompt_schedule(without, timeline);
    }
    p->texts = g_ptr_array_new_with_free_func((GDestroyNotify)g_ptr_array_unref);
    if (encode_pair(e, p, o, cancel, error))
        return p;
    prompt_pair_free(p);
    return NULL;
}

void prompt_pair_free(struct prompt_pair *p)
{
    if (!p)
        return;
    g_ptr_array_unref(p->parts);
    g_ptr_array_unref(p->negative);
    g_ptr_array_unref(p->texts);
    g_clear_pointer(&p->negative_texts, g_ptr_array_unref);
    g_free(p);
}

static struct conditioning *in_force(const GPtrArray *schedule, const GPtrArray *texts, int call)
{
    const char *text = prompt_at_step(schedule, call);

    for (guint t = 0; t < schedule->len; t++)
        if (((struct prompt_text *)schedule->pdata[t])->text == text)
            return texts->pdata[t];
    g_return_val_if_reached(texts->pdata[0]);
}

void prompt_pair_at(const struct prompt_pair *p, int call, double cfg, struct guidance *guidance)
{
    *guidance = (struct guidance){.cfg = cfg, .n = (int)p->parts->len};
    for (guint i = 0; i < p->parts->len; i++) {
        const struct prompt_part *part = p->parts->pdata[i];

        guidance->texts[i].text = in_force(part->schedule, p->texts->pdata[i], call);
        guidance->texts[i].weight = part->weight;
    }
    guidance->uncond = in_force(p->negative, p->negative_texts, call);
}

struct tape_memory text_encoder_memory(const struct text_encoder *e)
{
    struct tape_memory all = {0};

    for (int i = 0; i < e->n; i++) {
        struct tape *t = record(&e->encoders[i], choose(e, &e->encoders[i], 1));
        struct tape_memory one = tape_estimate(t, e->backend);

        all.weights += one.weights;
        all.arena = MAX(all.arena, one.arena);
        all.kept += one.kept;
        tape_destroy(t);
    }
    return all;
}

double text_encoder_flops(const struct text_encoder *e)
{
    double flops = 0;

    for (int i = 0; i < e->n; i++)
        if (e->encoders[i].tape)
            flops += tape_flops(e->encoders[i].tape);
    return flops;
}

void text_encoder_dump(const struct text_encoder *e, GString *out)
{
    for (int i = 0; i < e->n; i++)
        if (e->encoders[i].tape)
            tape_dump(e->encoders[i].tape, out);
}
