# One SHA-256 over threads, instruction sets, memory, shards and resumed runs.
command -v "${CC:-cc}" >/dev/null || skip "needs a C compiler"
python3 "$(dirname "${BASH_SOURCE[0]}")/../../determinism.py" --short 2>err || cat err
