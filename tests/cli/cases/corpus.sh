# One malformed file of every kind through the commands that read it.
python3 "$(dirname "${BASH_SOURCE[0]}")/../../corpus_cli.py" --short 2>err || cat err
