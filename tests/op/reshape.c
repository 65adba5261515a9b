#include "tests/op/op_test.h"

const char op_under_test[] = "reshape";

/* A view does no work: something before and after it does. */
struct tensor *op_record(struct op_case *c)
{
    int64_t b = op_int(c, "b", 1), h = op_int(c, "h", 1), w = op_int(c, "w", 1);
    int64_t channels = op_int(c, "c", 1);
    struct tensor *x = op_input(c, "x", 1, 0, 4, (int64_t[]){b, h, w, channels});
    x = op_scale(c->tape, x, 2);
    x = op_reshape(c->tape, x, 3, (int64_t[]){b, h * w, channels});
    return op_scale(c->tape, x, 0.5f);
}
