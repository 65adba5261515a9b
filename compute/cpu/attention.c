/* attention: packs keys and values once a run, then tiles of queries in parallel
 * (kernels_attention.c). */
#include "compute/cpu/private.h"

#include "compute/cpu/parallel.h"

#include <string.h>

/* Keys one thread packs at a time. */
#define PACK_KEYS (4 * ATTENTION_PANEL)

struct attention {
    const struct step *step;
    const struct cpu *cpu;
    int64_t batch, heads, queries, keys, padded_keys;
    size_t size, padded_size, channels;
    enum dtype q_type, k_type, v_type, out_type;
    const void *q, *k, *v;
    void *out;
    float *packed_keys, *packed_values, *threads;
    bool pairs; /* BF16 all the way: see struct attention_tile */
    size_t thread_floats;
    int64_t packs, tiles; /* a head */
};

static size_t rounded_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit * unit;
}

static void shape_of(const struct step *step, struct attention *a)
{
    const struct node *n = step->node;
    memset(a, 0, sizeof *a);
    a->step = step;
    a->cpu = step->program->cpu;
    a->batch = n->in[0]->dims[0];
    a->heads = n->params.attention.heads;
    a->queries = n->in[0]->dims[1];
    a->keys = n->in[1]->dims[1];
    a->padded_keys = (int64_t)rounded_up((size_t)a->keys, ATTENTION_PANEL);
    a->channels = (size_t)n->in[0]->dims[2];
    a->size = a->channels / (size_t)a->heads;
    a->padded_size = rounded_up(a->size, 16);
    a->thread_floats = ATTENTION_ROWS * (a->size + a->padded_size) + ATTENTION_SCRATCH;
    a->thread_floats = rounded_up(a->thread_floats + rounded_up(a->size, 16), 16);
    a->packs = (a->keys + PACK_KEYS - 1) / PACK_KEYS;
    a->tiles = (a->queries + ATTENTION_ROWS - 1) / ATTENTION_ROWS;
}

static size_t packed_floats(const struct attention *a)
{
    return (size_t)(a->batch * a->heads * a->padded_keys);
}

/* Two BF16 of one lane. */
static uint32_t pair(const uint16_t *low, const uint16_t *high)
{
    return (low ? *low : 0u) | (high ? (uint32_t)*high : 0u) << 16;
}

/* Pairs along the head for keys, pairs of keys for values. */
static void pack_pairs(const struct attention *a, size_t batch, size_t head, int64_t first,
                       uint32_t *keys, uint32_t *values)
{
    size_t items = (a->size + 1) / 2;
    for (int64_t key = first; key < MIN(first + PACK_KEYS, a->padded_keys); key++) {
        size_t element = (batch * (size_t)a->keys + (size_t)key) * a->channels + head * a->size;
        const uint16_t *k = key < a->keys ? (const uint16_t *)a->k + element : NULL;
        uint32_t *column = keys + (size_t)(key / ATTENTION_PANEL * ATTENTION_PANEL) * items +
                           key % ATTENTION_PANEL;
        for (size_t i = 0; i < items; i++)
            column[i * ATTENTION_PANEL] =
                k ? pair(k + 2 * i, 2 * i + 1 < a->size ? k + 2 * i + 1 : NULL) : 0;
        if (key % 2)
            continue;
        const uint16_t *v = key < a->keys ? (const uint16_t *)a->v + element : NULL;
        const uint16_t *next = key + 1 < a->keys ? v + a->channels : NULL;
        uint32_t *row = values + (size_t)(key / 2) * a->padded_size;
        for (size_t i = 0; i < a->size; i++)
            row[i] = v ? pair(v + i, next ? next + i : NULL) : 0;
        memset(row + a->size, 0, (a->padded_size - a->size) * sizeof *row);
    }
}

static void pack_chunk(void *data, size_t index, int thread)
{
    const struct attention *a = (const struct attention *)data;
    size_t head_index = index / (size_t)a->packs;
    int64_t first = (int64_t)(index % (size_t)a->packs) * PACK_KEYS;
    size_t batch = head_index / (size_t)a->heads, head = head_index % (size_t)a->heads;
    float *keys = a->packed_keys + head_index * (size_t)a->padded_keys * a->size;
    float *values = a->packed_values + head_index * (size_t)a->padded_keys * a->padded_size;
    if (a->pairs) {
        pack_pairs(a, batch, head, first, (uint32_t *)(void *)keys, (uint32_t *)(void *)values);
        return;
    }
    float *row = a->threads + (size_t)thread * a->thread_floats;
    for (int64_t key = first; key < MIN(first + PACK_KEYS, a->padded_keys); key++) {
        float *column = keys + (size_t)(key / ATTENTION_PANEL * ATTENTION_PANEL) * a->size +
                        key % ATTENTION_PANEL;
        float *value = values + (size_t)key * a->padded_size;
        if (key >= a->keys) {
            for (size_t i = 0; i < a->size; i++)
                column[i * ATTENTION_PANEL] = 0;
            memset(value, 0, a->padded_size * sizeof *value);
            continue;
        }
        size_t element = (batch * (size_t)a->keys + (size_t)key) * a->channels + head * a->size;
        const float *x = row_read(a->cpu, a->k_type, a->k, element, a->size, row);
        for (size_t i = 0; i < a->size; i++)
            column[i * ATTENTION_PANEL] = x[i];
        x = row_read(a->cpu, a->v_type, a->v, element, a->size, value);
        if (x != value)
            memcpy(value, x, a->size * sizeof *value);
        memset(value + a->size, 0, (a->padded_size - a->size) * sizeof *value);
    }
}

