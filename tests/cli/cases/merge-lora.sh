# valgrind
# Adapters fused into their base, alone and in recipes.
q merge --base m/hf --lora m/lora:0.5 --lora m/lora-dora out
files out
q compare m/hf out | head -12
cat out/README.md
# A weight of 0 changes nothing but what is there whole; tensors without a change keep their bytes.
q merge --base m/hf --lora m/lora:0 --lora m/lora-dora:1 zero.safetensors
q merge --dry-run -v --base m/hf --lora m/lora two.safetensors | head -20
# The same from a recipe, and with a plus.
cp -r m/hf hf
cp -r m/lora lora
cat >recipe.yml <<'END'
merge_method: linear
models:
  - model: hf+lora
    parameters: {weight: 1}
END
q merge -q recipe.yml plus.safetensors
must merge --base m/hf --lora m/lora one.safetensors
same plus.safetensors one.safetensors
# Any threads, the same bytes.
must merge -j 1 --mem 12MiB --base m/hf --lora m/lora-dora:0.5 --lora m/lora thin.safetensors
must merge -j 3 --base m/hf --lora m/lora-dora:0.5 --lora m/lora wide.safetensors
same thin.safetensors wide.safetensors
# A hub id for base and adapter.
q merge -q --base acme/tiny --model acme/tiny=m/hf --lora acme/lora --model acme/lora=m/lora hub.safetensors
same hub.safetensors one.safetensors
# What does not fit.
q merge --base m/hf --lora m/nothing no
q merge --base m/hf --lora m/lora:x no
q merge --base m/hf --lora m/lora.gguf no
q merge --base m/wide-base.safetensors --lora m/lora no
q merge --lora m/lora no
q merge --method slerp --base m/hf --model m/hf-b --lora m/lora no
q merge --base m/hf --lora m/lora --param t=1 no
# An adapter where a model is meant.
sed 's/hf+lora/lora/' recipe.yml >alone.yml
q merge alone.yml no
