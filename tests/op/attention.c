#include "tests/op/op_test.h"

const char op_under_test[] = "attention";

struct tensor *op_record(struct op_case *c)
{
    int64_t batch = op_int(c, "b", 1), heads = op_int(c, "c", 1);
    int64_t channels = heads * op_int(c, "d", 1);
    int64_t q_dims[] = {batch, op_int(c, "l", 1), channels};
    int64_t k_dims[] = {batch, op_int(c, "m", 1), channels};
    struct tensor *q = op_input(c, "q", 1, 0, 3, q_dims), *k = op_input(c, "k", 1, 0, 3, k_dims);
    struct tensor *v = op_input(c, "v", 1, 0, 3, k_dims);
    return op_attention(c->tape, q, k, v,
                        (struct attention_params){.heads = (int)heads,
                                                  .causal = op_int(c, "causal", 0),
                                                  .scale = (float)op_number(c, "z", 0)});
}
