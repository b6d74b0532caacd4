# Shards in, shards out.
q merge --method linear --model m/hf --model m/hf-b --param weight=0.5 --out-shard-size 1MB out
files out
q merge --method linear --model m/hf --model m/hf-b --param weight=0.5 one.safetensors
tensors one.safetensors --hash | sort >a
for f in out/*.safetensors; do tensors "$f" --hash; done | sort >b
cmp a b && echo "the same tensors"
q check out
