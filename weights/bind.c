#include "weights/quote.h"
#include "weights/weights_private.h"

#include <glib/gi18n-lib.h>
#include <string.h>

enum { NAMED = 4 }; /* mis-shaped parts that are spelled out; the rest is counted */

void bind_init(struct bind *b, struct weights *weights, const char *network)
{
    *b = (struct bind){
        .weights = weights,
        .network = network,
        .prefix = g_string_new(NULL),
        .prefix_stack = g_array_new(FALSE, FALSE, sizeof(gsize)),
        .problems = g_string_new(NULL),
    };
}

void bind_push(struct bind *b, const char *format, ...)
{
    va_list args;
    g_array_append_val(b->prefix_stack, b->prefix->len);
    va_start(args, format);
    g_string_append_vprintf(b->prefix, format, args);
    va_end(args);
}

void bind_pop(struct bind *b)
{
    g_return_if_fail(b->prefix_stack->len > 0);
    guint last = b->prefix_stack->len - 1;
    g_string_truncate(b->prefix, g_array_index(b->prefix_stack, gsize, last));
    g_array_set_size(b->prefix_stack, last);
}

static char *dims_text(int rank, const int64_t *dims)
{
    GString *s = g_string_new("[");
    for (int i = 0; i < rank; i++) {
        g_string_append(s, i ? "," : "");
        if (dims[i] < 0)
            g_string_append(s, _("any"));
        else
            g_string_append_printf(s, "%" G_GINT64_FORMAT, (gint64)dims[i]);
    }
    g_string_append_c(s, ']');
    return g_string_free(s, FALSE);
}

/* What a wrong shape usually means. */
static const char *guess(const char *name, const struct weight *w, int rank, const int64_t *dims)
{
    if (g_str_has_suffix(name, "conv_in.weight") && rank == 4 && w->rank == 4 && dims[1] == 4) {
        if (w->dims[1] == 9)
            return _(" (an inpainting checkpoint?)");
        if (w->dims[1] == 8)
            return _(" (an instruct-pix2pix checkpoint?)");
    }
    if (g_str_has_suffix(name, "attn2.to_k.weight") && rank >= 2 && w->rank >= 2) {
        if (w->dims[1] == 768)
            return _(" (made for SD 1.x?)");
        if (w->dims[1] == 1024)
            return _(" (made for SD 2.x?)");
        if (w->dims[1] == 2048)
            return _(" (made for SDXL?)");
    }
    return "";
}

/* Equal but for dims of 1 at the end. */
static bool same_dims(const struct weight *w, int rank, const int64_t *dims)
{
    for (int i = 0; i < MAX(rank, w->rank); i++) {
        int64_t have = i < w->rank ? w->dims[i] : 1, want = i < rank ? dims[i] : 1;
        if (want >= 0 ? have != want : i >= w->rank)
            return false;
    }
    return true;
}

static void add_problem(struct bind *b, const char *name, const struct weight *w, int rank,
                        const int64_t *dims)
{
    if (b->misshaped++ >= NAMED)
        return;
    g_autofree char *quoted = weights_quote(name, -1);
    g_autofree char *have = dims_text(w->rank, w->dims), *want = dims_text(rank, dims);
    g_string_append(b->problems, b->problems->len ? "; " : "");
    g_string_append_printf(b->problems, _("%s is %s, expected %s"), quoted, have, want);
    g_string_append(b->problems, guess(name, w, rank, dims));
}

static void add_unreadable(struct bind *b, const char *name, const struct st_tensor *t)
{
    if (b->misshaped++ >= NAMED)
        return;
    g_autofree char *quoted = weights_quote(name, -1);
    g_string_append(b->problems, b->problems->len ? "; " : "");
    if (t->rank > TENSOR_MAX_RANK)
        g_string_append_printf(b->problems, _("%s has %u dimensions"), quoted, t->rank);
    else
        g_string_append_printf(b->problems,
                               _("%s uses the number format %s, which this version can't read"),
                               quoted, st_dtype_name(t->dtype));
}

static const struct weight *bind(struct bind *b, const char *name, bool optional, int rank,
                                 va_list args)
{
    int64_t dims[TENSOR_MAX_RANK];
    g_return_val_if_fail(rank >= 0 && rank <= TENSOR_MAX_RANK, NULL);
    for (int i = 0; i < rank; i++)
        dims[i] = va_arg(args, int);
    g_autofree char *full = g_strconcat(b->prefix->str, name, NULL);
    struct entry *e = weights_entry(b->weights, full);
    if (!e && optional)
        return NULL;
    b->wanted++;
    if (!e && b->weights->invent)
        e = b->weights->invent(b->weights, full, rank, dims);
    if (!e) {
        if (!b->missing++)
            b->first_missing = g_steal_pointer(&full);
        return NULL;
    }
    e->used = true;
    if (e->unreadable) {
        add_unreadable(b, full, e->tensor);
        return NULL;
    }
    if (!same_dims(&e->weight, rank, dims)) {
        add_problem(b, full, &e->weight, rank, dims);
        return NULL;
    }
    for (int i = e->weight.rank; i < rank; i++)
        e->weight.dims[i] = 1;
    e->weight.rank = rank;
    return &e->weight;
}

const struct weight *bind_weight(struct bind *b, const char *name, int rank, ...)
{
    va_list args;
    va_start(args, rank);
    const struct weight *w = bind(b, name, false, rank, args);
    va_end(args);
    return w;
}

const struct weight *bind_optional(struct bind *b, const char *name, int rank, ...)
{
    va_list args;
    va_start(args, rank);
    const struct weight *w = bind(b, name, true, rank, args);
    va_end(args);
    return w;
}

static char *grouped(int n)
{
    if (n < 1000)
        return g_strdup_printf("%d", n);
    /* Translators: "1,130", with your mark for thousands. */
    return g_strdup_printf(_("%d,%03d"), n / 1000, n % 1000);
}

static char *message(const struct bind *b)
{
    g_autoptr(GString) s = g_string_new(b->network);
    g_string_append(s, ": ");
    if (b->missing) {
        g_autofree char *first = weights_quote(b->first_missing, -1);
        g_autofree char *missing = grouped(b->missing), *wanted = grouped(b->wanted);
        g_string_append_printf(s, _("%s of %s parts are missing (first: %s)"), missing, wanted,
                               first);
    }
    if (b->misshaped) {
        g_string_append_printf(s, "%s%s", b->missing ? "; " : "", b->problems->str);
        if (b->misshaped > NAMED)
            g_string_append_printf(s,
                                   g_dngettext(GETTEXT_PACKAGE, "; and %d more differ",
                                               "; and %d more differ",
                                               (gulong)(b->misshaped - NAMED)),
                                   b->misshaped - NAMED);
    }
    g_string_append_c(s, '.');
    return g_strdup(s->str);
}

bool bind_finish(struct bind *b, GError **error)
{
    bool ok = !b->missing && !b->misshaped;
    if (!ok && error) {
        g_autofree char *text = message(b);
        if (*error) {
            char *both = g_strdup_printf("%s %s", (*error)->message, text);
            g_free((*error)->message);
            (*error)->message = both;
        } else {
            g_autofree char *source = weights_quote_path(weights_source(b->weights));
            g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_MISMATCH, _("Can't open %s: %s"),
                        source, text);
        }
    }
    g_string_free(b->prefix, TRUE);
    g_array_unref(b->prefix_stack);
    g_string_free(b->problems, TRUE);
    g_free(b->first_missing);
    return ok;
}
