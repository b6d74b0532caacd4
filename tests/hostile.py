#!/usr/bin/env python3
"""hostile.py - text from files and names never acts on a terminal: hostile.py QUERN DIR

Every string of some models, recipes and importance matrices is hostile: escape sequences, C1 controls,
line ends, marks that turn the direction of writing or cannot be seen, bytes that are no UTF-8, and some are
very long. Every command that reads them is run; whatever it says must be printable, and with --json a
JSON text. Whether it succeeds is not the question here."""
import json
import os
import pty
import struct
import subprocess
import sys

QUERN, WHERE = (os.path.abspath(p) for p in sys.argv[1:3])

ESCAPES = [
    "\x1b[31mred\x1b[2J", "\x1b]0;title\x07", "a\rb\nc\td", "\x9b31m\x85\x90", "\u202egnp.exe\u2066x\u2069",
    "zero\u200bwidth\u200d\u2060\ufeff", "\x08\x08\x7f", "\u061c\u180e\u00ad", "\u2028\u2029", "'; rm -rf \\ \"<b>`$(x)`",
    "tag\U000e0041\U000e007f", "\ufff9under\ufffb", "%s%n%d",
]
ALL = "".join(ESCAPES)
LONG = ALL * (60000 // len(ALL.encode()))
BAD = {0x7F} | set(range(0x20)) - {0x0A}
UNSEEN = {0xAD, 0x61C, 0x180E, 0xFEFF} | set(range(0x80, 0xA0)) | set(range(0x200B, 0x2010)) | set(range(0x2028, 0x202F)) \
    | set(range(0x2060, 0x2070)) | set(range(0xFFF9, 0xFFFC)) | set(range(0xE0000, 0xE0080))

failures = []
nruns = 0


def complain(args, why, text):
    failures.append("%r: %s: %r" % (args, why, text))


def check_bytes(args, stream, data):
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        return complain(args, "no UTF-8 on %s" % stream, data[max(0, e.start - 60):e.start + 20])
    for i, c in enumerate(text):
        if ord(c) in BAD or ord(c) in UNSEEN:
            return complain(args, "U+%04X on %s" % (ord(c), stream), text[max(0, i - 60):i + 20])


def on_terminal(*args):
    """Standard output and error are a terminal: then a bare value is no exception, and progress is drawn."""
    global nruns
    nruns += 1
    outer, inner = pty.openpty()
    p = subprocess.Popen([QUERN, *args], stdout=inner, stderr=inner, cwd=WHERE, stdin=subprocess.DEVNULL)
    os.close(inner)
    data = b""
    try:
        while part := os.read(outer, 65536):
            data += part
    except OSError:
        pass
    p.wait()
    os.close(outer)
    for ours in (b"\r\x1b[K", b"\r\n", b"\x1b[0m", b"\x1b[1m", b"\x1b[2m"):
        data = data.replace(ours, b"")
    data = data.replace(b"\t", b" ")  # of a bare value
    check_bytes(args, "terminal", data)


def run(*args):
    if "--kv" in args and "--json" not in args:
        return on_terminal(*args)
    global nruns
    nruns += 1
    p = subprocess.run([QUERN, *args], capture_output=True, timeout=120, cwd=WHERE, stdin=subprocess.DEVNULL)
    if p.returncode < 0 or p.returncode == 70:
        complain(args, "exit code %d" % p.returncode, p.stderr)
    check_bytes(args, "stdout", p.stdout)
    check_bytes(args, "stderr", p.stderr)
    for line in p.stderr.split(b"\n"):
        if line.startswith((b"c\t", b"c?d", b"c\\x09d")):  # a line end in a name must not begin a line
            complain(args, "a line of the file's", line)
    if "--json" in args and p.stdout:
        for line in p.stdout.splitlines():
            try:
                json.loads(line)
            except ValueError as e:
                complain(args, "no JSON: %s" % e, line[:200])
    return p


def path(*parts):
    return os.path.join(os.fsencode(WHERE), *(os.fsencode(p) for p in parts))


def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data if isinstance(data, bytes) else data.encode())


# ---- files


def string(s):
    s = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(s)) + s


def gguf(name, keys, tensors):
    """keys: [(key, value)], a text, a list of texts or a number; tensors: [(name, dims innermost first, F32 bytes)]"""
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for key, value in keys:
        out += string(key)
        if isinstance(value, int):
            out += struct.pack("<II", 4, value)
        elif isinstance(value, list):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(string(v) for v in value)
        else:
            out += struct.pack("<I", 8) + string(value)
    at, data = 0, b""
    for tname, dims, raw in tensors:
        out += string(tname) + struct.pack("<I", len(dims)) + struct.pack("<%dQ" % len(dims), *dims) + struct.pack("<IQ", 0, at)
        raw += b"\0" * (-len(raw) % 32)
        at += len(raw)
        data += raw
    out += b"\0" * (-len(out) % 32)
    write(name, out + data)


