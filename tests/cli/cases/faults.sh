# System calls that fail, are short or interrupted, and the process killed in their place.
command -v "${CC:-cc}" >/dev/null || skip "needs a C compiler"
MODELS=m python3 "$(dirname "${BASH_SOURCE[0]}")/../../faults.py" --short 2>err || cat err
