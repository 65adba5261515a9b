#include "tests/op/op_test.h"

int main(int argc, char **argv)
{
    return op_test_goldens(argc > 1 ? argv[1] : "cpu:f32");
}
