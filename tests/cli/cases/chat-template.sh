# Chat templates are never run; one that is not the base's is pointed out.
cp -r m/hf a
cp -r m/hf b
cp -r m/hf c
chmod -R u+w a b c
echo '{"chat_template": "{{ messages }} of a"}' >a/tokenizer_config.json
echo '{"chat_template": "{{ messages }} of b {{ 1/0 }}"}' >b/tokenizer_config.json
q merge -q --method linear --model a --model b --param weight=0.5 quiet
q merge --dry-run --method linear --model a --model b --model c --param weight=0.3 out | tail -n 1
q merge --dry-run --method ties --base c --model b --model a --param weight=0.3 out | tail -n 1
q merge --dry-run --method linear --model a --model b --param weight=0.3 out.safetensors | tail -n 1
cat >recipe.yml <<'YML'
merge_method: linear
models: [{model: a}, {model: b}]
parameters: {weight: 1}
chat_template: auto
# ``` does not end the card's recipe
YML
q merge --dry-run --json recipe.yml out | grep -o '"notes":.*"left_out"'
q merge -q recipe.yml out
tail -n 7 out/README.md
# Two places of one model that say different things.
printf '{{ messages }} of b' >b/chat_template.jinja
printf '{{ messages }} of a' >a/chat_template.jinja
for model in a b; do
    q convert --dry-run --pre llama-bpe $model out.gguf | tail -n 1
done
