#include "tests/op/op_test.h"

const char op_under_test[] = "scale";

struct tensor *op_record(struct op_case *c)
{
    return op_scale(c->tape, op_rows(c, "x", 1, 0, op_int(c, "c", 1)), (float)op_number(c, "f", 1));
}
