/*
 * A prompt as the text encoder takes it: chunks of 77 token ids (start, 75 of the prompt, end) with
 * a weight for each. A long prompt becomes several chunks, encoded apart and joined; A1111's rules
 * say where it is cut (BREAK; back to a comma when one lies within 20 tokens) and ComfyUI's say so
 * for its grammar (short words are not cut). Any thread; never fails.
 *
 * Source: A1111 1.10 modules/sd_hijack_clip.py, ComfyUI comfy/sd1_clip.py. One difference: when
 * A1111 moves the words after a comma to the next chunk it leaves the vectors of an embedding among
 * them behind (in the padding); here they move along.
 */
#pragma once

#include "clip/prompt.h"
#include "clip/tokenizer.h"

#define CHUNK_LENGTH 77
#define CHUNK_WORDS 75

/* An embedding (textual inversion) found in the prompt. */
struct chunk_match {
    int tokens;            /* how many ids its name takes; by name: unused */
    int vectors;           /* how many places it takes, 1 to CHUNK_WORDS */
    const void *embedding; /* the caller's */
};

/* How embeddings are found. Zeroed: there are none. */
struct chunk_embeddings {
    /* A1111: does a name start at ids[0]? The longest match counts. */
    bool (*by_ids)(const int32_t *ids, int left, struct chunk_match *match, gpointer data);
    /* ComfyUI: the word after "embedding:". */
    bool (*by_name)(const char *name, struct chunk_match *match, gpointer data);
    gpointer data;
};

/* Vectors 0 ... vectors-1 of `embedding` replace the token embeddings from `position` on. */
struct chunk_fix {
    int position, vectors;
    int first; /* vector that comes first (ComfyUI may cut an embedding in two) */
    const void *embedding;
};

struct chunk {
    int32_t ids[CHUNK_LENGTH];
    float weights[CHUNK_LENGTH];
    int end;       /* position of the first end token: where the pooled output is read */
    GArray *fixes; /* struct chunk_fix, by position */
};

/*
 * The chunks of a prompt text (struct chunk *; g_ptr_array_unref); at least one. `pad` fills them
 * after their end token. *tokens, when not NULL, is the length that a counter shows,
 * padding before the last chunk included.
 */
GPtrArray *chunk_prompt(const struct tokenizer *tokenizer, const char *text,
                        enum prompt_grammar grammar, const struct chunk_embeddings *embeddings,
                        int32_t pad, int *tokens);

/* A chunk of no words: to make prompts of one batch equally long, and ComfyUI's z_empty. */
struct chunk *chunk_create_empty(const struct tokenizer *tokenizer, int32_t pad);
void chunk_destroy(struct chunk *c); /* takes NULL */
