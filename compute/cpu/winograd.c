/*
 * 3x3 convolutions by Winograd's F(4x4, 3x3), in F32: 36 products for 16 outputs, where the direct
 * sum takes 144. ("Fast Algorithms for Convolutional Neural Networks", Lavin and Gray, 2015.)
 *
 * A strip of the input is copied into a frame (frame.h), and each tile of 6x6 of its pixels is
 * transformed: the strip's V. Then every task takes a block of tiles and one panel of output
 * columns: it transforms some channels of the panel's weights, multiplies, and goes on with the
 * next channels, so that weights and sums stay in the second-level cache; at the end it transforms
 * the sums back. Weights lie in memory as the file or as products of BF16 have them (panels.h).
 * Sums are F32, in an order that depends on the shapes of one image alone.
 */
#include "compute/cpu/frame.h"
#include "compute/cpu/panels.h"
#include "compute/cpu/parallel.h"

#include <string.h>

#define PRODUCTS (WINOGRAD_POINTS * WINOGRAD_POINTS)
#define TILE WINOGRAD_OUTPUTS
/* Channels of weights that are transformed at once. */
#define DEPTH ((size_t)64)
/* Tiles of a block: its sums and the weights fill the second-level cache. */
#define BLOCK_TILES ((size_t)72)
/* Bytes of a strip's V, a part of the last-level cache; more where that is not a block of tiles. */
#define STRIP_BYTES ((size_t)4 << 20)
/* At least this many tasks, if the shape allows, for threads that other programs delay. */
#define TASKS 16
/* Floats between what would lie at the same place of the first-level cache. */
#define PAD 16
#define PANEL_MOST 32

struct winograd {
    const struct packed *weights;
    struct panels panels; /* how they lie in memory */
    struct frame_vectors vectors;
    size_t batch, height, width, in, out; /* of the output, but `in` */
    size_t scale;                         /* of the input: frame.h */
    size_t across, down;                  /* tiles of an image */
    size_t strip_down;                    /* rows of tiles in a strip, of one image */
    size_t images;                        /* whole images in one strip */
    size_t sum_floats;                    /* of a block, at most */
    size_t norm_bytes, frame_floats, v_floats, thread_floats;
};

struct pass {
    const struct winograd *w;
    const struct step *step;
    const struct cpu *cpu;
    const struct node *node;
    struct frame frame;
    enum dtype out_type;
    const char *residual;
    char *out;
    float *v, *threads;
    size_t first, down;          /* rows of tiles of the strip */
    size_t tiles, block, blocks; /* of all its images; of a block at most */
};

/* ---- the input ---- */

/* Pieces of the channels that are multiplied at once. */
static size_t chunks_of(const struct winograd *w)
{
    return (w->in + DEPTH - 1) / DEPTH;
}

static size_t v_stride(size_t tiles, size_t depth)
{
    return tiles * depth + PAD;
}

/* Where the V of a block begins, of channels from c on: [product][tile][depth]. */
static float *v_of(const struct pass *p, size_t block, size_t tiles, size_t c)
{
    size_t chunks = chunks_of(p->w);
    return p->v +
           PRODUCTS * (block * (p->block * p->w->in + chunks * PAD) + tiles * c + c / DEPTH * PAD);
}

static size_t block_tiles(const struct pass *p, size_t block)
{
    return MIN(p->block, p->tiles - block * p->block);
}

static void input_task(void *data, size_t index, int thread)
{
    const struct pass *p = (const struct pass *)data;
    const struct winograd *w = p->w;
    const struct frame *f = &p->frame;
    (void)thread;
    size_t block = index % p->blocks, c = index / p->blocks * DEPTH, depth = MIN(DEPTH, w->in - c);
    size_t tiles = block_tiles(p, block), pitch = f->columns * w->in;
    float *to = v_of(p, block, tiles, c);
    for (size_t i = 0; i < tiles; i++) {
        size_t tile = block * p->block + i, row = tile / w->across;
        size_t image = row / p->down, y = row % p->down * TILE, x = tile % w->across * TILE;
        const float *from = f->data + (image * f->rows + y) * pitch + x * w->in + c;
        p->cpu->kernels->winograd_input(from, pitch, w->in, depth, to + i * depth,
                                        v_stride(tiles, depth));
    }
}

/* ---- the products ---- */

/* Sums over all channels for a panel from `column` on: [product][tile][panel]. */
static void add_products(const struct pass *p, size_t block, size_t column, float *sums,
                         float *scratch)
{
    const struct winograd *w = p->w;
    const struct kernels *k = p->cpu->kernels;
    size_t tiles = block_tiles(p, block), stride = tiles * w->panels.panel + PAD;
    static const float zeros[PANEL_MOST];
    float *plain = scratch, *transformed = scratch + 9 * DEPTH * w->panels.panel;
    for (size_t c = 0; c < w->in; c += DEPTH) {
        size_t depth = MIN(DEPTH, w->in - c), u_stride = depth * w->panels.panel + PAD;
        panels_read(&w->panels, w->weights, column / w->panels.panel, c, depth, plain);
        k->winograd_weights(plain, depth, transformed, u_stride);
        const float *v = v_of(p, block, tiles, c);
        const struct product_piece piece = {.depth = depth};
        for (size_t i = 0; i < PRODUCTS; i++)
            k->product(tiles, v + i * v_stride(tiles, depth), depth, &piece, 1,
                       transformed + i * u_stride, c ? sums + i * stride : zeros,
                       c ? w->panels.panel : 0, sums + i * stride, w->panels.panel);
    }
}

