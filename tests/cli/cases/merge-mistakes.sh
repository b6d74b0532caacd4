# valgrind
# All mistakes at once, and as JSON; no more than anyone wants to read.
cat >r.yml <<'END'
merge_method: linear
modles: [{model: m/hf-b}]
dtype: int3
models:
  - {model: m/hf-b, paramters: {weight: 1}}
  - {model: m/hf-c, parameters: {weight: heavy}}
END
q merge r.yml out
q merge --json r.yml out
{
    echo 'merge_method: linear'
    echo 'models: [{model: m/hf-b}]'
    for i in $(seq 1 25); do echo "key$i: $i"; done
} >many.yml
q merge many.yml out
cat >shapes.yml <<'END'
merge_method: linear
parameters: {weight: 1}
models: [{model: m/hf-b}, {model: m/hf-shape}]
END
q merge shapes.yml out
# The same mistake in many tensors is one line.
cat >other.yml <<'END'
merge_method: slerp
base_model: m/hf-b
models: [{model: m/hf-c}]
parameters: {t: [{filter: mlp, value: 0.5}]}
END
q merge other.yml out
q merge --json other.yml out
cat >ranges.yml <<'END'
merge_method: passthrough
slices:
  - sources: [{model: m/hf-b, layer_range: [2, 1]}]
  - sources: [{model: m/hf-b, layer_range: 1}]
parameters: {scale: []}
END
q merge ranges.yml out
cat >tokens.yml <<'END'
merge_method: linear
parameters: {weight: 1}
models: [{model: m/hf-b}, {model: m/hf-c}]
tokenizer_source: unoin
END
q merge tokens.yml out
: >empty.yml
q merge empty.yml out
q merge --method slerp --base m/hf-b --model m/hf-c out
q merge --method linear --model m/hf-b --model m/hf-c out
q merge --method linear shapes.yml out
