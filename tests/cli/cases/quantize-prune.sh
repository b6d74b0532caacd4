# Layers left out: names, numbers and keys move up.
q quantize --prune-layers 1 m/deep.gguf one.gguf COPY
tensors one.gguf
hashes() { tensors "$1" --hash | awk -v l="$2" 'index($1, "blk." l ".") { print $NF }'; }
for layer in 0 1 2; do
    for was in 0 1 2 3; do
        if [ "$(hashes one.gguf $layer)" = "$(hashes m/deep.gguf $was)" ]; then echo "layer $layer was $was"; fi
    done
done
q inspect --kv llama.block_count one.gguf
q inspect --kv llama.attention.head_count_kv one.gguf
q inspect --kv llama.rope.dimension_sections one.gguf
q quantize -q --prune-layers 3 --prune-layers 2,0,2 m/deep.gguf three.gguf COPY
tensors three.gguf
q inspect --kv llama.attention.head_count_kv three.gguf
q quantize --reference-bugs --prune-layers 1 m/deep.gguf bugs.gguf COPY
if [ "$(hashes bugs.gguf 1)" = "$(hashes m/deep.gguf 1)" ]; then echo "layer 1 was 1"; fi
q inspect --kv llama.attention.head_count_kv bugs.gguf
q quantize -q --prune-layers 0,1,2,3 m/deep.gguf all.gguf COPY
tensors all.gguf
q inspect --kv llama.block_count all.gguf
# Importance is looked up under the old number, and what is pruned is not missed.
q quantize --prune-layers 0,2 --imatrix m/deep.imatrix.gguf m/deep.gguf im.gguf Q4_K_M
# The prefix of a split set; the last file, emptied, goes.
must quantize --keep-split m/split-00001-of-00003.gguf set COPY
q quantize -q --keep-split --prune-layers 1 m/split-00001-of-00003.gguf cut COPY
q quantize --prune-layers 4 m/deep.gguf no.gguf COPY
q quantize --prune-layers 1,,2 m/deep.gguf no.gguf COPY
q quantize --prune-layers all m/deep.gguf no.gguf COPY
q quantize --prune-layers 0 m/hf-b hf-out F16
files
