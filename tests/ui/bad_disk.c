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

static int guarded(const char *symbol, int dir, const char *name, int flags, unsigned mode)
{
    openat_fn *real;
    int code = (flags & O_CREAT) && name[0] == '.' ? trouble() : 0;

    if (code) {
        errno = code;
        return -1;
    }
    *(void **)&real = dlsym(RTLD_NEXT, symbol);
    return real(dir, name, flags, mode);
}

static unsigned mode_of(int flags, va_list list)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(list, unsigned) : 0;
}

int openat(int dir, const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    unsigned mode = mode_of(flags, list);
    va_end(list);
    return guarded("openat", dir, name, flags, mode);
}

int openat64(int dir, const char *name, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    unsigned mode = mode_of(flags, list);
    va_end(list);
    return guarded("openat64", dir, name, flags, mode);
}
