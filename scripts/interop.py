#!/usr/bin/env python3
"""interop.py [--setup] - what quern writes loads in the packages people use, what they write loads in quern, with equal values.

Uses the PyPI packages safetensors, gguf and numpy, in a virtual environment under build/ that is made on the first run
(--setup: do only that; exit code 3 when pip cannot get them). QUERN names the program under test.
Values are compared as bits: quern's F32 output of a tensor against the package's own decoding of the same bytes.
"""
import json, os, shutil, subprocess, sys, tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
VENV = os.path.join(ROOT, "build", "interop-venv")
PACKAGES = ["numpy", "safetensors", "gguf"]


def setup():
    """Makes the environment unless it is there; True when it can be used."""
    python = os.path.join(VENV, "bin", "python")
    check = [python, "-c", "import " + ", ".join(PACKAGES)]
    if os.path.exists(python) and subprocess.run(check, capture_output=True).returncode == 0:
        return True
    shutil.rmtree(VENV, ignore_errors=True)
    for command in ([sys.executable, "-m", "venv", VENV], [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"] + PACKAGES, check):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            print("interop: %s failed:\n%s" % (" ".join(command), done.stderr[-1500:]), file=sys.stderr)
            return False
    return True


if os.path.realpath(sys.prefix) != os.path.realpath(VENV):
    if not setup():
        sys.exit(3)
    if "--setup" in sys.argv:
        sys.exit(0)
    python = os.path.join(VENV, "bin", "python")
    os.execv(python, [python, os.path.abspath(__file__)]) # found by its path, or the environment is not its own

import gguf
import numpy as np
import safetensors
import safetensors.numpy
from gguf import GGMLQuantizationType as T

QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))
POCKET = os.path.join(ROOT, "build", "pocket")
passed = failed = 0


def check(what, ok, detail=""):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print("FAILED: %s%s" % (what, ": " + detail if detail else ""), flush=True)


def quern(*args):
    """Runs quern; returns its stdout, or None after saying why it failed."""
    done = subprocess.run([QUERN] + [str(a) for a in args], capture_output=True, text=True)
    if done.returncode != 0:
        print("quern %s: exit %d: %s" % (" ".join(map(str, args)), done.returncode, done.stderr.strip()), flush=True)
        return None
    return done.stdout


def bits(a):
    return np.ascontiguousarray(a).view(np.uint8)


def equal(a, b):
    return a is not None and b is not None and tuple(a.shape) == tuple(b.shape) and np.array_equal(bits(a), bits(b))


