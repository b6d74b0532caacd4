#!/usr/bin/env python3
"""compare_mergekit.py [--only WORD] [--keep DIR] [BASE MODEL MODEL] - merge whole models with quern and with the real mergekit, and compare what they write.

    MERGEKIT_YAML=/path/to/mergekit-yaml QUERN=build/quern scripts/compare_mergekit.py

The models are those of tests/data/pocket, or a base and two fine-tunes of it named as arguments. mergekit is run inside of its own Python environment, which must
have numpy. Recipes of all methods that draw no random numbers, recipes of the shape of those in mergekit's repository, with stand-ins for their models, and mixtures of experts.
Each is run two ways: "once", dtype float32 and out_dtype bfloat16 (both programs compute in f32 and round once), and for the methods that can, "exact":
dtype bfloat16 (or what the example says) with --mergekit-exact, where every bit must be mergekit's but where its unstable sort chose among equal magnitudes.

Columns: tensors; elements; equal; 1 ulp: neighbours in the output type; tiny: further apart, but by less than 1e-6 of the tensor's largest weight; ties: elements
whose difference from the base has exactly the magnitude of a cut; flips: elements at a computed threshold, where one program took either input; far: all others.
The numbers that meet a whole tensor at once (lambda, t, scale) are bf16 numbers here: PyTorch 1 rounded them to the tensor's type first, as --mergekit-exact
does, PyTorch 2 keeps them in f32.

Exit status 1 when something is outside of what a recipe allows.
"""
import json, os, re, shutil, struct, subprocess, sys, tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))
POCKET = [os.path.join(ROOT, "build", "pocket", "pocket-" + n) for n in ("base", "prose", "code")]

if "MERGEKIT_YAML" not in os.environ:
    sys.exit(__doc__)
