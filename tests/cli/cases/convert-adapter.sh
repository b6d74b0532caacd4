# A PEFT adapter to GGUF.
q convert m/lora adapter.gguf --base m/hf
q lora info adapter.gguf
q convert -q m/lora/adapter_model.safetensors again.gguf --base m/hf/config.json -t f32
same adapter.gguf again.gguf
q convert -q m/lora 'adapter-{ftype}.gguf' --base m/hf -t bf16 --model-name "An adapter" --override-kv general.author=str:me
q inspect adapter-bf16.gguf
# Its base is looked for where adapter_config.json says.
mkdir -p Grain-2B-lora-v3 hub/models--acme--grain/snapshots/main
cp m/hf/config.json hub/models--acme--grain/snapshots/main/
cp m/lora/adapter_model.safetensors Grain-2B-lora-v3/
echo '{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "base_model_name_or_path": "acme/grain"}' >Grain-2B-lora-v3/adapter_config.json
q convert Grain-2B-lora-v3 --transformers-cache .
q convert -q Grain-2B-lora-v3 --transformers-cache hub
HF_HUB_CACHE=$PWD/hub q convert -q Grain-2B-lora-v3 from-cache.gguf
same Grain-2B-lora-v3/*.gguf from-cache.gguf
files | grep gguf
# Mistakes.
q convert m/lora-dora out.gguf --base m/hf
q convert m/lora out.gguf --base m/dense-f16.gguf
q convert m/lora out.gguf --base none
q convert m/lora out --base m/hf
q convert m/lora out.gguf --base m/hf -t q4_0
q convert m/lora out.gguf --base m/hf --split-max-tensors 3
q convert m/lora out.gguf --base m/hf --pre gpt-2
q convert m/hf out.gguf --base m/hf
# What is made keeps its types.
q convert m/lora.gguf typed.gguf -t q8_0
q convert m/dense-f16.gguf -
