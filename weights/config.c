#include "weights/config.h"

#include "weights/quote.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MAX = 16 * 1024 * 1024, MAX_DEPTH = 64 };

static char *read_whole(int dir_fd, const char *name, const char *label, gsize *len, GError **error)
{
    g_autofree char *quoted = weights_quote(label, -1);
    struct stat info;
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    char *text = NULL;
    if (fd < 0) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_NOT_FOUND, _("Can't open %s: %s."), quoted,
                    errno == ENOENT ? _("there is no such file") : g_strerror(errno));
        return NULL;
    }
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it is not an ordinary file."), quoted);
    } else if (info.st_size > FILE_MAX) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it is too large (the limit is 16 MiB)."), quoted);
    } else {
        size_t size = (size_t)info.st_size, done = 0;
        text = g_malloc(size + 1);
        while (done < size) {
            ssize_t n = pread(fd, text + done, size - done, (off_t)done);
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0) {
                g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_CHANGED,
                            _("%s changed while it was being read."), quoted);
                g_clear_pointer(&text, g_free);
                break;
            }
            done += (size_t)n;
        }
        *len = done;
    }
    close(fd);
    return text;
}

/* jansson recurses up to 2,048 levels and makes a value of every comma; no configuration needs 64.
 */
static bool shallow(const char *p, gsize len)
{
    unsigned depth = 0;
    for (const char *end = p + len; p < end; p++) {
        if (*p == '"') {
            for (p++; p < end && *p != '"'; p++)
                p += *p == '\\';
        } else if (*p == '{' || *p == '[') {
            if (++depth > MAX_DEPTH)
                return false;
        } else if (*p == '}' || *p == ']') {
            depth -= depth > 0;
        }
    }
    return true;
}

json_t *config_load(int dir_fd, const char *name, const char *label, GError **error)
{
    gsize len = 0;
    g_autofree char *text = read_whole(dir_fd, name, label, &len, error);
    json_error_t e = {0};
    if (!text)
        return NULL;
    g_autofree char *quoted = weights_quote(label, -1);
    if (!shallow(text, len)) {
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it is nested too deeply."), quoted);
        return NULL;
    }
    json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
    /* transformers writes model_max_length as 1000000000000000019884624838656. */
    if (!root && json_error_code(&e) == json_error_numeric_overflow)
        root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &e);
    if (json_is_object(root))
        return root;
    if (root)
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it does not hold a JSON object."), quoted);
    else
        g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE,
                    _("Can't open %s: it is not valid JSON (line %d)."), quoted, e.line);
    json_decref(root);
    return NULL;
}

struct config config_init(const json_t *root, const char *label)
{
    return (struct config){.root = root, .label = label};
}

bool config_finish(struct config *c, GError **error)
{
    if (!c->error)
        return true;
    g_propagate_error(error, g_steal_pointer(&c->error));
    return false;
}

void config_fail(struct config *c, const char *format, ...)
{
    if (c->error)
        return;
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *label = weights_escape(c->label, -1);
    g_set_error(&c->error, WEIGHTS_ERROR, WEIGHTS_ERROR_BAD_FILE, "%s: %s", label, text);
}

static json_t *value_of(const struct config *c, const char *key)
{
    json_t *value = json_object_get(c->root, key);
    return json_is_null(value) ? NULL : value;
}

bool config_has(const struct config *c, const char *key)
{
    return value_of(c, key) != NULL;
}

/* Also reads whole reals: 1e3, and files that were loaded with JSON_DECODE_INT_AS_REAL. */
static bool to_int(const json_t *value, gint64 *out)
{
    if (json_is_integer(value)) {
        *out = json_integer_value(value);
        return true;
    }
    double real = json_is_real(value) ? json_real_value(value) : NAN;
    if (!(fabs(real) <= 0x1p53) || real != floor(real))
        return false;
    *out = (gint64)real;
    return true;
}