static void tile_chunk(void *data, size_t index, int thread)
{
    const struct attention *a = (const struct attention *)data;
    const struct attention_params *params = &a->step->node->params.attention;
    size_t head_index = index / (size_t)a->tiles;
    int64_t first = (int64_t)(index % (size_t)a->tiles) * ATTENTION_ROWS;
    size_t batch = head_index / (size_t)a->heads, head = head_index % (size_t)a->heads;
    int64_t rows = MIN(ATTENTION_ROWS, a->queries - first);
    float *row = a->threads + (size_t)thread * a->thread_floats;
    float *queries = row + rounded_up(a->size, 16);
    float *out = queries + ATTENTION_ROWS * a->size;
    size_t base = (batch * (size_t)a->queries + (size_t)first) * a->channels + head * a->size;
    memset(queries, 0, ATTENTION_ROWS * a->size * sizeof *queries);
    for (int64_t r = 0; r < rows; r++) {
        size_t element = base + (size_t)r * a->channels;
        if (a->pairs) {
            /* Pairs are already neighbours; the half of an odd last one stays 0. */
            memcpy((uint32_t *)(void *)queries + (size_t)r * ((a->size + 1) / 2),
                   (const uint16_t *)a->q + element, a->size * sizeof(uint16_t));
            continue;
        }
        float *to = queries + (size_t)r * a->size;
        const float *x = row_read(a->cpu, a->q_type, a->q, element, a->size, to);
        if (x != to)
            memcpy(to, x, a->size * sizeof *to);
    }
    struct attention_tile tile = {
        .keys = a->packed_keys + head_index * (size_t)a->padded_keys * a->size,
        .values = a->packed_values + head_index * (size_t)a->padded_keys * a->padded_size,
        .queries = queries,
        .out = out,
        .scale = params->scale * 1.44269504088896341f,
        .size = (int)a->size,
        .key_count = a->keys,
        .first_causal = params->causal ? first : -1,
    };
    float *scratch = out + ATTENTION_ROWS * a->padded_size;
    if (a->pairs)
        a->cpu->kernels->attention_bf16(&tile, scratch);
    else
        a->cpu->kernels->attention(&tile, scratch);
    for (int64_t r = 0; r < rows; r++) {
        size_t element = base + (size_t)r * a->channels;
        const float *x = out + (size_t)r * a->padded_size;
        if (a->out_type == DTYPE_BF16)
            row_write(a->cpu, a->out_type, a->out, element, a->size, x);
        else
            memcpy((float *)a->out + element, x, a->size * sizeof *x);
    }
}

static bool attention_run(struct step *step, const int *cancel, GError **error)
{
    const struct node *n = step->node;
    struct attention a;
    shape_of(step, &a);
    a.q = step_data(step, n->in[0]);
    a.k = step_data(step, n->in[1]);
    a.v = step_data(step, n->in[2]);
    a.out = step_data(step, n->out);
    a.q_type = step_store(step, n->in[0]);
    a.k_type = step_store(step, n->in[1]);
    a.v_type = step_store(step, n->in[2]);
    a.out_type = step_store(step, n->out);
    a.pairs =
        a.cpu->pairs && a.q_type == DTYPE_BF16 && a.k_type == DTYPE_BF16 && a.v_type == DTYPE_BF16;
    a.packed_keys = (float *)step_scratch(step);
    a.packed_values = a.packed_keys + rounded_up(packed_floats(&a) * a.size, 16);
    a.threads = a.packed_values + rounded_up(packed_floats(&a) * a.padded_size, 16);
    size_t heads = (size_t)(a.batch * a.heads);
    return (parallel_for(heads * (size_t)a.packs, cancel, pack_chunk, &a) &&
            parallel_for(heads * (size_t)a.tiles, cancel, tile_chunk, &a)) ||
           fail_cancelled(error);
}

static const struct step_class attention_class = {attention_run, NULL};

bool attention_init(struct step *step, const int *cancel, GError **error)
{
    (void)cancel;
    (void)error;
    step->class = &attention_class;
    struct attention a;
    shape_of(step, &a);
    size_t floats = rounded_up(packed_floats(&a) * a.size, 16) +
                    rounded_up(packed_floats(&a) * a.padded_size, 16) +
                    (size_t)parallel_threads() * a.thread_floats;
    step_need_scratch(step, floats * sizeof(float));
    return true;
}
