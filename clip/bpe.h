/*
 * Byte-pair encoding of one word: a vocabulary of token texts (bytes written as CLIP's printable
 * characters, "</w>" at the end of a word) and ranked merges. Filled once, then immutable; encoding
 * is O(n log n) in the bytes of the word. Source: tokenizers (Hugging Face), models/bpe.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <stdint.h>

struct bpe;

struct bpe *bpe_create(void);
void bpe_destroy(struct bpe *b); /* takes NULL */

/* Filling. Texts are UTF-8 with a length; the first id of a text stays. */
void bpe_add_token(struct bpe *b, const char *text, size_t length, int32_t id);
int32_t bpe_find(const struct bpe *b, const char *text, size_t length); /* -1: not there */
/* Merges are added in order of rank. False when a part or the result is no token. */
bool bpe_add_merge(struct bpe *b, const char *left, size_t left_length, const char *right,
                   size_t right_length);
/* Ends filling; bytes without a token become `unknown`. Frees the texts: bpe_find() ends here. */
void bpe_finish(struct bpe *b, int32_t unknown);

/* The 256 bytes as UTF-8 characters, in CLIP's byte-to-unicode order of bytes: name[byte] is a
 * NUL-terminated text; order[i] is the byte with id i. */
struct bpe_bytes {
    char name[256][4];
    uint8_t order[256];
};
void bpe_bytes_init(struct bpe_bytes *bytes);

/* Working memory of one encoding call. */
struct bpe_scratch {
    GArray *symbols, *heap;
};
void bpe_scratch_init(struct bpe_scratch *s);
void bpe_scratch_finish(struct bpe_scratch *s);

/* Appends the ids (int32_t) of a word of n >= 1 bytes. */
void bpe_encode(const struct bpe *b, struct bpe_scratch *scratch, const uint8_t *word, size_t n,
                GArray *ids);
