q inspect --kv general.architecture m/dense-f16.gguf
q inspect --kv llama.block_count m/dense-f16.gguf
q inspect --kv tokenizer.ggml.merges m/dense-f16.gguf
q inspect --kv no.such.key m/dense-f16.gguf
