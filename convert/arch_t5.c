/* arch_t5.c - T5, MT5 and UMT5: an encoder and a decoder, or the encoder alone. */
#include "arch_lists.h"
#include "conversion.h"

/* clang-format off */
static const struct tensor_rule t5_tensors[] = {
    MAKE("shared", "token_embd", ONCE),
    MAKE("encoder.embed_tokens", "token_embd", ONCE),
    MAKE("decoder.embed_tokens", "token_embd", ONCE),
    KEEP("encoder.final_layer_norm", "enc.output_norm"),
    KEEP("decoder.final_layer_norm", "dec.output_norm"),
    KEEP("lm_head", "output"),
    KEEP("encoder.block.{i}.layer.0.layer_norm", "enc.blk.{i}.attn_norm"),
    KEEP("encoder.block.{i}.layer.0.SelfAttention.q", "enc.blk.{i}.attn_q"),
    KEEP("encoder.block.{i}.layer.0.SelfAttention.k", "enc.blk.{i}.attn_k"),
    KEEP("encoder.block.{i}.layer.0.SelfAttention.v", "enc.blk.{i}.attn_v"),
    KEEP("encoder.block.{i}.layer.0.SelfAttention.o", "enc.blk.{i}.attn_o"),
    KEEP("encoder.block.{i}.layer.0.SelfAttention.relative_attention_bias", "enc.blk.{i}.attn_rel_b"),
    KEEP("encoder.block.{i}.layer.1.layer_norm", "enc.blk.{i}.ffn_norm"),
    KEEP("encoder.block.{i}.layer.1.DenseReluDense.wi", "enc.blk.{i}.ffn_up"),
    KEEP("encoder.block.{i}.layer.1.DenseReluDense.wi_0", "enc.blk.{i}.ffn_gate"),
    KEEP("encoder.block.{i}.layer.1.DenseReluDense.wi_1", "enc.blk.{i}.ffn_up"),
    KEEP("encoder.block.{i}.layer.1.DenseReluDense.wo", "enc.blk.{i}.ffn_down"),
    KEEP("decoder.block.{i}.layer.0.layer_norm", "dec.blk.{i}.attn_norm"),
    KEEP("decoder.block.{i}.layer.0.SelfAttention.q", "dec.blk.{i}.attn_q"),
    KEEP("decoder.block.{i}.layer.0.SelfAttention.k", "dec.blk.{i}.attn_k"),
    KEEP("decoder.block.{i}.layer.0.SelfAttention.v", "dec.blk.{i}.attn_v"),
    KEEP("decoder.block.{i}.layer.0.SelfAttention.o", "dec.blk.{i}.attn_o"),
    KEEP("decoder.block.{i}.layer.0.SelfAttention.relative_attention_bias", "dec.blk.{i}.attn_rel_b"),
    KEEP("decoder.block.{i}.layer.1.layer_norm", "dec.blk.{i}.cross_attn_norm"),
    KEEP("decoder.block.{i}.layer.1.EncDecAttention.q", "dec.blk.{i}.cross_attn_q"),
    KEEP("decoder.block.{i}.layer.1.EncDecAttention.k", "dec.blk.{i}.cross_attn_k"),
    KEEP("decoder.block.{i}.layer.1.EncDecAttention.v", "dec.blk.{i}.cross_attn_v"),
    KEEP("decoder.block.{i}.layer.1.EncDecAttention.o", "dec.blk.{i}.cross_attn_o"),
    KEEP("decoder.block.{i}.layer.1.EncDecAttention.relative_attention_bias", "dec.blk.{i}.cross_attn_rel_b"),
    KEEP("decoder.block.{i}.layer.2.layer_norm", "dec.blk.{i}.ffn_norm"),
    KEEP("decoder.block.{i}.layer.2.DenseReluDense.wi", "dec.blk.{i}.ffn_up"),
    KEEP("decoder.block.{i}.layer.2.DenseReluDense.wi_0", "dec.blk.{i}.ffn_gate"),
    KEEP("decoder.block.{i}.layer.2.DenseReluDense.wi_1", "dec.blk.{i}.ffn_up"),
    KEEP("decoder.block.{i}.layer.2.DenseReluDense.wo", "dec.blk.{i}.ffn_down"),
    {.from = NULL}
};

static const struct key_rule t5_encoder_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "n_positions", .other = "512"},
    {.key = "embedding_length", .type = META_U32, .from = "d_model", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "d_ff", .required = true},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "attention.head_count", .type = META_U32, .from = "num_heads", .required = true},
    {.key = "attention.key_length", .type = META_U32, .from = "d_kv", .required = true},
    {.key = "attention.value_length", .type = META_U32, .from = "d_kv", .required = true},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon|layer_norm_eps", .required = true},
    {.key = "attention.relative_buckets_count", .type = META_U32, .from = "relative_attention_num_buckets", .required = true},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "layer_norm_epsilon", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};

/* A class fills in as many as the encoder has. */
static KEY_MAKER(make_decoder_layers)
{
    uint64_t n = c->nlayers;
    (void)err;
    if (hf_u64(&c->config, "num_decoder_layers", &n) || c->config.defaults)
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)n};
    return QUERN_OK;
}

static const struct key_rule t5_keys[] = {
    {.key = "context_length", .type = META_U32, .from = "n_positions", .other = "512"},
    {.key = "embedding_length", .type = META_U32, .from = "d_model", .required = true},
    {.key = "feed_forward_length", .type = META_U32, .from = "d_ff", .required = true},
    {.key = "block_count", .type = META_U32, .from = "n_layers|num_hidden_layers|n_layer|num_layers", .required = true},
    {.key = "decoder_block_count", .type = META_U32, .make = make_decoder_layers},
    {.key = "attention.head_count", .type = META_U32, .from = "num_heads", .required = true},
    {.key = "attention.key_length", .type = META_U32, .from = "d_kv", .required = true},
    {.key = "attention.value_length", .type = META_U32, .from = "d_kv", .required = true},
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .from = "layer_norm_epsilon|layer_norm_eps", .required = true},
    {.key = "attention.relative_buckets_count", .type = META_U32, .from = "relative_attention_num_buckets", .required = true},
    {.key = "attention.layer_norm_rms_epsilon", .type = META_F32, .from = "layer_norm_epsilon", .required = true},
    {.key = "decoder_start_token_id", .type = META_U32, .from = "decoder_start_token_id", .required = true},
    {.key = "general.file_type", .type = META_U32, .make = make_file_type},
    {.key = NULL}
};
/* clang-format on */

const struct architecture arch_t5 = {
    .name = "t5",
    .classes = "T5ForConditionalGeneration T5WithLMHeadModel MT5ForConditionalGeneration "
               "UMT5ForConditionalGeneration UMT5Model",
    .tensors = {t5_tensors},
    .keys = {t5_keys},
};

const struct architecture arch_t5encoder = {
    .name = "t5encoder",
    .classes = "T5EncoderModel",
    .tensors = {t5_tensors},
    .keys = {t5_encoder_keys},
};
