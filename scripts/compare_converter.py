#!/usr/bin/env python3
"""compare_converter.py CHECKOUT [OPTIONS] - convert small models with quern and with llama.cpp's converter, and compare keys, tensors and bytes.

    scripts/compare_converter.py ~/llama.cpp                     all variants, type auto
    scripts/compare_converter.py ~/llama.cpp --only 'gemma.*'    those whose name matches
      --types auto,f16,f32,bf16,q8_0    types to convert to
      --keep DIR                        keep the models and quern's files there
      --record FILE                     write the models that are equal as tests/data/convert/variants.json has them
  --verbose                         also say what is equal, and why models are refused

CHECKOUT is llama.cpp's source. Needs the Python packages its converter needs; transformers 4.57 is what quern's defaults follow. QUERN names the program under test.
Models come from tests/data/convert and, of classes that transformers has, from their empty models; converter_variants.py changes them. Random vocabularies are in no
list of hashes: where the converter would stop for that, it is given the name that quern found.

A variant is equal (same bytes), refused (by both), lenient (the converter stops, quern does not), documented (it differs as docs/compatibility.md says) or
different. Exit status 1 when one is different.
"""
import argparse, contextlib, functools, hashlib, io, json, logging, os, re, shutil, struct, subprocess, sys, tempfile, warnings

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))
DATA = os.path.join(ROOT, "tests", "data", "convert")
MASKS = {"normal": {"BF16": (0x83FF, 0x3C00), "F16": (0x9FFF, 0x2000), "F32": (0x83FFFFFF, 0x3C000000)},
         "norm1": {"BF16": (0x007F, 0x3F80), "F16": (0x00FF, 0x3B80), "F32": (0x007FFFFF, 0x3F800000)},
         "e8m0": {"U8": (0x07, 0x78)}}
SIZES = {"BF16": 2, "F16": 2, "F32": 4, "U8": 1, "I64": 8}


# ---- making models

def values(seed, name, dtype, kind, shape):
    n = 1
    for d in shape:
        n *= d
    size = SIZES[dtype]
    raw = hashlib.shake_128(("quern-hf|%s|%s" % (seed, name)).encode()).digest(n * size) if n else b""
    if kind == "zero":
        return bytes(n * size)
    if n == 0 or dtype not in MASKS[kind]:
        return raw
    keep, force = (int.from_bytes(m.to_bytes(size, "little") * n, "little") for m in MASKS[kind][dtype])
    return (int.from_bytes(raw, "little") & keep | force).to_bytes(n * size, "little")


