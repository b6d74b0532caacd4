#!/usr/bin/env python3
"""compare_vocabularies.py [--keep DIR] - merge small models of different vocabularies with quern and with the real mergekit, and compare.

    MERGEKIT_YAML=/path/to/mergekit-yaml QUERN=build/quern scripts/compare_vocabularies.py

Runs inside of mergekit's own Python environment. Tokenizers are trained on a few lines of text; every recipe is dtype float32 with linear or ties, where both
programs compute the same bits. Compared, token by token: the rows of embeddings and head, as bits; the set of tokens; the ids of the base's tokens; whether
transformers loads quern's tokenizer with these ids; and, for byte-pair models, whether text of the base is split as by the base. mergekit numbers new tokens in
the order of a hash table, so ids of new tokens are not compared.

Exit status 1 when anything differs that docs/compatibility.md does not name.
"""
import json, os, subprocess, sys, tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
QUERN = os.path.abspath(os.environ.get("QUERN", os.path.join(ROOT, "build", "quern")))

if "MERGEKIT_YAML" not in os.environ:
    sys.exit(__doc__)
PYTHON = os.path.join(os.path.dirname(os.path.abspath(os.environ["MERGEKIT_YAML"])), "python")
if os.environ.get("COMPARE_VOCABULARIES_INSIDE") != PYTHON:
    os.environ.update(COMPARE_VOCABULARIES_INSIDE=PYTHON, PYTHONHASHSEED="0", HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    os.execv(PYTHON, [PYTHON, os.path.abspath(__file__)] + sys.argv[1:])

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

ENGLISH = ["the quick brown fox jumps over the lazy dog and the cat sat on the mat with the hat"] * 20
CODE = ['int main(void) { return printf("hello %d", argc); } for (int i = 0; i < n; i++) while if else'] * 20
GERMAN = ["das ist ein kleines haus und die katze sitzt auf der matte im garten"] * 20
HIDDEN, INTER = 24, 32


def tokenizer(kind, text, size, first, special, plain=()):
    """first: special tokens in the vocabulary; special, plain: added behind it."""
    if kind == "bpe":
        t = Tokenizer(models.BPE())
        t.pre_tokenizer, t.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=first, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    elif kind == "unigram":
        t = Tokenizer(models.Unigram())
        t.pre_tokenizer, t.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
        trainer = trainers.UnigramTrainer(vocab_size=size, special_tokens=["<unk>"] + first, unk_token="<unk>", show_progress=False)
    else:
        t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        t.pre_tokenizer = pre_tokenizers.Whitespace()
        trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=["[UNK]"] + first, show_progress=False)
    t.train_from_iterator(text, trainer)
    t.add_special_tokens([AddedToken(a, special=True, normalized=False) for a in special])
    t.add_tokens([AddedToken(a) for a in plain])
    return t


def write_model(where, seed, t, padding=0):
    os.makedirs(where)
    rows = t.get_vocab_size() + padding
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": HIDDEN, "intermediate_size": INTER, "num_hidden_layers": 1,
              "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": rows, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
              "tie_word_embeddings": False, "torch_dtype": "float32", "bos_token_id": 0, "eos_token_id": 1}
    random = torch.Generator().manual_seed(seed)
    normal = lambda *shape: torch.randn(*shape, generator=random) * 0.05
    layer = "model.layers.0."
    w = {"model.embed_tokens.weight": normal(rows, HIDDEN), "lm_head.weight": normal(rows, HIDDEN), "model.norm.weight": normal(HIDDEN) + 1,
         layer + "mlp.gate_proj.weight": normal(INTER, HIDDEN), layer + "mlp.up_proj.weight": normal(INTER, HIDDEN),
         layer + "mlp.down_proj.weight": normal(HIDDEN, INTER), layer + "input_layernorm.weight": normal(HIDDEN) + 1,
         layer + "post_attention_layernorm.weight": normal(HIDDEN) + 1}
    w.update((layer + "self_attn.%s_proj.weight" % n, normal(HIDDEN, HIDDEN)) for n in "qkvo")
    save_file(w, os.path.join(where, "model.safetensors"), metadata={"format": "pt"})
    t.save(os.path.join(where, "tokenizer.json"))
    with open(os.path.join(where, "config.json"), "w") as f:
        json.dump(config, f)
    with open(os.path.join(where, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}, f)


def write_models(where):
    a = tokenizer("bpe", ENGLISH, 300, ["<s>", "</s>"], ["<|im_start|>", "<|im_end|>"])
    b = tokenizer("bpe", CODE, 310, ["<s>", "</s>"], ["<|tool|>", "<|im_end|>"], ["plain word"])
    c = tokenizer("bpe", GERMAN, 290, ["</s>", "<s>"], ["<|tool|>"])
    sets = [("a", a, 0), ("b", b, 0), ("c", c, 0), ("apad", a, 12), ("bpad", b, 3),
            ("u1", tokenizer("unigram", ENGLISH, 60, ["<s>"], ["<extra>"]), 0), ("u2", tokenizer("unigram", CODE, 50, ["<s>"], ["<more>"]), 0),
            ("w1", tokenizer("wordpiece", ENGLISH, 80, ["[CLS]"], ["<extra>"]), 0), ("w2", tokenizer("wordpiece", CODE, 90, ["[CLS]"], ["<more>"]), 0)]
    for seed, (name, t, padding) in enumerate(sets):
        write_model(os.path.join(where, name), seed, t, padding)


