#include "engine/denoise.h"

#include <string.h>

/* Rows of the time table are rounded up, so that other numbers of steps find their tapes. */
#define ROWS_STEP 32
/* Of a prompt of usual length: what memory is planned for. */
#define TOKENS 77
#define POOLED 1280 /* width of SDXL's pooled text */

struct conditioning *conditioning_new(int length, int width, float *values, int pooled_width,
                                      float *pooled)
{
    static unsigned last;
    struct conditioning *c = g_new(struct conditioning, 1);

    *c = (struct conditioning){
        (unsigned)g_atomic_int_add(&last, 1) + 1, length, width, values, pooled_width, pooled};
    return c;
}

void conditioning_free(struct conditioning *c)
{
    if (!c)
        return;
    g_free(c->values);
    g_free(c->pooled);
    g_free(c);
}

/* Two tapes for B texts of one length: what a prompt determines, and what a step does. */
struct runner {
    int batch, length, height, width, rows; /* rows: room for them, a multiple of ROWS_STEP */
    struct tape *prepare, *step;
    unsigned texts[DENOISE_TEXTS_MAX + 1]; /* serials that the prepared values belong to */
    unsigned plan;                         /* and the plan */
    double cfg;                            /* and the guidance (LCM's embedding only) */
};

struct denoiser {
    struct backend *backend;
    const struct unet *unet;
    GPtrArray *runners;
    int height, width;
    GArray *times;         /* double, one a row */
    unsigned plan;         /* grows with each denoiser_begin() */
    float *input, *output; /* room for DENOISE_TEXTS_MAX + 1 latents */
    float *extra;          /* [H, W, E], or NULL */
};

static void runner_free(gpointer data)
{
    struct runner *r = data;

    tape_destroy(r->step); /* it imports from the other */
    tape_destroy(r->prepare);
    g_free(r);
}

struct denoiser *denoiser_create(struct backend *backend, const struct unet *unet)
{
    struct denoiser *d = g_new0(struct denoiser, 1);

    d->backend = backend;
    d->unet = unet;
    d->runners = g_ptr_array_new_with_free_func(runner_free);
    d->times = g_array_new(FALSE, FALSE, sizeof(double));
    return d;
}

void denoiser_forget(struct denoiser *d)
{
    g_ptr_array_set_size(d->runners, 0);
}

void denoiser_destroy(struct denoiser *d)
{
    if (!d)
        return;
    g_ptr_array_unref(d->runners);
    g_array_unref(d->times);
    g_free(d->input);
    g_free(d->output);
    g_free(d->extra);
    g_free(d);
}

int denoiser_channels(const struct denoiser *d)
{
    return MIN(d->unet->config.in_channels, d->unet->config.out_channels);
}

void denoiser_begin(struct denoiser *d, int height, int width, const struct sched_plan *plan,
                    const float *extra)
{
    const struct unet_config *config = &d->unet->config;
    size_t more = (size_t)height * width * (config->in_channels - denoiser_channels(d));
    GArray *times = g_array_sized_new(FALSE, FALSE, sizeof(double), (guint)plan->n_rows);

    for (int i = 0; i < plan->n_rows; i++)
        g_array_append_val(times, plan->rows[i].t);
    if (times->len != d->times->len ||
        (times->len && memcmp(times->data, d->times->data, times->len * sizeof(double)) != 0))
        d->plan++;
    g_array_unref(d->times);
    d->times = times;
    g_free(d->extra);
    d->extra = extra && more ? g_memdup2(extra, more * sizeof *extra) : NULL;
    if (height != d->height || width != d->width) {
        size_t n = (size_t)(DENOISE_TEXTS_MAX + 1) * height * width;

        g_ptr_array_set_size(d->runners, 0);
        g_free(d->input);
        g_free(d->output);
        d->input = g_new(float, n * config->in_channels);
        d->output = g_new(float, n * config->out_channels);
        d->height = height;
        d->width = width;
    }
}

/* ---- recording ---- */

struct prompt_shape {
    int batch, rows, length, width, pooled_width;
};

