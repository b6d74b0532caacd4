# valgrind
# A mixture of experts: planned, built, read again; what cannot be built is refused with a reason.
ln -s "$POCKET" p
cat >moe.yml <<'YAML'
base_model: p/pocket-base
gate_mode: cheap_embed
experts:
  - source_model: org/prose
    positive_prompts: ["Once upon a time"]
    residual_scale: 0.5
  - source_model: p/pocket-code
    positive_prompts: ["int main(void)"]
YAML
q merge --dry-run --model org/prose=p/pocket-prose moe.yml out | grep -A1 -E "layers.0.*(experts.0|gate)|reads"
q merge --model org/prose=p/pocket-prose moe.yml out
files out
grep -E 'architectures|Mixtral|num_.*expert|model_type' out/config.json
q check out
sed 's/cheap_embed/random/' moe.yml >random.yml
must merge --model org/prose=p/pocket-prose --random-seed 1 -j 1 random.yml a.safetensors
must merge --model org/prose=p/pocket-prose --random-seed 1 -j 2 random.yml b.safetensors
same a.safetensors b.safetensors
sed 's/cheap_embed/hidden/' moe.yml >hidden.yml
q merge hidden.yml no
sed 's/noise_scale/noise/; s/residual_scale/residual/' moe.yml >typo.yml
q merge typo.yml no
q merge --model org/prose=p/pocket-prose moe.yml mixture.gguf
