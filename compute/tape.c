/* Recording, finishing and running a tape. The verbs are in ops.c, the printing in dump.c. */
#include "compute/tape.h"
#include "compute/tape_private.h"

#include <gio/gio.h>
#include <string.h>

/* More elements than this in one tensor is a mistake in a config, not a picture. */
#define TENSOR_MAX_COUNT ((size_t)1 << 36)

const char *dims_text(int rank, const int64_t *dims)
{
    static _Thread_local char buffers[4][128];
    static _Thread_local unsigned next;
    char *text = buffers[next++ % G_N_ELEMENTS(buffers)];
    char *end = text;
    *end++ = '[';
    for (int i = 0; i < rank; i++)
        end += g_snprintf(end, 24, "%s%" G_GINT64_FORMAT, i ? "," : "", dims[i]);
    g_strlcpy(end, "]", 2);
    return text;
}

static void name_clear(gpointer data)
{
    struct tape_name *name = (struct tape_name *)data;
    g_free(name->name);
}

static GArray *names_new(void)
{
    GArray *names = g_array_new(FALSE, FALSE, sizeof(struct tape_name));
    g_array_set_clear_func(names, name_clear);
    return names;
}

struct tape *tape_create(const char *name)
{
    struct tape *t = g_new0(struct tape, 1);
    t->name = g_strdup(name);
    t->nodes = g_array_new(FALSE, TRUE, sizeof(struct node));
    t->tensors = g_ptr_array_new_with_free_func(g_free);
    t->marks = g_ptr_array_new_with_free_func(g_free);
    t->inputs = names_new();
    t->outputs = names_new();
    t->kept = names_new();
    t->imports = g_array_new(FALSE, TRUE, sizeof(struct place));
    t->sources = g_ptr_array_new();
    return t;
}

void tape_destroy(struct tape *t)
{
    if (!t)
        return;
    g_warn_if_fail(t->importers == 0);
    if (t->program) {
        g_free(t->program->node_seconds);
        t->program->node_seconds = NULL;
        t->backend->class->destroy_program(t->program);
    }
    plan_destroy(t->plan);
    for (guint i = 0; i < t->sources->len; i++)
        ((struct tape *)t->sources->pdata[i])->importers--;
    g_ptr_array_free(t->sources, TRUE);
    g_array_free(t->imports, TRUE);
    g_array_free(t->kept, TRUE);
    g_array_free(t->outputs, TRUE);
    g_array_free(t->inputs, TRUE);
    g_ptr_array_free(t->marks, TRUE);
    g_ptr_array_free(t->tensors, TRUE);
    g_array_free(t->nodes, TRUE);
    g_free(t->problem);
    g_free(t->name);
    g_free(t);
}

void tape_fail(struct tape *t, const char *format, ...)
{
    if (t->problem)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    const char *mark = t->marks->len ? (const char *)t->marks->pdata[t->marks->len - 1] : t->name;
    t->problem = g_strdup_printf("%s: %s", mark, text);
}

void tape_mark(struct tape *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_ptr_array_add(t->marks, g_strdup_vprintf(format, args));
    va_end(args);
}

struct tensor *tape_tensor(struct tape *t, enum dtype dtype, int rank, const int64_t *dims)
{
    g_assert(rank >= 1 && rank <= TENSOR_MAX_RANK);
    struct tensor *x = g_new0(struct tensor, 1);
    x->id = (int)t->tensors->len;
    x->dtype = dtype;
    x->rank = rank;
    size_t count = 1;
    for (int i = 0; i < rank; i++) {
        bool fits = dims[i] >= 1 && (size_t)dims[i] <= TENSOR_MAX_COUNT / count;
        if (!fits)
            tape_fail(t, "a tensor %s is empty or too large", dims_text(rank, dims));
        x->dims[i] = fits ? dims[i] : 1;
        count *= (size_t)x->dims[i];
    }
    g_ptr_array_add(t->tensors, x);
    return x;
}

