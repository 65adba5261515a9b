#!/bin/bash
# GPU-assisted validation, with the core and synchronization checks, of everything that computes: the controls, every op with
# the kernels of lavapipe (register) and of GPUs (shared), the networks' goldens. Not run by CI: Debian 12's layer does not see a wrong
# index.
#     tests/validation.sh [REGEX]     what has such a name ("conv2d f16", "control", "unet")
# All of it: 4 minutes of CPU time, with CASES=1000 (every line) 10, on AMD EPYC Zen 4, layer 1.4.363, lavapipe of Mesa 25.0.7.
# Needs layer 1.4.309 or later and lavapipe of Mesa 25.0 (Debian 13): 26.2 crashes on instrumented norms, 22.3 is not instrumented.
# BUILD (build), LIMIT: seconds for each (1200), CASES: lines of goldens for each op (2), ICD: the driver's file, CACHE: a folder that
# keeps what the driver compiled, so that a run that was cut off goes on.
set -u
cd "$(dirname "$0")/.."
build=${BUILD:-build} limit=${LIMIT:-1200} chosen=${1:-.} ran=0 failed=0 work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
icd=${ICD:-$(ls /usr/share/vulkan/icd.d/lvp_icd*.json | head -n1)}
# Without the heuristic, layers of 2024 and later do not look at what shaders read and write.
# GALLIVM_PERF: LLVM's passes over instrumented shaders are most of the time.
export LP_NUM_THREADS=${LP_NUM_THREADS:-0} VK_ICD_FILENAMES=$icd XDG_CACHE_HOME=${CACHE:-$work} FIGMENT_VALIDATION=1 \
    VK_INSTANCE_LAYERS=VK_LAYER_KHRONOS_validation VK_LAYER_GPUAV_ENABLE=1 VK_LAYER_VALIDATE_SYNC=1 \
    VK_LAYER_SYNCVAL_SHADER_ACCESSES_HEURISTIC=1 FIGMENT_TEST_CASES=${CASES:-2} GALLIVM_PERF=nopt
TIMEFORMAT='%U %R'

run() { # NAME COMMAND...
    local name=$1 status used whole
    [[ $name =~ $chosen ]] || return
    shift
    { time timeout "$limit" "$@" >"$work/log" 2>&1; } 2>"$work/time"
    status=$?
    read -r used whole <"$work/time"
    ran=$((ran + 1))
    if [ $status = 0 ]; then
        echo "ok    $name: $used s of CPU time, $whole s, $(tail -n1 "$work/log")"
        return
    fi
    failed=$((failed + 1))
    echo "FAIL  $name: $used s of CPU time, $whole s, $([ $status = 124 ] && echo "not done" || echo "status $status")"
    grep -v '^$' "$work/log" | tail -n3
}

for fault in barrier index texel leak; do
    for try in 1 2 3 4 5; do
        run "control $fault $try" "$build/tests/vulkan/test_vulkan_validation" $fault
    done
done
[ $failed = 0 ] || { echo "A fault was not seen: nothing else would mean anything."; exit 1; }
# The check for races in shared memory makes shaders take five times as long: each op alone has it, ops together do not.
for op in $(sed -n 's/^OP(\([a-z0-9_]*\),.*/\1/p' compute/op.def) moments fused variants; do
    [[ $op =~ ^(fused|variants)$ ]] && export VK_LAYER_GPUAV_SHARED_MEMORY_DATA_RACE=0
    for path in register shared; do
        for precision in f32 f16; do
            run "$op $precision $path" env FIGMENT_VULKAN_PATH=$path \
                FIGMENT_VULKAN_LIMITS=$([ $path = register ] || echo plain=1) "$build/tests/op/test_op_$op" vulkan:$precision
        done
    done
done
for path in register shared; do
    run "net $path" env FIGMENT_VULKAN_PATH=$path FIGMENT_VULKAN_LIMITS=$([ $path = register ] || echo plain=1) \
        "$build/tests/vulkan/test_vulkan_validation" net
done
for net in vae unet; do
    for precision in f32 f16; do
        run "$net $precision" "$build/tests/block/test_block_$net" vulkan $precision
    done
done
run picture "$build/tests/vulkan/test_vulkan_picture" same
echo "$((ran - failed)) passed, $failed failed, $SECONDS s"
exit $((failed > 0 || ran == 0))
