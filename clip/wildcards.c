#include "clip/wildcards.h"

#include "clip/prompt.h"
#include "clip/prompt_text.h"
#include "clip/text_file.h"
#include "weights/quote.h"

#include <fnmatch.h>
#include <glib/gi18n-lib.h>
#include <stdint.h>
#include <string.h>

#define FILE_LIMIT (4u << 20)
#define NAME_LIMIT 200
#define DEPTH_LIMIT 32         /* of braces and files in each other */
#define WORK_LIMIT (64u << 20) /* characters and lines looked at */
#define FOLDER_DEPTH 8
#define FILES_LIMIT 10000

struct wildcards {
    char *folder;
    GHashTable *files; /* name -> GPtrArray of lines; an empty one for a file that is not there */
    GPtrArray *names;  /* all there are, sorted; NULL until a pattern asks */
};

struct expansion {
    struct wildcards *wildcards;
    guint64 random;
    size_t work;
    GString *out;
    GPtrArray *notices;
    GError *error;
};

struct option {
    const char *text;
    size_t length;
    double weight;
};

static void expand(struct expansion *e, const char *text, size_t length, int depth);

struct wildcards *wildcards_create(const char *folder)
{
    struct wildcards *w = g_new0(struct wildcards, 1);
    w->folder = g_strdup(folder);
    w->files =
        g_hash_table_new_full(g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_ptr_array_unref);
    return w;
}

void wildcards_destroy(struct wildcards *w)
{
    if (!w)
        return;
    g_hash_table_unref(w->files);
    if (w->names)
        g_ptr_array_unref(w->names);
    g_free(w->folder);
    g_free(w);
}

bool wildcards_needed(const char *text)
{
    return strchr(text, '{') || strstr(text, "__");
}