def write_safetensors(path, rows):
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, dtype, shape, data in rows:
        head[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(head, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(r[3] for r in rows))


def empty_model(config, dtype):
    """The tensors of transformers' own model of this configuration, as it would save them."""
    import torch, transformers
    kind = config["architectures"][0]
    known = transformers.AutoConfig.for_model(**{k: v for k, v in config.items() if k not in ("architectures", "torch_dtype", "dtype")})
    config.update((k, v) for k, v in json.loads(known.to_json_string(use_diff=True)).items() if k not in ("transformers_version", "dtype"))
    with torch.device("meta"):
        model = getattr(transformers, {"PhiMoEForCausalLM": "PhimoeForCausalLM"}.get(kind, kind))(known)
    seen, rows = {}, []
    for name, t in model.state_dict(keep_vars=True).items():
        if id(t) not in seen:
            seen[id(t)] = name
            rows.append([name, "F32" if t.dtype == torch.float32 and dtype == "F32" else dtype, "norm1" if "norm" in name and name.endswith("weight") else "normal"] + list(t.shape))
    return rows


def make_loadable(where):
    """The tokenizers and transformers packages want more than the converter alone: no gaps between ids of added tokens, ids of the tokens that a template names."""
    path = os.path.join(where, "tokenizer.json")
    if os.path.exists(path):
        with open(path) as f:
            root = json.load(f)
        added = root.get("added_tokens") or []
        vocab = root["model"]["vocab"]
        taken = {t["id"] for t in added} | (set(vocab.values()) if isinstance(vocab, dict) else set(range(len(vocab))))
        added += [{"id": i, "content": "<|gap%d|>" % i, "special": True, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
                  for i in range(max(taken)) if i not in taken]
        root["added_tokens"] = sorted(added, key=lambda t: t["id"])
        ids = {t["content"]: t["id"] for t in added}
        processor = root.get("post_processor") or {}
        for p in processor.get("processors", [processor]):
            if p.get("type") == "TemplateProcessing" and not p.get("special_tokens"):
                names = {piece["SpecialToken"]["id"] for piece in p["single"] + p["pair"] if "SpecialToken" in piece}
                p["special_tokens"] = {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in sorted(names) if n in ids}
        with open(path, "w") as f:
            json.dump(root, f, ensure_ascii=False)
    path = os.path.join(where, "tokenizer_config.json")
    if os.path.exists(path):
        with open(path) as f:
            root = json.load(f)
        for key, token in root.items():
            if key.endswith("_token") and isinstance(token, dict):
                token["__type"] = "AddedToken"
        with open(path, "w") as f:
            json.dump(root, f, ensure_ascii=False)


def fields(data):
    """(number, start, body, end) of the fields of a protobuf message."""
    def varint(at):
        v = shift = 0
        while True:
            v |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return v, at
    at = 0
    while at < len(data):
        start = at
        tag, at = varint(at)
        if tag & 7 == 2:
            n, at = varint(at)
            body, at = at, at + n
        elif tag & 7 == 0:
            body, (_, at) = at, varint(at)
        else:
            body, at = at, at + (8 if tag & 7 == 1 else 4)
        yield tag >> 3, start, body, at


def varint(n):
    return bytes([n & 127 | 128]) + varint(n >> 7) if n > 127 else bytes([n])


def replace_field(data, number, made):
    """The message with another body for a field of bytes."""
    for n, start, body, end in fields(data):
        if n == number:
            new = made(data[body:end])
            return data[:start] + varint(number << 3 | 2) + varint(len(new)) + new + data[end:]
    return data


def make_normalizer_loadable(path):
    """sentencepiece wants a character map in its own format; ours are any bytes."""
    if not os.path.exists(path):
        return
    with open(path, "rb") as f:
        data = f.read()
    with open(path, "wb") as f:
        f.write(replace_field(data, 3, lambda spec: replace_field(spec, 2, lambda _: character_map())))


@functools.cache
def character_map():
    import sentencepiece
    out = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("41\t61\n")
        rules.flush()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(["a b c d"] * 9), model_writer=out, vocab_size=8, hard_vocab_limit=False, normalization_rule_tsv=rules.name,
                                                 minloglevel=2)
    data = out.getvalue()
    spec = next(data[body:end] for n, _, body, end in fields(data) if n == 3)
    return next(spec[body:end] for n, _, body, end in fields(spec) if n == 2)


def write_model(spec, parent, loadable=True):
    where = os.path.join(parent, spec["dir"])
    if os.path.isdir(where):
        shutil.rmtree(where)
    os.makedirs(where)
    if spec.get("tok"):
        source = os.path.join(DATA, "tok", spec["tok"])
        for name in os.listdir(source):
            if name not in ("config.json", "expected.txt"):
                shutil.copy(os.path.join(source, name), where)
    files = dict(spec.get("files", {}))
    files["config.json"] = spec["config"]
    for name, content in files.items():
        path = os.path.join(where, name)
        if content is None:
            if os.path.exists(path):
                os.unlink(path)
            continue
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = content if isinstance(content, bytes) else (content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)).encode()
        with open(path, "wb") as f:
            f.write(data)
    for name, change in spec.get("edit", {}).items(): # a function of the parsed file, or a dictionary laid over it
        path = os.path.join(where, name)
        if not os.path.exists(path):
            continue
        with open(path) as f:
            old = json.load(f)
        new = change(old) if callable(change) else {k: v for k, v in {**old, **change}.items() if v is not ABSENT}
        with open(path, "w") as f:
            json.dump(old if new is None else new, f, ensure_ascii=False)
    if loadable:
        make_loadable(where)
        for name in ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model"):
            make_normalizer_loadable(os.path.join(where, name))
    rows = [[r[0], r[1], r[3:], values(spec["seed"], r[0], r[1], r[2], r[3:])] for r in spec["tensors"]]
    shards = spec.get("shards", 1)
    if shards == 1:
        write_safetensors(os.path.join(where, "model.safetensors"), rows)
        return where
    each, index = -(-len(rows) // shards), {}
    for i in range(shards):
        name = "model-%05d-of-%05d.safetensors" % (i + 1, shards)
        write_safetensors(os.path.join(where, name), rows[i * each:(i + 1) * each])
        index.update((r[0], name) for r in rows[i * each:(i + 1) * each])
    with open(os.path.join(where, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {}, "weight_map": index}, f)
    return where


# ---- reading GGUF

def read_gguf(path):
    with open(path, "rb") as f:
        data = f.read()
    at = [4]

    def number(kind):
        v, = struct.unpack_from("<" + kind, data, at[0])
        at[0] += struct.calcsize("<" + kind)
        return v

    def text():
        n = number("Q")
        at[0] += n
        return data[at[0] - n:at[0]].decode("utf-8", "backslashreplace")

    def value(kind):
        if kind == 8:
            return text()
        if kind == 9:
            inner, n = number("I"), number("Q")
            return (inner, [value(inner) for _ in range(n)])
        return number("BbHhIif?  QqdQ"[kind] if kind < 8 else {10: "Q", 11: "q", 12: "d"}[kind])
    number("I")
    n_tensors, n_keys = number("Q"), number("Q")
    keys, tensors = [], []
    for _ in range(n_keys):
        name, kind = text(), number("I")
        keys.append((name, kind, value(kind)))
    for _ in range(n_tensors):
        name, dims = text(), number("I")
        shape = [number("Q") for _ in range(dims)]
        tensors.append((name, number("I"), shape, number("Q")))
    start = at[0] + (-at[0] % 32)
    ends = sorted(t[3] for t in tensors[1:]) + [len(data) - start]
    tensors = [(n, kind, shape, hashlib.sha256(data[start + off:start + min(e for e in ends if e > off or e == ends[-1])]).hexdigest()) for n, kind, shape, off in tensors]
    return keys, tensors


def short(v):
    s = repr(v)
    return s if len(s) < 100 else s[:70] + "... " + hashlib.sha256(s.encode()).hexdigest()[:8]


def first_difference(a, b):
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a[1]) == len(b[1]):
        at = next((i for i in range(len(a[1])) if a[1][i] != b[1][i]), 0)
        return "[%d] %s, not %s" % (at, short(a[1][at] if a[1] else a), short(b[1][at] if b[1] else b))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return "%d items, not %d" % (len(a[1]), len(b[1]))
    return "%s, not %s" % (short(a), short(b))