def safetensors(name, tensors, metadata):
    header, at, data = {"__metadata__": metadata}, 0, b""
    for tname, shape, raw in tensors:
        header[tname] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(raw)]}
        at += len(raw)
        data += raw
    text = json.dumps(header, ensure_ascii=False).encode()
    write(name, struct.pack("<Q", len(text)) + text + data)


def floats(n, bad=False):
    v = [((i * 37) % 101 - 50) / 100 for i in range(n)]
    if bad:
        v[n // 2] = float("nan")
    return struct.pack("<%df" % n, *v)


def models():
    names = ["t%d %s.weight" % (i, e) for i, e in enumerate(ESCAPES)]
    short = ALL[:40]
    keys = [("general.architecture", short), ("general.name", LONG), ("quern." + ALL[:60], ALL), ("general.tags", ESCAPES + [LONG]),
            ("tokenizer.chat_template", LONG)]
    gguf("a.gguf", keys, [(n[:60], [256, 2], floats(512)) for n in names])
    gguf("b.gguf", keys, [(n[:60], [256, 2], floats(512)[4:] + b"\0\0\0\0") for n in names[:5]] + [(names[6][:60], [256], floats(256))])
    gguf("nan.gguf", keys, [(n[:60], [256, 2], floats(512, True)) for n in names])
    gguf("invalid.gguf", [(b"general.architecture", b"\x1b[1m\xff\xfe\x9b")], [(b"\xff\x1b[2J\xc0\x80.weight", [256], floats(256))])
    gguf("key.gguf", [(b"\x9b\xff\x1b[2J", "x")], [])
    gguf("adapter.gguf", [("general.type", "adapter"), ("adapter.type", "lora"), ("general.architecture", short),
                          ("adapter.lora.alpha", "x" + ALL)], [(names[0][:40] + ".lora_a", [256, 2], floats(512))])
    write("cut.gguf", open(path("a.gguf"), "rb").read()[:70000])
    safetensors("a.safetensors", [(n, [2, 256], floats(512)) for n in names], {ALL: LONG})
    safetensors("nan.safetensors", [(n, [2, 256], floats(512, True)) for n in names], {ALL: LONG})
    for bad in (b'{"\x1b[1m":1}', b'{"a":{"dtype":"\x1b[1m","shape":[1],"data_offsets":[0,4]}}',
                b'{"a\\u001b[1m":{"dtype":"X\\u001b\\u009b","shape":[1],"data_offsets":[0,4]}}',
                '{"\u202e":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'.encode(), b'{"\xff\x1b":1}', b'{"a":\x1b[1m}'):
        write("bad%d.safetensors" % len(os.listdir(WHERE)), struct.pack("<Q", len(bad)) + bad + b"\0" * 4)


def folder(name, model_type):
    os.makedirs(path(name), exist_ok=True)
    safetensors(os.path.join(path(name), b"model.safetensors"),
                [("model.%s.weight" % e, [2, 256], floats(512)) for e in ESCAPES], {"format": ALL})
    config = {"architectures": [ALL], "model_type": model_type, "torch_dtype": ALL, "quantization_config": {"quant_method": ALL}}
    write(os.path.join(path(name), b"config.json"), json.dumps(config))
    write(os.path.join(path(name), b"tokenizer_config.json"), json.dumps({"chat_template": LONG, "tokenizer_class": ALL}))
    write(os.path.join(path(name), b"tokenizer.json"), json.dumps({"model": {"type": ALL, "vocab": {ALL: 0}}, "added_tokens": [{"id": 0, "content": ALL}]}))
    write(os.path.join(path(name), b"README.md"), "---\nlicense: \"%s\"\ntags: [\"%s\"]\n---\n" % (json.dumps(ALL)[1:-1], json.dumps(ALL)[1:-1]))


def llama(name):
    """A folder that converts, but for its text."""
    os.makedirs(path(name), exist_ok=True)
    parts = [("model.embed_tokens.weight", [8, 32]), ("model.norm.weight", [32]), ("lm_head.weight", [8, 32])]
    for part, shape in (("input_layernorm", [32]), ("post_attention_layernorm", [32]), ("self_attn.q_proj", [32, 32]), ("self_attn.k_proj", [32, 32]),
                        ("self_attn.v_proj", [32, 32]), ("self_attn.o_proj", [32, 32]), ("mlp.gate_proj", [64, 32]), ("mlp.up_proj", [64, 32]),
                        ("mlp.down_proj", [32, 64])):
        parts.append(("model.layers.0.%s.weight" % part, shape))
    parts.append(("model.layers.0." + ALL, [32]))
    safetensors(os.path.join(path(name), b"model.safetensors"),
                [(n, s, floats(s[0] * (s[1] if len(s) > 1 else 1))) for n, s in parts], {"format": "pt"})
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
              "num_attention_heads": 1, "rms_norm_eps": 1e-5, "vocab_size": 8, "max_position_embeddings": 64, "rope_scaling": {"rope_type": ALL, "factor": 2}}
    write(os.path.join(path(name), b"config.json"), json.dumps(config))
    write(os.path.join(path(name), b"tokenizer_config.json"), json.dumps({"chat_template": LONG}))


