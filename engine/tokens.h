/*
 * How many tokens a prompt has for a model, without loading the model: for the counter beside the
 * prompt. Keeps one tokenizer (of the last model asked for). One thread.
 */
#pragma once

struct token_counter;

struct token_counter *token_counter_create(void);
void token_counter_destroy(struct token_counter *counter); /* takes NULL */
/* `model` is the path of a folder or file; without a tokenizer of its own (or with a broken one)
 * CLIP's counts. 0 for an empty prompt. */
int token_counter_count(struct token_counter *counter, const char *model, const char *prompt);
