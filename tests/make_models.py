#!/usr/bin/env python3
"""make_models.py DIR - write the small models the command-line tests run on. Standard library only.

The same bytes on every machine and Python version (the weights come from SHAKE-128 streams). A finished set leaves
DIR/.stamp with the hash of this file, so a second call does nothing until this file changes.

  dense-{f32,f16,bf16}.gguf   llama, 2 layers, grouped-query attention, untied output, every row a multiple of 256
  dense-{b,c}.gguf            two fine-tunes of dense-bf16.gguf
  split-0000N-of-00003.gguf   dense-f16.gguf in three parts
  ragged.gguf                 rows of 40 and 96: no whole blocks of 32, or none of 256
  unknown-arch.gguf           an architecture nobody knows
  align64.gguf                general.alignment = 64
  nan.gguf inf.safetensors    one bad weight each
  deep.gguf                   four layers of two matrices, with a key that has a value for each layer
  moe.gguf                    two layers of four experts
  {dense,deep,moe}.imatrix.{gguf,dat}  their importance matrices; moe-flat.imatrix.gguf has one count for all experts
  wrong.imatrix.dat           an entry of another size than its weight
  hf hf-b hf-c                Hugging Face directory of three shards with index, and two fine-tunes (one file each)
  hub/                        hf-b as it lies in a hub cache: snapshots/REV/ with links into blobs/
  hf-shape                    hf-b with one tensor of another shape
  packed-fp8 packed-nvfp4     the same shapes with matrices of random codes and scales, in blocks and in NVFP4
  packed-awq packed-int4      likewise in AWQ, and in 4 bits as compressed-tensors packs them
  lora lora-dora              adapters of hf: attention and a whole norm; DoRA of one matrix
  lora.gguf                   the first of them for dense-*.gguf, without the norm
  mixed.safetensors           every plain type, scalars, empty tensors
  names.safetensors           odd tensor names
  wide-{base,a,b}.safetensors a few tensors of millions of weights, for many tiles
  dense.imatrix.{gguf,dat}    importance of every layer matrix of dense-*.gguf, and what an older run collected
  odd.imatrix.gguf            importance with all that lint finds
  bad/                        files that are not what their name says
"""
import array, functools, hashlib, json, os, shutil, struct, sys

GGUF_TYPE = {"F32": 0, "F16": 1, "BF16": 30}
FILE_TYPE = {"F32": 0, "F16": 1, "BF16": 32}
VOCAB, EMBD, FF, LAYERS, HEADS, KV_HEADS = 320, 256, 512, 2, 4, 2


# ---- weights

def uniform(tag, n):
    """n integers, sums of two uniform 16-bit numbers: 0 .. 131070, mean 65535."""
    a, b = array.array("H"), array.array("H")
    a.frombytes(hashlib.shake_128(("quern-test|%s|0" % tag).encode()).digest(2 * n))
    b.frombytes(hashlib.shake_128(("quern-test|%s|1" % tag).encode()).digest(2 * n))
    if sys.byteorder != "little":
        a.byteswap(), b.byteswap()
    return [x + y for x, y in zip(a, b)]


@functools.lru_cache(None)
def weights(tag, n, scale, mean=0.0):
    return [mean + (x - 65535) * (scale / 32768) for x in uniform(tag, n)]


def pack(values, dtype):
    if dtype == "F32":
        return struct.pack("<%df" % len(values), *values)
    if dtype == "F16":
        return struct.pack("<%de" % len(values), *values)
    assert dtype == "BF16"
    words = array.array("I")
    words.frombytes(struct.pack("=%df" % len(values), *values))
    # Round to nearest even.
    return struct.pack("<%dH" % len(values), *[(w + 0x7FFF + (w >> 16 & 1)) >> 16 for w in words])


