/*
 * The planner: drops dead nodes, fuses, finds lifetimes, packs places. Fused nodes run where the
 * last of their parts was recorded: what any part reads is ready there.
 */
#include "compute/plan.h"

#include <string.h>

struct planner {
    const struct recording *r;
    struct plan *plan;
    unsigned fuse;
    int *uses; /* by base tensor id: how many nodes read it (recorded nodes; counts twice if twice)
                */
    int *producer; /* by base tensor id: index into plan->nodes, -1 = none */
};

static const struct tensor *base_or_null(const struct tensor *x)
{
    return x ? tensor_base(x) : NULL;
}

/* ---- fusion ---- */

static void count_uses(struct planner *p)
{
    const struct recording *r = p->r;
    for (int i = r->node_count; i-- > 0;) {
        const struct node *n = &r->nodes[i];
        int id = tensor_base(n->out)->id;
        /* A view is no use by itself: its readers count for the base. */
        if (n->op == OP_reshape || (p->uses[id] == 0 && !r->held[id]))
            continue;
        for (int k = 0; k < 3 && n->in[k]; k++)
            p->uses[tensor_base(n->in[k])->id]++;
    }
}

/* The node that makes x, when x is read once, by nobody outside, and so may disappear. */
static struct node *sole_producer(struct planner *p, const struct tensor *x)
{
    int id = tensor_base(x)->id;
    if (p->producer[id] < 0 || p->uses[id] != 1 || p->r->held[id])
        return NULL;
    return &p->plan->nodes[p->producer[id]];
}

static bool plain(const struct node *n)
{
    return n->activation == OP_COUNT && !n->geglu;
}

/* A convolution's output has a height and a width: fusing through a view would lose them. */
static bool same_view(const struct node *producer, const struct tensor *in,
                      const struct tensor *out)
{
    if (producer->op == OP_linear)
        return in->dims[in->rank - 1] == producer->out->dims[producer->out->rank - 1];
    return in == producer->out && in->rank == out->rank;
}

static bool is_product(const struct node *n)
{
    return n->op == OP_conv2d || n->op == OP_linear;
}

/* Moves a node to the end of the list as it stands with another output. */
static bool absorb(struct planner *p, struct node *producer, const struct node *consumer)
{
    struct plan *plan = p->plan;
    struct node merged = *producer;
    p->producer[tensor_base(producer->out)->id] = -1;
    producer->out = NULL; /* a hole, closed at the end */
    merged.out = consumer->out;
    merged.mark = consumer->mark;
    p->producer[merged.out->id] = plan->node_count;
    plan->nodes[plan->node_count++] = merged;
    return true;
}

static bool fuse_activation(struct planner *p, const struct node *n)
{
    struct node *producer = sole_producer(p, n->in[0]);
    if (!producer || !plain(producer))
        return false;
    bool norm = producer->op == OP_group_norm && !producer->params.group_norm.moments &&
                n->op == OP_silu && (p->fuse & FUSE_NORM_SILU) && n->in[0] == producer->out;
    bool product = is_product(producer) && (p->fuse & FUSE_ACTIVATION) &&
                   same_view(producer, n->in[0], n->out);
    if (!norm && !product)
        return false;
    producer->activation = n->op;
    return absorb(p, producer, n);
}

static bool fuse_geglu(struct planner *p, const struct node *n)
{
    struct node *producer = sole_producer(p, n->in[0]);
    if (!(p->fuse & FUSE_GEGLU) || !producer || producer->op != OP_linear || !plain(producer) ||
        producer->residual || n->in[0] != producer->out)
        return false;
    producer->geglu = true;
    return absorb(p, producer, n);
}

static bool fuse_residual(struct planner *p, const struct node *n)
{
    const struct tensor *a = n->in[0], *b = n->in[1];
    if (tensor_base(a) == tensor_base(b))
        return false;
    bool same = a->rank == b->rank && memcmp(a->dims, b->dims, sizeof a->dims) == 0;
    struct node *producers[2] = {sole_producer(p, a), same ? sole_producer(p, b) : NULL};
    unsigned bit = same ? FUSE_RESIDUAL : FUSE_BROADCAST;
    if (!(p->fuse & bit) || (!same && (b->rank != 2)))
        return false;
    int best = -1;
    for (int i = 0; i < 2; i++) {
        struct node *c = producers[i];
        if (!c || !plain(c) || !is_product(c) || !same_view(c, n->in[i], n->out))
            continue;
        if (same ? c->residual != NULL : (c->op != OP_conv2d || c->broadcast))
            continue;
        /* The later one: what it reads is still at hand. */
        if (best < 0 || c > producers[best])
            best = i;
    }
    if (best < 0)
        return false;
    if (same)
        producers[best]->residual = n->in[1 - best];
    else
        producers[best]->broadcast = n->in[1];
    return absorb(p, producers[best], n);
}

