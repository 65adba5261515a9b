#include "engine/hash.h"

#include <glib.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/library.h"

#define WAIT_BYTES ((int64_t)256 << 20) /* a file whose hash is worth waiting for */

struct hash {
    char *path;
    char *value;
    GThread *thread;
    int cancel, done;
};

static gpointer run(gpointer data)
{
    struct hash *h = data;

    h->value = library_hash(h->path, false, &h->cancel);
    g_atomic_int_set(&h->done, 1);
    return NULL;
}

static void stop(struct hash *h)
{
    if (h->thread) {
        g_atomic_int_set(&h->cancel, 1);
        g_thread_join(h->thread);
    }
    g_free(h->path);
    g_free(h->value);
    memset(h, 0, sizeof *h);
}

struct hash *hash_create(void)
{
    return g_new0(struct hash, 1);
}

void hash_destroy(struct hash *h)
{
    if (!h)
        return;
    stop(h);
    g_free(h);
}

void hash_start(struct hash *h, const char *path)
{
    if (g_strcmp0(h->path, path) == 0)
        return;
    stop(h);
    if (!path)
        return;
    h->path = g_strdup(path);
    h->value = library_hash(path, true, NULL);
    if (h->value)
        h->done = 1;
    else
        h->thread = g_thread_new("hash", run, h);
}

const char *hash_value(struct hash *h)
{
    struct stat st;

    if (h->thread &&
        (g_atomic_int_get(&h->done) || (stat(h->path, &st) == 0 && st.st_size <= WAIT_BYTES))) {
        g_thread_join(h->thread);
        h->thread = NULL;
    }
    return h->thread ? NULL : h->value;
}
