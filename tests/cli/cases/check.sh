# valgrind
q check m/dense-f16.gguf
q check m/hf m/hf-b m/mixed.safetensors
q check m/split-00001-of-00003.gguf
q check m/nan.gguf
q check m/inf.safetensors
q check m/dense-f16.gguf m/bad/truncated.gguf m/nan.gguf
q check m/missing.gguf
