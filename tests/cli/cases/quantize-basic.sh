# valgrind
q quantize m/dense-f16.gguf out.gguf Q4_0
tensors out.gguf
must quantize m/dense-f16.gguf threads.gguf Q4_0 2
same out.gguf threads.gguf
must quantize -j 1 -o option.gguf m/dense-f16.gguf Q4_0
same out.gguf option.gguf
must quantize -q m/dense-f16.gguf Q4_0.gguf Q4_0
same out.gguf Q4_0.gguf
q quantize -q m/dense-f16.gguf quiet.gguf Q8_0
files
