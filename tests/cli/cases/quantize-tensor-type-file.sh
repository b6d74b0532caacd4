# Patterns from a file stand where the option stands: the first match wins.
printf 'attn_v=q8_0 ffn_down=q5_k\n\tblk\\.0\\.ffn_up=q6_k \n' >types.txt
q quantize -q --tensor-type-file types.txt m/dense-f16.gguf file.gguf Q4_K_S
tensors file.gguf | grep -E 'attn_v|ffn_(down|up)'
q quantize -q --tensor-type attn_v=f16 --tensor-type-file types.txt m/dense-f16.gguf before.gguf Q4_K_S
q quantize -q --tensor-type-file types.txt --tensor-type attn_v=f16 m/dense-f16.gguf after.gguf Q4_K_S
tensors before.gguf | grep attn_v
tensors after.gguf | grep attn_v
printf 'attn_v=q8_0 ffn_down' >bad.txt
q quantize --tensor-type-file bad.txt m/dense-f16.gguf no.gguf Q4_K_S
printf 'attn_v=q8_0 \0' >nul.txt
q quantize --tensor-type-file nul.txt m/dense-f16.gguf no.gguf Q4_K_S
printf 'nothing=q8_0' >none.txt
q quantize --tensor-type-file none.txt m/dense-f16.gguf no.gguf Q4_K_S
q quantize --tensor-type-file nowhere.txt m/dense-f16.gguf no.gguf Q4_K_S
: >empty.txt
q quantize -q --tensor-type-file empty.txt m/dense-f16.gguf empty.gguf Q4_K_S
files