def llama(tag, hf):
    """[(name, shape, values)] of the dense test model, in the order its format usually has."""
    def block(i):
        g, h = "blk.%d." % i, "model.layers.%d." % i
        kv = EMBD // HEADS * KV_HEADS
        return [(g + "attn_norm", h + "input_layernorm", (EMBD,)), (g + "ffn_down", h + "mlp.down_proj", (EMBD, FF)),
                (g + "ffn_gate", h + "mlp.gate_proj", (FF, EMBD)), (g + "ffn_up", h + "mlp.up_proj", (FF, EMBD)),
                (g + "ffn_norm", h + "post_attention_layernorm", (EMBD,)), (g + "attn_k", h + "self_attn.k_proj", (kv, EMBD)),
                (g + "attn_output", h + "self_attn.o_proj", (EMBD, EMBD)), (g + "attn_q", h + "self_attn.q_proj", (EMBD, EMBD)),
                (g + "attn_v", h + "self_attn.v_proj", (kv, EMBD))]

    parts = [("output", "lm_head", (VOCAB, EMBD)), ("token_embd", "model.embed_tokens", (VOCAB, EMBD))]
    for i in range(LAYERS):
        parts += block(i)
    parts.append(("output_norm", "model.norm", (EMBD,)))
    out = []
    for g, h, shape in parts:
        n = shape[0] * (shape[1] if len(shape) == 2 else 1)
        if len(shape) == 1:
            v = weights("base|" + h, n, 0.05, 1.0)
        else:
            v = weights("base|" + h, n, 0.04)
        if tag != "base":
            v = [x + d for x, d in zip(v, weights("%s|%s" % (tag, h), n, 0.004))]
        out.append(((h if hf else g) + ".weight", shape, v))
    return out


# ---- GGUF

def text(x):
    x = x.encode() if isinstance(x, str) else x
    return struct.pack("<Q", len(x)) + x


def kv(key, kind, value):
    fixed = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?"), "u64": (10, "<Q"), "u16": (2, "<H")}
    if kind in fixed:
        return text(key) + struct.pack("<I", fixed[kind][0]) + struct.pack(fixed[kind][1], value)
    if kind == "str":
        return text(key) + struct.pack("<I", 8) + text(value)
    if kind == "arr[str]":
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(v) for v in value)
    number, form = fixed[kind[4:-1]]
    return text(key) + struct.pack("<IIQ", 9, number, len(value)) + b"".join(struct.pack(form, v) for v in value)


def gguf_keys(dtype, arch="llama"):
    return [("general.architecture", "str", arch), ("general.name", "str", "quern test model"),
            ("general.file_type", "u32", FILE_TYPE[dtype]), (arch + ".block_count", "u32", LAYERS),
            (arch + ".context_length", "u32", 128), (arch + ".embedding_length", "u32", EMBD),
            (arch + ".feed_forward_length", "u32", FF), (arch + ".attention.head_count", "u32", HEADS),
            (arch + ".attention.head_count_kv", "u32", KV_HEADS), (arch + ".attention.layer_norm_rms_epsilon", "f32", 1e-5),
            (arch + ".rope.dimension_count", "u32", EMBD // HEADS), (arch + ".vocab_size", "u32", VOCAB),
            ("tokenizer.ggml.model", "str", "gpt2"), ("tokenizer.ggml.pre", "str", "default"),
            ("tokenizer.ggml.tokens", "arr[str]", ["<%d>" % i for i in range(VOCAB)]),
            ("tokenizer.ggml.token_type", "arr[i32]", [1] * VOCAB), ("tokenizer.ggml.merges", "arr[str]", ["< 0", "< 1"])]


def gguf(path, keys, tensors, align=32):
    """tensors: [(name, shape outermost first, dtype, bytes)]"""
    head = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(keys)) + b"".join(kv(*k) for k in keys)
    at, data = 0, []
    for name, shape, dtype, raw in tensors:
        head += text(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape))
        head += struct.pack("<IQ", GGUF_TYPE[dtype], at)
        raw += bytes(-len(raw) % align)
        data.append(raw)
        at += len(raw)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % align) + b"".join(data))


def gguf_tensors(parts, dtype):
    # Norms stay F32, as converters write them.
    return [(n, s, t, pack(v, t)) for n, s, v in parts for t in ["F32" if len(s) == 1 else dtype]]


