#!/usr/bin/env bash
# lint.sh - everything about the source that needs no test run; run by `make lint` after a build in B.
#
#   scripts/lint.sh [STEP...]    steps: tree format symbols cppcheck tidy shell (default: all)
#
# Runs every step, reports all, fails when one failed. A missing tool is a failure: a check that did
# not run did not pass. CHANGED=1 lets clang-tidy look only at files that differ from git's HEAD,
# ROOMS="core formats" only at those directories.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

B=${B:-build}
CC=${CC:-cc}
failed=()

sources() { # PATTERN...: files of the tree, tracked or new
    git ls-files -co --exclude-standard -- "$@" 2>/dev/null | while read -r f; do
        [ -f "$f" ] && echo "$f"
    done
}

need() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "lint: $1 is missing: apt-get install $2" >&2
    return 1
}

step_tree() {
    need python3 python3 && python3 scripts/lint_tree.py
}

# The layout is clang-format 14's: other versions break lines elsewhere.
step_format() {
    need clang-format-14 clang-format-14 || return 1
    sources '*.c' '*.h' | xargs -r clang-format-14 --dry-run -Werror
}

# A kernel object exports its table and nothing else; the libraries export quern_* and nothing else.
step_symbols() {
    local ok=0 object want got
    for object in "$B"/quant/kernels/kernels_*.o; do
        want=$(basename "$object" .o)
        got=$(nm -g --defined-only "$object" | awk '{print $3}' | paste -sd' ' -)
        if [ "$got" != "$want" ]; then
            echo "$object: exports '$got', expected only '$want'" >&2
            ok=1
        fi
    done
    got=$(nm -g --defined-only "$B/libquern.a" | awk 'NF == 3 && $3 !~ /^quern_/ {print $3}')
    [ -z "$got" ] || { echo "libquern.a: internal names leak: $got" >&2; ok=1; }
    got=$(nm -D --defined-only "$B/libquern.so" | awk '$3 !~ /^quern_/ {print $3}')
    [ -z "$got" ] || { echo "libquern.so: internal names leak: $got" >&2; ok=1; }
    # Both must offer every function of the header.
    local header so
    header=$(tr '\n' ' ' <include/quern.h | grep -oE 'QUERN_API [^;]*;' | grep -oE 'quern_[a-z_0-9]+\(' | tr -d '(' | sort -u)
    so=$(nm -D --defined-only "$B/libquern.so" | awk '{print $3}' | sort -u)
    got=$(comm -3 <(echo "$header") <(echo "$so"))
    [ -z "$got" ] || { echo "quern.h and libquern.so do not agree on: $got" >&2; ok=1; }
    return $ok
}

# Not asked: what clang-tidy says better, and four things cppcheck gets wrong here: scratch memory
# cut into typed pieces, "x >= -0x1p31f && x < 0x1p31f", an index that is only reached below 4, and
# arrays that are filled with memcpy.
step_cppcheck() {
    need cppcheck cppcheck || return 1
    sources 'core/*.c' 'formats/*.c' 'quant/*.c' 'pipeline/*.c' 'merge/*.c' 'convert/*.c' 'cli/*.c' 'bench/*.c' |
        xargs -r cppcheck --quiet --error-exitcode=1 --enable=warning,performance,portability \
            --std=c11 -D__x86_64__ -D__GNUC__=12 -D_GNU_SOURCE -DKERNELS_ISA=portable -I. -Iinclude -j2 \
            --inline-suppr --suppress=missingInclude --suppress=missingIncludeSystem --suppress=unknownMacro \
            --suppress=invalidPointerCast --suppress=incorrectLogicOperator \
            --suppress=arrayIndexOutOfBoundsCond --suppress="uninitvar:quant/kernels/*" \
            --suppress=normalCheckLevelMaxBranches --suppress=preprocessorErrorDirective \
            --template='{file}:{line}: {severity}: {message} [{id}]'
}

# One file at a time: with several, clang-tidy 14 takes every va_list of the later ones for
# uninitialised. analyzer.h tells it which functions never return QUERN_OK.
tidy_one() {
    local knows=(-include scripts/analyzer.h)
    [ "$1" != core/error.c ] || knows=() # it defines what analyzer.h is about
    clang-tidy --quiet "$1" -- -std=gnu11 -D_GNU_SOURCE -DKERNELS_ISA=portable -I. -Iinclude \
        "${knows[@]}" 2>/dev/null
}
export -f tidy_one

step_tidy() {
    need clang-tidy clang-tidy || return 1
    local files rooms=()
    read -ra rooms <<<"${ROOMS:-core formats quant pipeline merge convert cli}"
    files=$(sources "${rooms[@]/%//*.c}")
    if [ "${CHANGED:-}" = 1 ]; then
        files=$(comm -12 <(sort <<<"$files") <({ git diff --name-only HEAD; git ls-files -o --exclude-standard; } | sort))
    fi
    [ -n "$files" ] || return 0
    # shellcheck disable=SC2016
    xargs -r -P2 -n1 bash -c 'tidy_one "$1"' tidy <<<"$files"
}

step_shell() {
    need shellcheck shellcheck || return 1
    { sources '*.sh'; echo .ci/run; } | grep -v '^tests/cli/cases/' | xargs -r shellcheck -x &&
        sources 'tests/cli/cases/*.sh' | xargs -r shellcheck -s bash -e SC2154,SC2148
}

[ $# -gt 0 ] || set -- tree format symbols cppcheck tidy shell
for step in "$@"; do
    start=$SECONDS
    if "step_$step"; then
        echo "lint: $step: ok ($((SECONDS - start)) s)" >&2
    else
        echo "lint: $step: FAILED" >&2
        failed+=("$step")
    fi
done
[ ${#failed[@]} -eq 0 ] || { echo "lint: failed: ${failed[*]}" >&2; exit 1; }