PYTHON = os.path.join(os.path.dirname(os.path.abspath(os.environ["MERGEKIT_YAML"])), "python")
if os.environ.get("COMPARE_MERGEKIT_INSIDE") != PYTHON:
    # Also fixes the order of Python's sets, in which mergekit sums the models of some methods.
    os.environ.update(COMPARE_MERGEKIT_INSIDE=PYTHON, PYTHONHASHSEED="0", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    os.execv(PYTHON, [PYTHON, os.path.abspath(__file__)] + sys.argv[1:])

import contextlib, logging

import numpy as np

SMALL = 1e-6 # of a tensor's largest weight

# ---- recipes: B, P and C are the base and its two fine-tunes; DTYPES is replaced. cuts gives, for a tensor and a model, the places in the ascending order of
# |difference| at which magnitudes are cut. exact: mergekit's bits can be asked for.


def density_cut(density):
    return lambda name, t, nelems, model: [nelems - int(density(name, t, model) * nelems)]


def crumbs_cut(density, gamma):
    def cuts(name, t, nelems, model):
        top = int(gamma * nelems)
        bottom = nelems - int(density * nelems) - top
        if bottom < 0:
            top, bottom = top + bottom, 0
        return [bottom, nelems - top]
    return cuts


def gradient(values, t):
    s = t * (len(values) - 1)
    i = int(s)
    return (1 - s + i) * values[i] + (s - i) * values[min(i + 1, len(values) - 1)]


def models(*entries):
    return "models:\n" + "".join("  - model: %s\n%s" % (m, "    parameters: {%s}\n" % p if p else "") for m, p in entries)


TASK = models(("P", "weight: 0.6"), ("C", "weight: 0.5")) + "base_model: B\n"
CRUMBS = models(("P", "weight: 0.6, density: 0.8, gamma: 0.02"), ("C", "weight: 0.5, density: 0.8, gamma: 0.02")) + "base_model: B\n"

RECIPES = {
    "linear": dict(exact=True, text="merge_method: linear\n" + models(("B", "weight: 0.5"), ("P", "weight: [0.2, 0.9]"), ("C", "weight: [{filter: mlp, value: 0.3}, {value: 0.7}]"))),
    "linear, sum": dict(exact=True, text="merge_method: linear\nparameters: {normalize: false}\n" + models(("P", "weight: 0.75"), ("C", "weight: 0.25"))),
    "slerp": dict(text="merge_method: slerp\nbase_model: P\nparameters: {t: [{filter: self_attn, value: [0, 0.5, 1]}, {filter: mlp, value: [1, 0.3]}, {value: 0.5}]}\n"
                  + models(("P", ""), ("C", ""))),
    "nuslerp": dict(text="merge_method: nuslerp\n" + models(("P", "weight: 0.6"), ("C", "weight: 0.4"))),
    "nuslerp, rows": dict(text="merge_method: nuslerp\nparameters: {nuslerp_flatten: false}\n" + models(("P", "weight: 0.6"), ("C", "weight: 0.4"))),
    "nuslerp, columns": dict(text="merge_method: nuslerp\nparameters: {nuslerp_flatten: false, nuslerp_row_wise: true}\n" + models(("P", "weight: 0.6"), ("C", "weight: 0.4"))),
    "nuslerp, base": dict(text="merge_method: nuslerp\nbase_model: B\n" + models(("P", "weight: 0.6"), ("C", "weight: 0.4"))),
    "multislerp": dict(text="merge_method: multislerp\n" + models(("B", "weight: 0.2"), ("P", "weight: 0.5"), ("C", "weight: 0.4"))),
    "multislerp, base": dict(text="merge_method: multislerp\nbase_model: B\n" + models(("P", "weight: 0.5"), ("C", "weight: 0.4"))),
    "karcher": dict(text="merge_method: karcher\n" + models(("B", ""), ("P", ""), ("C", ""))),
    "task_arithmetic": dict(exact=True, text="merge_method: task_arithmetic\nparameters: {lambda: 0.6875}\n" + TASK),
    "ties": dict(exact=True, cuts=density_cut(lambda name, t, m: gradient([0.8, 0.4], t) if m == "P" else 0.3),
                 text="merge_method: ties\nbase_model: B\n" + models(("P", "weight: 0.6, density: [0.8, 0.4]"), ("C", "weight: 0.5, density: 0.3"))),
    "breadcrumbs": dict(exact=True, cuts=crumbs_cut(0.8, 0.02), text="merge_method: breadcrumbs\n" + CRUMBS),
    "breadcrumbs_ties": dict(exact=True, cuts=crumbs_cut(0.8, 0.02), text="merge_method: breadcrumbs_ties\n" + CRUMBS),
    "model_stock": dict(text="merge_method: model_stock\nbase_model: B\n" + models(("P", ""), ("C", ""))),
    "model_stock, rows": dict(text="merge_method: model_stock\nbase_model: B\nparameters: {filter_wise: true}\n" + models(("P", ""), ("C", ""))),
    "sce": dict(text="merge_method: sce\nbase_model: B\n" + models(("P", ""), ("C", ""))),
    # What is selected among equal variances decides how much of a model counts in the whole tensor.
    "sce, half": dict(variance_topk=0.5, small=1e-4, text="merge_method: sce\nbase_model: B\nparameters: {select_topk: 0.5}\n" + models(("P", ""), ("C", ""))),
    "ram": dict(exact=True, text="merge_method: ram\nbase_model: B\n" + models(("P", ""), ("C", ""))),
    "ramplus_tl": dict(text="merge_method: ramplus_tl\nbase_model: B\n" + models(("P", ""), ("C", ""))),
    "nearswap": dict(exact=True, text="merge_method: nearswap\nbase_model: B\nparameters: {t: 0.001953125}\n" + models(("P", ""))),
    "arcee_fusion": dict(flips=0.002, text="merge_method: arcee_fusion\nbase_model: B\n" + models(("P", ""))),
    "passthrough": dict(exact=True, text="merge_method: passthrough\nparameters: {scale: [{filter: o_proj, value: 0.5}, {value: 1.0}]}\n" + models(("P", ""))),
    "passthrough, stacked": dict(exact=True, text="merge_method: passthrough\nslices:\n  - sources: [{model: P, layer_range: [0, 2]}]\n"
                                 "  - sources: [{model: C, layer_range: [0, 2], parameters: {scale: [{filter: o_proj, value: 0.0}, {filter: down_proj, value: 0.0}, {value: 1.0}]}}]\n"
                                 "  - sources: [{model: B, layer_range: [1, 2]}]\n"),
    "slerp, stacked": dict(text="merge_method: slerp\nbase_model: P\nparameters: {t: [0.2, 0.8]}\nslices:\n"
                           "  - sources: [{model: P, layer_range: [0, 2]}, {model: C, layer_range: [0, 2]}]\n  - sources: [{model: P, layer_range: [1, 2]}, {model: C, layer_range: [0, 1]}]\n"),
    "linear, stacked": dict(exact=True, text="merge_method: linear\nslices:\n"
                            "  - sources: [{model: P, layer_range: [0, 1], parameters: {weight: 0.7}}, {model: C, layer_range: [1, 2], parameters: {weight: 0.4}}]\n"
                            "  - sources: [{model: B, layer_range: [0, 2], parameters: {weight: 1.0}}, {model: C, layer_range: [0, 2], parameters: {weight: [0.1, 0.9]}}]\n"),
}

# What mergekit's examples do, in our words: the same methods, models, parameters and types.
ORCA, PLATYPUS, WIZARD, MATH, LLAMA = "psmathur/orca_mini_v3_13b", "garage-bAInd/Platypus2-13B", "WizardLM/WizardLM-13B-V1.2", "WizardLM/WizardMath-13B-V1.0", "TheBloke/Llama-2-13B-fp16"
MISTRAL, INSTRUCT, BIO = "mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-Instruct-v0.2", "BioMistral/BioMistral-7B"
SHARES = {ORCA: lambda name, t: gradient([1, 0.7, 0.1], t), PLATYPUS: lambda name, t: 0.5, MATH: lambda name, t: 0.33}

EXAMPLES = {
    "example arcee_fusion": dict(flips=0.01, dtype="bfloat16", text="merge_method: arcee_fusion\nbase_model: model_a\n" + models(("model_a", ""), ("model_b", ""))),
    "example bio-merge": dict(dtype="float16", exact=True, cuts=density_cut(lambda name, t, m: 0.5),
                              text="merge_method: ties\nbase_model: %s\nparameters: {normalize: false, int8_mask: true}\n" % MISTRAL
                              + models((INSTRUCT, "weight: 0.5, density: 0.5"), (BIO, "weight: 0.5, density: 0.5"))),
    "example gradient-slerp": dict(dtype="float16", text="merge_method: slerp\nbase_model: %s\nslices:\n  - sources:\n" % ORCA + "".join("      - {model: %s, layer_range: [0, 40]}\n" % m for m in (ORCA, PLATYPUS))
                                   + "parameters:\n  t:\n    - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}\n    - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}\n    - {value: 0.5}\n"),
    "example linear": dict(dtype="float16", exact=True, text="merge_method: linear\n" + models((ORCA, "weight: 1.0"), (WIZARD, "weight: 0.3"), (PLATYPUS, "weight: 0.5"))),
    "example orcamini-platy": dict(dtype="float16", exact=True, text="merge_method: passthrough\nslices:\n  - sources: [{model: %s, layer_range: [0, 24]}]\n  - sources: [{model: %s, layer_range: [20, 40]}]\n"
                                   % (ORCA, PLATYPUS)),
    "example ties": dict(dtype="float16", exact=True, cuts=density_cut(lambda name, t, m: SHARES[m](name, t)),
                         text="merge_method: ties\nbase_model: %s\nparameters: {normalize: true, int8_mask: true}\n" % LLAMA
                         + models((ORCA, "density: [1, 0.7, 0.1], weight: 1.0"), (PLATYPUS, "density: 0.5, weight: [0, 0.3, 0.7, 1]"),
                                  (MATH, "density: 0.33, weight: [{filter: mlp, value: 0.5}, {value: 0}]"))),
}

# Mixtures of experts: mergekit-moe's recipes. What it draws at random is not compared.
EXPERTS = """experts:
  - {source_model: P, positive_prompts: ["Once upon a time", "the history of caf\u00e9s"], residual_scale: 0.5}
  - {source_model: C, positive_prompts: ["int main(void)"], negative_prompts: ["  two   spaces\\n123"]}
"""
SHARED = "shared_experts: [{source_model: B%s}]\n"
MIXTURES = {
    "mixture: Mixtral": "base_model: B\ngate_mode: cheap_embed\n" + EXPERTS,
    "mixture: DeepSeek": "base_model: B\ngate_mode: cheap_embed\narchitecture: deepseek\n" + SHARED % "" + EXPERTS,
    "mixture: Qwen": "base_model: B\ngate_mode: cheap_embed\narchitecture: qwen\n" + SHARED % ', positive_prompts: ["a"]' + EXPERTS,
    "mixture: Qwen3": "base_model: q3_b\ngate_mode: cheap_embed\ndtype: bfloat16\n" + EXPERTS.replace("P,", "q3_p,").replace("C,", "q3_c,"),
}

# ---- checkpoints

NUMPY = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8", "I64": "<i8"}


def read_checkpoint(directory):
    """{name: (type, array of the stored elements)}"""
    tensors = {}
    for file in sorted(os.listdir(directory)):
        if not file.endswith(".safetensors"):
            continue
        with open(os.path.join(directory, file), "rb") as f:
            n, = struct.unpack("<Q", f.read(8))
            head, data = json.loads(f.read(n)), f.read()
        for name, v in head.items():
            if name != "__metadata__":
                begin, end = v["data_offsets"]
                tensors[name] = (v["dtype"], np.frombuffer(data[begin:end], NUMPY[v["dtype"]]).reshape(v["shape"]))
    return tensors


def to_float(kind, x):
    return (x.astype("<u4") << 16).view("<f4") if kind == "BF16" else x.astype("<f4")


def ordinal(kind, x):
    """Integers that follow each other as the floats of this type do."""
    wide = x.view({"F32": "<i4", "F16": "<i2", "BF16": "<i2"}[kind]).astype(np.int64)
    return np.where(wide < 0, -(wide & {"F32": 0x7fffffff}.get(kind, 0x7fff)), wide)


def write_checkpoint(directory, tensors, config):
    os.makedirs(directory)
    head, at = {"__metadata__": {"format": "pt"}}, 0
    for name, x in tensors.items():
        head[name] = {"dtype": "F16", "shape": list(x.shape), "data_offsets": [at, at + x.nbytes]}
        at += x.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(directory, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(x.tobytes() for x in tensors.values()))
    with open(os.path.join(directory, "config.json"), "w") as f:
        json.dump(config, f, indent=1)


def stand_ins(directory):
    """Models of forty tiny layers in place of those of the examples; {id: path}. The tokenizer is the pocket model's."""
    hidden, ffn, vocab, layers = 32, 48, 512, 40
    shapes = {"model.embed_tokens.weight": (vocab, hidden), "model.norm.weight": (hidden,), "lm_head.weight": (vocab, hidden)}
    for i in range(layers):
        for part, shape in (("self_attn.q_proj", (hidden, hidden)), ("self_attn.k_proj", (hidden, hidden)), ("self_attn.v_proj", (hidden, hidden)), ("self_attn.o_proj", (hidden, hidden)),
                            ("mlp.gate_proj", (ffn, hidden)), ("mlp.up_proj", (ffn, hidden)), ("mlp.down_proj", (hidden, ffn)), ("input_layernorm", (hidden,)), ("post_attention_layernorm", (hidden,))):
            shapes["model.layers.%d.%s.weight" % (i, part)] = shape
    places = {}
    for family, members in ((("LlamaForCausalLM", "llama"), (LLAMA, ORCA, PLATYPUS, WIZARD, MATH, "model_a", "model_b")), (("MistralForCausalLM", "mistral"), (MISTRAL, INSTRUCT, BIO)),
                            (("Qwen3ForCausalLM", "qwen3"), ("q3_b", "q3_p", "q3_c"))):
        if family[1] == "qwen3":
            shapes.update({"model.layers.%d.self_attn.%s_norm.weight" % (i, part): (8,) for i in range(layers) for part in "qk"})
        random = np.random.default_rng(len(members))
        config = {"architectures": [family[0]], "model_type": family[1], "hidden_size": hidden, "intermediate_size": ffn, "num_hidden_layers": layers, "num_attention_heads": 4,
                  "num_key_value_heads": 4, "head_dim": 8, "vocab_size": vocab, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False, "torch_dtype": "float16"}
        base = {name: random.normal(1.0 if len(shape) == 1 else 0.0, 0.05, shape).astype("<f2") for name, shape in shapes.items()}
        for member in members:
            places[member] = os.path.join(directory, member.replace("/", "--"))
            moved = base if member in (LLAMA, MISTRAL) else {name: (x + random.normal(0, 0.005, x.shape)).astype("<f2") for name, x in base.items()}
            write_checkpoint(places[member], moved, config)
            for file in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(os.path.join(POCKET[0], file), places[member])
    return places


# ---- one comparison

def name_models(text, places, local):
    """The recipe with paths for models (local), else with the ids."""
    words = sorted(places, key=len, reverse=True)
    pattern = r"(?<![\w/.-])(%s)(?![\w/.-])" % "|".join(map(re.escape, words))
    return re.sub(pattern, lambda m: places[m.group(1)] if local else m.group(1), text)


@contextlib.contextmanager
def quiet(log):
    with open(log, "w") as f:
        saved = os.dup(1), os.dup(2)
        sys.stdout.flush()
        os.dup2(f.fileno(), 1)
        os.dup2(f.fileno(), 2)
        try:
            yield
        finally:
            sys.stdout.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])


