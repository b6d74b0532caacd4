# NaN and Inf are found while quantizing and merging, the first in tensor order, whatever the threads.
for j in 1 2 7; do
    q quantize -j $j m/nan.gguf out.gguf Q8_0
done
q quantize m/inf.safetensors out.safetensors F16
q merge --method linear --model m/inf.safetensors --model m/inf.safetensors --param weight=0.5 out.safetensors
files
