/*
 * The header of a safetensors file: rules ST04 to ST11. jansson reads the JSON; what it is more
 * lenient about than the format (depth, number forms, zero padding) is looked at first, in one pass
 * without memory.
 */
#include "weights/quote.h"
#include "weights/safetensors_private.h"

#include <glib/gi18n-lib.h>
#include <jansson.h>
#include <string.h>

enum {
    MAX_DEPTH = 4,
    MAX_TENSORS = 100000,
    MAX_NAME = 1024,
    MAX_VALUES =
        3000000, /* 100,000 tensors of rank 8 have 1.5 million; the rest is the description's */
};

static bool bad(const struct safetensors *st, GError **error, const char *why)
{
    return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error, "%s", why);
}

/* ST04: UTF-8, and the padding. */
static bool check_text(const struct safetensors *st, const char *text, size_t len, GError **error)
{
    size_t end = len;
    while (end > 0 && (strchr(" \t\n\r", text[end - 1]) || text[end - 1] == 0))
        end--;
    if (memchr(text + end, 0, len - end))
        return bad(st, error, _("its header is padded with zero bytes, which the format forbids."));
    if (memchr(text, 0, len) || !g_utf8_validate_len(text, len, NULL))
        return bad(st, error, _("its header is not valid text."));
    return true;
}

/* The JSON number at p is an integer without sign, fraction, exponent or leading zero, at most 2^63
 * - 1. Sets *next. */
static bool plain_integer(const char *p, const char *end, const char **next)
{
    const char *q = p;
    uint64_t value = 0;
    while (q < end && g_ascii_isdigit(*q)) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(*q - '0'), &value))
            return false;
        q++;
    }
    *next = q;
    bool leading_zero = q - p > 1 && *p == '0';
    return q > p && !leading_zero && value <= INT64_MAX && !(q < end && strchr(".eE+-", *q));
}

/* ST05 but for the duplicates. */
static bool check_tokens(const struct safetensors *st, const char *p, size_t len, GError **error)
{
    unsigned depth = 0;
    size_t values = 0;
    for (const char *end = p + len; p < end;) {
        char c = *p++;
        if (c == '"') {
            while (p < end && *p != '"')
                p += *p == '\\' && p + 1 < end ? 2 : 1;
            p += p < end;
        } else if (c == '{' || c == '[') {
            values++;
            if (++depth > MAX_DEPTH)
                return bad(st, error, _("its header is nested too deeply."));
        } else if (c == '}' || c == ']') {
            depth -= depth > 0;
        } else if (c == '-' || g_ascii_isdigit(c)) {
            if (!plain_integer(p - 1, end, &p))
                return bad(st, error,
                           _("its header holds a number that is not a plain whole number."));
        } else if (c == ',') {
            values++;
        }
        if (values > MAX_VALUES)
            return bad(st, error, _("its header holds too many values."));
    }
    return true;
}

/* The key that jansson found to be a duplicate: it has just read its closing quote. */
static char *duplicate_key(const char *text, size_t len, int position)
{
    if (position < 2 || (size_t)position > len || text[position - 1] != '"')
        return weights_quote("", 0);
    size_t start = (size_t)position - 1;
    while (start > 0) {
        start--;
        size_t slashes = 0;
        while (slashes < start && text[start - 1 - slashes] == '\\')
            slashes++;
        if (text[start] == '"' && slashes % 2 == 0)
            break;
    }
    json_t *key = json_loadb(text + start, (size_t)position - start, JSON_DECODE_ANY, NULL);
    char *quoted =
        json_is_string(key) ? weights_quote(json_string_value(key), -1) : weights_quote("", 0);
    json_decref(key);
    return quoted;
}

static json_t *parse_json(const struct safetensors *st, const char *text, size_t len,
                          GError **error)
{
    json_error_t e;
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (!root && json_error_code(&e) == json_error_duplicate_key) {
        g_autofree char *key = duplicate_key(text, len, e.position);
        st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error, _("%s is defined twice in its header."), key);
    } else if (!root && json_error_code(&e) == json_error_null_byte_in_key) {
        bad(st, error, _("it contains an invalid tensor name."));
    } else if (!json_is_object(root)) {
        bad(st, error, _("its header is not valid text."));
        json_decref(root);
        root = NULL;
    }
    return root;
}

