# Runs of every command that writes, interrupted at random moments, resumed to the same bytes.
python3 "$(dirname "${BASH_SOURCE[0]}")/../../../scripts/kill_resume.py" --kills 15 --stops 5 --like m/hf 2>err || cat err