static bool int_in(struct config *c, const char *key, const json_t *value, gint64 min, gint64 max,
                   gint64 *out)
{
    gint64 n;
    if (!to_int(value, &n)) {
        config_fail(c, _("“%s” must be a whole number."), key);
        return false;
    }
    if (n < min || n > max) {
        config_fail(c, _("“%s” is %lld; it must be %lld to %lld."), key, (long long)n,
                    (long long)min, (long long)max);
        return false;
    }
    *out = n;
    return true;
}

gint64 config_int(struct config *c, const char *key, gint64 min, gint64 max, gint64 fallback)
{
    const json_t *value = value_of(c, key);
    gint64 n;
    return value && int_in(c, key, value, min, max, &n) ? n : fallback;
}

double config_number(struct config *c, const char *key, double min, double max, double fallback)
{
    const json_t *value = value_of(c, key);
    if (!value)
        return fallback;
    if (!json_is_number(value)) {
        config_fail(c, _("“%s” must be a number."), key);
        return fallback;
    }
    double x = json_number_value(value);
    if (!(x >= min && x <= max)) {
        char a[G_ASCII_DTOSTR_BUF_SIZE], b[G_ASCII_DTOSTR_BUF_SIZE], d[G_ASCII_DTOSTR_BUF_SIZE];
        config_fail(c, _("“%s” is %s; it must be %s to %s."), key,
                    g_ascii_formatd(d, sizeof d, "%g", x), g_ascii_formatd(a, sizeof a, "%g", min),
                    g_ascii_formatd(b, sizeof b, "%g", max));
        return fallback;
    }
    return x;
}

bool config_bool(struct config *c, const char *key, bool fallback)
{
    const json_t *value = value_of(c, key);
    if (!value)
        return fallback;
    if (!json_is_boolean(value)) {
        config_fail(c, _("“%s” must be true or false."), key);
        return fallback;
    }
    return json_is_true(value);
}

const char *config_string(struct config *c, const char *key, const char *fallback)
{
    const json_t *value = value_of(c, key);
    if (!value)
        return fallback;
    if (!json_is_string(value)) {
        config_fail(c, _("“%s” must be a text."), key);
        return fallback;
    }
    return json_string_value(value);
}

int config_choice(struct config *c, const char *key, const char *const *choices, int fallback)
{
    const char *text = config_string(c, key, NULL);
    if (!text)
        return fallback;
    for (int i = 0; choices[i]; i++)
        if (!strcmp(text, choices[i]))
            return i;
    g_autofree char *quoted = weights_quote(text, -1), *list = g_strjoinv(", ", (char **)choices);
    config_fail(c, _("“%s” is %s, which this version does not know (it knows: %s)."), key, quoted,
                list);
    return fallback;
}

/* The i-th of an array, or the value itself as the only one. */
static const json_t *element(const json_t *value, size_t i)
{
    return json_is_array(value) ? json_array_get(value, i) : value;
}

static size_t length(struct config *c, const char *key, const json_t *value, size_t room)
{
    size_t n = !value ? 0 : json_is_array(value) ? json_array_size(value) : 1;
    if (n <= room)
        return n;
    config_fail(c, _("“%s” has %zu values; at most %zu are possible."), key, n, room);
    return 0;
}

size_t config_ints(struct config *c, const char *key, gint64 min, gint64 max, gint64 *out,
                   size_t room)
{
    const json_t *value = value_of(c, key);
    size_t n = length(c, key, value, room);
    for (size_t i = 0; i < n; i++)
        if (!int_in(c, key, element(value, i), min, max, &out[i]))
            return 0;
    return n;
}

size_t config_strings(struct config *c, const char *key, const char **out, size_t room)
{
    const json_t *value = value_of(c, key);
    size_t n = length(c, key, value, room);
    for (size_t i = 0; i < n; i++) {
        out[i] = json_string_value(element(value, i));
        if (!out[i]) {
            config_fail(c, _("“%s” must be a list of texts."), key);
            return 0;
        }
    }
    return n;
}
