#include "tests/op/op_test.h"

const char op_under_test[] = "conv2d";

struct tensor *op_record(struct op_case *c)
{
    int in = op_int(c, "i", 1), out = op_int(c, "o", 1), kernel = op_int(c, "k", 1);
    struct tensor *x = op_input(
        c, "x", 1, 0, 4, (int64_t[]){op_int(c, "b", 1), op_int(c, "h", 1), op_int(c, "w", 1), in});
    const struct weight *w = op_weight(c, "w", 0.25, 4, (int64_t[]){out, in, kernel, kernel});
    const struct weight *b =
        op_int(c, "n", 0) ? NULL : op_weight(c, "bias", 1, 1, (int64_t[]){out});
    return op_conv2d(c->tape, x, w, b,
                     (struct conv2d_params){.stride = op_int(c, "s", 0),
                                            .padding = op_int(c, "p", -1),
                                            .pad_end = op_int(c, "e", 0)});
}
