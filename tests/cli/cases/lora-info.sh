# valgrind
# What adapters change.
q lora info m/lora
q lora info m/lora-dora/adapter_model.safetensors
q lora info m/lora.gguf
q lora info --json m/lora-dora
q lora info m/hf
q lora info m/dense-f16.gguf
q lora info
q lora inf m/lora
q lora info -o x m/lora
q help lora
