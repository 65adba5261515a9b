/* The Stable Diffusion U-Net, drawn top to bottom. Binding first, then the two recordings. */
#include "unet/unet.h"

#include "unet/blocks.h"

struct level { /* a down block or an up block */
    int layers;
    struct resnet *res;
    struct transformer *attn; /* depth 0: no transformer there */
    struct affine resample;   /* w is NULL at the last level of either way */
};

struct unet_parts {
    struct affine time1, time2;   /* time embedding */
    struct affine guidance;       /* LCM */
    struct affine added1, added2; /* SDXL */
    struct affine conv_in, norm_out, conv_out;
    struct level down[UNET_MAX_LEVELS], mid, up[UNET_MAX_LEVELS];
    int resnets, blocks; /* in all: residual blocks, transformer blocks */
};

/* In order of execution. */
static void visit_levels(const struct unet *u, void (*visit)(struct level *level, void *data),
                         void *data)
{
    for (int i = 0; i < u->config.levels; i++)
        visit(&u->parts->down[i], data);
    visit(&u->parts->mid, data);
    for (int i = 0; i < u->config.levels; i++)
        visit(&u->parts->up[i], data);
}

static void level_alloc(struct level *l, int layers)
{
    l->layers = layers;
    l->res = g_new0(struct resnet, layers);
    l->attn = g_new0(struct transformer, layers);
}

static void level_finish(struct level *l, G_GNUC_UNUSED void *data)
{
    for (int j = 0; j < l->layers; j++)
        unet_finish_transformer(&l->attn[j]);
    g_clear_pointer(&l->attn, g_free);
    g_clear_pointer(&l->res, g_free);
}

static void bind_resnet_at(struct level *l, struct bind *b, const struct unet_config *c, int j,
                           int in, int out)
{
    bind_push(b, "resnets.%d.", j);
    unet_bind_resnet(&l->res[j], b, c, in, out);
    bind_pop(b);
}

static void bind_transformer_at(struct level *l, struct bind *b, const struct unet_config *c, int j,
                                int channels, int heads, int depth)
{
    if (depth == 0)
        return;
    bind_push(b, "attentions.%d.", j);
    unet_bind_transformer(&l->attn[j], b, c, channels, heads, depth);
    bind_pop(b);
}

static void bind_down(struct unet_parts *p, struct bind *b, const struct unet_config *c, int i)
{
    const struct unet_level_config *lc = &c->level[i];
    struct level *l = &p->down[i];
    int in = c->level[MAX(i - 1, 0)].channels;

    level_alloc(l, lc->layers);
    bind_push(b, "down_blocks.%d.", i);
    for (int j = 0; j < lc->layers; j++) {
        bind_resnet_at(l, b, c, j, j ? lc->channels : in, lc->channels);
        bind_transformer_at(l, b, c, j, lc->channels, lc->heads, lc->down_depth[j]);
    }
    if (i + 1 < c->levels)
        l->resample = unet_bind_conv(b, "downsamplers.0.conv", lc->channels, lc->channels, 3);
    bind_pop(b);
}

static void bind_mid(struct unet_parts *p, struct bind *b, const struct unet_config *c)
{
    const struct unet_level_config *lc = &c->level[c->levels - 1];
    int layers = c->mid == UNET_MID_NONE ? 0 : c->mid == UNET_MID_RESNET ? 1 : 2;

    level_alloc(&p->mid, layers);
    bind_push(b, "mid_block.");
    for (int j = 0; j < layers; j++)
        bind_resnet_at(&p->mid, b, c, j, lc->channels, lc->channels);
    if (c->mid == UNET_MID_ATTENTION)
        bind_transformer_at(&p->mid, b, c, 0, lc->channels, lc->heads, c->mid_depth);
    bind_pop(b);
}

static void bind_up(struct unet_parts *p, struct bind *b, const struct unet_config *c, int i)
{
    int deep = c->levels - 1 - i; /* the level on the way down that up block i mirrors */
    const struct unet_level_config *lc = &c->level[deep];
    struct level *l = &p->up[i];
    int before = c->level[MIN(deep + 1, c->levels - 1)].channels;
    int last_skip = c->level[MAX(deep - 1, 0)].channels;

    level_alloc(l, lc->layers + 1);
    bind_push(b, "up_blocks.%d.", i);
    for (int j = 0; j <= lc->layers; j++) {
        int skip = j < lc->layers ? lc->channels : last_skip;
        bind_resnet_at(l, b, c, j, (j ? lc->channels : before) + skip, lc->channels);
        bind_transformer_at(l, b, c, j, lc->channels, lc->heads, lc->up_depth[j]);
    }
    if (deep > 0)
        l->resample = unet_bind_conv(b, "upsamplers.0.conv", lc->channels, lc->channels, 3);
    bind_pop(b);
}

