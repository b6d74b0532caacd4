# What was written, as sha256sum tells it too.
"$QUERN" quantize -q --sha256 m/dense-f16.gguf out.gguf Q8_0 >sums
"$QUERN" quantize -q --sha256 --keep-split m/split-00001-of-00003.gguf part Q8_0 >>sums
"$QUERN" merge -q --sha256 --method linear --model m/hf-b --model m/hf-c --param weight=0.5 merged >>sums
sha256sum -c sums
"$QUERN" quantize -q -f --json --sha256 m/dense-f16.gguf out.gguf Q8_0 | python3 -c '
import hashlib, json, sys
for path, got in json.load(sys.stdin)["sha256"].items():
    print(path, got == hashlib.sha256(open(path, "rb").read()).hexdigest())'
