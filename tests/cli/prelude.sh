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

# slow_model: in.safetensors, 24 MB in BF16, which takes long enough to encode to be stopped on the way.
slow_model() {
python3 - <<'P'
import json, random, struct
n, rows = 6, 2048
head, size = {}, rows * 1024 * 2
for i in range(n):
    head["t%d.weight" % i] = {"dtype": "BF16", "shape": [rows, 1024], "data_offsets": [i * size, (i + 1) * size]}
text = json.dumps(head).encode()
data = bytearray(random.Random(1).randbytes(n * size))
data[1::2] = data[1::2].translate(bytes([0x3B, 0x3C, 0xBB, 0xBC][i % 4] for i in range(256)))
open("in.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
P
}

skip() {
    echo "(skipped: $*)"
    exit 0
}

# tensors FILE: name, type and shape of every tensor, from the file's own bytes.
tensors() {
    python3 "$(dirname "${BASH_SOURCE[0]}")/../list_tensors.py" "$@"
}
