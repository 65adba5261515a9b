#!/bin/bash
# Whatever is wrong: one sentence, the right exit status, no file. Arguments: the program.
. tests/cli/lib.sh
cd "$work" || exit 2
g="generate --prompt x --model $model --threads 1 --output o.png"

expect 2 "There is no command “generat”; did you mean “generate”?" generat
expect 2 "There is no command “fly”; “figment --help” lists them." fly
expect 2 "There is no file or folder “missing.png”." missing.png
expect 2 "There is no file or folder “Missing.JPEG”." Missing.JPEG
expect 2 "There is no file or folder “model.safetensors”." model.safetensors
expect 2 "There is no file or folder “./nowhere”." ./nowhere
expect 2 "There is no command “png”; “figment --help” lists them." png
expect 2 "What should be drawn? Say --prompt \"a red apple\"." generate
expect 2 "There is no option --smapler; did you mean --sampler?" $g --smapler x
expect 2 "There is no option --colour; “figment generate --help” lists them." $g --colour red
expect 2 "--steps needs a value: --steps N." $g --steps
expect 2 "--json takes no value." $g --json=1
expect 2 "--steps must be a whole number from 1 to 500, not “0”." $g --steps 0
expect 2 "--steps must be a whole number from 1 to 500, not “-3”." $g --steps -3
expect 2 "--steps must be a whole number from 1 to 500, not “20x”." $g --steps 20x
expect 2 "--steps must be a whole number from 1 to 500, not “99999999999999999999”." $g --steps 99999999999999999999
expect 2 "--cfg must be a number from 0 to 50, not “nan”." $g --cfg nan
expect 2 "--cfg must be a number from 0 to 50, not “-1”." $g --cfg -1
expect 2 "--size must be like 512x512, not “512”." $g --size 512
expect 2 "--size must be like 512x512, not “512x512x3”." $g --size 512x512x3
expect 2 "The width in --size must be a whole number from 64 to 4096, not “0”." $g --size 0x512
expect 2 "The size 500x502 can't be made: both sides must be multiples of 8 from 64 to 4096." $g --size 500x502
expect 2 "--seed must be a whole number from 0 to 2^64 - 1, or -1, not “1.5”." $g --seed 1.5
expect 2 "--seed must be a whole number from 0 to 2^64 - 1, or -1, not “18446744073709551616”." $g --seed 18446744073709551616
expect 2 "--batch must be a whole number from 1 to 999, not “1000”." $g --batch 1000
expect 2 "--rng must be cpu or gpu, not “tpu”." $g --rng tpu
expect 2 "--format must be png or jpeg, not “gif”." $g --format gif
expect 2 "There is no sampler 'Eulr'; did you mean 'Euler'?" $g --sampler Eulr
expect 2 "There is no device “npu”; devices are auto, cpu, vulkan and vulkan:N." $g --device npu
expect 2 "There is no device “npu”; devices are auto, cpu, vulkan and vulkan:N." models --device npu
expect 2 "There is no precision “f64”; it is one of auto, f32, f16 and bf16." $g --precision f64
expect 3 "The CPU computes in bf16 or f32, not in f16." $g --device cpu --precision f16
expect 2 "There is no model at “missing.safetensors”." generate --prompt x --model missing.safetensors
expect 2 "There is no model at “./nowhere”." generate --prompt x --model ./nowhere
mkdir empty
expect 2 "“./empty” is no model: the folder has no model_index.json." generate --prompt x --model ./empty
expect 2 "“o” is one argument too many for “figment generate”." generate x o
expect 2 "The prompt is longer than 64 KiB." generate --model "$model" --prompt "$(head -c 70000 /dev/zero | tr '\0' a)"
expect 2 "The value of --prompt is not UTF-8 text." generate --model "$model" --prompt $'\xff\xfe'
echo hello >note.txt
expect 2 "“note.txt” is neither a PNG nor a JPEG picture." $g --init note.txt --device cpu
expect 2 "“note.txt” is neither a PNG nor a JPEG picture." $g --from note.txt
expect 2 "“note.txt” is not a .npy file of 32-bit floats in C order." $g --noise note.txt --device cpu
expect 2 "Can't open “gone.png”: No such file or directory." read gone.png
expect 2 "Something is missing: figment read PICTURE [OPTIONS]" read
expect 2 "" inspect note.txt
expect 2 "" inspect /dev/zero
expect 3 "" generate --prompt x --model "$model" --device cpu --steps 1 --output note.txt/sub/o.png
check "no picture was left" test ! -e o.png
check "no temporary file was left" test -z "$(ls -A | grep tmp)"

# A model that is cut, or whose parts are missing.
cp -rL "$model" cut && head -c 100000 "$model/unet/diffusion_pytorch_model.safetensors" >cut/unet/diffusion_pytorch_model.safetensors
expect 2 "" generate --prompt x --model ./cut --device cpu --output o.png
check "the sentence names the file: $(cat .err)" grep -q "diffusion_pytorch_model.safetensors" .err
rm cut/unet/diffusion_pytorch_model.safetensors
expect 2 "" generate --prompt x --model ./cut --device cpu --output o.png
check "a sentence: $(cat .err)" grep -q "^figment: ..*" .err
check "still no picture" test ! -e o.png

expect 0 "" --help
expect 0 "" --version
for command in generate models devices inspect read bench; do expect 0 "" $command --help; done
finish
