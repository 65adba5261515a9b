#include "clip/inversion.h"

#include "weights/embedding.h"
#include "weights/quote.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define FOLDER_DEPTH 8
#define FILES_LIMIT 20000
#define ENDING ".safetensors"

struct known {
    char *name, *path;
    struct embedding *embedding; /* NULL until it is met */
    bool bad;                    /* it could not be read */
};

struct inversions {
    GPtrArray *known; /* struct known */
};

/* A name as tokens. */
struct named {
    struct known *known;
    int32_t *ids;
    int n;
};

struct inversion_finder {
    GHashTable *by_first; /* first id -> GArray of struct named, longest first */
    GHashTable *by_name;  /* -> struct known */
    GHashTable *said;     /* struct known that a notice was about */
    int which, width;
    GPtrArray *notices;
};

static void known_free(gpointer data)
{
    struct known *k = data;
    embedding_destroy(k->embedding);
    g_free(k->name);
    g_free(k->path);
    g_free(k);
}

struct inversions *inversions_create(void)
{
    struct inversions *s = g_new(struct inversions, 1);
    s->known = g_ptr_array_new_with_free_func(known_free);
    return s;
}

void inversions_destroy(struct inversions *s)
{
    if (!s)
        return;
    g_ptr_array_unref(s->known);
    g_free(s);
}

