#!/bin/bash
# The committed SPIR-V of the cooperative-matrix shaders is what their sources give: by a digest of the sources on every
# machine, and by building again where glslang knows the extension (14 and later; GLSLANG names another one).
# Where spirv-tools are found, it is also valid for every shape that devices list, in all tiles and for subgroups of 8 to 64 lanes.
# matrix.sh --write [NAME...] builds them (all) and the digests anew.
set -eu
glslang=${GLSLANG:-glslangValidator}

# Each module: its sources, of which the first is compiled (F16).
declare -A sources=(
    [attention_matrix_f16]="attention_matrix.comp common.glsl attention.glsl push.h"
    [attention_matrix2_f16]="attention_matrix2.comp push.h"
    [conv2d_matrix_f16]="conv2d_matrix.comp common.glsl gemm.glsl gemm_matrix.glsl push.h"
    [conv2d_matrix2_f16]="conv2d_matrix2.comp push.h"
)
# Where it is not Vulkan 1.2 and glslang 14.
declare -A targets=([attention_matrix2_f16]=vulkan1.3 [conv2d_matrix2_f16]=vulkan1.3)
declare -A needs=([attention_matrix2_f16]=15 [conv2d_matrix2_f16]=15)
# Those of the test vulkan/interpreter.
for name in kernel_faults kernel_patch kernel_scalars kernel_tensors; do
    sources[$name]="${name#kernel_}.comp kernel.glsl" targets[$name]=vulkan1.3 needs[$name]=15
done
# Where the sources are; the modules are in its folder matrix/.
folder_of() {
    case $1 in
    kernel_*) echo tests/vulkan/kernels ;;
    *) echo compute/shaders ;;
    esac
}

# Each module NAME: NAME_special prints specialisations to validate, one a line: "constants | a pattern of the disassembly".
special() {
    case $1 in
    kernel_*) echo "0:32 | OpEntryPoint GLCompute" ;;
    *) "${1}_special" ;;
    esac
}
# What devices list.
shapes=("8 8 8" "16 16 16" "16 8 16" "8 16 16")
conv2d_matrix_f16_special() {
    for shape in "${shapes[@]}"; do
        for tile in 64 128; do
            for lanes in 8 32 64; do
                set -- $shape
                echo "0:$((4 * lanes)) 4:$tile 5:$1 6:$2 7:$3 | OpTypeCooperativeMatrixKHR %half %uint_3 %uint_$1(_[0-9]+)? %uint_$3"
            done
        done
    done
}
attention_matrix_f16_special() {
    for shape in "${shapes[@]}"; do
        for kernel in "48 2 4" "64 1 2" "80 2 4" "160 1 4" "256 2 1" "512 2 2"; do
            for lanes in 8 32 64; do
                set -- $shape $kernel
                invocations=$((lanes * $6 * ($4 > 160 ? 4 : 1)))
                echo "0:$invocations 2:$4 3:$5 4:$6 5:$1 6:$2 7:$3 | OpTypeCooperativeMatrixKHR %half %uint_3 %uint_$1(_[0-9]+)? %uint_$3"
            done
        done
    done
}

attention_matrix2_f16_special() {
    for head in "32 1 64" "64 1 64" "96 1 64" "160 1 32" "256 2 32" "256 2 64"; do
        set -- $head
        echo "0:128 2:$1 3:$2 4:$3 | OpTypeCooperativeMatrixKHR %float %uint_2 %uint_$3(_[0-9]+)? %uint_$1"
    done
}
conv2d_matrix2_f16_special() {
    for tile in "128 64 8" "128 64 64" "256 128 16" "256 128 128"; do
        for depth in 32 64; do
            for flags in 0 8; do # with gates
                set -- $tile
                echo "0:$1 2:$flags 4:$2 5:$3 6:$depth | OpTypeCooperativeMatrixKHR %half %uint_2 %uint_$2(_[0-9]+)? %uint_$depth"
            done
        done
    done
}

digest() { # without comments and white space, which change no instruction
    for file in ${sources[$1]}; do
        sed -E ':a;N;$!ba;s@/\*([^*]|\*+[^*/])*\*+/@@g;s@//[^\n]*@@g' "$(folder_of "$1")/$file" | tr -d ' \t\n'
    done | sha256sum | cut -d' ' -f1
}
build() {
    "$glslang" -V -g0 --quiet --target-env "${targets[$1]:-vulkan1.2}" -DF16 --vn "spv_$1" -o "$2" "$(folder_of "$1")/${sources[$1]%% *}"
}
made_by() {
    sed -n 's@.*// @@p' "$1" | head -1
}

if [ "${1:-}" = --write ]; then
    shift
    for name in "${@:-${!sources[@]}}"; do
        folder=$(folder_of "$name")
        build "$name" "$folder/matrix/$name.spv.inc"
        digest "$name" >"$folder/matrix/$name.sources"
    done
    exit
fi

version=$("$glslang" --version 2>/dev/null | sed -n 's/.*Glslang Version: //p' | cut -d' ' -f1)
major=$(echo "${version:-0}" | cut -d: -f2 | cut -d. -f1)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

check() {
    name=$1 folder=$(folder_of "$1")
    committed=$folder/matrix/$1.spv.inc
    [ "$(digest "$name")" = "$(cat "$folder/matrix/$name.sources")" ] || {
        echo "$committed is older than its sources: tests/vulkan/matrix.sh --write with glslang 14 or later"
        exit 1
    }
    for file in ${sources[$name]}; do # where a change must show
        mkdir -p "$work/changed/$folder"
        (cd "$folder" && cp ${sources[$name]} "$work/changed/$folder")
        echo "int more;" >>"$work/changed/$folder/$file"
        [ "$(cd "$work/changed" && digest "$name")" != "$(digest "$name")" ] || {
            echo "the digest of $name does not see a change of $file"
            exit 1
        }
    done
    if command -v spirv-opt spirv-val >/dev/null && spirv-val --version | grep -qE 'v20(2[4-9]|[3-9])'; then
        perl -ne 'print pack("V", hex $1) while /0x([0-9a-fA-F]{8})/g' "$committed" >"$work/module.spv"
        count=0
        while IFS='|' read -r constants pattern; do
            spirv-opt --target-env="${targets[$name]:-vulkan1.2}" --set-spec-const-default-value="$constants" \
                --freeze-spec-const --fold-spec-const-op-composite "$work/module.spv" -o "$work/special.spv"
            spirv-val --target-env "${targets[$name]:-vulkan1.2}" "$work/special.spv"
            spirv-dis "$work/special.spv" | grep -qE "${pattern# }"
            count=$((count + 1))
        done < <(special "$name")
        [ $count -gt 0 ]
        echo "$name: valid in $count specialisations"
    fi
    if [ "$major" -lt "${needs[$name]:-14}" ]; then
        echo "$name: the sources are those it was built from; glslang ${version:-none} cannot build it again"
        return
    fi
    build "$name" "$work/new.inc"
    if [ "$(made_by "$work/new.inc")" = "$(made_by "$committed")" ]; then
        cmp "$work/new.inc" "$committed"
        echo "$name: built again by glslang $version: the same"
    else
        echo "$name: glslang $version builds it; another version than the committed one's, so they are not compared"
    fi
}

for name in "${!sources[@]}"; do
    check "$name"
done
for file in compute/shaders/matrix/*.spv.inc tests/vulkan/kernels/matrix/*.spv.inc; do
    name=$(basename "$file" .spv.inc)
    [ -n "${sources[$name]:-}" ] || {
        echo "$file is made of no known sources"
        exit 1
    }
done
