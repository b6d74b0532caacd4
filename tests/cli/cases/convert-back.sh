# From GGUF back to safetensors, and from safetensors to other files.
ln -s "$POCKET" pocket
must convert pocket/pocket-base base.gguf
q convert base.gguf back
cat back/config.json
same back/model.safetensors pocket/pocket-base/model.safetensors
q convert -q back again.gguf
q compare -q base.gguf again.gguf
# Shards and blocks.
must convert base.gguf part -t q8_0 --split-max-tensors 9
q convert part-00001-of-00003.gguf q8.safetensors
q convert -q part-00002-of-00003.gguf f16 -t f16 --shard-size 1M
ls back f16
q compare -q q8.safetensors back
# Names that stay.
q convert -q base.gguf kept.safetensors --keep-names -t f32
q compare -q base.gguf kept.safetensors
# Hugging Face models in other types and files.
q convert -q back f32 -t f32 --shard-size 2M
q convert -q f32 bf16 -t bf16
same bf16/model.safetensors back/model.safetensors
q convert -q f32/model.safetensors.index.json one.safetensors
q compare -q f32 one.safetensors
# A tokenizer that is not known.
q convert m/dense-f16.gguf without
# Merges with GGUF.
q merge -q --method linear --model base.gguf --model pocket/pocket-code --param weight=0.5,0.5 mix
q merge -q --method linear --model back --model pocket/pocket-code --param weight=0.5,0.5 plain
same mix/model.safetensors plain/model.safetensors
# Mistakes.
q convert base.gguf back
q convert base.gguf one -t q8_0
q convert base.gguf two.safetensors --shard-size 1M
q convert m/align64.gguf none
q convert base.gguf none --pre gpt-2
q convert pocket/pocket-base out.gguf --shard-size 1M
