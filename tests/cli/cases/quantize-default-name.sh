# OUTPUT left out: llama-quantize's default name, beside the input.
cp m/dense-f16.gguf in.gguf
q quantize in.gguf Q8_0
files
