/*
 * conv2d and linear by own loops (kernels_product.c): about as fast as oneDNN's, and a model is
 * loaded several times as fast (docs/SPEED.md).
 *
 * An implicit matrix product. A strip of the input is copied into a frame of zeros, converted,
 * normalized and activated on the way (what is ready to be read is read in place). Then, for each
 * range of the weights (panels.h), every task takes a block of output pixels and some panels. Sums
 * are F32, in an order that depends on the shapes alone.
 */
#include "compute/cpu/frame.h"
#include "compute/cpu/panels.h"
#include "compute/cpu/parallel.h"

#include <string.h>

/* Bytes of one strip's copy of the input, so that it stays in the last-level cache. */
#define STRIP_BYTES ((size_t)8 << 20)
/* Depth of the sum between two visits to the output: a panel's part stays in the second-level
 * cache. */
#define GROUP_DEPTH 1280
#define PIECE_DEPTH 1024
/* Output columns and pixels of a block: its sums stay in the first-level cache. */
#define BLOCK_COLUMNS 64
#define BLOCK_PIXELS 96
/* At least this many tasks, if the shape allows, for threads that other programs delay. */
#define TASKS 16

struct group {
    guint first, count;
};

struct direct {
    const struct packed *weights;
    struct frame_vectors vectors;
    bool flat;      /* 1x1: pixels are rows of a matrix */
    bool copy;      /* the input goes through the strip */
    bool in_output; /* sums lie in the output itself */
    struct panels panels;
    size_t batch, height, width, in;
    product_kernel *product;
    size_t out_height, out_width, out; /* of one phase; out: columns of one half */
    size_t kernel_height, kernel_width, stride, top, left;
    size_t frame_width; /* pixels of a row of the strip */
    size_t strip_rows;  /* output rows (flat: pixels) a strip, of one image */
    size_t images;      /* whole images in one strip */
    size_t frame_rows;  /* of one image in the strip */
    size_t block_rows, block_columns, block_pixels;
    GArray *pieces[4], *groups[4];
    size_t thread_floats, strip_bytes, norm_bytes;
};

struct pass {
    const struct direct *d;
    const struct step *step;
    const struct cpu *cpu;
    const struct node *node;
    struct frame frame;
    enum dtype out_type;
    const char *residual;
    char *out;
    const float *range; /* [phase][half][pitch][depth][panel], the range first */
    size_t pitch;
    float *block, *turn, *threads; /* block: where a range is converted to */
    size_t images, first, rows;    /* of the strip: output rows (flat: pixels) of each image */
    size_t blocks, across;
    size_t panel, panels, width; /* first of the range, how many; how many a task takes */
    bool converted;              /* the only range is there */
};

/* ---- the copy ---- */

/* Rows of an image that a strip has. */
static size_t frame_rows(const struct direct *d, size_t rows)
{
    return (rows - 1) * d->stride + (d->panels.phases == 4 ? 3 : d->kernel_height);
}

static void copy_flat(void *data, size_t index, int thread)
{
    const struct pass *p = (const struct pass *)data;
    const struct direct *d = p->d;
    (void)thread;
    size_t end = MIN(p->rows, (index + 1) * BLOCK_PIXELS), image = d->height * d->width;
    for (size_t i = index * BLOCK_PIXELS; i < end; i++)
        frame_pixels(&p->frame, (p->first + i) * d->in, 1, (p->first + i) / image,
                     p->frame.data + i * d->panels.items);
}

/* ---- the product ---- */

/* A run of output pixels whose inputs are evenly spaced; lda: items. */
struct run {
    const float *a;
    size_t lda, pixels;
    size_t out; /* first output pixel */
    size_t out_step;
};

