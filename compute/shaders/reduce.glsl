/*
 * Sum of a value over the workgroup, the same in every lane. A workgroup of 8 lanes (lavapipe) is one
 * subgroup and needs no shared memory, which is slow there.
 */
shared float reduce_parts[64];

float reduce_sum(float v)
{
    v = subgroupAdd(v);
    if (LOCAL > 8) {
        barrier();
        if (subgroupElect())
            reduce_parts[gl_SubgroupID] = v;
        barrier();
        v = 0;
        for (uint i = 0; i < gl_NumSubgroups; i++)
            v += reduce_parts[i];
    }
    return v;
}

float sum4(vec4 v)
{
    return (v.x + v.y) + (v.z + v.w);
}
