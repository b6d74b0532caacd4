cat >slerp.yml <<Y
merge_method: slerp
base_model: m/hf-b
models:
  - model: m/hf-b
  - model: m/hf-c
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 1]
    - filter: mlp
      value: 0.25
    - value: 0.4
dtype: bfloat16
Y
q merge slerp.yml out
files out
cmp out/config.json m/hf-b/config.json && echo "config.json is the base's"
cat >ties.yml <<Y
merge_method: ties
base_model: m/hf
models:
  - model: m/hf-b
    parameters: {weight: 0.6, density: 0.5}
  - model: m/hf-c
    parameters: {weight: 0.4, density: [0.2, 0.8]}
parameters:
  normalize: true
  lambda: 0.9
dtype: bfloat16
Y
q merge ties.yml ties.safetensors
cat >linear.yml <<Y
merge_method: linear
models:
  - model: acme/b
    parameters: {weight: 0.3}
  - model: m/hf-c
    parameters: {weight: 0.7}
dtype: float32
out_dtype: float16
Y
q merge --model acme/b=m/hf-b linear.yml linear.safetensors
tensors linear.safetensors | head -3
q merge linear.yml no.safetensors
q merge --dry-run slerp.yml no
files
