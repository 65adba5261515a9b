#include "clip/styles.h"

#include "clip/text_file.h"
#include "weights/quote.h"

#include <glib/gi18n-lib.h>
#include <stdbool.h>
#include <string.h>

#define FILE_LIMIT (4u << 20)

static void style_free(gpointer data)
{
    struct style *style = data;
    g_free(style->name);
    g_free(style->prompt);
    g_free(style->negative);
    g_free(style);
}

static bool ends_row(char c)
{
    return c == '\n' || c == '\r' || c == '\0';
}

/* One field as Python's csv reads it with skipinitialspace: quotes count at its start only. */
static const char *read_field(const char *at, char **field)
{
    GString *out = g_string_new(NULL);
    while (*at == ' ')
        at++;
    if (*at == '"') {
        for (at++; *at && (*at != '"' || at[1] == '"'); at++) {
            g_string_append_c(out, *at);
            at += *at == '"';
        }
        at += *at == '"';
    }
    while (*at != ',' && !ends_row(*at))
        g_string_append_c(out, *at++);
    *field = g_string_free(out, FALSE);
    return at;
}

/* A row's fields; *at is moved behind it. Empty lines have none. */
static GPtrArray *read_row(const char **at)
{
    GPtrArray *row = g_ptr_array_new_with_free_func(g_free);
    const char *c = *at;
    while (!ends_row(*c) || row->len) {
        char *field;
        c = read_field(c, &field);
        g_ptr_array_add(row, field);
        if (*c != ',')
            break;
        c++;
        if (ends_row(*c)) { /* a comma at the end: one more, empty */
            g_ptr_array_add(row, g_strdup(""));
            break;
        }
    }
    c += *c == '\r';
    c += *c == '\n';
    *at = c;
    return row;
}

static int column(const GPtrArray *header, const char *name)
{
    for (guint i = 0; i < header->len; i++)
        if (g_str_equal(header->pdata[i], name))
            return (int)i;
    return -1;
}

static char *cell(const GPtrArray *row, int at)
{
    return g_strdup(at >= 0 && (guint)at < row->len ? (char *)row->pdata[at] : "");
}

GPtrArray *styles_none(void)
{
    return g_ptr_array_new_with_free_func(style_free);
}

GPtrArray *styles_load(const char *path, GError **error)
{
    g_autofree char *text = text_file_read(path, FILE_LIMIT, NULL, error);
    if (!text)
        return NULL;
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    const char *at = g_str_has_prefix(valid, "\xef\xbb\xbf") ? valid + 3 : valid;
    g_autoptr(GPtrArray) header = read_row(&at);
    int name = column(header, "name"), prompt = column(header, "prompt");
    if (prompt < 0)
        prompt = column(header, "text");
    int negative = column(header, "negative_prompt");
    if (name < 0 || prompt < 0) {
        g_autofree char *quoted = weights_quote_path(path);
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't use %s: its first line must name the columns name, prompt and "
                      "negative_prompt."),
                    quoted);
        return NULL;
    }
    GPtrArray *styles = styles_none();
    while (*at) {
        g_autoptr(GPtrArray) row = read_row(&at);
        if (row->len <= (guint)name || !*(char *)row->pdata[name])
            continue;
        struct style *style = g_new(struct style, 1);
        *style = (struct style){cell(row, name), cell(row, prompt), cell(row, negative)};
        g_ptr_array_add(styles, style);
    }
    return styles;
}

const struct style *styles_find(const GPtrArray *styles, const char *name)
{
    const struct style *found = NULL; /* of two of one name the later counts, as in A1111 */
    for (guint i = 0; i < styles->len; i++)
        if (g_str_equal(((struct style *)styles->pdata[i])->name, name))
            found = styles->pdata[i];
    return found;
}

void styles_take(GPtrArray *to, GPtrArray *from)
{
    for (guint i = 0; i < from->len; i++) {
        const struct style *style = from->pdata[i];
        if (styles_find(from, style->name) != style || styles_find(to, style->name))
            continue;
        g_ptr_array_add(to, g_ptr_array_steal_index(from, i--));
    }
    g_ptr_array_unref(from);
}

char *styles_apply(const char *style, const char *prompt)
{
    if (strstr(style, "{prompt}")) {
        g_auto(GStrv) parts = g_strsplit(style, "{prompt}", -1);
        return g_strjoinv(prompt, parts);
    }
    g_autofree char *own = g_strstrip(g_strdup(prompt));
    g_autofree char *more = g_strstrip(g_strdup(style));
    return g_strconcat(own, *own && *more ? ", " : "", more, NULL);
}
