/*
 * A1111's prompt grammar: what the text of a prompt means. Nothing here fails on malformed text; it
 * means what A1111 takes it to mean. Where A1111 itself raises an exception (a weight "1.2.3", a
 * number beyond a double) the text is read as plain words. All functions take UTF-8 (invalid bytes
 * are read as U+FFFD) and are iterative; time is linear but for prompt_pieces(), which is quadratic
 * in the depth of brackets (0.1 s at the limit). Any thread. Results are owned by the caller.
 *
 * Order of use: prompt_check, wildcards_expand (clip/wildcards.h), prompt_strip_comments,
 * prompt_take_networks, prompt_parts (or prompt_schedule for a negative prompt), and then, for each
 * text that is in force at some step, chunk_prompt (clip/chunk.h), which calls prompt_pieces.
 *
 * Source: A1111 1.10 modules/prompt_parser.py, extra_networks.py; ComfyUI comfy/sd1_clip.py. A1111
 * reads schedules with an ambiguous grammar; its parser's choice among readings can depend on a
 * hash seed ("[a:3]:["). Of such readings we take the one with most brackets understood; on texts
 * where A1111's choice is stable it is always that one.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define PROMPT_LIMIT (64u << 10) /* bytes */

/* False with a sentence when the text is longer than PROMPT_LIMIT. */
bool prompt_check(const char *text, GError **error);

/* Drops "# ..." to the end of the line, as A1111 does before anything else. (g_free) */
char *prompt_strip_comments(const char *text);

/* ---- <lora:name:te:unet:dyn> ---- */

struct prompt_network {
    char *kind; /* "lora", "lyco", "hypernet", or whatever word stood there */
    char *name;
    double text_weight, unet_weight; /* one number sets both; 1 when not said or no number */
    int rank;                        /* "dyn": use so many ranks only; 0 = all */
};

/*
 * Takes every <word:arguments> out of the text (g_free the result) and appends it to `networks`, a
 * GPtrArray with prompt_network_free (struct prompt_network *).
 */
char *prompt_take_networks(const char *text, GPtrArray *networks);
void prompt_network_free(struct prompt_network *network);

/* ---- [from:to:when], [a|b], AND ---- */

/* How "when" is read. Zeroed but for `steps`: the first pass, as A1111 since 1.6. */
struct prompt_timeline {
    int steps;       /* model calls of this pass; second-order samplers make two a step */
    int first_steps; /* > 0: this is the hires pass after so many; its fractions run from 1 to 2 */
    bool old;        /* "Old prompt editing timelines": below 1 a fraction, else a step, of the
                        first pass in both passes */
};

struct prompt_text {
    int end_step; /* in force up to this step, inclusive */
    char *text;
};

struct prompt_part {
    double weight;
    GPtrArray *schedule; /* struct prompt_text *, by end_step; the last one's is `steps` */
};

/* The schedule of a text without AND (struct prompt_text *; g_ptr_array_unref). */
GPtrArray *prompt_schedule(const char *text, struct prompt_timeline timeline);
/* The parts between ANDs with their weights (struct prompt_part *; g_ptr_array_unref). */
GPtrArray *prompt_parts(const char *text, struct prompt_timeline timeline);
/* The text in force at model call `step`, counted from 0 (A1111 compares this count with end_step).
 */
const char *prompt_at_step(const GPtrArray *schedule, int step);

/* ---- emphasis ---- */

enum prompt_grammar {
    PROMPT_A1111,   /* (a) [a] (a:1.2), multiplied when nested, BREAK */
    PROMPT_COMFY,   /* (a) (a:1.2), the inner number replaces; no [ ], no BREAK */
    PROMPT_LITERAL, /* brackets are text (A1111's emphasis "None") */
};

struct prompt_piece {
    char *text;
    double weight;   /* finite, at most 1e6 in size */
    bool ends_chunk; /* BREAK; text and weight say nothing */
};

/* Runs of text with one weight (struct prompt_piece *; g_ptr_array_unref); at least one. */
GPtrArray *prompt_pieces(const char *text, enum prompt_grammar grammar);
