# verify: Hugging Face directories, recipes, adapters, containers, and options that do not fit.
ln -s "$POCKET" pocket
must convert pocket/pocket-base p.gguf
must convert pocket/pocket-base p4.gguf -t Q4_K_M
q verify pocket/pocket-base p.gguf
q verify pocket/pocket-base p4.gguf
q verify p.gguf p4.gguf
must convert p.gguf back
q verify p.gguf back
must convert pocket/pocket-base half -t f16 --shard-size 1M
q verify pocket/pocket-base half
sed -i 's/"num_hidden_layers": *2/"num_hidden_layers": 3/' half/config.json
rm half/tokenizer.json
q verify pocket/pocket-base half
q verify --tensors-only pocket/pocket-base half
cat >r.yml <<END
merge_method: slerp
base_model: base
models: [{model: base}, {model: code}]
parameters: {t: 0.4}
dtype: bfloat16
END
ids=(--model "base=pocket/pocket-base" --model "code=pocket/pocket-code")
must merge "${ids[@]}" r.yml merged
must merge "${ids[@]}" r.yml merged.gguf Q5_K_M
q verify "${ids[@]}" r.yml merged
q verify "${ids[@]}" r.yml merged.gguf
must pack merged -o merged.qpk
q verify "${ids[@]}" r.yml merged.qpk
must pack pocket/pocket-base -o base.qpk
q verify base.qpk p4.gguf
q verify --method slerp --base pocket/pocket-base --model pocket/pocket-code --param t=0.4 --dtype bfloat16 merged.gguf
q verify r.yml merged.gguf
must merge --base m/hf --lora m/lora with
q verify --base m/hf --lora m/lora with
must convert --base m/hf m/lora adapter.gguf
q verify --base m/hf m/lora adapter.gguf
must quantize --keep-names --arch box m/wide-a.safetensors box.gguf Q8_0
q verify m/wide-a.safetensors box.gguf
q verify --pre llama-bpe m/hf p.gguf
q verify --via f16 p.gguf p4.gguf
q verify --imatrix m/dense.imatrix.gguf p.gguf back
q verify --param t=1 p.gguf p4.gguf
q verify p.gguf
q verify p.gguf m/bad/truncated.gguf
q verify m/missing p.gguf
q verify --mem 1 p.gguf p4.gguf
