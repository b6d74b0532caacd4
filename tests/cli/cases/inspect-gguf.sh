# valgrind
q inspect m/dense-f16.gguf
q inspect --tensors m/dense-f16.gguf
q inspect m/split-00001-of-00003.gguf
q inspect m/split-00002-of-00003.gguf
q inspect m/unknown-arch.gguf
q inspect m/align64.gguf
