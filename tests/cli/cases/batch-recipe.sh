# Files of models that a recipe names count as inputs even when none of their weights are read.
cp -rL m/lora lora
cp -rL m/hf-b other
cat >jobs.yml <<'Y'
version: 1
jobs:
  - {name: adapted, merge: adapted.yml, output: out-a}
  - {name: words, merge: words.yml, output: out-w}
Y
cat >adapted.yml <<'Y'
merge_method: linear
models: [{model: m/hf+lora, parameters: {weight: 1.0}}]
Y
cat >words.yml <<'Y'
merge_method: linear
tokenizer_source: other
models: [{model: m/hf, parameters: {weight: 1.0}}]
Y
q batch jobs.yml -q
q batch jobs.yml -q --dry-run
sed -i 's/"lora_alpha": *[0-9.]*/"lora_alpha": 1234/' lora/adapter_config.json
q batch jobs.yml -q --dry-run
q batch jobs.yml -q
echo >>other/tokenizer.json
q batch jobs.yml -q --dry-run
q batch jobs.yml -q
q batch jobs.yml -q --dry-run