static void bind_all(struct unet_parts *p, struct bind *b, const struct unet_config *c)
{
    int first = c->level[0].channels, time = c->time_channels;

    p->conv_in = unet_bind_conv(b, "conv_in", first, c->in_channels, 3);
    p->time1 = unet_bind_linear(b, "time_embedding.linear_1", time, first);
    p->time2 = unet_bind_linear(b, "time_embedding.linear_2", time, time);
    if (c->guidance_channels)
        p->guidance = unet_bind_bare(b, "time_embedding.cond_proj", first, c->guidance_channels);
    if (c->added_channels) {
        p->added1 = unet_bind_linear(b, "add_embedding.linear_1", time, c->added_channels);
        p->added2 = unet_bind_linear(b, "add_embedding.linear_2", time, time);
    }
    for (int i = 0; i < c->levels; i++)
        bind_down(p, b, c, i);
    bind_mid(p, b, c);
    for (int i = 0; i < c->levels; i++)
        bind_up(p, b, c, i);
    p->norm_out = unet_bind_norm(b, "conv_norm_out", first);
    p->conv_out = unet_bind_conv(b, "conv_out", c->out_channels, first, 3);
}

static void number_level(struct level *l, void *data)
{
    struct unet_parts *p = data;
    for (int j = 0; j < l->layers; j++) {
        l->res[j].index = p->resnets++;
        for (int k = 0; k < l->attn[j].depth; k++)
            l->attn[j].blocks[k].index = p->blocks++;
    }
}

bool unet_init(struct unet *u, struct weights *weights, json_t *config, GError **error)
{
    *u = (struct unet){0};
    if (!unet_config_read(&u->config, config, error))
        return false;
    u->parts = g_new0(struct unet_parts, 1);

    struct bind b;
    bind_init(&b, weights, "unet");
    bind_all(u->parts, &b, &u->config);
    if (!bind_finish(&b, error)) {
        unet_finish(u);
        return false;
    }
    visit_levels(u, number_level, u->parts);
    return true;
}

void unet_finish(struct unet *u)
{
    if (u->parts)
        visit_levels(u, level_finish, NULL);
    g_clear_pointer(&u->parts, g_free);
}

int unet_sizes(const struct unet *u, int pooled)
{
    const struct unet_config *c = &u->config;
    return c->added_channels ? (c->added_channels - pooled) / c->size_channels : 0;
}

/* ---- what a prompt and its steps determine ---- */

/* -> [B*N, T], with SDXL's additions [B, N, T] */
static struct tensor *time_embedding(struct tape *t, const struct unet *u,
                                     const struct unet_prompt *prompt)
{
    const struct unet_config *c = &u->config;
    const struct unet_parts *p = u->parts;

    struct tensor *emb =
        op_time_embedding(t, prompt->steps, c->level[0].channels, c->cos_first, c->shift);
    if (c->guidance_channels) {
        struct tensor *g = op_time_embedding(t, prompt->guidance, c->guidance_channels, false, 1);
        emb = op_add(t, unet_linear(t, &p->guidance, g), emb);
    }
    emb = unet_linear(t, &p->time2, op_silu(t, unet_linear(t, &p->time1, emb))); // [B*N, T]
    if (!c->added_channels)
        return emb;

    int64_t batch = prompt->pooled->dims[0];
    int64_t each = prompt->sizes->dims[0] / batch * c->size_channels;
    struct tensor *sizes =
        op_time_embedding(t, prompt->sizes, c->size_channels, c->cos_first, c->shift);
    sizes = op_reshape(t, sizes, 2, (int64_t[]){batch, each});
    struct tensor *added = op_concat(t, prompt->pooled, sizes); // [B, P + K * size]
    added = unet_linear(t, &p->added2, op_silu(t, unet_linear(t, &p->added1, added))); // [B, T]
    emb = op_reshape(t, emb, 3, (int64_t[]){batch, emb->dims[0] / batch, c->time_channels});
    return op_add(t, emb, added); // [B, N, T]
}

struct preparing {
    struct tape *t;
    const struct unet_prompt *prompt;
    struct tensor *emb;
    struct unet_memo *memo;
};

static void prepare_level(struct level *l, void *data)
{
    struct preparing *p = data;
    for (int j = 0; j < l->layers; j++) {
        p->memo->time[p->memo->n_time++] = unet_linear(p->t, &l->res[j].time, p->emb); // [B*N, C]
        for (int k = 0; k < l->attn[j].depth; k++) {
            const struct transformer_block *m = &l->attn[j].blocks[k];
            p->memo->text[p->memo->n_text++] = (struct unet_text){
                unet_linear(p->t, &m->text_k, p->prompt->text), // [B, L, C]
                unet_linear(p->t, &m->text_v, p->prompt->text),
            };
        }
    }
}