def run_mergekit(recipe, out, log, mixture=False):
    if mixture:
        os.makedirs(out, exist_ok=True) # of DeepSeek it writes config.json first
        from mergekit.scripts.moe import main
    else:
        from mergekit.scripts.run_yaml import main
    try:
        with quiet(log):
            logging.disable(logging.CRITICAL)
            main([recipe, out], standalone_mode=False)
    except BaseException as e: # whatever it was, the next recipe is another matter
        return "mergekit: %s: %s" % (type(e).__name__, " ".join(str(e).split())[:200])


def run_quern(recipe, out, mappings, exact):
    flags = [word for pair in mappings for word in ("--model", "%s=%s" % pair)] + (["--mergekit-exact"] if exact else [])
    done = subprocess.run([QUERN, "merge", "-q"] + flags + [recipe, out], capture_output=True, text=True)
    if done.returncode != 0:
        return "quern: exit %d: %s" % (done.returncode, " ".join(done.stderr.split())[:200])


def position(name):
    m = re.search(r"\.(\d+)\.", name)
    return int(m.group(1)) if m else None


def tie_mask(case, name, inputs, exact_dtype, layers):
    """Elements at a cut where a stable choice is arbitrary."""
    mask = np.zeros(inputs[case["base"]][name][1].shape, bool)
    layer = position(name)
    t = 0.0 if layer is None else layer / (layers - 1) if layers > 1 else 1.0
    base = to_float(*inputs[case["base"]][name])
    for model in case["tuned"]:
        x = to_float(*inputs[model][name])
        d = np.abs(x - base)
        if exact_dtype == "float16":
            d = np.abs(x.astype("<f2") - base.astype("<f2")).astype("<f4")
        elif exact_dtype == "bfloat16":
            d = round_bf16(d)
        order = np.sort(d, axis=None)
        for cut in case["cuts"](name, t, d.size, model):
            if 0 < cut < d.size and order[cut - 1] == order[cut]:
                mask |= d == order[cut]
    return mask