static size_t block_runs(const struct pass *p, size_t block, size_t image, int phase,
                         struct run *runs)
{
    const struct direct *d = p->d;
    if (d->flat) {
        size_t first = block * d->block_pixels;
        const float *a =
            d->copy ? p->frame.data : (const float *)p->frame.in + p->first * d->panels.items;
        runs[0] = (struct run){a + first * d->panels.items, d->panels.items,
                               MIN(d->block_pixels, p->rows - first), p->first + first, 1};
        return 1;
    }
    size_t x = block % p->across * d->block_columns, y = block / p->across * d->block_rows;
    size_t rows = MIN(d->block_rows, p->rows - y);
    size_t columns = MIN(d->block_columns, d->out_width - x);
    size_t scale = d->panels.phases == 4 ? 2 : 1, py = (size_t)phase / 2, px = (size_t)phase % 2;
    const float *frame =
        p->frame.data + (image - p->frame.image) * d->frame_rows * d->frame_width * d->panels.items;
    for (size_t r = 0; r < rows; r++) {
        size_t row = y + r;
        runs[r].a = frame + ((row * d->stride + py) * d->frame_width + x * d->stride + px) *
                                d->panels.items;
        runs[r].lda = d->stride * d->panels.items;
        runs[r].pixels = columns;
        runs[r].out =
            ((image * d->out_height + p->first + row) * scale + py) * d->out_width * scale +
            x * scale + px;
        runs[r].out_step = scale;
    }
    return rows;
}

static void start_run(const struct pass *p, const struct run *run, size_t column, size_t n,
                      const float *start, float *c, size_t ldc)
{
    const struct direct *d = p->d;
    size_t valid = MIN(n, d->out - column);
    for (size_t i = 0; i < run->pixels; i++, c += ldc) {
        float other[BLOCK_COLUMNS];
        size_t element = (run->out + i * run->out_step) * d->out + column;
        const float *x = row_read(p->cpu, step_store(p->step, p->node->residual), p->residual,
                                  element, valid, other);
        p->cpu->kernels->add(x, start, c, valid);
        if (valid < n)
            memset(c + valid, 0, (n - valid) * sizeof *c);
    }
}

static void finish_run(const struct pass *p, const struct run *run, size_t column, size_t n,
                       float *c, size_t ldc, const float *gates)
{
    const struct direct *d = p->d;
    const struct kernels *k = p->cpu->kernels;
    size_t valid = MIN(n, d->out - column);
    for (size_t i = 0; i < run->pixels; i++, c += ldc) {
        if (gates)
            k->geglu(c, gates + i * ldc, c, valid);
        else if (p->node->activation != OP_COUNT)
            k->activate(p->node->activation, c, c, valid);
        if (d->in_output)
            continue;
        size_t element = (run->out + i * run->out_step) * d->out + column;
        if (p->out_type == DTYPE_BF16)
            row_write(p->cpu, p->out_type, p->out, element, valid, c);
        else
            memcpy((float *)(void *)p->out + element, c, valid * sizeof *c);
    }
}

/* A block of output pixels: of one image, with one phase of the weights. */
struct block {
    size_t image, run_count;
    int phase;
    struct run runs[BLOCK_PIXELS];
};

static float *run_sums(const struct pass *p, const struct block *b, size_t run, size_t column,
                       float *sums)
{
    const struct direct *d = p->d;
    return d->in_output ? (float *)(void *)p->out + b->runs[run].out * d->out + column
                        : sums + run * d->block_columns * BLOCK_COLUMNS;
}

/* Panels [first, first + count) of one half over the runs of a block: onto the sums where there is
 * a residual, else onto a row `start`. */
static void add_products(const struct pass *p, const struct block *b, size_t half, size_t first,
                         size_t count, const float *start, size_t ldc, float *sums)
{
    const struct direct *d = p->d;
    size_t column = first * d->panels.panel, size = d->panels.depth * d->panels.panel;
    const float *weights =
        p->range +
        (((size_t)b->phase * d->panels.halves + half) * p->pitch + first - p->panel) * size;
    for (guint g = 0; g < d->groups[b->phase]->len; g++) {
        struct group group = g_array_index(d->groups[b->phase], struct group, g);
        const struct product_piece *pieces =
            &g_array_index(d->pieces[b->phase], struct product_piece, group.first);
        for (size_t i = 0; i < count; i++)
            for (size_t r = 0; r < b->run_count; r++) {
                const struct run *run = &b->runs[r];
                float *c = run_sums(p, b, r, column, sums) + i * d->panels.panel;
                bool begun = g > 0 || p->residual;
                d->product(run->pixels, run->a, run->lda, pieces, group.count, weights + i * size,
                           begun ? c : start + i * d->panels.panel, begun ? ldc : 0, c, ldc);
            }
    }
}

