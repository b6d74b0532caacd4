#!/usr/bin/env bash
# compare_gguf_split.sh GGUF_SPLIT FILE.gguf... - does quern convert split and join like llama.cpp's gguf-split?
#
# GGUF_SPLIT is that program. Every FILE is split in many ways, joined and split anew by both; all bytes are compared.
set -euo pipefail
QUERN=${QUERN:-build/quern}
split=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
same=0 different=0

# compare WHAT: work/theirs against work/ours.
compare() {
    if diff -rq "$work/theirs" "$work/ours" >"$work/diff"; then
        same=$((same + 1))
    else
        different=$((different + 1))
        echo "different: $1"
        head -3 "$work/diff" "$work/log"
    fi
}

fresh() {
    rm -rf "$work/theirs" "$work/ours"
    mkdir "$work/theirs" "$work/ours"
}

# both FILE OPTIONS...
both() {
    local file=$1
    shift
    fresh
    "$split" "$@" "$file" "$work/theirs/part" >/dev/null 2>&1 || true
    "$QUERN" convert -q "$file" "$work/ours/part" "$@" 2>"$work/log" || true
    compare "$file $*"
}

# again FILE N: in files of N tensors, joined, and those split anew.
again() {
    local first last
    rm -rf "$work/set"
    mkdir "$work/set"
    "$split" --split-max-tensors "$2" "$1" "$work/set/part" >/dev/null 2>&1
    first=$(find "$work/set" -name 'part-00001-*')
    last=$(find "$work/set" -name 'part-*' | sort | tail -1)
    fresh
    "$split" --merge "$first" "$work/theirs/one.gguf" >/dev/null 2>&1
    "$QUERN" convert -q "$last" "$work/ours/one.gguf" 2>"$work/log" || true
    compare "$1 in files of $2, joined"
    fresh
    "$split" --merge "$first" "$work/one.gguf" >/dev/null 2>&1
    "$split" --split-max-tensors 4 "$work/one.gguf" "$work/theirs/part" >/dev/null 2>&1
    rm "$work/one.gguf"
    "$QUERN" convert -q "$last" "$work/ours/part" --split-max-tensors 4 2>"$work/log" || true
    compare "$1 in files of $2, split anew"
}

for file; do
    for first in '' --no-tensor-first-split; do
        for limit in '--split-max-tensors 1' '--split-max-tensors 3' '--split-max-tensors 7' \
            '--split-max-tensors 1000' '--split-max-size 1M' '--split-max-size 3M' '--split-max-size 1G'; do
            # shellcheck disable=SC2086
            both "$file" $limit $first
        done
    done
    for n in 1 5 1000; do
        again "$file" $n
    done
done
echo "$same the same, $different different"
[ $different -eq 0 ]
