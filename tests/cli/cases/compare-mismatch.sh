# valgrind
# compare: what only one side has, other shapes, NaN and Inf, and models that have nothing in common.
q compare m/hf-b m/hf-shape
python3 - <<'END'
import json, struct
def write(path, tensors):
    head, data = {}, b""
    for name, dtype, shape, raw in tensors:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(head).encode()
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + data)
ones = struct.pack("<4f", 1, 1, 1, 1)
write("a.safetensors", [("both", "F32", [4], ones), ("left", "F32", [4], ones), ("odd\x1b[31m", "F32", [4], ones),
                        ("ids", "I64", [1], bytes(8)), ("kind", "I32", [2], bytes(8)), ("zero", "F32", [0, 3], b"")])
write("b.safetensors", [("both", "F32", [1, 4], struct.pack("<4f", 1, float("nan"), 1, float("-inf"))), ("right", "F16", [2], bytes(4)),
                        ("ids", "I64", [1], b"\1" + bytes(7)), ("kind", "F32", [2], bytes(8)), ("zero", "BF16", [0, 3], b"")])
END
q compare a.safetensors b.safetensors
q compare -q a.safetensors b.safetensors
q compare --json a.safetensors b.safetensors
q compare m/hf m/dense-bf16.gguf
q compare --json m/hf m/wide-a.safetensors
q compare m/dense-f16.gguf m/bad/truncated.gguf
q compare m/dense-f16.gguf m/missing.gguf
q compare m/dense-f16.gguf
q compare --mem 1 m/dense-f16.gguf m/dense-f32.gguf
q compare --imatrix m/dense-f16.gguf m/dense-f16.gguf m/dense-f32.gguf
