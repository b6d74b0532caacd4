# safetensors to GGUF is a conversion; as a plain container it works today.
q quantize m/hf-b no.gguf Q8_0
q quantize --keep-names m/hf-b no.gguf Q8_0
q quantize --keep-names --arch llama m/hf-b out.gguf Q8_0
tensors out.gguf
q inspect --kv general.architecture out.gguf
q quantize --keep-names --arch llama m/hub/models--acme--tiny/snapshots/0123456789abcdef0123456789abcdef01234567 hub.gguf Q8_0
same out.gguf hub.gguf
q quantize --keep-names --arch llama m/names.safetensors names.gguf F16
q quantize --keep-names --arch llama m/mixed.safetensors mixed.gguf F16
files