static void memo_alloc(struct unet_memo *memo, const struct unet *u)
{
    *memo = (struct unet_memo){.time = g_new0(struct tensor *, u->parts->resnets),
                               .text = g_new0(struct unet_text, u->parts->blocks)};
}

void unet_prepare(struct tape *t, const struct unet *u, const struct unet_prompt *prompt,
                  struct unet_memo *memo)
{
    memo_alloc(memo, u);
    tape_mark(t, "time");
    struct tensor *emb = op_silu(t, time_embedding(t, u, prompt));
    tape_mark(t, "prepare");
    struct preparing preparing = {t, prompt, emb, memo};
    visit_levels(u, prepare_level, &preparing);
}

void unet_memo_keep(const struct unet_memo *memo, struct tape *t)
{
    for (int i = 0; i < memo->n_time; i++) {
        g_autofree char *name = g_strdup_printf("time.%d", i);
        tape_keep(t, name, memo->time[i]);
    }
    for (int i = 0; i < memo->n_text; i++) {
        g_autofree char *k = g_strdup_printf("k.%d", i), *v = g_strdup_printf("v.%d", i);
        tape_keep(t, k, memo->text[i].k);
        tape_keep(t, v, memo->text[i].v);
    }
}

void unet_memo_import(struct unet_memo *memo, const struct unet *u, struct tape *t,
                      struct tape *from)
{
    memo_alloc(memo, u);
    for (; memo->n_time < u->parts->resnets; memo->n_time++) {
        g_autofree char *name = g_strdup_printf("time.%d", memo->n_time);
        memo->time[memo->n_time] = tape_import(t, from, name);
    }
    for (; memo->n_text < u->parts->blocks; memo->n_text++) {
        g_autofree char *k = g_strdup_printf("k.%d", memo->n_text);
        g_autofree char *v = g_strdup_printf("v.%d", memo->n_text);
        memo->text[memo->n_text] =
            (struct unet_text){tape_import(t, from, k), tape_import(t, from, v)};
    }
}

void unet_memo_finish(struct unet_memo *memo)
{
    g_clear_pointer(&memo->time, g_free);
    g_clear_pointer(&memo->text, g_free);
    memo->n_time = memo->n_text = 0;
}

/* ---- the diagram ---- */

struct skips {
    int n;
    struct tensor *s[1 + UNET_MAX_LEVELS * (UNET_MAX_LAYERS + 1)];
};

static struct tensor *push(struct skips *skips, struct tensor *h)
{
    return skips->s[skips->n++] = h;
}

static struct tensor *pop(struct skips *skips)
{
    return skips->s[--skips->n];
}

static const struct tensor *peek(const struct skips *skips)
{
    return skips->s[skips->n - 1];
}

struct tensor *unet_forward(struct tape *t, const struct unet *u, struct tensor *x,
                            struct tensor *rows, const struct unet_memo *memo)
{
    const struct unet_config *c = &u->config;
    const struct unet_parts *p = u->parts;
    struct skips skips = {0};

    tape_mark(t, "conv_in");
    struct tensor *h = push(&skips, unet_conv3x3(t, &p->conv_in, x)); // [B, H, W, C]

    for (int i = 0; i < c->levels; i++) { // down
        const struct level *l = &p->down[i];
        tape_mark(t, "down.%d", i);
        for (int j = 0; j < l->layers; j++) {
            h = unet_resnet(t, &l->res[j], h, rows, memo);
            if (l->attn[j].depth)
                h = unet_transformer(t, &l->attn[j], h, memo);
            push(&skips, h);
        }
        if (l->resample.w)
            h = push(&skips, unet_downsample(t, &l->resample, h)); // [B, H/2, W/2, C]
    }

    tape_mark(t, "mid"); // middle
    for (int j = 0; j < p->mid.layers; j++) {
        h = unet_resnet(t, &p->mid.res[j], h, rows, memo);
        if (p->mid.attn[j].depth)
            h = unet_transformer(t, &p->mid.attn[j], h, memo);
    }

    for (int i = 0; i < c->levels; i++) { // up, deepest first
        const struct level *l = &p->up[i];
        tape_mark(t, "up.%d", i);
        for (int j = 0; j < l->layers; j++) { // one more than on the way down
            h = unet_resnet(t, &l->res[j], op_concat(t, h, pop(&skips)), rows, memo);
            if (l->attn[j].depth)
                h = unet_transformer(t, &l->attn[j], h, memo);
        }
        if (l->resample.w)
            h = unet_upsample(t, &l->resample, h, peek(&skips)); // [B, 2H, 2W, C]
    }

    tape_mark(t, "out");
    h = op_silu(t, op_group_norm(t, h, p->norm_out.w, p->norm_out.b, c->groups, c->eps));
    return unet_conv3x3(t, &p->conv_out, h);
}
