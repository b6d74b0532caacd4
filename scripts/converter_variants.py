"""converter_variants.py - what compare_converter.py changes in models, as data: settings, vocabularies, names of files and tensors."""
import copy

ABSENT = object() # in an edit of a file: this key goes

# Differences that docs/compatibility.md names.
KNOWN = "|".join((
    r"key exaone.attention.layer_norm_rms_epsilon .* too much", # without it llama.cpp does not load the model
    r"tensor blk.\d+.ssm_a has other values", # the exponential function of torch is not exact
    r"key tokenizer.chat_template is 'rwkv-world'",
    r"key llama.attention.(key|value)_length = \d+ is too much", # of Mistral without head_dim
    r"key tokenizer.chat_templates is", # order of a hash set
    r"key tokenizer.ggml.\w+ is (483 items, not 484|\d+ items, not 483)", # imitations of SentencePiece are filled up, and have no tokens beyond the embedding
    r"key tokenizer.ggml.tokens is .* '\[PAD\d+\]', not '(<s>|</s>|<unk>|<\|endoftext\|>)'|key tokenizer.ggml.token_type is \[\d+\] 5, not 3", # tokens that only a class knows
    r"gap\d+|key tokenizer.ggml.token_type is \[259\] 3, not 5", # vocabularies with holes
))

# Converted as llama.cpp's own converter does, to the byte, but not loaded: no such model was ever published, or llama.cpp takes only those of published sizes.
NOT_LOADED = ("empty/qwen2moe-some-dense", "empty/qwen3moe-some-dense", "empty/qwen3-bias", "empty/gpt2-inner", "empty/gptneox-serial", "empty/deepseek2-lite", "empty/command-r-plus",
              "empty/bert-classes")

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
            yield change(base, name + "/without-" + key, drop=[key], **({"dir": "Stone-Test-2M"} if key == "model_type" else {}))
            if known and known is not base:
                yield change(known, name + "/typed/without-" + key, drop=[key])
    if "rope_theta" in base["config"] or "rope_scaling" in base["config"]:
        for kind, scaling in ROPES.items():
            yield change(base, name + "/rope-" + kind, {"rope_scaling": scaling})
            if known and known is not base:
                yield change(known, name + "/typed/rope-" + kind, {"rope_scaling": scaling})
    yield change(base, name + "/dtype", {"dtype": base["config"].get("torch_dtype", "bfloat16")}, drop=["torch_dtype"])


# ---- models as transformers itself has them: class, vocabulary, settings. Everything else is the class's default.

SMALL = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96, "vocab_size": 512, "max_position_embeddings": 512,
         "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
EVEN = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"} # as many heads of keys as there are heads
MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
MLA = {"q_lora_rank": 24, "kv_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 2,
       "topk_group": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1}
