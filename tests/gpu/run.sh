#!/bin/bash
# What a machine with a GPU is asked, within 10 minutes: every Vulkan test on it, the self-test, the figures in f16, the same
# in PyTorch. A build in ./build, or in BUILD. Ends with 1 when a test failed. Not run by CI: results depend on the machine.
#     tests/gpu/run.sh --pack             where it was built: the programs and libraries it needs, into build/gpu.tar.gz,
#                                         for a machine that has neither (nor a network); it is used where it lies
#     tests/gpu/run.sh [DEVICE]           DEVICE as in `figment devices`: vulkan:0 is the first
#     QUICK=1 tests/gpu/run.sh            its logic on a software device: two tests, the smallest layer, PyTorch on the CPU
# LIMIT: seconds in all (570). OUT: the folder for report.txt, rows.json, peer.txt and the tests' output.
set -u
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
programs="app/figment tests/block/test_block_unet tests/block/test_block_vae tests/vulkan/test_vulkan_limits
    tests/vulkan/test_vulkan_faults tests/vulkan/test_vulkan_picture tests/engine/test_engine_decode"

pack() {
    local folder
    folder=$(mktemp -d)
    mkdir -p "$folder/libs" "$folder/c"
    (cd "$build" && cp --parents $programs tests/op/test_op_* "$folder") || return 1
    find "$folder" -type f -exec strip {} +
    ldd $(find "$folder" -type f) | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*ld-linux[^ ]*\) .*/\1/p' | sort -u |
        while read -r library; do
            case $(basename "$library") in
            libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | librt.so.* | ld-linux*) cp -L "$library" "$folder/c" ;;
            *) cp -L "$library" "$folder/libs" ;;
            esac
        done
    cp -L "$(ldconfig -p | sed -n 's/.*libvulkan.so.1 .*x86-64.* => //p' | head -n1)" "$folder/libs"
    tar -C "$folder" -cf - . | gzip -6 >"$build/gpu.tar.gz"
    rm -rf "$folder"
    ls -sh "$build/gpu.tar.gz"
}
[ "${1:-}" != --pack ] || { pack; exit; }

device=${1:-vulkan} limit=${LIMIT:-570} out=${OUT:-$(mktemp -d)} failed=0 begun=$SECONDS python=${PYTHON:-python3}
export XDG_CACHE_HOME=$out/cache
exec > >(tee "$out/report.txt") 2>&1
left() { echo $((limit - SECONDS + begun)); }
ops=$(sed -n 's/^OP(\([a-z0-9_]*\),.*/\1/p' compute/op.def) paths=shared blocks="unet vae"
[ -z "${QUICK:-}" ] || { ops="silu linear" paths=register blocks=; }

