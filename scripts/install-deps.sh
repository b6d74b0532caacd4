#!/usr/bin/env bash
# install-deps.sh - make sure the Debian packages quern is built from are there.
#
#   scripts/install-deps.sh [build|test|ci]      build: make, make demo; test: make test; ci: .ci/run
#
# Touches neither apt nor the network when nothing is missing. Installs as root; otherwise prints the
# line to run and fails.
set -euo pipefail

level=${1:-build}
missing=()

want() { # PACKAGE, once
    case " ${missing[*]} " in
    *" $1 "*) ;;
    *) missing+=("$1") ;;
    esac
}

need_command() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || want "$2"
}

# A header the compiler finds is there, wherever it was installed from.
need_header() { # HEADER PACKAGE
    local cc
    cc=$(command -v "${CC:-cc}" || command -v gcc || command -v clang) || {
        want "$2" # no compiler to ask: apt-get knows
        return
    }
    printf '#include <stdio.h>\n#include <%s>\n' "$1" | "$cc" -E - >/dev/null 2>&1 ||
        want "$2"
}

need_library() { # PKG-CONFIG-NAME PACKAGE
    pkg-config --exists "$1" 2>/dev/null || want "$2"
}

case $level in
build | test | ci) ;;
*)
    echo "usage: scripts/install-deps.sh [build|test|ci]" >&2
    exit 2
    ;;
esac

command -v "${CC:-cc}" >/dev/null 2>&1 || need_command gcc gcc
need_header stdlib.h libc6-dev
need_command ld binutils
need_command objcopy binutils
need_command make make
need_command pkg-config pkg-config
need_library libcjson libcjson-dev
need_library yaml-0.1 libyaml-dev
need_library libpcre2-8 libpcre2-dev
need_library libzstd libzstd-dev

if [ "$level" != build ]; then
    need_header criterion/criterion.h libcriterion-dev
    need_command python3 python3
    need_command ninja ninja-build
fi
if [ "$level" = ci ]; then
    need_command git git
    need_command clang-format-14 clang-format-14
    need_command clang-tidy clang-tidy
    need_command cppcheck cppcheck
    need_command valgrind valgrind
    need_command shellcheck shellcheck
    need_command aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    [ -f /usr/aarch64-linux-gnu/include/stdlib.h ] || want libc6-dev-arm64-cross
    need_command qemu-aarch64 qemu-user
    python3 -c 'import venv, ensurepip' >/dev/null 2>&1 || want python3-venv
fi

[ ${#missing[@]} -eq 0 ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "install-deps: missing (Debian package names): ${missing[*]}" >&2
    exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "install-deps: missing: ${missing[*]}" >&2
    echo "install-deps: run this, then try again:" >&2
    echo "    sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "install-deps: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y --no-install-recommends "${missing[@]}")
# The package lists may be absent or old: fetch them only when they are of no use.
if ! "${install[@]}" >/dev/null 2>&1 </dev/null; then
    apt-get update >/dev/null
    "${install[@]}" >/dev/null </dev/null
fi
