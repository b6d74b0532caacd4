# -v, -q, --progress, --stats: who says what where. stdout stays empty.
q quantize -v m/dense-f16.gguf v.gguf Q8_0
q quantize --stats m/dense-f16.gguf stats.gguf Q4_0
must quantize m/dense-f16.gguf plain.gguf Q4_0
same stats.gguf plain.gguf
q quantize --progress none -q m/dense-f16.gguf quiet.gguf Q8_0
q quantize --progress loud m/dense-f16.gguf no.gguf Q8_0