struct tensor *tape_node(struct tape *t, struct node node, int rank, const int64_t *dims)
{
    node.out = tape_tensor(t, DTYPE_F32, rank, dims);
    node.mark = (int)t->marks->len - 1;
    node.activation = OP_COUNT;
    g_array_append_val(t->nodes, node);
    return node.out;
}

struct node *tape_last(struct tape *t)
{
    return t->nodes->len ? &g_array_index(t->nodes, struct node, t->nodes->len - 1) : NULL;
}

static struct tensor *find_name(const GArray *names, const char *name)
{
    for (guint i = 0; i < names->len; i++) {
        const struct tape_name *n = &g_array_index(names, struct tape_name, i);
        if (strcmp(n->name, name) == 0)
            return n->tensor;
    }
    return NULL;
}

static void add_name(struct tape *t, GArray *names, const char *name, struct tensor *x)
{
    g_assert(!t->program && !find_name(names, name));
    struct tape_name n = {g_strdup(name), x};
    g_array_append_val(names, n);
}

struct tensor *tape_input(struct tape *t, const char *name, enum dtype dtype, int rank,
                          const int64_t *dims)
{
    g_assert(dtype == DTYPE_F32 || dtype == DTYPE_I32);
    struct tensor *x = tape_tensor(t, dtype, rank, dims);
    add_name(t, t->inputs, name, x);
    return x;
}

bool tape_is_input(const struct tape *t, const struct tensor *x)
{
    for (guint i = 0; i < t->inputs->len; i++)
        if (g_array_index(t->inputs, struct tape_name, i).tensor == tensor_base(x))
            return true;
    return false;
}

void tape_output(struct tape *t, const char *name, struct tensor *x)
{
    add_name(t, t->outputs, name, x);
}

void tape_keep(struct tape *t, const char *name, struct tensor *x)
{
    add_name(t, t->kept, name, x);
}

struct tensor *tape_import(struct tape *t, struct tape *from, const char *name)
{
    struct tensor *source = find_name(from->kept, name);
    g_assert(source && from->program);
    struct tensor *x = tape_tensor(t, source->dtype, source->rank, source->dims);
    g_array_set_size(t->imports, t->tensors->len);
    struct place place = *plan_place(from->plan, source);
    if (place.kind != PLACE_IMPORT) {
        place.kind = PLACE_IMPORT;
        place.from = from->program;
        place.from_plan = from->plan;
        place.from_tensor = tensor_base(source);
    }
    g_array_index(t->imports, struct place, x->id) = place;
    from->importers++;
    g_ptr_array_add(t->sources, from);
    return x;
}

void tape_keep_marks(struct tape *t)
{
    t->keep_marks = true;
}

/* The last value recorded under a mark, or NULL. */
static struct tensor *mark_value(const struct tape *t, int mark)
{
    for (guint i = t->nodes->len; i-- > 0;) {
        const struct node *n = &g_array_index(t->nodes, struct node, i);
        if (n->mark == mark)
            return n->out;
    }
    return NULL;
}

static void hold(bool *held, const struct tensor *x)
{
    held[tensor_base(x)->id] = true;
}

static void make_plan(struct tape *t)
{
    struct backend *backend = t->backend;
    g_array_set_size(t->imports, t->tensors->len);
    g_autofree bool *held = g_new0(bool, t->tensors->len + 1);
    g_autofree bool *inputs = g_new0(bool, t->tensors->len + 1);
    g_autofree bool *outputs = g_new0(bool, t->tensors->len + 1);
    for (guint i = 0; i < t->inputs->len; i++) {
        const struct tensor *x = g_array_index(t->inputs, struct tape_name, i).tensor;
        hold(held, x);
        hold(inputs, x);
    }
    for (guint i = 0; i < t->kept->len; i++)
        hold(held, g_array_index(t->kept, struct tape_name, i).tensor);
    for (guint i = 0; i < t->outputs->len; i++) {
        const struct tensor *x = g_array_index(t->outputs, struct tape_name, i).tensor;
        hold(held, x);
        hold(outputs, x);
    }
    for (guint i = 0; t->keep_marks && i < t->marks->len; i++) {
        const struct tensor *x = mark_value(t, (int)i);
        if (x)
            hold(held, x);
    }
    struct recording recording = {
        .name = t->name,
        .nodes = (const struct node *)t->nodes->data,
        .node_count = (int)t->nodes->len,
        .tensors = (struct tensor **)t->tensors->pdata,
        .tensor_count = (int)t->tensors->len,
        .held = held,
        .inputs = inputs,
        .outputs = outputs,
        .imports = (const struct place *)t->imports->data,
    };
    t->plan = plan_create(&recording, backend->precision, backend->class->fuse,
                          backend->class->alignment, backend->gap);
}

