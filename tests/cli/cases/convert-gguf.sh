# GGUF to GGUF: split, join, shard anew, other types. Digests are those of llama.cpp's gguf-split
# (scripts/compare_gguf_split.sh compares many more with it).
q convert m/dense-f16.gguf part --split-max-tensors 8
digest part-*
q convert -q m/dense-f16.gguf keys.gguf --split-max-size 1M --no-tensor-first-split
files
digest keys-*
q convert part-00002-of-00003.gguf one.gguf
digest one.gguf
q inspect --kv split.count one.gguf
q convert -q keys-00003-of-00004.gguf again --split-max-tensors 8
same part-00002-of-00003.gguf again-00002-of-00003.gguf
# A tensor larger than the limit has a file of its own, also when it is the first.
q convert -q m/dense-f16.gguf small --split-max-size 1K
must check -q small-00001-of-00021.gguf
# Every file but the first is aligned as its keys say: by default.
q convert -q m/align64.gguf wide --split-max-tensors 1
q check wide-00001-of-00006.gguf
q convert -q wide-00002-of-00006.gguf wide.gguf
q compare -q m/align64.gguf wide.gguf
# Types: what quern quantize makes. Floats of quantized weights need no permission.
must quantize m/dense-f16.gguf q4.gguf Q4_0
q convert -q m/dense-f16.gguf 'dense-{ftype}.gguf' -t Q4_0
same q4.gguf dense-q4_0.gguf
must quantize --allow-requantize q4.gguf f16.gguf F16
q convert -q q4.gguf 'dense-{FTYPE}.gguf' -t f16
same f16.gguf dense-F16.gguf
q convert q4.gguf out.gguf -t q8_0
must quantize --allow-requantize q4.gguf q8.gguf Q8_0
q convert -q q4.gguf q8c.gguf -t q8_0 --allow-requantize
same q8.gguf q8c.gguf
# Keys.
q convert -q m/dense-f16.gguf named.gguf --override-kv general.author=str:nobody
q inspect --kv general.author named.gguf
# Any file that is GGUF can be split, adapters too.
q convert -q m/lora.gguf lora --split-max-tensors 3
q convert -q lora-00001-of-00004.gguf lora.gguf
q compare -q m/lora.gguf lora.gguf
# A plain container.
must quantize --keep-names --arch llama m/hf plain.gguf F16
q convert -q m/hf plainc.gguf --keep-names --arch llama -t f16
same plain.gguf plainc.gguf
q convert -q m/hf kept.gguf --keep-names --arch llama
q compare -q m/hf kept.gguf
# Mistakes.
q convert m/dense-f16.gguf
q convert m/dense-f16.gguf out.gguf --vocab-only
q convert m/dense-f16.gguf out.gguf --arch llama
q convert m/dense-f16.gguf out.gguf --no-tensor-first-split
q convert m/dense-f16.gguf out.gguf --imatrix m/dense.imatrix.gguf
q convert part-00001-of-00003.gguf part --split-max-tensors 8
q convert m/hf out.gguf --keep-names
q convert m/hf out.gguf --arch llama
q convert m/hf out.gguf --keep-names --arch llama --pre gpt-2
