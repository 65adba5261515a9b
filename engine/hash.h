/*
 * Hashes of model files computed beside the work: A1111 writes them into every picture. A file is
 * read once; after that the cache knows it (library_hash()). Functions are for one thread, the
 * reading has its own.
 */
#pragma once

#include <stdint.h>

struct hash;

struct hash *hash_create(void);
void hash_destroy(struct hash *h); /* takes NULL; stops the reading */
/* Begins, when the path is another one than before (NULL: none). */
void hash_start(struct hash *h, const char *path);
/* 10 hex digits, or NULL as long as they are not known; small files are waited for. Borrowed. */
const char *hash_value(struct hash *h);
