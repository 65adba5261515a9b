/*
 * CLIP's tokenizer: text to token ids by byte-level byte-pair encoding, id for id what
 * transformers' CLIPTokenizer gives: NFC, runs of white space to one space, lower case, split into
 * contractions, runs of letters, single digits and runs of the rest, then merges by rank.
 * Invalid UTF-8 is read as U+FFFD, so every sequence of bytes has ids. Time is O(n log n).
 *
 * A tokenizer is immutable: any number of threads may encode with one. Owned by the caller.
 * Source: OpenAI CLIP simple_tokenizer.py; transformers 5 models/clip/tokenization_clip.py.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct tokenizer;

struct tokenizer_ids {
    int32_t bos, eos; /* <|startoftext|>, <|endoftext|> */
    int32_t pad;      /* what fills a chunk after its end: eos, or 0 for OpenCLIP's encoders */
    int32_t comma;    /* ",</w>"; -1 when the vocabulary has none */
};

/* With the built-in vocabulary of OpenAI's CLIP (49,408 tokens; assets/clip). Never fails. */
struct tokenizer *tokenizer_create(void);

/*
 * From vocab.json and merges.txt of a diffusers tokenizer folder. The pad token comes from
 * special_tokens_map.json, else tokenizer_config.json; as in transformers, a pad token of its own
 * ("!" of OpenCLIP's encoders) is also recognised in text. `rows` is the number of rows of the
 * encoder's token embedding: every id must be below it. Fails with a sentence that names the file
 * (WEIGHTS_ERROR).
 */
struct tokenizer *tokenizer_open(const char *folder, int rows, GError **error);

void tokenizer_destroy(struct tokenizer *t); /* takes NULL */

struct tokenizer_ids tokenizer_ids(const struct tokenizer *t);

/*
 * Appends the ids of text (length bytes; -1 = up to its NUL) to `ids`, a GArray of int32_t. No
 * start or end token is added; "<|endoftext|>" and its like inside the text become their ids.
 */
void tokenizer_encode(const struct tokenizer *t, const char *text, gssize length, GArray *ids);
