# The help of every command, the same by both spellings.
q help
for command in quantize merge imatrix inspect check compare types; do
    q help $command
    program help $command >a 2>&1
    program $command --help >b 2>&1
    same a b
done
q --help
q help nonsense
