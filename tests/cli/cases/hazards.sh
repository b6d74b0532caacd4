# Other runs, inputs that change, limits, odd names, closed streams.
MODELS=m python3 "$(dirname "${BASH_SOURCE[0]}")/../../hazards.py" --rounds 7 2>err || cat err
