# Progress is for terminals: none in a pipe, one line with carriage returns on a terminal.
command -v script >/dev/null || skip "script (bsdutils) is not there"
program quantize -f m/wide.gguf pipe.gguf Q8_0 2>&1 | tr -cd '\r\033' | wc -c
script -qec "'$QUERN' inspect m/dense-f16.gguf" /dev/null </dev/null | tr -d '\r' | sed 's/ *$//'