def imatrices():
    for name, values in (("good.dat", [1.0] * 256), ("bad.dat", [float("nan")] * 256)):
        rows = b"".join(struct.pack("<i", len(n.encode())) + n.encode() + struct.pack("<ii256f", 1, 256, *values) for n in ESCAPES)
        data = ALL.encode()
        write(name, struct.pack("<i", len(ESCAPES)) + rows + struct.pack("<ii", 1, len(data)) + data)
    keys = [("general.type", "imatrix"), ("imatrix.datasets", [ALL, LONG[:60000]]), ("imatrix.chunk_count", 1), ("imatrix.chunk_size", 512)]
    tensors = []
    for i, e in enumerate(ESCAPES):
        tensors += [(("%d%s" % (i, e))[:40] + ".in_sum2", [256, 1], floats(256)), (("%d%s" % (i, e))[:40] + ".counts", [1, 1], struct.pack("<f", 1))]
    gguf("neg.gguf", keys, tensors)


def recipes():
    q = json.dumps(ALL)
    return [
        "merge_method: %s\nmodels: [{model: a.safetensors}]\n" % q,
        "merge_method: linear\nmodels: [{model: %s}]\nparameters: {weight: 1}\n" % q,
        "merge_method: linear\n%s: 1\nmodels: [{model: a.safetensors, %s: 2}]\n" % (q, q),
        "merge_method: linear\nmodels: [{model: a.safetensors, parameters: {weight: [{filter: %s, value: 1}, {value: 1}]}}]\n" % q,
        "merge_method: linear\nmodels: [{model: a.safetensors}, {model: nan.safetensors}]\nparameters: {weight: 1}\n",
        "merge_method: linear\nmodels: [{model: a.safetensors}, {model: a.gguf}]\nparameters: {weight: 1}\n",
        "merge_method: passthrough\nmodels: [{model: nan.safetensors}]\ndtype: %s\n" % q,
        "merge_method: passthrough\nmodels: [{model: folder}]\n", "merge_method: passthrough\nmodels: [{model: 'a.safetensors+%s'}]\n" % "\u202ex",
        "merge_method: passthrough\nmodels: [{model: llama}]\nchat_template: %s\n" % q,
        "merge_method: linear\nmodels: [{model: llama}]\nparameters: {weight: 1}\ntokenizer_source: %s\n" % q,
        "\x1b[1m: 2\n", "a: \u202e\n  b: [\n", "!!python/object:\u202e x\n", b"\xff\xfe\x1b[1m: 1\n",
        "base_model: llama\ngate_mode: %s\nexperts: [{source_model: %s, positive_prompts: [%s]}]\n" % (q, q, q),
    ]


def adapters():
    os.makedirs(path("adapter"), exist_ok=True)
    safetensors("adapter/adapter_model.safetensors", [("base_model.model.%s.lora_A.weight" % ALL, [2, 256], floats(512)),
                                                      ("base_model.model.%s.lora_B.weight" % ALL, [256, 2], floats(512))], {"format": ALL})
    write("adapter/adapter_config.json", json.dumps({"peft_type": "LORA", "r": 2, "lora_alpha": 2, "base_model_name_or_path": ALL,
                                                     "target_modules": [ALL], "task_type": ALL, "rank_pattern": {ALL: 3}, ALL: LONG}))


# ---- runs


def read_everything(files):
    for f in files:
        for command in (["inspect"], ["inspect", "--tensors"], ["inspect", "--json", "--tensors"], ["inspect", "--kv", ALL], ["check"],
                        ["check", "--json"], ["lora", "info"], ["lora", "info", "--json"], ["imatrix", "show"], ["imatrix", "show", "--json"],
                        ["imatrix", "lint"], ["imatrix", "lint", "--json"]):
            run(*command, f)


