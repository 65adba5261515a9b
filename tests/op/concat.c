#include "tests/op/op_test.h"

const char op_under_test[] = "concat";

struct tensor *op_record(struct op_case *c)
{
    int64_t b = op_int(c, "b", 1), h = op_int(c, "h", 1), w = op_int(c, "w", 1);
    struct tensor *x = op_input(c, "x", 1, 0, 4, (int64_t[]){b, h, w, op_int(c, "c", 1)});
    return op_concat(c->tape, x,
                     op_input(c, "y", 1, 0, 4, (int64_t[]){b, h, w, op_int(c, "d", 1)}));
}
