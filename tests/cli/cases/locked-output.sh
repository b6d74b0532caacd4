# Another process is writing the same output.
exec 9>.out.gguf.quern-part
flock 9
q quantize m/dense-f16.gguf out.gguf Q8_0
exec 9>&-
q quantize m/dense-f16.gguf out.gguf Q8_0
files
