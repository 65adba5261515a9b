#include "weights/safetensors.h"

#include "weights/quote.h"
#include "weights/safetensors_private.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_MAX = 100000000, SNIFF = 512 };

static const char *const dtype_names[] = {
#define X(name, bits) #name,
    ST_DTYPES(X)
#undef X
};
static const unsigned char dtype_bits[] = {
#define X(name, bits) bits,
    ST_DTYPES(X)
#undef X
};

const char *st_dtype_name(enum st_dtype dtype)
{
    return dtype_names[dtype];
}

unsigned st_dtype_bits(enum st_dtype dtype)
{
    return dtype_bits[dtype];
}

bool st_refuse(const struct safetensors *st, int code, GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *why = g_strdup_vprintf(format, args);
    va_end(args);
    g_autofree char *name = weights_quote(st->label, -1);
    g_set_error(error, WEIGHTS_ERROR, code, _("Can't open %s: %s"), name, why);
    return false;
}

bool safetensors_read(const struct safetensors *st, uint64_t offset, void *dst, size_t size,
                      GError **error)
{
    uint64_t end;
    g_return_val_if_fail(!__builtin_add_overflow(offset, size, &end) && end <= st->file_size,
                         false);
    for (size_t done = 0; done < size;) {
        ssize_t n =
            pread(st->fd, (char *)dst + done, MIN(size - done, 1u << 30), (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            g_autofree char *name = weights_quote(st->label, -1);
            if (n == 0)
                g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_CHANGED,
                            _("%s changed while it was being read."), name);
            else
                g_set_error(error, WEIGHTS_ERROR, WEIGHTS_ERROR_CHANGED,
                            _("%s could not be read: %s."), name, g_strerror(errno));
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static bool starts_with(const unsigned char *bytes, size_t n, const char *magic)
{
    size_t len = strlen(magic);
    return n >= len && memcmp(bytes, magic, len) == 0;
}

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* A header length can look like a magic number (640 is 80 02): a length has four zero bytes above
 * it and JSON after. */
static bool looks_like_safetensors(const unsigned char *b, size_t n)
{
    return n >= 10 && !(b[4] | b[5] | b[6] | b[7]) && (b[8] == '{' || is_space(b[8]));
}

static bool is_web_page(const unsigned char *b, size_t n)
{
    static const char *const pages[] = {"Entry not found", "Invalid username or password",
                                        "Access to model"};
    for (size_t i = 0; i < G_N_ELEMENTS(pages); i++)
        if (starts_with(b, n, pages[i]))
            return true;
    size_t at = starts_with(b, n, "\xef\xbb\xbf") ? 3 : 0;
    while (at < n && is_space(b[at]))
        at++;
    static const char *const tags[] = {"<!doctype", "<html", "<head", "<?xml", "<!--"};
    for (size_t i = 0; i < G_N_ELEMENTS(tags); i++)
        if (n - at >= strlen(tags[i]) &&
            !g_ascii_strncasecmp((const char *)b + at, tags[i], strlen(tags[i])))
            return true;
    return false;
}

/* ST02: files that people mistake for a model, each with what to do about it. */
static bool refuse_magic(const struct safetensors *st, const unsigned char *b, size_t n,
                         GError **error)
{
    if (looks_like_safetensors(b, n))
        return true;
    bool zip = starts_with(b, n, "PK\x03\x04") || starts_with(b, n, "PK\x05\x06");
    bool pickle = n >= 2 && b[0] == 0x80 && b[1] >= 1 && b[1] <= 5;
    if (zip || pickle)
        return st_refuse(
            st, WEIGHTS_ERROR_UNSUPPORTED, error,
            _("this is a PyTorch pickle file, which can run programs on your computer. Use a "
              ".safetensors version of the model."));
    if (starts_with(b, n, "GGUF"))
        return st_refuse(
            st, WEIGHTS_ERROR_UNSUPPORTED, error,
            _("this is a GGUF file, which this version can't read. Use a .safetensors version "
              "of the model."));
    bool lfs = starts_with(b, n, "version https://git-lfs");
    if (lfs || is_web_page(b, n)) {
        g_autofree char *text = g_strndup((const char *)b, n);
        const char *line = lfs ? strstr(text, "\nsize ") : NULL;
        guint64 size = line ? g_ascii_strtoull(line + strlen("\nsize "), NULL, 10) : 0;
        g_autofree char *amount = size ? weights_size_text(size) : NULL;
        if (!amount)
            return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error,
                             _("this is a download page or Git-LFS placeholder, not the model. "
                               "Download the real file."));
        return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error,
                         _("this is a download page or Git-LFS placeholder, not the model. "
                           "Download the real file (%s)."),
                         amount);
    }
    return true;
}

/* ST02 and ST03; sets header_size. */
static bool check_start(struct safetensors *st, GError **error)
{
    unsigned char b[SNIFF];
    size_t n = MIN(st->file_size, sizeof b);
    if (!safetensors_read(st, 0, b, n, error) || !refuse_magic(st, b, n, error))
        return false;
    if (st->file_size < 8)
        return st_refuse(
            st, WEIGHTS_ERROR_BAD_FILE, error,
            _("the file is damaged or incomplete (it has only %llu bytes). Download it again."),
            (unsigned long long)st->file_size);
    uint64_t len = 0;
    for (int i = 7; i >= 0; i--)
        len = len << 8 | b[i];
    if (len < 2 || len > HEADER_MAX || len > st->file_size - 8)
        return st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error,
                         _("the file is damaged or incomplete (its header claims %llu bytes, the "
                           "file has %llu). Download it again."),
                         (unsigned long long)len, (unsigned long long)st->file_size);
    /* Before the whole header is read: what does not even start as one is not worth 100 MB of
     * memory. */
    size_t at = 8, seen = MIN(n, 8 + len);
    while (at < seen && is_space(b[at]))
        at++;
    if (at < seen && b[at] != '{')
        return st_refuse(
            st, WEIGHTS_ERROR_BAD_FILE, error,
            b[at] ? _("its header is not valid text.")
                  : _("its header is padded with zero bytes, which the format forbids."));
    st->header_size = 8 + len;
    return true;
}