def gguf_models(out):
    base = llama("base", hf=False)
    for dtype in ("F32", "F16", "BF16"):
        gguf(out("dense-%s.gguf" % dtype.lower()), gguf_keys(dtype), gguf_tensors(base, dtype))
    for tag in "bc":
        gguf(out("dense-%s.gguf" % tag), gguf_keys("BF16"), gguf_tensors(llama(tag, hf=False), "BF16"))

    tensors = gguf_tensors(base, "F16")
    cuts = [0, 5, 12, len(tensors)]
    for i in range(3):
        split = [("split.no", "u16", i), ("split.count", "u16", 3), ("split.tensors.count", "i32", len(tensors))]
        gguf(out("split-%05d-of-00003.gguf" % (i + 1)), (gguf_keys("F16") if i == 0 else []) + split,
             tensors[cuts[i]:cuts[i + 1]])

    ragged = [("token_embd.weight", (8, 256), weights("ragged|e", 2048, 0.1)), ("blk.0.ffn_down.weight", (8, 96), weights("ragged|d", 768, 0.1)),
              ("blk.0.attn_k.weight", (8, 40), weights("ragged|k", 320, 0.1)), ("blk.0.conv.weight", (4, 3, 64), weights("ragged|c", 768, 0.1))]
    gguf(out("ragged.gguf"), [("general.architecture", "str", "llama"), ("llama.block_count", "u32", 1)], gguf_tensors(ragged, "F16"))
    gguf(out("unknown-arch.gguf"), gguf_keys("F16", "zzz-new"), gguf_tensors(base[:4], "F16"))
    gguf(out("align64.gguf"), [("general.architecture", "str", "llama"), ("general.alignment", "u32", 64)], gguf_tensors(base[2:8], "F16"), 64)
    bad = [(n, s, list(v)) for n, s, v in base[:4]]
    bad[1][2][1000] = float("nan")
    bad[3][2][5] = float("inf")
    gguf(out("nan.gguf"), gguf_keys("F32"), gguf_tensors(bad, "F32"))