def differences(ours, theirs):
    out = []
    (ka, ta), (kb, tb) = read_gguf(ours), read_gguf(theirs)
    da, db = {k[0]: k for k in ka}, {k[0]: k for k in kb}
    out += ["key %s = %s is not there" % (k, short(db[k][2])) for k in db if k not in da]
    out += ["key %s = %s is too much" % (k, short(da[k][2])) for k in da if k not in db]
    out += ["key %s is %s" % (k, first_difference(da[k][2], db[k][2])) for k in da if k in db and da[k] != db[k]]
    if not out and [k[0] for k in ka] != [k[0] for k in kb]:
        at = next(i for i in range(len(ka)) if ka[i][0] != kb[i][0])
        out.append("order of keys: %s, not %s" % (ka[at][0], kb[at][0]))
    da, db = {t[0]: t for t in ta}, {t[0]: t for t in tb}
    out += ["tensor %s is not there" % t for t in db if t not in da]
    out += ["tensor %s is too much" % t for t in da if t not in db]
    out += ["tensor %s has type %s, shape %s, not %s, %s" % (t, da[t][1], da[t][2], db[t][1], db[t][2]) for t in da if t in db and da[t][1:3] != db[t][1:3]]
    out += ["tensor %s has other values" % t for t in da if t in db and da[t][1:3] == db[t][1:3] and da[t][3] != db[t][3]]
    if not out and [t[0] for t in ta] != [t[0] for t in tb]:
        at = next(i for i in range(len(ta)) if ta[i][0] != tb[i][0])
        out.append("order of tensors: %s, not %s" % (ta[at][0], tb[at][0]))
    return out or ["bytes"]


# ---- the two programs

class Converter:
    def __init__(self, checkout):
        os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
        sys.path[:0] = [checkout, os.path.join(checkout, "gguf-py")]
        warnings.filterwarnings("ignore")
        logging.disable(logging.WARNING)
        import convert_hf_to_gguf
        from conversion import base
        self.main, self.pre = convert_hf_to_gguf.main, None
        known = base.TextModel.get_vocab_base_pre

        def pre(model, tokenizer):
            try:
                return known(model, tokenizer)
            except NotImplementedError:
                if not self.pre:
                    raise
                return self.pre
        base.TextModel.get_vocab_base_pre = pre

    def run(self, model, out, kind, pre, options):
        self.pre, sys.argv = pre, ["convert_hf_to_gguf.py", model, "--outfile", out, "--outtype", kind] + options
        if os.path.exists(out):
            os.unlink(out)
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                self.main()
        except BaseException as e: # the tokenizers package panics with one of its own
            if isinstance(e, KeyboardInterrupt):
                raise
            return "%s: %s" % (type(e).__name__, str(e).replace("\n", " ")[:160])
        return None if os.path.exists(out) else "no file"


