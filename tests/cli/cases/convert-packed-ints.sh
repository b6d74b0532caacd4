# Checkpoints packed as small integers: to GGUF, to a plain directory, and in merges.
q convert m/packed-awq awq.gguf --pre gpt-2 --model-name packed
must convert m/packed-awq awq1.gguf --pre gpt-2 --model-name packed -j 1 --mem 8MiB
same awq.gguf awq1.gguf
must convert m/packed-awq plain -t bf16
must convert plain chain.gguf --pre gpt-2 --model-name packed
same awq.gguf chain.gguf
must convert m/packed-awq plain32 -t f32
q merge -q --method slerp --param t=0.5 --dtype float16 --base m/packed-awq --model m/hf merged
must merge --method slerp --param t=0.5 --dtype float16 --base plain32 --model m/hf merged32
same merged/model.safetensors merged32/model.safetensors

# Symmetric groups of 32 with scales in F16 are Q4_0 already.
q convert m/packed-int4 int4.gguf -t q4_0 --pre gpt-2
must convert m/packed-int4 int4-f32.gguf -t f32 --pre gpt-2
q compare -v int4-f32.gguf int4.gguf | grep attn_q
must convert m/packed-int4 int4-1.gguf -t q4_0 --pre gpt-2 -j 1 --mem 8MiB
same int4.gguf int4-1.gguf

# What is not known, or does not fit, is named.
cp -r m/packed-awq odd
sed -i 's/"gemm"/"gemv_fast"/' odd/config.json
q convert odd odd.gguf --pre gpt-2
sed 's/"group_size": 64/"group_size": 128/' m/packed-awq/config.json >odd/config.json
q convert odd odd.gguf --pre gpt-2
cp m/packed-awq/config.json odd/config.json
sed -i 's/0.mlp.up_proj.qzeros/0.mlp.up_proj.qzerox/' odd/model.safetensors
q convert odd odd.gguf --pre gpt-2
cp -r m/packed-int4 odd4
sed -i 's/"num_bits": 4/"num_bits": 8/' odd4/config.json
q convert odd4 odd.gguf --pre gpt-2
