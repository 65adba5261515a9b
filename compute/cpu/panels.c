#include "compute/cpu/panels.h"

#include "compute/cpu/parallel.h"

#include <string.h>

/* Bytes of a range, that all blocks of a product pass over before the next: a part of the
 * last-level cache. */
#define RANGE_BYTES ((size_t)4 << 20)
/* Channels that are F32 on their way to pairs of BF16; even. */
#define PAIRS_DEPTH ((size_t)64)

void panels_describe(struct panels *s, const struct cpu *cpu, const struct weight *w,
                     enum panels_form form)
{
    bool pairs = cpu_pairs(cpu);
    *s = (struct panels){.kernels = cpu->kernels, .form = form, .pairs = pairs};
    /* F8 has half of the bytes. */
    s->kept =
        pairs && form != PANELS_PHASES && w->dtype != DTYPE_F8_E4M3 && w->dtype != DTYPE_F8_E5M2;
    s->panel = (size_t)cpu->kernels->panel;
    s->in = (size_t)w->dims[1];
    s->taps = w->rank == 4 ? (size_t)(w->dims[2] * w->dims[3]) : 1;
    s->halves = form == PANELS_HALVES ? 2 : 1;
    s->phases = form == PANELS_PHASES ? 4 : 1;
    s->rows = (size_t)w->dims[0] / s->halves;
    s->count = (s->rows + s->panel - 1) / s->panel;
    s->items = pairs ? (s->in + 1) / 2 : s->in;
    s->depth = (form == PANELS_PHASES ? 4 : s->taps) * s->items;
    size_t one = s->phases * s->halves * s->depth * s->panel * sizeof(float);
    size_t most = CLAMP(RANGE_BYTES / one, 1, s->count);
    /* Whole blocks of columns where that is possible, and ranges of the same size. */
    size_t ranges = (s->count + most - 1) / most;
    size_t unit = most >= 4 ? 4 : 1;
    s->range = MIN(((s->count + ranges - 1) / ranges + unit - 1) / unit * unit, s->count);
    s->range_bytes = s->kept ? 0 : s->range * one;
    size_t taps = s->taps + (form == PANELS_PHASES && pairs ? 4 : 0);
    if (form == PANELS_PHASES || pairs)
        s->thread_floats = taps * (pairs ? MIN(PAIRS_DEPTH, s->in) : s->in) * s->panel;
}

/* The 2x2 kernel that a 3x3 kernel is at one parity of the output: taps that see the same pixel add
 * up. `panel` is [9][in][panel], `phase` [4][in][panel]. */
static void sum_phase(const struct panels *s, size_t index, size_t in, const float *panel,
                      float *phase)
{
    int py = (int)index / 2, px = (int)index % 2;
    size_t tap = in * s->panel;
    memset(phase, 0, 4 * tap * sizeof *phase);
    for (int ky = 0; ky < 3; ky++)
        for (int kx = 0; kx < 3; kx++) {
            int y = (ky + py + 1) / 2 - py, x = (kx + px + 1) / 2 - px;
            float *to = phase + (size_t)(y * 2 + x) * tap;
            s->kernels->add(to, panel + (size_t)(ky * 3 + kx) * tap, to, tap);
        }
}

struct filling {
    const struct panels *s;
    const struct packed *weights;
    size_t first, count;
    float *to, *threads;
};

/* A panel of all phases as pairs, `phase_step` items apart, some channels at a time. */
static void fill_pairs(const struct panels *s, enum dtype dtype, const char *from, size_t rows,
                       uint32_t *to, size_t phase_step, float *whole)
{
    for (size_t c = 0; c < s->in; c += PAIRS_DEPTH) {
        size_t in = MIN(PAIRS_DEPTH, s->in - c), taps = s->depth / s->items;
        s->kernels->pack(dtype, from + c * s->taps * dtype_size(dtype), s->in * s->taps, rows, in,
                         s->taps, whole);
        for (size_t phase = 0; phase < s->phases; phase++) {
            float *panel = whole;
            if (s->form == PANELS_PHASES)
                sum_phase(s, phase, in, whole, panel = whole + s->taps * in * s->panel);
            for (size_t tap = 0; tap < taps; tap++)
                s->kernels->pair(panel + tap * in * s->panel, in,
                                 to + phase * phase_step + (tap * s->items + c / 2) * s->panel);
        }
    }
}

