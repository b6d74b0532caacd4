# valgrind
# What a file is not, and what it is.
for f in m/bad/*; do
    q inspect "$f"
done
q inspect m/missing.gguf
q inspect m/hf/config.json
q inspect m
printf 'hello' >plain.bin
q inspect plain.bin
q inspect /dev/null
