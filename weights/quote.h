/*
 * Text that came out of a file, made fit to be shown in a sentence; and the error codes of
 * weights/.
 *
 * Owner: the caller frees what is returned. Thread: any. Failure: none.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define WEIGHTS_ERROR (weights_error_quark())
GQuark weights_error_quark(void);

enum weights_error {
    WEIGHTS_ERROR_NOT_FOUND,   /* no such file, or it may not be read */
    WEIGHTS_ERROR_BAD_FILE,    /* damaged, forged or not the format it claims to be */
    WEIGHTS_ERROR_UNSUPPORTED, /* well formed, but of a kind this version does not read */
    WEIGHTS_ERROR_MISMATCH,    /* parts missing, or of the wrong shape, or made for another model */
    WEIGHTS_ERROR_CHANGED,     /* the file changed, or could not be read, while in use */
    WEIGHTS_ERROR_NO_MEMORY,
};

/*
 * “text” with its quotes: control and bidirectional characters and bytes that are no UTF-8 are
 * written as escapes, and what is longer than 80 characters is cut and ends in an ellipsis. `len` <
 * 0: up to the NUL.
 */
char *weights_quote(const char *text, gssize len);

/* The same without the quotes. */
char *weights_escape(const char *text, gssize len);

/* weights_quote() of the last component of a path. */
char *weights_quote_path(const char *path);

/* "4.3 GB", "12 MB", "510 bytes": decimal units, with the decimal mark of the sentences' language.
 */
char *weights_size_text(guint64 bytes);