def imatrix_gguf(path, entries, datasets=("calibration.txt",)):
    """entries: [(name, values, counts)], as llama-imatrix writes them"""
    chunks = int(max(c for _, _, counts in entries for c in counts if c == c)) // 512
    keys = [("general.type", "str", "imatrix"), ("imatrix.datasets", "arr[str]", list(datasets)), ("imatrix.chunk_count", "u32", chunks), ("imatrix.chunk_size", "u32", 512)]
    tensors = []
    for name, values, counts in sorted(entries):
        n = len(counts)
        for suffix, shape, v in ((".in_sum2", (len(values) // n,), values), (".counts", (1,), counts)):
            tensors.append((name + suffix, (n,) * (n > 1) + shape, "F32", pack(v, "F32")))
    gguf(path, keys, tensors)


def imatrices(out):
    entries = [(n, [abs(v) * 100 for v in weights("imatrix|" + n, s[1], 40)], [4096]) for n, s, _ in llama("base", hf=False) if len(s) == 2 and n.startswith("blk.")]
    imatrix_gguf(out("dense.imatrix.gguf"), entries)
    with open(out("dense.imatrix.dat"), "wb") as f:
        rows = entries[:9]
        f.write(struct.pack("<i", len(rows)))
        for name, values, _ in rows:
            f.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 5, len(values)) + pack([v / 1000 for v in values], "F32"))
        f.write(struct.pack("<ii", 5, 7) + b"old.txt")
    odd = [e for e in entries if "attn_v" not in e[0]]
    odd[0] = (odd[0][0], [float("nan"), -1] + odd[0][1][2:], [4096])
    odd[1] = (odd[1][0], odd[1][1][:128], [4096])
    odd[2] = (odd[2][0], odd[2][1], [0])
    odd[3] = (odd[3][0], [0] * len(odd[3][1]), [4096])
    odd.append(("blk.7.ffn_up_exps.weight", list(range(32)), [512, 0, 7, 0]))
    imatrix_gguf(out("odd.imatrix.gguf"), odd, ())
def matrices(parts):
    """[(name, matrices, columns)] of the weights that an importance matrix has entries for"""
    return [(n, s[0] if len(s) == 3 else 1, s[-1]) for n, s, _ in parts if n.startswith("blk.") and len(s) > 1]


def imatrix_values(name, n):
    return [(x / 65535.0) ** 2 + 0.0001 for x in uniform("im|" + name, n)]


def weighed_gguf(path, entries, flat=False):
    tensors = []
    for name, nmats, ncols in entries:
        if flat:
            nmats, ncols = 1, nmats * ncols
        counts = [float(512 * (i + 1)) for i in range(nmats)]
        sums = [v * counts[i // ncols] for i, v in enumerate(imatrix_values(name, nmats * ncols))]
        tensors.append((name + ".in_sum2", (nmats, ncols), "F32", pack(sums, "F32")))
        tensors.append((name + ".counts", (nmats, 1), "F32", pack(counts, "F32")))
    gguf(path, [("general.type", "str", "imatrix"), ("imatrix.datasets", "arr[str]", ["some-text.txt"]), ("imatrix.chunk_count", "u32", 7),
                ("imatrix.chunk_size", "u32", 512)], tensors)


def weighed_dat(path, entries):
    data = struct.pack("<i", len(entries))
    for name, nmats, ncols in entries:
        n = nmats * ncols
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii%df" % n, 4, n, *[4 * v for v in imatrix_values(name, n)])
    with open(path, "wb") as f:
        f.write(data + struct.pack("<ii", 7, 13) + b"some-text.txt")


def weighed_models(out):
    deep = [("output.weight", (64, 256), weights("deep|o", 64 * 256, 0.05)), ("token_embd.weight", (64, 256), weights("deep|e", 64 * 256, 0.05))]
    for i in range(4):
        for part in ("attn_v", "ffn_down"):
            name = "blk.%d.%s.weight" % (i, part)
            deep.append((name, (64, 256), weights("deep|" + name, 64 * 256, 0.05)))
    keys = [("general.architecture", "str", "llama"), ("llama.block_count", "u32", 4), ("llama.attention.head_count", "u32", 4),
            ("llama.attention.head_count_kv", "arr[u32]", [1, 2, 4, 4]), ("llama.rope.dimension_sections", "arr[u32]", [1, 2, 3, 4])]
    gguf(out("deep.gguf"), keys, gguf_tensors(deep, "F16"))

    moe = deep[:2]
    for i in range(2):
        for part in ("gate", "up", "down"):
            name = "blk.%d.ffn_%s_exps.weight" % (i, part)
            moe.append((name, (4, 16, 256), weights("moe|" + name, 4 * 16 * 256, 0.05)))
    keys = [("general.architecture", "str", "llama"), ("llama.block_count", "u32", 2), ("llama.expert_count", "u32", 4), ("llama.expert_used_count", "u32", 2)]
    gguf(out("moe.gguf"), keys, gguf_tensors(moe, "F16"))

    for name, parts in (("weighed", llama("base", hf=False)), ("deep", deep), ("moe", moe)):
        weighed_gguf(out(name + ".imatrix.gguf"), matrices(parts))
        weighed_dat(out(name + ".imatrix.dat"), matrices(parts))
    weighed_gguf(out("moe-flat.imatrix.gguf"), matrices(moe), flat=True)
    weighed_dat(out("wrong.imatrix.dat"), [("blk.0.attn_v.weight", 1, 255)])


# ---- safetensors and Hugging Face directories

ST_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "U16": 2, "U32": 4, "U64": 8, "BOOL": 1,
            "F8_E4M3": 1, "F8_E5M2": 1}


def safetensors(path, tensors, metadata=None):
    """tensors: [(name, shape, dtype, bytes)]"""
    header, at = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, shape, dtype, raw in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(raw)]}
        at += len(raw)
    head = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head + b"".join(t[3] for t in tensors))


