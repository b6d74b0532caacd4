# All that is wrong with a manifest is told at once, before anything runs.
# valgrind
bad() {
    cat >bad.yml
    q batch bad.yml "$@"
}
bad <<'Y'
version: 2
default: {threads: 1}
defaults: {thread: 1, mem: many}
jobs:
  - name: a-{typ}
    matrix: {type: [Q4_K, Q8_0], 1x: [a], e: []}
    check: x
  - name: b-{typ}
    matrix: {type: [Q4_K, Q8_0]}
    exclude: [{type: Q5_K}]
    check: x
  - name: c
    quantise: in.gguf
  - [x]
  - {pack: a, unpack: b}
  - {verify: [a], output: b}
Y
bad <<'Y'
version: 1
jobs:
  - name: c
    quantize: [in.gguf, b.gguf]
    options: {pur: true, resume: true, include-weights: {a: 1}, pure: 7, shard-size: lots}
    typ: Q8_0
    output: {type}
  - name: t-{typ}
    matrix: {type: [Q4_K, Q8_0]}
    quantize: "{type}.gguf"
    type: "{type.x}"
    output: "x{"
  - {convert: a, output: b, options: {learn: x, cuda: true}}
  - {check: a}
Y
bad --json <<'Y'
version: 1
jobs:
  - {name: a, quantize: c.gguf, type: F16, output: a.gguf}
  - {name: d, quantize: nothere.gguf, type: F16, output: d.gguf, needs: [e]}
  - {name: d, quantize: ./a.gguf, type: F16, output: x/../d.gguf, options: {imatrix: no.dat}}
Y
bad <<'Y'
version: 1
jobs:
  - {name: a, quantize: c.gguf, type: F16, output: a.gguf}
  - {name: b, quantize: a.gguf, type: F16, output: b.gguf}
  - {name: c, quantize: ./x/../b.gguf, type: F16, output: c.gguf}
  - {name: other, check: m/dense-f16.gguf}
Y
bad <<'Y'
version: 1
jobs:
  - name: "{a}{b}{c}{d}{e}{f}"
    matrix: {a: &x [1,2,3,4,5,6,7,8,9,0], b: *x, c: *x, d: *x, e: *x, f: *x}
    check: a
Y
# text that acts on a terminal is shown, not obeyed
bad <<'Y'
version: 1
jobs:
  - {name: "a\e[31m\n", check: "\e]0;x\a", "\e[2J": 1}
Y
bad <<'Y'
version: 1
jobs:
  - {name: "a\e[31m\n", check: m/dense-f16.gguf}
  - {name: ../../x, check: m/dense-f16.gguf}
Y
ls .bad.yml.quern-batch
bad <<'Y'
version: 1
jobs: [
Y
bad </dev/null
