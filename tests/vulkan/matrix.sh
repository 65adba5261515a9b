#!/bin/bash
# The committed SPIR-V of the cooperative-matrix shaders is what their sources give: by a digest of the sources on every
# machine, and by building again where glslang knows the extension (14 and later; GLSLANG names another one).
# Where spirv-tools are found, it is also valid for every shape that devices list, in both tiles and for subgroups of 8 to 64 lanes.
# matrix.sh --write builds it and the digest anew.
set -eu
folder=compute/shaders
name=conv2d_matrix_f16
committed=$folder/matrix/$name.spv.inc
sources="$folder/conv2d_matrix.comp $folder/common.glsl $folder/gemm.glsl $folder/gemm_matrix.glsl $folder/push.h"
glslang=${GLSLANG:-glslangValidator}

digest() { # without comments and white space, which change no instruction
    for file in $sources; do
        sed -E ':a;N;$!ba;s@/\*([^*]|\*+[^*/])*\*+/@@g;s@//[^\n]*@@g' "$file" | tr -d ' \t\n'
    done | sha256sum | cut -d' ' -f1
}
build() {
    "$glslang" -V -g0 --quiet --target-env vulkan1.2 -DF16 --vn spv_$name -o "$1" $folder/conv2d_matrix.comp
}

version=$("$glslang" --version 2>/dev/null | sed -n 's/.*Glslang Version: //p' | cut -d' ' -f1)
major=$(echo "${version:-0}" | cut -d: -f2 | cut -d. -f1)
if [ "${1:-}" = --write ]; then
    build $committed
    digest > $folder/matrix/$name.sources
    exit
fi
[ "$(digest)" = "$(cat $folder/matrix/$name.sources)" ] || {
    echo "$committed is older than its sources: tests/vulkan/matrix.sh --write with glslang 14 or later"
    exit 1
}
# Where a change of the sources must show.
changed=$(mktemp -d)
trap 'rm -rf "$changed"' EXIT
mkdir -p "$changed/$folder"
cp $sources "$changed/$folder"
sed -i 's/DEPTH = 32/DEPTH = 64/' "$changed/$folder/gemm_matrix.glsl"
[ "$(cd "$changed" && digest)" != "$(digest)" ] || {
    echo "the digest does not see a change"
    exit 1
}
if command -v spirv-opt spirv-val >/dev/null && spirv-val --version | grep -qE 'v20(2[4-9]|[3-9])'; then
    perl -ne 'print pack("V", hex $1) while /0x([0-9a-fA-F]{8})/g' $committed >"$changed/module.spv"
    for shape in "8 8 8" "16 16 16" "16 8 16" "8 16 16"; do
        for tile in 64 128; do
            for lanes in 8 32 64; do
                set -- $shape
                spirv-opt --target-env=vulkan1.2 --set-spec-const-default-value="0:$((4 * lanes)) 4:$tile 5:$1 6:$2 7:$3" \
                    --freeze-spec-const --fold-spec-const-op-composite "$changed/module.spv" -o "$changed/special.spv"
                spirv-val --target-env vulkan1.2 "$changed/special.spv"
                spirv-dis "$changed/special.spv" | grep -qE "OpTypeCooperativeMatrixKHR %half %uint_3 %uint_$1(_[0-9]+)? %uint_$3"
            done
        done
    done
    echo "valid for 4 shapes, 2 tiles, 3 sizes of subgroups"
fi
if [ "$major" -lt 14 ]; then
    echo "the sources are those it was built from; glslang ${version:-none} cannot build it again"
    exit 0
fi
build "$changed/new.inc"
if [ "$(sed -n 's@.*// @@p' "$changed/new.inc" | head -1)" = "$(sed -n 's@.*// @@p' $committed | head -1)" ]; then
    cmp "$changed/new.inc" $committed
    echo "built again by glslang $version: the same"
else
    echo "glslang $version builds it; another version than the committed one's, so they are not compared"
fi
