# Sourced by the tests of the command line: $figment, $work (an empty folder that goes away), and checks.
figment=$1
[ -x "$figment" ] || { echo "no program at $figment"; exit 2; }
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
export LC_ALL=C.UTF-8 XDG_DATA_HOME=$work/data XDG_CACHE_HOME=$work/cache HOME=$work
passed=0 failed=0
model=$PWD/tests/golden/tiny

check() { # what, command...: the command must succeed
    local what=$1
    shift
    if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $what"; fi
}

# status, sentence ("" = any), arguments...: runs figment, checks both; stderr stays in $work/.err
expect() {
    local status=$1 sentence=$2 got
    shift 2
    "$figment" "$@" >"$work/.out" 2>"$work/.err" </dev/null
    got=$?
    if [ "$got" = "$status" ] && { [ -z "$sentence" ] || [ "$(cat "$work/.err")" = "figment: $sentence" ]; }; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: figment $*"
        echo "  exit $got, expected $status; said: $(cat "$work/.err")"
        [ -z "$sentence" ] || echo "  expected: figment: $sentence"
    fi
}

tiny() { # arguments...: a picture in two steps
    "$figment" generate --model "$model" --prompt "a red apple" --seed 3 --steps 2 --device cpu --precision f32 --threads 1 "$@"
}

finish() {
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ] && [ "$passed" != 0 ]
    exit
}
