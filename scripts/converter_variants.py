"""converter_variants.py - what compare_converter.py changes in models, as data: settings, vocabularies, names of files and tensors."""
import copy

ABSENT = object() # in an edit of a file: this key goes

# Differences that docs/compatibility.md names.
KNOWN = "|".join((
    r"key exaone.attention.layer_norm_rms_epsilon .* too much", # without it llama.cpp does not load the model
    r"tensor blk.\d+.ssm_a has other values", # the exponential function of torch is not exact
    r"key tokenizer.chat_template is 'rwkv-world'",
    r"key llama.attention.(key|value)_length = \d+ is too much", # of Mistral without head_dim
    r"gap\d+|key tokenizer.ggml.token_type is \[259\] 3, not 5", # vocabularies with holes
))

# Settings tried with every model that has positions.
ROPES = {
    "linear": {"type": "linear", "factor": 4.0},
    "linear-new": {"rope_type": "linear", "factor": 2},
    "dynamic": {"type": "dynamic", "factor": 2.0},
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128},
    "yarn-full": {"type": "yarn", "factor": 8.0, "original_max_position_embeddings": 64, "attention_factor": 0.75, "beta_fast": 16.0, "beta_slow": 2, "extrapolation_factor": 1.0,
                  "mscale": 0.707, "mscale_all_dim": 0.707},
    "llama3": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 128},
    "longrope": {"type": "longrope", "long_factor": [1.5] * 8, "short_factor": [1.0] * 8},
    "su": {"type": "su", "long_factor": [2.0] * 8, "short_factor": [1.25] * 8},
    "default": {"rope_type": "default"},
}

# model_type of the classes, where the models of tests/data do not say it.
MODEL_TYPES = {
    "llama": "llama", "qwen2": "qwen2", "gemma": "gemma", "phi2": "phi", "phi3": "phi3", "gptneox": "gpt_neox", "falcon": "falcon", "starcoder2": "starcoder2", "stablelm": "stablelm",
    "olmo": "olmo", "olmo2": "olmo2", "olmoe": "olmoe", "granite": "granite", "granitemoe": "granitemoe", "deepseek2": "deepseek_v3", "glm4": "glm4", "glm4moe": "glm4_moe",
    "command-r": "cohere", "cohere2": "cohere2", "bert": "bert", "roberta": "roberta", "nomic-bert": "nomic_bert", "exaone": "exaone", "exaone4": "exaone4", "nemotron": "nemotron",
    "seed_oss": "seed_oss", "gpt-oss": "gpt_oss", "mamba": "mamba", "mamba2": "mamba2", "rwkv7": "rwkv7", "lfm2": "lfm2", "t5": "t5", "qwen2moe": "qwen2_moe", "qwen3": "qwen3",
    "qwen3moe": "qwen3_moe", "gemma2": "gemma2", "gemma3": "gemma3_text", "smollm3": "smollm3",
}


def change(base, name, config=None, drop=(), **more):
    v = copy.deepcopy(base)
    v["name"] = name
    v["config"].update(config or {})
    for key in drop:
        v["config"].pop(key, None)
    v.update(more)
    return v


def of_every_model(name, base):
    """Settings that any model may have or lack."""
    yield change(base, name)
    known = base if "model_type" in base["config"] else None
    if not known and name in MODEL_TYPES:
        known = change(base, name + "/typed", {"model_type": MODEL_TYPES[name]})
        yield known
    for key in base["config"]:
        if key not in ("architectures", "hidden_size", "n_embd", "d_model"):
            yield change(base, name + "/without-" + key, drop=[key])
            if known and known is not base:
                yield change(known, name + "/typed/without-" + key, drop=[key])
    if "rope_theta" in base["config"] or "rope_scaling" in base["config"]:
        for kind, scaling in ROPES.items():
            yield change(base, name + "/rope-" + kind, {"rope_scaling": scaling})
            if known and known is not base:
                yield change(known, name + "/typed/rope-" + kind, {"rope_scaling": scaling})
    yield change(base, name + "/dtype", {"dtype": base["config"].get("torch_dtype", "bfloat16")}, drop=["torch_dtype"])


def all_variants(bases):
    for name, base in bases.items():
        if base["dir"] == base["name"].removeprefix("arch-"):
            base = change(base, name, dir="Stone-Test-2M")
        if name != "gpt2-known-pre": # has a large vocabulary with holes
            yield from of_every_model(name, base)