struct safetensors *safetensors_open_fd(int fd, const char *label, GError **error)
{
    struct safetensors *st = g_new0(struct safetensors, 1);
    char *text = NULL;
    struct stat info;
    st->refs = 1;
    st->fd = fd;
    st->label = g_strdup(label);
    if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode)) {
        st_refuse(st, WEIGHTS_ERROR_BAD_FILE, error, _("it is not an ordinary file."));
        goto fail;
    }
    st->file_size = (uint64_t)info.st_size;
    if (!check_start(st, error))
        goto fail;
    size_t len = (size_t)(st->header_size - 8);
    text = g_try_malloc(len);
    if (!text) {
        st_refuse(st, WEIGHTS_ERROR_NO_MEMORY, error,
                  _("there is not enough memory to read its header."));
        goto fail;
    }
    if (!safetensors_read(st, 8, text, len, error) || !st_header_parse(st, text, len, error))
        goto fail;
    g_free(text);
    return st;
fail:
    g_free(text);
    safetensors_close(st);
    return NULL;
}

struct safetensors *safetensors_open_at(int dir_fd, const char *name, const char *label,
                                        GError **error)
{
    /* O_NONBLOCK: opening a FIFO that nobody writes to must not hang. */
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0)
        return safetensors_open_fd(fd, label, error);
    int e = errno;
    struct safetensors st = {.label = (char *)label};
    if (e == ENOENT || e == ENOTDIR)
        st_refuse(&st, WEIGHTS_ERROR_NOT_FOUND, error, _("there is no such file."));
    else if (e == EACCES || e == EPERM)
        st_refuse(&st, WEIGHTS_ERROR_NOT_FOUND, error, _("you have no permission to read it."));
    else if (e == ENXIO || e == ENODEV) /* a socket, or a device without a driver */
        st_refuse(&st, WEIGHTS_ERROR_BAD_FILE, error, _("it is not an ordinary file."));
    else
        st_refuse(&st, WEIGHTS_ERROR_NOT_FOUND, error, "%s.", g_strerror(e));
    return NULL;
}

struct safetensors *safetensors_open(const char *path, GError **error)
{
    g_autofree char *label = g_path_get_basename(path);
    return safetensors_open_at(AT_FDCWD, path, label, error);
}

struct safetensors *safetensors_ref(struct safetensors *st)
{
    g_atomic_int_inc(&st->refs);
    return st;
}

void safetensors_close(struct safetensors *st)
{
    if (!st || !g_atomic_int_dec_and_test(&st->refs))
        return;
    for (size_t i = 0; i < st->metadata_count; i++) {
        g_free(st->metadata[i].key);
        g_free(st->metadata[i].value);
    }
    g_free(st->metadata);
    g_free(st->tensors);
    g_free(st->by_name);
    g_free(st->names);
    g_free(st->label);
    if (st->fd >= 0)
        close(st->fd);
    g_free(st);
}

const char *safetensors_label(const struct safetensors *st)
{
    return st->label;
}

size_t safetensors_count(const struct safetensors *st)
{
    return st->count;
}

const struct st_tensor *safetensors_tensor(const struct safetensors *st, size_t i)
{
    g_return_val_if_fail(i < st->count, NULL);
    return &st->tensors[i];
}

const struct st_tensor *safetensors_find(const struct safetensors *st, const char *name)
{
    size_t low = 0, high = st->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        const struct st_tensor *t = &st->tensors[st->by_name[mid]];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return NULL;
}

const struct st_tensor *safetensors_find_part(const struct safetensors *st, const char *prefix,
                                              const char *format, ...)
{
    char name[256];
    va_list args;
    va_start(args, format);
    size_t n = g_strlcpy(name, prefix, sizeof name);
    g_vsnprintf(name + n, sizeof name - n, format, args);
    va_end(args);
    return safetensors_find(st, name);
}

size_t safetensors_metadata_count(const struct safetensors *st)
{
    return st->metadata_count;
}

const char *safetensors_metadata_key(const struct safetensors *st, size_t i)
{
    g_return_val_if_fail(i < st->metadata_count, NULL);
    return st->metadata[i].key;
}

const char *safetensors_metadata_value(const struct safetensors *st, size_t i)
{
    g_return_val_if_fail(i < st->metadata_count, NULL);
    return st->metadata[i].value;
}

const char *safetensors_metadata(const struct safetensors *st, const char *key)
{
    for (size_t i = 0; i < st->metadata_count; i++)
        if (!strcmp(st->metadata[i].key, key))
            return st->metadata[i].value;
    return NULL;
}

uint64_t safetensors_file_size(const struct safetensors *st)
{
    return st->file_size;
}

uint64_t safetensors_header_size(const struct safetensors *st)
{
    return st->header_size;
}
