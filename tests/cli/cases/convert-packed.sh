# Checkpoints that other programs packed: to GGUF, to a plain directory, and in merges.
q convert m/packed-fp8 fp8.gguf --pre gpt-2 --model-name packed
must convert m/packed-fp8 plain -t bf16
grep -c quantization_config plain/config.json
must convert plain chain.gguf --pre gpt-2 --model-name packed
same fp8.gguf chain.gguf
q merge -q --method passthrough --model m/packed-fp8 merged
same plain/model.safetensors merged/model.safetensors
must convert m/packed-fp8 pass.gguf -t q4_k_m --pre gpt-2
must convert m/packed-fp8 pass1.gguf -t q4_k_m --pre gpt-2 -j 1 --mem 8MiB
same pass.gguf pass1.gguf

# Blocks that GGUF has too are moved.
q convert m/packed-nvfp4 nvfp4.gguf --pre gpt-2
tensors nvfp4.gguf | head -6
q inspect --kv general.file_type nvfp4.gguf
q convert -q m/packed-nvfp4 values.gguf -t iq4_nl --pre gpt-2
tensors values.gguf | grep attn_q

# What is not known is named.
cp -r m/packed-fp8 odd
sed -i 's/"fp8"/"hqq"/' odd/config.json
q convert odd odd.gguf
q merge --method passthrough --model odd odd-merged
cp m/packed-fp8/config.json odd/config.json
sed -i 's/"dynamic"/"dynamic", "rotation": "hadamard"/' odd/config.json
q convert odd odd.gguf
sed -i 's/mlp.up_proj.weight_scale_inv/mlp.up_proj.weight_scale_xxx/' odd/model.safetensors
cp m/packed-fp8/config.json odd/config.json
q convert odd odd.gguf

# Codes without their scales are no weights.
must convert m/packed-fp8 plain32 -t f32
q compare m/packed-fp8 plain32
q compare -q m/packed-nvfp4 m/packed-nvfp4
q quantize m/packed-fp8 cast F16
sed -i 's/"fp8"/"hqq"/' odd/config.json
q compare odd odd
