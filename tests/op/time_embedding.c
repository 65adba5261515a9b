#include "tests/op/op_test.h"

const char op_under_test[] = "time_embedding";

struct tensor *op_record(struct op_case *c)
{
    int64_t n = op_int(c, "n", 1);
    return op_time_embedding(c->tape, op_steps(c, "steps", n), op_int(c, "c", 2),
                             op_int(c, "cos", 0), (float)op_number(c, "shift", 0));
}
