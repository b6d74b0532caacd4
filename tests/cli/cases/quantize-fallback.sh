# Rows that are no whole blocks: counted in the summary, an error with --no-fallback.
q quantize m/ragged.gguf out.gguf Q4_0
tensors out.gguf
q quantize --no-fallback m/ragged.gguf no.gguf Q4_0
files
