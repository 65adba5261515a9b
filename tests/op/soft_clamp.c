#include "tests/op/op_test.h"

const char op_under_test[] = "soft_clamp";

struct tensor *op_record(struct op_case *c)
{
    return op_soft_clamp(c->tape, op_rows(c, "x", op_number(c, "scale", 1), 0, op_int(c, "c", 1)));
}
