/* Any bytes as a prompt: wildcards, grammar, tokens and chunks (prompt_invariants.h). */
#include "tests/fuzz/prompt_invariants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tokenizer *t;
    if (!t)
        t = tokenizer_create();
    prompt_invariants(t, data, size);
    return 0;
}
