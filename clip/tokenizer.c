#include "clip/tokenizer.h"

#include "clip/bpe.h"
#include "clip/normalize.h"
#include "clip/text_file.h"
#include "weights/config.h"
#include "weights/quote.h"

#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <jansson.h>
#include <string.h>

#define FILE_LIMIT (4u << 20)
#define BOS_TEXT "<|startoftext|>"
#define EOS_TEXT "<|endoftext|>"

/* assets/clip/merges.txt, as it is. */
__asm__(".section .rodata\n"
        ".global tokenizer_merges\n"
        ".global tokenizer_merges_end\n"
        "tokenizer_merges:\n"
        ".incbin \"" FIGMENT_MERGES "\"\n"
        "tokenizer_merges_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const char tokenizer_merges[], tokenizer_merges_end[];

struct special {
    char *text;
    size_t length;
    int32_t id;
};

struct tokenizer {
    struct bpe *bpe;
    struct tokenizer_ids ids;
    struct special special[3]; /* texts that are tokens of their own; none is a prefix of another */
    int specials;
};

struct tokenizer_ids tokenizer_ids(const struct tokenizer *t)
{
    return t->ids;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    bpe_destroy(t->bpe);
    for (int i = 0; i < t->specials; i++)
        g_free(t->special[i].text);
    g_free(t);
}

static void add_special(struct tokenizer *t, const char *text, int32_t id)
{
    t->special[t->specials++] = (struct special){g_strdup(text), strlen(text), id};
}

/* Ends loading: the ids of the special tokens are known. */
static void set_ids(struct tokenizer *t, int32_t bos, int32_t eos, int32_t pad)
{
    t->ids = (struct tokenizer_ids){bos, eos, pad, bpe_find(t->bpe, ",</w>", strlen(",</w>"))};
    add_special(t, BOS_TEXT, bos);
    add_special(t, EOS_TEXT, eos);
}

/* ---- loading ---- */

/* The next line of a merges file that is a merge, or NULL; *middle is its space. */
static const char *next_merge(const char **cursor, const char *end, const char **middle,
                              const char **line_end)
{
    while (*cursor < end) {
        const char *line = *cursor;
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        *cursor = stop < end ? stop + 1 : end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        if (stop == line || g_str_has_prefix(line, "#version"))
            continue;
        *middle = memchr(line, ' ', (size_t)(stop - line));
        *line_end = stop;
        return line;
    }
    return NULL;
}

struct tokenizer *tokenizer_create(void)
{
    struct tokenizer *t = g_new0(struct tokenizer, 1);
    struct bpe_bytes bytes;
    int32_t id = 0;
    t->bpe = bpe_create();
    bpe_bytes_init(&bytes);
    for (int i = 0; i < 512; i++) {
        char text[16];
        int n = g_snprintf(text, sizeof text, "%s%s", bytes.name[bytes.order[i % 256]],
                           i < 256 ? "" : "</w>");
        bpe_add_token(t->bpe, text, (size_t)n, id++);
    }
    const char *cursor = tokenizer_merges, *line, *middle, *end;
    while ((line = next_merge(&cursor, tokenizer_merges_end, &middle, &end))) {
        g_assert(middle);
        size_t left = (size_t)(middle - line), right = (size_t)(end - middle - 1);
        char whole[256];
        g_assert(left + right <= sizeof whole);
        memcpy(whole, line, left);
        memcpy(whole + left, middle + 1, right);
        bpe_add_token(t->bpe, whole, left + right, id++);
        bool known = bpe_add_merge(t->bpe, line, left, middle + 1, right);
        g_assert(known);
    }
    set_ids(t, id, id + 1, id + 1);
    bpe_finish(t->bpe, t->ids.eos);
    return t;
}

static bool fail(GError **error, const char *folder, const char *file, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

static bool fail(GError **error, const char *folder, const char *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *both =
        g_strdup_printf("%s/%s", strrchr(folder, '/') ? strrchr(folder, '/') + 1 : folder, file);
    g_autofree char *name = weights_quote(both, -1);
    g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE, _("Can't use %s: %s"), name, why);
    return false;
}

static bool load_vocabulary(struct tokenizer *t, const char *folder, int rows, GError **error)
{
    const char *file = "vocab.json", *text;
    g_autofree char *path = g_build_filename(folder, file, NULL);
    size_t length;
    g_autofree char *contents = text_file_read(path, FILE_LIMIT, &length, error);
    json_error_t problem;
    if (!contents)
        return false;
    json_t *json = json_loadb(contents, length, JSON_REJECT_DUPLICATES, &problem), *value;
    bool ok = json != NULL;
    if (!ok)
        fail(error, folder, file, _("it is not valid JSON (line %d: %s)."), problem.line,
             problem.text);
    else if (!json_is_object(json))
        ok = fail(error, folder, file, _("it is not a list of tokens with their numbers."));
    if (ok) {
        json_object_foreach(json, text, value)
        {
            json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
            if (id < 0 || id >= rows) {
                g_autofree char *quoted = weights_quote(text, -1);
                ok = fail(error, folder, file,
                          _("token %s must have a number from 0 to %d (the text encoder has %d "
                            "token embeddings)."),
                          quoted, rows - 1, rows);
                break;
            }
            bpe_add_token(t->bpe, text, strlen(text), (int32_t)id);
        }
    }
    json_decref(json);
    return ok;
}

static bool load_merges(struct tokenizer *t, const char *folder, GError **error)
{
    const char *file = "merges.txt";
    g_autofree char *path = g_build_filename(folder, file, NULL);
    size_t length;
    g_autofree char *text = text_file_read(path, FILE_LIMIT, &length, error);
    if (!text)
        return false;
    if (!g_utf8_validate(text, (gssize)length, NULL))
        return fail(error, folder, file, _("it is not valid text (UTF-8)."));
    const char *cursor = text, *line, *middle, *end;
    while ((line = next_merge(&cursor, text + length, &middle, &end))) {
        g_autofree char *shown = weights_quote(line, end - line);
        if (!middle || memchr(middle + 1, ' ', (size_t)(end - middle - 1)))
            return fail(error, folder, file, _("%s is not two parts with a space between."), shown);
        if (!bpe_add_merge(t->bpe, line, (size_t)(middle - line), middle + 1,
                           (size_t)(end - middle - 1)))
            return fail(error, folder, file, _("%s uses a token that vocab.json does not have."),
                        shown);
    }
    return true;
}

/* The text of a special token: a string, or an object with "content". NULL when not said. */
static char *special_text(const char *folder, const char *file, const char *key)
{
    g_autofree char *path = g_build_filename(folder, file, NULL);
    json_t *json = config_load(AT_FDCWD, path, file, NULL);
    json_t *value = json_object_get(json, key);
    if (json_is_object(value))
        value = json_object_get(value, "content");
    char *text = g_strdup(json_string_value(value));
    json_decref(json);
    return text;
}

static bool load_specials(struct tokenizer *t, const char *folder, GError **error)
{
    int32_t bos = bpe_find(t->bpe, BOS_TEXT, strlen(BOS_TEXT));
    int32_t eos = bpe_find(t->bpe, EOS_TEXT, strlen(EOS_TEXT));
    if (bos < 0 || eos < 0)
        return fail(error, folder, "vocab.json", _("it has no “%s”; is this CLIP's vocabulary?"),
                    bos < 0 ? BOS_TEXT : EOS_TEXT);
    g_autofree char *pad = special_text(folder, "special_tokens_map.json", "pad_token");
    if (!pad)
        pad = special_text(folder, "tokenizer_config.json", "pad_token");
    bool own = pad && *pad && strcmp(pad, EOS_TEXT) != 0 && strcmp(pad, BOS_TEXT) != 0;
    int32_t pad_id = own ? bpe_find(t->bpe, pad, strlen(pad)) : eos;
    if (pad_id < 0) {
        g_autofree char *quoted = weights_quote(pad, -1);
        return fail(error, folder, "vocab.json", _("it has no pad token %s."), quoted);
    }
    set_ids(t, bos, eos, pad_id);
    if (own)
        add_special(t, pad, pad_id);
    return true;
}

struct tokenizer *tokenizer_open(const char *folder, int rows, GError **error)
{
    struct tokenizer *t = g_new0(struct tokenizer, 1);
    t->bpe = bpe_create();
    if (!load_vocabulary(t, folder, rows, error) || !load_merges(t, folder, error) ||
        !load_specials(t, folder, error)) {
        tokenizer_destroy(t);
        return NULL;
    }
    bpe_finish(t->bpe, t->ids.eos);
    return t;
}

/* ---- encoding ---- */

struct encoding {
    const struct tokenizer *tokenizer;
    struct bpe_scratch scratch;
    GArray *chars; /* gunichar */
    GByteArray *word;
    GArray *ids;
};

static size_t match_ascii(const gunichar *c, size_t n, const char *text)
{
    size_t i = 0;
    for (; text[i]; i++)
        if (i >= n || c[i] != (gunichar)text[i])
            return 0;
    return i;
}

enum kind { SPACE, LETTER, NUMBER, OTHER };

static enum kind classify(gunichar c)
{
    return normalize_is_space(c)    ? SPACE
           : normalize_is_letter(c) ? LETTER
           : normalize_is_number(c) ? NUMBER
                                    : OTHER;
}

/* Length of the word that starts at c[0]; 0 for white space. The order of the rules matters. */
static size_t word_length(const gunichar *c, size_t n)
{
    static const char *const contractions[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (size_t i = 0; c[0] == '\'' && i < G_N_ELEMENTS(contractions); i++) {
        size_t length = match_ascii(c, n, contractions[i]);
        if (length)
            return length;
    }
    enum kind kind = classify(c[0]);
    if (kind == SPACE)
        return 0;
    size_t length = 1;
    while (kind != NUMBER && length < n && classify(c[length]) == kind)
        length++;
    return length;
}

static void encode_word(struct encoding *e, const gunichar *c, size_t n)
{
    g_byte_array_set_size(e->word, 0);
    for (size_t i = 0; i < n; i++) {
        char utf8[6];
        int bytes = g_unichar_to_utf8(c[i], utf8);
        g_byte_array_append(e->word, (const guint8 *)utf8, (guint)bytes);
    }
    bpe_encode(e->tokenizer->bpe, &e->scratch, e->word->data, e->word->len, e->ids);
}

/* Text without special tokens. */
static void encode_plain(struct encoding *e, const char *text, size_t length)
{
    g_array_set_size(e->chars, 0);
    normalize_decode(text, length, e->chars);
    normalize_chars(e->chars);
    const gunichar *c = (const gunichar *)e->chars->data;
    for (size_t i = 0, step; i < e->chars->len; i += step) {
        size_t left = e->chars->len - i;
        step = 0;
        if (c[i] == '<' && (step = match_ascii(c + i, left, BOS_TEXT)) == 0)
            step = match_ascii(c + i, left, EOS_TEXT);
        if (step) {
            /* Once in other case ("<|ENDOFTEXT|>"): transformers' first split takes it as one
             * piece and its second one divides that. */
            encode_word(e, c + i, 2);
            encode_word(e, c + i + 2, step - 4);
            encode_word(e, c + i + step - 2, 2);
            continue;
        }
        step = word_length(c + i, left);
        if (step)
            encode_word(e, c + i, step);
        else
            step = 1;
    }
}

static const struct special *special_at(const struct tokenizer *t, const char *text, size_t left)
{
    for (int i = 0; i < t->specials; i++) {
        const struct special *s = &t->special[i];
        if (s->length <= left && text[0] == s->text[0] && memcmp(text, s->text, s->length) == 0)
            return s;
    }
    return NULL;
}

void tokenizer_encode(const struct tokenizer *t, const char *text, gssize length, GArray *ids)
{
    struct encoding e = {.tokenizer = t, .ids = ids};
    size_t n = length < 0 ? strlen(text) : (size_t)length, start = 0;
    bpe_scratch_init(&e.scratch);
    e.chars = g_array_new(FALSE, FALSE, sizeof(gunichar));
    e.word = g_byte_array_new();
    for (size_t i = 0; i < n;) {
        const struct special *s = special_at(t, text + i, n - i);
        if (!s) {
            i++;
            continue;
        }
        encode_plain(&e, text + start, i - start);
        g_array_append_val(ids, s->id);
        i += s->length;
        start = i;
    }
    encode_plain(&e, text + start, n - start);
    bpe_scratch_finish(&e.scratch);
    g_array_free(e.chars, TRUE);
    g_byte_array_free(e.word, TRUE);
}