static void add_file(struct inversions *s, const char *folder, const char *file)
{
    g_autofree char *name = g_strndup(file, strlen(file) - strlen(ENDING));
    for (guint i = 0; i < s->known->len; i++)
        if (g_str_equal(((struct known *)s->known->pdata[i])->name, name))
            return;
    struct known *k = g_new0(struct known, 1);
    k->name = g_steal_pointer(&name);
    k->path = g_build_filename(folder, file, NULL);
    g_ptr_array_add(s->known, k);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add_folder(struct inversions *s, const char *path, int depth)
{
    g_autoptr(GPtrArray) entries = g_ptr_array_new_with_free_func(g_free);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *entry;
    while (dir && (entry = g_dir_read_name(dir)) && entries->len < FILES_LIMIT)
        g_ptr_array_add(entries, g_strdup(entry));
    if (dir)
        g_dir_close(dir);
    g_ptr_array_sort(entries,
                     by_text); /* which of two of one name stays is not the disk's choice */
    for (guint i = 0; i < entries->len && s->known->len < FILES_LIMIT; i++) {
        const char *name = entries->pdata[i];
        g_autofree char *full = g_build_filename(path, name, NULL);
        if (g_str_has_suffix(name, ENDING) && strlen(name) > strlen(ENDING))
            add_file(s, path, name);
        else if (depth < FOLDER_DEPTH && g_file_test(full, G_FILE_TEST_IS_DIR))
            add_folder(s, full, depth + 1);
    }
}

void inversions_add_folder(struct inversions *s, const char *path)
{
    add_folder(s, path, 0);
}

GPtrArray *inversions_names(const struct inversions *s)
{
    GPtrArray *names = g_ptr_array_new();
    for (guint i = 0; i < s->known->len; i++)
        g_ptr_array_add(names, ((struct known *)s->known->pdata[i])->name);
    g_ptr_array_sort(names, by_text);
    return names;
}

/* ---- finding ---- */

static void named_clear(gpointer data)
{
    g_free(((struct named *)data)->ids);
}

static int longest_first(const void *a, const void *b)
{
    return ((const struct named *)b)->n - ((const struct named *)a)->n;
}

static void add_name(struct inversion_finder *f, const struct tokenizer *tokenizer,
                     struct known *known)
{
    g_autoptr(GArray) ids = g_array_new(FALSE, FALSE, sizeof(int32_t));
    g_hash_table_insert(f->by_name, known->name, known);
    tokenizer_encode(tokenizer, known->name, -1, ids);
    if (!ids->len)
        return;
    gpointer first = GINT_TO_POINTER(g_array_index(ids, int32_t, 0));
    GArray *list = g_hash_table_lookup(f->by_first, first);
    if (!list) {
        list = g_array_new(FALSE, FALSE, sizeof(struct named));
        g_array_set_clear_func(list, named_clear);
        g_hash_table_insert(f->by_first, first, list);
    }
    struct named named = {known, g_memdup2(ids->data, ids->len * sizeof(int32_t)), (int)ids->len};
    g_array_append_val(list, named);
    g_array_sort(list, longest_first);
}

struct inversion_finder *inversion_finder_create(struct inversions *s,
                                                 const struct tokenizer *tokenizer, int which,
                                                 int width, GPtrArray *notices)
{
    struct inversion_finder *f = g_new0(struct inversion_finder, 1);
    f->by_first = g_hash_table_new_full(NULL, NULL, NULL, (GDestroyNotify)g_array_unref);
    f->by_name = g_hash_table_new(g_str_hash, g_str_equal);
    f->said = g_hash_table_new(NULL, NULL);
    f->which = which;
    f->width = width;
    f->notices = notices;
    for (guint i = 0; i < s->known->len; i++)
        add_name(f, tokenizer, s->known->pdata[i]);
    return f;
}

void inversion_finder_destroy(struct inversion_finder *f)
{
    if (!f)
        return;
    g_hash_table_unref(f->by_first);
    g_hash_table_unref(f->by_name);
    g_hash_table_unref(f->said);
    g_free(f);
}

static void say(struct inversion_finder *f, struct known *known, const char *sentence)
{
    if (f->notices && g_hash_table_add(f->said, known))
        g_ptr_array_add(f->notices, g_strdup(sentence));
}

/* Whether the embedding can be used here; says why not. */
static bool is_usable(struct inversion_finder *f, struct known *known)
{
    g_autoptr(GError) error = NULL;
    if (!known->embedding && !known->bad) {
        known->embedding = embedding_open(known->path, &error);
        known->bad = !known->embedding;
        if (known->bad)
            say(f, known, error->message);
    }
    if (known->bad)
        return false;
    const struct embedding *e = known->embedding;
    g_autofree char *name = weights_quote(known->name, -1);
    if (e->width[f->which] != f->width) {
        g_autofree char *sentence = g_strdup_printf(
            _("The embedding %s was made for another kind of model (its vectors have %d numbers, "
              "this text encoder needs %d); it was read as words."),
            name, e->width[f->which] ? e->width[f->which] : e->width[!f->which], f->width);
        say(f, known, sentence);
        return false;
    }
    if (e->vectors > CHUNK_WORDS) {
        g_autofree char *sentence = g_strdup_printf(
            _("The embedding %s has %d vectors; %d are the most. It was read as words."), name,
            e->vectors, CHUNK_WORDS);
        say(f, known, sentence);
        return false;
    }
    return true;
}

static bool by_ids(const int32_t *ids, int left, struct chunk_match *match, gpointer data)
{
    struct inversion_finder *f = data;
    const GArray *list = g_hash_table_lookup(f->by_first, GINT_TO_POINTER(ids[0]));
    for (guint i = 0; list && i < list->len; i++) {
        const struct named *n = &g_array_index(list, struct named, i);
        if (n->n > left || memcmp(ids, n->ids, (size_t)n->n * sizeof *ids) != 0 ||
            !is_usable(f, n->known))
            continue;
        *match = (struct chunk_match){n->n, n->known->embedding->vectors, n->known->embedding};
        return true;
    }
    return false;
}

static bool by_name(const char *name, struct chunk_match *match, gpointer data)
{
    struct inversion_finder *f = data;
    g_autofree char *stem = g_str_has_suffix(name, ENDING)
                                ? g_strndup(name, strlen(name) - strlen(ENDING))
                                : g_strdup(name);
    struct known *known = g_hash_table_lookup(f->by_name, stem);
    if (!known || !is_usable(f, known))
        return false;
    *match = (struct chunk_match){0, known->embedding->vectors, known->embedding};
    return true;
}

struct chunk_embeddings inversion_hooks(struct inversion_finder *f)
{
    return (struct chunk_embeddings){by_ids, by_name, f};
}

size_t inversion_vectors(const struct chunk *chunk, int which, int row, struct clip_vectors *out)
{
    for (guint i = 0; i < chunk->fixes->len; i++) {
        const struct chunk_fix *fix = &g_array_index(chunk->fixes, struct chunk_fix, i);
        const struct embedding *e = fix->embedding;
        out[i] =
            (struct clip_vectors){row + fix->position, fix->vectors,
                                  e->values[which] + (size_t)fix->first * (size_t)e->width[which]};
    }
    return chunk->fixes->len;
}