/* A few panels of all halves over the runs of a block. */
static void block_columns(const struct pass *p, const struct block *b, size_t first, size_t count,
                          float *sums)
{
    const struct direct *d = p->d;
    size_t column = first * d->panels.panel, n = count * d->panels.panel;
    size_t ldc = d->in_output ? d->out * b->runs[0].out_step : BLOCK_COLUMNS;
    float start[BLOCK_COLUMNS];
    for (size_t half = 0; half < d->panels.halves; half++) {
        float *c = sums + half * d->block_pixels * BLOCK_COLUMNS;
        frame_start_row(&p->frame, b->image, half, d->out, column, n, start);
        for (size_t r = 0; p->residual && r < b->run_count; r++)
            start_run(p, &b->runs[r], column, n, start, run_sums(p, b, r, column, c), ldc);
        add_products(p, b, half, first, count, start, ldc, c);
    }
    const float *gates = d->panels.halves == 2 ? sums + d->block_pixels * BLOCK_COLUMNS : NULL;
    for (size_t r = 0; r < b->run_count; r++)
        finish_run(p, &b->runs[r], column, n, run_sums(p, b, r, column, sums), ldc,
                   gates ? gates + r * d->block_columns * BLOCK_COLUMNS : NULL);
}

static void product_task(void *data, size_t index, int thread)
{
    const struct pass *p = (const struct pass *)data;
    const struct direct *d = p->d;
    size_t tasks = p->blocks * p->images * d->panels.phases;
    size_t first = index / tasks * p->width, block = index % tasks / d->panels.phases;
    struct block b = {.image = p->frame.image + block / p->blocks,
                      .phase = (int)(index % d->panels.phases)};
    b.run_count = block_runs(p, block % p->blocks, b.image, b.phase, b.runs);
    block_columns(p, &b, p->panel + first, MIN(p->width, p->panels - first),
                  p->threads + (size_t)thread * d->thread_floats);
}

/* All blocks pass over one range of the weights, while it is in the cache. */
static bool run_range(struct pass *p, const int *cancel)
{
    const struct direct *d = p->d;
    size_t tasks = p->blocks * p->images * d->panels.phases;
    if (d->panels.kept) {
        p->range = (const float *)d->weights->data + p->panel * d->panels.depth * d->panels.panel;
        p->pitch = d->panels.count;
    } else {
        if (!p->converted &&
            !panels_fill(&d->panels, d->weights, p->panel, p->panels, p->block, p->turn, cancel))
            return false;
        p->converted = p->panels == d->panels.count;
        p->range = p->block;
        p->pitch = p->panels;
    }
    p->width = BLOCK_COLUMNS / d->panels.panel;
    while (p->width > 1 && tasks * ((p->panels + p->width - 1) / p->width) < TASKS)
        p->width /= 2;
    return parallel_for(tasks * ((p->panels + p->width - 1) / p->width), cancel, product_task, p);
}

static bool run_strip(struct pass *p, const int *cancel)
{
    const struct direct *d = p->d;
    p->frame.first = p->first * d->stride;
    if (d->copy && d->flat &&
        !parallel_for((p->rows + BLOCK_PIXELS - 1) / BLOCK_PIXELS, cancel, copy_flat, p))
        return false;
    if (d->copy && !d->flat && !frame_fill(&p->frame, p->images, frame_rows(d, p->rows), cancel))
        return false;
    p->across = d->flat ? 1 : (d->out_width + d->block_columns - 1) / d->block_columns;
    p->blocks = d->flat ? (p->rows + d->block_pixels - 1) / d->block_pixels
                        : (p->rows + d->block_rows - 1) / d->block_rows * p->across;
    for (p->panel = 0; p->panel < d->panels.count; p->panel += d->panels.range) {
        p->panels = MIN(d->panels.range, d->panels.count - p->panel);
        if (!run_range(p, cancel))
            return false;
    }
    return true;
}

static void frame_sizes(const struct direct *d, struct frame *f)
{
    f->height = d->height;
    f->width = d->width;
    f->channels = d->in;
    f->items = d->panels.items;
    f->pairs = d->panels.pairs;
    f->top = d->top;
    f->left = d->left;
    f->columns = d->frame_width;
    f->rows = d->frame_rows;
}