/* splitmix64, to [0, 1). */
static double draw(struct expansion *e)
{
    guint64 z = e->random += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

static void fail(struct expansion *e, const char *sentence)
{
    if (!e->error)
        g_set_error_literal(&e->error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE, sentence);
}

static void add_work(struct expansion *e, size_t n)
{
    e->work += n;
    if (e->work > WORK_LIMIT)
        fail(e, _("The wildcards of this prompt lead to too much text."));
}

static void emit(struct expansion *e, const char *text, size_t length)
{
    g_string_append_len(e->out, text, (gssize)length);
    if (e->out->len > PROMPT_LIMIT)
        fail(e, _("With its wildcards filled in, the prompt is too long (more than 65536 "
                  "characters)."));
}

/* ---- files ---- */

static bool is_edge(char c)
{
    return g_ascii_isalnum(c) || c == '*' || (guchar)c >= 0x80;
}

static bool is_name(const char *name, size_t length)
{
    if (!length || length > NAME_LIMIT || !is_edge(name[0]) || !is_edge(name[length - 1]) ||
        memmem(name, length, "..", 2))
        return false;
    for (size_t i = 0; i < length; i++)
        if ((guchar)name[i] < 32 || strchr("{}|$\\:<>\"", name[i]))
            return false;
    return true;
}

static GPtrArray *read_lines(const struct wildcards *w, const char *name, GPtrArray *notices)
{
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    if (!w->folder)
        return lines;
    g_autofree char *file = g_strconcat(name, ".txt", NULL);
    g_autofree char *path = g_build_filename(w->folder, file, NULL);
    g_autofree char *text = text_file_read(path, FILE_LIMIT, NULL, &error);
    if (!text) {
        if (notices && !g_error_matches(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND))
            g_ptr_array_add(notices, g_strdup(error->message));
        return lines;
    }
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    const char *start = g_str_has_prefix(valid, "\xef\xbb\xbf") ? valid + 3 : valid;
    g_auto(GStrv) all = g_strsplit(start, "\n", -1);
    for (int i = 0; all[i]; i++) {
        g_strstrip(all[i]);
        if (*all[i] && *all[i] != '#' && strlen(all[i]) <= PROMPT_LIMIT)
            g_ptr_array_add(lines, g_strdup(all[i]));
    }
    return lines;
}

static const GPtrArray *lines_of(struct wildcards *w, const char *name, GPtrArray *notices)
{
    GPtrArray *lines = g_hash_table_lookup(w->files, name);
    if (!lines) {
        lines = read_lines(w, name, notices);
        g_hash_table_insert(w->files, g_strdup(name), lines);
    }
    return lines;
}

static void list_folder(struct wildcards *w, const char *below, int depth)
{
    g_autofree char *path = g_build_filename(w->folder, below, NULL);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *entry;
    while (dir && (entry = g_dir_read_name(dir)) && w->names->len < FILES_LIMIT) {
        g_autofree char *name = *below ? g_strconcat(below, "/", entry, NULL) : g_strdup(entry);
        g_autofree char *full = g_build_filename(w->folder, name, NULL);
        if (g_str_has_suffix(entry, ".txt"))
            g_ptr_array_add(w->names, g_strndup(name, strlen(name) - 4));
        else if (depth < FOLDER_DEPTH && g_file_test(full, G_FILE_TEST_IS_DIR) &&
                 !g_file_test(full, G_FILE_TEST_IS_SYMLINK))
            list_folder(w, name, depth + 1);
    }
    if (dir)
        g_dir_close(dir);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The lines that a name or pattern means, as options (struct option, borrowed texts). */
static void find_lines(struct expansion *e, const char *name, GArray *options)
{
    struct wildcards *w = e->wildcards;
    g_autoptr(GPtrArray) names = g_ptr_array_new();
    bool pattern = strchr(name, '*') != NULL;
    if (!pattern)
        g_ptr_array_add(names, (char *)name);
    if (pattern && w->folder && !w->names) {
        w->names = g_ptr_array_new_with_free_func(g_free);
        list_folder(w, "", 0);
        g_ptr_array_sort(w->names,
                         by_text); /* the same seed, the same line, on every file system */
    }
    /* "**" goes through folders, "*" does not. */
    int flags = strstr(name, "**") ? 0 : FNM_PATHNAME;
    for (guint i = 0; pattern && w->names && i < w->names->len; i++)
        if (fnmatch(name, w->names->pdata[i], flags) == 0)
            g_ptr_array_add(names, w->names->pdata[i]);
    for (guint i = 0; i < names->len; i++) {
        const GPtrArray *lines = lines_of(w, names->pdata[i], e->notices);
        add_work(e, lines->len);
        for (guint j = 0; j < lines->len; j++) {
            struct option option = {lines->pdata[j], strlen(lines->pdata[j]), 1};
            g_array_append_val(options, option);
        }
    }
}

/* The name in "__name__" at text, or NULL; *length is that of the whole. */
static char *wildcard_name(const char *text, size_t left, size_t *length)
{
    if (left < 5 || text[0] != '_' || text[1] != '_')
        return NULL;
    const char *end = memmem(text + 2, MIN(left - 2, NAME_LIMIT + 2), "__", 2);
    if (!end || !is_name(text + 2, (size_t)(end - text) - 2))
        return NULL;
    *length = (size_t)(end - text) + 2;
    return g_strndup(text + 2, *length - 4);
}

static void say_missing(struct expansion *e, const char *name)
{
    g_autofree char *quoted = weights_quote(name, -1);
    if (e->notices)
        g_ptr_array_add(e->notices,
                        g_strdup_printf(_("There is no wildcard file for %s."), quoted));
}

/* ---- choices ---- */

static size_t take_one(struct expansion *e, const GArray *options)
{
    double total = 0;
    for (guint i = 0; i < options->len; i++)
        total += g_array_index(options, struct option, i).weight;
    double at = draw(e) * total;
    for (guint i = 0; i + 1 < options->len; i++) {
        at -= g_array_index(options, struct option, i).weight;
        if (at < 0)
            return i;
    }
    return options->len - 1;
}

/* Writes `count` different options with a separator between. */
static void choose(struct expansion *e, GArray *options, size_t count, const char *separator,
                   size_t separator_length, int depth)
{
    for (size_t i = 0; i < count && options->len && !e->error; i++) {
        size_t chosen = take_one(e, options);
        struct option option = g_array_index(options, struct option, chosen);
        if (i)
            emit(e, separator, separator_length);
        expand(e, option.text, option.length, depth + 1);
        g_array_remove_index(options, (guint)chosen);
    }
}

/* "2$$", "1-3$$", "2$$ and $$" at the start of the inside of braces. */
struct amount {
    size_t least, most;
    const char *separator;
    size_t separator_length, length; /* length of all that; 0: it is not there */
};

static size_t read_number(const char *text, size_t left, size_t *value)
{
    size_t n = 0;
    *value = 0;
    while (n < left && n < 6 && g_ascii_isdigit(text[n]))
        *value = *value * 10 + (size_t)(text[n++] - '0');
    return n;
}

static struct amount read_amount(const char *text, size_t length)
{
    struct amount a = {1, 1, ", ", 2, 0};
    size_t at = read_number(text, length, &a.least);
    bool said = at > 0;
    a.most = a.least;
    if (at < length && text[at] == '-') {
        size_t digits = read_number(text + at + 1, length - at - 1, &a.most);
        if (!said)
            a.least = 1;
        if (!digits)
            a.most = SIZE_MAX;
        said |= digits > 0;
        at += 1 + digits;
    }
    if (!said || at + 2 > length || memcmp(text + at, "$$", 2) != 0)
        return (struct amount){1, 1, ", ", 2, 0};
    a.length = at + 2;
    const char *end = memmem(text + a.length, length - a.length, "$$", 2);
    const char *bar = memchr(text + a.length, '|', length - a.length);
    if (end && (!bar || end < bar)) {
        a.separator = text + a.length;
        a.separator_length = (size_t)(end - a.separator);
        a.length += a.separator_length + 2;
    }
    if (a.most < a.least) {
        size_t swap = a.least;
        a.least = a.most;
        a.most = swap;
    }
    return a;
}

/* "0.5::text" */
static struct option read_option(const char *text, size_t length)
{
    struct option option = {text, length, 1};
    const char *colons = memmem(text, length, "::", 2);
    if (!colons)
        return option;
    const char *start = prompt_skip_spaces(text, colons);
    if (prompt_number(start, prompt_trim_spaces(start, colons), false, &option.weight)) {
        option.weight = MAX(option.weight, 0);
        option.text = colons + 2;
        option.length = (size_t)(text + length - option.text);
    }
    return option;
}

/* Divides the inside of braces at the bars that are not in braces of their own. */
static void read_options(const char *text, size_t length, GArray *options)
{
    int depth = 0;
    size_t start = 0;
    for (size_t i = 0; i <= length; i++) {
        if (i < length && text[i] != '|')
            depth += text[i] == '{' ? 1 : text[i] == '}' ? -1 : 0;
        if (i < length && (text[i] != '|' || depth))
            continue;
        struct option option = read_option(text + start, i - start);
        g_array_append_val(options, option);
        start = i + 1;
    }
}

/* The inside of a pair of braces; false when they are text. */
static bool expand_braces(struct expansion *e, const char *text, size_t length, int depth)
{
    g_autoptr(GArray) options = g_array_new(FALSE, FALSE, sizeof(struct option));
    struct amount amount = read_amount(text, length);
    size_t whole;
    read_options(text + amount.length, length - amount.length, options);
    if (!amount.length && options->len < 2)
        return false;
    if (options->len == 1) { /* {2$$__name__}: different lines of one file */
        struct option only = g_array_index(options, struct option, 0);
        g_autofree char *name = wildcard_name(only.text, only.length, &whole);
        if (name && whole == only.length) {
            g_array_set_size(options, 0);
            find_lines(e, name, options);
            if (!options->len)
                g_array_append_val(options, only);
        }
    }
    size_t most = MIN(amount.most, options->len), least = MIN(amount.least, most);
    size_t count = least + (size_t)(draw(e) * (double)(most - least + 1));
    choose(e, options, count, amount.separator, amount.separator_length, depth);
    return true;
}

/* Where the partner of each '{' is; -1: it has none. */
static int *match_braces(const char *text, size_t length)
{
    int *match = g_new(int, length + 1);
    g_autoptr(GArray) open = g_array_new(FALSE, FALSE, sizeof(int));
    for (size_t i = 0; i < length; i++) {
        int at = (int)i;
        match[i] = -1;
        if (text[i] == '{') {
            g_array_append_val(open, at);
        } else if (text[i] == '}' && open->len) {
            match[g_array_index(open, int, open->len - 1)] = at;
            g_array_set_size(open, open->len - 1);
        }
    }
    return match;
}

static void expand(struct expansion *e, const char *text, size_t length, int depth)
{
    if (depth > DEPTH_LIMIT) {
        fail(e, _("The wildcards of this prompt contain each other without end."));
        return;
    }
    g_autofree int *match = match_braces(text, length);
    int plain = 0; /* pairs of braces around that are text: not too many, each is read again */
    add_work(e, length);
    for (size_t i = 0, step; i < length && !e->error; i += step) {
        g_autofree char *name = wildcard_name(text + i, length - i, &step);
        if (name) {
            g_autoptr(GArray) options = g_array_new(FALSE, FALSE, sizeof(struct option));
            find_lines(e, name, options);
            if (options->len) {
                choose(e, options, 1, "", 0, depth);
            } else {
                say_missing(e, name);
                emit(e, text + i, step);
            }
            continue;
        }
        step = 1;
        if (match[i] >= 0 && plain < DEPTH_LIMIT && (i == 0 || !strchr("\\$", text[i - 1])) &&
            expand_braces(e, text + i + 1, (size_t)match[i] - i - 1, depth))
            step = (size_t)match[i] - i + 1;
        else
            emit(e, text + i, 1);
        if (step == 1)
            plain += match[i] >= 0 ? 1 : text[i] == '}' && plain ? -1 : 0;
    }
}

char *wildcards_expand(struct wildcards *w, const char *text, guint64 seed, GPtrArray *notices,
                       GError **error)
{
    struct expansion e = {.wildcards = w, .random = seed, .notices = notices};
    g_autofree char *valid = g_utf8_make_valid(text, -1);
    e.out = g_string_new(NULL);
    expand(&e, valid, strlen(valid), 0);
    if (!e.error)
        return g_string_free(e.out, FALSE);
    g_string_free(e.out, TRUE);
    g_propagate_error(error, e.error);
    return NULL;
}