/* What a convolution can read through: the producer disappears into the convolution. */
static void fuse_input(struct planner *p, struct node *n)
{
    const struct weight *w = n->weight;
    struct node *up = sole_producer(p, n->in[0]);
    if (up && (p->fuse & FUSE_UPSAMPLE) && up->op == OP_upsample_nearest && n->in[0] == up->out &&
        up->out->dims[1] == 2 * up->in[0]->dims[1] && up->out->dims[2] == 2 * up->in[0]->dims[2] &&
        w->dims[2] == 3 && w->dims[3] == 3 && n->params.conv2d.stride == 1 &&
        n->params.conv2d.padding == 1 && !n->params.conv2d.pad_end) {
        n->upsample = true;
        n->in[0] = up->in[0];
        p->producer[tensor_base(up->out)->id] = -1;
        up->out = NULL;
    }
    struct node *norm = sole_producer(p, n->in[0]);
    if (norm && (p->fuse & FUSE_NORM_INPUT) && norm->op == OP_group_norm && !norm->in[1] &&
        !norm->params.group_norm.moments && n->in[0] == norm->out) {
        n->norm.weight = norm->weight;
        n->norm.bias = norm->bias;
        n->norm.groups = norm->params.group_norm.groups;
        n->norm.eps = norm->params.group_norm.eps;
        n->norm.silu = norm->activation == OP_silu;
        n->in[0] = norm->in[0];
        p->producer[tensor_base(norm->out)->id] = -1;
        norm->out = NULL;
    }
}

static bool fuse_into_producer(struct planner *p, const struct node *n)
{
    switch (n->op) {
    case OP_silu:
    case OP_gelu:
    case OP_quick_gelu:
    case OP_relu:
        return fuse_activation(p, n);
    case OP_geglu:
        return fuse_geglu(p, n);
    case OP_add:
        return fuse_residual(p, n);
    default:
        return false;
    }
}

static void fuse_nodes(struct planner *p)
{
    const struct recording *r = p->r;
    struct plan *plan = p->plan;
    /* Merging appends: at most one entry per recorded node. */
    plan->nodes = g_new0(struct node, r->node_count + 1);
    for (int i = 0; i < r->node_count; i++) {
        struct node n = r->nodes[i];
        int id = tensor_base(n.out)->id;
        if (n.op == OP_reshape || (p->uses[id] == 0 && !r->held[id]))
            continue;
        if (fuse_into_producer(p, &n))
            continue;
        if (n.op == OP_conv2d)
            fuse_input(p, &n);
        p->producer[id] = plan->node_count;
        plan->nodes[plan->node_count++] = n;
    }
    int kept = 0;
    for (int i = 0; i < plan->node_count; i++)
        if (plan->nodes[i].out)
            plan->nodes[kept++] = plan->nodes[i];
    plan->node_count = kept;
}

/* ---- number formats ---- */

static void choose_stores(struct planner *p)
{
    struct plan *plan = p->plan;
    for (int i = 0; i < plan->tensor_count; i++)
        plan->stores[i] = plan->tensors[i]->dtype == DTYPE_I32 ? DTYPE_I32 : plan->precision;
    for (int i = 0; i < plan->tensor_count; i++) {
        const struct place *import = &p->r->imports[i];
        if (import->kind == PLACE_IMPORT)
            plan->stores[i] = import->from_plan->stores[import->from_tensor->id];
    }
    for (int i = 0; i < plan->node_count; i++) {
        const struct node *n = &plan->nodes[i];
        int id = tensor_base(n->out)->id;
        /* Step numbers up to 1000 need more bits than bf16 has. */
        if (n->op == OP_time_embedding)
            plan->stores[tensor_base(n->in[0])->id] = DTYPE_F32;
        if (n->op == OP_group_norm && n->params.group_norm.moments)
            plan->stores[id] = DTYPE_F32;
        if (n->op == OP_group_norm && n->in[1])
            plan->stores[tensor_base(n->in[1])->id] = DTYPE_F32;
        if ((p->fuse & FUSE_F32_OUTPUT) && is_product(n) && p->r->outputs[id] && p->uses[id] == 0 &&
            !n->residual && !n->geglu)
            plan->stores[id] = DTYPE_F32;
    }
}

