# An interrupted run is gone on with, or it is said why not.
big() { # NAME SEED: 24 MB of weights, enough for a run to be stopped in
    python3 - "$@" <<'P'
import json, random, struct, sys
n, rows = 6, 2048
head, size = {}, rows * 1024 * 2
for i in range(n):
    head["t%d.weight" % i] = {"dtype": "BF16", "shape": [rows, 1024], "data_offsets": [i * size, (i + 1) * size]}
text = json.dumps(head).encode()
data = bytearray(random.Random(sys.argv[2]).randbytes(n * size))
data[1::2] = data[1::2].translate(bytes([0x3B, 0x3C, 0xBB, 0xBC][i % 4] for i in range(256)))
open(sys.argv[1], "wb").write(struct.pack("<Q", len(text)) + text + data)
P
}
big in.safetensors 1
to_iq3() { q quantize --keep-names --arch test -q "$@" in.safetensors out.gguf IQ3_S; }
recorded() { stat -c %s .out.gguf.quern-journal 2>/dev/null || echo 0; }
stop() { # SIGNAL ARGS...: sends it as soon as some work is recorded, more than there was
    local signal=$1 pid least
    shift
    least=$(recorded)
    [ "$least" -gt 250 ] || least=250
    # A shell without job control lets its background children ignore SIGINT.
    QUERN_CPU=portable QUERN_SYNC=0.01 env --default-signal=INT "$QUERN" quantize --keep-names --arch test -q "$@" \
        in.safetensors out.gguf IQ3_S 2>err &
    pid=$!
    for _ in $(seq 2000); do
        [ "$(recorded)" -gt "$least" ] && break
        sleep 0.01
    done
    kill "-$signal" $pid
    wait $pid 2>/dev/null
    echo "[$?]"
    cat err
}
must quantize --keep-names --arch test -q in.safetensors want.gguf IQ3_S
stop INT -j 1
files
stop TERM --json -j 1 --resume
stop KILL -j 1 --resume
# Other arguments are another job.
q quantize --keep-names --arch test -q --resume in.safetensors out.gguf Q4_K
q quantize --keep-names --arch test -q --resume --pure in.safetensors out.gguf IQ3_S
# Other threads and memory are not.
q quantize --keep-names --arch test --resume -j 3 --mem 20MiB in.safetensors out.gguf IQ3_S
same out.gguf want.gguf
files
rm out.gguf
stop KILL -j 2
touch in.safetensors
to_iq3 --resume
q quantize --keep-names --arch test in.safetensors out.gguf IQ3_S
same out.gguf want.gguf
# There is nothing to go on with.
q quantize --keep-names --arch test -f --resume in.safetensors out.gguf IQ3_S
to_iq3 --resume
files
