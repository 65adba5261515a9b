#!/bin/sh
# A whole training on a machine that is lent for minutes and reaches nothing: data, all steps, figures, results.
#
#     train/gpu.sh pack FILE.tar [SOURCE]   # here: what the machine needs, about 26 MB (code and drawings)
#     sh train/gpu.sh run FOLDER [MINUTES]  # there, where FILE.tar was unpacked; default 17, and 5 more around them
#     train/gpu.sh join FOLDER [MODEL]      # here: the model from the parts that came back
#
# "run" goes on where it was stopped (SIGTERM) when it is started again with the same minutes. FOLDER then holds parts of at most
# 15 MiB: the model in three, figures, pictures and logs in one, and their checksums.
# PYTHON names the interpreter (torch, diffusers, transformers, safetensors, numpy, pillow), PRESET one of train.py's.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
what=${1:?pack, run or join}
folder=${2:?a file or folder}

case $what in
pack)
    source=${3:-$here/data/source}
    parts=$(mktemp -d)
    trap 'rm -rf "$parts"' EXIT
    mkdir -p "$parts/train/data/source"
    cp "$here"/*.py "$here"/gpu.sh "$here"/common.txt "$parts/train"
    for f in captions.jsonl noto.tar fluent3d.tar fluentflat.tar; do
        cp "$source/$f" "$parts/train/data/source"
    done
    tar -C "$parts" -cf "$folder" train
    ls -l "$folder"
    ;;
run)
    mkdir -p "$folder"
    out=$(cd "$folder" && pwd)
    cd "$here"
    start=$(date +%s)
    step() { # so that a stop reaches the step, and is told from its end
        "$@" &
        child=$!
        trap 'kill $child 2>/dev/null; wait $child; exit 1' TERM INT
        wait $child
        trap - TERM INT
        echo "$(($(date +%s) - start)) s: $1 $2 done"
    }
    step "$python" make_data.py --source data/source
    step "$python" train.py --minutes "${3:-17}" --to runs/starter ${PRESET:+--preset "$PRESET"}
    step "$python" evaluate.py --model runs/starter --out runs/evaluate ${FRACTION:+--fraction "$FRACTION"}
    tar -C runs -cf - starter | split -b 15728640 -d - "$out/model.tar."
    rm -rf runs/figures
    mkdir runs/figures
    for f in runs/*/log.jsonl runs/unet*/grid-*.png runs/vae*/recon.png runs/evaluate/report.json runs/evaluate/sheet.png runs/judge/report.json; do
        [ -f "$f" ] && cp "$f" "runs/figures/$(echo "$f" | cut -d/ -f2- | tr / -)"
    done
    rm -f $(ls -t runs/figures/unet*grid* | tail -n +5)
    tar -C runs -cf "$out/figures.tar" figures
    (cd "$out" && sha256sum model.tar.* figures.tar > SHA256SUMS && ls -l)
    ;;
join)
    to=${3:-$here/../assets/models}
    (cd "$folder" && sha256sum -c SHA256SUMS)
    cat "$folder"/model.tar.* | tar -C "$to" -xf -
    tar -C "$folder" -xf "$folder/figures.tar"
    ls -l "$to/starter"
    ;;
*)
    echo "pack, run or join" >&2
    exit 2
    ;;
esac
