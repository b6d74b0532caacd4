#!/usr/bin/env bash
# msan_deps.sh - build the libraries quern uses with MemorySanitizer: scripts/msan_deps.sh DIR
#
# MemorySanitizer takes what a library without it has written for uninitialised. So cJSON, libyaml, PCRE2 and, where
# quern uses it, zstd are built from the Debian sources of this system's release into DIR/libdeps.a. Needs apt-get and
# the network once; exit code 77 says what is missing. Nothing is installed, apt's own lists stay as they are.
set -euo pipefail

dir=${1:?usage: scripts/msan_deps.sh DIR}
mkdir -p "$dir"
dir=$(realpath "$dir")
packages=(cjson libyaml pcre2)
! grep -q '^PKGS.*libzstd' Makefile || packages+=(libzstd)
[ "$(cat "$dir/packages" 2>/dev/null)" != "${packages[*]}" ] || exit 0
CC=${MSAN_CC:-clang}

lacks() {
    echo "msan_deps: $*" >&2
    exit 77
}

for tool in "$CC" ar apt-get dpkg-source; do
    command -v "$tool" >/dev/null || lacks "$tool is missing (apt-get install clang binutils dpkg-dev)"
done

# apt's sources, as sources of source.
mkdir -p "$dir/apt/parts" "$dir/apt/lists/partial" "$dir/src"
for list in /etc/apt/sources.list.d/*.sources; do
    ! grep -qs debian "$list" || sed 's/^Types:.*/Types: deb-src/' "$list" >"$dir/apt/parts/$(basename "$list")"
done
for list in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$list" ] || sed -n '/debian/s/^deb /deb-src /p' "$list" >"$dir/apt/parts/$(basename "$list" .list).list"
done
apt=(apt-get -qq -o APT::Sandbox::User= -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$dir/apt/parts"
    -o "Dir::State::lists=$dir/apt/lists")
"${apt[@]}" update >"$dir/apt.log" 2>&1 || lacks "apt-get update: $(tail -1 "$dir/apt.log")"
cd "$dir/src"

# Mirrors do not always have what their lists promise: the newest version that can be had.
fetch() { # PACKAGE
    local version
    for version in $("${apt[@]/apt-get/apt-cache}" showsrc "$1" | sed -n 's/^Version: //p' | sort -Vru); do
        ! "${apt[@]}" source "$1=$version" >>"$dir/apt.log" 2>&1 || return 0
    done
    lacks "apt-get source $1: $(tail -1 "$dir/apt.log")"
}
for package in "${packages[@]}"; do
    fetch "$package"
done

flags=(-c -O1 -g -fPIC -w -fsanitize=memory -fsanitize-memory-track-origins -fno-omit-frame-pointer)
mkdir -p "$dir/obj"
build() { # PREFIX FLAG... -- FILE...
    local prefix=$1 extra=() file
    shift
    while [ "$1" != -- ]; do
        extra+=("$1")
        shift
    done
    shift
    for file; do
        "$CC" "${flags[@]}" "${extra[@]}" "$file" -o "$dir/obj/$prefix-$(basename "$file" .c).o"
    done
}

build cjson -- cjson-*/cJSON.c
build yaml -DYAML_VERSION_MAJOR=0 -DYAML_VERSION_MINOR=2 -DYAML_VERSION_PATCH=5 \
    '-DYAML_VERSION_STRING="0.2.5"' -I"$(echo libyaml-*/include)" -- libyaml-*/src/*.c

# What PCRE2's NON-AUTOTOOLS-BUILD says.
pcre=$(echo pcre2-*/src)
cp "$pcre/config.h.generic" "$pcre/config.h"
cp "$pcre/pcre2.h.generic" "$pcre/pcre2.h"
cp "$pcre/pcre2_chartables.c.dist" "$pcre/pcre2_chartables.c"
files=()
for name in auto_possess chartables chkdint compile config context convert dfa_match error extuni find_bracket jit_compile maketables match \
    match_data newline ord2utf pattern_info script_run serialize string_utils study substitute substring tables \
    ucd valid_utf xclass; do
    [ ! -f "$pcre/pcre2_$name.c" ] || files+=("$pcre/pcre2_$name.c")
done
build pcre2 -DHAVE_CONFIG_H -DSUPPORT_UNICODE -DPCRE2_CODE_UNIT_WIDTH=8 -I"$pcre" -- "${files[@]}"

if [ -d "$(echo libzstd-*)" ]; then
    build zstd -DZSTD_DISABLE_ASM=1 -DZSTD_MULTITHREAD -I"$(echo libzstd-*/lib)" -- \
        libzstd-*/lib/common/*.c libzstd-*/lib/compress/*.c libzstd-*/lib/decompress/*.c
fi
rm -f "$dir/libdeps.a"
ar rcs "$dir/libdeps.a.new" "$dir"/obj/*.o
mv "$dir/libdeps.a.new" "$dir/libdeps.a"
echo "${packages[*]}" >"$dir/packages"
