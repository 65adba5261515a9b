/* What a tape looks like, for people: the network with its places, and where the time went. */
#include "compute/tape.h"
#include "compute/tape_private.h"

double node_flops(const struct node *n)
{
    double out = (double)tensor_count(n->out) * (n->geglu ? 2 : 1);
    switch (n->op) {
    case OP_conv2d:
        return 2 * out * (double)(n->weight->dims[1] * n->weight->dims[2] * n->weight->dims[3]);
    case OP_linear:
        return 2 * out * (double)n->weight->dims[1];
    case OP_attention:
        return 4 * out * (double)n->in[1]->dims[1];
    default:
        return 0;
    }
}

double tape_flops(const struct tape *t)
{
    double sum = 0;
    for (guint i = 0; i < t->nodes->len; i++)
        sum += node_flops(&g_array_index(t->nodes, struct node, i));
    return sum;
}

static const char *text_of(const struct tensor *x)
{
    return dims_text(x->rank, x->dims);
}

static void dump_node(const struct tape *t, const struct node *n, GString *out)
{
    g_autoptr(GString) line = g_string_new(NULL);
    g_string_append_printf(line, "  %-17s", op_name(n->op));
    for (int i = 0; i < 3 && n->in[i]; i++)
        g_string_append_printf(line, "%s%%%d %s", i ? ", " : " ", n->in[i]->id, text_of(n->in[i]));
    g_string_append_printf(line, " -> %%%d %s", n->out->id, text_of(n->out));
    if (n->weight)
        g_string_append_printf(line, "  %s", n->weight->name);
    if (n->norm.groups)
        g_string_append(line, n->norm.silu ? " (of norm, silu)" : " (of norm)");
    if (n->upsample)
        g_string_append(line, " (of upsampled)");
    if (n->broadcast)
        g_string_append_printf(line, " + %%%d", n->broadcast->id);
    if (n->residual)
        g_string_append_printf(line, " + %%%d", n->residual->id);
    if (n->geglu)
        g_string_append(line, " geglu");
    if (n->activation != OP_COUNT)
        g_string_append_printf(line, " %s", op_name(n->activation));
    if (t->plan) {
        const struct place *p = plan_place(t->plan, n->out);
        g_string_append_printf(line, "  %s@%zu+%zu", p->kind == PLACE_ARENA ? "arena" : "kept",
                               p->offset, p->bytes);
    }
    g_string_append_printf(out, "%s\n", line->str);
}

void tape_dump(const struct tape *t, GString *out)
{
    const struct node *nodes = t->plan ? t->plan->nodes : (const struct node *)t->nodes->data;
    int count = t->plan ? t->plan->node_count : (int)t->nodes->len;
    g_string_append_printf(out, "%s: %d operations, %.3f GFLOP\n", t->name, count,
                           tape_flops(t) / 1e9);
    for (guint i = 0; i < t->inputs->len; i++) {
        const struct tape_name *n = &g_array_index(t->inputs, struct tape_name, i);
        g_string_append_printf(out, "  input %s: %%%d %s\n", n->name, n->tensor->id,
                               text_of(n->tensor));
    }
    for (guint i = 0; i < t->imports->len; i++) {
        const struct place *p = &g_array_index(t->imports, struct place, i);
        if (p->kind == PLACE_IMPORT)
            g_string_append_printf(out, "  import from %s: %%%u %s\n", p->from_plan->name, i,
                                   text_of(p->from_tensor));
    }
    int mark = -1;
    for (int i = 0; i < count; i++) {
        if (nodes[i].mark != mark && nodes[i].mark >= 0)
            g_string_append_printf(out, "%s:\n", (const char *)t->marks->pdata[nodes[i].mark]);
        mark = nodes[i].mark;
        dump_node(t, &nodes[i], out);
    }
    for (guint i = 0; i < t->outputs->len; i++) {
        const struct tape_name *n = &g_array_index(t->outputs, struct tape_name, i);
        g_string_append_printf(out, "  output %s: %%%d %s\n", n->name, n->tensor->id,
                               text_of(n->tensor));
    }
    if (t->program) {
        struct tape_memory m = tape_memory(t);
        g_string_append_printf(
            out, "memory: %.1f MB of activations, %.1f MB kept, %.1f MB of weights\n",
            (double)m.arena / 1e6, (double)m.kept / 1e6, (double)m.weights / 1e6);
    }
}

bool tape_profile_ops(const struct tape *t, int first, int last, double *seconds, double *flops)
{
    *seconds = *flops = 0;
    if (!t->program || !t->program->node_seconds)
        return false;
    for (int i = 0; i < t->plan->node_count; i++) {
        const struct node *n = &t->plan->nodes[i];
        if ((int)n->op < first || (int)n->op > last)
            continue;
        *seconds += t->program->node_seconds[i];
        *flops += node_flops(n);
    }
    return true;
}

double tape_device_seconds(const struct tape *t)
{
    return t->program ? t->program->device_seconds : 0;
}