static bool direct_run(struct step *step, const int *cancel, GError **error)
{
    const struct direct *d = (const struct direct *)step->state;
    const struct node *n = step->node;
    struct pass p = {.d = d, .step = step, .cpu = step->program->cpu, .node = n};
    p.out_type = step_store(step, n->out);
    p.out = (char *)step_data(step, n->out);
    p.residual = n->residual ? (const char *)step_data(step, n->residual) : NULL;
    char *scratch = (char *)step_scratch(step);
    p.block = (float *)(void *)(scratch + d->norm_bytes + d->strip_bytes);
    p.turn = p.block + d->panels.range_bytes / sizeof(float);
    p.threads = p.turn + (size_t)parallel_threads() * d->panels.thread_floats;
    if (!frame_begin(&p.frame, step, &d->vectors, scratch, cancel))
        return fail_cancelled(error);
    frame_sizes(d, &p.frame);
    p.frame.data = (float *)(void *)(scratch + d->norm_bytes);
    size_t images = d->flat ? 1 : d->batch;
    size_t rows = d->flat ? d->batch * d->height * d->width : d->out_height;
    for (p.frame.image = 0; p.frame.image < images; p.frame.image += d->images) {
        p.images = MIN(d->images, images - p.frame.image);
        for (p.first = 0; p.first < rows; p.first += d->strip_rows) {
            p.rows = MIN(d->strip_rows, rows - p.first);
            if (!run_strip(&p, cancel))
                return fail_cancelled(error);
        }
    }
    return true;
}

static void direct_finish(struct step *step)
{
    struct direct *d = (struct direct *)step->state;
    for (int i = 0; d && i < (int)d->panels.phases; i++) {
        g_array_free(d->pieces[i], TRUE);
        g_array_free(d->groups[i], TRUE);
    }
    g_free(d);
}

static const struct step_class direct_class = {direct_run, direct_finish};

/* ---- init ---- */

static void add_pieces(struct direct *d, int phase)
{
    size_t kernel_height = d->panels.phases == 4 ? 2 : d->kernel_height;
    size_t kernel_width = d->panels.phases == 4 ? 2 : d->kernel_width;
    size_t parts = (d->panels.items + PIECE_DEPTH - 1) / PIECE_DEPTH,
           part = (d->panels.items + parts - 1) / parts;
    struct group group = {0, 0};
    size_t depth = 0;
    d->pieces[phase] = g_array_new(FALSE, FALSE, sizeof(struct product_piece));
    d->groups[phase] = g_array_new(FALSE, FALSE, sizeof(struct group));
    for (size_t ky = 0; ky < kernel_height; ky++)
        for (size_t kx = 0; kx < kernel_width; kx++)
            for (size_t c = 0; c < d->panels.items; c += part) {
                struct product_piece piece = {
                    .a = (ky * d->frame_width + kx) * d->panels.items + c,
                    .w = (ky * kernel_width + kx) * d->panels.items + c,
                    .depth = MIN(part, d->panels.items - c),
                };
                if (group.count && depth + piece.depth > GROUP_DEPTH) {
                    g_array_append_val(d->groups[phase], group);
                    group = (struct group){group.first + group.count, 0};
                    depth = 0;
                }
                g_array_append_val(d->pieces[phase], piece);
                group.count++;
                depth += piece.depth;
            }
    g_array_append_val(d->groups[phase], group);
}

static void shape_conv(struct direct *d, const struct node *n)
{
    const struct tensor *x = n->in[0], *y = n->out;
    const struct conv2d_params *params = &n->params.conv2d;
    d->batch = (size_t)x->dims[0];
    d->height = (size_t)x->dims[1];
    d->width = (size_t)x->dims[2];
    d->in = (size_t)x->dims[3];
    d->out_height = n->upsample ? d->height : (size_t)y->dims[1];
    d->out_width = n->upsample ? d->width : (size_t)y->dims[2];
    d->kernel_height = (size_t)n->weight->dims[2];
    d->kernel_width = (size_t)n->weight->dims[3];
    d->stride = (size_t)params->stride;
    d->top = d->left = (size_t)params->padding;
    d->flat = d->kernel_height == 1 && d->kernel_width == 1 && d->stride == 1 &&
              params->padding == 0 && !params->pad_end && !n->broadcast;
    d->frame_width = n->upsample ? d->width + 2 : (d->out_width - 1) * d->stride + d->kernel_width;
}

