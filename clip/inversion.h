/*
 * Textual inversion by name: the embeddings in a user's folders, and how a prompt finds them. A
 * name is the file's without its ending. In A1111's grammar it may stand anywhere in the text, in
 * any case (it is found among the tokens); in ComfyUI's it follows "embedding:". A file is opened
 * when its name is first met.
 *
 *     struct inversion_finder *f = inversion_finder_create(set, tokenizer, 0, width, notices);
 *     struct chunk_embeddings hooks = inversion_hooks(f);
 *     chunks = chunk_prompt(tokenizer, text, grammar, &hooks, pad, NULL);
 *     n = inversion_vectors(chunk, 0, row, vectors);   and these go to clip_embed()
 *
 * Owner: the caller; a finder borrows the set and the tokenizer, chunks borrow the set's
 * embeddings. One thread. Source: A1111 1.10 modules/textual_inversion/textual_inversion.py.
 */
#pragma once

#include "clip/chunk.h"
#include "clip/clip.h"

struct inversions;

struct inversions *inversions_create(void);
void inversions_destroy(struct inversions *s); /* takes NULL */
/* Adds the .safetensors files of a folder and of those in it. Of two of one name the first stays.
 */
void inversions_add_folder(struct inversions *s, const char *path);
/* The names there are, sorted (g_ptr_array of borrowed strings; unref it). */
GPtrArray *inversions_names(const struct inversions *s);

struct inversion_finder;

/*
 * For one text encoder: `which` is 0 or 1 (SDXL's second), `width` its width. A file that cannot be
 * read, or was made for a model of another width, is left as words and said in `notices` (a
 * GPtrArray of char * that lives as long as the finder, or NULL), once.
 */
struct inversion_finder *inversion_finder_create(struct inversions *s,
                                                 const struct tokenizer *tokenizer, int which,
                                                 int width, GPtrArray *notices);
void inversion_finder_destroy(struct inversion_finder *f); /* takes NULL */
struct chunk_embeddings inversion_hooks(struct inversion_finder *f);

/*
 * The vectors of a chunk whose first token is row `row` of clip_embed()'s ids; returns how many (at
 * most CHUNK_WORDS) were written to `out`.
 */
size_t inversion_vectors(const struct chunk *chunk, int which, int row, struct clip_vectors *out);
