# valgrind
# A recipe of two documents gives the bytes of two merges, and writes only the last.
cat >one.yml <<'END'
merge_method: slerp
base_model: m/hf-b
models: [{model: m/hf-c}]
parameters: {t: 0.3}
END
cat >two.yml <<'END'
merge_method: ties
base_model: one
models: [{model: m/hf-b}, {model: m/hf-c}]
parameters: {weight: 0.6, density: 0.5}
END
{
    echo "name: one"
    cat one.yml
    echo "---"
    cat two.yml
} >both.yml
q merge -q both.yml both
q merge -q one.yml one
q merge -q two.yml apart
same both/model.safetensors apart/model.safetensors
same both/config.json apart/config.json
q merge -q --model one=one both.yml again
same both/model.safetensors again/model.safetensors
sed 's/base_model: one/base_model: two/' both.yml >missing.yml
q merge missing.yml x
sed 's/m\/hf-b}/one}/;1,5s/base_model: .*/base_model: one/' both.yml >cycle.yml
q merge cycle.yml x
# A stage whose name is misspelled.
cat >frist.yml <<'END'
name: first
merge_method: linear
models: [{model: m/hf-b, parameters: {weight: 1}}]
---
merge_method: linear
models: [{model: frist, parameters: {weight: 1}}, {model: m/hf-c, parameters: {weight: 1}}]
END
q merge frist.yml out-frist