def write_everything():
    for f in ("a.gguf", "nan.gguf", "cut.gguf"):
        for args in (["--dry-run"], ["-v"], ["--json"], ["--dry-run", "--json"], ["--progress", "json", "-j1"], ["--stats"],
                     ["--nonfinite", "zero"], ["--nonfinite", "zero", "--json"], ["--prune-layers", ALL], ["--tensor-type", ALL + "=q8_0"],
                     ["--override-kv", ALL + "=str:" + ALL], ["--imatrix", "good.dat"], ["--imatrix", "bad.dat"], ["--imatrix", "neg.gguf"]):
            run("quantize", "-f", *args, f, "out.gguf", "Q8_0")
    on_terminal("quantize", "-f", "-j1", "--stats", "-v", "a.gguf", "out.gguf", "Q4_K")
    on_terminal("compare", "a.gguf", "b.gguf")
    for kind in ([], ["--json"]):
        run("quantize", *kind, "a.gguf", "out2.gguf", ALL)
        run("quantize", *kind, "--" + ALL, "a.gguf", "out2.gguf", "Q8_0")
        run(*kind, ALL)
        run("quantize", *kind, "-f", "a.safetensors", "out.safetensors", "F16")
        run("quantize", *kind, "-f", "--keep-names", "--arch", ALL, "a.safetensors", "out.gguf", "F16")
        for f in ("folder", "llama", "a.gguf", "adapter", "adapter.gguf"):
            run("convert", *kind, "-f", f, "c.gguf")
            run("convert", *kind, "-f", f, "c-dir")
            run("convert", *kind, "-f", "--text-only", "--pre", ALL, "--model-name", ALL, "--like", "a.gguf", f, "c.gguf")
        run("compare", *kind, "a.gguf", "b.gguf")
        run("compare", *kind, "-v", "a.gguf", "nan.gguf")
        run("compare", *kind, "--imatrix", "good.dat", "a.gguf", "a.safetensors")
        run("imatrix", "combine", *kind, "-f", "good.dat", "neg.gguf", "-o", "im.gguf")
        run("imatrix", "convert", *kind, "-f", "bad.dat", "im.gguf")
        run("imatrix", "convert", *kind, "-f", "good.dat", "im.gguf")
        run("merge", *kind, "--base", "a.safetensors", "--lora", "adapter:2", "m-dir")
        run("lora", "extract", *kind, "a.safetensors", "nan.safetensors", "ad-out")
        run("lora", ALL, *kind)


def merge_everything():
    for i, text in enumerate(recipes()):
        write("r%d.yml" % i, text)
        for kind in ([], ["--json"], ["--dry-run"], ["--dry-run", "--json"]):
            run("merge", "-f", *kind, "r%d.yml" % i, "m%d" % i)
            run("merge", "-f", *kind, "r%d.yml" % i, "m%d.gguf" % i, "Q8_0")
    for name in os.listdir(WHERE):
        card = path(name, "README.md")
        if name.startswith("m") and os.path.exists(card):
            check_bytes([name], "README.md", open(card, "rb").read())


def odd_names():
    for name in (b"x\x1b[31m.gguf", b"x\n.gguf", b"x\xc2\x9b.gguf", "x\u202e.gguf".encode(), b"x\xff\xfe.gguf", b"x" * 120 + b"\x9b\x1b" * 60 + b".gguf"):
        os.link(path("nan.gguf"), path(name))
        name = os.fsdecode(name)
        for kind in ([], ["--json"]):
            run("inspect", *kind, name)
            run("check", *kind, name)
            run("quantize", "-f", "--sha256", "--nonfinite", "zero", *kind, name, name.replace("x", "y", 1), "Q8_0")
            run("quantize", *kind, name, os.fsencode(name + "-none").decode("utf-8", "surrogateescape") + "/a.gguf", "Q8_0")
            run("merge", "-f", *kind, "--method", "linear", "--model", name, "--model", "a.gguf", "--param", "weight=1", "no.gguf")
            run("compare", *kind, name, "a.gguf")
            run("inspect", *kind, name + ".missing")
            run("quantize", *kind, name, name, "Q8_0")


os.makedirs(WHERE, exist_ok=True)
models()
folder("folder", ALL)
folder("folder2", "llama")
llama("llama")
imatrices()
adapters()
read_everything(sorted(f for f in os.listdir(WHERE)))
write_everything()
merge_everything()
odd_names()
for f in failures[:40]:
    print(f[:600])
print("%s" % ("%d of %d runs said what acts on a terminal" % (len(failures), nruns) if failures else "no run said what acts on a terminal"))
sys.exit(bool(failures))