/* ---- the output ---- */

/* A tile that reaches over the edge, or whose pixels are not simply stored. */
static void finish_pixels(const struct pass *p, const float *tile, size_t image, size_t y, size_t x,
                          size_t column)
{
    const struct winograd *w = p->w;
    size_t n = MIN(w->panels.panel, w->out - column);
    for (size_t i = 0; i < TILE * TILE; i++) {
        size_t row = y + i / TILE, pixel = x + i % TILE;
        if (row >= w->height || pixel >= w->width)
            continue;
        float other[PANEL_MOST], sum[PANEL_MOST];
        size_t element = ((image * w->height + row) * w->width + pixel) * w->out + column;
        memcpy(sum, tile + i * w->panels.panel, n * sizeof *sum);
        if (p->residual) {
            enum dtype store = step_store(p->step, p->node->residual);
            const float *r = row_read(p->cpu, store, p->residual, element, n, other);
            p->cpu->kernels->add(r, sum, sum, n);
        }
        if (p->node->activation != OP_COUNT)
            p->cpu->kernels->activate(p->node->activation, sum, sum, n);
        if (p->out_type == DTYPE_BF16)
            row_write(p->cpu, p->out_type, p->out, element, n, sum);
        else
            memcpy((float *)(void *)p->out + element, sum, n * sizeof *sum);
    }
}

static void finish_block(const struct pass *p, size_t block, size_t column, const float *sums)
{
    const struct winograd *w = p->w;
    size_t tiles = block_tiles(p, block), stride = tiles * w->panels.panel + PAD, last = SIZE_MAX;
    bool store = p->out_type == DTYPE_F32 && p->node->activation == OP_COUNT &&
                 (!p->residual || step_store(p->step, p->node->residual) == DTYPE_F32) &&
                 column + w->panels.panel <= w->out;
    float start[PANEL_MOST], tile[TILE * TILE * PANEL_MOST];
    for (size_t i = 0; i < tiles; i++, sums += w->panels.panel) {
        size_t index = block * p->block + i, row = index / w->across;
        size_t image = p->frame.image + row / p->down, x = index % w->across * TILE;
        size_t y = (p->first + row % p->down) * TILE;
        if (image != last)
            frame_start_row(&p->frame, last = image, 0, w->out, column, w->panels.panel, start);
        if (store && y + TILE <= w->height && x + TILE <= w->width) {
            size_t at = ((image * w->height + y) * w->width + x) * w->out + column;
            const float *residual = (const float *)(const void *)p->residual;
            p->cpu->kernels->winograd_output(sums, stride, start, residual ? residual + at : NULL,
                                             (float *)(void *)p->out + at, w->width * w->out,
                                             w->out);
            continue;
        }
        p->cpu->kernels->winograd_output(sums, stride, start, NULL, tile, TILE * w->panels.panel,
                                         w->panels.panel);
        finish_pixels(p, tile, image, y, x, column);
    }
}

static void product_task(void *data, size_t index, int thread)
{
    const struct pass *p = (const struct pass *)data;
    const struct winograd *w = p->w;
    size_t block = index % p->blocks, column = index / p->blocks * w->panels.panel;
    float *sums = p->threads + (size_t)thread * w->thread_floats;
    add_products(p, block, column, sums, sums + w->sum_floats);
    finish_block(p, block, column, sums);
}

/* ---- run ---- */

/* Even blocks, in whole tiles of the product's six rows where there are many. */
static void cut_blocks(struct pass *p)
{
    size_t blocks = (p->tiles + BLOCK_TILES - 1) / BLOCK_TILES;
    while (blocks * p->w->panels.count < TASKS && p->tiles / (2 * blocks) >= 6)
        blocks *= 2;
    size_t even = (p->tiles + blocks - 1) / blocks;
    p->block = MIN((even + 5) / 6 * 6, MIN(BLOCK_TILES, p->tiles));
    p->blocks = (p->tiles + p->block - 1) / p->block;
}

static bool run_strip(struct pass *p, size_t images, const int *cancel)
{
    const struct winograd *w = p->w;
    p->frame.first = p->first * TILE;
    p->tiles = images * p->down * w->across;
    cut_blocks(p);
    return frame_fill(&p->frame, images, p->down * TILE + 2, cancel) &&
           parallel_for(p->blocks * chunks_of(w), cancel, input_task, p) &&
           parallel_for(p->blocks * w->panels.count, cancel, product_task, p);
}