def linear(*names):
    share = {1: [1], 2: [0.6, 0.4]}[len(names)]
    return "merge_method: linear\nmodels:\n" + "".join("- {model: DIR/%s, parameters: {weight: %s}}\n" % p for p in zip(names, share))


def ties(base, *names):
    return "merge_method: ties\nbase_model: DIR/%s\nmodels:\n" % base + "".join("- {model: DIR/%s, parameters: {weight: 0.4, density: 1}}\n" % n for n in names)


UNION = "tokenizer_source: union\n"
# name: (recipe, the tokenizer's model, which of its texts quern must split as before)
RECIPES = {
    "union, no base": (linear("a", "b") + UNION, None, True),
    "union": (ties("a", "b") + UNION, "a", True),
    "union of three": (ties("a", "b", "c") + UNION, "a", True),
    "base": (ties("a", "b", "c") + "tokenizer_source: base\n", "a", True),
    "a model": (linear("a", "b") + "tokenizer_source: DIR/b\n", "b", True),
    "tokens": (ties("a", "b", "c") + """tokenizer:
  source: union
  tokens:
    <|im_start|>: {source: {kind: model_token, model: DIR/b, token: <|tool|>}, force: true}
    <|tool|>: {source: DIR/c}
    <|im_end|>: {source: {kind: model_token, model: DIR/b, token_id: 5}}
""", "a", True),
    "force": (ties("a", "b") + "tokenizer: {source: union, tokens: {<|im_end|>: {source: DIR/b, force: true}}}\n", "a", True),
    "padding": (ties("a", "b") + "tokenizer: {source: union, pad_to_multiple_of: 64}\n", "a", True),
    "padding of the base": (ties("a", "b") + "tokenizer: {source: base, pad_to_multiple_of: 32}\n", "a", True),
    "padded models": (ties("apad", "bpad") + UNION, "apad", True),
    "Unigram": (ties("u1", "u2") + UNION, "u1", False),
    "WordPiece": (ties("w1", "w2") + UNION, "w1", False),
    "WordPiece, base": (ties("w1", "w2") + "tokenizer_source: base\n", "w1", True),
    "BPE with Unigram": (ties("a", "u1") + UNION, "a", True),
}


def bits(t):
    return t.view(torch.int32)


def compare(name, where, ours, theirs):
    """What differs, as a list of words."""
    _, source, splits = RECIPES[name]
    wrong = []
    mine, other = AutoTokenizer.from_pretrained(ours), AutoTokenizer.from_pretrained(theirs)
    x, y = mine.get_vocab(), other.get_vocab()
    if set(x) != set(y):
        wrong.append("tokens")
    plain = Tokenizer.from_file(os.path.join(ours, "tokenizer.json"))
    if plain.get_vocab() != x:
        wrong.append("transformers and tokenizers give other ids")
    if source:
        old = Tokenizer.from_file(os.path.join(where, source, "tokenizer.json"))
        if any(x[t] != i or y[t] != i for t, i in old.get_vocab().items()):
            wrong.append("ids of the base")
        for text in (ENGLISH[0], CODE[0], "<s>ünï © 日本<|im_end|>"):
            if splits and plain.encode(text).ids != old.encode(text).ids:
                wrong.append("text is split otherwise: %r" % text)
    a, b = load_file(os.path.join(ours, "model.safetensors")), load_file(os.path.join(theirs, "model.safetensors"))
    both = sorted(set(x) & set(y))
    for tensor in sorted(b):
        p, q = a[tensor], b[tensor]
        if tensor in ("model.embed_tokens.weight", "lm_head.weight"):
            padding = q[len(y):]
            p, q = p[[x[t] for t in both]], q[[y[t] for t in both]]
            if len(padding) and (padding - a[tensor][-len(padding):]).abs().max() > 1e-8:
                wrong.append(tensor + ": padding")
        if p.shape != q.shape or not torch.equal(bits(p), bits(q)):
            wrong.append(tensor)
    return wrong, "%d tokens, %d rows" % (len(x), len(a["lm_head.weight"]))


def main(where):
    write_models(where)
    failed = 0
    for i, (name, (recipe, _, _)) in enumerate(RECIPES.items()):
        path, ours, theirs = (os.path.join(where, "%02d%s" % (i, s)) for s in (".yml", "-quern", "-mergekit"))
        with open(path, "w") as f:
            f.write(recipe.replace("DIR", where) + "dtype: float32\n")
        for command in ([os.environ["MERGEKIT_YAML"], path, theirs, "--quiet"], [QUERN, "merge", "-q", path, ours]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                sys.exit("%s: %s failed:\n%s" % (name, command[0], done.stderr[-1000:]))
        wrong, size = compare(name, where, ours, theirs)
        failed += bool(wrong)
        print("%-20s %s: %s" % (name, size, "; ".join(wrong) or "equal"), flush=True)
    return failed > 0


if "--keep" in sys.argv:
    sys.exit(main(os.path.abspath(sys.argv[sys.argv.index("--keep") + 1])))
with tempfile.TemporaryDirectory() as d:
    sys.exit(main(d))
