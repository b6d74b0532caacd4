# valgrind
# compare: equal files, a quantized one, values and types; the numbers are those of --stats.
q compare m/dense-f16.gguf m/split-00002-of-00003.gguf
q compare m/mixed.safetensors m/mixed.safetensors
q compare m/hf-b m/hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567
must quantize m/dense-f16.gguf q4.gguf Q4_0
q compare m/dense-f16.gguf q4.gguf
q compare -v m/dense-f16.gguf q4.gguf
q compare -q m/dense-f16.gguf q4.gguf
