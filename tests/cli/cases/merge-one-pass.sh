# Hugging Face models merged, converted and quantized in one pass: the bytes of three runs.
for m in base code prose base.imatrix.gguf; do ln -s "$POCKET/pocket-$m" $m; done
cat >ties.yml <<'END'
merge_method: ties
base_model: base
models:
  - {model: code, parameters: {weight: 0.5, density: 0.4}}
  - {model: prose, parameters: {weight: 0.5, density: 0.4}}
dtype: bfloat16
END
q merge ties.yml ties-q4.gguf Q4_K_M
must merge -q ties.yml ties-q4
must convert -q ties-q4 16.gguf
must quantize -q 16.gguf chain.gguf Q4_K_M
same ties-q4.gguf chain.gguf
q merge --dry-run ties.yml dry.gguf Q4_K_M | head -12
q merge --pure ties.yml no.gguf
q merge --pre gpt-2 ties.yml no
q merge --imatrix base.imatrix.gguf -q ties.yml ties-iq2.gguf IQ2_XS
must quantize -q --imatrix base.imatrix.gguf 16.gguf chain-iq2.gguf IQ2_XS
tensors ties-iq2.gguf | head -3
files

# A result that cannot be converted: there is no directory to name.
mkdir plain
ln -s ../base/config.json ../base/model.safetensors plain/
q merge --method slerp --base plain --model code --param t=0.5 out.gguf Q4_0
