#!/usr/bin/env python3
"""scale_model.py [--bytes 1.5e12] [--cores 16] [--node-gbs 2] [--shared-gbs 20] [--type Q4_K_M]: how long a large model takes.

Makes the headers of a checkpoint of that size (sparse files: they take no room), has quern divide its conversion into 1 to 256
parts, and computes from the division how long it takes on as many nodes:
  a node reads and writes at --node-gbs GB/s, all of them together at no more than --shared-gbs; a core encodes as fast as one
  was measured to do here (a small model, quantized with one thread; --rate gives the number instead).
Computing and reading overlap. Joining is reading and writing everything once on one node (--layout joined), or nearly nothing
(files). QUERN names the program. Standard library only.
"""
import argparse
import json
import os
import resource
import shutil
import struct
import subprocess
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build/quern")))

HIDDEN, FFN, HEADS, KV, VOCAB = 16384, 53248, 128, 8, 2048


def layer_tensors(i, hidden, ffn, kv_rows):
    p = "model.layers.%d." % i
    return [(p + "self_attn.q_proj.weight", [hidden, hidden]), (p + "self_attn.k_proj.weight", [kv_rows, hidden]),
            (p + "self_attn.v_proj.weight", [kv_rows, hidden]), (p + "self_attn.o_proj.weight", [hidden, hidden]),
            (p + "mlp.gate_proj.weight", [ffn, hidden]), (p + "mlp.up_proj.weight", [ffn, hidden]),
            (p + "mlp.down_proj.weight", [hidden, ffn]), (p + "input_layernorm.weight", [hidden]),
            (p + "post_attention_layernorm.weight", [hidden])]


def nbytes(shape):
    n = 2
    for d in shape:
        n *= d
    return n


def write_shard(path, tensors, random=None):
    at, entries = 0, {}
    for name, shape in tensors:
        entries[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + nbytes(shape)]}
        at += nbytes(shape)
    head = json.dumps(entries).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        if random:
            for left in range(at, 0, -len(random)):
                f.write(random[:left])
        f.truncate(8 + len(head) + at)


def config(layers, hidden, ffn, heads, kv):
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden, "intermediate_size": ffn,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv, "vocab_size": VOCAB,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "torch_dtype": "bfloat16", "tie_word_embeddings": False}


def write_model(path, layers, hidden=HIDDEN, ffn=FFN, heads=HEADS, kv=KV, random=None):
    """A directory in the layout of Hugging Face, one shard for each layer; returns its bytes."""
    os.makedirs(path)
    subprocess.run([os.path.join(ROOT, "scripts/pocket.sh")], check=True)
    pocket = os.path.join(ROOT, "build/pocket/pocket-base")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(pocket, name), path)
    shards = [layer_tensors(i, hidden, ffn, hidden // heads * kv) for i in range(layers)]
    vocab = json.load(open(os.path.join(pocket, "config.json")))["vocab_size"]
    shards.append([("model.embed_tokens.weight", [vocab, hidden]), ("lm_head.weight", [vocab, hidden]),
                   ("model.norm.weight", [hidden])])
    weight_map, total = {}, 0
    for i, tensors in enumerate(shards):
        name = "model-%05d-of-%05d.safetensors" % (i + 1, len(shards))
        write_shard(os.path.join(path, name), tensors, random)
        weight_map.update((t, name) for t, _ in tensors)
        total += sum(nbytes(s) for _, s in tensors)
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": weight_map}, f)
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(dict(config(layers, hidden, ffn, heads, kv), vocab_size=vocab), f)
    return total


def divide(model, parts, kind, top):
    plan = os.path.join(top, "job.plan")
    subprocess.run((QUERN, "plan", "-q", "-f", "--parts", str(parts), "--layout", "joined", "-o", plan, "quantize", model,
                    os.path.join(top, "out.gguf"), kind), check=True)
    with open(plan) as f:
        return json.load(f)["division"]


def measure_rate(kind, top):
    """Cost that one core gets through in a second, and the division's own measure of cost."""
    model = os.path.join(top, "small")
    block = bytes(b if i % 2 == 0 else 0x3C for i, b in enumerate(os.urandom(1 << 20)))
    write_model(model, 2, 2048, 5632, 16, 4, block)
    cost = sum(p["cost"] for p in divide(model, 1, kind, top))
    best = None
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run((QUERN, "quantize", "-q", "-f", "-j", "1", model, os.path.join(top, "small.gguf"), kind), check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        best = seconds if best is None else min(best, seconds)
    return cost / best


def duration(division, a, rate, nodes):
    link = min(a.node_gbs, a.shared_gbs / nodes) * 1e9

    def part(p):
        written = sum(s["bytes"] for s in p["slices"])
        return max((p["reads"] + written) / link, p["cost"] / (rate * a.cores))
    return max(part(p) for p in division)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--bytes", type=float, default=1.5e12)
    ap.add_argument("--cores", type=int, default=16)
    ap.add_argument("--node-gbs", type=float, default=2)
    ap.add_argument("--shared-gbs", type=float, default=20)
    ap.add_argument("--rate", type=float)
    ap.add_argument("--type", default="Q4_K_M")
    a = ap.parse_args()
    top = tempfile.mkdtemp(prefix="quern-scale-")
    try:
        layer = sum(nbytes(s) for _, s in layer_tensors(0, HIDDEN, FFN, HIDDEN // HEADS * KV))
        total = write_model(os.path.join(top, "large"), max(1, round(a.bytes / layer)))
        rate = a.rate or measure_rate(a.type, top)
        print("%.0f GB of BF16 to %s; a core gets through %.2f GB of cost a second; nodes of %d cores, %g GB/s each, %g GB/s together\n" %
              (total / 1e9, a.type, rate / 1e9, a.cores, a.node_gbs, a.shared_gbs))
        print("| nodes | parts | costliest / mean | minutes | speed-up | join, one file, minutes |\n|---|---|---|---|---|---|")
        first = None
        for nodes in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            division = divide(os.path.join(top, "large"), nodes, a.type, top)
            costs = [p["cost"] for p in division]
            written = sum(s["bytes"] for p in division for s in p["slices"])
            seconds = duration(division, a, rate, nodes)
            first = first or seconds
            print("| %d | %d | %.2f | %.1f | %.1f | %.1f |" %
                  (nodes, len(division), max(costs) * len(costs) / sum(costs), seconds / 60, first / seconds,
                   3 * written / (min(a.node_gbs, a.shared_gbs) * 1e9) / 60))
    finally:
        shutil.rmtree(top, ignore_errors=True)


main()
