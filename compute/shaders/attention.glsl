/*
 * What every path of attention shares: q, k, v are [B, L, heads * size]; a head is a run of channels
 * of a row. A workgroup computes a tile of queries of one head, over a slice of the head's output
 * columns (heads larger than one slice compute the scores once per slice). Softmax is online: no
 * matrix of scores ever reaches memory.
 */
layout(push_constant) uniform push { push_attention p; };
INPUT(0, q)
INPUT(1, k)
INPUT(2, v)
OUTPUT(3, y)

#define HEAD_QUAD(name)                                                                            \
    vec4 head_##name(uint row, uint head, uint d)                                                  \
    {                                                                                              \
        uint i = row * p.width + head * p.head_size + d;                                           \
        if (ALIGNED)                                                                               \
            return d < p.head_size ? QUAD(name, i >> 2) : vec4(0.0);                               \
        return vec4(d < p.head_size ? float(name##1[i]) : 0.0,                                     \
                    d + 1 < p.head_size ? float(name##1[i + 1]) : 0.0,                             \
                    d + 2 < p.head_size ? float(name##1[i + 2]) : 0.0,                             \
                    d + 3 < p.head_size ? float(name##1[i + 3]) : 0.0);                            \
    }
HEAD_QUAD(q)
HEAD_QUAD(k)
HEAD_QUAD(v)

void write_head(uint row, uint head, uint d, vec4 value)
{
    uint i = row * p.width + head * p.head_size + d;
    if (ALIGNED) {
        if (d < p.head_size)
            y4[i >> 2] = STORE4(value);
        return;
    }
    for (uint j = 0; j < 4; j++)
        if (d + j < p.head_size)
            y1[i + j] = STORE(value[j]);
}

/* Far below every score, but its differences are finite. */
const float NEVER = -1e30;
