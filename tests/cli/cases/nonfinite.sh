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
