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
