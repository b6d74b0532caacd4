#!/bin/sh
# fuzz.sh [-a] [-n RUNS] [-s SECONDS] [TARGET...] - run fuzz targets, each from its own corpus.
#
# -a: the builds with AddressSanitizer (else the quick ones with traps). Default: all targets, 60 seconds each.
# tests/fuzz/corpus/TARGET.corpus is unpacked, with seeds made of test data, into build/fuzz/TARGET; what is found on the way stays
# there, so the next run goes on. PACK=1 minimizes it at the end and writes the .corpus file. Every run adds a line to
# build/fuzz/counts.tsv: target, build, executions, seconds, exit code. Inputs that make a target fail are left in build/fuzz/failures.
set -eu
cd "$(dirname "$0")/.."
build=quick limit=-max_total_time=60
while getopts an:s: option; do
    case $option in
    a) build=asan ;;
    n) limit="-runs=$OPTARG" ;;
    s) limit="-max_total_time=$OPTARG" ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
# shellcheck disable=SC2046 # names without blanks
[ $# -gt 0 ] || set -- $(sed -n 's/^    X(\([a-z_]*\)).*/\1/p' tests/fuzz/fuzz.h)

export ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:symbolize=1
export UBSAN_OPTIONS=print_stacktrace=1
mkdir -p build/fuzz/failures
failed=0
for target; do
    dir=build/fuzz/$target program=build/fuzz-$build/fuzz/$target log=build/fuzz/$target.log
    max=$(sed -n 's/.*\.max_len = \([0-9]*\),/\1/p' "tests/fuzz/fuzz_$target.c")
    if [ ! -d "$dir" ]; then
        python3 scripts/fuzz_corpus.py unpack "tests/fuzz/corpus/$target.corpus" "$dir"
        python3 scripts/fuzz_corpus.py seed "$target" "$dir"
    fi
    start=$(date +%s) code=0
    # shellcheck disable=SC2086 # options, blank-separated
    # Counters of edges are enough; reductions of inputs that are known cost more than they give.
    "$program" "$limit" -max_len="$max" -timeout=10 -rss_limit_mb=3072 -print_final_stats=1 -verbosity=1 -reload=0 \
        -artifact_prefix="$PWD/build/fuzz/failures/$target-" ${FUZZ_OPTIONS:-} "$dir" >"$log" 2>&1 || code=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    seconds=$(($(date +%s) - start))
    printf '%s\t%s\t%s\t%s\t%s\n' "$target" "$build" "${runs:-0}" "$seconds" "$code" >>build/fuzz/counts.tsv
    printf '%-24s %-6s %12s runs %6s s  %s\n' "$target" "$build" "${runs:-?}" "$seconds" \
        "$([ "$code" = 0 ] && grep -o 'cov: .* corp: [^ ]*' "$log" | tail -1 || echo "FAILED, see $log")"
    [ "$code" = 0 ] || failed=1
    if [ -n "${PACK:-}" ] && [ "$code" = 0 ]; then
        rm -rf "$dir.min"
        mkdir "$dir.min"
        "$program" -merge=1 -max_len="$max" -timeout=10 "$dir.min" "$dir" >>"$log" 2>&1
        python3 scripts/fuzz_corpus.py pack "$dir.min" "tests/fuzz/corpus/$target.corpus"
    fi
done
exit $failed
