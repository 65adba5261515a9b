/* Shared by safetensors.c (the file) and safetensors_header.c (its header). Nobody else includes
 * this. */
#pragma once

#include "weights/safetensors.h"

struct st_pair {
    char *key, *value;
};

struct safetensors {
    gint refs;
    int fd;
    char *label;
    uint64_t file_size, header_size; /* header_size counts the 8 length bytes */
    struct st_tensor *tensors;       /* by (offset, end) */
    uint32_t *by_name;               /* indices into tensors, by strcmp of the names */
    size_t count;
    char *names; /* all names, each with its NUL */
    struct st_pair *metadata;
    size_t metadata_count;
    size_t ignored_fields;
};

/*
 * Checks `text` (len bytes, no NUL needed) by ST04 to ST11 and fills the tables of `st`, whose
 * label, file_size and header_size are set.
 */
bool st_header_parse(struct safetensors *st, const char *text, size_t len, GError **error);

/* Sets the error `Can't open “LABEL”: ` + the formatted rest; returns false. */
bool st_refuse(const struct safetensors *st, int code, GError **error, const char *format, ...)
    G_GNUC_PRINTF(4, 5);
