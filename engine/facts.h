/*
 * What a model file is, kept in the cache folder so that a library of a hundred files is listed at
 * once: family, format, size, hash. Facts go by the file's device, inode, time and size; whatever
 * else happens to it makes them new. A cache that is damaged or gone is made again. Any thread.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct facts {
    char *family;    /* "SD 1.x", "SD 2.x", "SDXL", "SDXL refiner"; NULL = none of these */
    char *kind;      /* "inpainting", "instruct", "v-prediction"; NULL = an ordinary one */
    char *precision; /* of most of its numbers: "f16" */
    char *problem;   /* why it can't be used, or NULL */
    uint64_t unet_parameters, parameters;
    int side;     /* pixels that it was trained for; 0 = not said */
    char *sha256; /* of the file (a folder: of its U-Net's), 64 digits; NULL = not computed yet */
};

void facts_clear(struct facts *facts);

/* An open cache: hold it for one list, then close it, which saves what is new. */
struct facts_cache;
struct facts_cache *facts_open(void);
void facts_close(struct facts_cache *cache);
/* Of a model's folder or file; reads its headers when the cache does not know it. */
void facts_of(struct facts_cache *cache, const char *path, struct facts *facts);

/* The hash, from the cache or computed now (2 GB take some seconds; *cancel, may be NULL, is read
 * as it goes). NULL when it is only cached and not there, was cancelled, or the file can't be read.
 * g_free(). */
char *facts_sha256(const char *path, bool cached_only, const int *cancel);