/* What a prompt determines: texts of B and `rows` rows of the time table for each. */
static void record_prepare(struct tape *t, const struct unet *unet, const struct prompt_shape *s,
                           struct unet_memo *memo)
{
    int64_t n = (int64_t)s->batch * s->rows;
    struct unet_prompt prompt = {0};

    prompt.steps = tape_input(t, "steps", DTYPE_F32, 1, (int64_t[]){n});
    prompt.text = tape_input(t, "text", DTYPE_F32, 3, (int64_t[]){s->batch, s->length, s->width});
    if (unet->config.added_channels > 0) {
        int64_t sizes = unet_sizes(unet, s->pooled_width);

        prompt.pooled =
            tape_input(t, "pooled", DTYPE_F32, 2, (int64_t[]){s->batch, s->pooled_width});
        prompt.sizes = tape_input(t, "sizes", DTYPE_F32, 1, (int64_t[]){s->batch * sizes});
    }
    if (unet->config.guidance_channels > 0)
        prompt.guidance = tape_input(t, "guidance", DTYPE_F32, 1, (int64_t[]){n});
    unet_prepare(t, unet, &prompt, memo);
}

/* What a step does with it. */
static void record_step(struct tape *t, const struct unet *unet, int batch, int height, int width,
                        struct unet_memo *memo)
{
    struct tensor *x = tape_input(t, "latent", DTYPE_F32, 4,
                                  (int64_t[]){batch, height, width, unet->config.in_channels});
    struct tensor *rows = tape_input(t, "rows", DTYPE_I32, 1, (int64_t[]){batch});

    tape_output(t, "out", unet_forward(t, unet, x, rows, memo));
}

/* ---- compiling ---- */

static bool compile_prepare(struct denoiser *d, struct runner *r, const struct conditioning *text,
                            const int *cancel, GError **error)
{
    struct prompt_shape shape = {r->batch, r->rows, r->length, text->width, text->pooled_width};
    struct unet_memo memo = {0};
    bool ok;

    r->prepare = tape_create("unet.prepare");
    record_prepare(r->prepare, d->unet, &shape, &memo);
    unet_memo_keep(&memo, r->prepare);
    ok = tape_finish(r->prepare, d->backend, cancel, error);
    unet_memo_finish(&memo);
    return ok;
}

static bool compile_step(struct denoiser *d, struct runner *r, const int *cancel, GError **error)
{
    struct unet_memo memo = {0};
    bool ok;

    r->step = tape_create("unet");
    unet_memo_import(&memo, d->unet, r->step, r->prepare);
    record_step(r->step, d->unet, r->batch, r->height, r->width, &memo);
    ok = tape_finish(r->step, d->backend, cancel, error);
    unet_memo_finish(&memo);
    return ok;
}

struct tape_memory denoiser_memory(const struct denoiser *d, const struct denoiser_shape *s,
                                   double *flops)
{
    const struct unet_config *c = &d->unet->config;
    struct prompt_shape prompt = {s->batch, s->calls, TOKENS, c->text_channels, POOLED};
    struct tape *t = tape_create("unet");
    struct unet_memo memo = {0};
    struct tape_memory memory;

    record_prepare(t, d->unet, &prompt, &memo);
    *flops = -tape_flops(t); /* once for a prompt: not a step's */
    record_step(t, d->unet, s->batch, s->height, s->width, &memo);
    unet_memo_finish(&memo);
    *flops += tape_flops(t);
    memory = tape_estimate(t, d->backend);
    tape_destroy(t);
    return memory;
}