const struct packed *panels_weight(const struct panels *s, struct step *step,
                                   const struct weight *weight, const int *cancel, GError **error)
{
    enum packing packing = !s->kept ? PACK_FILE : s->halves == 2 ? PACK_PAIRS_HALVES : PACK_PAIRS;
    enum dtype dtype = s->kept ? DTYPE_BF16 : cpu_weight_dtype(step->program->cpu, weight);
    return step_weight(step, weight, packing, NULL, dtype, cancel, error);
}

size_t panels_bytes(const struct panels *s)
{
    return s->phases * s->halves * s->count * s->depth * s->panel * sizeof(float);
}

static size_t panel_rows(const struct panels *s, size_t panel)
{
    return MIN(s->panel, s->rows - panel * s->panel);
}

void panels_pack(const struct panels *s, size_t index, enum dtype dtype, const void *rows,
                 uint32_t *to, float *scratch)
{
    fill_pairs(s, dtype, (const char *)rows, panel_rows(s, index % s->count), to, 0, scratch);
}

/* Where in the file's order the rows of a panel of [half][count] begin. */
static const char *file_rows(const struct panels *s, const struct packed *weights, size_t half,
                             size_t panel)
{
    size_t row = half * s->rows + panel * s->panel;
    return (const char *)weights->data + row * s->in * s->taps * dtype_size(weights->dtype);
}

void panels_read(const struct panels *s, const struct packed *weights, size_t panel, size_t first,
                 size_t count, float *to)
{
    enum dtype dtype = weights->dtype;
    if (!s->kept) {
        s->kernels->pack(dtype,
                         file_rows(s, weights, 0, panel) + first * s->taps * dtype_size(dtype),
                         s->in * s->taps, panel_rows(s, panel), count, s->taps, to);
        return;
    }
    const uint32_t *pairs = (const uint32_t *)weights->data + panel * s->depth * s->panel;
    for (size_t tap = 0; tap < s->taps; tap++)
        s->kernels->unpair(pairs + (tap * s->items + first / 2) * s->panel, count,
                           to + tap * count * s->panel);
}

static void fill_one(void *data, size_t index, int thread)
{
    const struct filling *f = (const struct filling *)data;
    const struct panels *s = f->s;
    size_t half = index / f->count, panel = f->first + index % f->count;
    size_t rows = panel_rows(s, panel), size = s->depth * s->panel;
    const char *from = file_rows(s, f->weights, half, panel);
    float *whole = f->threads + (size_t)thread * s->thread_floats;
    if (s->pairs) {
        uint32_t *to = (uint32_t *)(void *)(f->to + index * size);
        fill_pairs(s, f->weights->dtype, from, rows, to, f->count * size, whole);
        return;
    }
    if (s->form != PANELS_PHASES) {
        s->kernels->pack(f->weights->dtype, from, s->in * s->taps, rows, s->in, s->taps,
                         f->to + index * size);
        return;
    }
    s->kernels->pack(f->weights->dtype, from, s->in * s->taps, rows, s->in, s->taps, whole);
    for (size_t i = 0; i < s->phases; i++)
        sum_phase(s, i, s->in, whole, f->to + (i * f->count + index) * size);
}

bool panels_fill(const struct panels *s, const struct packed *weights, size_t first, size_t count,
                 float *to, float *threads, const int *cancel)
{
    struct filling f = {s, weights, first, count, to, threads};
    return parallel_for(s->halves * count, cancel, fill_one, &f);
}
