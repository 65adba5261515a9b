#include "tests/op/op_test.h"

const char op_under_test[] = "embedding";

struct tensor *op_record(struct op_case *c)
{
    int64_t b = op_int(c, "b", 0), r = op_int(c, "r", 1);
    int64_t dims[] = {b ? b : r, r}, table[] = {op_int(c, "n", 1), op_int(c, "c", 1)};
    struct tensor *ids = op_ids(c, "ids", (int)table[0], 7, b ? 2 : 1, dims);
    if (op_int(c, "t", 0)) {
        int64_t split[] = {2, table[0] / 2, table[1]};
        return op_gather(c->tape, ids, op_input(c, "w", 1, 0, 3, split));
    }
    return op_embedding(c->tape, ids, op_weight(c, "w", 1, 2, table));
}
