# valgrind
# mergekit's spellings of options.
cat >r.yml <<'END'
merge_method: linear
parameters: {weight: 1}
models: [{model: m/hf-b}, {model: m/hf-c}]
END
q merge -q --cuda --lazy-unpickle --lora-merge-cache /tmp/x --device auto --copy-tokenizer --no-gpu-rich --write-threads 2 --num-threads 2 r.yml a
q merge -q --no-copy-tokenizer --no-write-model-card --out-shard-size 0 r.yml b
files a
files b
q merge --no-safe-serialization r.yml c
q merge --random-seed x r.yml c
q merge --random-seed 18446744073709551615 -q --out-shard-size 1000k r.yml c
files c
q merge -q --model org/id=m/hf-b --transformers-cache m/hub r.yml d
