# prelude.sh - what the cases share. A case runs in an empty directory with m -> the test models.
# shellcheck shell=bash

# The program itself, under valgrind when that is asked for; 99 means that memcheck complained.
program() {
    if [ -n "$VALGRIND" ]; then
        valgrind --quiet --suppressions="${BASH_SOURCE[0]%/*}/valgrind.supp" --error-exitcode=99 \
            --leak-check=full --errors-for-leak-kinds=definite --log-file="$PWD/../valgrind.%p" "$QUERN" "$@"
    else
        "$QUERN" "$@"
    fi
}

# q ARGS...: the transcript of one command.
q() {
    local status
    printf '$ quern'
    [ $# -eq 0 ] || printf ' %q' "$@"
    printf '\n'
    program "$@" >.out 2>.err
    status=$?
    cat .out
    sed 's/^/2> /' .err
    [ $status -eq 0 ] || echo "[$status]"
    if [ $status -eq 99 ]; then
        cat ../valgrind.*
    fi
    rm -f .out .err
}

# must ARGS...: a step on the way; shows itself only when it fails.
must() {
    if ! program "$@" >.out 2>.err; then
        echo "FAILED: quern $*"
        cat .out .err
    fi
    rm -f .out .err
}

# same A B: are these files the same bytes?
same() {
    if cmp -s "$1" "$2"; then echo "same: $1 $2"; else echo "DIFFERENT: $1 $2"; fi
}

# files [DIR]: everything there, hidden files too, with sizes.
files() {
    (cd "${1:-.}" && find . -mindepth 1 ! -path ./m ! -name .out ! -name .err -printf '%y %8s %P\n' | sort -k3 |
        sed -E 's/^([dl]) +[0-9]+/\1         /')
}

digest() {
    sha256sum "$@" | cut -c1-64
}

skip() {
    echo "(skipped: $*)"
    exit 0
}

# tensors FILE: name, type and shape of every tensor, from the file's own bytes.
tensors() {
    python3 "$(dirname "${BASH_SOURCE[0]}")/../list_tensors.py" "$@"
}
