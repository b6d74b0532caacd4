# NaN and Inf are found while quantizing and merging, the first in tensor order, whatever the threads.
for j in 1 2 7; do
    q quantize -j $j m/nan.gguf out.gguf Q8_0
done
q quantize m/inf.safetensors out.safetensors F16
q merge --method linear --model m/inf.safetensors --model m/inf.safetensors --param weight=0.5 out.safetensors
files
# The other ways.
q quantize --nonfinite zero m/nan.gguf zero.gguf Q8_0
q check zero.gguf
q quantize --nonfinite keep m/nan.gguf keep.gguf Q8_0
q quantize --nonfinite keep m/nan.gguf keep.gguf F16
q check keep.gguf
q quantize --nonfinite none m/nan.gguf none.gguf F16
q merge --nonfinite zero --method linear --model m/inf.safetensors --model m/inf.safetensors --param weight=0.5 sum.safetensors
q merge --nonfinite keep --method linear --model m/inf.safetensors --model m/inf.safetensors --param weight=0.5 no.safetensors
# Bytes that are only moved are looked at, but where whole files are put together or taken apart.
q quantize m/nan.gguf copy.gguf COPY
q convert m/nan.gguf moved.gguf -q
q convert --nonfinite error m/nan.gguf no.gguf
# What scripts get.
q quantize --json --nonfinite zero m/nan.gguf json.gguf Q8_0 | grep -o '"nonfinite":.*}]'
q quantize --dry-run --nonfinite zero m/nan.gguf dry.gguf Q8_0 | tail -4
files
# What was made so is verified so, and what is NaN in the output is seen.
q verify m/nan.gguf zero.gguf
q verify --nonfinite zero m/nan.gguf zero.gguf
q verify --nonfinite keep m/nan.gguf keep.gguf
q verify --nonfinite zero m/nan.gguf keep.gguf
# A record keeps the way, and hashes of what the inputs hold.
q quantize -q --provenance --nonfinite zero m/nan.gguf recorded.gguf Q8_0
q rebuild -q recorded.gguf.quern.json -o again.gguf
same recorded.gguf again.gguf
rm -- *.json
files
# Weights that an adapter changes or has whole are told as well.
cp -r m/hf base
cp -r m/lora adapter
chmod -R u+w base adapter
python3 - base/model-00002-of-00003.safetensors self_attn.q_proj adapter/adapter_model.safetensors .norm.weight <<'P'
import json, struct, sys
for path, name in zip(sys.argv[1::2], sys.argv[2::2]):
    data = bytearray(open(path, "rb").read())
    n, = struct.unpack_from("<Q", data)
    for key, t in json.loads(data[8:8 + n]).items():
        if name in key:
            at, nan = 8 + n + t["data_offsets"][0], {"BF16": b"\xc0\x7f", "F32": b"\0\0\xc0\x7f"}[t["dtype"]]
            data[at + 5 * len(nan):at + 6 * len(nan)] = nan
    open(path, "wb").write(data)
P
q merge -q --base base --lora m/lora out.safetensors
q merge -q --base m/hf --lora adapter out.gguf F16 --pre gpt-2
q merge --json --nonfinite zero --base base --lora adapter out.safetensors | grep -o '"nonfinite":.*}]'
