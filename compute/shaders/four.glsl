/*
 * Four numbers that live through a loop of lavapipe's kernels: n_x to n_w. They are floats, because
 * it loads all of a vector that does for each of its components, and compiles twice as long.
 */
#define ZERO(n) float n##_x = 0.0, n##_y = 0.0, n##_z = 0.0, n##_w = 0.0;
#define TOGETHER(n) vec4(n##_x, n##_y, n##_z, n##_w)
#define MULTIPLY(n, by)                                                                            \
    n##_x *= by.x;                                                                                 \
    n##_y *= by.y;                                                                                 \
    n##_z *= by.z;                                                                                 \
    n##_w *= by.w;
/* one number times a vector */
#define ADD(n, number, by)                                                                         \
    {                                                                                              \
        float one = number;                                                                        \
        n##_x += one * by.x;                                                                       \
        n##_y += one * by.y;                                                                       \
        n##_z += one * by.z;                                                                       \
        n##_w += one * by.w;                                                                       \
    }
#define MOVE(to, from)                                                                             \
    to##_x = from##_x;                                                                             \
    to##_y = from##_y;                                                                             \
    to##_z = from##_z;                                                                             \
    to##_w = from##_w;
#define TURN(n)                                                                                    \
    {                                                                                              \
        float first = n##_x;                                                                       \
        n##_x = n##_y;                                                                             \
        n##_y = n##_z;                                                                             \
        n##_z = n##_w;                                                                             \
        n##_w = first;                                                                             \
    }
