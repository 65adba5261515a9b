/*
 * Names and whole files: see save.h. The order that a power cut cannot break is write, fsync, name,
 * fsync of the folder. A writer holds a lock on its temporary file, so that save_sweep() of another
 * process (or a later start) knows a dead one's by getting the lock.
 */
#include "engine/save.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/engine.h"
#include "engine/metadata_private.h"

#define TEMPORARY_PREFIX ".figment-"
#define TEMPORARY_SUFFIX ".tmp"
#define NUMBER_TOKEN "[number]"
#define COMPONENT_BYTES_MAX 200 /* file systems allow 255; an ending and a number come on top */
#define PROMPT_WORDS_MAX 8      /* as A1111 */
#define TRIES_MAX 100000
#define DEFAULT_PATTERN "[number]-[seed]"

/* ---- names ---- */

/* A1111's sanitize_filename_part(): what file systems or shells take badly becomes "_". */
static void append_part(GString *out, const char *text, bool replace_spaces)
{
    const char *start = text + strspn(text, " ");

    for (const char *p = start; *p; p = g_utf8_next_char(p)) {
        gunichar c = g_utf8_get_char(p);

        if (c < 0x20 || c == 0x7f || (c < 0x80 && strchr("#<>:\"/\\|?*", (int)c)) ||
            (replace_spaces && c == ' '))
            g_string_append_c(out, '_');
        else
            g_string_append_unichar(out, c);
    }
}

static void append_words(GString *out, const char *text)
{
    g_autoptr(GString) words = g_string_new(NULL);
    int n = 0;

    for (const char *p = text; *p && n <= PROMPT_WORDS_MAX;) {
        const char *start = p;

        while (*p && !g_unichar_isspace(g_utf8_get_char(p)) &&
               !((guchar)*p < 0x80 && g_ascii_ispunct(*p)))
            p = g_utf8_next_char(p);
        if (p > start && n++ < PROMPT_WORDS_MAX) {
            g_string_append_len(words, " ", n > 1);
            g_string_append_len(words, start, p - start);
        }
        if (*p)
            p = g_utf8_next_char(p);
    }
    append_part(out, words->len ? words->str : "empty", false);
}

static void append_number(GString *out, double value)
{
    g_autofree char *text = metadata_number(value);

    g_string_append(out, text);
}

static void append_time(GString *out, const char *format)
{
    g_autoptr(GDateTime) now = g_date_time_new_now_local();
    g_autofree char *text = g_date_time_format(now, format);

    append_part(out, text ? text : "", false);
}

static bool is_token(const char *token, size_t length, const char *name)
{
    return strlen(name) == length && strncmp(token, name, length) == 0;
}

/* Appends the value of the token between the brackets; false when it is not known. */
static bool append_token(GString *out, const char *token, size_t length, const struct request *s,
                         const struct metadata_model *model, int batch_number)
{
    const char *prompt = s->prompt ? s->prompt : "";

#define IS(name) is_token(token, length, name)
    if (IS("seed"))
        g_string_append_printf(out, "%" G_GUINT64_FORMAT, s->seed);
    else if (IS("steps"))
        append_number(out, s->steps);
    else if (IS("cfg"))
        append_number(out, s->cfg);
    else if (IS("width"))
        append_number(out, s->width);
    else if (IS("height"))
        append_number(out, s->height);
    else if (IS("clip_skip"))
        append_number(out, s->clip_skip);
    else if (IS("denoising"))
        append_number(out, s->init_path ? s->strength : 0);
    else if (IS("batch_number") || IS("generation_number"))
        append_number(out, batch_number + 1);
    else if (IS("sampler"))
        append_part(out, s->sampler ? s->sampler : "", false);
    else if (IS("scheduler"))
        append_part(out, s->schedule ? s->schedule : "", false);
    else if (IS("model_name"))
        append_part(out, model && model->name ? model->name : "", false);
    else if (IS("model_hash"))
        append_part(out, model && model->hash ? model->hash : "", false);
    else if (IS("prompt"))
        append_part(out, prompt, true);
    else if (IS("prompt_spaces"))
        append_part(out, prompt, false);
    else if (IS("prompt_words"))
        append_words(out, prompt);
    else if (IS("negative"))
        append_part(out, s->negative ? s->negative : "", true);
    else if (IS("date"))
        append_time(out, "%Y-%m-%d");
    else if (IS("datetime"))
        append_time(out, "%Y%m%d%H%M%S");
    else if (length > 10 && g_str_has_prefix(token, "datetime<") && token[length - 1] == '>') {
        g_autofree char *format = g_strndup(token + 9, length - 10);

        append_time(out, format);
    } else {
        return false;
    }
#undef IS
    return true;
}