static struct runner *find_runner(struct denoiser *d, int batch, const struct conditioning *text,
                                  const int *cancel, GError **error)
{
    int rows = ((int)d->times->len + ROWS_STEP - 1) / ROWS_STEP * ROWS_STEP;
    struct runner *r;

    for (guint i = 0; i < d->runners->len; i++) {
        r = d->runners->pdata[i];
        if (r->batch == batch && r->length == text->length && r->rows == rows)
            return r;
    }
    /* Activations are large: no more than one pair of tapes for each length stays. */
    for (guint i = d->runners->len; i-- > 0;) {
        r = d->runners->pdata[i];
        if (r->length == text->length)
            g_ptr_array_remove_index(d->runners, i);
    }
    r = g_new0(struct runner, 1);
    r->batch = batch;
    r->length = text->length;
    r->rows = rows;
    r->height = d->height;
    r->width = d->width;
    if (!compile_prepare(d, r, text, cancel, error) || !compile_step(d, r, cancel, error)) {
        runner_free(r);
        return NULL;
    }
    g_ptr_array_add(d->runners, r);
    return r;
}

/* ---- running ---- */

/* The time table for every text: row n of text b at b * rows + n; what is over repeats the last. */
static void write_steps(struct denoiser *d, struct runner *r, double cfg)
{
    g_autofree float *steps = g_new(float, (gsize)r->batch * r->rows);

    for (int b = 0; b < r->batch; b++)
        for (int n = 0; n < r->rows; n++)
            steps[b * r->rows + n] =
                (float)g_array_index(d->times, double, MIN((guint)n, d->times->len - 1));
    tape_write(r->prepare, "steps", steps);
    if (d->unet->config.guidance_channels > 0) {
        for (int i = 0; i < r->batch * r->rows; i++)
            steps[i] = (float)(1000 * (cfg - 1));
        tape_write(r->prepare, "guidance", steps);
    }
}

static void write_texts(struct denoiser *d, struct runner *r, struct conditioning **texts)
{
    size_t n = (size_t)r->length * texts[0]->width, p = (size_t)texts[0]->pooled_width;
    g_autofree float *values = g_new(float, n * r->batch);
    g_autofree float *pooled = g_new(float, MAX(p, 1) * r->batch);
    int k = unet_sizes(d->unet, (int)p), factor = 8; /* SDXL's autoencoder */

    for (int b = 0; b < r->batch; b++) {
        memcpy(values + n * b, texts[b]->values, n * sizeof *values);
        if (p)
            memcpy(pooled + p * b, texts[b]->pooled, p * sizeof *pooled);
    }
    tape_write(r->prepare, "text", values);
    if (d->unet->config.added_channels > 0) {
        /* Original height and width, crop at 0, 0, target height and width; the refiner's fifth is
         * its aesthetic score. */
        float height = (float)(d->height * factor), width = (float)(d->width * factor);
        float sizes[6] = {height, width, 0, 0, k == 5 ? 6 : height, width};
        g_autofree float *all = g_new(float, (gsize)k * r->batch);

        for (int b = 0; b < r->batch; b++)
            memcpy(all + k * b, sizes, (size_t)k * sizeof *all);
        tape_write(r->prepare, "pooled", pooled);
        tape_write(r->prepare, "sizes", all);
    }
}

/* Keys, values and time embeddings, when they are not this prompt's and plan's already. */
static bool prepare(struct denoiser *d, struct runner *r, struct conditioning **texts, double cfg,
                    const int *cancel, GError **error)
{
    bool same = r->plan == d->plan && (r->cfg == cfg || !d->unet->config.guidance_channels);

    for (int b = 0; b < r->batch; b++)
        same = same && r->texts[b] == texts[b]->serial;
    if (same)
        return true;
    r->plan = 0;
    write_steps(d, r, cfg);
    write_texts(d, r, texts);
    if (!tape_run(r->prepare, cancel, error))
        return false;
    for (int b = 0; b < r->batch; b++)
        r->texts[b] = texts[b]->serial;
    r->plan = d->plan;
    r->cfg = cfg;
    return true;
}

/* [H, W, C] and the extra channels, to [H, W, in_channels]. */
static void write_latent(const struct denoiser *d, const float *input, float *to)
{
    size_t cells = (size_t)d->height * d->width, in = (size_t)d->unet->config.in_channels;
    size_t c = (size_t)denoiser_channels(d), more = in - c;

    for (size_t i = 0; i < cells; i++) {
        memcpy(to + i * in, input + i * c, c * sizeof *to);
        if (more && d->extra)
            memcpy(to + i * in + c, d->extra + i * more, more * sizeof *to);
        else if (more)
            memset(to + i * in + c, 0, more * sizeof *to);
    }
}

