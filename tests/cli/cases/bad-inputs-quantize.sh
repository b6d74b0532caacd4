# The same refusals from the commands that write; nothing is left behind.
q quantize m/bad/truncated.gguf out.gguf Q8_0
q quantize m/bad/truncated.safetensors out.safetensors F16
q quantize m/bad/pickle.safetensors out.safetensors F16
q quantize m/missing.gguf out.gguf Q8_0
q merge --method linear --model m/hf-b --model m/bad/lfs.safetensors --param weight=0.5 out
files
