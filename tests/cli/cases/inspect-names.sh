# Names from a file are quoted before they reach a terminal.
q inspect --tensors m/names.safetensors
program inspect --tensors m/names.safetensors | tr -cd '\033' | wc -c
