# Rules for tensors, found in a model and the GGUF made of it.
ln -s "$POCKET/pocket-base" base
must convert base base.gguf -q
mkdir code
ln -s "$POCKET"/pocket-code/* code/
must convert code code.gguf -q
rm code/config.json
sed 's/LlamaForCausalLM/NobodyForCausalLM/; s/"llama"/"nobody"/' base/config.json >code/config.json
q convert --learn base base.gguf --write-map -
q convert -q --learn base base.gguf --write-map map.yml
q convert --learn base base.gguf --write-map map.yml
q convert code out.gguf --learn base base.gguf
same code.gguf out.gguf
q convert -q code out.gguf --like base.gguf --map map.yml -f
same code.gguf out.gguf
must convert base q8.gguf -t q8_0 -q
must convert code q8-of-code.gguf --learn base q8.gguf -t q8_0 -q
must convert code q8-again.gguf --like q8.gguf --map map.yml -t q8_0 -q
same q8-of-code.gguf q8-again.gguf
# What cannot be learnt
q convert code bad.gguf --learn base code.gguf
q convert code bad.gguf --learn base
q convert code bad.gguf --learn base.gguf base
q convert code bad.gguf --learn base base.gguf --map map.yml
q convert code bad.gguf --write-map map.yml
q convert --learn base base.gguf
ls