/* Runs texts of one length; answers[b] gets the first C of each cell's channels. */
static bool run_group(struct denoiser *d, int row, const float *input, struct conditioning **texts,
                      int n, double cfg, float **answers, const int *cancel, GError **error)
{
    struct runner *r = find_runner(d, n, texts[0], cancel, error);
    size_t cells = (size_t)d->height * d->width;
    int in = d->unet->config.in_channels, out = d->unet->config.out_channels;
    int c = denoiser_channels(d);
    int32_t rows[DENOISE_TEXTS_MAX + 1];

    if (!r || !prepare(d, r, texts, cfg, cancel, error))
        return false;
    for (int b = 0; b < n; b++) {
        write_latent(d, input, d->input + b * cells * in);
        rows[b] = b * r->rows + row;
    }
    tape_write(r->step, "latent", d->input);
    tape_write(r->step, "rows", rows);
    if (!tape_run(r->step, cancel, error))
        return false;
    tape_read(r->step, "out", d->output);
    for (int b = 0; b < n; b++)
        for (size_t i = 0; i < cells; i++) /* a model that predicts its variance too has 2 C */
            memcpy(answers[b] + i * c, d->output + (b * cells + i) * out,
                   (size_t)c * sizeof *input);
    return true;
}

static bool needs_uncond(const struct denoiser *d, const struct guidance *g)
{
    if (d->unet->config.guidance_channels > 0) /* distilled: guidance is an input */
        return false;
    return g->cfg != 1 || g->n != 1 || g->texts[0].weight != 1;
}

bool denoiser_run(struct denoiser *d, int row, const float *input, const struct guidance *g,
                  float *out, const int *cancel, GError **error)
{
    size_t count = (size_t)d->height * d->width * denoiser_channels(d);
    bool guided = needs_uncond(d, g);
    int n = g->n + guided;
    g_autofree float *answers = g_new(float, count *n);
    struct conditioning *texts[DENOISE_TEXTS_MAX + 1], *group[DENOISE_TEXTS_MAX + 1];
    float *places[DENOISE_TEXTS_MAX + 1];
    bool done[DENOISE_TEXTS_MAX + 1] = {false};

    /* diffusers' order in the batch: without the prompt first. */
    if (guided)
        texts[0] = g->uncond;
    for (int i = 0; i < g->n; i++)
        texts[i + guided] = g->texts[i].text;
    for (int i = 0; i < n; i++) {
        int m = 0;

        for (int j = i; j < n; j++)
            if (!done[j] && texts[j]->length == texts[i]->length) {
                group[m] = texts[j];
                places[m++] = answers + count * j;
                done[j] = true;
            }
        if (m && !run_group(d, row, input, group, m, g->cfg, places, cancel, error))
            return false;
    }
    if (!guided) {
        memcpy(out, answers, count * sizeof *out);
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        double base = answers[i], sum = base;

        for (int j = 0; j < g->n; j++)
            sum += g->cfg * g->texts[j].weight * (answers[count * (j + 1) + i] - base);
        out[i] = (float)sum;
    }
    return true;
}

void denoiser_dump(const struct denoiser *d, GString *out)
{
    for (guint i = 0; i < d->runners->len; i++) {
        const struct runner *r = d->runners->pdata[i];

        tape_dump(r->prepare, out);
        tape_dump(r->step, out);
    }
}

struct tape *denoiser_tape(const struct denoiser *d)
{
    return d->runners->len ? ((struct runner *)d->runners->pdata[d->runners->len - 1])->step : NULL;
}

double denoiser_flops(const struct denoiser *d)
{
    double flops = 0;

    for (guint i = 0; i < d->runners->len; i++)
        flops += tape_flops(((struct runner *)d->runners->pdata[i])->step);
    return flops;
}
