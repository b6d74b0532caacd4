# Types that weigh a block by the squares of its whole row: a bad element is named, however far off.
python3 - <<'END'
import json, struct
N = 1 << 15
def model(path, dtype, code, bad):
    v = [(k * 37 % 101 - 50) / 64 for k in range(2 * N)]
    v[N + 30000] = bad
    raw = struct.pack("<%d%s" % (2 * N, code), *v)
    head = json.dumps({"blk.0.ffn_down.weight": {"dtype": dtype, "shape": [2, N], "data_offsets": [0, len(raw)]}}).encode()
    open(path, "wb").write(struct.pack("<Q", len(head)) + head + raw)
model("nan.safetensors", "F32", "f", float("nan"))
model("inf.safetensors", "F32", "f", float("-inf"))
model("large.safetensors", "F32", "f", 1e30)
model("huge.safetensors", "F64", "d", 1e300)
name = b"blk.0.ffn_down.weight"
open("w.dat", "wb").write(struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii%df" % N, 1, N, *[1 + k % 3 for k in range(N)]))
END
for model in nan inf large huge; do
    q quantize --keep-names --arch x --imatrix w.dat $model.safetensors out.gguf Q4_0
done
q quantize --keep-names --arch x --imatrix w.dat nan.safetensors out.gguf Q5_1
# Importance can be too large as well.
python3 - <<'END'
import struct
name = b"blk.0.attn_v.weight"
open("h.dat", "wb").write(struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii256f", 1, 256, *[3e38] * 256))
END
q quantize -q --imatrix h.dat m/dense-f16.gguf out.gguf Q4_K
