#include "tests/op/op_test.h"

const char op_under_test[] = "linear";

struct tensor *op_record(struct op_case *c)
{
    int in = op_int(c, "i", 1), out = op_int(c, "o", 1);
    struct tensor *x = op_rows(c, "x", 1, 0, in);
    const struct weight *w = op_weight(c, "w", 0.25, 2, (int64_t[]){out, in});
    const struct weight *b =
        op_int(c, "n", 0) ? NULL : op_weight(c, "bias", 1, 1, (int64_t[]){out});
    return op_linear(c->tape, x, w, b);
}
