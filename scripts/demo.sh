#!/usr/bin/env bash
# demo.sh - fuse two fine-tunes of a small real model and shrink the results; run by `make demo`.
#
# Works in demo-output/, which it may replace, and needs nothing but a built quern.
set -euo pipefail
cd "$(dirname "$0")/.."

QUERN=${QUERN:-build/quern}
OUT=demo-output
POCKET=tests/data/pocket
[ -x "$QUERN" ] || { echo "demo: $QUERN is not there: run make first" >&2; exit 2; }
mkdir -p "$OUT" "$OUT/one-pass"

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
else
    bold='' dim='' plain=''
fi

title() {
    printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

# Show a command as one would type it, run it, keep what it says.
run() {
    printf '%s$ quern %s%s\n' "$dim" "$*" "$plain"
    "$QUERN" "$@" 2>"$OUT/.said" | sed 's/^/  /' || { cat "$OUT/.said" >&2; exit 1; }
    sed 's/^/  /' "$OUT/.said"
}

size_of() {
    stat -c %s "$1"
}

title "Two fine-tunes of one tiny llama (1.3 M weights, bf16): one writes prose, one writes C"
run inspect "$POCKET/pocket-prose.qpk" | sed '/^ *$/,$d'

title "1. Fuse them with SLERP, without a recipe file"
run merge -f --method slerp --base "$POCKET/pocket-prose.qpk" --model "$POCKET/pocket-code.qpk" \
    --param t=0.5 "$OUT/slerp"

title "2. Fuse them with TIES, from a mergekit recipe (scripts/demo-ties.yml)"
run merge -f scripts/demo-ties.yml "$OUT/ties"

title "3. Shrink both to GGUF of 8, about 5 and 4 bits, and measure what is lost"
rows=()
for model in slerp ties; do
    whole=$(size_of "$OUT/$model/model.safetensors")
    for type in Q8_0 Q4_K_M IQ4_XS; do
        file=$OUT/$model-$type.gguf
        run quantize -f --stats "$OUT/$model" "$file" "$type"
        error=$(sed -n 's/.*quantization error: *\([0-9.]*\) *%.*/\1/p' "$OUT/.said")
        [ -n "$error" ] || { echo "demo: quern did not say how large the error is" >&2; exit 1; }
        bytes=$(size_of "$file")
        rows+=("$(awk -v f="$file" -v b="$bytes" -v w="$whole" -v e="$error" \
            'BEGIN { printf "  %-34s %9d bytes   %4.2f times smaller   error %5.2f %%", f, b, w / b, e }')")
    done
done
rm -f "$OUT/.said"

title "4. The same from the recipe in one pass: merged, converted and quantized, nothing in between"
run merge -f scripts/demo-ties.yml "$OUT/one-pass/ties.gguf" Q4_K_M

title "5. Where it was lost, tensor by tensor"
run convert -f "$OUT/slerp" "$OUT/slerp.gguf"
command="compare $OUT/slerp.gguf $OUT/slerp-Q4_K_M.gguf"
printf '%s$ quern %s%s\n' "$dim" "$command" "$plain"
# shellcheck disable=SC2086
"$QUERN" $command | sed 's/^/  /' || [ "${PIPESTATUS[0]}" -eq 1 ] # 1: they differ

title "6. Look inside the smallest, and check all of them"
run inspect "$OUT/slerp-IQ4_XS.gguf"
run check "$OUT/slerp" "$OUT/ties" "$OUT"/*.gguf
rm -f "$OUT/.said"

title "What happened"
printf '  %-34s %9d bytes   each, bf16\n' "$OUT/slerp, $OUT/ties" \
    "$(size_of "$OUT/slerp/model.safetensors")"
printf '%s\n' "${rows[@]}"
cat <<'E2'

  The error is the root mean square of what quantizing changed, relative to that of the weights.
  The directories load in transformers, the .gguf files run in llama.cpp.
E2
