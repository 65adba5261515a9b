#!/bin/bash
# Lists the shader builds, and the values of their specialisation constants, that no op test made a pipeline of.
# coverage.sh SHADERS_C FOLDER: the table of the build's shaders, and what the tests noted with FIGMENT_PIPELINES.
set -eu
shaders=$(sed -n 's/^    {"\([a-z0-9_]*\)", .*/\1/p' "$1")
notes=$(cat "$2"/*)
missing=0

miss() {
    echo "no test: $*"
    missing=$((missing + 1))
}
# The values that constant number $2 of shader $1 had.
values() {
    echo "$notes" | awk -F, -v shader="$1" -v field="$(($2 + 3))" '$1 == shader {print $field}' | sort -un
}
expect() { # shader, constant, values...
    local shader=$1 constant=$2 had value
    shift 2
    had=$(values "$shader" "$constant")
    for value; do
        echo "$had" | grep -qx "$value" || miss "$shader, constant $constant = $value"
    done
}
expect_bits() { # shader, constant, bits...
    local shader=$1 constant=$2 had bit value seen
    shift 2
    had=$(values "$shader" "$constant")
    for bit; do
        seen=
        for value in $had; do
            [ $((value & bit)) = 0 ] || seen=1
        done
        [ "$seen" ] || miss "$shader, flag $bit"
    done
}

for shader in $shaders; do
    case $shader in
    conv2d_matrix_f16) # no device at hand runs it: docs/SPEED.md
        continue ;;
    esac
    echo "$notes" | grep -q "^$shader," || miss "$shader"
    case $shader in
    conv2d_f* | conv2d_register_f*)
        expect "$shader" 1 0 1
        expect_bits "$shader" 2 1 2 4 8 32 64
        [[ $shader != *_f16* ]] || expect_bits "$shader" 2 16
        expect "$shader" 3 0 1 2 3 4 ;;
    conv2d_reduce_f*)
        expect "$shader" 1 0 1 ;;
    attention*)
        expect "$shader" 1 0 1
        expect "$shader" 2 1 2 3 ;;
    group_norm_f*)
        expect "$shader" 1 0 1
        expect "$shader" 2 0 1 ;;
    add_* | concat_* | geglu_* | upsample_nearest_* | embedding_* | layer_norm_* | group_norm_stats_*)
        expect "$shader" 1 0 1 ;;
    esac
done
echo "$(echo "$shaders" | wc -w) shader builds, $missing without a test"
[ $missing = 0 ]
