# GGUF adapters on GGUF models: what has no adapter keeps its type and bytes.
q merge --base m/dense-bf16.gguf --lora m/lora.gguf:0.5 out.gguf
q compare m/dense-bf16.gguf out.gguf | head -9
must quantize m/dense-f16.gguf q8.gguf Q8_0
q merge -q --base q8.gguf --lora m/lora.gguf from8.gguf
tensors from8.gguf | head -12
q merge -q --base m/dense-bf16.gguf --lora m/lora.gguf small.gguf Q4_0
tensors small.gguf | head -12
q merge --base m/dense-bf16.gguf --lora m/lora no.gguf
q merge --base m/moe.gguf --lora m/lora.gguf no.gguf
