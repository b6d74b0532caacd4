# compare --imatrix: errors weighted by importance, for the tensors it knows.
python3 - <<'END'
import struct
def dat(path, entries):
    raw = struct.pack("<i", len(entries))
    for name, values in entries:
        raw += struct.pack("<i", len(name)) + name + struct.pack("<ii%df" % len(values), 2, len(values), *values)
    open(path, "wb").write(raw)
dat("m.dat", [(b"blk.%d.%s.weight" % (i, n), [float(k % 7) for k in range(w)]) for i in range(2) for n, w in ((b"ffn_up", 256), (b"ffn_down", 512))])
dat("other.dat", [(b"nothing", [1.0])])
dat("short.dat", [(b"blk.0.ffn_up.weight", [1.0] * 255)])
END
must quantize m/dense-f16.gguf q4.gguf Q4_0
q compare --imatrix m.dat m/dense-f16.gguf q4.gguf
q compare --imatrix other.dat m/dense-f16.gguf q4.gguf
q compare --imatrix short.dat m/dense-f16.gguf q4.gguf
# The weighted numbers are those of quantizing with the same matrix, for types that use it and others.
for type in IQ4_XS Q8_0; do
    program quantize -q -f --imatrix m.dat --stats --json m/dense-f16.gguf im.gguf $type >stats.json
    program compare --json --imatrix m.dat m/dense-f16.gguf im.gguf >a.json
    python3 - <<'END'
import json
compared, stats = json.load(open("a.json")), json.load(open("stats.json"))
for r in (compared, stats):
    r["errors"]["tensors"].sort(key=lambda t: t["tensor"])
print("compare gives what --stats gave:", compared["errors"] == stats["errors"], sum("weighted_rmse" in t for t in stats["errors"]["tensors"]))
END
done
# One count for all experts is what quantize takes, too.
must quantize -q m/moe.gguf moe.gguf Q4_0
q compare -q --imatrix m/moe-flat.imatrix.gguf m/moe.gguf moe.gguf
