# Every file type: which tensor gets which element type.
for type in Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 F16 BF16 F32 COPY Q1_0 Q2_0 TQ1_0 TQ2_0 MXFP4_MOE IQ4_NL IQ4_XS IQ3_S IQ3_M \
    Q2_K Q3_K Q3_K_S Q3_K_M Q3_K_L Q4_K Q4_K_S Q4_K_M Q5_K Q5_K_S Q5_K_M Q6_K; do
    q quantize m/dense-bf16.gguf out.gguf $type
    tensors out.gguf | awk '{print $2}' | sort | uniq -c
    rm -f out.gguf
done
q quantize m/dense-bf16.gguf lower.gguf q8_0
q quantize m/dense-bf16.gguf number.gguf 7
same lower.gguf number.gguf
