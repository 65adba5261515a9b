#include "tests/op/op_test.h"

const char op_under_test[] = "add";

struct tensor *op_record(struct op_case *c)
{
    int64_t b = op_int(c, "b", 1), h = op_int(c, "h", 1), w = op_int(c, "w", 1);
    int64_t channels = op_int(c, "c", 1);
    if (op_is(c, "kind", "rows"))
        return op_add(c->tape, op_input(c, "x", 1, 0, 3, (int64_t[]){b, w, channels}),
                      op_input(c, "y", 1, 0, 3, (int64_t[]){1, w, channels}));
    int64_t dims[] = {b, h, w, channels}, by_channel[] = {b, channels};
    struct tensor *x = op_input(c, "x", 1, 0, 4, dims);
    return op_add(c->tape, x,
                  op_is(c, "kind", "channels") ? op_input(c, "y", 1, 0, 2, by_channel)
                                               : op_input(c, "y", 1, 0, 4, dims));
}
