must quantize m/dense-bf16.gguf q8.gguf Q8_0
q quantize q8.gguf no.gguf Q4_0
q quantize --allow-requantize q8.gguf yes.gguf Q4_0
q quantize --allow-requantize q8.gguf back.gguf F16
q quantize q8.gguf copy.gguf COPY
tensors copy.gguf | awk '{print $2}' | sort | uniq -c
files