# The build as it is; else the packed one with its libraries; else with its C library as well.
start=()
starts() { "${start[@]}" "$build/app/figment" --version >"$out/start.log" 2>&1; }
if ! starts && [ -f "$build/gpu.tar.gz" ]; then
    mkdir -p "$out/packed" && tar -C "$out/packed" -xzf "$build/gpu.tar.gz"
    build=$out/packed
    # Only what the machine lacks: its driver wants its own.
    mkdir -p "$out/libs"
    for library in "$build"/libs/*; do
        ldconfig -p | grep -q "^[[:space:]]*$(basename "$library") .*x86-64" || ln -sf "$library" "$out/libs"
    done
    libraries=$out/libs:${LD_LIBRARY_PATH:-}
    start=(env "LD_LIBRARY_PATH=$libraries")
    starts || start=("$build/c/ld-linux-x86-64.so.2" --library-path
        "$build/c:$libraries:/usr/lib/x86_64-linux-gnu:/usr/lib64:/usr/local/nvidia/lib64")
fi
starts || {
    cat "$out/start.log"
    echo "$build/app/figment does not start here. Build it, or run tests/gpu/run.sh --pack where it was built."
    exit 1
}
# A container may have NVIDIA's driver and not the file that tells Vulkan of it.
glx=$(ldconfig -p 2>/dev/null | sed -n 's/.*libGLX_nvidia.so.0 .*x86-64.* => //p' | head -n1)
if [ -n "$glx" ] && ! ls /usr/share/vulkan/icd.d/nvidia* /etc/vulkan/icd.d/nvidia* >/dev/null 2>&1; then
    echo "{\"file_format_version\": \"1.0.0\", \"ICD\": {\"library_path\": \"$glx\", \"api_version\": \"1.3.0\"}}" >"$out/icd.json"
    export VK_ICD_FILENAMES=$out/icd.json
fi
figment() { timeout "$(($(left) > 1 ? $(left) : 1))" "${start[@]}" "$build/app/figment" "$@"; }
if [ -z "${QUICK:-}" ] && ! figment devices | grep -q 'discrete GPU\|integrated GPU\|virtual GPU'; then
    figment devices
    echo "Vulkan finds no GPU. In a container NVIDIA's driver needs NVIDIA_DRIVER_CAPABILITIES=all; libGLX_nvidia: ${glx:-none}."
    exit 1
fi

check() { # NAME VARIABLE=VALUE... COMMAND ARGUMENT...
    local name=$1 log=$out/test-${1// /-}.log variables=()
    shift
    while [[ $1 == *=* ]]; do variables+=("$1"); shift; done
    # A third of the time is for the figures.
    local seconds=$(($(left) - limit / 3))
    [ "$seconds" -gt 5 ] || { echo "TIME  $name: no time is left"; failed=1; return; }
    if timeout "$seconds" env "${variables[@]}" "${start[@]}" "$@" >"$log" 2>&1; then
        echo "ok    $name: $(tail -n1 "$log")"
    else
        echo "FAIL  $name"; tail -n5 "$log"; failed=1
    fi
}

echo "== devices; the self-test measures anew, with cooperative matrices"
for precision in f16 f32; do
    [ -n "${QUICK:-}" ] || FIGMENT_VULKAN_SELFTEST=1 G_MESSAGES_DEBUG=figment figment bench --device "$device" \
        --precision $precision --only "op: " 2>&1 | tee "$out/self-$precision.log"
done
figment devices
echo "== tests"
# Which kernels for matrices the device has is in the sentence that refuses an unknown one.
can=$(FIGMENT_VULKAN_PATH=none figment bench --device "$device" --precision f16 --only "op: " 2>&1 | grep -o "It can be: .*")
echo "$can"
[[ -n ${QUICK:-} || $can != *matrix:* ]] || paths+=" matrix"
[[ -n ${QUICK:-} || $can != *matrix2* ]] || paths+=" matrix2"
for path in $paths; do
    for op in $ops fused variants moments; do
        [ -z "${QUICK:-}" ] || [[ $op != fused && $op != variants ]] || continue
        [[ $path != matrix* || $op =~ ^(conv2d|linear|attention|fused|variants)$ ]] || continue
        for precision in f16 f32; do
            [[ $path:$precision == matrix*:f32 ]] || check "$op $precision $path" FIGMENT_VULKAN_PATH=$path \
                "$build/tests/op/test_op_$op" vulkan:$precision
        done
    done
    [ $path = matrix2 ] || continue
    for lines in boxes heads; do check "$lines f16 $path" FIGMENT_VULKAN_PATH=$path "$build/tests/op/test_op_variants" vulkan:f16 $lines; done
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
    figment bench --device "$device" --precision f32 --large --only "8 x 8, 32" --json >"$out/rows.json"
    peer="--device cpu --dtype f32 --seconds 0.1 --no-compile"
else
    for only in "U-Net 512 x 512, batch 2" "SDXL U-Net" "VAE decode 512" "VAE decode 1024" "layer: "; do
        figment bench --device "$device" --precision f16 --large --only "$only" --json
    done >"$out/rows.json"
    peer=
    for path in $paths; do # what the self-test chose between
        echo "-- $path"
        FIGMENT_VULKAN_PATH=$path figment bench --device "$device" --precision f16 --large --only "U-Net 512 x 512, batch 2"
    done
fi
cat "$out/rows.json"
echo "== PyTorch ($(left) s left)"
if ! "$python" -c "import torch; print(torch.__version__)" 2>/dev/null; then
    echo "$python has no PyTorch: not measured (PYTHON names another one)"
else
    "$python" -c "import diffusers" 2>/dev/null || echo "$python has no diffusers: networks are not measured in PyTorch, layers are"
    timeout "$(($(left) > 5 ? $(left) : 5))" "$python" tests/gpu/peer.py "$out/rows.json" $peer 2>&1 | tee "$out/peer.txt"
    [ "${PIPESTATUS[0]}" = 0 ] || echo "PyTorch was not measured to the end"
fi
echo "== $((SECONDS - begun)) s, $([ $failed = 0 ] && echo 'every test passed' || echo 'TESTS FAILED'); files in $out"
exit $failed
