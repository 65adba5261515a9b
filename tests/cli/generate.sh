#!/bin/bash
# What the command line does when all is well. Arguments: the program.
. tests/cli/lib.sh
cd "$work" || exit 2

check "a picture" tiny --output a.png >a.out
check "its path on stdout" test "$(cat a.out)" = a.png
check "the same again" tiny --output b.png >/dev/null
check "byte for byte" cmp -s a.png b.png
check "exact names are replaced" tiny --output a.png --steps 3 >/dev/null
check "another picture" bash -c '! cmp -s a.png b.png'
check "a batch in a pattern" tiny --batch 3 --output "out/[prompt_words]-[seed].png" >batch.out
check "three files" test "$(ls out | tr '\n' ' ')" = "a red apple-3.png a red apple-4.png a red apple-5.png "
check "the first is the single one" cmp -s b.png "out/a red apple-3.png"
check "a batch in a file name" tiny --batch 2 --output n.png >/dev/null
check "n.png and n-2.png" test -f n.png -a -f n-2.png
check "JPEG" tiny --output j.jpg >/dev/null
check "a JPEG file" test "$(head -c 2 j.jpg | od -An -tx1 | tr -d ' ')" = ffd8
check "the JPEG's settings" bash -c "\"$figment\" read j.jpg | grep -q '^Seed: 3$'"
check "without metadata" tiny --output bare.png --no-metadata >/dev/null
expect 2 "“bare.png” carries no settings." read bare.png
check "a folder" tiny --output out/ >/dev/null
check "its number" test -f out/00000-3.png

"$figment" read b.png >read.out
check "prompt" grep -qx "Prompt: a red apple" read.out
check "sampler" grep -qx "Sampler: DPM++ 2M" read.out
check "size" grep -qx "Size: 64x64" read.out
check "as JSON" bash -c "\"$figment\" read b.png --json | python3 -c 'import json,sys; d=json.load(sys.stdin); assert d[\"settings\"][\"Seed\"]==\"3\"'"

# Settings of a picture, then of another option.
check "--from" "$figment" generate --from b.png --model "$model" --device cpu --precision f32 --threads 1 --output c.png >/dev/null
check "gives the picture again" cmp -s b.png c.png
check "--from, another seed" "$figment" generate --seed 9 --from b.png --model "$model" --device cpu --precision f32 --threads 1 --output c.png >/dev/null
check "has the last word" bash -c "\"$figment\" read c.png | grep -qx 'Seed: 9'"
mkdir -p data/figment/models && ln -s "$model" data/figment/models/my-model
check "a model by its name" "$figment" generate --prompt x --model my-model --steps 1 --device cpu --threads 1 --output m.png >/dev/null
expect 2 "There is no model “my-modle”; did you mean “my-model”?" generate --prompt x --model my-modle
check "listed" bash -c "\"$figment\" models | grep -q '^my-model '"
check "as JSON" bash -c "\"$figment\" models --json | python3 -c 'import json,sys; json.load(sys.stdin)'"
check "devices" bash -c "\"$figment\" devices | grep -q '^[* ] cpu'"
check "inspect" bash -c "\"$figment\" inspect \"$model\" | grep -q text_encoder"
check "inspect tells that all is there" bash -c "\"$figment\" inspect \"$model\" | grep -q 'complete; a picture takes'"
check "hashes" bash -c "\"$figment\" models --hash --json | python3 -c 'import json,sys; assert all(len(m[\"sha256\"]) == 64 for m in json.load(sys.stdin))'"
check "inspect a file" bash -c "\"$figment\" inspect \"$model/text_encoder/model.safetensors\" --tensors | grep -q token_embedding.weight"

expect 0 "There is no LoRA “x” in your folders; the picture is made without it." generate --model "$model" --prompt "a <lora:x:1>" --steps 1 --device cpu --threads 1 --output l.png
tiny --json --output e.png >events
check "every line is JSON, the events in order" python3 - events <<'PY'
import json, sys
events = [json.loads(line) for line in open(sys.argv[1])]
names = [e["event"] for e in events]
assert names == ["loading", "estimate", "encoding", "step", "preview", "step", "preview", "decoding", "saving", "picture",
                 "measured", "done"], names