/* ---- lifetimes and places ---- */

/* Tensors that share one place (in place chains) and live from first to last. */
struct block {
    size_t bytes, offset;
    int first, last;
};

static int reads(const struct node *n, const struct tensor *out[5])
{
    int count = 0;
    for (int k = 0; k < 3 && n->in[k]; k++)
        out[count++] = tensor_base(n->in[k]);
    if (n->residual)
        out[count++] = tensor_base(n->residual);
    if (n->broadcast)
        out[count++] = tensor_base(n->broadcast);
    return count;
}

/* The input whose place the output may take over, or NULL. `last` = last reader by tensor id. */
static const struct tensor *in_place_source(const struct planner *p, int index, const int *last)
{
    const struct plan *plan = p->plan;
    const struct node *n = &plan->nodes[index];
    const struct tensor *candidates[2] = {NULL, NULL};
    switch (n->op) {
    case OP_conv2d:
    case OP_linear:
        candidates[0] = base_or_null(n->residual);
        break;
    case OP_silu:
    case OP_gelu:
    case OP_quick_gelu:
    case OP_relu:
    case OP_soft_clamp:
    case OP_scale:
    case OP_add:
        candidates[0] = tensor_base(n->in[0]);
        candidates[1] = base_or_null(n->in[1]);
        break;
    default:
        return NULL;
    }
    for (int k = 0; k < 2; k++) {
        const struct tensor *c = candidates[k];
        if (!c || plan->places[c->id].kind != PLACE_ARENA || last[c->id] != index ||
            tensor_count(c) != tensor_count(n->out) ||
            plan->stores[c->id] != plan->stores[n->out->id])
            continue;
        if (is_product(n) && (c == tensor_base(n->in[0]) || c == base_or_null(n->broadcast)))
            continue;
        return c;
    }
    return NULL;
}

static int by_size(gconstpointer a, gconstpointer b, gpointer data)
{
    const struct block *blocks = (const struct block *)data;
    int i = *(const int *)a, k = *(const int *)b;
    if (blocks[i].bytes != blocks[k].bytes)
        return blocks[i].bytes < blocks[k].bytes ? 1 : -1;
    return i - k;
}

static int by_offset(gconstpointer a, gconstpointer b, gpointer data)
{
    const struct block *blocks = (const struct block *)data;
    size_t i = blocks[*(const int *)a].offset, k = blocks[*(const int *)b].offset;
    return (i > k) - (i < k);
}

/* First fit below what overlaps in time, in the given order; returns the arena's size. */
static size_t pack(struct block *blocks, const int *order, int count)
{
    g_autofree int *others = g_new(int, count + 1);
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        struct block *block = &blocks[order[i]];
        int n = 0;
        for (int k = 0; k < i; k++) {
            const struct block *other = &blocks[order[k]];
            if (other->first <= block->last && block->first <= other->last)
                others[n++] = order[k];
        }
        if (n)
            g_qsort_with_data(others, n, sizeof *others, by_offset, blocks);
        size_t offset = 0;
        for (int k = 0; k < n; k++) {
            const struct block *other = &blocks[others[k]];
            if (offset + block->bytes <= other->offset)
                break;
            offset = MAX(offset, other->offset + other->bytes);
        }
        block->offset = offset;
        size = MAX(size, offset + block->bytes);
    }
    return size;
}

/* Largest first is best for most networks, in order of execution for some: take the smaller. */
static size_t pack_best(struct block *blocks, int count)
{
    g_autofree int *order = g_new(int, count + 1);
    for (int i = 0; i < count; i++)
        order[i] = i;
    g_autofree struct block *in_order = g_memdup2(blocks, sizeof *blocks * ((size_t)count + 1));
    size_t size_in_order = pack(in_order, order, count);
    if (count)
        g_qsort_with_data(order, count, sizeof *order, by_size, blocks);
    size_t size = pack(blocks, order, count);
    if (size_in_order < size) {
        memcpy(blocks, in_order, sizeof *blocks * (size_t)count);
        size = size_in_order;
    }
    return size;
}

static size_t align(size_t bytes, size_t alignment)
{
    return (bytes + alignment - 1) / alignment * alignment;
}