static void shape_linear(struct direct *d, const struct node *n)
{
    d->in = (size_t)n->weight->dims[1];
    d->batch = d->height = 1;
    d->width = tensor_count(n->in[0]) / d->in;
    d->kernel_height = d->kernel_width = d->stride = 1;
    d->out_height = 1;
    d->out_width = d->width;
    d->frame_width = d->width;
    d->flat = true;
}

/* How the work is cut up. */
static void shape_flat(struct direct *d)
{
    d->block_pixels = d->panels.items <= 512 ? BLOCK_PIXELS : BLOCK_PIXELS / 2;
    d->block_rows = 1;
    d->block_columns = d->block_pixels;
    d->images = 1;
    d->strip_rows = d->batch * d->height * d->width;
    if (d->copy)
        d->strip_rows =
            CLAMP(STRIP_BYTES / sizeof(float) / d->panels.items / BLOCK_PIXELS * BLOCK_PIXELS,
                  BLOCK_PIXELS, d->strip_rows);
    d->strip_bytes = d->copy ? d->strip_rows * d->panels.items * sizeof(float) : 0;
}

static void shape_frames(struct direct *d)
{
    size_t across = (d->out_width + 63) / 64,
           row = d->frame_width * d->panels.items * sizeof(float);
    d->block_columns = (d->out_width + across - 1) / across;
    d->block_rows = across > 1 ? 1 : CLAMP(64 / d->out_width, 1, d->out_height);
    d->block_pixels = d->block_columns * d->block_rows;
    size_t rows = STRIP_BYTES / row / d->stride / d->block_rows * d->block_rows;
    d->strip_rows = CLAMP(rows, d->block_rows, d->out_height);
    d->frame_rows = frame_rows(d, d->strip_rows);
    /* Small images together: the weights are converted once for all. */
    d->images = d->strip_rows == d->out_height
                    ? CLAMP(STRIP_BYTES / (d->frame_rows * row), 1, d->batch)
                    : 1;
    d->strip_bytes = d->images * d->frame_rows * row;
}

static size_t round_bytes(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

/* The input can be read where it is. */
static bool ready(const struct direct *d, enum dtype store)
{
    return d->panels.pairs ? store == DTYPE_BF16 && d->in % 2 == 0 : store == DTYPE_F32;
}

bool direct_init(struct step *step, const int *cancel, GError **error)
{
    const struct node *n = step->node;
    const struct cpu *cpu = step->program->cpu;
    struct direct *d = g_new0(struct direct, 1);
    step->class = &direct_class;
    step->state = d;
    if (n->op == OP_conv2d)
        shape_conv(d, n);
    else
        shape_linear(d, n);
    d->product = cpu_pairs(cpu) ? cpu->kernels->product_bf16 : cpu->kernels->product;
    panels_describe(&d->panels, cpu, n->weight,
                    n->geglu      ? PANELS_HALVES
                    : n->upsample ? PANELS_PHASES
                                  : PANELS_PLAIN);
    d->out = (size_t)n->out->dims[n->out->rank - 1];
    d->copy = !d->flat || n->norm.groups || !ready(d, step_store(step, n->in[0]));
    d->in_output = step_store(step, n->out) == DTYPE_F32 && d->panels.halves == 1 &&
                   d->out % d->panels.panel == 0;
    if (d->flat)
        shape_flat(d);
    else
        shape_frames(d);
    for (int i = 0; i < (int)d->panels.phases; i++)
        add_pieces(d, i);
    d->strip_bytes = round_bytes(d->strip_bytes);
    d->thread_floats = d->in_output ? 0 : d->panels.halves * d->block_pixels * BLOCK_COLUMNS;
    d->norm_bytes = frame_norm_bytes(step);
    size_t thread_floats = d->thread_floats + d->panels.thread_floats;
    step_need_scratch(step, d->norm_bytes + d->strip_bytes + d->panels.range_bytes +
                                (size_t)parallel_threads() * thread_floats * sizeof(float));
    d->weights = panels_weight(&d->panels, step, n->weight, cancel, error);
    return d->weights && frame_vectors_init(&d->vectors, step, cancel, error);
}