def round_bf16(x):
    u = np.ascontiguousarray(x, "<f4").view("<u4")
    return ((u + 0x7fff + ((u >> 16) & 1)) & 0xffff0000).view("<f4")


def near_cut_mask(case, name, inputs):
    """Elements whose variance over the models is within rounding of the one where selection stops."""
    base = to_float(*inputs[case["base"]][name]).astype("<f8")
    variance = np.var([to_float(*inputs[m][name]) - base for m in case["tuned"]], axis=0)
    k = int(np.count_nonzero(variance) * case["variance_topk"])
    cut = np.sort(variance, axis=None)[variance.size - k] if k else 0
    return np.abs(variance - cut) <= 1e-5 * cut


def compare(case, mine, theirs, inputs, exact_dtype, layers):
    """Counts of elements by how they compare, and what is wrong with the lists of tensors."""
    counts = dict.fromkeys(("tensors", "elements", "equal", "1 ulp", "tiny", "ties", "flips", "far"), 0)
    faults, worst = [], ""
    for name in sorted(set(mine) | set(theirs)):
        if name not in mine or name not in theirs:
            faults.append("%s only in %s" % (name, "mergekit's" if name in theirs else "quern's"))
            continue
        (my_type, a), (type_, b) = mine[name], theirs[name]
        if a.shape != b.shape or my_type != type_:
            faults.append("%s: %s %s, mergekit has %s %s" % (name, my_type, a.shape, type_, b.shape))
            continue
        counts["tensors"] += 1
        counts["elements"] += a.size
        x, y = to_float(my_type, a), to_float(my_type, b)
        apart = np.abs(ordinal(my_type, a) - ordinal(my_type, b))
        left = apart > 0
        counts["equal"] += int(a.size - left.sum())
        for kind, test in (("ties", lambda: tie_mask(case, name, inputs, exact_dtype, layers) if "cuts" in case else near_cut_mask(case, name, inputs) if "variance_topk" in case else None),
                           ("1 ulp", lambda: apart == 1), ("tiny", lambda: np.abs(x - y) <= case.get("small", SMALL) * np.abs(y).max()),
                           ("flips", lambda: flip_mask(case, name, inputs, x, y) if "flips" in case else None)):
            mask = test() if left.any() else None
            if mask is not None:
                counts[kind] += int((left & mask).sum())
                left &= ~mask
        counts["far"] += int(left.sum())
        if left.any() and not worst:
            i = np.unravel_index(np.argmax(np.where(left, np.abs(x - y), 0)), x.shape)
            worst = "%s%s: %r, mergekit has %r" % (name, [int(k) for k in i], float(x[i]), float(y[i]))
    return counts, faults, worst