static bool winograd_run(struct step *step, const int *cancel, GError **error)
{
    const struct winograd *w = (const struct winograd *)step->state;
    const struct node *n = step->node;
    struct pass p = {.w = w, .step = step, .cpu = step->program->cpu, .node = n};
    char *scratch = (char *)step_scratch(step);
    if (!frame_begin(&p.frame, step, &w->vectors, scratch, cancel))
        return fail_cancelled(error);
    p.out_type = step_store(step, n->out);
    p.out = (char *)step_data(step, n->out);
    p.residual = n->residual ? (const char *)step_data(step, n->residual) : NULL;
    p.frame.height = w->height / w->scale;
    p.frame.width = w->width / w->scale;
    p.frame.channels = p.frame.items = w->in;
    p.frame.scale = w->scale;
    p.frame.top = p.frame.left = 1;
    p.frame.columns = w->across * TILE + 2;
    p.frame.rows = w->strip_down * TILE + 2;
    p.frame.data = (float *)(void *)(scratch + w->norm_bytes);
    p.v = p.frame.data + w->frame_floats;
    p.threads = p.v + w->v_floats;
    for (p.frame.image = 0; p.frame.image < w->batch; p.frame.image += w->images)
        for (p.first = 0; p.first < w->down; p.first += w->strip_down) {
            p.down = MIN(w->strip_down, w->down - p.first);
            if (!run_strip(&p, MIN(w->images, w->batch - p.frame.image), cancel))
                return fail_cancelled(error);
        }
    return true;
}

static void winograd_finish(struct step *step)
{
    g_free(step->state);
}

static const struct step_class winograd_class = {winograd_run, winograd_finish};

/* ---- init ---- */

bool winograd_suits(const struct cpu *cpu, const struct node *n)
{
    if (n->op != OP_conv2d)
        return false;
    /* A few tiles do not pay for the transform of the weights; pairs of BF16 need none. */
    int64_t least = cpu_pairs(cpu) ? 16 : 8;
    const struct conv2d_params *params = &n->params.conv2d;
    return n->weight->dims[2] == 3 && n->weight->dims[3] == 3 && params->stride == 1 &&
           params->padding == 1 && !params->pad_end && n->weight->dims[0] >= 16 &&
           n->weight->dims[1] >= 16 && n->out->dims[1] >= least && n->out->dims[2] >= least;
}

static size_t rounded_floats(size_t floats)
{
    return (floats + 15) / 16 * 16;
}

static void cut_strips(struct winograd *w)
{
    size_t row = PRODUCTS * w->across * w->in * sizeof(float);
    size_t least = (BLOCK_TILES + w->across - 1) / w->across;
    size_t most = CLAMP(STRIP_BYTES / row, MIN(least, w->down), w->down);
    size_t strips = (w->down + most - 1) / most;
    w->strip_down = (w->down + strips - 1) / strips;
    /* Small images together: the weights are transformed once for all. */
    w->images = strips == 1 ? CLAMP(MAX(STRIP_BYTES / row, least) / w->down, 1, w->batch) : 1;
    size_t tiles = w->images * w->strip_down * w->across, chunks = chunks_of(w);
    size_t frame = (w->strip_down * TILE + 2) * (w->across * TILE + 2) * w->in;
    w->frame_floats = rounded_floats(w->images * frame);
    /* Blocks of at least six tiles, or one. */
    w->v_floats = rounded_floats(PRODUCTS * (tiles * w->in + (tiles / 6 + 1) * chunks * PAD));
}

bool winograd_init(struct step *step, const int *cancel, GError **error)
{
    const struct node *n = step->node;
    struct winograd *w = g_new0(struct winograd, 1);
    step->class = &winograd_class;
    step->state = w;
    w->batch = (size_t)n->out->dims[0];
    w->height = (size_t)n->out->dims[1];
    w->width = (size_t)n->out->dims[2];
    w->out = (size_t)n->weight->dims[0];
    w->in = (size_t)n->weight->dims[1];
    w->scale = n->upsample ? 2 : 1;
    w->across = (w->width + TILE - 1) / TILE;
    w->down = (w->height + TILE - 1) / TILE;
    panels_describe(&w->panels, step->program->cpu, n->weight, PANELS_PLAIN);
    cut_strips(w);
    w->norm_bytes = frame_norm_bytes(step);
    size_t tiles = MIN(BLOCK_TILES, w->images * w->strip_down * w->across);
    size_t depth = MIN(DEPTH, w->in);
    w->sum_floats = PRODUCTS * (tiles * w->panels.panel + PAD);
    w->thread_floats =
        w->sum_floats + 9 * DEPTH * w->panels.panel + PRODUCTS * (depth * w->panels.panel + PAD);
    size_t floats = w->frame_floats + w->v_floats + (size_t)parallel_threads() * w->thread_floats;
    step_need_scratch(step, w->norm_bytes + floats * sizeof(float));
    w->weights = panels_weight(&w->panels, step, n->weight, cancel, error);
    return w->weights && frame_vectors_init(&w->vectors, step, cancel, error);
}
