# Adapters taken out of tuned models.
must merge --base m/hf --lora m/lora tuned
q lora extract m/hf tuned adapter --rank 4
files adapter
cat adapter/adapter_config.json
q lora info adapter
# Put in again, it gives the tuned model but for the rounding of bf16.
must merge --base m/hf --lora adapter again
q compare tuned again | tail -3
# Differences of full rank: the loss is told; nothing depends on threads or memory.
q lora extract m/hf m/hf-b full --rank 16 -j 1 --mem 24MiB --exclude self_attn --no-save-modules
q lora extract m/hf m/hf-b wide --rank 16 -q -j 3 --exclude self_attn --no-save-modules
same full/adapter_model.safetensors wide/adapter_model.safetensors
q lora extract m/hf m/hf-b some --json --rank 300 --include 'layers.1.mlp' --out-dtype bf16
q lora extract --dry-run m/hf tuned dry --include q_proj
# What cannot be done.
q lora extract m/hf m/hf none
q lora extract m/hf m/hf-b none --exclude .
q lora extract m/hf m/hf-shape none
q lora extract m/hf m/hf-b none.safetensors
q lora extract m/hf m/hf-b none --include '('
q lora extract m/hf m/hf-b none --out-dtype q8_0
q lora extract m/hf m/hf-b none --rank 9000
q lora extract m/dense-bf16.gguf m/dense-b.gguf none
q lora extract m/hf m/hf-b
q lora extract m/hf m/hf-b adapter
