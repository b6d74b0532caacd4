# Whole files, byte for byte those of llama-quantize: the digests below were recorded from it, with these very commands.
hash_of() { # FILE, or what stands for a refusal
    if [ -f "$1" ]; then sha256sum <"$1" | cut -c1-16; else echo refused; fi
}
for type in Q1_0 Q2_0 Q4_0 Q4_1 MXFP4_MOE Q5_0 Q5_1 IQ2_XXS IQ2_XS IQ2_S IQ2_M IQ1_S IQ1_M TQ1_0 TQ2_0 Q2_K Q2_K_S IQ3_XXS IQ3_S IQ3_M \
    IQ3_XS Q3_K_S Q3_K_M Q3_K_L IQ4_NL IQ4_XS Q4_K_S Q4_K_M Q5_K_S Q5_K_M Q6_K Q8_0 F16 BF16 F32 COPY; do
    rm -f dense.gguf plain.gguf
    "$QUERN" quantize -q --reference-bugs --imatrix m/weighed.imatrix.gguf m/dense-f16.gguf dense.gguf $type 2>/dev/null
    "$QUERN" quantize -q --reference-bugs m/dense-f16.gguf plain.gguf $type 2>/dev/null
    echo "$type $(hash_of dense.gguf) $(hash_of plain.gguf)"
done
