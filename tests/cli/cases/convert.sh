# A Hugging Face directory to GGUF, and to a quantized one in one pass.
ln -s "$POCKET/pocket-base" pocket
q convert pocket out.gguf
q inspect --kv general.architecture out.gguf
tensors out.gguf | head -5
must convert pocket auto.gguf -t auto
must quantize auto.gguf chain.gguf Q4_K_M
must convert pocket direct.gguf -t q4_k_m
same chain.gguf direct.gguf
must quantize pocket pass.gguf Q4_K_M
same chain.gguf pass.gguf
must convert pocket one.gguf -j 1 --mem 8MiB
same out.gguf one.gguf
q convert pocket part -t q8_0 --split-max-tensors 12
q convert -q pocket named.gguf --model-name "A pocket model" --override-kv general.author=str:nobody
q inspect --kv general.name named.gguf
q inspect --kv general.author named.gguf
q convert -q pocket vocab.gguf --vocab-only
q inspect vocab.gguf
files
