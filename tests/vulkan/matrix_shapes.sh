#!/bin/bash
# The cooperative-matrix kernels run in the shapes that GPUs list: the op tests of linear, conv2d and attention in F16 (attention
# also with the kernels that many workgroups get, in windows, and with heads that no golden has), and before each the self-test's
# awkward layers. Needs a device whose matrices may have any size (flexible dimensions of VK_NV_cooperative_matrix2: lavapipe of Mesa
# 26.2; not Debian 12's), hence not run by CI. Tiles of 32 squared instead of 64, which lavapipe compiles for minutes.
#     tests/vulkan/matrix_shapes.sh [SHAPE...]     16x16x16 16x8x16 8x16x16 8x8x8 when none is named
# OPS: some of linear conv2d attention attention:fill=1 windows variants, BUILD (build), LIMIT: seconds for each (1800),
# CASES: lines of goldens for each op (all), ICD: the driver's file, TILE: 32, 64 or 128.
set -u
cd "$(dirname "$0")/../.."
build=$(realpath "${BUILD:-build}") failed=0 ran=0 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export LP_NUM_THREADS=${LP_NUM_THREADS:-0} XDG_CACHE_HOME=$work GALLIVM_PERF=nopt \
    VK_ICD_FILENAMES=${ICD:-$(ls /usr/share/vulkan/icd.d/lvp_icd*.json | head -n1)} \
    VK_LAYER_PATH=$build/tests/vulkan VK_INSTANCE_LAYERS=VK_LAYER_FIGMENT_shapes
program() {
    case $1 in
    windows) echo "$build/tests/vulkan/test_vulkan_windows" ;;
    *) echo "$build/tests/op/test_op_$1 vulkan:f16" ;;
    esac
}
for shape in ${*:-16x16x16 16x8x16 8x16x16 8x8x8}; do
    for item in ${OPS:-linear conv2d attention attention:fill=1 windows variants}; do
        begun=$SECONDS op=${item%%:*} limits=wait=9999,tile=${TILE:-32} cases=${CASES:-100}
        [ "$item" = "$op" ] || limits=$limits,${item#*:}
        [ $op != variants ] || cases=5 # attention's
        FIGMENT_TEST_CASES=$cases FIGMENT_VULKAN_LIMITS=$limits FIGMENT_TEST_MATRICES="$shape hhff" FIGMENT_VULKAN_PATH=matrix:$shape \
            timeout "${LIMIT:-1800}" $(program $op) >"$work/log" 2>&1
        status=$?
        ran=$((ran + 1))
        [ $status = 0 ] || failed=$((failed + 1))
        echo "$([ $status = 0 ] && echo ok || echo "FAIL ($status)") $shape $item: $((SECONDS - begun)) s, $(tail -n1 "$work/log")"
    done
done
echo "$((ran - failed)) passed, $failed failed"
exit $((failed > 0))
