# Every file type: which tensor gets which element type.
for type in Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 F16 BF16 F32 COPY; do
    q quantize m/dense-bf16.gguf out.gguf $type
    tensors out.gguf | awk '{print $2}' | sort | uniq -c
    rm -f out.gguf
done
q quantize m/dense-bf16.gguf lower.gguf q8_0
q quantize m/dense-bf16.gguf number.gguf 7
same lower.gguf number.gguf
