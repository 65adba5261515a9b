/* y = OPERATION(x), element by element, in place or not. One invocation a quad. */
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant) uniform push { push_unary p; };
INPUT(0, x)
OUTPUT(1, y)

void main()
{
    uint i = flat_index();
    if (i < p.quads)
        y4[i] = STORE4(OPERATION(QUAD(x, i)));
}
