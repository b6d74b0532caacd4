# What convert refuses, and how it says so.
ln -s "$POCKET/pocket-base" pocket
q convert
q convert pocket out.gguf -t q9_0
q convert pocket out.gguf --mmproj
q convert pocket out.gguf --bigendian
q convert pocket out.gguf -t bf16 --imatrix none.gguf
q convert m/names.safetensors out.gguf
mkdir hf
ln -s "$PWD"/pocket/model.safetensors "$PWD"/pocket/token* hf/
sed 's/LlamaForCausalLM/LhamaForCausalLM/' pocket/config.json >hf/config.json
q convert hf out.gguf
rm hf/config.json
q convert hf out.gguf
sed 's/"num_attention_heads": *[0-9]*/"num_attention_heads": 7/' pocket/config.json >hf/config.json
q convert hf out.gguf
cp pocket/config.json hf/
rm hf/token*
q convert hf out.gguf
echo '{"general.nmae": "x"}' >meta.json
q convert pocket out.gguf --metadata meta.json
files