def hf_side_files(where):
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": EMBD, "intermediate_size": FF,
              "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "vocab_size": VOCAB,
              "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "hidden_act": "silu",
              "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    tokens = {"<%d>" % i: i for i in range(VOCAB)}
    tokenizer = {"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": tokens, "merges": []}}
    with open(os.path.join(where, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    with open(os.path.join(where, "tokenizer.json"), "w") as f:
        json.dump(tokenizer, f)
    with open(os.path.join(where, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128}, f)
    with open(os.path.join(where, "generation_config.json"), "w") as f:
        json.dump({"do_sample": False}, f)


def lora_parts(tag, rank, names):
    """[(module, A, B)] of the named matrices, A and B as (shape, values)."""
    shapes = {n[:-7]: s for n, s, _ in llama("base", hf=True) if len(s) == 2}
    return [(n, ((rank, shapes[n][1]), weights("%s|A|%s" % (tag, n), rank * shapes[n][1], 0.05)),
             ((shapes[n][0], rank), weights("%s|B|%s" % (tag, n), rank * shapes[n][0], 0.05))) for n in names]


def peft(where, parts, more, **config):
    tensors = list(more)
    for name, (sa, a), (sb, b) in parts:
        tensors += [("base_model.model.%s.lora_A.weight" % name, sa, "F32", pack(a, "F32")),
                    ("base_model.model.%s.lora_B.weight" % name, sb, "F32", pack(b, "F32"))]
    os.mkdir(where)
    safetensors(os.path.join(where, "adapter_model.safetensors"), sorted(tensors), {"format": "pt"})
    with open(os.path.join(where, "adapter_config.json"), "w") as f:
        json.dump({"peft_type": "LORA", "base_model_name_or_path": "acme/tiny", **config}, f, indent=2)


def lora_models(out):
    parts = lora_parts("lora", 4, ["model.layers.%d.self_attn.%s_proj" % (i, m) for i in range(LAYERS) for m in "qkv"])
    norm = ("base_model.model.model.norm.weight", (EMBD,), "F32", pack(weights("lora|norm", EMBD, 0.05, 1.0), "F32"))
    peft(out("lora"), parts, [norm], r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj"], modules_to_save=["norm"])
    down = "model.layers.1.mlp.down_proj"
    length = ("base_model.model.%s.lora_magnitude_vector" % down, (EMBD,), "F32", pack(weights("lora|m", EMBD, 0.05, 0.7), "F32"))
    peft(out("lora-dora"), lora_parts("dora", 2, [down]), [length], r=2, lora_alpha=2, use_dora=True, target_modules=["down_proj"])
    tensors = []
    for name, (sa, a), (sb, b) in parts:
        words = name.split(".")
        stem = "blk.%s.attn_%s.weight" % (words[2], words[4][0])
        tensors += [(stem + ".lora_a", sa, "F32", pack(a, "F32")), (stem + ".lora_b", sb, "F32", pack(b, "F32"))]
    gguf(out("lora.gguf"), [("general.architecture", "str", "llama"), ("general.type", "str", "adapter"), ("adapter.type", "str", "lora"),
                            ("adapter.lora.alpha", "f32", 8.0)], tensors)


def hf_models(out):
    for tag, name in (("base", "hf"), ("b", "hf-b"), ("c", "hf-c")):
        tensors = sorted((n, s, "BF16", pack(v, "BF16")) for n, s, v in llama(tag, hf=True))
        os.mkdir(out(name))
        hf_side_files(out(name))
        if tag != "base":
            safetensors(out(name, "model.safetensors"), tensors, {"format": "pt"})
            continue
        cuts, where = [0, 6, 13, len(tensors)], {}
        for i in range(3):
            shard = "model-%05d-of-00003.safetensors" % (i + 1)
            safetensors(out(name, shard), tensors[cuts[i]:cuts[i + 1]], {"format": "pt"})
            where.update((t[0], shard) for t in tensors[cuts[i]:cuts[i + 1]])
        with open(out(name, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {"total_size": sum(len(t[3]) for t in tensors)}, "weight_map": where}, f, indent=2)

    # The hub cache: every file of a snapshot is a relative link to a blob named by a hash.
    repo, revision = out("hub", "models--acme--tiny"), "0123456789abcdef0123456789abcdef01234567"
    snapshot = os.path.join(repo, "snapshots", revision)
    for d in ("blobs", "refs"):
        os.makedirs(os.path.join(repo, d))
    os.makedirs(snapshot)
    with open(os.path.join(repo, "refs", "main"), "w") as f:
        f.write(revision)
    for name in sorted(os.listdir(out("hf-b"))):
        with open(out("hf-b", name), "rb") as f:
            blob = hashlib.sha256(f.read()).hexdigest()
        shutil.copyfile(out("hf-b", name), os.path.join(repo, "blobs", blob))
        os.symlink(os.path.join("..", "..", "blobs", blob), os.path.join(snapshot, name))

    lora_models(out)

    shaped = [(n, s, "BF16", pack(v, "BF16")) for n, s, v in llama("b", hf=True)]
    i = [t[0] for t in shaped].index("model.layers.1.mlp.up_proj.weight")
    shaped[i] = (shaped[i][0], (FF, EMBD // 2), "BF16", shaped[i][3][:len(shaped[i][3]) // 2])
    os.mkdir(out("hf-shape"))
    hf_side_files(out("hf-shape"))
    safetensors(out("hf-shape", "model.safetensors"), sorted(shaped))


def packed_models(out):
    def codes(tag, n, keep=255):
        return bytes(b & keep for b in hashlib.shake_128(("quern-test|" + tag).encode()).digest(n))

    def fp8(name, rows, cols):
        scales = (-(-rows // 96), -(-cols // 96))
        return [(name, (rows, cols), "F8_E4M3", codes(name, rows * cols, 0xbf)),
                (name + "_scale_inv", scales, "F32", pack(weights(name + "|s", scales[0] * scales[1], 0.001, 0.02), "F32"))]

    def nvfp4(name, rows, cols):
        return [(name, (rows, cols // 2), "U8", codes(name, rows * cols // 2)),
                (name + "_scale", (rows, cols // 16), "F8_E4M3", codes(name + "|s", rows * cols // 16, 0x3f)),
                (name + "_scale_2", (), "F32", pack([0.03125], "F32"))]

    def awq(name, rows, cols):
        stem = name[:-len("weight")]
        return [(stem + "qweight", (cols, rows // 8), "I32", codes(name, rows * cols // 2)),
                (stem + "qzeros", (cols // 64, rows // 8), "I32", codes(name + "|z", rows * cols // 128)),
                (stem + "scales", (cols // 64, rows), "F16", pack(weights(name + "|s", rows * cols // 64, 0.001, 0.01), "F16"))]

    def int4(name, rows, cols):
        return [(name + "_packed", (rows, cols // 8), "I32", codes(name, rows * cols // 2)),
                (name + "_scale", (rows, cols // 32), "F16", pack(weights(name + "|s", rows * cols // 32, 0.001, 0.01), "F16")),
                (name + "_shape", (2,), "I64", struct.pack("<2q", rows, cols))]

    group = {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 32}}
    for kind, make, said in (("fp8", fp8, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [96, 96]}),
                             ("nvfp4", nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}),
                             ("awq", awq, {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm", "zero_point": True}),
                             ("int4", int4, {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {"group_0": group}})):
        where, tensors = out("packed-" + kind), []
        for n, s, v in llama("b", hf=True):
            tensors += make(n, *s) if n.endswith("proj.weight") else [(n, s, "BF16", pack(v, "BF16"))]
        os.mkdir(where)
        hf_side_files(where)
        with open(os.path.join(where, "config.json")) as f:
            config = json.load(f)
        with open(os.path.join(where, "config.json"), "w") as f:
            json.dump(dict(config, quantization_config=said), f, indent=2)
        safetensors(os.path.join(where, "model.safetensors"), sorted(tensors), {"format": "pt"})


def odd_models(out):
    mixed = []
    for dtype in sorted(ST_BYTES, key=lambda d: (-ST_BYTES[d], d)):
        n = 64
        raw = bytes(i * 7 % 120 for i in range(n)) * ST_BYTES[dtype] # finite in every float type
        if dtype == "F64":
            raw = struct.pack("<64d", *[(i - 20) / 7 for i in range(n)])
        if dtype == "BOOL":
            raw = bytes(i % 2 for i in range(n))
        mixed.append(("t_" + dtype.lower(), (2, 32), dtype, raw))
    mixed.append(("scalar", (), "F32", struct.pack("<f", 2.5)))
    mixed.append(("empty", (0, 32), "F32", b""))
    safetensors(out("mixed.safetensors"), mixed, {"format": "pt", "note": "every plain type"})
    safetensors(out("inf.safetensors"), [("fine", (4,), "F32", bytes(16)), ("bad", (2, 4), "F32", struct.pack("<8f", 0, 1, 2, 3, 4, float("inf"), 6, 7))])
    odd = ["a", "with space", "quote\"and\\slash", "uni\u00e9\u4e16\u754c", "tab\tand\nnewline", "esc\u001b[31m", "x" * 63, "y" * 200, "a.weight.", ".weight"]
    safetensors(out("names.safetensors"), [(n, (32,), "F32", bytes(128)) for n in odd])


def wide_models(out):
    """Gaussian-like bf16 by table: a byte of sign and exponent, a random low byte. Fine-tunes change the low bytes."""
    table = bytes([(i & 1) << 7 | (0x3C if i & 2 else 0x3B if i & 4 else 0x3A) for i in range(256)])
    shapes = [("model.embed.weight", (1000, 1024)), ("model.big.weight", (2048, 1024)), ("model.odd.weight", (33, 1000)), ("model.norm.weight", (1024,))]
    for tag in ("base", "a", "b"):
        tensors = []
        for name, shape in shapes:
            n = shape[0] * (shape[1] if len(shape) == 2 else 1)
            raw = bytearray(2 * n)
            raw[0::2] = hashlib.shake_128(("quern-wide|%s|%s|low" % (tag, name)).encode()).digest(n)
            raw[1::2] = hashlib.shake_128(("quern-wide|%s" % name).encode()).digest(n).translate(table)
            tensors.append((name, shape, "BF16", bytes(raw)))
        safetensors(out("wide-%s.safetensors" % tag), tensors, {"format": "pt"})
    # The same weights as a GGUF, without the name that its row length keeps from being quantized.
    gguf(out("wide.gguf"), [("general.architecture", "str", "llama")], [t for t in tensors if t[0] != "model.odd.weight"])


def bad_files(out):
    os.mkdir(out("bad"))
    with open(out("dense-f16.gguf"), "rb") as f:
        whole = f.read()
    with open(out("hf-b", "model.safetensors"), "rb") as f:
        st = f.read()
    for name, data in (("truncated.gguf", whole[:len(whole) // 2]), ("header-only.gguf", whole[:20]), ("empty.gguf", b""),
                       ("empty.safetensors", b""), ("truncated.safetensors", st[:len(st) - 100]), ("short.safetensors", st[:100]),
                       ("html.safetensors", b"<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n"),
                       ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 4939116424\n" % (b"ab" * 32)),
                       ("pickle.safetensors", b"\x80\x02}q\x00X\x01\x00\x00\x00aq\x01K\x01s."), ("zip.bin", b"PK\x03\x04" + bytes(60)),
                       ("is-gguf.safetensors", whole[:4096]), ("is-safetensors.gguf", st[:4096])):
        with open(out("bad", name), "wb") as f:
            f.write(data)


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_models.py DIR")
    where = sys.argv[1]
    with open(os.path.abspath(__file__), "rb") as f:
        stamp = hashlib.sha256(f.read()).hexdigest()
    try:
        with open(os.path.join(where, ".stamp")) as f:
            if f.read() == stamp:
                return
    except OSError:
        pass
    shutil.rmtree(where, ignore_errors=True)
    os.makedirs(where)

    def out(*parts):
        return os.path.join(where, *parts)

    gguf_models(out)
    imatrices(out)
    weighed_models(out)
    hf_models(out)
    packed_models(out)
    odd_models(out)
    wide_models(out)
    bad_files(out)
    with open(out(".stamp"), "w") as f:
        f.write(stamp)


if __name__ == "__main__":
    main()
