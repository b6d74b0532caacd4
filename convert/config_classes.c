/* config_classes.c - the defaults of configuration classes, one row for each model_type. */
#include "config_classes.h"

/* clang-format off */
static const struct config_class classes[] = {
    {"llama",
     "hidden_size=4096 intermediate_size=11008 max_position_embeddings=2048 "
     "num_attention_heads=32 num_hidden_layers=32 rms_norm_eps=1e-06 rope_theta=10000.0 "
     "vocab_size=32000",
     KV_FOLLOW_HEADS | DIM_FOLLOWS_HEADS},
    {"mistral",
     "hidden_size=4096 intermediate_size=14336 max_position_embeddings=131072 "
     "num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=8 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 sliding_window=4096 vocab_size=32000",
     KV_FOLLOW_HEADS | DIM_FOLLOWS_HEADS},
    {"mixtral",
     "hidden_size=4096 intermediate_size=14336 max_position_embeddings=131072 "
     "num_attention_heads=32 num_experts_per_tok=2 num_hidden_layers=32 "
     "num_key_value_heads=8 num_local_experts=8 rms_norm_eps=1e-05 rope_theta=1000000.0 "
     "vocab_size=32000",
     KV_FOLLOW_HEADS},
    {"qwen2",
     "hidden_size=4096 intermediate_size=22016 max_position_embeddings=32768 "
     "num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=32 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 vocab_size=151936",
     KV_FOLLOW_HEADS},
    {"qwen2_moe",
     "hidden_size=2048 intermediate_size=5632 max_position_embeddings=32768 "
     "moe_intermediate_size=1408 norm_topk_prob=false num_attention_heads=16 "
     "num_experts=60 num_experts_per_tok=4 num_hidden_layers=24 num_key_value_heads=16 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 shared_expert_intermediate_size=5632 "
     "vocab_size=151936",
     0},
    {"qwen3",
     "head_dim=128 hidden_size=4096 intermediate_size=22016 max_position_embeddings=32768 "
     "num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=32 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 vocab_size=151936",
     KV_FOLLOW_HEADS},
    {"qwen3_moe",
     "hidden_size=2048 intermediate_size=6144 max_position_embeddings=32768 "
     "moe_intermediate_size=768 norm_topk_prob=false num_attention_heads=32 "
     "num_experts=128 num_experts_per_tok=8 num_hidden_layers=24 num_key_value_heads=4 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 vocab_size=151936",
     0},
    {"gemma",
     "head_dim=256 hidden_size=3072 intermediate_size=24576 max_position_embeddings=8192 "
     "num_attention_heads=16 num_hidden_layers=28 num_key_value_heads=16 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 vocab_size=256000",
     0},
    {"gemma2",
     "attn_logit_softcapping=50.0 final_logit_softcapping=30.0 head_dim=256 "
     "hidden_size=2304 intermediate_size=9216 max_position_embeddings=8192 "
     "num_attention_heads=8 num_hidden_layers=26 num_key_value_heads=4 rms_norm_eps=1e-06 "
     "rope_theta=10000.0 sliding_window=4096 vocab_size=256000",
     0},
    {"gemma3_text",
     "head_dim=256 hidden_size=2304 intermediate_size=9216 max_position_embeddings=131072 "
     "num_attention_heads=8 num_hidden_layers=26 num_key_value_heads=4 rms_norm_eps=1e-06 "
     "rope_local_base_freq=10000.0 rope_theta=1000000.0 sliding_window=4096 "
     "vocab_size=262208",
     0},
    {"phi",
     "hidden_size=2048 intermediate_size=8192 layer_norm_eps=1e-05 "
     "max_position_embeddings=2048 num_attention_heads=32 num_hidden_layers=24 "
     "partial_rotary_factor=0.5 rope_theta=10000.0 vocab_size=51200",
     KV_FOLLOW_HEADS},
    {"phi3",
     "hidden_size=3072 intermediate_size=8192 max_position_embeddings=4096 "
     "num_attention_heads=32 num_hidden_layers=32 original_max_position_embeddings=4096 "
     "partial_rotary_factor=1.0 rms_norm_eps=1e-05 rope_theta=10000.0 vocab_size=32064",
     KV_FOLLOW_HEADS},
    {"gpt2",
     "layer_norm_epsilon=1e-05 n_embd=768 n_head=12 n_layer=12 n_positions=1024 "
     "vocab_size=50257",
     0},
    {"gpt_neox",
     "hidden_size=6144 intermediate_size=24576 layer_norm_eps=1e-05 "
     "max_position_embeddings=2048 num_attention_heads=64 num_hidden_layers=44 "
     "rope_theta=10000 rotary_emb_base=10000 rotary_pct=0.25 use_parallel_residual=true "
     "vocab_size=50432",
     0},
    {"falcon",
     "hidden_size=4544 layer_norm_epsilon=1e-05 max_position_embeddings=2048 "
     "num_attention_heads=71 num_hidden_layers=32 rope_theta=10000.0 vocab_size=65024",
     0},
    {"starcoder2",
     "hidden_size=3072 intermediate_size=12288 max_position_embeddings=4096 "
     "norm_epsilon=1e-05 num_attention_heads=24 num_hidden_layers=30 "
     "num_key_value_heads=2 rope_theta=10000.0 vocab_size=49152",
     0},
    {"stablelm",
     "hidden_size=2560 intermediate_size=6912 layer_norm_eps=1e-05 "
     "max_position_embeddings=4096 num_attention_heads=32 num_hidden_layers=32 "
     "num_key_value_heads=32 partial_rotary_factor=0.25 rope_theta=10000 "
     "use_parallel_residual=false vocab_size=50304",
     0},
    {"olmo",
     "hidden_size=4096 intermediate_size=11008 max_position_embeddings=2048 "
     "num_attention_heads=32 num_hidden_layers=32 rope_theta=10000.0 vocab_size=50304",
     KV_FOLLOW_HEADS},
    {"olmo2",
     "hidden_size=4096 intermediate_size=11008 max_position_embeddings=2048 "
     "num_attention_heads=32 num_hidden_layers=32 rms_norm_eps=1e-05 rope_theta=10000.0 "
     "vocab_size=50304",
     KV_FOLLOW_HEADS},
    {"olmo3",
     "hidden_size=4096 intermediate_size=11008 max_position_embeddings=2048 "
     "num_attention_heads=32 num_hidden_layers=32 rms_norm_eps=1e-05 rope_theta=10000.0 "
     "sliding_window=4096 vocab_size=50304",
     KV_FOLLOW_HEADS},
    {"olmoe",
     "hidden_size=2048 intermediate_size=2048 max_position_embeddings=4096 "
     "norm_topk_prob=false num_attention_heads=16 num_experts=64 num_experts_per_tok=8 "
     "num_hidden_layers=16 rms_norm_eps=1e-05 rope_theta=10000.0 vocab_size=50304",
     KV_FOLLOW_HEADS},
    {"granite",
     "attention_multiplier=1.0 embedding_multiplier=1.0 hidden_size=4096 "
     "intermediate_size=11008 logits_scaling=1.0 max_position_embeddings=2048 "
     "num_attention_heads=32 num_hidden_layers=32 residual_multiplier=1.0 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 vocab_size=32000",
     KV_FOLLOW_HEADS},
    {"granitemoe",
     "attention_multiplier=1.0 embedding_multiplier=1.0 hidden_size=4096 "
     "intermediate_size=11008 logits_scaling=1.0 max_position_embeddings=2048 "
     "num_attention_heads=32 num_experts_per_tok=2 num_hidden_layers=32 "
     "num_local_experts=8 residual_multiplier=1.0 rms_norm_eps=1e-06 rope_theta=10000.0 "
     "vocab_size=32000",
     KV_FOLLOW_HEADS},
    {"granitemoeshared",
     "attention_multiplier=1.0 embedding_multiplier=1.0 hidden_size=4096 "
     "intermediate_size=11008 logits_scaling=1.0 max_position_embeddings=2048 "
     "num_attention_heads=32 num_experts_per_tok=2 num_hidden_layers=32 "
     "num_local_experts=8 residual_multiplier=1.0 rms_norm_eps=1e-06 rope_theta=10000.0 "
     "shared_intermediate_size=0 vocab_size=32000",
     KV_FOLLOW_HEADS},
    {"deepseek_v2",
     "first_k_dense_replace=0 head_dim=64 hidden_size=4096 intermediate_size=11008 "
     "kv_lora_rank=512 max_position_embeddings=2048 moe_intermediate_size=1407 "
     "n_routed_experts=64 n_shared_experts=2 norm_topk_prob=false num_attention_heads=32 "
     "num_hidden_layers=32 q_lora_rank=1536 qk_nope_head_dim=128 qk_rope_head_dim=64 "
     "rms_norm_eps=1e-06 rope_theta=10000.0 routed_scaling_factor=1.0 v_head_dim=128 "
     "vocab_size=32000",
     KV_FOLLOW_HEADS},
    {"deepseek_v3",
     "first_k_dense_replace=3 head_dim=64 hidden_size=7168 intermediate_size=18432 "
     "kv_lora_rank=512 max_position_embeddings=4096 moe_intermediate_size=2048 n_group=8 "
     "n_routed_experts=256 n_shared_experts=1 norm_topk_prob=true num_attention_heads=128 "
     "num_experts_per_tok=8 num_hidden_layers=61 num_key_value_heads=128 q_lora_rank=1536 "
     "qk_nope_head_dim=128 qk_rope_head_dim=64 rms_norm_eps=1e-06 rope_theta=10000.0 "
     "routed_scaling_factor=2.5 topk_group=4 v_head_dim=128 vocab_size=129280",
     KV_FOLLOW_HEADS},
    {"glm4",
     "head_dim=128 hidden_size=4096 intermediate_size=13696 "
     "max_position_embeddings=131072 num_attention_heads=32 num_hidden_layers=40 "
     "num_key_value_heads=2 partial_rotary_factor=0.5 rms_norm_eps=1.5625e-07 "
     "rope_theta=10000.0 vocab_size=151552",
     0},
    {"glm4_moe",
     "first_k_dense_replace=1 hidden_size=4096 intermediate_size=10944 "
     "max_position_embeddings=131072 moe_intermediate_size=1408 n_group=1 "
     "n_routed_experts=128 n_shared_experts=1 norm_topk_prob=true num_attention_heads=96 "
     "num_experts_per_tok=8 num_hidden_layers=46 num_key_value_heads=8 "
     "partial_rotary_factor=0.5 rms_norm_eps=1e-05 rope_theta=10000.0 "
     "routed_scaling_factor=1.0 topk_group=1 vocab_size=151552",
     0},
    {"cohere",
     "hidden_size=8192 intermediate_size=22528 layer_norm_eps=1e-05 logit_scale=0.0625 "
     "max_position_embeddings=8192 num_attention_heads=64 num_hidden_layers=40 "
     "rope_theta=10000.0 vocab_size=256000",
     KV_FOLLOW_HEADS},
    {"cohere2",
     "hidden_size=8192 intermediate_size=22528 layer_norm_eps=1e-05 logit_scale=0.0625 "
     "max_position_embeddings=8192 num_attention_heads=64 num_hidden_layers=40 "
     "rope_theta=10000.0 sliding_window=4096 vocab_size=256000",
     KV_FOLLOW_HEADS | DIM_IF_ABSENT},
    {"bert",
     "hidden_size=768 intermediate_size=3072 layer_norm_eps=1e-12 "
     "max_position_embeddings=512 num_attention_heads=12 num_hidden_layers=12 "
     "pad_token_id=0 type_vocab_size=2 vocab_size=30522",
     0},
    {"camembert",
     "hidden_size=768 intermediate_size=3072 layer_norm_eps=1e-12 "
     "max_position_embeddings=512 num_attention_heads=12 num_hidden_layers=12 "
     "pad_token_id=1 type_vocab_size=2 vocab_size=30522",
     0},
    {"roberta",
     "hidden_size=768 intermediate_size=3072 layer_norm_eps=1e-12 "
     "max_position_embeddings=512 num_attention_heads=12 num_hidden_layers=12 "
     "pad_token_id=1 type_vocab_size=2 vocab_size=50265",
     0},
    {"xlm-roberta",
     "hidden_size=768 intermediate_size=3072 layer_norm_eps=1e-12 "
     "max_position_embeddings=512 num_attention_heads=12 num_hidden_layers=12 "
     "pad_token_id=1 type_vocab_size=2 vocab_size=30522",
     0},
    {"exaone4",
     "hidden_size=4096 intermediate_size=16384 max_position_embeddings=2048 "
     "num_attention_heads=32 num_hidden_layers=32 num_key_value_heads=32 "
     "rms_norm_eps=1e-05 rope_theta=10000.0 sliding_window=4096 sliding_window_pattern=4 "
     "vocab_size=102400",
     0},
    {"nemotron",
     "hidden_size=6144 intermediate_size=24576 max_position_embeddings=4096 "
     "norm_eps=1e-05 num_attention_heads=48 num_hidden_layers=32 "
     "partial_rotary_factor=0.5 rope_theta=10000.0 vocab_size=256000",
     DIM_FOLLOWS_HEADS},
    {"seed_oss",
     "head_dim=128 hidden_size=4096 intermediate_size=27648 "
     "max_position_embeddings=524288 num_attention_heads=80 num_hidden_layers=64 "
     "num_key_value_heads=8 rms_norm_eps=1e-06 rope_theta=10000.0 vocab_size=155136",
     KV_FOLLOW_HEADS | DIM_FOLLOWS_HEADS},
    {"gpt_oss",
     "head_dim=64 hidden_size=2880 intermediate_size=2880 max_position_embeddings=131072 "
     "num_attention_heads=64 num_experts_per_tok=4 num_hidden_layers=36 "
     "num_key_value_heads=8 num_local_experts=128 rms_norm_eps=1e-05 "
     "rope_scaling={\"rope_type\":\"yarn\",\"factor\":32.0,\"beta_fast\":32.0,"
     "\"beta_slow\":1.0,\"truncate\":false,\"original_max_position_embeddings\":4096} "
     "rope_theta=150000.0 sliding_window=128 vocab_size=201088",
     KV_FOLLOW_HEADS | DIM_FOLLOWS_HEADS},
    {"lfm2",
     "block_auto_adjust_ff_dim=true block_ffn_dim_multiplier=1.0 block_multiple_of=256 "
     "conv_L_cache=3 hidden_size=2560 intermediate_size=12288 "
     "max_position_embeddings=128000 norm_eps=1e-05 num_attention_heads=32 "
     "num_hidden_layers=32 num_key_value_heads=8 rope_theta=1000000.0 vocab_size=65536",
     0},
    {"t5",
     "d_ff=2048 d_kv=64 d_model=512 layer_norm_epsilon=1e-06 "
     "num_heads=8 num_layers=6 pad_token_id=0 relative_attention_num_buckets=32 "
     "vocab_size=32128",
     0},
    {"mt5",
     "d_ff=1024 d_kv=64 d_model=512 decoder_start_token_id=0 layer_norm_epsilon=1e-06 "
     "num_heads=6 num_layers=8 pad_token_id=0 "
     "relative_attention_num_buckets=32 vocab_size=250112",
     0},
    {"umt5",
     "d_ff=1024 d_kv=64 d_model=512 decoder_start_token_id=0 layer_norm_epsilon=1e-06 "
     "num_heads=6 num_layers=8 pad_token_id=0 "
     "relative_attention_num_buckets=32 vocab_size=250112",
     0},
    {"smollm3",
     "hidden_size=2048 intermediate_size=11008 max_position_embeddings=32768 "
     "num_attention_heads=16 num_hidden_layers=36 num_key_value_heads=4 "
     "rms_norm_eps=1e-06 rope_theta=2000000.0 vocab_size=128256",
     KV_FOLLOW_HEADS},
    {"arcee",
     "hidden_size=2560 "
     "intermediate_size=18432 max_position_embeddings=4096 num_attention_heads=32 "
     "num_hidden_layers=32 rms_norm_eps=1e-05 rope_theta=10000.0 vocab_size=32000",
     KV_FOLLOW_HEADS | DIM_FOLLOWS_HEADS},
    {"ernie4_5",
     "head_dim=128 hidden_size=1024 "
     "intermediate_size=3072 max_position_embeddings=131072 num_attention_heads=16 "
     "num_hidden_layers=18 num_key_value_heads=2 rms_norm_eps=1e-05 rope_theta=500000.0 "
     "vocab_size=103424",
     KV_FOLLOW_HEADS | DIM_FOLLOWS_HEADS},
    {"ernie4_5_moe",
     "hidden_size=2560 "
     "intermediate_size=12288 max_position_embeddings=131072 moe_intermediate_size=1536 "
     "moe_k=6 moe_layer_interval=1 moe_layer_start_index=1 moe_num_experts=64 "
     "moe_num_shared_experts=2 num_attention_heads=20 num_hidden_layers=28 "
     "num_key_value_heads=4 rms_norm_eps=1e-05 rope_theta=500000.0 vocab_size=103424",
     0},
    {"dots1",
     "first_k_dense_replace=0 hidden_size=4608 "
     "intermediate_size=10944 "
     "max_position_embeddings=2048 moe_intermediate_size=1408 n_group=1 "
     "norm_topk_prob=false num_attention_heads=32 num_hidden_layers=62 rms_norm_eps=1e-06 "
     "rope_theta=10000.0 routed_scaling_factor=1.0 sliding_window=4096 topk_group=1 "
     "vocab_size=152064",
     KV_FOLLOW_HEADS},
    {"phimoe",
     "hidden_size=4096 "
     "intermediate_size=6400 max_position_embeddings=131072 num_attention_heads=32 "
     "num_experts_per_tok=2 num_hidden_layers=32 num_key_value_heads=8 "
     "num_local_experts=16 rms_norm_eps=1e-05 rope_theta=1000000.0 vocab_size=32064",
     KV_FOLLOW_HEADS},
    {"distilbert",
     "dim=768 hidden_dim=3072 "
     "max_position_embeddings=512 n_heads=12 n_layers=6 vocab_size=30522",
     0},
    {"gpt_bigcode",
     "layer_norm_epsilon=1e-05 "
     "multi_query=true n_embd=768 n_head=12 n_layer=12 n_positions=1024 "
     "num_key_value_heads=1 vocab_size=50257",
     0},
    {"modernbert",
     "global_attn_every_n_layers=3 global_rope_theta=160000.0 hidden_activation=\"gelu\" "
     "hidden_size=768 "
     "intermediate_size=1152 local_attention=128 local_rope_theta=10000.0 "
     "max_position_embeddings=8192 norm_eps=1e-05 num_attention_heads=12 "
     "num_hidden_layers=22 vocab_size=50368",
     0},
};

/* Models of several parts: the type of the text part when it has none. */
static const struct {
    const char *model_type;
    const char *text_type;
} of_parts[] = {
    {"gemma3", "gemma3_text"}, {"llava", "llama"},      {"llava_next", "llama"},
    {"mistral3", "mistral"},   {"qwen2_audio", "qwen2"}, {"voxtral", "llama"},
};
/* clang-format on */

const struct config_class *config_class_find(struct str model_type)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (str_is(model_type, classes[i].model_type))
            return &classes[i];
    return NULL;
}

bool config_class_of_parts(struct str model_type, struct str *text_type)
{
    for (size_t i = 0; i < sizeof of_parts / sizeof *of_parts; i++)
        if (str_is(model_type, of_parts[i].model_type)) {
            *text_type = str_from(of_parts[i].text_type);
            return true;
        }
    return false;
}
