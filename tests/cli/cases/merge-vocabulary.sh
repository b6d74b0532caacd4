# Models with different vocabularies: the same rows, other tokens.
cp -r m/hf-c c
sed 's/"<5>"/"five"/; s/"added_tokens": \[\]/"added_tokens": [{"id": 7, "content": "<7>", "special": true}]/' \
    m/hf-c/tokenizer.json >c/tokenizer.json
recipe() {
    cat <<Y
merge_method: slerp
base_model: m/hf-b
models: [{model: m/hf-b}, {model: c}]
parameters: {t: 0.4}
dtype: bfloat16
$1
Y
}
recipe 'tokenizer_source: union' >union.yml
q merge union.yml union
files union
tensors union/model.safetensors | grep -v layers
grep vocab_size union/config.json
grep -o '"<319>":319,"five":320}' union/tokenizer.json
grep -o '"added_tokens": .*"model"' union/tokenizer.json
recipe 'tokenizer_source: base' >base.yml
q merge base.yml base
same base/tokenizer.json m/hf-b/tokenizer.json
recipe 'tokenizer: {source: c, pad_to_multiple_of: 128, tokens: {five: {source: {kind: zero}, force: true}}}
chat_template: chatml' >blocks.yml
q merge blocks.yml blocks
same blocks/tokenizer.json c/tokenizer.json
tensors blocks/model.safetensors | grep -v layers
grep -c im_start blocks/tokenizer_config.json
recipe 'tokenizer: {tokns: {}, pad_to_multiple_of: x}' >wrong.yml
q merge wrong.yml no
recipe 'tokenizer: {tokens: {five: {source: m/hf-b}}}' >wrong.yml
q merge wrong.yml no
recipe 'chat_template: chatml-ish' >wrong.yml
q merge wrong.yml no
# GGUF models: lists of tokens that are equal, keys of the base.
gguf() {
    recipe "$1" | sed 's|m/hf-b|m/dense-b.gguf|g; s|model: c|model: m/dense-c.gguf|'
}
gguf 'tokenizer_source: union
chat_template: "{{ bos_token }} and all the rest"' >gguf.yml
q merge gguf.yml out.gguf
q inspect out.gguf --kv tokenizer.chat_template
gguf 'tokenizer: {pad_to_multiple_of: 256}' >gguf.yml
q merge gguf.yml no.gguf
rm c/tokenizer.json
touch c/tokenizer.model
q merge union.yml no
sed 's/"<6>": 6/"<6>": 5/' m/hf-c/tokenizer.json >c/tokenizer.json
q merge union.yml no
head -c 500 m/hf-c/tokenizer.json >c/tokenizer.json
q merge union.yml no
files