SEPARATED = {"edit": {"tokenizer_config.json": {"sep_token": "<|endoftext|>", "cls_token": "<|endoftext|>"}}}
EMPTY = {
    "llama": ("LlamaForCausalLM", "llama-spm", SMALL),
    "llama-bias": ("LlamaForCausalLM", "llama-spm", {**SMALL, "attention_bias": True, "mlp_bias": True}),
    "llama-tied": ("LlamaForCausalLM", "llama-spm", {**SMALL, "tie_word_embeddings": True}),
    "llama-bare": ("LlamaModel", "llama-spm", SMALL),
    "llama-wide-heads": ("LlamaForCausalLM", "llama-spm", {**SMALL, "head_dim": 32}),
    "mistral": ("MistralForCausalLM", "mistral-spm", SMALL),
    "mistral-window": ("MistralForCausalLM", "mistral-spm", {**SMALL, "sliding_window": 64, "head_dim": 32}),
    "mixtral": ("MixtralForCausalLM", "mixtral", {**SMALL, "num_local_experts": 4}),
    "smollm3": ("SmolLM3ForCausalLM", "smollm3", SMALL),
    "qwen2": ("Qwen2ForCausalLM", "qwen2-bpe", SMALL),
    "qwen2-tied-window": ("Qwen2ForCausalLM", "qwen2-bpe", {**SMALL, "tie_word_embeddings": True, "use_sliding_window": True, "sliding_window": 64, "max_window_layers": 1}),
    "qwen2-bare": ("Qwen2Model", "qwen2-bpe", SMALL),
    "qwen2moe": ("Qwen2MoeForCausalLM", "qwen2-bpe", {**SMALL, **MOE, "shared_expert_intermediate_size": 48}),
    "qwen2moe-some-dense": ("Qwen2MoeForCausalLM", "qwen2-bpe", {**SMALL, **MOE, "shared_expert_intermediate_size": 48, "decoder_sparse_step": 2, "mlp_only_layers": [1]}),
    "qwen3": ("Qwen3ForCausalLM", "qwen3", SMALL),
    "qwen3-bias": ("Qwen3ForCausalLM", "qwen3", {**SMALL, "attention_bias": True, "head_dim": 16}),
    "qwen3-bare": ("Qwen3Model", "qwen3", SMALL),
    "qwen3moe": ("Qwen3MoeForCausalLM", "qwen3moe", {**SMALL, **MOE}),
    "qwen3moe-some-dense": ("Qwen3MoeForCausalLM", "qwen3moe", {**SMALL, **MOE, "head_dim": 32, "mlp_only_layers": [0]}),
    "gemma": ("GemmaForCausalLM", "gemma", SMALL),
    "gemma2": ("Gemma2ForCausalLM", "gemma2", {**SMALL, "head_dim": 32, "query_pre_attn_scalar": 32}),
    "gemma3": ("Gemma3ForCausalLM", "gemma3", {**SMALL, "head_dim": 32}),
    "gemma3-linear": ("Gemma3ForCausalLM", "gemma3", {**SMALL, "head_dim": 32, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    "gemma3-untied": ("Gemma3ForCausalLM", "gemma3", {**SMALL, "head_dim": 32, "tie_word_embeddings": False, "query_pre_attn_scalar": 168}),
    "phi2": ("PhiForCausalLM", "gpt2", {**EVEN, "intermediate_size": 256}),
    "phi2-norms": ("PhiForCausalLM", "gpt2", {**EVEN, "intermediate_size": 256, "partial_rotary_factor": 0.4}),
    "phi3": ("Phi3ForCausalLM", "phi3", SMALL),
    "phi3-long": ("Phi3ForCausalLM", "phi3", {**SMALL, "original_max_position_embeddings": 128, "rope_scaling": {"type": "longrope", "long_factor": [1.25] * 8, "short_factor": [1.0] * 8}}),
    "phi3-partial": ("Phi3ForCausalLM", "phi3", {**SMALL, "partial_rotary_factor": 0.75, "sliding_window": 100, "original_max_position_embeddings": 256,
                                               "rope_scaling": {"type": "longrope", "long_factor": [1.25] * 6, "short_factor": [1.0] * 6}}),
    "gpt2": ("GPT2LMHeadModel", "gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 512, "n_positions": 512}),
    "gpt2-inner": ("GPT2LMHeadModel", "gpt2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 512, "n_positions": 512, "n_inner": 96}),
    "gptneox": ("GPTNeoXForCausalLM", "gpt2", SMALL),
    "gptneox-serial": ("GPTNeoXForCausalLM", "gpt2", {**SMALL, "use_parallel_residual": False, "rotary_pct": 0.5, "rotary_emb_base": 5000, "attention_bias": False}),
    "falcon": ("FalconForCausalLM", "gpt2", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 512}),
    "falcon-new": ("FalconForCausalLM", "gpt2", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True, "vocab_size": 512}),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2", {**SMALL, "sliding_window": 64}),
    "stablelm": ("StableLmForCausalLM", "gpt2", {**SMALL, "use_qkv_bias": True}),
    "stablelm-parallel": ("StableLmForCausalLM", "gpt2", {**SMALL, "use_parallel_residual": True, "partial_rotary_factor": 0.5}),
    "olmo": ("OlmoForCausalLM", "gpt2", {**SMALL, "clip_qkv": 8.0}),
    "olmo2": ("Olmo2ForCausalLM", "olmo2", SMALL),
    "olmo3": ("Olmo3ForCausalLM", "olmo2", {**SMALL, "num_hidden_layers": 5, "sliding_window": 64}),
    "olmoe": ("OlmoeForCausalLM", "gpt2", {**EVEN, "num_experts": 4, "num_experts_per_tok": 2}),
    "granite": ("GraniteForCausalLM", "granite", {**SMALL, "attention_bias": True, "mlp_bias": True, "logits_scaling": 8.0}),
    "granitemoe": ("GraniteMoeForCausalLM", "granite", {**SMALL, "num_local_experts": 4}),
    "granitemoeshared": ("GraniteMoeSharedForCausalLM", "granite", {**SMALL, "num_local_experts": 4, "shared_intermediate_size": 48}),
    "deepseek2": ("DeepseekV2ForCausalLM", "deepseek2", {**SMALL, **MLA, "num_key_value_heads": 4}),
    "deepseek2-lite": ("DeepseekV2ForCausalLM", "deepseek2", {**SMALL, **MLA, "q_lora_rank": None, "num_key_value_heads": 4, "topk_method": "greedy", "n_group": None, "topk_group": None}),
    "deepseek3": ("DeepseekV3ForCausalLM", "deepseek2", {**SMALL, **MLA, "num_key_value_heads": 4}),
    "glm4": ("Glm4ForCausalLM", "glm4", {**SMALL, "attention_bias": True}),
    "glm4moe": ("Glm4MoeForCausalLM", "glm4", {**SMALL, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "use_qk_norm": True, "head_dim": 32,
                                            "attention_bias": True}),
    "command-r": ("CohereForCausalLM", "gpt2", {**SMALL, "use_qk_norm": False}),
    "command-r-plus": ("CohereForCausalLM", "gpt2", {**SMALL, "use_qk_norm": True}),
    "cohere2": ("Cohere2ForCausalLM", "gpt2", SMALL),
    "bert": ("BertModel", "bert-wordpiece", EVEN),
    "bert-lm": ("BertForMaskedLM", "bert-wordpiece", EVEN),
    "camembert": ("CamembertModel", "bert-wordpiece", {**EVEN, "max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1}),
    "roberta": ("RobertaModel", "gpt2", {**EVEN, "max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1}),
    "xlmr": ("XLMRobertaModel", "xlmr-spm", {**EVEN, "max_position_embeddings": 130, "type_vocab_size": 1, "pad_token_id": 1}),
    "exaone4": ("Exaone4ForCausalLM", "gpt2", {**SMALL, "num_hidden_layers": 5}),
    "exaone4-all-full": ("Exaone4ForCausalLM", "gpt2", {**SMALL, "sliding_window": None, "layer_types": ["full_attention"] * 3}),
    "nemotron": ("NemotronForCausalLM", "llama-spm", SMALL),
    "arcee": ("ArceeForCausalLM", "llama-defaults", {**SMALL, "vocab_size": 483}),
    "ernie4_5": ("Ernie4_5ForCausalLM", "llama-spm", {**SMALL, "head_dim": 16}),
    "ernie4_5-moe": ("Ernie4_5_MoeForCausalLM", "llama-spm", {**SMALL, "moe_num_experts": 4, "moe_k": 2, "moe_intermediate_size": 32, "moe_num_shared_experts": 2, "num_key_value_heads": 2,
                                                            "moe_layer_start_index": 1, "moe_layer_end_index": 2, "moe_layer_interval": 1, "intermediate_size": 128}),
    "dots1": ("Dots1ForCausalLM", "gpt2", {**SMALL, "num_key_value_heads": 4, "head_dim": 16, "scoring_func": "sigmoid", "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 32, "first_k_dense_replace": 1}),
    "phimoe": ("PhiMoEForCausalLM", "phi3", {**SMALL, "num_local_experts": 4, "attention_bias": True, "lm_head_bias": True, "sliding_window": 100, "original_max_position_embeddings": 128,
                                           "rope_scaling": {"type": "longrope", "long_factor": [1.25] * 8, "short_factor": [1.0] * 8, "short_mscale": 1.25, "long_mscale": 1.5,
                                                            "original_max_position_embeddings": 128}}),
    "gemma-embedding": ("Gemma3TextModel", "gemma3", {**SMALL, "num_hidden_layers": 6, "head_dim": 32, "sliding_window": 65, "use_bidirectional_attention": True}),
    "starcoder": ("GPTBigCodeForCausalLM", "starcoder2", {"n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 512, "n_positions": 128}),
    "modern-bert": ("ModernBertModel", "gpt2", {**EVEN, "layer_norm_eps": 1e-5, "local_attention": 32, "global_attn_every_n_layers": 2}, SEPARATED),
    "modern-bert-classes": ("ModernBertForSequenceClassification", "gpt2", {**EVEN, "layer_norm_eps": 1e-5, "id2label": {"0": "x", "1": "y", "2": "z"}}, SEPARATED),
    "distilbert": ("DistilBertModel", "bert-wordpiece", {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "vocab_size": 512}),
    "distilbert-classes": ("DistilBertForSequenceClassification", "bert-wordpiece", {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "vocab_size": 512,
                                                                                 "id2label": {"0": "no", "1": "yes"}}),
    "distilbert-lm": ("DistilBertForMaskedLM", "bert-wordpiece", {"dim": 64, "hidden_dim": 96, "n_layers": 2, "n_heads": 4, "vocab_size": 512}),
    "bert-classes": ("BertForSequenceClassification", "bert-wordpiece", EVEN),
    "bert-labels": ("BertForSequenceClassification", "bert-wordpiece", {**EVEN, "id2label": {"0": "a", "1": "b", "10": "d", "2": "c"}}),
    "bert-one-label": ("BertForSequenceClassification", "bert-wordpiece", {**EVEN, "id2label": {"0": "LABEL_0"}}),
    "roberta-classes": ("RobertaForSequenceClassification", "gpt2", {**EVEN, "max_position_embeddings": 130, "pad_token_id": 1, "id2label": {"0": "LABEL_0"}}),
    "xlmr-classes": ("XLMRobertaForSequenceClassification", "xlmr-spm", {**EVEN, "max_position_embeddings": 130, "pad_token_id": 1, "id2label": {"0": "LABEL_0"}}),
    "seed_oss": ("SeedOssForCausalLM", "gpt2", SMALL),
    "mamba": ("MambaForCausalLM", "gpt2", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "state_size": 16}),
    "falcon-mamba": ("FalconMambaForCausalLM", "gpt2", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "state_size": 16}),
    "mamba2": ("Mamba2ForCausalLM", "gpt2", {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 512, "state_size": 16, "num_heads": 8, "head_dim": 16, "n_groups": 2}),
    "lfm2": ("Lfm2ForCausalLM", "gpt2", {**SMALL, "layer_types": ["conv", "full_attention", "conv"]}),
    "t5": ("T5ForConditionalGeneration", "t5", {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 512, "decoder_start_token_id": 0}),
    "t5-gated": ("T5ForConditionalGeneration", "t5", {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "decoder_start_token_id": 0, "num_heads": 4, "vocab_size": 512,
                                                   "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}),
    "t5-encoder": ("T5EncoderModel", "t5", {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 512}),
    "mt5": ("MT5ForConditionalGeneration", "t5", {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 512}),
    "umt5": ("UMT5ForConditionalGeneration", "t5", {"d_model": 64, "d_ff": 96, "d_kv": 16, "num_layers": 2, "num_heads": 4, "vocab_size": 512}),
}
MODEL_TYPE_OF = {
    "LlamaForCausalLM": "llama", "LlamaModel": "llama", "MistralForCausalLM": "mistral", "MixtralForCausalLM": "mixtral", "SmolLM3ForCausalLM": "smollm3",
    "Qwen2ForCausalLM": "qwen2", "Qwen2Model": "qwen2", "Qwen2MoeForCausalLM": "qwen2_moe", "Qwen3ForCausalLM": "qwen3", "Qwen3Model": "qwen3", "Qwen3MoeForCausalLM": "qwen3_moe",
    "GemmaForCausalLM": "gemma", "Gemma2ForCausalLM": "gemma2", "Gemma3ForCausalLM": "gemma3_text", "PhiForCausalLM": "phi", "Phi3ForCausalLM": "phi3", "GPT2LMHeadModel": "gpt2",
    "GPTNeoXForCausalLM": "gpt_neox", "FalconForCausalLM": "falcon", "Starcoder2ForCausalLM": "starcoder2", "StableLmForCausalLM": "stablelm", "OlmoForCausalLM": "olmo",
    "Olmo2ForCausalLM": "olmo2", "Olmo3ForCausalLM": "olmo3", "OlmoeForCausalLM": "olmoe", "GraniteForCausalLM": "granite", "GraniteMoeForCausalLM": "granitemoe",
    "GraniteMoeSharedForCausalLM": "granitemoeshared", "DeepseekV2ForCausalLM": "deepseek_v2", "DeepseekV3ForCausalLM": "deepseek_v3", "Glm4ForCausalLM": "glm4",
    "Glm4MoeForCausalLM": "glm4_moe", "CohereForCausalLM": "cohere", "Cohere2ForCausalLM": "cohere2", "BertModel": "bert", "BertForMaskedLM": "bert", "CamembertModel": "camembert",
    "RobertaModel": "roberta", "XLMRobertaModel": "xlm-roberta", "XLMRobertaForSequenceClassification": "xlm-roberta", "RobertaForSequenceClassification": "roberta", "BertForSequenceClassification": "bert",
    "DistilBertModel": "distilbert", "DistilBertForSequenceClassification": "distilbert", "DistilBertForMaskedLM": "distilbert", "ModernBertModel": "modernbert",
    "ModernBertForSequenceClassification": "modernbert", "GPTBigCodeForCausalLM": "gpt_bigcode", "Gemma3TextModel": "gemma3_text", "PhiMoEForCausalLM": "phimoe", "Dots1ForCausalLM": "dots1",
    "Ernie4_5ForCausalLM": "ernie4_5", "Ernie4_5_MoeForCausalLM": "ernie4_5_moe", "ArceeForCausalLM": "arcee", "Exaone4ForCausalLM": "exaone4", "NemotronForCausalLM": "nemotron", "SeedOssForCausalLM": "seed_oss",
    "MambaForCausalLM": "mamba", "FalconMambaForCausalLM": "falcon_mamba", "Mamba2ForCausalLM": "mamba2", "Lfm2ForCausalLM": "lfm2", "T5ForConditionalGeneration": "t5", "T5EncoderModel": "t5",
    "MT5ForConditionalGeneration": "mt5", "UMT5ForConditionalGeneration": "umt5",
}


def empty_models():
    for name, (kind, tok, settings, *more) in EMPTY.items():
        config = {"architectures": [kind], "model_type": MODEL_TYPE_OF[kind], **settings}
        yield {"name": "empty/" + name, "dir": "Stone-Test-2M", "seed": name, "tok": tok, "config": config, "empty": True, **(more[0] if more else {})}


# ---- names, cards and settings of generation: general.*

NAMES = ["plain", "llama-7b", "Llama-2-7B-Chat-hf", "Mistral-7B-Instruct-v0.3", "Foo_Bar-v1.5-13b-chat", "mixtral-8x7b-v0.1", "Qwen2.5-0.5B-Instruct-GPTQ-Int4", "model-128k-instruct",
         "gemma-2-2b-it", "Phi-3.5-MoE-instruct", "deepseek-r1-distill-qwen-1.5B", "tiny-random-LlamaForCausalLM", "A B C", "a-b-c-d-e", "SmolLM2-135M", "7B", "iter_0001000", "v2",
         "Yi-1.5-9B-Chat-16K", "OLMo-2-1124-7B-SFT", "granite-3.0-3b-a800m-instruct", "Nous-Hermes-2-Mixtral-8x7B-DPO", "bloomz-560m", "Test-2M", "test-0.1M-lora", "my.model-x-large",
         "Llama-3.2-1B-Instruct-bf16", "WizardLM-70B-V1.0", "h2o-danube3-500m-base", "name-with-\u00fcmlaut-3B", "__x__", "trailing-", "-leading", "Mini-small-medium", "T5-XXL"]
CARDS = {
    "empty": "", "no-front-matter": "# Title\n", "unclosed": "---\nlicense: mit\n", "empty-front-matter": "---\n---\n",
    "usual": "---\nlicense: mit\nlanguage: en\nlibrary_name: transformers\ntags:\n- a\n- b c\npipeline_tag: text-generation\n---\n",
    "lists": "---\nlicense:\n- mit\n- apache-2.0\nlanguage: [en, de, \"zh\"]\ndatasets:\n- org/data-set-v1.0\n- plain\n- https://huggingface.co/datasets/x/y\n---\n",
    "base": "---\nbase_model: meta-llama/Llama-2-7b-hf\n---\n",
    "bases": "---\nbase_model:\n- meta-llama/Llama-2-7b-chat-hf\n- mistralai/Mistral-7B-v0.1\nbase_model_relation: merge\n---\n",
    "base-odd": "---\nbase_model: just-a-name\n---\n", "base-url": "---\nbase_model: https://huggingface.co/org/Name-13B-v2\n---\n", "base-empty": "---\nbase_model: []\n---\n",
    "named": "---\nmodel_name: My Model 7B\nmodel_creator: Some One\nmodel_type: llama\nquantized_by: me\n---\n",
    "license-link": "---\nlicense: other\nlicense_name: own-licence\nlicense_link: LICENSE\n---\n",
    "authors": "---\nname: Name\nauthor: A. Uthor\nversion: v9\norganization: Org\ndescription: Some words\nfinetune: chat\nbasename: base\nsize_label: 3B\nurl: https://a.b\ndoi: 10.1/2\n"
               "uuid: 1234\nrepo_url: https://c.d\n---\n",
    "norwegian": "---\nlanguage:\n- no\n- en\n---\n", "numbers": "---\nlicense: 3\ntags:\n- 1\n- 2.5\n- true\n- null\n---\n", "tabs": "---\ntags:\n\t- a\n---\n",
    "nested": "---\nmodel-index:\n- name: x\n  results:\n  - task:\n      type: text-generation\n    metrics:\n    - type: acc\n      value: 0.5\ntags:\n- z\nwidget:\n- text: hello\n---\n",
    "quoted": "---\nlicense: 'mit'\ntags:\n- \"a: b\"\n- 'it''s'\n- plain # comment\n---\n", "folded": "---\ndescription: >\n  two\n  lines\nlicense: mit\n---\n",
    "crlf": "---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n", "bom": "\ufeff---\nlicense: mit\n---\n", "datasets-one": "---\ndatasets: org/one\n---\n",
    "tags-text": "---\ntags: single\nlanguages: [x]\n---\n",
}
GENERATION = {
    "all": {"temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "repetition_penalty": 1.1, "do_sample": True, "sequence": "k;p", "xtc_probability": 0.1, "xtc_threshold": 0.2,
            "penalty_last_n": 64, "penalty_repeat": 1.2, "mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1},
    "whole": {"temperature": 1, "top_p": 1, "top_k": 0}, "null": {"temperature": None, "top_p": 0.5}, "empty": {},
}


def metadata(bases):
    base = bases["llama-spm"]
    for d in NAMES:
        yield change(base, "name/" + d, dir=d, files={})
        yield change(base, "id/" + d, {"_name_or_path": "org/" + d}, files={})
    yield change(base, "id/path", {"_name_or_path": "/a/b/c"}, files={})
    for name, text in CARDS.items():
        yield change(base, "card/" + name, files={"README.md": text})
    for name, settings in GENERATION.items():
        yield change(base, "generation/" + name, files={"generation_config.json": settings})
    yield change(base, "option/model-name", options=["--model-name", "Other-Name-3B-v2"])


# ---- tokenizers

def added(i, content, special=False, **more):
    return {"id": i, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": special, **more}


def add_tokens(*tokens):
    def edit(root):
        ids = {t["id"] for t in root["added_tokens"]} | set(root["model"]["vocab"].values())
        for content, special, more in tokens:
            i = max(ids) + 1
            ids.add(i)
            root["added_tokens"].append(added(i, content, special, **more))
    return edit


def in_model(**changes):
    return lambda root: root["model"].update(changes)


def processor(single, pair=None):
    def edit(root):
        ids = {t["content"]: t["id"] for t in root["added_tokens"]}
        made = [[{"Sequence": {"id": t[1], "type_id": 0}} if t in ("$A", "$B") else {"SpecialToken": {"id": t, "type_id": 0}} for t in part.split()] for part in (single, pair or single + " $B")]
        names = sorted({t for part in (single, pair or "") for t in part.split() if t[0] != "$"})
        root["post_processor"] = {"type": "TemplateProcessing", "single": made[0], "pair": made[1],
                                  "special_tokens": {n: {"id": n, "ids": [ids[n]], "tokens": [n]} for n in names}}
    return edit


def every(*edits):
    def edit(root):
        for e in edits:
            e(root)
    return edit


ODD_TOKENS = (("<|strange|>", False, {}), ("[plain]", False, {"normalized": True}), (" spaced out ", False, {}), ("\u2581low", False, {"lstrip": True}), ("<unused7>", False, {}),
              ("\u4e2d\u6587", True, {}), ("<mask2>", False, {}), ("it has", False, {"normalized": True}), ("tab\there", False, {}), ("<|x", False, {}), ("\n\n", False, {"rstrip": True}))
TEMPLATES = {
    "list": {"chat_template": [{"name": "default", "template": "D{{ x }}"}, {"name": "tool_use", "template": "T"}]},
    "list-without-default": {"chat_template": [{"name": "rag", "template": "R"}, {"name": "other-name!", "template": "O"}]},
    "empty": {"chat_template": ""}, "empty-list": {"chat_template": []}, "null": {"chat_template": None},
}


def tokenizers(bases):
    gpt, fast, slow, like = bases["llama3-bpe"], bases["qwen2-bpe"], bases["llama-spm"], bases["llama-defaults"]
    for name, base in (("llama3", gpt), ("qwen2", fast), ("spm", slow), ("like", like), ("granite", bases["granite"]), ("glm4", bases["glm4"]), ("gemma3", bases["gemma3"])):
        def v(what, settings=None, base=base, name=name, **more):
            return change(base, "tok/%s/%s" % (name, what), settings, **more)
        config = "tokenizer_config.json"
        for what, settings in TEMPLATES.items():
            yield v("template-" + what, edit={config: settings})
        yield v("template-file", files={"chat_template.jinja": "file {{ x }}\n"})
        yield v("template-file-only", edit={config: {"chat_template": ABSENT}}, files={"chat_template.jinja": "file {{ x }}\n"})
        yield v("template-json", edit={config: {"chat_template": ABSENT}}, files={"chat_template.json": {"chat_template": "json {{ x }}"}})
        yield v("template-json-list", edit={config: {"chat_template": ABSENT}}, files={"chat_template.json": {"chat_template": [{"name": "default", "template": "j"}]}})
        yield v("template-one-more", edit={config: {"chat_template": ABSENT}}, files={"chat_template.jinja": "file", "additional_chat_templates/rag.jinja": "rag"})
        yield v("no-tokenizer-config", files={config: None})
        yield v("empty-tokenizer-config", files={config: {}})
        for key in ("bos_token", "eos_token", "pad_token", "unk_token", "add_bos_token", "add_eos_token", "tokenizer_class", "add_prefix_space", "clean_up_tokenization_spaces"):
            yield v("without-" + key, edit={config: {key: ABSENT}})
        for key in ("add_bos_token", "add_eos_token", "add_sep_token", "add_prefix_space"):
            for value in (True, False):
                yield v("%s-%s" % (key, value), edit={config: {key: value}})
        yield v("pad-is-eos", edit={config: lambda c: c.update(pad_token=c.get("eos_token"))})
        yield v("eos-unheard-of", edit={config: {"eos_token": "<|nowhere|>"}})
        yield v("class-fast", edit={config: {"tokenizer_class": "PreTrainedTokenizerFast"}})
        yield v("class-llama", edit={config: {"tokenizer_class": "LlamaTokenizerFast"}})
        yield v("class-gpt2", edit={config: {"tokenizer_class": "GPT2TokenizerFast"}})
        yield v("ids-lists", {"bos_token_id": [1], "eos_token_id": [2, 3]})
        yield v("ids-null", {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None})
        yield v("ids-large", {"bos_token_id": 100000, "eos_token_id": 511})
        yield v("ids-more", {"sep_token_id": 5, "cls_token_id": 6, "mask_token_id": 7, "unk_token_id": 8, "eot_token_id": 9})
        yield v("vocab-smaller", {"vocab_size": 500})
        yield v("generation-ids", files={"generation_config.json": {"eos_token_id": [3, 4], "bos_token_id": 7, "pad_token_id": 9}})
        if name == "spm" or name == "gemma3":
            yield v("added-tokens", files={"added_tokens.json": {"<extra>": 505, "x y": 506, "<|three|>": 507}})
            yield v("added-over-pieces", files={"added_tokens.json": {"<other>": 300}})
            yield v("decoder", edit={config: {"added_tokens_decoder": {"0": added(0, "<unk>", True), "300": added(300, "<other>"), "501": added(501, "<|s|>"), "502": added(502, "<t>", True),
                                                                      "503": added(503, "\u2581\u2581")}}})
            yield v("decoder-beyond", edit={config: {"added_tokens_decoder": {"600": added(600, "<far>", True)}}})
        if name == "spm":
            continue
        tok = "tokenizer.json"
        yield v("odd-tokens", edit={tok: add_tokens(*ODD_TOKENS)})
        yield v("odd-tokens-special", edit={tok: add_tokens(*((c, True, m) for c, _, m in ODD_TOKENS))})
        yield v("decoder-same", edit={tok: add_tokens(("<|one|>", True, {})), config: {"added_tokens_decoder": {"451": added(451, "<|one|>", True)}}})
        yield v("extra-special", edit={config: {"additional_special_tokens": ["<|end|>", "<tool_call>"]}})
        yield v("ignore-merges", edit={tok: in_model(ignore_merges=True)})
        yield v("no-merges", edit={tok: in_model(merges=[])})
        yield v("merges-pairs", edit={tok: lambda r: r["model"].update(merges=[m.split(" ", 1) if isinstance(m, str) else m for m in r["model"]["merges"]])})
        yield v("normalizer-nfc", edit={tok: {"normalizer": {"type": "NFC"}}})
        yield v("normalizer-lower", edit={tok: {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "Lowercase"}, {"type": "StripAccents"}]}}})
        yield v("no-processor", edit={tok: {"post_processor": None}})
        if name in ("llama3", "qwen2"):
            first, last = ("<|begin_of_text|>", "<|end_of_text|>") if name == "llama3" else ("<|endoftext|>", "<|im_end|>")
            for single, pair in ((first + " $A", None), ("$A " + last, None), (first + " $A " + last, None), ("$A", None), (first + " $A " + last, first + " $A %s %s $B " % (last, last) + last),
                                 (first + " $A " + last, first + " $A %s $B " % last + last), (last + " $A " + first, None)):
                yield v("single %s pair %s" % (single, pair), edit={tok: processor(single, pair)})
            yield v("roberta", edit={tok: lambda r, f=first, l=last: r.update(post_processor={"type": "RobertaProcessing", "sep": [l, 438], "cls": [f, 437], "trim_offsets": True, "add_prefix_space": False})})
            yield v("bert-processing", edit={tok: lambda r, f=first, l=last: r.update(post_processor={"type": "BertProcessing", "sep": [l, 438], "cls": [f, 437]})})
        yield v("vocab-larger", {"vocab_size": 520})


# ---- classes that transformers does not have: another model's tensors under other names

def renamed(base, name, kind, changes, config, tok=None, more=(), drop=("rope_scaling",)):
    """changes: (pattern, replacement) of names, or (pattern, None) for tensors that go. more: rows that come."""
    import re
    v = change(base, name, {"architectures": [kind], **config}, drop=drop, dir="Stone-Test-2M")
    v["config"].pop("model_type", None)
    rows = []
    for row in v["tensors"]:
        for pattern, to in changes:
            row = row if row is None or to is None else [re.sub(pattern, to, row[0])] + row[1:]
            if row and to is None and re.search(pattern, row[0]):
                row = None
        if row:
            rows.append(row)
    v["tensors"] = rows + list(more)
    v["tok"] = tok or v["tok"]
    return v


def other_classes(bases):
    def every_layer(name, *shape):
        return [["model.layers.%d.%s" % (i, name), "BF16", "norm1"] + list(shape) for i in range(2)]
    llama, mixtral, lfm2 = bases["llama"], bases["mixtral"], bases["lfm2"]
    yield renamed(llama, "class/internlm3", "InternLM3ForCausalLM", [], {})
    yield renamed(llama, "class/llama-embed", "LlamaBidirectionalModel", [("^model.", ""), ("lm_head", None)], {})
    yield renamed(llama, "class/orion", "OrionForCausalLM", [], {}, more=[["model.norm.bias", "BF16", "normal", 64]] + every_layer("input_layernorm.bias", 64) + every_layer("post_attention_layernorm.bias", 64))
    yield renamed(llama, "class/maincoder", "MaincoderForCausalLM", [], {}, "gpt2", every_layer("self_attn.q_norm.weight", 16) + every_layer("self_attn.k_norm.weight", 16))
    yield renamed(mixtral, "class/minimax-m2", "MiniMaxM2ForCausalLM", [], {"rotary_dim": 8, "scoring_func": "sigmoid"}, "gpt2",
                  every_layer("self_attn.q_norm.weight", 64) + every_layer("self_attn.k_norm.weight", 32) + every_layer("block_sparse_moe.e_score_correction_bias", 4))
    yield renamed(mixtral, "class/deepseek", "DeepseekForCausalLM", [("block_sparse_moe.gate", "mlp.gate"), ("block_sparse_moe", "mlp"), (r"\.w1\.", ".gate_proj."), (r"\.w2\.", ".down_proj."),
                                                                   (r"\.w3\.", ".up_proj.")],
                  {"n_routed_experts": 4, "n_shared_experts": 1, "moe_intermediate_size": 96, "first_k_dense_replace": 0}, drop=("num_local_experts",),
                  more=[["model.layers.%d.mlp.shared_experts.%s_proj.weight" % (i, n), "BF16", "normal"] + ([64, 96] if n == "down" else [96, 64]) for i in range(2) for n in ("gate", "up", "down")])
    yield renamed(lfm2, "class/lfm2moe", "Lfm2MoeForCausalLM", [("layers.1.feed_forward", None)],
                  {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "num_dense_layers": 1},
                  more=[["model.layers.1.feed_forward.gate.weight", "BF16", "normal", 4, 64], ["model.layers.1.feed_forward.expert_bias", "F32", "normal", 4]] +
                  [["model.layers.1.feed_forward.experts.%d.w%d.weight" % (e, w), "BF16", "normal"] + ([64, 32] if w == 2 else [32, 64]) for e in range(4) for w in (1, 2, 3)])
    for name, settings in (("qwen2vl", {"rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]}}), ("qwen2vl-flat", {"rope_scaling": {"rope_type": "default", "mrope_section": [2, 3, 3]}})):
        v = change(bases["qwen2-bpe"], "class/" + name, {"architectures": ["Qwen2VLForConditionalGeneration"], **settings}, dir="Stone-Test-2M")
        v["config"].pop("model_type")
        yield v
    v = change(bases["qwen3"], "class/qwen3vl", dir="Stone-Test-2M")
    text = {k: x for k, x in v["config"].items() if k not in ("architectures",)}
    v["config"] = {"architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl_own", "text_config": {**text, "rope_scaling": {"rope_type": "default", "mrope_section": [4, 6, 6]}},
                   "vision_config": {"deepstack_visual_indexes": [1]}}
    v["tensors"] = [[r[0].replace("model.", "model.language_model.", 1)] + r[1:] for r in v["tensors"]]
    yield v


def all_variants(bases):
    for name, base in bases.items():
        if base["dir"] == base["name"].removeprefix("arch-"):
            base = change(base, name, dir="Stone-Test-2M")
        if name != "gpt2-known-pre": # has a large vocabulary with holes
            yield from of_every_model(name, base)
    yield from empty_models()
    yield from other_classes(bases)
    yield from metadata(bases)
    yield from tokenizers(bases)