static char *copy_value(const json_t *value)
{
    GString *s = g_string_new(NULL);
    const char *p = json_string_value(value), *end = p + json_string_length(value);
    for (; p < end; p++) {
        if (*p)
            g_string_append_c(s, *p);
        else
            g_string_append(s, "\xef\xbf\xbd");
    }
    return g_string_free(s, FALSE);
}

/* ST06 */
static bool read_metadata(struct safetensors *st, json_t *root, GError **error)
{
    json_t *block = json_object_get(root, "__metadata__"), *value;
    const char *key;
    if (!block)
        return true;
    if (!json_is_object(block))
        return bad(st, error, _("its description block is malformed."));
    st->metadata = g_new0(struct st_pair, json_object_size(block) + 1);
    json_object_foreach(block, key, value)
    {
        if (!json_is_string(value))
            return bad(st, error, _("its description block is malformed."));
        st->metadata[st->metadata_count++] = (struct st_pair){g_strdup(key), copy_value(value)};
    }
    return true;
}

/* ST07 */
static bool valid_name(const char *name)
{
    size_t len = strlen(name);
    if (len < 1 || len > MAX_NAME)
        return false;
    for (const char *p = name; *p; p = g_utf8_next_char(p))
        if (g_unichar_iscntrl(g_utf8_get_char(p)))
            return false;
    return true;
}

static bool check_names(struct safetensors *st, json_t *root, GError **error)
{
    const char *key;
    json_t *value;
    size_t bytes = 0, count = 0;
    json_object_foreach(root, key, value)
    {
        if (!strcmp(key, "__metadata__"))
            continue;
        if (!valid_name(key))
            return bad(st, error, _("it contains an invalid tensor name."));
        bytes += strlen(key) + 1;
        count++;
    }
    if (count > MAX_TENSORS)
        return bad(st, error, _("it lists more than 100,000 tensors."));
    st->names = g_malloc(bytes + 1);
    st->tensors = g_new0(struct st_tensor, count + 1);
    st->by_name = g_new0(uint32_t, count + 1);
    st->count = count;
    return true;
}

static bool is_integers(const json_t *array)
{
    if (!json_is_array(array))
        return false;
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!json_is_integer(json_array_get(array, i)))
            return false;
    return true;
}

/* ST08 */
static bool check_entry(struct safetensors *st, const char *name, json_t *entry, GError **error)
{
    if (!json_is_object(entry) || !json_is_string(json_object_get(entry, "dtype")) ||
        !is_integers(json_object_get(entry, "shape")) ||
        !is_integers(json_object_get(entry, "data_offsets")) ||
        json_array_size(json_object_get(entry, "data_offsets")) != 2) {
        g_autofree char *quoted = weights_quote(name, -1);
        return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error, _("the entry for %s is incomplete."),
                         quoted);
    }
    st->ignored_fields += json_object_size(entry) - 3;
    return true;
}

/* ST09 */
static bool read_dtype(const char *name, const json_t *dtype, enum st_dtype *out, GError **error)
{
    const char *text = json_string_value(dtype);
    for (int i = 0; i < ST_DTYPE_COUNT; i++)
        if (!strcmp(text, st_dtype_name(i)) && json_string_length(dtype) == strlen(text)) {
            *out = i;
            return true;
        }
    g_autofree char *quoted = weights_quote(name, -1), *format = weights_escape(text, -1);
    g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_UNSUPPORTED,
                _("%s uses the number format %s, which this version can't read."), quoted, format);
    return false;
}