def run_quern(model, out, kind, options):
    if os.path.exists(out):
        os.unlink(out)
    done = subprocess.run([QUERN, "convert", model, out, "-t", kind, "--force"] + options, capture_output=True, text=True)
    return None if done.returncode == 0 else "exit %d: %s" % (done.returncode, done.stderr.strip().replace("\n", " ")[:300])


def compare(converter, model, work, kind, options):
    ours, theirs = os.path.join(work, "ours.gguf"), os.path.join(work, "theirs.gguf")
    refused = run_quern(model, ours, kind, options)
    pre = None
    if not refused:
        pre = next((k[2] for k in read_gguf(ours)[0] if k[0] == "tokenizer.ggml.pre"), None)
    stopped = converter.run(model, theirs, kind, pre or "default", options)
    if refused and stopped:
        return "refused", ["quern: " + refused, "converter: " + stopped]
    if stopped:
        return "lenient", ["converter: " + stopped]
    if refused:
        return "different", ["quern: " + refused]
    with open(ours, "rb") as a, open(theirs, "rb") as b:
        if a.read() == b.read():
            return "equal", []
    notes = differences(ours, theirs)
    return ("different" if any(not re.search(KNOWN, n) for n in notes) else "documented"), notes


def recorded(spec, work, kind):
    """The model as tests/data/convert has them, with the digest of what quern writes."""
    model, out = write_model(spec, work, loadable=False), os.path.join(work, "ours.gguf")
    if run_quern(model, out, kind, []):
        return None
    with open(out, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    return {"name": spec["name"], "dir": spec["dir"], "seed": spec["seed"], "tok": spec["tok"], "shards": 1, "config": spec["config"], "files": spec.get("files", {}),
            "tensors": spec["tensors"], "sha256": {kind: digest}}


def read_bases():
    bases = {}
    for file in ("golden.json", "architectures.json"):
        with open(os.path.join(DATA, file)) as f:
            for m in json.load(f)["models"]:
                plain = m["name"].removeprefix("arch-")
                bases[m["name"] if plain in bases else plain] = m
    return bases


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("checkout")
    parser.add_argument("--only", default="")
    parser.add_argument("--types", default="auto")
    parser.add_argument("--keep")
    parser.add_argument("--record")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    converter = Converter(os.path.abspath(args.checkout))
    bases, counts, records = read_bases(), {}, []
    # transformers takes the name of a model type anywhere in the path for the model's own.
    work = os.path.join(tempfile.gettempdir(), "quern-%d" % os.getpid())
    os.makedirs(work)
    try:
        for variant in all_variants(bases):
            if not re.fullmatch(args.only or ".*", variant["name"]):
                continue
            if variant.pop("empty", False):
                variant["tensors"] = empty_model(variant["config"], variant.get("dtype", "BF16"))
            model = write_model(variant, os.path.join(args.keep, variant["name"].replace("/", "_")) if args.keep else work)
            for kind in args.types.split(","):
                verdict, notes = compare(converter, model, work, kind, variant.get("options", []))
                counts[verdict] = counts.get(verdict, 0) + 1
                if args.record and verdict == "equal":
                    records.append(recorded(variant, work, kind))
                if args.keep and os.path.exists(os.path.join(work, "ours.gguf")):
                    shutil.copy(os.path.join(work, "ours.gguf"), os.path.join(os.path.dirname(model), kind + ".gguf"))
                if verdict == "different" or args.verbose:
                    print("%s %s: %s" % (variant["name"], kind, verdict), flush=True)
                    for n in notes[:12]:
                        print("    " + n, flush=True)
            if not args.keep:
                shutil.rmtree(model)
    finally:
        shutil.rmtree(work)
    if args.record:
        with open(args.record, "w") as f:
            f.write('{"models":[\n' + ",\n".join(json.dumps(r, separators=(",", ":")) for r in records if r) + "\n]}\n")
    print(", ".join("%d %s" % (n, v) for v, n in sorted(counts.items())))
    return 1 if counts.get("different") else 0


from converter_variants import ABSENT, KNOWN, all_variants

if __name__ == "__main__":
    sys.exit(main())
