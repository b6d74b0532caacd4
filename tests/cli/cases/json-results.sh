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
