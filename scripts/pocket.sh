#!/usr/bin/env bash
# pocket.sh - unpack tests/data/pocket into build/pocket, for what needs its models as plain files.
#
# Does nothing when that is there and no older than the packs. QUERN is the program that unpacks (build/quern);
# RUN goes before it, to run one that was built for another machine: RUN="qemu-aarch64 -L ...".
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
packs=$root/tests/data/pocket
to=$root/build/pocket
QUERN=${QUERN:-$root/build/quern}

if [ -e "$to/made" ] && [ -z "$(find "$packs" "$0" -newer "$to/made" -type f)" ]; then
    exit 0
fi
[ -x "$QUERN" ] || { echo "pocket: $QUERN is not there: run make first" >&2; exit 2; }
mkdir -p "$root/build"
new=$(mktemp -d "$to.XXXXXX")
trap 'rm -rf "$new"' EXIT
for name in base prose code; do
    # shellcheck disable=SC2086
    ${RUN:-} "$QUERN" unpack -q "$packs/pocket-$name.qpk" "$new/pocket-$name"
done
(cd "$new" && sha256sum --quiet -c "$packs/SHA256SUMS")
cp "$packs"/*.imatrix.* "$new"
touch "$new/made"
chmod 755 "$new"
rm -rf "$to"
mv -T "$new" "$to"
