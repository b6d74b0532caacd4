#!/usr/bin/env python3
"""fuzz_corpus.py pack DIR FILE | unpack FILE DIR | seed TARGET DIR

A corpus of a fuzz target is one file: for each input its length (32 bits, little-endian) and its bytes, sorted, so that git sees
one file change and not ten thousand. libFuzzer wants a directory with a file for each. seed makes inputs to begin with, from the
malformed files of tests/make_corpus.py and the data of the tests. Standard library only.
"""
import glob, hashlib, json, os, re, struct, subprocess, sys, tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))


def read(path):
    with open(path, "rb") as f:
        return f.read()


def read_packed(path):
    data, at, out = read(path), 0, []
    while at < len(data):
        (n,) = struct.unpack_from("<I", data, at)
        out.append(data[at + 4 : at + 4 + n])
        at += 4 + n
    return out


def pack(directory, path):
    inputs = sorted({read(f) for f in glob.glob(directory + "/*") if os.path.isfile(f)})
    with open(path, "wb") as f:
        for x in inputs:
            f.write(struct.pack("<I", len(x)) + x)
    print("%s: %d inputs, %d bytes" % (path, len(inputs), os.path.getsize(path)))


def write_inputs(directory, inputs):
    os.makedirs(directory, exist_ok=True)
    for x in inputs:
        with open(os.path.join(directory, hashlib.sha1(x).hexdigest()), "wb") as f:
            f.write(x)


# ---- seeds


def make(script, *args):
    directory = tempfile.mkdtemp(prefix="quern-seed-")
    subprocess.run([sys.executable, "-B", os.path.join(ROOT, "tests", script), directory, *args], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return directory


def files(pattern, most=4096):
    return [read(f) for f in sorted(glob.glob(pattern, recursive=True)) if os.path.isfile(f) and os.path.getsize(f) <= most]


def part(number, text):
    return struct.pack("<BH", number, len(text)) + text


def smaller(x):
    """Sizes of 16 and more divided by eight, wherever they stand: what fits together still does."""
    if isinstance(x, dict):
        return {k: smaller(v) for k, v in x.items()}
    if isinstance(x, list):
        return [smaller(v) for v in x]
    return x // 8 if isinstance(x, int) and not isinstance(x, bool) and 16 <= x <= 4096 and x % 8 == 0 else x


def checkpoints():
    """The small Hugging Face models of tests/data/convert, made smaller."""
    out = []
    for name in ("golden.json", "architectures.json", "variants.json", "packed.json"):
        out += json.loads(read(os.path.join(ROOT, "tests/data/convert", name)))["models"]
    return out


ELEMENT_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "U32": 4, "U16": 2}


