#include "clip/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gio.h>
#include <sys/stat.h>
#include <unistd.h>

static char *refuse(const char *path, GError **error, const char *why)
{
    g_autofree char *shown = g_filename_display_basename(path);
    g_set_error(error, G_IO_ERROR, G_IO_ERROR_INVALID_DATA, "Can't open “%s”: %s", shown, why);
    return NULL;
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
        return refuse(path, error, g_strerror(errno));
    struct stat st;
    char *data = NULL;
    if (fstat(fd, &st) != 0) {
        refuse(path, error, g_strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        refuse(path, error, "it is not an ordinary file.");
    } else if ((guint64)st.st_size > limit) {
        g_autofree char *most = g_format_size_full(limit, G_FORMAT_SIZE_IEC_UNITS);
        g_autofree char *why = g_strdup_printf("it is larger than %s.", most);
        refuse(path, error, why);
    } else {
        data = read_all(fd, (size_t)st.st_size, length);
        if (!data)
            refuse(path, error, g_strerror(errno));
    }
    close(fd);
    return data;
}