def flip_mask(case, name, inputs, x, y):
    """One program took the base's value and the other one the tuned one's."""
    ends = [to_float(*inputs[m][name]) for m in [case["base"]] + case["tuned"]]
    ends = [e if np.array_equal(e, round_bf16(e)) else round_bf16(e) for e in ends]
    return ((x == ends[0]) & (y == ends[1])) | ((x == ends[1]) & (y == ends[0]))


# What transformers adds when it writes a config again, or keeps elsewhere, is no difference.
CONFIG_KEYS = ("architectures", "model_type", "num_hidden_layers", "hidden_size", "intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads",
               "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings", "layer_types")


def compare_files(mine, theirs):
    faults = []
    a, b = (json.load(open(os.path.join(d, "config.json"))) for d in (mine, theirs))
    for key in CONFIG_KEYS:
        if key in a and a[key] != b.get(key):
            faults.append("config.json: %s is %s, mergekit has %s" % (key, a[key], b.get(key)))
    types = [c.get("torch_dtype", c.get("dtype")) for c in (a, b)]
    if types[0] != types[1]:
        faults.append("config.json: type %s, mergekit has %s" % tuple(types))
    only = set(os.listdir(mine)) ^ set(os.listdir(theirs))
    for name in sorted(only):
        # One shard has no index here; mergekit writes one all the same.
        if name != "model.safetensors.index.json":
            faults.append("%s only in %s" % (name, "quern's" if os.path.exists(os.path.join(mine, name)) else "mergekit's"))
    return faults