def to_f32(dtype, shape, raw):
    """Decode a safetensors tensor of a float type."""
    if dtype == "BF16":
        return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(raw, {"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]).astype("<f4").reshape(shape)


def bf16(a):
    """Round f32 to bf16, nearest even, as raw u16."""
    u = np.ascontiguousarray(a, "<f4").view("<u4").astype(np.uint64)
    return ((u + 0x7FFF + (u >> 16 & 1)) >> 16).astype("<u2")


def load_st(path):
    """{name: (dtype, shape, bytes)} of a file or a directory with an index, through the safetensors package."""
    if os.path.isdir(path):
        index = os.path.join(path, "model.safetensors.index.json")
        if not os.path.exists(index):
            return load_st(os.path.join(path, "model.safetensors"))
        with open(index) as f:
            where = json.load(f)["weight_map"]
        found = {}
        for shard in sorted(set(where.values())):
            tensors = load_st(os.path.join(path, shard))
            assert set(tensors) == {n for n, s in where.items() if s == shard}, shard
            found.update(tensors)
        return found
    with safetensors.safe_open(path, "numpy") as f: # the strict reader: checks every offset
        names = set(f.keys())
    with open(path, "rb") as f:
        found = {n: (t["dtype"], tuple(t["shape"]), bytes(t["data"])) for n, t in safetensors.deserialize(f.read())}
    assert names == set(found)
    return found


def load_gguf(path):
    """{name: (type, shape outermost first, raw array)} through the gguf package."""
    return {t.name: (t.tensor_type, tuple(int(d) for d in t.shape[::-1]), t.data) for t in gguf.GGUFReader(path).tensors}


def gguf_f32(tensor):
    kind, shape, data = tensor
    return gguf.quants.dequantize(np.asarray(data), kind).reshape(shape)


def quern_f32(model, out):
    """Every float tensor of a model as quern decodes it."""
    if str(out).endswith(".gguf"):
        if quern("quantize", "-f", "--allow-requantize", model, out, "F32") is None:
            return {}
        return {n: gguf_f32(t) for n, t in load_gguf(out).items()}
    if quern("quantize", "-f", model, out, "F32") is None:
        return {}
    return {n: to_f32(*t) for n, t in load_st(out).items() if t[0] == "F32"}


def random_weights(rng, *shape):
    w = (rng.standard_normal(shape) * 0.05).astype("<f4")
    w.reshape(-1)[:: 257] *= 20
    if len(shape) == 2:
        w[3, :64] = 0
    return w


# ---- their GGUF, our reading; our GGUF, their reading

def write_gguf(path, weights, kind, extra=True):
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("interop")
    w.add_block_count(2)
    w.add_context_length(128)
    w.add_embedding_length(256)
    if extra:
        w.add_uint8("x.u8", 255), w.add_int8("x.i8", -128), w.add_uint16("x.u16", 65535), w.add_int16("x.i16", -32768)
        w.add_uint32("x.u32", 2**32 - 1), w.add_int32("x.i32", -(2**31)), w.add_uint64("x.u64", 2**64 - 1), w.add_int64("x.i64", -(2**63))
        w.add_float32("x.f32", 1.5), w.add_float64("x.f64", 0.1), w.add_bool("x.bool", True), w.add_string("x.str", "h\u00e9llo \u4e16\u754c")
        w.add_array("x.strings", ["a", "", "\u00e9"]), w.add_array("x.ints", [1, -2, 3]), w.add_array("x.floats", [1.0, 2.5]), w.add_array("x.bools", [True, False])
    for name, a in weights.items():
        if kind in (T.F32, T.F16) or a.ndim == 1:
            w.add_tensor(name, a.astype("<f2") if kind == T.F16 and a.ndim > 1 else a)
        else:
            w.add_tensor(name, gguf.quants.quantize(a, kind), raw_dtype=kind)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def fields(path):
    """Every key with its types and value, in order, without what quantizing changes."""
    out = []
    for key, f in gguf.GGUFReader(path).fields.items():
        if not key.startswith("GGUF.") and key not in ("general.file_type", "general.quantization_version"):
            out.append((key, [t.name for t in f.types], repr(f.contents())))
    return out


def test_gguf(tmp, rng):
    weights = {"token_embd.weight": random_weights(rng, 64, 256), "blk.0.ffn_down.weight": random_weights(rng, 32, 512),
               "blk.0.attn_norm.weight": random_weights(rng, 256), "output.weight": random_weights(rng, 64, 256)}
    shapes = {n: a.shape for n, a in weights.items()}
    for kind in (T.F32, T.F16, T.BF16, T.Q8_0, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1):
        theirs, ours = tmp("theirs-%s.gguf" % kind.name), tmp("ours-%s.gguf" % kind.name)
        write_gguf(theirs, weights, kind)
        mine, reference = quern_f32(theirs, tmp("f32.gguf")), {n: gguf_f32(t) for n, t in load_gguf(theirs).items()}
        for n in weights:
            check("read their %s %s" % (kind.name, n), equal(mine.get(n), reference[n]))
        check("keys survive from %s" % kind.name, fields(theirs) == fields(tmp("f32.gguf")))
        check("inspect their %s" % kind.name, quern("inspect", "--json", theirs) is not None)

        write_gguf(tmp("f32-source.gguf"), weights, T.F32)
        if quern("quantize", "-f", "--pure", tmp("f32-source.gguf"), ours, kind.name) is None:
            check("write %s" % kind.name, False)
            continue
        got = load_gguf(ours)
        check("%s: names and shapes" % kind.name, {n: t[1] for n, t in got.items()} == shapes)
        back = quern_f32(ours, tmp("f32.gguf"))
        for n, a in weights.items():
            want = kind if a.ndim > 1 else T.F32
            check("write %s %s: type" % (kind.name, n), got[n][0] == want, got[n][0].name)
            # Bytes against the package's own quantizer, an independent implementation.
            check("write %s %s: bytes" % (kind.name, n), equal(np.asarray(got[n][2]), np.asarray(gguf.quants.quantize(a, want))) or
                  np.array_equal(bits(got[n][2]), bits(gguf.quants.quantize(a, want))))
            check("write %s %s: values" % (kind.name, n), equal(back.get(n), gguf_f32(got[n])))


def test_gguf_read_only_types(tmp, rng):
    """Types the package decodes but does not make: random blocks with sane scales."""
    readable = {t["name"] for t in json.loads(quern("types", "--json")) if t["can_read"]}
    for kind, scales in ((T.Q6_K, [208]), (T.Q4_K, [0, 2]), (T.Q5_K, [0, 2]), (T.Q3_K, [108]), (T.Q2_K, [80, 82]), (T.IQ4_NL, [0]), (T.IQ4_XS, [0])):
        if kind.name not in readable:
            continue
        elems, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (64 * 256 // elems, size), np.uint8)
        for at in scales:
            blocks[:, at:at + 2] = (rng.standard_normal((len(blocks), 1)) * 0.01).astype("<f2").view(np.uint8)
        path = tmp("%s.gguf" % kind.name)
        w = gguf.GGUFWriter(path, "llama")
        w.add_tensor("blk.0.ffn_down.weight", blocks.reshape(64, -1), raw_dtype=kind)
        w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
        mine = quern_f32(path, tmp("f32.gguf")).get("blk.0.ffn_down.weight")
        check("read their %s" % kind.name, equal(mine, gguf_f32(load_gguf(path)["blk.0.ffn_down.weight"])))


def test_gguf_split(tmp, rng):
    """Split by the package, joined by quern; split by quern, read by the package."""
    weights = {"blk.%d.ffn_down.weight" % i: random_weights(rng, 32, 512) for i in range(6)}
    w = gguf.GGUFWriter(tmp("split.gguf"), "llama", split_max_tensors=2)
    w.add_block_count(6)
    for n, a in weights.items():
        w.add_tensor(n, a)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_tensors_to_file(), w.close()
    first = tmp("split-00001-of-00003.gguf")
    mine = quern_f32(first, tmp("joined.gguf"))
    for n, a in weights.items():
        check("join their split: %s" % n, equal(mine.get(n), a))
    check("keep-split", quern("quantize", "--keep-split", first, tmp("kept"), "Q8_0") is not None)
    for i in range(3):
        got = load_gguf(tmp("kept-%05d-of-00003.gguf" % (i + 1)))
        for n, t in got.items():
            check("keep-split: %s" % n, np.array_equal(bits(t[2]), bits(gguf.quants.quantize(weights[n], T.Q8_0))))


# ---- safetensors

def test_safetensors(tmp, rng):
    a = {"b.f32": random_weights(rng, 16, 40), "a.f16": random_weights(rng, 8, 33).astype("<f2"), "f64": rng.standard_normal((3, 5)),
         "i64": np.arange(-5, 5, dtype=np.int64), "u8": np.arange(7, dtype=np.uint8), "flag": np.array([True, False]), "scalar": np.array(2.5, "<f4"),
         "empty": np.zeros((0, 4), "<f4")}
    safetensors.numpy.save_file(a, tmp("theirs.safetensors"), metadata={"format": "np", "note": "\u00e9"})
    check("inspect their safetensors", quern("inspect", "--json", tmp("theirs.safetensors")) is not None)
    for to, expected in (("F32", lambda x: x.astype("<f4")), ("F16", lambda x: x.astype("<f4").astype("<f2")), ("BF16", lambda x: bf16(x.astype("<f4")))):
        out = tmp("ours-%s.safetensors" % to)
        if quern("quantize", "-f", tmp("theirs.safetensors"), out, to) is None:
            check("safetensors to %s" % to, False)
            continue
        got = load_st(out)
        check("safetensors to %s: names" % to, set(got) == set(a))
        for n, x in a.items():
            # Float tensors change their type, other tensors stay as they are.
            if x.dtype.kind == "f":
                check("safetensors to %s: %s" % (to, n), got[n][0] == to and got[n][1] == x.shape and got[n][2] == expected(x).tobytes(), str(got[n][:2]))
            else:
                check("safetensors to %s: %s kept" % (to, n), got[n][1] == x.shape and got[n][2] == x.tobytes(), str(got[n][:2]))
        with safetensors.safe_open(out, "numpy") as f:
            check("safetensors to %s: metadata" % to, (f.metadata() or {}).get("note") == "\u00e9", str(f.metadata()))
    check("sharded output", quern("quantize", "-f", "--shard-size", "1MB", os.path.join(POCKET, "pocket-base"), tmp("sharded"), "F16") is not None)
    check("sharded output: values", {n: t[2] for n, t in load_st(tmp("sharded")).items()} ==
          {n: to_f32(*t).astype("<f2").tobytes() for n, t in load_st(os.path.join(POCKET, "pocket-base")).items()})


def test_merge(tmp, rng):
    """Merged directories load, with the values that the formulas give."""
    base, prose, code = (load_st(os.path.join(POCKET, "pocket-" + n)) for n in ("base", "prose", "code"))
    paths = {n: os.path.join(POCKET, "pocket-" + n) for n in ("base", "prose", "code")}

    ok = quern("merge", "--method", "linear", "--model", paths["prose"], "--model", paths["code"], "--param", "weight=0.25,0.75", tmp("linear")) is not None
    got = load_st(tmp("linear")) if ok else {}
    check("linear: names", set(got) == set(base))
    for n in got:
        want = bf16(np.float32(0.25) * to_f32(*prose[n]) + np.float32(0.75) * to_f32(*code[n]))
        check("linear: %s" % n, got[n][:2] == base[n][:2] and got[n][2] == want.tobytes())
    with open(tmp("linear", "config.json")) as f:
        check("linear: config.json", json.load(f)["model_type"] == "llama")

    t = 0.4
    ok = quern("merge", "--method", "slerp", "--base", paths["prose"], "--model", paths["code"], "--param", "t=%g" % t, tmp("slerp")) is not None
    got = load_st(tmp("slerp")) if ok else {}
    check("slerp: names", set(got) == set(base))
    for n in got:
        a, b = to_f32(*prose[n]).astype(np.float64), to_f32(*code[n]).astype(np.float64)
        cos = np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)
        theta = np.arccos(np.clip(cos, -1, 1))
        if abs(cos) > 0.9995:
            want = (1 - t) * a + t * b
        else:
            want = np.sin((1 - t) * theta) / np.sin(theta) * a + np.sin(t * theta) / np.sin(theta) * b
        mine = to_f32(*got[n]).astype(np.float64)
        # Half a step of bf16, and a hair for f32 arithmetic.
        check("slerp: %s" % n, bool(np.all(np.abs(mine - want) <= np.abs(want) * 2.0**-8 * 1.001 + 1e-12)))

    # TIES by its definition: trim to the largest half, elect signs, mean of what agrees.
    ok = quern("merge", "--method", "ties", "--base", paths["base"], "--model", paths["prose"], "--model", paths["code"],
               "--param", "weight=1", "--param", "density=0.5", tmp("ties")) is not None
    got = load_st(tmp("ties")) if ok else {}
    check("ties: names", set(got) == set(base))
    for n in got:
        origin, trimmed = to_f32(*base[n]), []
        for m in (prose, code):
            delta = to_f32(*m[n]) - origin
            keep = int(0.5 * delta.size)
            order = np.argsort(-np.abs(delta.reshape(-1)), kind="stable") # lowest index wins a tie
            kept = np.zeros(delta.size, "<f4")
            kept[order[:keep]] = delta.reshape(-1)[order[:keep]]
            trimmed.append(kept.reshape(delta.shape))
        sign = np.where(trimmed[0] + trimmed[1] >= 0, 1, -1)
        agree = [(np.sign(d) == sign) for d in trimmed]
        total = sum(np.where(g, d, 0) for g, d in zip(agree, trimmed))
        count = np.maximum(sum(g.astype("<f4") for g in agree), 1)
        want = (origin + total / count).astype(np.float64)
        mine = to_f32(*got[n]).astype(np.float64)
        off = np.abs(mine - want) > np.abs(want) * 2.0**-8 * 1.001 + 1e-9
        check("ties: %s" % n, not off.any(), "%d of %d values differ" % (off.sum(), off.size))


def error_figures(a, b, block, importance=None):
    """What quern compare says of two tensors, by the definitions, in f64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    d = (a - b).reshape(-1)
    rms = lambda x: float(np.sqrt(np.mean(np.square(x))))
    blocks = [rms(d[i:i + block]) for i in range(0, d.size, block)]
    out = {"weights": d.size, "rmse": rms(d), "relative_rmse": rms(d) / rms(a), "max_error": float(np.abs(d).max()),
           "max_error_at": int(np.abs(d).argmax()), "cosine": float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b)),
           "worst_block_rmse": max(blocks), "block_weights": block}
    if d.any():
        out["sqnr_db"] = float(20 * np.log10(rms(a) / rms(d)))
    if importance is not None:
        w = np.broadcast_to(importance, a.shape).astype(np.float64)
        out["weighted_rmse"] = float(np.sqrt((w * (a - b)**2).sum() / w.sum()))
        out["weighted_relative_rmse"] = float(np.sqrt((w * (a - b)**2).sum() / (w * a**2).sum()))
    return out, blocks


def test_compare(tmp, rng):
    """Error statistics against numpy's."""
    source = os.path.join(POCKET, "pocket-base")
    original = {n: to_f32(*t) for n, t in load_st(source).items()}
    matrix = {n: rng.random(a.shape[-1], np.float32) for n, a in original.items() if a.ndim == 2}
    with open(tmp("m.dat"), "wb") as f:
        f.write(np.int32(len(matrix)).tobytes())
        for n, w in matrix.items():
            f.write(np.int32(len(n)).tobytes() + n.encode() + np.array([1, w.size], "<i4").tobytes() + w.tobytes())
    for kind in (T.F16, T.Q8_0, T.Q4_0, T.Q6_K, None):
        if kind:
            other = tmp("%s.gguf" % kind.name)
            # A container keeps the names, so the two compare.
            if quern("quantize", "-f", "--keep-names", "--arch", "llama", "--pure", source, other, kind.name) is None:
                check("compare %s" % kind.name, False)
                continue
            values = {n: (gguf_f32(t), gguf.GGML_QUANT_SIZES[t[0]][0]) for n, t in load_gguf(other).items()}
        else:
            other = os.path.join(POCKET, "pocket-code")
            values = {n: (to_f32(*t), 1) for n, t in load_st(other).items()}
        name = kind.name if kind else "code"
        done = subprocess.run([QUERN, "compare", "--json", "--imatrix", tmp("m.dat"), source, other], capture_output=True, text=True)
        check("compare %s: exit code" % name, done.returncode == 1, done.stderr)
        got = {t["tensor"]: t for t in json.loads(done.stdout)["errors"]["tensors"]}
        check("compare %s: names" % name, set(got) == set(original))
        for n, a in original.items():
            b, block = values[n]
            want, blocks = error_figures(a, b, block if block > 1 else 256, matrix.get(n))
            off = [k for k, v in want.items() if not abs(got[n].get(k, np.nan) - v) <= (1e-6 if k == "sqnr_db" else 1e-12 * abs(v))]
            check("compare %s %s" % (name, n), not off, str([(k, want[k], got[n].get(k)) for k in off]))
            check("compare %s %s: worst block" % (name, n), blocks[got[n]["worst_block"]] >= max(blocks) * (1 - 1e-12))


def test_to_gguf(tmp, rng):
    """A merged directory as a plain GGUF container: the values the package quantizes to."""
    source = os.path.join(POCKET, "pocket-base")
    for kind in (T.Q8_0, T.Q4_0):
        out = tmp("pocket-%s.gguf" % kind.name)
        if quern("quantize", "-f", "--keep-names", "--arch", "llama", "--pure", source, out, kind.name) is None:
            check("container %s" % kind.name, False)
            continue
        got, tensors = load_gguf(out), load_st(source)
        check("container %s: names" % kind.name, set(got) == set(tensors))
        for n, t in tensors.items():
            want = gguf.quants.quantize(to_f32(*t), got[n][0])
            check("container %s %s" % (kind.name, n), got[n][1] == t[1] and np.array_equal(bits(got[n][2]), bits(want)))


def main():
    if not os.path.exists(QUERN):
        sys.exit("interop: %s is not there: run make first" % QUERN)
    for test in (test_gguf, test_gguf_read_only_types, test_gguf_split, test_safetensors, test_merge, test_compare, test_to_gguf):
        with tempfile.TemporaryDirectory(prefix="quern-interop.") as d:
            try:
                test(lambda *p: os.path.join(d, *p), np.random.default_rng(7))
            except Exception as e: # a reader that refuses our file is a finding too
                check("%s stopped" % test.__name__, False, "%s: %s" % (type(e).__name__, e))
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(1 if failed else 0)


main()
