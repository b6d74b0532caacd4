# Ctrl-C: exit 130, the old output untouched, no part file left.
python3 - <<'P'
import json, os, struct
n = 1 << 31
head = json.dumps({"big.weight": {"dtype": "BF16", "shape": [n // 2048 // 2, 2048], "data_offsets": [0, n]}}).encode()
with open("big.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(head)) + head)
    f.truncate(8 + len(head) + n)
P
echo old >out.safetensors
# A shell without job control lets its background children ignore SIGINT.
env --default-signal=INT "$QUERN" quantize -f -j 1 big.safetensors out.safetensors F32 >/dev/null 2>err &
pid=$!
for _ in $(seq 500); do
    [ -e .out.safetensors.quern-part ] && break
    sleep 0.01
done
kill -INT $pid
wait $pid
echo "[$?]"
cat err out.safetensors
rm big.safetensors err
files
