# What files and names say does nothing to a terminal, and JSON stays JSON.
python3 "$(dirname "${BASH_SOURCE[0]}")/../../hostile.py" "$QUERN" hostile
