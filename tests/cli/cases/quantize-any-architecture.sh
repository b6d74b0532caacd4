# Nobody is refused for the name of an architecture, and a file without keys is fine.
q quantize m/unknown-arch.gguf out.gguf Q8_0
tensors out.gguf
q quantize m/align64.gguf align.gguf Q8_0
q check align.gguf
