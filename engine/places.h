/*
 * Where other programs keep what belongs to a model: folders of A1111 (and Forge), ComfyUI (with
 * its extra_model_paths.yaml) and Fooocus, used in place, and Figment's own. Nothing is written.
 * Any thread; what is returned is the caller's.
 */
#pragma once

#include <glib.h>

/* share/NAME of the package that the running program lies in, wherever that is; it may not exist.
 * NULL when the program does not know where it lies. g_free(). */
char *places_beside(const char *name);

enum place_kind {
    PLACE_CHECKPOINTS,
    PLACE_VAES,
    PLACE_TAESD, /* small decoders for previews */
    PLACE_LORAS,
    PLACE_EMBEDDINGS,
    PLACE_WILDCARDS,
    PLACE_KINDS,
};

/*
 * The folders there are of a kind (char *, absolute, each once; g_ptr_array_unref). `folders`: what
 * the user named, NULL-terminated or NULL: the program's folder, its "models", or one folder of
 * checkpoints; the others are looked for above, below and beside it. For checkpoints, `folder`
 * itself is among them when no program's layout is recognised.
 */
GPtrArray *places_find(char **folders, enum place_kind kind);

/* Folders of programs and the Hugging Face cache that are where such things usually are
 * (NULL-terminated; g_strfreev): for library_list(), and for a window to offer. */
char **places_usual(void);

/* All styles.csv there are, Figment's own first (as above). */
GPtrArray *places_styles(char **folders);

/* Files below the folders whose names end in `suffix` (char *; as above), four folders deep. */
GPtrArray *places_files(const GPtrArray *folders, const char *suffix);