/* Kinds and sizes of all places; offsets of the kept ones. */
static void place_kept(struct planner *p, size_t alignment, size_t gap)
{
    struct plan *plan = p->plan;
    g_autofree bool *touched = g_new0(bool, plan->tensor_count + 1);
    for (int i = 0; i < plan->node_count; i++)
        touched[tensor_base(plan->nodes[i].out)->id] = true;
    for (int id = 0; id < plan->tensor_count; id++) {
        struct place *place = &plan->places[id];
        const struct tensor *x = plan->tensors[id];
        if (x->view_of)
            continue;
        if (p->r->imports[id].kind == PLACE_IMPORT) {
            *place = p->r->imports[id];
            continue;
        }
        place->bytes = tensor_count(x) * dtype_size(plan->stores[id]);
        if (p->r->held[id]) {
            place->kind = PLACE_KEPT;
            place->offset = plan->kept_bytes;
            plan->kept_bytes += align(place->bytes + gap, alignment);
        } else if (touched[id]) {
            place->kind = PLACE_ARENA;
        }
    }
}

static void place_arena(struct planner *p, size_t alignment, size_t gap)
{
    struct plan *plan = p->plan;
    g_autofree int *last = g_new(int, plan->tensor_count + 1);
    g_autofree int *block_of = g_new(int, plan->tensor_count + 1);
    g_autofree struct block *blocks = g_new0(struct block, plan->node_count + 1);
    int count = 0;
    for (int i = 0; i < plan->node_count; i++) {
        const struct tensor *in[5];
        int n = reads(&plan->nodes[i], in);
        for (int k = 0; k < n; k++)
            last[in[k]->id] = i;
        last[tensor_base(plan->nodes[i].out)->id] = i;
    }
    for (int i = 0; i < plan->node_count; i++) {
        int id = tensor_base(plan->nodes[i].out)->id;
        if (plan->places[id].kind != PLACE_ARENA)
            continue;
        const struct tensor *source = p->fuse & FUSE_IN_PLACE ? in_place_source(p, i, last) : NULL;
        if (source) {
            block_of[id] = block_of[source->id];
            blocks[block_of[id]].last = gap ? plan->node_count : last[id];
        } else {
            block_of[id] = count;
            blocks[count++] = (struct block){align(plan->places[id].bytes + gap, alignment), 0,
                                             gap ? 0 : i, gap ? plan->node_count : last[id]};
        }
    }
    plan->arena_bytes = pack_best(blocks, count);
    for (int id = 0; id < plan->tensor_count; id++)
        if (plan->places[id].kind == PLACE_ARENA)
            plan->places[id].offset = blocks[block_of[id]].offset;
}

static void list_weights(struct plan *plan)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    plan->weights = g_ptr_array_new();
    for (int i = 0; i < plan->node_count; i++) {
        const struct node *n = &plan->nodes[i];
        const struct weight *used[] = {n->weight, n->bias, n->norm.weight, n->norm.bias};
        for (size_t k = 0; k < G_N_ELEMENTS(used); k++)
            if (used[k] && g_hash_table_add(seen, (gpointer)used[k]))
                g_ptr_array_add(plan->weights, (gpointer)used[k]);
    }
}

struct plan *plan_create(const struct recording *r, enum dtype precision, unsigned fuse,
                         size_t alignment, size_t gap)
{
    struct plan *plan = g_new0(struct plan, 1);
    plan->name = r->name;
    plan->precision = precision;
    plan->tensors = r->tensors;
    plan->tensor_count = r->tensor_count;
    plan->places = g_new0(struct place, r->tensor_count + 1);
    plan->stores = g_new0(enum dtype, r->tensor_count + 1);
    plan->written = g_new0(bool, r->tensor_count + 1);
    plan->read = g_new0(bool, r->tensor_count + 1);
    for (int i = 0; i < r->tensor_count; i++) {
        plan->written[i] = r->inputs && r->inputs[i];
        plan->read[i] = r->outputs && r->outputs[i];
    }
    struct planner p = {.r = r, .plan = plan, .fuse = fuse};
    p.uses = g_new0(int, r->tensor_count + 1);
    p.producer = g_new(int, r->tensor_count + 1);
    for (int i = 0; i < r->tensor_count; i++)
        p.producer[i] = -1;
    count_uses(&p);
    fuse_nodes(&p);
    choose_stores(&p);
    place_kept(&p, alignment, gap);
    place_arena(&p, alignment, gap);
    list_weights(plan);
    g_free(p.uses);
    g_free(p.producer);
    return plan;
}

void plan_destroy(struct plan *plan)
{
    if (!plan)
        return;
    g_ptr_array_free(plan->weights, TRUE);
    g_free(plan->read);
    g_free(plan->written);
    g_free(plan->stores);
    g_free(plan->places);
    g_free(plan->nodes);
    g_free(plan);
}