static size_t weight_bytes(const struct backend *backend, const struct plan *plan)
{
    size_t bytes = 0;
    if (backend->class->weight_bytes)
        return backend->class->weight_bytes(backend, plan);
    for (guint i = 0; i < plan->weights->len; i++)
        bytes += weight_count(plan->weights->pdata[i]) * dtype_size(backend->precision);
    return bytes;
}

struct tape_memory tape_estimate(struct tape *t, struct backend *backend)
{
    struct tape_memory memory = {0};
    g_assert(!t->plan);
    if (t->problem)
        return memory;
    t->backend = backend;
    make_plan(t);
    memory.arena = t->plan->arena_bytes;
    memory.kept = t->plan->kept_bytes;
    memory.weights = weight_bytes(backend, t->plan);
    g_clear_pointer(&t->plan, plan_destroy);
    t->backend = NULL;
    return memory;
}

bool tape_finish(struct tape *t, struct backend *backend, const int *cancel, GError **error)
{
    g_assert(!t->plan);
    if (t->problem) {
        g_set_error_literal(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, t->problem);
        return false;
    }
    for (guint i = 0; i < t->sources->len; i++)
        g_assert(((struct tape *)t->sources->pdata[i])->backend == backend);
    t->backend = backend;
    make_plan(t);
    t->program = backend->class->compile(backend, t->plan, cancel, error);
    if (t->program)
        tape_profile(t, t->profile);
    return t->program != NULL;
}

bool tape_run(struct tape *t, const int *cancel, GError **error)
{
    g_assert(t->program);
    return t->backend->class->run(t->program, cancel, error);
}

void tape_write(struct tape *t, const char *name, const void *data)
{
    const struct tensor *x = find_name(t->inputs, name);
    g_assert(x && t->program);
    t->backend->class->write(t->program, x, data);
}

void tape_read(struct tape *t, const char *name, float *data)
{
    const struct tensor *x = find_name(t->outputs, name);
    g_assert(x && t->program);
    t->backend->class->read(t->program, x, data);
}

float *tape_read_mark(struct tape *t, const char *mark, int *rank, int64_t *dims)
{
    g_assert(t->program && t->keep_marks);
    for (guint i = 0; i < t->marks->len; i++) {
        if (strcmp((const char *)t->marks->pdata[i], mark) != 0)
            continue;
        const struct tensor *x = mark_value(t, (int)i);
        if (!x || x->dtype == DTYPE_I32)
            continue;
        float *data = g_new(float, tensor_count(x));
        t->backend->class->read(t->program, x, data);
        *rank = x->rank;
        memcpy(dims, x->dims, sizeof x->dims[0] * (size_t)x->rank);
        return data;
    }
    return NULL;
}

struct tape_memory tape_memory(const struct tape *t)
{
    struct tape_memory memory = {0};
    if (t->program) {
        memory.arena = t->program->arena_bytes;
        memory.kept = t->program->kept_bytes;
        memory.weights = t->program->weight_bytes;
    }
    return memory;
}

void tape_profile(struct tape *t, bool on)
{
    t->profile = on;
    if (!t->program)
        return;
    if (on && !t->program->node_seconds)
        t->program->node_seconds = g_new0(double, t->plan->node_count + 1);
    t->program->profile = on;
}