def small_safetensors(tensors):
    """Tensors with their names and types, zeros for data. Each is a list: name, type, distribution, shape."""
    header, at = {}, 0
    for name, dtype, _, *shape in smaller(tensors):
        n = ELEMENT_BYTES.get(dtype, 1)
        for x in shape:
            n *= x
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + n]}
        at += n
    text = json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def seeds(target):
    corpus = make("make_corpus.py")
    tok = os.path.join(ROOT, "tests/data/convert/tok")
    if target in ("gguf", "roundtrip_gguf", "back"):
        out = files(corpus + "/gguf/*", 8192) + files(corpus + "/imatrix/*.gguf")
        for f in glob.glob(ROOT + "/build/test-models/*.gguf"):
            out.append(read(f)[:8192])
        return out
    if target in ("safetensors", "roundtrip_safetensors"):
        return files(corpus + "/safetensors/*")
    if target == "index":
        return files(corpus + "/index/**/*.json")
    if target in ("json", "config_edit", "hf_config"):
        out = files(corpus + "/config/*.json", 1024) + files(corpus + "/index/**/*.json", 1024)
        return out + [json.dumps(m["config"]).encode() for m in checkpoints()] + files(tok + "/**/*.json", 1024)
    if target in ("yaml", "map", "front_matter", "recipe"):
        out = files(corpus + "/config/*.y*ml") + files(ROOT + "/tests/data/merge/recipes/*") + files(ROOT + "/tests/cli/cases/*.yml")
        text = read(ROOT + "/tests/test_recipe.c").decode() + read(ROOT + "/tests/test_moe.c").decode()
        for block in re.findall(r'accepted\(((?:\s*"(?:[^"\\]|\\.)*")+)\)', text):
            out.append("".join(re.findall(r'"((?:[^"\\]|\\.)*)"', block)).encode().decode("unicode_escape").encode())
        # Models are those that the target has: a, b and c.
        names = [b"org/one-13b", b"org/two-13B-V1.2", b"org/three", b"org/base", b"org/a", b"org/b", b"org/c", b"ft0", b"ft1", b"ft2", b"models/a"]
        plain = []
        for x in out:
            for i, name in enumerate(names):
                x = x.replace(name, b"abcaabcabca"[i : i + 1])
            plain.append(re.sub(rb"(model: )(base|x|d)\b", rb"\1a", x))
        if target == "front_matter":
            return [b"---\n" + x + b"\n---\ntext\n" for x in plain]
        if target == "map":
            plain.append(b"architecture: llama\ntensors:\n  - from: model.layers.{i}.attn.q.weight\n    to: blk.{i}.attn_q.weight\n    how: permute-q\nkeep:\n  - rope_freqs.weight\n")
            plain.append(b"tensors:\n  - {from: 'm.{i}.e.{e}.w', to: 'blk.{i}.ffn_gate_exps.weight'}\n  - {from: [a, b], to: c}\n  - {from: x, how: drop}\n")
        return plain
    if target == "imatrix_dat":
        return files(corpus + "/imatrix/*.dat", 2048)
    if target == "imatrix_gguf":
        return files(corpus + "/imatrix/*.gguf") + files(corpus + "/gguf/*", 1024)
    if target == "tokenizer":
        return [x[:2048] for x in files(tok + "/**/*.json", 1 << 20)] + files(ROOT + "/tests/data/pocket/*/tokenizer.json", 2048)
    if target == "tokenizer_config":
        return files(tok + "/**/*config*.json", 1024) + files(ROOT + "/tests/data/pocket/*/tokenizer_config.json", 1024)
    if target == "sentencepiece":
        return [x[:1024] for x in files(tok + "/**/*.model", 1 << 20)]
    if target == "adapter_config":
        adapters = json.loads(read(os.path.join(ROOT, "tests/data/convert/adapters.json")))["adapters"]
        return [json.dumps(a["config"]).encode() for a in adapters if "config" in a] + [b'{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"]}']
    if target == "adapter":
        a = json.dumps({"m.q_proj.lora_A.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}, "m.q_proj.lora_B.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [32, 64]}}).encode()
        return [part(0, b'{"peft_type":"LORA","r":2,"lora_alpha":8,"target_modules":["q_proj"]}') + part(1, struct.pack("<Q", len(a)) + a + bytes(64))] + [part(2, x) for x in files(corpus + "/gguf/ok*", 1024)]
    if target == "convert":
        out = []
        for m in checkpoints():
            weights = small_safetensors(m["tensors"])
            x = part(2, json.dumps(smaller(m["config"])).encode())
            out.append(x)
            if len(x) + len(weights) < 16000:
                out.append(x + part(1, weights))
        for d in sorted(glob.glob(tok + "/*")):
            x = b""
            for i, name in enumerate(["tokenizer.json", "tokenizer_config.json", "generation_config.json"]):
                f = os.path.join(d, name)
                if os.path.isfile(f) and os.path.getsize(f) < 8000:
                    x += part(3 + i, read(f))
            f = os.path.join(d, "tokenizer.model")
            if os.path.isfile(f) and os.path.getsize(f) < 8000:
                x += part(12, read(f))
            if x:
                out.append(x)
        return out
    if target == "args":
        text = b"".join(files(ROOT + "/tests/cli/cases/*.sh", 1 << 20))
        lines = [line.split() for line in text.splitlines() if b"quern " in line or b"$QUERN" in line]
        return [bytes([i % 12]) + b"\n".join(words[1:])[:500] for i, words in enumerate(lines)]
    if target == "plan":
        out = [part(0, b"tQ4_K_M\nT.*=Q8_0\nkgeneral.name=str:x\n"), part(0, b"tCOPY\nOd\nsxxx\n"), part(0, b"tBF16\nfk\nallama\n"), part(0, b"tF8\nOs\n")]
        return out + [part(0, b"tQ8_0\nfr\n") + part(1, x) for x in files(corpus + "/gguf/ok*", 6000)]
    if target == "rows":
        return [bytes([d, how, 3]) + bytes((i * 37 + d) % 256 for i in range(1500)) for d in range(51) for how in (0, 1, 2, 128, 160)]
    if target == "merge_rows":
        return [bytes([f, 40 + f, f]) + bytes((i * 73 + f) % 256 for i in range(900)) for f in range(8)]
    if target == "journal":
        return [bytes([how, at, at // 3, 9, 1, 2, 3]) for how in range(5) for at in range(0, 256, 16)] + [b""]
    return [b""]


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "pack":
        pack(sys.argv[2], sys.argv[3])
    elif len(sys.argv) == 4 and sys.argv[1] == "unpack":
        write_inputs(sys.argv[3], read_packed(sys.argv[2]) if os.path.exists(sys.argv[2]) else [])
    elif len(sys.argv) == 4 and sys.argv[1] == "seed":
        write_inputs(sys.argv[3], seeds(sys.argv[2]))
    else:
        sys.exit(__doc__)


main()
