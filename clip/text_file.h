/*
 * Reads a whole small text file of a user (vocabulary, wildcards, styles), trusting nothing: it
 * must be an ordinary file and fit the limit. Any thread. Fails with a sentence that names the
 * file.
 */
#pragma once

#include <glib.h>

/* The contents, NUL-terminated (g_free); length is set when not NULL. NULL with error. */
char *text_file_read(const char *path, size_t limit, size_t *length, GError **error);
