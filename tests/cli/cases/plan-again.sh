# What a stopped run of another plan has left for the same output is in nobody's way.
python3 - <<'P'
import json, random, struct
n, rows = 6, 2048
head, size = {}, rows * 1024 * 2
for i in range(n):
    head["t%d.weight" % i] = {"dtype": "BF16", "shape": [rows, 1024], "data_offsets": [i * size, (i + 1) * size]}
text = json.dumps(head).encode()
data = bytearray(random.Random(1).randbytes(n * size))
data[1::2] = data[1::2].translate(bytes([0x3B, 0x3C, 0xBB, 0xBC][i % 4] for i in range(256)))
open("in.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data)
P
plan() { q plan -f -q --layout joined quantize --keep-names --arch test in.safetensors out.gguf "$1"; }
left() { # the journals of parts that are under way
    find .out.gguf.quern-parts -name '*.quern-journal' -size +250c | wc -l
}
plan IQ3_S
QUERN_CPU=portable QUERN_SYNC=0.01 "$QUERN" run -q -j 1 --part 1 job.plan 2>err &
pid=$!
for _ in $(seq 2000); do
    [ "$(left 2>/dev/null)" -gt 0 ] && break
    sleep 0.01
done
kill -TERM $pid
wait $pid 2>/dev/null
echo "[$?] $(left) left"
plan Q8_0
q run -q --part 1 job.plan
q join -q job.plan
must quantize -q --keep-names --arch test in.safetensors whole.gguf Q8_0
same out.gguf whole.gguf
[ -e .out.gguf.quern-parts ] || echo "nothing is left"
# Neither is what a stopped run has left when an input is not what it was: nobody asked to go on with that.
rm -rf out.gguf
plan IQ3_S
QUERN_CPU=portable QUERN_SYNC=0.01 "$QUERN" run -q -j 1 --part 1 job.plan 2>err &
pid=$!
for _ in $(seq 2000); do
    [ "$(left 2>/dev/null)" -gt 0 ] && break
    sleep 0.01
done
kill -TERM $pid
wait $pid 2>/dev/null
echo "[$?] $(left) left"
touch -d 2001-01-01 in.safetensors
q run --part 1 job.plan
q join -q job.plan
must quantize -q --keep-names --arch test in.safetensors -f whole.gguf IQ3_S
same out.gguf whole.gguf
