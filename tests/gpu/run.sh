#!/bin/bash
# What a machine with a GPU is asked, within 12 minutes: every Vulkan test on it, the self-test, the figures in f16, the same
# in PyTorch. A build in ./build, or in BUILD. Ends with 1 when a test failed. Not run by CI: results depend on the machine.
#     tests/gpu/run.sh [DEVICE]           DEVICE as in `figment devices`: vulkan:0 is the first
#     QUICK=1 tests/gpu/run.sh            its logic on a software device: two tests, the smallest layer, PyTorch on the CPU
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build} device=${1:-vulkan} out=${OUT:-$(mktemp -d)} failed=0 begun=$SECONDS python=${PYTHON:-python3}
export XDG_CACHE_HOME=$out/cache
left() { echo $((720 - SECONDS + begun)); }
ops=$(sed -n 's/^OP(\([a-z0-9_]*\),.*/\1/p' compute/op.def) paths="shared matrix" blocks="unet vae"
[ -z "${QUICK:-}" ] || { ops="silu linear" paths=register blocks=; }

check() { # NAME COMMAND...
    local name=$1; shift
    local limit=$(left)
    [ "$limit" -gt 5 ] || { echo "TIME  $name: no time is left"; failed=1; return; }
    if timeout "$limit" "$@" >"$out/test.log" 2>&1; then
        echo "ok    $name: $(tail -n1 "$out/test.log")"
    else
        echo "FAIL  $name"; tail -n5 "$out/test.log"; failed=1
    fi
}

echo "== devices; the self-test measures anew, with cooperative matrices"
for precision in f16 f32; do
    [ -n "${QUICK:-}" ] || FIGMENT_VULKAN_SELFTEST=1 G_MESSAGES_DEBUG=figment timeout 120 \
        "$build/app/figment" bench --device "$device" --precision $precision --only "op: " 2>&1 | tee "$out/self-$precision.log"
done
"$build/app/figment" devices
echo "== tests"
for path in $paths; do
    for op in $ops fused moments; do
        [ -z "${QUICK:-}" ] || [ "$op" != fused ] || continue
        case $path:$op in matrix:conv2d | matrix:linear | matrix:fused | shared:* | register:*) ;; *) continue ;; esac
        for precision in f16 f32; do
            [ $path:$precision = matrix:f32 ] || check "$op $precision $path" env FIGMENT_VULKAN_PATH=$path \
                "$build/tests/op/test_op_$op" vulkan:$precision
        done
    done
done
for block in $blocks; do
    for precision in f32 f16; do check "$block $precision" "$build/tests/block/test_block_$block" vulkan $precision; done
done
if [ -z "${QUICK:-}" ]; then
    for test in limits faults; do check $test "$build/tests/vulkan/test_vulkan_$test"; done
    for mode in same limits; do check "picture $mode" "$build/tests/vulkan/test_vulkan_picture" $mode; done
    check strips "$build/tests/engine/test_engine_decode" strips f16
fi
echo "== figures ($(left) s left)"
if [ -n "${QUICK:-}" ]; then
    "$build/app/figment" bench --device "$device" --precision f32 --large --only "8 x 8, 32" --json >"$out/rows.json"
    peer="--device cpu --dtype f32 --seconds 0.1 --no-compile"
else
    for only in "U-Net 512 x 512, batch 2" "SDXL U-Net" "VAE decode 512" "VAE decode 1024" "layer: "; do
        timeout "$(left)" "$build/app/figment" bench --device "$device" --precision f16 --large --only "$only" --json
    done >"$out/rows.json"
    peer=
fi
cat "$out/rows.json"
echo "== PyTorch ($(left) s left)"
timeout "$(left)" "$python" tests/gpu/peer.py "$out/rows.json" $peer || echo "PyTorch was not measured to the end"
echo "== $((SECONDS - begun)) s, $([ $failed = 0 ] && echo 'every test passed' || echo 'TESTS FAILED'); files in $out"
exit $failed
