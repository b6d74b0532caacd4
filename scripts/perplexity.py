#!/usr/bin/env python3
"""perplexity.py TEXT [TYPE ...] - what quantizing costs a real model in real llama.cpp, and that both tools' files cost the same.

Makes a GGUF of pocket-base (tests/data/pocket), quantizes it with quern and, where LLAMA_QUANTIZE names one, with llama-quantize, and has
LLAMA_PERPLEXITY (a llama-perplexity program) read TEXT with each. QUERN is the binary (build/quern). Standard library only.
"""
import array, json, os, re, struct, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
POCKET = os.path.join(HERE, "..", "build", "pocket", "pocket-base")
QUERN = os.environ.get("QUERN", os.path.join(HERE, "..", "build", "quern"))


def string(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def key(name, kind, value):
    kinds = {"u32": (4, "<I"), "f32": (6, "<f"), "str": (8, None), "i32": (5, "<i")}
    number, form = kinds[kind.strip("[]")]
    one = (lambda v: string(v)) if form is None else (lambda v: struct.pack(form, v))
    if kind.startswith("["):
        return string(name) + struct.pack("<IIQ", 9, number, len(value)) + b"".join(map(one, value))
    return string(name) + struct.pack("<I", number) + one(value)


def read_safetensors(path):
    with open(path, "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        head = json.loads(f.read(n))
        data = f.read()
    return {k: (v["shape"], data[v["data_offsets"][0]:v["data_offsets"][1]]) for k, v in head.items() if k != "__metadata__"}


def permute(rows, heads):
    """Hugging Face keeps the two halves of a rotated pair apart, llama.cpp side by side."""
    half = len(rows) // heads // 2
    return [rows[h * 2 * half + part * half + i] for h in range(heads) for i in range(half) for part in range(2)]


def convert(out):
    config = json.load(open(os.path.join(POCKET, "config.json")))
    vocabulary = json.load(open(os.path.join(POCKET, "tokenizer.json")))
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    tensors = []
    for name, (shape, raw) in read_safetensors(os.path.join(POCKET, "model.safetensors")).items():
        m = re.match(r"(?:model\.layers\.(\d+)\.)?(.*)\.weight$", name)
        to = ("blk.%s." % m.group(1) if m.group(1) else "") + names[m.group(2)] + ".weight"
        kind = 30
        if len(shape) == 1: # norms are F32
            raw, kind = array.array("I", (v << 16 for v in array.array("H", raw))).tobytes(), 0
        elif m.group(2) in ("self_attn.q_proj", "self_attn.k_proj"):
            width = shape[1] * 2
            rows = [raw[i:i + width] for i in range(0, len(raw), width)]
            raw = b"".join(permute(rows, config["num_attention_heads"] if "q_proj" in name else config["num_key_value_heads"]))
        tensors.append((to, shape, kind, raw))
    tokens = {**vocabulary["model"]["vocab"], **{t["content"]: t["id"] for t in vocabulary["added_tokens"]}}
    special = {t["id"] for t in vocabulary["added_tokens"]}
    words = sorted(tokens, key=tokens.get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in vocabulary["model"]["merges"]]
    keys = [key("general.architecture", "str", "llama"), key("general.name", "str", "pocket"), key("general.file_type", "u32", 32),
            key("llama.block_count", "u32", config["num_hidden_layers"]), key("llama.context_length", "u32", config["max_position_embeddings"]),
            key("llama.embedding_length", "u32", config["hidden_size"]), key("llama.feed_forward_length", "u32", config["intermediate_size"]),
            key("llama.attention.head_count", "u32", config["num_attention_heads"]), key("llama.attention.head_count_kv", "u32", config["num_key_value_heads"]),
            key("llama.attention.layer_norm_rms_epsilon", "f32", config["rms_norm_eps"]), key("llama.rope.freq_base", "f32", config["rope_theta"]),
            key("llama.rope.dimension_count", "u32", config["head_dim"]), key("llama.vocab_size", "u32", len(words)),
            key("tokenizer.ggml.model", "str", "gpt2"), key("tokenizer.ggml.pre", "str", "gpt-2"), key("tokenizer.ggml.tokens", "[str]", words),
            key("tokenizer.ggml.token_type", "[i32]", [3 if tokens[w] in special else 1 for w in words]), key("tokenizer.ggml.merges", "[str]", merges),
            key("tokenizer.ggml.bos_token_id", "u32", config["bos_token_id"]), key("tokenizer.ggml.eos_token_id", "u32", config["eos_token_id"])]
    infos, data = b"", b""
    for name, shape, kind, raw in tensors:
        infos += string(name) + struct.pack("<I", len(shape)) + b"".join(struct.pack("<Q", d) for d in reversed(shape)) + struct.pack("<IQ", kind, len(data))
        data += raw + b"\0" * (-len(raw) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    with open(out, "wb") as f:
        f.write(head + b"\0" * (-len(head) % 32) + data)


def perplexity(model, text):
    for _ in range(10): # its last line is lost now and then
        done = subprocess.run([os.environ["LLAMA_PERPLEXITY"], "-m", model, "-f", text, "-c", "256", "-b", "256", "-t", "2"], capture_output=True, text=True)
        m = re.search(r"Final estimate: PPL = ([\d.]+ \+/- [\d.]+)", done.stdout + done.stderr)
        if m:
            return m.group(1)
    sys.exit("perplexity: %s cannot run %s:\n%s" % (os.environ["LLAMA_PERPLEXITY"], model, (done.stdout + done.stderr)[-2000:]))


def main():
    if len(sys.argv) < 2 or "LLAMA_PERPLEXITY" not in os.environ:
        sys.exit(__doc__)
    text, types = sys.argv[1], sys.argv[2:] or ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "Q3_K_M", "IQ3_S", "Q2_K", "IQ2_XS"]
    subprocess.run([os.path.join(HERE, "pocket.sh")], check=True)
    with tempfile.TemporaryDirectory() as d:
        source = os.path.join(d, "pocket-bf16.gguf")
        convert(source)
        imatrix = ["--imatrix", os.path.join(POCKET + ".imatrix.gguf")]
        print("| type | quern | llama-quantize | same bytes |\n|---|---|---|---|")
        print("| BF16 (source) | %s | | |" % perplexity(source, text), flush=True)
        for kind in types:
            files, cells = {}, []
            for tool, command in (("quern", [QUERN, "quantize", "-q"]), ("llama", [os.environ.get("LLAMA_QUANTIZE", "")])):
                if not command[0]:
                    cells.append("")
                    continue
                out = os.path.join(d, "%s-%s.gguf" % (tool, kind))
                subprocess.run(command + imatrix + [source, out, kind], check=True, capture_output=True)
                with open(out, "rb") as f:
                    files[tool] = f.read()
                cells.append(perplexity(out, text))
            same = "" if len(files) < 2 else "yes" if files["quern"] == files["llama"] else "no"
            print("| %s | %s | %s | %s |" % (kind, cells[0], cells[1], same), flush=True)


main()
