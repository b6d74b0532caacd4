# Importance that is no importance is refused wherever it is read: NaN, Inf, negative, all zero.
cat >make.py <<'PY'
import struct, sys

def row(name, values, calls=4):
    return struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, len(values)) + struct.pack("<%df" % len(values), *values)

for kind, bad in (("nan", float("nan")), ("inf", float("inf")), ("negative", -1.0), ("zero", None)):
    values = [1.0] * 256
    if bad is None:
        values = [0.0] * 256
    else:
        values[200] = bad
    with open(kind + ".dat", "wb") as f:
        f.write(struct.pack("<i", 1) + row("blk.0.attn_v.weight", values))
PY
python3 make.py
for kind in nan inf negative zero; do
    q quantize -q --imatrix $kind.dat m/dense-f16.gguf out.gguf Q4_K_S
    q imatrix convert -q $kind.dat $kind.gguf
done
q imatrix combine -q nan.dat zero.dat -o both.gguf
# All zero is sound as a number and goes from format to format, but not into weights.
q quantize -q --imatrix zero.gguf m/dense-f16.gguf out.gguf Q4_0
q quantize -q --imatrix zero.gguf m/dense-f16.gguf out.gguf Q8_0
q quantize -q --imatrix zero.gguf --exclude-weights attn_v m/dense-f16.gguf left-out.gguf Q4_0
q quantize -q --imatrix zero.gguf --reference-bugs m/dense-f16.gguf bugs.gguf Q4_0
q convert -q --pre llama-bpe -t q4_k_s --imatrix nan.dat m/hf converted.gguf
q merge -q --imatrix nan.dat --method linear --model m/dense-f16.gguf --model m/dense-b.gguf --param weight=0.5 merged.gguf Q4_K_S
q compare -q --imatrix nan.dat m/dense-f16.gguf m/dense-b.gguf
files
