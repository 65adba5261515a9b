/*
 * Loaded before the program (LD_PRELOAD): while the file named by FIGMENT_TEST_DISK holds an errno,
 * new files of pictures cannot be made, and that is why. So a full or read-only disk can be had
 * without being root.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int openat_fn(int dir, const char *name, int flags, ...);

static int trouble(void)
{
    const char *path = getenv("FIGMENT_TEST_DISK");
    FILE *file = path ? fopen(path, "r") : NULL;
    int code = 0;

    if (file && fscanf(file, "%d", &code) != 1)
        code = 0;
    if (file)
        fclose(file);
    return code;
}

int openat(int dir, const char *name, int flags, ...)
{
    openat_fn *real;
    unsigned mode = 0;
    va_list list;
    int code = (flags & O_CREAT) && name[0] == '.' ? trouble() : 0;

    if (code) {
        errno = code;
        return -1;
    }
    va_start(list, flags);
    if (flags & (O_CREAT | O_TMPFILE))
        mode = va_arg(list, unsigned);
    va_end(list);
    *(void **)&real = dlsym(RTLD_NEXT, "openat64"); /* the same as openat on 64-bit systems */
    return real(dir, name, flags, mode);
}

int openat64(int dir, const char *name, int flags, ...) __attribute__((alias("openat")));