/* Cuts at a character, drops what Windows and hidden files would stumble over, refuses "..". */
static void finish_component(GString *out, size_t start)
{
    if (out->len - start > COMPONENT_BYTES_MAX) {
        const char *cut =
            g_utf8_find_prev_char(out->str, out->str + start + COMPONENT_BYTES_MAX + 1);

        g_string_truncate(out, (gsize)(cut - out->str));
    }
    while (out->len > start && strchr(" .", out->str[out->len - 1]))
        g_string_truncate(out, out->len - 1);
    if (out->len > start && out->str[start] == '.')
        out->str[start] = '_';
}

char *save_expand(const char *pattern, const struct request *settings,
                  const struct metadata_model *model, int batch_number)
{
    GString *out = g_string_new(NULL);
    size_t start = 0;

    for (const char *p = pattern ? pattern : DEFAULT_PATTERN; *p;) {
        const char *end = *p == '[' ? strchr(p, ']') : NULL;

        if (*p == '/') {
            finish_component(out, start);
            if (out->len > start)
                g_string_append_c(out, '/');
            start = out->len;
            p++;
        } else if (end &&
                   append_token(out, p + 1, (size_t)(end - p - 1), settings, model, batch_number)) {
            p = end + 1;
        } else {
            g_string_append_c(out, *p++);
        }
    }
    finish_component(out, start);
    if (out->len == start)
        g_string_append(out, "picture");
    return g_string_free(out, FALSE);
}

/* Takes a known ending off; the format it asks for. */
static void take_extension(char *name, enum picture_format *format)
{
    static const struct {
        const char *ending;
        enum picture_format format;
    } known[] = {{".png", PICTURE_PNG}, {".jpg", PICTURE_JPEG}, {".jpeg", PICTURE_JPEG}};

    for (gsize i = 0; i < G_N_ELEMENTS(known); i++) {
        size_t length = strlen(name), ending = strlen(known[i].ending);

        if (length > ending && g_ascii_strcasecmp(name + length - ending, known[i].ending) == 0) {
            name[length - ending] = '\0';
            *format = known[i].format;
            return;
        }
    }
}

void save_split_output(const char *output, char **folder, char **pattern, char **exact,
                       enum picture_format *format)
{
    const char *bracket = strchr(output, '['), *slash;
    g_autofree char *stem = NULL;

    if (!bracket && (g_str_has_suffix(output, "/") || g_file_test(output, G_FILE_TEST_IS_DIR))) {
        *folder = g_strdup(output);
        return;
    }
    stem = g_strdup(output);
    take_extension(stem, format);
    if (!bracket) {
        *exact = g_strconcat(stem,
                             strlen(stem) < strlen(output) ? output + strlen(stem)
                             : *format == PICTURE_JPEG     ? ".jpg"
                                                           : ".png",
                             NULL);
        return;
    }
    /* What stands before the first token is the user's own path; below it a pattern is confined. */
    slash = g_strrstr_len(stem, bracket - output, "/");
    *folder = slash ? g_strndup(stem, (gsize)(slash + 1 - stem)) : g_strdup(".");
    *pattern = g_strdup(slash ? slash + 1 : stem);
}

/* ---- whole files ---- */

