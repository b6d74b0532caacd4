# One JSON document on stdout, whatever the names hold.
for f in m/dense-f16.gguf m/hf m/mixed.safetensors m/names.safetensors; do
    echo "$f"
    program inspect --json "$f" >out.json 2>err || echo "exit $?"
    cat err
    python3 -c 'import json, sys
d = json.load(open("out.json"))
print(sorted(d))'
done
q inspect --json m/align64.gguf
q inspect --json m/bad/truncated.gguf
