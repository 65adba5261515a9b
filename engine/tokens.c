#include "engine/tokens.h"

#include "clip/chunk.h"

struct token_counter {
    char *model;
    struct tokenizer *tokenizer;
};

struct token_counter *token_counter_create(void)
{
    return g_new0(struct token_counter, 1);
}

void token_counter_destroy(struct token_counter *counter)
{
    if (!counter)
        return;
    tokenizer_destroy(counter->tokenizer);
    g_free(counter->model);
    g_free(counter);
}

static void choose(struct token_counter *counter, const char *model)
{
    if (counter->tokenizer && g_strcmp0(counter->model, model) == 0)
        return;
    g_clear_pointer(&counter->tokenizer, tokenizer_destroy);
    g_free(counter->model);
    counter->model = g_strdup(model);
    g_autofree char *folder = model ? g_build_filename(model, "tokenizer", NULL) : NULL;
    if (folder && g_file_test(folder, G_FILE_TEST_IS_DIR))
        counter->tokenizer =
            tokenizer_open(folder, G_MAXINT, NULL); /* the model's own rows do not matter here */
    if (!counter->tokenizer)
        counter->tokenizer = tokenizer_create();
}

int token_counter_count(struct token_counter *counter, const char *model, const char *prompt)
{
    int tokens = 0;
    if (!*prompt || !prompt_check(prompt, NULL))
        return 0;
    choose(counter, model);
    g_autoptr(GPtrArray) networks =
        g_ptr_array_new_with_free_func((GDestroyNotify)prompt_network_free);
    g_autofree char *text = prompt_take_networks(prompt, networks);
    g_autoptr(GPtrArray) chunks = chunk_prompt(counter->tokenizer, text, PROMPT_A1111, NULL,
                                               tokenizer_ids(counter->tokenizer).pad, &tokens);
    return tokens;
}
