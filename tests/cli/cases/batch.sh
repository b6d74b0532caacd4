# Many jobs from one file: what is up to date is left out, a failure stops nothing but what needs it.
cat >jobs.yml <<'Y'
version: 1
defaults: {threads: 1, pre: gpt-2}
jobs:
  - name: "dense-{type}"
    matrix: {type: [Q4_K, Q8_0, Q6_K]}
    exclude: [{type: Q6_K}]
    quantize: m/dense-f16.gguf
    type: "{type}"
    output: out/dense-{type}.gguf
  - name: recipe
    merge: recipe.yml
    output: out/merged
    options: {pre: null} # takes the default back
  - name: "{model.name}-{type}"
    matrix: {model: [out/merged, m/hf], type: [Q8_0]}
    include: [{model: m/hf-b, type: F16}]
    convert: "{model}"
    type: "{type}"
    output: out/{model.name}-{type}.gguf
  - name: verify
    verify: [m/dense-f16.gguf, out/dense-Q8_0.gguf]
    options: {pre: null}
Y
cat >recipe.yml <<'Y'
merge_method: slerp
base_model: m/hf
models: [{model: m/hf}, {model: m/hf-b}]
parameters: {t: 0.5}
Y
q batch jobs.yml --dry-run
# of what runs at the same time the order is not known
program batch jobs.yml --jobs 2 2>err
echo "[$?]"
sed -n 's/^\[[0-9]*\(.*\), [0-9.]* s/[?\1/p' err | sort
q batch jobs.yml
must quantize m/dense-f16.gguf plain.gguf Q4_K
same plain.gguf out/dense-Q4_K.gguf
must convert m/hf plain-hf.gguf -t Q8_0 --pre gpt-2
same plain-hf.gguf out/hf-Q8_0.gguf
# a recipe, an option, an output: each makes its jobs run, and what needs them
sed -i 's/t: 0.5/t: 0.25/' recipe.yml
q batch jobs.yml --dry-run
sed -i 's/pre: gpt-2/pre: qwen2/' jobs.yml
rm out/dense-Q4_K.gguf
q batch jobs.yml --dry-run
sed -i 's/pre: qwen2/pre: gpt-2/' jobs.yml
q batch jobs.yml --only 'dense-*' -q
sed -i 's/t: 0.25/t: 0.5/' recipe.yml
must batch jobs.yml
q batch jobs.yml --only 'dense-Q4*' --only verify --dry-run
q batch jobs.yml --only dense-Q4
# touched is not changed; what is not ours is not replaced
touch out/dense-Q8_0.gguf
q batch jobs.yml --only 'dense-Q8*'
printf x >>out/dense-Q8_0.gguf
q batch jobs.yml --only 'dense-Q8*'
q batch jobs.yml --only 'dense-Q8*' -f -q
q batch jobs.yml --only 'dense-Q8*'
ls out
# without hashes size and time count, with them the bytes
cp m/dense-f16.gguf in.gguf
cat >one.yml <<'Y'
version: 1
jobs:
  - {name: one, quantize: in.gguf, type: Q8_0, output: one.gguf}
Y
must batch one.yml --check-hashes
touch in.gguf
q batch one.yml --dry-run
q batch one.yml --dry-run --check-hashes
must batch one.yml -f --check-hashes
touch -r in.gguf when
printf '\0\0' | dd of=in.gguf bs=1 seek=2000000 conv=notrunc 2>/dev/null
touch -r when in.gguf
q batch one.yml --dry-run
q batch one.yml --dry-run --check-hashes
must batch one.yml --check-hashes
touch -d '2001-01-01' in.gguf
q batch one.yml --dry-run --check-hashes
# what is made of packs is up to date as well; directories of outputs are made
must pack m/hf -o a.qpk
must pack m/hf-b -o b.qpk --base a.qpk
cat >packs.yml <<'Y'
version: 1
jobs:
  - {merge: packs-recipe.yml, type: Q8_0, output: new/deep/merged.gguf, options: {pre: gpt-2}}
  - {name: checked, check: [a.qpk, new/deep/merged.gguf]}
Y
sed 's/m.hf-b/b.qpk/; s/m.hf/a.qpk/g' recipe.yml >packs-recipe.yml
must batch packs.yml
q batch packs.yml
printf x >>b.qpk
q batch packs.yml --dry-run
