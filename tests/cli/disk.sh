#!/bin/bash
# Saving when the disk does not want to, and when the program dies: every file under a final name is
# whole, nothing is lost silently, nothing temporary stays. Needs strace; without it, or where it may
# not trace, the test is skipped (77). Arguments: the program.
command -v strace >/dev/null || { echo "no strace"; exit 77; }
strace -o /dev/null true 2>/dev/null || { echo "strace may not trace here"; exit 77; }
. tests/cli/lib.sh
cd "$work" || exit 2
export XDG_CACHE_HOME=$work/cache
tiny --output warm.png >/dev/null # the model's hash is known now: only pictures are written below

calls=openat,write,fsync,renameat2,renameat,linkat,unlinkat,rename
trace() { # strace options...: a picture into out/
    rm -rf out && mkdir out
    strace -f -qq -e signal=none "$@" "$figment" generate --model "$model" --prompt "a red apple" --seed 3 --steps 1 \
        --device cpu --precision f32 --threads 1 --output "out/[number].png" >stdout 2>stderr
}

# The order that a power cut can't break.
trace -y -o log -e trace=$calls
check "saved" test -s out/00000.png
check "write, fsync, rename, fsync of the folder" python3 - "$work" <<'PY'
import re, sys
want = [r"openat\(\d+<[^>]*/out>, \"\.figment-[^\"]*\.tmp\", O_WRONLY\|O_CREAT\|O_EXCL", r"write\(\d+<[^>]*/out/\.figment-[^>]*\.tmp>",
        r"fsync\(\d+<[^>]*/out/\.figment-[^>]*\.tmp>\) += 0", r"renameat2\(\d+<[^>]*/out>, \"\.figment-[^\"]*\", \d+<[^>]*/out>, \"00000.png\", RENAME_NOREPLACE\) = 0",
        r"fsync\(\d+<[^>]*/out>\) += 0"]
for line in open("log"):
    if want and re.search(want[0], line):
        want.pop(0)
assert not want, want[0]
PY

whole() { # every file under a final name is a whole picture
    local f
    for f in out/*.png; do
        [ -e "$f" ] || continue
        "$figment" read "$f" >/dev/null 2>&1 || return 1
        [ "$(tail -c 8 "$f" | od -An -tx1 | tr -d ' ')" = 49454e44ae426082 ] || return 1
    done
}
clean() { [ -z "$(ls -A out | grep '\.tmp$')" ]; }

fails() { # what, sentence, strace options...
    local what=$1 sentence=$2
    shift 2
    trace -o /dev/null "$@"
    check "$what: exit 3" test $? = 3
    check "$what: $(cat stderr)" grep -q "$sentence" stderr
    check "$what: nothing under a final name" test -z "$(ls out)"
    check "$what: nothing temporary" clean
}
fails "full disk" "^figment: Can't save into “out”: the disk is full (the file needs .*, .* are free)\.$" \
    -e trace=fsync -e inject=fsync:error=ENOSPC:when=1
fails "input/output error" "^figment: Can't save into “out”: Input/output error (.* to write)\.$" \
    -e trace=fsync -e inject=fsync:error=EIO:when=1
fails "quota" "the disk is full" -e trace=fsync -e inject=fsync:error=EDQUOT:when=1
fails "the folder's own sync fails" "Input/output error" -e trace=fsync -e inject=fsync:error=EIO:when=2
fails "read-only" "Read-only file system" -e trace=renameat2 -e inject=renameat2:error=EROFS

# A file system without RENAME_NOREPLACE.
trace -o /dev/null -e trace=renameat2 -e inject=renameat2:error=EINVAL
check "a link instead" test -s out/00000.png
check "no second name" clean
check "whole" whole

# kill -9 at each call of the save.
for call in renameat2:1 fsync:1 fsync:2; do
    trace -o /dev/null -e trace=${call%:*} -e inject=${call%:*}:signal=KILL:when=${call#*:}
    check "killed at $call: what is there is whole" whole
    tiny --output "out/[number].png" >/dev/null
    check "killed at $call: the next one is saved" whole
    check "killed at $call: the next one sweeps" clean
done
finish
