# valgrind
# verify: exact files of every form; a flipped bit, the wrong source and a lacking matrix are found.
must quantize m/dense-f16.gguf q4.gguf Q4_K_M
q verify m/dense-f16.gguf q4.gguf
q verify m/split-00002-of-00003.gguf q4.gguf
must quantize --imatrix m/dense.imatrix.gguf m/dense-f16.gguf im.gguf Q4_0
q verify --imatrix m/dense.imatrix.gguf m/dense-f16.gguf im.gguf
q verify m/dense-f16.gguf im.gguf
q verify -q m/dense-f16.gguf im.gguf
q verify --imatrix m/dense.imatrix.gguf m/dense-f16.gguf q4.gguf
python3 - <<'END'
at = open("q4.gguf", "rb").read()
open("bad.gguf", "wb").write(at[:-1000] + bytes([at[-1000] ^ 4]) + at[-999:])
END
q verify m/dense-f16.gguf bad.gguf
q verify --json m/dense-f16.gguf bad.gguf
q verify m/dense-b.gguf q4.gguf
must quantize --override-kv llama.context_length=int:7 --override-kv my.key=str:x --override-kv general.name=str:other m/dense-f16.gguf keys.gguf F16
q verify m/dense-f16.gguf keys.gguf
q verify -v m/dense-f16.gguf keys.gguf
q verify --tensors-only m/dense-f16.gguf keys.gguf
q verify --override-kv llama.context_length=int:7 --override-kv my.key=str:x m/dense-f16.gguf keys.gguf
# The wrong way around.
q verify q4.gguf m/dense-f16.gguf 2>&1 | tail -3
must convert --pre gpt-2 m/hf hf.gguf
q verify hf.gguf m/hf 2>&1 | tail -2
must convert m/dense-bf16.gguf back
rm back/config.json
q verify m/dense-bf16.gguf back
