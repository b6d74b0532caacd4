# After a power failure at any moment the final name is right, and what the journal claims is there.
command -v "${CC:-cc}" >/dev/null || skip "needs a C compiler"
MODELS=m python3 "$(dirname "${BASH_SOURCE[0]}")/../../power_loss.py" --short 2>err || cat err
