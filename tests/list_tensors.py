#!/usr/bin/env python3
"""list_tensors.py FILE [--hash] - print name, type and shape of every tensor of a GGUF or safetensors file, and with --hash
a hash of each one's bytes. Reads the file by itself, so that tests need not believe quern about its own output.
"""
import hashlib, json, signal, struct, sys

signal.signal(signal.SIGPIPE, signal.SIG_DFL) # `| head` is fine

# number in GGUF: name, elements and bytes of a block
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34),
         10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 16: ("IQ2_XXS", 256, 66),
         17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
         23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56),
         30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18)}
NAMES = {number: t[0] for number, t in TYPES.items()}
BLOCKS = {t[0]: t[1:] for t in TYPES.values()}
SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


def gguf(data):
    at = 4

    def take(form):
        nonlocal at
        v, = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize("<" + form)
        return v

    def text():
        nonlocal at
        n = take("Q")
        at += n
        return data[at - n:at].decode()

    def skip(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            item, count = take("I"), take("Q")
            for _ in range(count):
                skip(item)
        else:
            at += SCALARS[kind]

    align = 32
    assert take("I") == 3
    ntensors, nkeys = take("Q"), take("Q")
    for _ in range(nkeys):
        key, kind = text(), take("I")
        if key == "general.alignment":
            align = struct.unpack_from("<I", data, at)[0]
        skip(kind)
    found = []
    for _ in range(ntensors):
        name = text()
        dims = [take("Q") for _ in range(take("I"))][::-1]
        found.append([name, NAMES[take("I")], dims, take("Q")])
    start = (at + align - 1) // align * align
    for name, kind, dims, offset in found:
        n = 1
        for d in dims:
            n *= d
        elems, size = BLOCKS[kind]
        assert n % elems == 0
        yield name, kind, dims, data[start + offset:start + offset + n // elems * size]


def safetensors(data):
    n, = struct.unpack_from("<Q", data)
    for name, t in json.loads(data[8:8 + n]).items():
        if name != "__metadata__":
            a, b = t["data_offsets"]
            yield name, t["dtype"], t["shape"], data[8 + n + a:8 + n + b]


with open(sys.argv[1], "rb") as f:
    content = f.read()
for name, kind, dims, raw in (gguf if content[:4] == b"GGUF" else safetensors)(content):
    line = "%s %s %s" % (name, kind, "x".join(map(str, dims)) or "scalar")
    print(line + (" " + hashlib.sha256(raw).hexdigest()[:16] if "--hash" in sys.argv else ""))
