# valgrind
q inspect m/hf
q inspect m/hf/model.safetensors.index.json
q inspect --tensors m/hf-b
q inspect m/mixed.safetensors
q inspect --tensors m/mixed.safetensors
