#!/usr/bin/env bash
# check_all.sh - all that docs/reliability.md promises, tested; a table at the end: scripts/check_all.sh [PART...]
#
# Works from a clean clone: installs what is missing (Debian, as root; else names it), builds, and runs every part, whatever
# becomes of the others. What a part had to leave out is named in the table. The output of each part is in B/check-all/PART.log.
# Exit code 0: nothing failed. Hours on two cores.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

B=${B:-build}
logs=$B/check-all
# A part is a line: its name, and what to run.
parts='
lint           make lint
clang          make clang
sanitize       make sanitize
thread         make tsan
memory-init    make msan
interop        interop
valgrind       make valgrind
aarch64        make aarch64
test           make test
faults         make faults
power-loss     make power-loss
kills          make kills
determinism    make determinism
memory         make memory
corpus         make corpus
mutants        make mutants
m32            make m32
fuzz           fuzz
slurm          make slurm
'

# shellcheck disable=SC2317
interop() {
    python3 scripts/interop.py --setup || {
        echo "skipped: pip cannot get the packages safetensors and gguf"
        return 0
    }
    make interop
}

# Minutes for each target; the long runs are scripts/fuzz.sh -n.
# shellcheck disable=SC2317
fuzz() {
    make fuzz && scripts/fuzz.sh -s 60
}

# Tools without which a part cannot run: then it is left out, and says so.
needs() {
    case $1 in
    clang | fuzz) echo "${CLANG:-clang}" ;;
    slurm) echo "slurmctld munged" ;;
    memory-init) echo "${CLANG:-clang} apt-get dpkg-source" ;;
    valgrind) echo valgrind ;;
    aarch64) echo "aarch64-linux-gnu-gcc qemu-aarch64" ;;
    lint) echo "clang-format-14 clang-tidy cppcheck shellcheck" ;;
    esac
}

missing() {
    local tool
    for tool in $(needs "$1"); do
        command -v "${tool##* }" >/dev/null || echo "$tool"
    done
}

# The jobs of an outer make are not ours to share.
MAKEFLAGS=$(sed -E 's/ ?-j[0-9]*//; s/ ?--jobserver-[a-z]+=[^ ]*//' <<<"${MAKEFLAGS:-}")
export MAKEFLAGS
mkdir -p "$logs"
[ $# -gt 0 ] || mapfile -t wanted < <(awk 'NF {print $1}' <<<"$parts")
[ $# -eq 0 ] || wanted=("$@")
export QUERN_TEST_ROUNDS=${QUERN_TEST_ROUNDS:-16}
scripts/install-deps.sh ci || echo "check-all: some tools are missing: what needs them is left out"
make all || exit 1

table=() failed=0
for part in "${wanted[@]}"; do
    command=$(awk -v part="$part" '$1 == part {sub(/^[^ ]+ +/, ""); print}' <<<"$parts")
    [ -n "$command" ] || { echo "check-all: no part is called $part" >&2; exit 2; }
    printf '==== %s\n' "$part"
    lacks=$(missing "$part" | paste -sd' ' -)
    start=$SECONDS
    if [ -n "$lacks" ]; then
        verdict=skipped
        echo "skipped: $lacks missing" >"$logs/$part.log"
    elif $command >"$logs/$part.log" 2>&1; then
        verdict=ok
    else
        verdict=FAILED
        failed=1
        tail -20 "$logs/$part.log"
    fi
    last=$(grep -v '^make' "$logs/$part.log" | tail -1 | cut -c1-100)
    table+=("$(printf '%-12s  %-8s %6d s  %s' "$part" "$verdict" $((SECONDS - start)) "$last")")
    while read -r left; do
        table+=("$(printf '%-12s  %-8s           %s' "" "" "$left")")
    done < <(grep -hE '^skipped: |^.*: skipped: ' "$logs/$part.log" | grep -vF "$last" | sort -u)
    printf '%s\n' "${table[-1]}"
done

printf '\n%s\n' "part          verdict     time    last words"
printf '%s\n' "${table[@]}"
exit $failed
