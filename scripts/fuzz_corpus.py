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


def small_tokenizers():
    """One of each kind that is understood, with a vocabulary of a few words."""
    alphabet = [chr(c) for c in range(33, 127)] + ["\u0120", "\u010a"]
    bpe = {"type": "BPE", "vocab": {t: i for i, t in enumerate(alphabet + ["ll", "llo", "H", "He", "w\u00c3\u00b6"])}, "merges": ["l l", "ll o", "H e"]}
    sp = dict(bpe, vocab={"<unk>": 0, "\u2581": 1, "H": 2, "e": 3, "<0x0A>": 4, "\u2581H": 5, "l": 6}, merges=[["\u2581", "H"]], byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    piece = {"type": "WordPiece", "vocab": {"[UNK]": 0, "hello": 1, "##lo": 2, ",": 3}, "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    unigram = {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0], ["\u2581", -2.5], ["Hello", -3], ["l", -4.25]], "byte_fallback": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": "\\p{L}+| ?\\p{N}{1,3}|[^\\s]|\\s+(?!\\S)|\\s+"}, "behavior": "Isolated", "invert": False}
    meta = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first", "split": True}
    added = [{"id": 120, "content": "<s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}]
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [], "special_tokens": {"<s>": {"id": "<s>", "ids": [120], "tokens": ["<s>"]}}}
    replace = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
    decoder = {"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}

    def whole(model, pre=None, normalizer=None, decoder=None, post=None):
        return json.dumps({"added_tokens": added, "normalizer": normalizer, "pre_tokenizer": pre, "post_processor": post, "decoder": decoder, "model": model}).encode()

    def steps(*parts):
        return {"type": "Sequence", "pretokenizers": list(parts)}

    return [
        whole(bpe, dict(level, use_regex=True), {"type": "NFC"}, {"type": "ByteLevel"}, template),
        whole(bpe, steps(split, level), None, {"type": "ByteLevel"}, template),
        whole(dict(bpe, ignore_merges=True), steps({"type": "Digits", "individual_digits": True}, level)),
        whole(bpe, steps({"type": "Punctuation", "behavior": "Contiguous"}, dict(split, behavior="Removed", invert=True), level)),
        whole(sp, None, replace, decoder, template),
        whole(sp, meta, None, decoder),
        whole(unigram, meta, {"type": "Precompiled", "precompiled_charsmap": "AAAA"}, {"type": "Metaspace", "replacement": "\u2581"}),
        whole(piece, {"type": "BertPreTokenizer"}, {"type": "BertNormalizer", "lowercase": True}, {"type": "WordPiece", "prefix": "##"}, {"type": "BertProcessing", "sep": ["[SEP]", 1], "cls": ["[CLS]", 2]}),
        whole({"type": "WordLevel", "vocab": {"a": 0, "<unk>": 1}, "unk_token": "<unk>"}, {"type": "Whitespace"}, None, None, {"type": "RobertaProcessing", "sep": ["</s>", 0], "cls": ["<s>", 1]}),
    ]


# As fuzz_folder.c numbers them.
FOLDER_NAMES = ["model.safetensors.index.json", "model.safetensors", "m-1.safetensors", "m-2.safetensors", "config.json",
                "x-00001-of-00002.gguf", "x-00002-of-00002.gguf", "other.gguf", "pytorch_model.bin", "other.safetensors"]


def split_file(no, count, tensor, arch=None):
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    keys = text("split.no") + struct.pack("<IH", 2, no) + text("split.count") + struct.pack("<IH", 2, count) + text("split.tensors.count") + struct.pack("<Ii", 5, count)
    if arch:
        keys += text("general.architecture") + struct.pack("<I", 8) + text(arch)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 3 + bool(arch)) + keys + text(tensor) + struct.pack("<IQIQ", 1, 8, 0, 0)
    return head + bytes(-len(head) % 32 + 32)


def gguf_adapters():
    """LoRA adapters as llama.cpp writes them, of a few weights."""

    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    def string(key, value):
        return text(key) + struct.pack("<I", 8) + text(value)

    keys = [string("general.architecture", "llama"), string("general.type", "adapter"), string("adapter.type", "lora"), text("adapter.lora.alpha") + struct.pack("<If", 6, 8.0)]
    out = []
    for extra in ([], [text("adapter.alora.invocation_tokens") + struct.pack("<IIQII", 9, 4, 2, 1, 2)]):
        tensors, at = b"", 0
        for name, dims in [("blk.0.attn_q.weight.lora_a", [4, 2]), ("blk.0.attn_q.weight.lora_b", [2, 4]), ("token_embd.weight.lora_a", [2, 6]), ("token_embd.weight.lora_b", [4, 2])]:
            tensors += text(name) + struct.pack("<IQQIQ", 2, *dims, 0, at)
            at += (dims[0] * dims[1] * 4 + 31) // 32 * 32
        head = b"GGUF" + struct.pack("<IQQ", 3, 4, len(keys + extra)) + b"".join(keys + extra) + tensors
        out.append(head + bytes(-len(head) % 32 + at))
    return out


def pack_seeds(corpus):
    """Packs of tests/corpus_packs.py, as fuzz_pack.c puts them together; and some of its files whole."""
    sys.path.insert(0, os.path.join(ROOT, "tests"))
    import corpus_packs as c

    out = []
    for make in (c.plain, lambda: c.plain("rr"), c.shared, c.against_base):
        p = make()
        x = part(0, json.dumps(p.directory).encode())
        out.append(x + b"".join(part(1, c.content_of(f)) for _, f in p.frames))
        out.append(x + b"".join(part(3, struct.pack("<I", n) + f) for n, f in p.frames))
    for n in (1, c.CHUNK, 2 * c.CHUNK + 5):
        p = c.long_file("r" * -(-n // c.CHUNK), n)
        out.append(part(0, json.dumps(p.directory).encode()) + b"".join(part(2, struct.pack("<I", size)) for size, _ in p.frames))
    out.append(out[0] + part(4, struct.pack("<IB", 9, 3)))
    return out + [part(5, x) for x in files(corpus + "/pack/*.qpk", 3000)]


def huffman_block(weights, symbols):
    """The last block of a frame: literals in four streams, with this code (RFC 8878, 4.2.1)."""
    total = sum(1 << w - 1 for w in weights if w)
    log = total.bit_length()
    whole = weights + [((1 << log) - total).bit_length()]
    at, code = 0, {}
    for w in range(1, log + 1):
        for symbol in (i for i, x in enumerate(whole) if x == w):
            code[symbol] = (at >> w - 1, log + 1 - w)
            at += 1 << w - 1
    each, streams = -(-len(symbols) // 4), []
    for k in range(4):
        bits, n = 0, 0
        for symbol in reversed(symbols[k * each : (k + 1) * each]):
            value, length = code[symbol]
            bits |= value << n
            n += length
        streams.append((bits | 1 << n).to_bytes(n // 8 + 1, "little"))
    told = weights + [0] * (len(weights) % 2)
    tree = bytes([127 + len(weights)]) + bytes(a << 4 | b for a, b in zip(told[::2], told[1::2]))
    coded = tree + b"".join(struct.pack("<H", len(x)) for x in streams[:3]) + b"".join(streams)
    head = (2 | 3 << 2 | len(symbols) << 4 | len(coded) << 22).to_bytes(5, "little")
    block = head + coded + b"\0"
    return (1 | 2 << 1 | len(block) << 3).to_bytes(3, "little") + block


def literals_seeds():
    """Blocks of frames in the repository's packs, behind the size of their content; and some of every length of codes."""
    out = []
    for weights, n in (([5, 4, 3, 2, 1, 1], 4500), ([1], 9000), ([8, 7, 6, 5, 4, 3, 2, 1], 5000), ([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1], 4200), ([0, 3, 0, 2, 1], 4096), ([1] * 63, 4100)):
        present = [i for i, w in enumerate(weights) if w] + [len(weights)]
        symbols = [present[min(16 - (i * 40503 & 0xFFFF).bit_length(), len(present) - 1)] for i in range(n)]
        out.append(struct.pack("<I", n) + huffman_block(weights, symbols))
    for f in sorted(glob.glob(ROOT + "/tests/data/pocket/*.qpk")):
        for frame in read(f).split(b"\x28\xb5\x2f\xfd")[1:]:
            size = {0x24: 1, 0x64: 2, 0xA4: 4}.get(frame[0], 0) if frame else 0
            content = int.from_bytes(frame[1 : 1 + size], "little") + (256 if size == 2 else 0)
            blocks = frame[1 + size : -4]
            if size and content <= 65536 and len(blocks) <= 3500:
                out.append(struct.pack("<I", content) + blocks)
    return out


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
    if target in ("yaml", "map", "front_matter", "recipe", "merge"):
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
    if target == "manifest":
        text = read(ROOT + "/tests/test_manifest.c").decode()
        out = []
        for block in re.findall(r'(?:accepted|refused)\(\s*((?:(?:HEAD\b|"(?:[^"\\]|\\.)*")\s*)+)[,)]', text):
            parts = re.findall(r'HEAD\b|"(?:[^"\\]|\\.)*"', block)
            out.append("".join("version: 1\\njobs:\\n" if x == "HEAD" else x[1:-1] for x in parts).encode().decode("unicode_escape").encode())
        return out
    if target == "imatrix_dat":
        return files(corpus + "/imatrix/*.dat", 2048)
    if target == "imatrix_gguf":
        return files(corpus + "/imatrix/*.gguf") + files(corpus + "/gguf/*", 1024)
    if target == "tokenizer":
        return small_tokenizers() + [x[:2048] for x in files(tok + "/**/*.json", 1 << 20)] + files(ROOT + "/build/pocket/*/tokenizer.json", 2048)
    if target == "tokenizer_config":
        return files(tok + "/**/*config*.json", 1024) + files(ROOT + "/build/pocket/*/tokenizer_config.json", 1024)
    if target == "sentencepiece":
        return [x[:1024] for x in files(tok + "/**/*.model", 1 << 20)]
    if target == "adapter_config":
        adapters = json.loads(read(os.path.join(ROOT, "tests/data/convert/adapters.json")))["adapters"]
        return [json.dumps(a["config"]).encode() for a in adapters if "config" in a] + [
            b'{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"]%s}' % more
            for more in (b"", b',"init_lora_weights":"olora"', b',"init_lora_weights":"PiSSA_niter_4"', b',"init_lora_weights":true', b',"alora_invocation_string":"x"', b',"alora_invocation_tokens":[1]')]
    if target == "adapter":
        a = json.dumps({"m.q_proj.lora_A.weight": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]}, "m.q_proj.lora_B.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [32, 64]}}).encode()
        out = [part(0, b'{"peft_type":"LORA","r":2,"lora_alpha":8,"target_modules":["q_proj"]}') + part(1, struct.pack("<Q", len(a)) + a + bytes(64))]
        for m in json.loads(read(os.path.join(ROOT, "tests/data/convert/adapters.json")))["adapters"]:
            out.append(part(0, json.dumps(smaller(m["config"])).encode()) + part(1, small_safetensors(m["tensors"][:8])))
        # Names of other kinds, of whole tensors and of biases; files that are missing or are none.
        f32 = lambda tensors: small_safetensors([[name, "F32", ""] + shape for name, *shape in tensors])
        rest = ["m.lora_up.weight", "m.hada_w1_a", "m.lokr_w1", "m.lora_B.bias", "m.lora_A.bias.x.y", "m.modules_to_save.default.weight", "m.base_layer.weight", "m.lora_magnitude_vector"]
        for name in rest:
            pair = [("base_model.model.m.lora_A.weight", 2, 4), ("base_model.model.m.lora_B.default.weight", 4, 2), (name, 4)]
            out.append(part(0, b'{"peft_type":"LORA","r":2,"lora_alpha":8,"use_dora":%s,"lora_bias":true,"target_modules":["m"]}' % (b"true" if "magn" in name else b"false")) + part(1, f32(pair)))
        dora = b'{"peft_type":"LORA","r":2,"lora_alpha":8,"use_dora":%s,"target_modules":["m"]}'
        weights = [("m.lora_A.weight", 2, 4), ("m.lora_B.weight", 4, 2)]
        for more in ([], [("m.lora_magnitude_vector", 4)], [("m.lora_magnitude_vector", 3)], [("m.lora_magnitude_vector.weight", 4)], [("base_model.model.m.lora_A.weight", 2, 4)], [("m.lora_B.bias", 4)]):
            out += [part(0, dora % use) + part(1, f32(weights + more)) for use in (b"true", b"false")]
        out += [part(0, b"{}"), part(1, f32([("x", 2)])), part(0, b"{}") + part(3, b"PK"), part(3, b""), part(0, b"{}") + part(4, f32([("x", 2)])), part(0, b" {}") + part(3, b"")]
        return out + [part(2, x) for x in gguf_adapters() + files(corpus + "/gguf/ok*", 1024)]
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
    if target == "folder":
        out = []
        for d in sorted(glob.glob(corpus + "/index/*")):
            x = b""
            for f in sorted(glob.glob(d + "/*")):
                name = os.path.basename(f)
                if os.path.isfile(f) and os.path.getsize(f) < 1000 and name in FOLDER_NAMES:
                    x += part(FOLDER_NAMES.index(name), read(f))
            out.append(x)
        good = files(corpus + "/gguf/ok*", 600)
        out += [part(5, x) + part(6, x) for x in good] + [part(5, x) for x in good] + [part(7, x) for x in good[:5]]
        out += [part(1, x) for x in files(corpus + "/safetensors/ok*", 600)]
        out += [part(5, split_file(0, 2, "a", arch)) + part(6, split_file(1, 2, "b", "llama")) for arch in ("llama", "gpt2")]
        return out + [part(5, split_file(0, 2, "a")) + part(6, split_file(1, 2, "b")), part(5, split_file(0, 1, "a")), part(8, b"")]
    if target == "args":
        text = b"".join(files(ROOT + "/tests/cli/cases/*.sh", 1 << 20))
        lines = [line.split() for line in text.splitlines() if b"quern " in line or b"$QUERN" in line]
        return [bytes([i % 12]) + b"\n".join(words[1:])[:500] for i, words in enumerate(lines)]
    if target == "plan":
        out = [part(0, b"tQ4_K_M\nT.*=Q8_0\nkgeneral.name=str:x\n"), part(0, b"tCOPY\nOd\nsxxx\n"), part(0, b"tBF16\nfk\nallama\n"), part(0, b"tF8\nOs\n")]
        return out + [part(0, b"tQ8_0\nfr\n") + part(1, x) for x in files(corpus + "/gguf/ok*", 6000)]
    if target == "pack":
        return pack_seeds(corpus)
    if target == "literals":
        return literals_seeds()
    if target == "rows":
        return [bytes([d, how, what]) + bytes((i * 37 + d) % 256 for i in range(700)) for d in range(51) for how, what in ((0, 0), (1, 2), (2, 5), (128, 1), (160, 8))]
    if target == "rows_search":
        return [bytes([d, how, what]) + bytes((i * 37 + d) % 256 for i in range(600)) for d in range(7) for how in (0, 128) for what in (0, 1, 5, 33)]
    if target == "hub":
        ids, revisions = (b"a/b", b"m", b"x/y", b"../b"), (b"", b"main", b"v1", b"0a1", b"refs/pr/1", b"../x")
        return [i + b"\n" + r + b"\n" + text for i in ids for r in revisions for text in (b"0a1", b"v1\n", b"../../etc", b"a/b", b"")]
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
