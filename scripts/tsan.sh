#!/usr/bin/env bash
# tsan.sh - what has threads, under ThreadSanitizer: scripts/tsan.sh, after a build in B (make tsan).
#
# The unit suites that run plans, then commands with 4 to 8 workers that sync their journal every few milliseconds. Any report
# fails. Kernels that mix address spaces and ThreadSanitizer badly are run without randomised addresses.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

B=$(realpath "${B:-build/tsan}")
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
export TSAN_OPTIONS="exitcode=66 log_path=$work/report"
export QUERN_SYNC=0.003 QUERN_TEST_ROUNDS=0
alone=() status=0
if ! "$B/quern" --version >/dev/null 2>&1; then
    rm -f "$work"/report*
    alone=(setarch -R)
fi

suites=(pipeline journal quantize merge merge_files merge_back one_pass stages convert convert_hf compare combine extract mix moe
    vocabulary adapter api verify rebuild pack provenance nonfinite division lora source)
"${alone[@]}" "$B/plain-tests" "${suites[@]}" || status=1

python3 tests/make_models.py "$B/test-models" || exit 1
m=$B/test-models
nruns=0
q() { # ARGS...
    nruns=$((nruns + 1))
    rm -rf "$work"/out*
    (cd "$work" && "${alone[@]}" "$B/quern" "$@" >/dev/null 2>said) && return
    echo "FAILED: quern $*"
    cat "$work/said"
    status=1
}
for j in 4 8; do
    q quantize -j $j --mem 16MiB "$m/wide.gguf" out.gguf Q4_K_M
    q quantize -j $j --stats --imatrix "$m/dense.imatrix.gguf" "$m/dense-f16.gguf" out.gguf IQ2_XS
    q quantize -j $j --keep-split "$m/split-00001-of-00003.gguf" out IQ3_S
    q merge -j $j --method ties --base "$m/wide-base.safetensors" --model "$m/wide-a.safetensors" --model "$m/wide-b.safetensors" \
        --param weight=0.5 --param density=0.4 out.safetensors
    q merge -j $j --method slerp --base "$m/hf" --model "$m/hf-b" --param t=0.3 --out-shard-size 1M out
    q merge -j $j --method model_stock --base "$m/hf" --model "$m/hf-b" --model "$m/hf-c" --pre gpt-2 out.gguf Q4_K_M
    q merge -j $j --base "$m/hf" --lora "$m/lora:0.5" out
    q convert -j $j --pre gpt-2 "$m/hf" out.gguf -t q6_k
    q lora extract -j $j "$m/hf" "$m/hf-b" out --rank 4
    q imatrix combine "$m/dense.imatrix.dat" "$m/dense.imatrix.gguf" -o out.gguf
    q check -j $j "$m/hf" "$m/wide.gguf"
    q compare -j $j -q "$m/dense-bf16.gguf" "$m/dense-bf16.gguf"
    q quantize -j $j -f --provenance "$m/wide.gguf" kept.gguf Q4_0
    q rebuild -j $j kept.gguf.quern.json -o out.gguf
    q verify -j $j "$m/wide.gguf" kept.gguf
    q pack -j $j -f "$m/hf-b" --base "$m/hf" -o kept.qpk
    q unpack -j $j kept.qpk out
    q plan -f --parts 2 --layout joined -o kept.plan quantize "$m/wide.gguf" out.gguf Q8_0
    for i in 1 2; do q run -j $j kept.plan --part $i; done
    q join -j $j kept.plan
done

# Runs that are stopped, and go on.
for delay in 0.05 0.15 0.3; do
    rm -rf "$work"/out* "$work"/.out*
    (cd "$work" && timeout -s INT $delay "${alone[@]}" "$B/quern" quantize -q -j 6 "$m/wide.gguf" out.gguf IQ3_S >/dev/null 2>&1)
    [ -e "$work/out.gguf" ] || q quantize -q -j 6 --resume "$m/wide.gguf" out.gguf IQ3_S
done

reports=$(find "$work" -name 'report*' -size +0 | wc -l)
find "$work" -name 'report*' -size +0 -exec head -60 {} +
echo "ThreadSanitizer: $nruns commands and the unit suites, $reports reports"
[ "$status" -eq 0 ] && [ "$reports" -eq 0 ]
