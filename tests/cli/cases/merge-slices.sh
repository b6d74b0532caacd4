# valgrind
# Layers of two models stacked; what is made from what, what is left out, config.json.
cat >stack.yml <<'END'
merge_method: linear
dtype: bfloat16
parameters: {weight: 1}
slices:
  - sources:
      - {model: org/b, layer_range: [0, 2]}
  - sources:
      - {model: org/c, layer_range: [1, 2]}
      - {model: m/hf-b, layer_range: [0, 1], parameters: {weight: [{filter: mlp, value: 0.5}]}}
END
q merge --dry-run --model org/b=m/hf-b --model org/c=m/hf-c stack.yml out
q merge -q --model org/b=m/hf-b --model org/c=m/hf-c stack.yml out
grep -n layers out/config.json
files out
q check out
