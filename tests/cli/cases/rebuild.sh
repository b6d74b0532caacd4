# An output tells what it is made of; from that it is made again, to the same bytes or not at all.
record() { # OUTPUT ARGS...: quietly
    local out=$1
    shift
    must "$@" --provenance -q
    [ -f "${out%/}.quern.json" ] || echo "no record of $out"
}
again() { # OUTPUT AGAIN
    must rebuild -q "${1%/}.quern.json" -o "$2"
    if [ -d "$1" ]; then
        diff -r "$1" "$2" && echo "same: $1 $2"
    else
        same "$1" "$2"
    fi
}
q quantize --provenance m/dense-f16.gguf a.gguf Q4_K_M 2
sed -n 4,6p a.gguf.quern.json | cut -c1-100
q inspect --kv quern.command a.gguf
q rebuild a.gguf.quern.json -o b.gguf
same a.gguf b.gguf
files
echo 'ffn_down=q8_0 attn_v=q6_k' >types.txt
record i.gguf quantize --imatrix m/dense.imatrix.gguf --tensor-type-file types.txt --tensor-type 'attn_q=q5_k' \
    --override-kv x.y=int:5 --override-kv x.z=str:-v m/dense-f16.gguf i.gguf IQ2_M
again i.gguf i2.gguf
cat >recipe.yml <<'Y'
models: [{model: m/hf, parameters: {weight: 0.5}}, {model: m/hf-b, parameters: {weight: 0.5}}]
base_model: m/hf
merge_method: ties
parameters: {density: 0.7}
dtype: bfloat16
Y
record merged merge recipe.yml merged/
record merged.gguf merge recipe.yml merged.gguf Q4_K_M --pre llama-bpe
# The record has the recipe with it.
rm recipe.yml
again merged/ merged2
again merged.gguf other-name.gguf
cat >stages.yml <<'Y'
name: mid
models: [{model: m/hf}, {model: m/hf-b}]
merge_method: linear
parameters: {weight: 0.5}
---
models: [{model: mid}, {model: m/hf-c}]
merge_method: slerp
base_model: mid
parameters: {t: 0.3}
dtype: bfloat16
Y
record st.gguf merge stages.yml st.gguf Q4_K_M --pre llama-bpe
again st.gguf st2.gguf
record flags merge --method slerp --base m/hf --model m/hf-b --param t=0.4 --out-shard-size 500K flags
again flags flags2
record lora.gguf merge --base m/hf --lora m/lora:0.8 lora.gguf Q4_K_M --pre llama-bpe
again lora.gguf lora2.gguf
record hf.gguf convert m/hf hf.gguf --pre llama-bpe
again hf.gguf hf2.gguf
record back convert m/dense-f16.gguf back
again back back2
record parts convert m/hf parts --pre llama-bpe --split-max-tensors 8
must rebuild -q parts.quern.json -o bits
for i in 1 2 3; do same parts-0000$i-of-00003.gguf bits-0000$i-of-00003.gguf; done
record taught.gguf convert m/hf-b taught.gguf --pre llama-bpe --learn m/hf hf.gguf
again taught.gguf taught2.gguf
record adapter.gguf convert m/lora adapter.gguf --base m/hf
again adapter.gguf adapter2.gguf
record pulled lora extract m/hf m/hf-b pulled --rank 4
again pulled pulled2
# A matrix that has moved: the output names it as it was named.
cp m/dense.imatrix.gguf here.gguf
record weighed.gguf quantize --imatrix here.gguf m/dense-f16.gguf weighed.gguf IQ2_M
mv here.gguf there.gguf
must rebuild -q weighed.gguf.quern.json --input here.gguf=there.gguf -o weighed2.gguf
same weighed.gguf weighed2.gguf
record sum.dat imatrix combine m/dense.imatrix.gguf m/dense.imatrix.dat -o sum.dat
again sum.dat sum2.dat
record packed.gguf quantize m/packed-awq packed.gguf Q4_K --pre llama-bpe
again packed.gguf packed2.gguf
record hub merge --method linear --model acme/tiny --model m/hf --param weight=0.5 --transformers-cache m/hub hub
again hub hub2
grep -o '"path": "hub:[^"]*model.safetensors"' hub.quern.json
# What a record is of has keys of its own; they are replaced.
record chain.gguf quantize a.gguf chain.gguf Q4_0 --allow-requantize
again chain.gguf chain2.gguf
# Hashes that are asked for come from the record.
[ "$(program quantize --provenance --sha256 -q m/dense-f16.gguf h.gguf Q8_0 | cut -c1-64)" = "$(digest h.gguf)" ] && echo right hash
# An input in a pack is known by what is in it: unpacked it is the same.
must pack -q m/hf -o hf.qpk
record packed-in.gguf convert hf.qpk packed-in.gguf --pre llama-bpe
again packed-in.gguf packed-in2.gguf
must rebuild -q packed-in.gguf.quern.json --input hf.qpk=m/hf -o unpacked.gguf
same packed-in.gguf unpacked.gguf
