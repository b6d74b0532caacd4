q quantize --dry-run m/dense-f16.gguf out.gguf Q4_0
q quantize --dry-run --pure m/ragged.gguf out.gguf Q4_0
files
