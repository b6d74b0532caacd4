#!/usr/bin/env bash
# msan.sh - the program under MemorySanitizer: scripts/msan.sh, after a build in B (make msan).
#
# The unit tests (without Criterion, whose libraries are not instrumented), the command-line cases, then every file of the corpus
# through the command that reads it. Any report fails.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

B=$(realpath "${B:-build/msan}")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export MSAN_OPTIONS="exitcode=86 log_path=$work/report"
status=0

QUERN_TEST_ROUNDS=0 "$B/plain-tests" || status=1

# Not the ones that run it hundreds of times, nor those that measure it, nor that give it little address space.
slow=' faults hazards resume-kills power-loss determinism memory corpus '
cases=()
for f in tests/cli/cases/*.sh; do
    name=$(basename "$f" .sh)
    [[ $slow == *" $name "* ]] || cases+=("$name")
done
MODELS=$B/test-models QUERN=$B/quern tests/cli/run-cases.sh "${cases[@]}" || status=1

python3 tests/make_corpus.py "$work/corpus" >/dev/null || exit 1
judge() { # KIND FILE
    case $1 in
    config) (cd "$work" && timeout 60 "$B/quern" merge --dry-run "$2" out) ;;
    imatrix) timeout 60 "$B/quern" imatrix show "$2" ;;
    *) timeout 60 "$B/quern" check "$2" && timeout 60 "$B/quern" inspect "$2" ;;
    esac >/dev/null 2>&1
    local code=$?
    case $code in 86 | 124 | 13[0-9]) echo "exit $code: $2" ;; esac
}
nfiles=0
while IFS=$'\t' read -r file kind _; do
    nfiles=$((nfiles + 1))
    judge "$kind" "$work/corpus/$file"
done <"$work/corpus/MANIFEST.tsv" >"$work/judged"
cat "$work/judged"
[ ! -s "$work/judged" ] || status=1

# Where a case limits the address space, the sanitizer itself cannot begin.
mapfile -t told < <(find "$work" -name 'report*' -size +0 -exec grep -L 'can not mmap the shadow memory' {} +)
reports=${#told[@]}
[ "$reports" -eq 0 ] || head -40 "${told[@]}" | head -200
echo "MemorySanitizer: unit tests, ${#cases[@]} command-line cases and $nfiles files of the corpus, $reports reports"
[ "$status" -eq 0 ] && [ "$reports" -eq 0 ]
