#include "clip/text_file.h"

#include "weights/quote.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <sys/stat.h>
#include <unistd.h>

static char *refuse(const char *path, GError **error, enum weights_error code, const char *why)
{
    g_autofree char *name = weights_quote_path(path);
    g_set_error(error, WEIGHTS_ERROR, code, _("Can't open %s: %s"), name, why);
    return NULL;
}

static char *refuse_errno(const char *path, GError **error, enum weights_error code)
{
    g_autofree char *why = g_strconcat(g_strerror(errno), ".", NULL);
    return refuse(path, error, code, why);
}

static char *read_all(int fd, size_t size, size_t *length)
{
    char *data = g_malloc(size + 1);
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(fd, data + have, size - have);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            g_free(data);
            return NULL;
        }
        if (got == 0)
            break;
        have += (size_t)got;
    }
    data[have] = '\0';
    if (length)
        *length = have;
    return data;
}

char *text_file_read(const char *path, size_t limit, size_t *length, GError **error)
{
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return refuse_errno(path, error, WEIGHTS_ERROR_NOT_FOUND);
    struct stat st;
    char *data = NULL;
    if (fstat(fd, &st) != 0) {
        refuse_errno(path, error, WEIGHTS_ERROR_CHANGED);
    } else if (!S_ISREG(st.st_mode)) {
        refuse(path, error, WEIGHTS_ERROR_BAD_FILE, _("it is not an ordinary file."));
    } else if ((guint64)st.st_size > limit) {
        g_autofree char *most = weights_size_text(limit);
        g_autofree char *why = g_strdup_printf(_("it is larger than %s."), most);
        refuse(path, error, WEIGHTS_ERROR_BAD_FILE, why);
    } else {
        data = read_all(fd, (size_t)st.st_size, length);
        if (!data)
            refuse_errno(path, error, WEIGHTS_ERROR_CHANGED);
    }
    close(fd);
    return data;
}