def judge(case, counts, exact):
    if counts["far"]:
        return "elements differ"
    if counts["flips"] > case.get("flips", 0) * counts["elements"]:
        return "too many flips"
    if exact and counts["1 ulp"] + counts["tiny"]:
        return "not mergekit's bits"
    return ""


def run_case(name, case, way, places, work):
    exact = way == "exact"
    text = case["text"] + ("dtype: %s\n" % case.get("dtype", "bfloat16") if exact else "dtype: float32\nout_dtype: bfloat16\n")
    case["base"] = (re.findall(r"^base_model: (\S+)$", text, re.M) or [None])[0]
    case["tuned"] = [m for m in re.findall(r"model: ([^\s,}]+)", text.replace("base_model:", "")) if m != case["base"]]
    used = {m for m in places if name_models(text, {m: "\0"}, True) != text}
    slug = re.sub(r"\W+", "-", name) + "-" + way
    files = [os.path.join(work, slug + end) for end in (".yml", ".local.yml", ".quern", ".mergekit", ".log")]
    for file, local in zip(files, (False, True)):
        with open(file, "w") as f:
            f.write(name_models(text, places, local))
    trouble = run_quern(files[0], files[2], [(m, places[m]) for m in sorted(used)], exact) or run_mergekit(files[1], files[3], files[4])
    if trouble:
        return None, [trouble]
    inputs = {m: read_checkpoint(places[m]) for m in used}
    layers = 1 + max(position(n) or 0 for n in next(iter(inputs.values())))
    counts, faults, worst = compare(case, read_checkpoint(files[2]), read_checkpoint(files[3]), inputs, case.get("dtype", "bfloat16") if exact else None, layers)
    faults += compare_files(files[2], files[3])
    verdict = judge(case, counts, exact)
    if verdict:
        faults.append(verdict + (": " + worst if worst else ""))
    for directory in files[2:4]:
        shutil.rmtree(directory)
    return counts, faults


