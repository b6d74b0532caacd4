#!/usr/bin/env python3
"""merge_perplexity.py PROSE.txt CODE.txt [BASE PROSE_MODEL CODE_MODEL] - do merges keep the skills of both parents? Perplexity on text of both kinds.

Merges the models (those of tests/data/pocket when none are named: a small llama, fine-tuned on prose and on code) by several methods with QUERN (build/quern) and has
the base, both parents and every merge read both texts: windows of as many tokens as the model's context, every token counts but a window's first, f32.
Needs numpy, torch and tokenizers. Prints Markdown.
"""
import json, math, os, struct, subprocess, sys, tempfile

import torch
from tokenizers import Tokenizer

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))
TYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}

# name: (method, has a base, parameters of both models, of the merge)
MERGES = {
    "linear, 1/2 each": ("linear", False, ["weight=0.5"], []),
    "slerp, t 0.5": ("slerp", "first", [], ["t=0.5"]),
    "karcher": ("karcher", False, [], []),
    "task_arithmetic, weights 1/2": ("task_arithmetic", True, ["weight=0.5"], []),
    "ties, density 0.5": ("ties", True, ["weight=0.5", "density=0.5"], ["lambda=0.7"]),
    "dare_ties, density 0.5": ("dare_ties", True, ["weight=0.5", "density=0.5"], []),
    "dare_linear, density 0.5": ("dare_linear", True, ["weight=0.5", "density=0.5"], []),
    "della, density 0.5": ("della", True, ["weight=0.5", "density=0.5"], ["lambda=0.7"]),
    "breadcrumbs, density 0.8": ("breadcrumbs", True, ["weight=0.5", "density=0.8"], []),
    "model_stock": ("model_stock", True, [], []),
    "sce, topk 0.5": ("sce", True, [], ["select_topk=0.5"]),
}


def load(directory):
    with open(os.path.join(directory, "model.safetensors"), "rb") as f:
        n, = struct.unpack("<Q", f.read(8))
        head, data = json.loads(f.read(n)), bytearray(f.read())
    tensors = {}
    for name, v in head.items():
        if name != "__metadata__":
            begin, end = v["data_offsets"]
            tensors[name] = torch.frombuffer(data[begin:end], dtype=TYPES[v["dtype"]]).reshape(v["shape"]).float()
    return tensors


def norm(x, weight, eps):
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight


def rotate(x, theta):
    """Positions into queries and keys: x is (batch, heads, length, head size)."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2]).float()[:, None] * theta ** (-torch.arange(half).float() / half)
    cos, sin = angle.cos(), angle.sin()
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def logits(w, c, ids):
    heads, kv = c["num_attention_heads"], c["num_key_value_heads"]
    eps, theta = c["rms_norm_eps"], c.get("rope_theta") or c["rope_parameters"]["rope_theta"]
    batch, length = ids.shape
    x = w["model.embed_tokens.weight"][ids]
    for i in range(c["num_hidden_layers"]):
        def project(name, y):
            return y @ w["model.layers.%d.%s.weight" % (i, name)].T
        y = norm(x, w["model.layers.%d.input_layernorm.weight" % i], eps)
        q, k, v = (project("self_attn.%s_proj" % n, y).reshape(batch, length, h, -1).transpose(1, 2) for n, h in (("q", heads), ("k", kv), ("v", kv)))
        k, v = (t.repeat_interleave(heads // kv, 1) for t in (rotate(k, theta), v))
        y = torch.nn.functional.scaled_dot_product_attention(rotate(q, theta), k, v, is_causal=True)
        x = x + project("self_attn.o_proj", y.transpose(1, 2).reshape(batch, length, -1))
        y = norm(x, w["model.layers.%d.post_attention_layernorm.weight" % i], eps)
        x = x + project("mlp.down_proj", torch.nn.functional.silu(project("mlp.gate_proj", y)) * project("mlp.up_proj", y))
    return norm(x, w["model.norm.weight"], eps) @ w.get("lm_head.weight", w["model.embed_tokens.weight"]).T


def perplexity(directory, windows):
    w, c = load(directory), json.load(open(os.path.join(directory, "config.json")))
    loss, count = 0.0, 0
    with torch.no_grad():
        for ids in windows.split(8):
            out = logits(w, c, ids)[:, :-1]
            loss += float(torch.nn.functional.cross_entropy(out.flatten(0, 1).double(), ids[:, 1:].flatten(), reduction="sum"))
            count += ids[:, 1:].numel()
    return math.exp(loss / count)


def windows_of(text, directory):
    length = min(json.load(open(os.path.join(directory, "config.json")))["max_position_embeddings"], 512)
    ids = Tokenizer.from_file(os.path.join(directory, "tokenizer.json")).encode(open(text, encoding="utf-8").read(), add_special_tokens=False).ids
    return torch.tensor(ids[:len(ids) // length * length]).reshape(-1, length)


def recipe(name, base, models):
    method, has_base, per_model, whole = MERGES[name]
    text = "merge_method: %s\nmodels:\n" % method
    for m in models:
        text += "  - model: %s\n" % m + "".join("    parameters: {%s}\n" % ", ".join(p.replace("=", ": ") for p in per_model) if per_model else "")
    if has_base:
        text += "base_model: %s\n" % (models[0] if has_base == "first" else base)
    if whole:
        text += "parameters: {%s}\n" % ", ".join(p.replace("=", ": ") for p in whole)
    return text + "dtype: float32\nout_dtype: bfloat16\n"


def pocket_models():
    subprocess.run([os.path.join(ROOT, "scripts", "pocket.sh")], check=True)
    return [os.path.join(ROOT, "build", "pocket", "pocket-" + n) for n in ("base", "prose", "code")]


def main():
    args = sys.argv[1:]
    if len(args) not in (2, 5):
        sys.exit(__doc__)
    base, *models = args[2:] or pocket_models()
    texts = [windows_of(t, base) for t in args[:2]]
    print("%d tokens of prose, %d of code\n" % tuple(t.numel() for t in texts))
    print("| model | perplexity, prose | code | better than the base in |\n|---|---|---|---|")
    zero = None
    with tempfile.TemporaryDirectory() as work:
        for name, directory in [("base", base), ("tuned on prose", models[0]), ("tuned on code", models[1])] + [(n, None) for n in MERGES]:
            if directory is None:
                directory, yml = os.path.join(work, "out"), os.path.join(work, "recipe.yml")
                with open(yml, "w") as f:
                    f.write(recipe(name, base, models))
                done = subprocess.run([QUERN, "merge", "-q", "-f", yml, directory], capture_output=True, text=True)
                if done.returncode != 0:
                    sys.exit("%s: quern: exit %d: %s" % (name, done.returncode, done.stderr))
            result = [perplexity(directory, t) for t in texts]
            zero = zero or result
            better = [d for d, r, z in zip(("prose", "code"), result, zero) if r < z]
            print("| %s | %.3f | %.3f | %s |" % (name, *result, "both" if len(better) == 2 else ", ".join(better)), flush=True)


main()