picture, steps = events[-3], [e for e in events if e["event"] == "step"]
before, after = events[1]["estimate"], events[-2]["estimate"]
assert before["peak"] > 0 and before["measured"] == 0 and 0 < after["measured"] < 2 * before["peak"], (before, after)
assert picture["path"] == "e.png" and picture["seed"] == "3" and picture["width"] == 64, picture
assert steps[0]["step"] == 1 and steps[0]["steps"] == 2, steps[0]
assert picture["parameters"].startswith("a red apple\nSteps: 2, "), picture
PY
mkdir -p data/figment && printf 'name,prompt,negative_prompt\nInk,"ink drawing of {prompt}, black",colour\nBig,large,\n' >data/figment/styles.csv
check "two styles" tiny --style Ink --style Big --output s.png >/dev/null
check "in the picture's prompt" bash -c "\"$figment\" read s.png | grep -qx 'Prompt: ink drawing of a red apple, black, large'"
check "and in the negative one" bash -c "\"$figment\" read s.png | grep -qx 'Negative prompt: colour'"
expect 2 "There is no style “Inc”; did you mean “Ink”?" generate --model "$model" --prompt x --style Inc
check "ComfyUI's weights" tiny --emphasis comfy --prompt "a (red:1.4) apple" --output k.png >/dev/null
check "are told" bash -c "\"$figment\" read k.png | grep -qx 'Emphasis: ComfyUI'"
check "are others than A1111's" bash -c '"$0" "$@" && ! cmp -s k.png k2.png' "$figment" generate --model "$model" --prompt "a (red:1.4) apple" --size 64x64 --steps 2 --seed 3 --device cpu --precision f32 --threads 1 --quiet --output k2.png
expect 2 "--emphasis must be a1111, no-norm, comfy, ignore or none, not “loud”." generate --prompt x --emphasis loud
expect 2 "A mask needs a picture that it belongs to (--init)." generate --model "$model" --prompt x --mask a.png --size 64x64 --device cpu --threads 1
check "low memory" tiny --low-memory --output lm.png >/dev/null
check "the same picture" cmp -s b.png lm.png
check "--verbose" bash -c "\"$figment\" generate --model \"$model\" --prompt x --steps 1 --size 64x64 --device cpu --threads 1 --verbose --output v.png 2>&1 >/dev/null | grep -q '^needs .* memory'"
# Whether models fit the device that is asked for; a software device's memory says nothing.
fits() { FIGMENT_CPU_MEMORY=$1 "$figment" models --device "$2" --json | grep -c "\"fits\": $3" | grep -qvx 0; }
check "fits in the CPU's memory" fits 900000000000 cpu true
check "does not fit" fits 1000 cpu false
check "the CPU's memory is not a GPU's" bash -c "! FIGMENT_CPU_MEMORY=1000 \"$figment\" models --device vulkan:9 --json | grep -q fits"
tiny --json --output e.png --sampler Euler --size 64x64 --steps 1000 >events 2>/dev/null
check "bad input tells no JSON" test ! -s events
tiny --dump d --output d.png >/dev/null
check "--dump" test -s d/text.npy -a -s d/uncond.npy -a -s d/latent_000.npy -a -s d/latent_002.npy -a -s d/image.npy
check "the start is the noise of the seed" python3 - <<'PY'
import struct
def read(path):
    data = open(path, "rb").read()
    size, = struct.unpack("<H", data[8:10])
    return data[10:10 + size], data[10 + size:]
header, values = read("d/latent_000.npy")
assert b"'shape': (1, 4, 8, 8,)" in header, header
PY
tiny --dump-tape --output t.png >tape
check "--dump-tape" grep -q "conv2d" tape

# Noise from a file: that of the seed gives the seed's picture (DDIM starts from it as it is).
tiny --sampler DDIM --dump d2 --output ddim.png >/dev/null
check "--noise" tiny --sampler DDIM --noise d2/latent_000.npy --output noise.png >/dev/null
check "the same picture" cmp -s ddim.png noise.png

# No driver, and no loader: made on the CPU, with one line that says so; named, it fails with a sentence.
: >libvulkan.so.1
for without in VK_DRIVER_FILES=/dev/null\ VK_ICD_FILENAMES=/dev/null LD_LIBRARY_PATH="$work"; do
    # shellcheck disable=SC2086
    env $without "$figment" generate --model "$model" --prompt x --steps 1 --threads 1 --output auto.png >auto.out 2>auto.err
    check "made with $without" test -s auto.png -a "$(cat auto.out)" = auto.png
    check "one line with $without" test "$(wc -l <auto.err)" = 1
    check "that says so" grep -q "^figment: .*; the picture is made on the CPU\.$" auto.err
    # shellcheck disable=SC2086
    env $without "$figment" generate --model "$model" --prompt x --steps 1 --device vulkan --output named.png 2>named.err
    check "vulkan with $without" test $? = 3 -a ! -e named.png
    check "offers the CPU" grep -q "^figment: .*\(can be made on the CPU instead\|use --device cpu\)\.$" named.err
    rm -f auto.png
done
rm libvulkan.so.1

# Ctrl-C: ends soon, says so, leaves nothing.
"$figment" generate --model "$model" --prompt x --steps 500 --size 1024x1024 --device cpu --threads 1 --output stop.png >/dev/null 2>stop.err &
pid=$!
sleep 1
kill -INT $pid
wait $pid
check "stopped" test $? = 130
check "says so" grep -qx "figment: Stopped." stop.err
check "no picture" test ! -e stop.png
finish
