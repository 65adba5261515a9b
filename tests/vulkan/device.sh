#!/bin/bash
# Devices that nobody has here, as the program takes them: a layer makes the software device claim to be one (device_layer.c).
#     device.sh PROGRAM refused | wrong | dies OPENER   (open.c)
. tests/cli/lib.sh
cd "$work" || exit 2
small="--prompt x --model $model --steps 1 --size 64x64 --threads 1"

device() { export FIGMENT_TEST_DEVICE=type=discrete,$1; }
start() { # status, sentence, precision: the back end alone
    local figment=$opener
    expect "$1" "$2" "$3"
}
picture() { # sentence, arguments...: a picture is made, and the sentence is all that is told
    rm -f o.png
    expect 0 "$1" generate $small --output o.png "${@:2}"
    check "a picture ($FIGMENT_TEST_DEVICE)" test -s o.png
    check "one line ($FIGMENT_TEST_DEVICE)" test "$(wc -l <.err)" = "$([ -n "$1" ] && echo 1 || echo 0)"
}
listed() { # pattern: what the list says of the device
    "$figment" devices >.out
    check "“$1” ($FIGMENT_TEST_DEVICE): $(cat .out)" grep -q "$1" .out
}
killed() { # what, precision: the layer kills the process
    { "$opener" "$2" >.out 2>.err; } 2>/dev/null
    local status=$?
    check "killed: $1 ($status, $(cat .err))" test $status = 137
}
debugged() { # what, precision, pattern: the back end is made, and its log says so
    G_MESSAGES_DEBUG=figment "$opener" "$2" >.out 2>.err
    local status=$?
    check "$1: exit $status, $(cat .out .err)" test $status = 0
    check "$1: $(cat .out .err)" grep -q "$3" .out .err
}
kernels() { cat "$XDG_CACHE_HOME"/figment/*.kernels; }

refused() {
    local reason
    while IFS='|' read -r claim reason; do
        device "$claim"
        listed "^  vulkan:0 .*), discrete GPU; not usable: $reason, "
        listed "^\* cpu "
        expect 3 "“$name” cannot be used: $reason." generate $small --output o.png --device vulkan
        picture "“$name” cannot be used: $reason. The picture is made on the CPU."
    done <<END
api=1.1.0|its driver is too old (Vulkan 1.1.0, 1.2 is needed)
api=1.0.3|its driver is too old (Vulkan 1.0.3, 1.2 is needed)
subgroup=basic|it has no subgroup arithmetic
buffers=7|it binds too few buffers
queue=none|it has no compute queue
END
    device api=1.2.0,buffers=8
    listed "^\* vulkan:0 .*), discrete GPU, "
    FIGMENT_TEST_DEVICE= listed "^  vulkan:0 .*), software that runs on the CPU, "
    # The software device is nothing that auto would take, whatever it lacks.
    FIGMENT_TEST_DEVICE=api=1.1.0 picture "Vulkan finds no graphics card here; the picture is made on the CPU."
}

wrong() {
    local said="“$name” computes wrong numbers with its"
    device wrong=conv2d_f # tiles in shared memory
    debugged "another one is taken" f32 "$said shared kernels (error [0-9.e-]*)"
    listed "f32: registers, "
    device wrong=conv2d_register
    rm "$XDG_CACHE_HOME"/figment/*.kernels
    debugged "the other one is taken" f32 "$said register kernels (error [0-9.e-]*)"
    listed "f32: shared memory, "
    device wrong=conv2d_f,wrong=conv2d_register
    rm "$XDG_CACHE_HOME"/figment/*.kernels
    start 3 "" f32
    said=$(cat .err)
    check "all are wrong: $said" grep -q "^figment: “$name” computes wrong numbers with its register kernels (error [0-9.e-]*)\.$" .err
    picture "${said#figment: } The picture is made on the CPU." --precision f32
    listed "; not tested yet"
    # Cooperative matrices that compute nothing at all, among NaNs.
    device empty=conv2d_matrix,wrong=conv2d_f
    said="“$name” computes wrong numbers with its"
    FIGMENT_POISON=1 FIGMENT_VULKAN_SELFTEST=1 debugged "matrices are refused" f16 "$said matrix kernels (error [-a-z]*)"
    listed "f16: registers, "
    FIGMENT_POISON=1 FIGMENT_VULKAN_PATH=matrix:16x16x16 start 3 "" f16
    check "asked for: $(cat .err)" grep -q "^figment: $said matrix kernels (error [-a-z]*)\.$" .err
}

dies() {
    local left="“$name” crashed or hung while its"
    local again="kernels were tried; they are not tried again before its driver is another one, or FIGMENT_VULKAN_SELFTEST is “again”."
    # Matrices: one end is enough, of each shape.
    device wrong=conv2d_f,empty=conv2d_matrix,dies=conv2d_matrix
    killed "16x16x16" f16
    start 0 "" f16 # one is enough for all of them
    listed "f16: registers, "
    export FIGMENT_VULKAN_SELFTEST=1
    killed "8x8x8" f16
    debugged "without matrices" f16 "$left matrix $again"
    listed "f16: registers, "
    unset FIGMENT_VULKAN_SELFTEST
    start 0 "" f16
    # An answer of before is not believed.
    sed -i '/^\[f16\]/,/^rate/ { s/^path=.*/path=2/; s/^m=.*/m=16/; s/^n=.*/n=16/; s/^k=.*/k=16/; }' "$XDG_CACHE_HOME"/figment/*.kernels
    listed "f16: cooperative matrix 16x16x16, "
    start 0 "" f16
    listed "f16: registers, "
    export FIGMENT_VULKAN_SELFTEST=again
    killed "asked again" f16
    # A hang is an end, too, but the program goes on.
    device wrong=conv2d_f,empty=conv2d_matrix,hangs=conv2d_matrix
    FIGMENT_VULKAN_LIMITS=wait=8 start 3 "" f16
    check "lost: $(cat .err)" grep -q "^figment: The graphics driver reset “$name” (" .err
    export FIGMENT_VULKAN_SELFTEST=1
    debugged "without matrices after a hang" f16 "$left matrix $again"
    unset FIGMENT_VULKAN_SELFTEST

    # Others: once may be somebody who ended the program, twice is the driver.
    device wrong=conv2d_f,dies=conv2d_register
    killed "once" f32
    device wrong=conv2d_f
    start 0 "" f32
    listed "f32: registers, "
    check "no mark is left: $(kernels)" sh -c "! grep -q ^f32- $XDG_CACHE_HOME/figment/*.kernels"
    sed -i '/^\[f32\]/,/^rate/d' "$XDG_CACHE_HOME"/figment/*.kernels
    device wrong=conv2d_f,dies=conv2d_register
    killed "twice" f32
    killed "twice" f32
    start 3 "$left register $again" f32
    picture "$left register $again The picture is made on the CPU." --precision f32
    FIGMENT_VULKAN_SELFTEST=again killed "asked again" f32
    device wrong=conv2d_f # a driver that was mended
    FIGMENT_VULKAN_SELFTEST=again start 0 "" f32
    listed "f32: registers, "
}

device ""
name=$("$figment" devices | sed -n 's/^. vulkan:0 *\(.*\), discrete GPU, .*/\1/p')
[ -n "$name" ] || { echo "no device, or no layer"; exit 1; }
opener=$3
"$2"
finish
