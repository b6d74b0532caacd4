#!/usr/bin/env bash
# run-cases.sh - run the command-line tests: tests/cli/run-cases.sh [CASE...]
#
# A case is cases/NAME.sh, a few commands, and cases/NAME.out, the transcript they must give. prelude.sh
# has the functions a case uses. In NAME.out `*` and `?` match as in a shell, and a line of `...`
# matches any number of lines. A transcript holds stdout as it is, stderr after "2> ", and a
# non-zero exit code as [N].
#
#   QUERN=build/quern   the program under test
#   VALGRIND=1          only the cases with a line "# valgrind", each command under memcheck
#   BLESS=1             write what a failing case printed to NAME.out (times become `*`): then read it
#   KEEP=1              keep the scratch directory
#   JOBS=2              cases at a time
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
QUERN=$(realpath "${QUERN:-$root/build/quern}")
MODELS=${MODELS:-$root/build/test-models}
JOBS=${JOBS:-2}
VALGRIND=${VALGRIND:-}
[ -x "$QUERN" ] || { echo "run-cases: $QUERN is not there: run make first" >&2; exit 2; }
python3 "$root/tests/make_models.py" "$MODELS" || exit 2
MODELS=$(realpath "$MODELS")
"$root/scripts/pocket.sh" || exit 2

work=$(mktemp -d "${TMPDIR:-/tmp}/quern-cli.XXXXXX") || exit 2
[ -n "${KEEP:-}" ] && echo "run-cases: scratch in $work" >&2
trap '[ -n "${KEEP:-}" ] || rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
export QUERN MODELS VALGRIND
# Nothing of the caller's surroundings may show in a transcript.
export HOME=$work
unset QUERN_CPU HF_HOME HF_HUB_CACHE OMP_NUM_THREADS COLUMNS
export LC_ALL=C TZ=UTC NO_COLOR=1 POCKET="$root/build/pocket" PACKS="$root/tests/data/pocket"

# Does the transcript $2 match the expectation $1?
matches() {
    local -a want got
    mapfile -t want <"$1"
    mapfile -t got <"$2"
    local w=0 g=0 skip=0 pattern
    while [ $w -lt ${#want[@]} ]; do
        if [ "${want[w]}" = "..." ]; then
            skip=1
            w=$((w + 1))
            continue
        fi
        pattern=${want[w]//\\/\\\\}
        pattern=${pattern//[/\\[}
        while :; do
            [ $g -lt ${#got[@]} ] || return 1
            # shellcheck disable=SC2053
            [[ ${got[g]} == $pattern ]] && break
            [ $skip = 1 ] || return 1
            g=$((g + 1))
        done
        skip=0
        w=$((w + 1))
        g=$((g + 1))
    done
    [ $skip = 1 ] || [ $g -eq ${#got[@]} ]
}

# What differs from run to run becomes a pattern.
normalise() {
    sed -E -e 's/^(2> +)[0-9.]+ (ms|s|min), .*peak memory.*/\1* \2, *peak memory */' \
        -e 's/^quern [0-9.]+ \(kernels.*/quern *.*.* (kernels: *)/' \
        -e 's/needs [0-9.]+ [kMG]?B of memory/needs * of memory/' \
        -e 's/needs at least [0-9]+ \([0-9]+ of/needs at least * (* of/' \
        -e 's/^f +[0-9]+ (.*README.md)$/f * \1/' "$1"
}

run_case() { # NAME
    local name=$1 dir=$work/$1 status
    mkdir "$dir" "$dir/scratch"
    ln -s "$MODELS" "$dir/scratch/m"
    (
        cd "$dir/scratch" || exit 1
        # shellcheck disable=SC2016
        exec timeout -k 5 300 bash -u -c '. "$1/prelude.sh"; . "$1/cases/$2.sh"' case "$here" "$name"
    ) >"$dir/got" 2>"$dir/err" </dev/null
    status=$?
    # A case itself must neither fail nor complain.
    [ $status -eq 0 ] || echo "(case ended with $status)" >>"$dir/got"
    sed 's/^/(case) /' "$dir/err" >>"$dir/got"
    if grep -q '^(skipped' "$dir/got"; then
        echo skip >"$dir/result"
    elif [ -f "$here/cases/$name.out" ] && matches "$here/cases/$name.out" "$dir/got"; then
        echo pass >"$dir/result"
    else
        if [ -n "${BLESS:-}" ]; then
            normalise "$dir/got" >"$here/cases/$name.out"
        fi
        echo fail >"$dir/result"
    fi
    [ -n "${KEEP:-}" ] || rm -rf "$dir/scratch"
}

if [ $# -eq 0 ]; then
    for f in "$here"/cases/*.sh; do
        [ -z "$VALGRIND" ] || grep -q '^# valgrind' "$f" || continue
        set -- "$@" "$(basename "$f" .sh)"
    done
fi

running=0
for name in "$@"; do
    if [ $running -ge "$JOBS" ]; then
        wait -n
        running=$((running - 1))
    fi
    run_case "$name" &
    running=$((running + 1))
done
wait

passed=0 failed=0 skipped=0
for name in "$@"; do
    case $(cat "$work/$name/result" 2>/dev/null) in
    pass) passed=$((passed + 1)) ;;
    skip)
        skipped=$((skipped + 1))
        echo "skipped: $name: $(sed -n 's/^(skipped: \(.*\))$/\1/p' "$work/$name/got")"
        ;;
    *)
        failed=$((failed + 1))
        echo "FAILED: $name"
        if [ -f "$here/cases/$name.out" ]; then
            normalise "$work/$name/got" |
                diff -u --label "$name.out" --label got "$here/cases/$name.out" - | head -60
        else
            echo "there is no $name.out; it printed:"
            cat "$work/$name/got"
        fi
        ;;
    esac
done
if [ $skipped -gt 0 ]; then
    echo "$passed passed, $failed failed, $skipped skipped"
else
    echo "$passed passed, $failed failed"
fi
[ $failed -eq 0 ]
