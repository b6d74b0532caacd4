# safetensors in, safetensors out: another element type, other shards.
q quantize m/hf f16.safetensors F16
tensors f16.safetensors | head -3
q quantize m/hf dir BF16
files dir
q quantize m/hf-b f32dir F32 --shard-size 1MB
files f32dir
q check f32dir
q quantize m/hf-b f8.safetensors F8_E4M3
tensors f8.safetensors | awk '{print $2}' | sort | uniq -c
q quantize m/mixed.safetensors mixed-f32.safetensors F32
tensors mixed-f32.safetensors
q quantize m/hf-b no.safetensors Q8_0
files
