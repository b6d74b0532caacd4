# valgrind
# A recipe that cannot be meant is refused before anything is opened or written.
recipe() {
    printf '%s\n' "$@" | tee r.yml | sed 's/^/| /'
    q merge r.yml out
}
recipe 'merge_method: slepr' 'models: [{model: m/hf-b}, {model: m/hf-c}]' 'base_model: m/hf-b'
recipe 'merge_method: linear' 'models: [{model: m/hf-b}, {model: m/hf-c}]' 'paramters: {weight: 1}'
recipe 'merge_method: linear' 'models: [{model: m/hf-b, paramters: {weight: 1}}, {model: m/hf-c}]'
recipe 'merge_method: linear' 'models: [{model: m/hf-b}, {model: m/hf-c}]' 'parameters: {wieght: 1}'
recipe 'merge_method: linear' 'models: [{model: m/hf-b}, {model: m/hf-c}]' 'parameters: {weight: heavy}'
recipe 'merge_method: slerp' 'models: [{model: m/hf-b}, {model: m/hf-c}]' 'parameters: {t: 0.5}'
recipe 'merge_method: slerp' 'base_model: m/hf-b' 'models: [{model: m/hf-b}, {model: m/hf-c}]'
recipe 'merge_method: ties' 'models: [{model: m/hf-b}, {model: m/hf-c}]'
recipe 'merge_method: linear' 'models: []'
recipe 'merge_method: linear' 'dtype: int4' 'models: [{model: m/hf-b}, {model: m/hf-c}]' 'parameters: {weight: 1}'
recipe 'models: [{model: m/hf-b}, {model: m/hf-c}]'
recipe 'merge_method: linear' 'models: [{model: m/hf-b}, {model: m/missing}]' 'parameters: {weight: 1}'
recipe 'merge_method: linear' 'models: [{model: m/hf-b}, {model: m/hf-shape}]' 'parameters: {weight: 1}'
recipe 'merge_method: [broken'
recipe 'merge_method: linear' 'merge_method: linear' 'models: [{model: m/hf-b}]'
recipe ''
q merge no-such.yml out
q merge --method slerp --base m/hf-b out
q merge --method slerp --base m/hf-b --model m/hf-c --param t out
q merge --method nonsense --base m/hf-b --model m/hf-c out
rm r.yml
files
