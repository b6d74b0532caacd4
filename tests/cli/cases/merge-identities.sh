# Merges whose result is known: t = 0 and t = 1, the whole of one model, a model with itself.
must merge --method slerp --base m/hf-b --model m/hf-c --param t=0 t0.safetensors
must merge --method slerp --base m/hf-b --model m/hf-c --param t=1 t1.safetensors
must merge --method linear --model m/hf-b --model m/hf-b --param weight=0.5 self.safetensors
must merge --method ties --base m/hf --model m/hf-b --param weight=1 --param density=1 ties.safetensors
for f in t0 self ties; do
    tensors $f.safetensors --hash >a
    tensors m/hf-b/model.safetensors --hash >b
    cmp a b && echo "$f: model b"
done
tensors t1.safetensors --hash >a
tensors m/hf-c/model.safetensors --hash >b
cmp a b && echo "t1: model c"
