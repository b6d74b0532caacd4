# stdout that cannot be written to is an error, not silence.
program inspect m/dense-f16.gguf >/dev/full 2>err
echo "[$?]"
cat err
program types >/dev/full 2>err
echo "[$?]"
