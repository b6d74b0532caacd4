# Which tensors get which type.
q quantize --pure m/dense-bf16.gguf pure.gguf Q4_0
tensors pure.gguf | grep -v blk.1
q quantize --leave-output-tensor m/dense-bf16.gguf leave.gguf Q4_0
tensors leave.gguf | grep -E 'output.weight|token_embd'
q quantize --output-tensor-type q5_1 --token-embedding-type Q8_0 m/dense-bf16.gguf out-emb.gguf Q4_0
tensors out-emb.gguf | grep -E 'output.weight|token_embd'
q quantize --tensor-type ffn_down=q8_0 --tensor-type 'blk\.1\.attn_.*=q5_0' m/dense-bf16.gguf rules.gguf Q4_0
tensors rules.gguf
q quantize --tensor-type ffn_dwon=q8_0 m/dense-bf16.gguf none.gguf Q4_0
q quantize --tensor-type ffn_down m/dense-bf16.gguf none.gguf Q4_0
q quantize --tensor-type 'ffn_(down=q8_0' m/dense-bf16.gguf none.gguf Q4_0
q quantize --tensor-type ffn_down=q9_9 m/dense-bf16.gguf none.gguf Q4_0
q quantize --tensor-type ffn_down=q8_1 m/dense-bf16.gguf none.gguf Q4_0
q quantize --output-tensor-type i32 m/dense-bf16.gguf none.gguf Q4_0
files
