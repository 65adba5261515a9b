#include "compute/cpu/frame.h"

#include "compute/cpu/parallel.h"

#include <string.h>

bool frame_vectors_init(struct frame_vectors *v, struct step *step, const int *cancel,
                        GError **error)
{
    const struct node *n = step->node;
    const struct weight *weights[] = {n->bias, n->norm.weight, n->norm.bias};
    const struct packed **to[] = {&v->bias, &v->norm_weight, &v->norm_bias};
    for (size_t i = 0; i < G_N_ELEMENTS(weights); i++)
        if (weights[i] &&
            !(*to[i] = step_weight(step, weights[i], PACK_PLAIN, NULL, DTYPE_F32, cancel, error)))
            return false;
    return true;
}

size_t frame_norm_bytes(const struct step *step)
{
    const struct node *n = step->node;
    if (!n->norm.groups)
        return 0;
    struct norm norm;
    norm_describe(&norm, step, n->in[0], n->norm.groups, n->norm.eps);
    return (norm_scratch(&norm) + 63) / 64 * 64;
}

bool frame_begin(struct frame *f, const struct step *step, const struct frame_vectors *vectors,
                 void *norm_scratch, const int *cancel)
{
    const struct node *n = step->node;
    *f = (struct frame){.step = step, .cpu = step->program->cpu, .vectors = vectors, .scale = 1};
    f->type = step_store(step, n->in[0]);
    f->in = step_data(step, n->in[0]);
    f->broadcast = n->broadcast ? step_data(step, n->broadcast) : NULL;
    if (!n->norm.groups)
        return true;
    norm_describe(&f->norm, step, n->in[0], n->norm.groups, n->norm.eps);
    f->norm.in = f->in;
    f->norm.weight = vectors->norm_weight ? (const float *)vectors->norm_weight->data : NULL;
    f->norm.bias = vectors->norm_bias ? (const float *)vectors->norm_bias->data : NULL;
    return norm_statistics(&f->norm, (float *)norm_scratch, cancel);
}

/* A pixel as pairs of BF16. */
static void pixel_pairs(const struct frame *f, size_t element, size_t image, uint16_t *to)
{
    const struct node *node = f->step->node;
    float row[512];
    for (size_t c = 0; c < f->channels; c += G_N_ELEMENTS(row)) {
        size_t n = MIN(G_N_ELEMENTS(row), f->channels - c), first = image * f->channels + c;
        const float *x = row_read(f->cpu, f->type, f->in, element + c, n, row);
        if (node->norm.groups)
            f->cpu->kernels->affine(x, f->norm.factors + first, f->norm.offsets + first,
                                    node->norm.silu, row, n);
        f->cpu->kernels->to_bf16(node->norm.groups ? row : x, to + c, n);
    }
    if (f->channels % 2)
        to[f->channels] = 0;
}

void frame_pixels(const struct frame *f, size_t element, size_t pixels, size_t image, float *to)
{
    for (size_t i = 0; f->pairs && i < pixels; i++)
        pixel_pairs(f, element + i * f->channels, image, (uint16_t *)(void *)(to + i * f->items));
    if (f->pairs)
        return;
    size_t n = pixels * f->channels;
    const struct node *node = f->step->node;
    const float *x = row_read(f->cpu, f->type, f->in, element, n, to);
    if (node->norm.groups) {
        const float *factors = f->norm.factors + image * f->channels;
        const float *offsets = f->norm.offsets + image * f->channels;
        for (size_t i = 0; i < n; i += f->channels)
            f->cpu->kernels->affine(x + i, factors, offsets, node->norm.silu, to + i, f->channels);
    } else if (x != to) {
        memcpy(to, x, n * sizeof *to);
    }
}

/* Each of the first `pixels` pixels twice, from the last on, so that none is lost. */
static void double_pixels(float *row, size_t pixels, size_t items)
{
    for (size_t i = 2 * pixels; i-- > 1;)
        memcpy(row + i * items, row + i / 2 * items, items * sizeof *row);
}

struct filling {
    const struct frame *f;
    size_t rows;
};

static void fill_row(void *data, size_t index, int thread)
{
    const struct filling *filling = (const struct filling *)data;
    const struct frame *f = filling->f;
    (void)thread;
    size_t image = index / filling->rows, r = index % filling->rows, c = f->items;
    float *row = f->data + (image * f->rows + r) * f->columns * c;
    size_t y = f->first + r;
    if (y < f->top || y - f->top >= f->height * f->scale) {
        memset(row, 0, f->columns * c * sizeof *row);
        return;
    }
    size_t pixels = MIN(f->width * f->scale, f->columns - f->left);
    size_t right = f->columns - f->left - pixels;
    y = (y - f->top) / f->scale;
    memset(row, 0, f->left * c * sizeof *row);
    frame_pixels(f, ((f->image + image) * f->height + y) * f->width * f->channels,
                 pixels / f->scale, f->image + image, row + f->left * c);
    if (f->scale == 2)
        double_pixels(row + f->left * c, pixels / 2, c);
    memset(row + (f->left + pixels) * c, 0, right * c * sizeof *row);
}

bool frame_fill(const struct frame *f, size_t images, size_t rows, const int *cancel)
{
    struct filling filling = {f, rows};
    return parallel_for(images * rows, cancel, fill_row, &filling);
}

void frame_start_row(const struct frame *f, size_t image, size_t half, size_t out, size_t column,
                     size_t n, float *row)
{
    size_t valid = MIN(n, out - MIN(column, out)), first = half * out + column;
    memset(row, 0, n * sizeof *row);
    if (f->broadcast) {
        enum dtype store = step_store(f->step, f->step->node->broadcast);
        const float *x = row_read(f->cpu, store, f->broadcast, image * out + column, valid, row);
        if (x != row)
            memcpy(row, x, valid * sizeof *row);
    }
    if (f->vectors->bias)
        f->cpu->kernels->add(row, (const float *)f->vectors->bias->data + first, row, valid);
}
