q quantize --override-kv general.name=str:renamed --override-kv llama.context_length=int:4096 --override-kv llama.rope.freq_base=float:5000 --override-kv my.flag=bool:true m/dense-f16.gguf out.gguf Q8_0
for key in general.name llama.context_length llama.rope.freq_base my.flag; do
    q inspect --kv $key out.gguf
done
q quantize --override-kv general.name m/dense-f16.gguf no.gguf Q8_0
q quantize --override-kv general.name=text:x m/dense-f16.gguf no.gguf Q8_0
q quantize --override-kv llama.context_length=int:abc m/dense-f16.gguf no.gguf Q8_0
files
