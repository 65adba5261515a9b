#include "tests/op/op_test.h"

const char op_under_test[] = "group_norm";

struct tensor *op_record(struct op_case *c)
{
    int64_t channels = op_int(c, "c", 1);
    double shift = op_number(c, "shift", 0);
    if (op_is_16bit(c) && shift != 0)
        return NULL;
    struct tensor *x =
        op_input(c, "x", 1, shift, 4,
                 (int64_t[]){op_int(c, "b", 1), op_int(c, "h", 1), op_int(c, "w", 1), channels});
    bool plain = op_int(c, "n", 0);
    const struct weight *w = plain ? NULL : op_weight(c, "w", 1, 1, &channels);
    const struct weight *b = plain ? NULL : op_weight(c, "bias", 1, 1, &channels);
    return op_group_norm(c->tape, x, w, b, op_int(c, "g", 1), (float)op_number(c, "eps", 1e-5));
}