def unpacked(tensors):
    """One tensor for each expert's matrix, by the names of the dense model's parts."""
    out = {}
    for name, (kind, x) in tensors.items():
        if name.endswith((".gate_up_proj", ".experts.down_proj")):
            stem, part = name.rsplit(".", 1)
            for i, matrix in enumerate(x):
                halves = np.split(matrix, 2) if part == "gate_up_proj" else [matrix]
                for half, called in zip(halves, ("gate_proj", "up_proj") if len(halves) == 2 else ("down_proj",)):
                    out["%s.%d.%s.weight" % (stem, i, called)] = (kind, half)
            continue
        for old, new in ((".block_sparse_moe.", ".mlp."), (".w1.", ".gate_proj."), (".w2.", ".down_proj."), (".w3.", ".up_proj.")):
            name = name.replace(old, new)
        out[name] = (kind, x)
    return out


MIXTURE_KEYS = ("architectures", "model_type", "num_experts_per_tok", "num_local_experts", "num_experts", "n_routed_experts", "n_shared_experts", "moe_intermediate_size",
                "shared_expert_intermediate_size", "norm_topk_prob", "decoder_sparse_step", "num_hidden_layers", "num_key_value_heads", "sliding_window")


def run_mixture(name, text, places, work):
    slug = re.sub(r"\W+", "-", name)
    files = [os.path.join(work, slug + end) for end in (".yml", ".quern", ".mergekit", ".log")]
    with open(files[0], "w", encoding="utf-8") as f:
        f.write(name_models(text, places, True))
    trouble = run_quern(files[0], files[1], [], False) or run_mergekit(files[0], files[2], files[3], True)
    if trouble:
        return None, [trouble]
    counts, faults, worst = compare({}, unpacked(read_checkpoint(files[1])), unpacked(read_checkpoint(files[2])), {}, None, 0)
    a, b = (json.load(open(os.path.join(d, "config.json"))) for d in files[1:3])
    # transformers calls the number of experts by one name or the other.
    count = lambda c: c.get("num_local_experts", c.get("num_experts", c.get("n_routed_experts")))
    faults += ["config.json: %s is %s, mergekit has %s" % (k, a[k], b.get(k)) for k in MIXTURE_KEYS if k in a and a[k] != b.get(k) and not (k == "num_experts" and count(a) == count(b))]
    if counts["far"]:
        faults.append("elements differ: " + worst)
    return counts, faults


def main():
    args = sys.argv[1:]
    only = args.pop(args.index("--only") + 1) if "--only" in args else ""
    keep = args.pop(args.index("--keep") + 1) if "--keep" in args else None
    args = [a for a in args if a not in ("--only", "--keep")]
    if len(args) not in (0, 3):
        sys.exit(__doc__)
    work = keep or tempfile.mkdtemp(prefix="compare-mergekit-")
    os.makedirs(work, exist_ok=True)
    subprocess.run([os.path.join(ROOT, "scripts", "pocket.sh")], check=True)
    places = dict(zip("BPC", map(os.path.abspath, args or POCKET)))
    places.update(stand_ins(os.path.join(work, "stand-ins")))
    columns = ("tensors", "elements", "equal", "1 ulp", "tiny", "ties", "flips", "far")
    print("| recipe | way | %s | |\n|---|---|%s---|" % (" | ".join(columns), "---|" * len(columns)))
    failed = 0
    for name, case in {**RECIPES, **EXAMPLES}.items():
        for way in ("once", "exact"):
            if only not in name or way == "exact" and not case.get("exact"):
                continue
            counts, faults = run_case(name, dict(case), way, places, work)
            failed += bool(faults)
            print("| %s | %s | %s | %s |" % (name, way, " | ".join(str(counts[c]) if counts else "" for c in columns), "; ".join(faults[:4]).replace("|", "/") or "ok"), flush=True)
    for name, text in MIXTURES.items():
        if only in name:
            counts, faults = run_mixture(name, text, places, work)
            failed += bool(faults)
            print("| %s | | %s | %s |" % (name, " | ".join(str(counts[c]) if counts else "" for c in columns), "; ".join(faults[:4]).replace("|", "/") or "ok"), flush=True)
    if not keep:
        shutil.rmtree(work)
    print("\n%s" % ("%d of the comparisons are outside of what is allowed" % failed if failed else "all within what is allowed"))
    sys.exit(1 if failed else 0)


main()
