# Peak memory does not depend on the size of a model; 64 GiB are planned with the right sizes.
python3 "$(dirname "${BASH_SOURCE[0]}")/../../memory.py" --short 2>err || cat err
