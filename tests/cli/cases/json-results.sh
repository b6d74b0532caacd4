# --json: one object on stdout for a result and for an error.
program quantize --json m/dense-f16.gguf out.gguf Q8_0 >r.json 2>err
echo "[$?]"
python3 -c 'import json
r = json.load(open("r.json"))
print(sorted(r))'
q quantize --json m/dense-f16.gguf out.gguf Q8_0
q quantize --json m/nan.gguf no.gguf Q8_0
q quantize --json m/bad/truncated.gguf no.gguf Q8_0
q quantize --json m/dense-f16.gguf no.gguf Q9_9
q check --json m/nan.gguf
# What is said of a file that cannot be read is the same everywhere, and commands have the names they were called by.
q check --json m/bad/truncated.gguf
named() {
    "$QUERN" "$@" --json 2>err | python3 -c 'import json, sys; print(json.load(sys.stdin)["command"])'
}
named quantize --dry-run --pre gpt-2 m/hf no.gguf Q8_0
named lora extract --dry-run m/hf m/hf-b no
named imatrix combine --dry-run m/dense.imatrix.dat m/dense.imatrix.gguf -o no.gguf
must quantize -q --provenance m/dense-f16.gguf recorded.gguf Q8_0
named rebuild --dry-run recorded.gguf.quern.json -o no.gguf