/* ST10; leaves `offset` counted from the start of the data. */
static bool read_shape(struct safetensors *st, struct st_tensor *t, const json_t *entry,
                       GError **error)
{
    const json_t *shape = json_object_get(entry, "shape"),
                 *offsets = json_object_get(entry, "data_offsets");
    uint64_t begin = (uint64_t)json_integer_value(json_array_get(offsets, 0));
    uint64_t end = (uint64_t)json_integer_value(json_array_get(offsets, 1));
    uint64_t count = 1, bits = 0;
    bool ok = json_array_size(shape) <= ST_MAX_RANK;
    for (size_t i = 0; ok && i < json_array_size(shape); i++) {
        t->dims[i] = (uint64_t)json_integer_value(json_array_get(shape, i));
        t->rank++;
        ok = !__builtin_mul_overflow(count, t->dims[i], &count);
    }
    ok = ok && !__builtin_mul_overflow(count, (uint64_t)st_dtype_bits(t->dtype), &bits);
    if (!ok || bits % 8 || end < begin || end - begin != bits / 8) {
        g_autofree char *quoted = weights_quote(t->name, -1);
        return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error,
                         _("the size of %s does not match its shape."), quoted);
    }
    t->count = count;
    t->offset = begin;
    t->size = end - begin;
    return true;
}

static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->size < y->size ? -1 : x->size > y->size;
}

/* ST11; the tensors are sorted. Turns `offset` into one from the start of the file. */
static bool check_places(struct safetensors *st, GError **error)
{
    uint64_t at = 0, have = st->file_size - st->header_size;
    for (size_t i = 0; i < st->count; i++) {
        struct st_tensor *t = &st->tensors[i];
        if (t->offset != at)
            return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error,
                             t->offset < at
                                 ? _("data overlaps; the file may have been tampered with.")
                                 : _("data has a gap; the file may have been tampered with."));
        at += t->size; /* ends are at most 2^63 - 1 each */
        t->offset += st->header_size;
    }
    if (at < have)
        return st_refuse(
            st, WEIGHTS_ERROR_BAD_FILE, error,
            _("data has %llu extra bytes after the end; the file may have been tampered with."),
            (unsigned long long)(have - at));
    if (at > have)
        return st_refuse(
            st, WEIGHTS_ERROR_BAD_FILE, error,
            _("the file is incomplete: %llu of %llu bytes are missing. Download it again."),
            (unsigned long long)(at - have), (unsigned long long)at);
    return true;
}

static int by_name(const void *a, const void *b, void *data)
{
    const struct safetensors *st = data;
    return strcmp(st->tensors[*(const uint32_t *)a].name, st->tensors[*(const uint32_t *)b].name);
}

static bool read_entries(struct safetensors *st, json_t *root, GError **error)
{
    const char *key;
    json_t *entry;
    size_t i = 0;
    char *name = st->names;
    json_object_foreach(root, key, entry)
    {
        if (!strcmp(key, "__metadata__"))
            continue;
        struct st_tensor *t = &st->tensors[i++];
        t->name = name;
        name = g_stpcpy(name, key) + 1;
        if (!check_entry(st, key, entry, error) ||
            !read_dtype(key, json_object_get(entry, "dtype"), &t->dtype, error) ||
            !read_shape(st, t, entry, error))
            return false;
    }
    qsort(st->tensors, st->count, sizeof *st->tensors, by_place);
    if (!check_places(st, error))
        return false;
    for (size_t j = 0; j < st->count; j++)
        st->by_name[j] = (uint32_t)j;
    /* Binary search, not a hash: names are the file's, and 100,000 of them can be made to collide.
     */
    g_qsort_with_data(st->by_name, (int)st->count, sizeof *st->by_name, by_name, st);
    return true;
}

bool st_header_parse(struct safetensors *st, const char *text, size_t len, GError **error)
{
    if (!check_text(st, text, len, error) || !check_tokens(st, text, len, error))
        return false;
    json_t *root = parse_json(st, text, len, error);
    if (!root)
        return false;
    bool ok = read_metadata(st, root, error) && check_names(st, root, error) &&
              read_entries(st, root, error);
    json_decref(root);
    if (ok && st->ignored_fields) {
        g_autofree char *quoted = weights_quote(st->label, -1);
        g_info("%s: %zu unknown fields in its header were ignored", quoted, st->ignored_fields);
    }
    return ok;
}