static bool fail_disk(GError **error, const char *folder, size_t bytes, int code)
{
    struct statvfs fs;
    g_autofree char *need = g_format_size(bytes);

    if (code == ENOSPC || code == EDQUOT) {
        g_autofree char *free_space =
            statvfs(folder, &fs) == 0 ? g_format_size((guint64)fs.f_bavail * fs.f_frsize) : NULL;

        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_DISK,
                    _("Can't save into “%s”: the disk is full (the file needs %s, %s are free)."),
                    folder, need, free_space ? free_space : _("0 bytes"));
    } else {
        g_set_error(error, ENGINE_ERROR, ENGINE_ERROR_DISK,
                    _("Can't save into “%s”: %s (%s to write)."), folder, g_strerror(code), need);
    }
    return false;
}

static bool write_all(int fd, const guint8 *data, size_t size)
{
    while (size) {
        ssize_t n = write(fd, data, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        if (n == 0) {
            errno = EIO;
            return false;
        }
        data += n;
        size -= (size_t)n;
    }
    return true;
}

/* A new locked file in the folder; its name goes to *name. -1 and errno on failure. */
static int create_temporary(int dir, char **name)
{
    for (int i = 0; i < TRIES_MAX; i++) {
        g_autofree char *candidate = g_strdup_printf(TEMPORARY_PREFIX "%d-%08x" TEMPORARY_SUFFIX,
                                                     (int)getpid(), g_random_int());
        int fd = openat(dir, candidate, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
        struct stat st;

        if (fd < 0) {
            if (errno == EEXIST)
                continue;
            return -1;
        }
        flock(fd, LOCK_EX | LOCK_NB);
        /* A sweeper may have come between the two calls. */
        if (fstat(fd, &st) == 0 && st.st_nlink > 0) {
            *name = g_steal_pointer(&candidate);
            return fd;
        }
        close(fd);
    }
    errno = EEXIST;
    return -1;
}

/* Gives the temporary file its name; with errno EEXIST when that is taken. */
static bool give_name(int dir, const char *temporary, const char *name, bool replace)
{
    if (replace)
        return renameat(dir, temporary, dir, name) == 0;
    if (renameat2(dir, temporary, dir, name, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    /* A file system without it: a hard link does not overwrite either. */
    return linkat(dir, temporary, dir, name, 0) == 0 && (unlinkat(dir, temporary, 0), true);
}

/* The next candidate after a name was taken; NULL ends the search. */
typedef char *(*next_name_fn)(int try, void *user);

static bool save_named(const char *folder, GBytes *bytes, bool replace, next_name_fn next,
                       void *user, char **final, GError **error)
{
    gsize size;
    const guint8 *data = g_bytes_get_data(bytes, &size);
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1, code = 0;
    g_autofree char *temporary = NULL, *name = NULL;
    bool named = false;

    if (dir < 0)
        return fail_disk(error, folder, size, errno);
    if ((fd = create_temporary(dir, &temporary)) < 0 || !write_all(fd, data, size) ||
        fsync(fd) != 0) {
        code = errno;
    } else {
        for (int i = 0; !named && (name = next(i, user)); i++) {
            named = give_name(dir, temporary, name, replace);
            code = named ? 0 : errno;
            if (!named)
                g_clear_pointer(&name, g_free);
            if (!named && code != EEXIST)
                break;
        }
        if (named && fsync(dir) != 0) {
            code = errno;
            unlinkat(dir, name, 0); /* not known to last: it counts as not saved */
        }
    }
    if (!named && temporary)
        unlinkat(dir, temporary, 0);
    if (fd >= 0)
        close(fd);
    close(dir);
    if (code || !named)
        return fail_disk(error, folder, size, code ? code : EEXIST);
    if (final)
        *final = g_build_filename(folder, name, NULL);
    return true;
}

static char *one_name(int try, void *user)
{
    return try == 0 ? g_strdup(user) : NULL;
}

bool save_bytes(const char *path, GBytes *bytes, bool replace, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(path), *name = g_path_get_basename(path);

    return save_named(folder, bytes, replace, one_name, name, NULL, error);
}

void save_cache(const char *path, GKeyFile *keys)
{
    g_autofree char *folder = g_path_get_dirname(path);
    gsize length;
    char *text = g_key_file_to_data(keys, &length, NULL);
    g_autoptr(GBytes) bytes = g_bytes_new_take(text, length);

    if (g_mkdir_with_parents(folder, 0700) == 0)
        save_bytes(path, bytes, true, NULL);
}

/* ---- pictures ---- */

struct naming {
    const char *stem, *extension; /* stem may hold NUMBER_TOKEN */
    int first;
};

static char *pattern_name(int try, void *user)
{
    struct naming *n = user;
    const char *token = strstr(n->stem, NUMBER_TOKEN);

    if (try >= TRIES_MAX)
        return NULL;
    if (token)
        return g_strdup_printf("%.*s%05d%s.%s", (int)(token - n->stem), n->stem, n->first + try,
                               token + strlen(NUMBER_TOKEN), n->extension);
    if (try == 0)
        return g_strdup_printf("%s.%s", n->stem, n->extension);
    return g_strdup_printf("%s-%d.%s", n->stem, try + 1, n->extension);
}

/* One more than the largest number that stands where the pattern has it. */
static int first_number(const char *folder, const char *stem)
{
    const char *token = strstr(stem, NUMBER_TOKEN), *name;
    g_autoptr(GDir) dir = token ? g_dir_open(folder, 0, NULL) : NULL;
    gint64 largest = -1;

    while (dir && (name = g_dir_read_name(dir))) {
        const char *digits = name + (token - stem);
        char *end;
        gint64 number;

        if (strncmp(name, stem, (size_t)(token - stem)) != 0 || !g_ascii_isdigit(*digits))
            continue;
        number = g_ascii_strtoll(digits, &end, 10);
        if (end - digits >= 5 && number < G_MAXINT - TRIES_MAX)
            largest = MAX(largest, number);
    }
    return (int)largest + 1;
}

static GBytes *encode(const struct picture *picture, const struct request *s,
                      const struct metadata_model *model, GError **error)
{
    g_autofree char *parameters = s->no_metadata ? NULL : metadata_write(s, model);

    if (s->format == PICTURE_JPEG)
        return picture_encode_jpeg(picture, s->quality ? s->quality : 90, parameters, error);
    return picture_encode_png(picture, parameters, error);
}

bool save_picture(const struct picture *picture, const struct request *settings,
                  const struct metadata_model *model, const struct save_target *target,
                  int batch_number, char **path, GError **error)
{
    g_autoptr(GBytes) bytes = encode(picture, settings, model, error);
    g_autofree char *relative = NULL, *whole = NULL, *folder = NULL, *stem = NULL;
    struct naming naming = {0};

    if (!bytes)
        return false;
    if (target->exact) {
        folder = g_path_get_dirname(target->exact);
    } else {
        relative = save_expand(target->pattern, settings, model, batch_number);
        whole = g_build_filename(target->folder, relative, NULL);
        folder = g_path_get_dirname(whole);
    }
    if (g_mkdir_with_parents(folder, 0755) != 0)
        return fail_disk(error, folder, g_bytes_get_size(bytes), errno);
    if (target->exact) {
        if (!save_bytes(target->exact, bytes, true, error))
            return false;
        if (path)
            *path = g_strdup(target->exact);
        return true;
    }
    stem = g_path_get_basename(whole);
    naming.stem = stem;
    naming.extension = settings->format == PICTURE_JPEG ? "jpg" : "png";
    naming.first = first_number(folder, stem);
    return save_named(folder, bytes, false, pattern_name, &naming, path, error);
}

void save_sweep(const char *folder)
{
    int dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    g_autoptr(GDir) entries = dir >= 0 ? g_dir_open(folder, 0, NULL) : NULL;
    const char *name;

    while (entries && (name = g_dir_read_name(entries))) {
        struct stat st;
        int fd;

        if (!g_str_has_prefix(name, TEMPORARY_PREFIX) || !g_str_has_suffix(name, TEMPORARY_SUFFIX))
            continue;
        fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == getuid() &&
            flock(fd, LOCK_EX | LOCK_NB) == 0)
            unlinkat(dir, name, 0);
        close(fd);
    }
    if (dir >= 0)
        close(dir);
}
