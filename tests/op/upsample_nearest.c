#include "tests/op/op_test.h"

const char op_under_test[] = "upsample_nearest";

struct tensor *op_record(struct op_case *c)
{
    int64_t dims[] = {op_int(c, "b", 1), op_int(c, "h", 1), op_int(c, "w", 1), op_int(c, "c", 1)};
    return op_upsample_nearest(c->tape, op_input(c, "x", 1, 0, 4, dims), op_int(c, "y", 1),
                               op_int(c, "x", 1));
}
