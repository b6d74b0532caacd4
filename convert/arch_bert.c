/* arch_bert.c - BERT, RoBERTa, XLM-R and Nomic: models that make vectors of texts. */
#include "arch_lists.h"
#include "conversion.h"

/* clang-format off */
static const struct tensor_rule bert_tensors[] = {
    KEEP("embeddings.word_embeddings", "token_embd"),
    KEEP("embeddings.position_embeddings", "position_embd"),
    KEEP("embeddings.token_type_embeddings", "token_types"),
    KEEP("embeddings.LayerNorm", "token_embd_norm"),
    MAKE("embeddings.position_ids", "", LEFT_OUT),
    MAKE("pooler.dense", "", LEFT_OUT),
    KEEP("encoder.layer.{i}.attention.self.query", "blk.{i}.attn_q"),
    KEEP("encoder.layer.{i}.attention.self.key", "blk.{i}.attn_k"),
    KEEP("encoder.layer.{i}.attention.self.value", "blk.{i}.attn_v"),
    KEEP("encoder.layer.{i}.attention.output.dense", "blk.{i}.attn_output"),
    KEEP("encoder.layer.{i}.attention.output.LayerNorm", "blk.{i}.attn_output_norm"),
    KEEP("encoder.layer.{i}.intermediate.dense", "blk.{i}.ffn_up"),
    KEEP("encoder.layer.{i}.output.dense", "blk.{i}.ffn_down"),
    KEEP("encoder.layer.{i}.output.LayerNorm", "blk.{i}.layer_output_norm"),
    MAKE("cls.predictions.bias", "", LEFT_OUT),
    MAKE("cls.predictions.decoder", "", LEFT_OUT),
    MAKE("cls.predictions.transform.dense", "", LEFT_OUT),
    MAKE("cls.predictions.transform.LayerNorm", "", LEFT_OUT),
    MAKE("cls.seq_relationship", "", LEFT_OUT),
    {.from = NULL}
};

/* Positions are counted from behind the padding token. */
static const struct tensor_rule roberta_tensors[] = {
    MAKE("embeddings.position_embeddings", "position_embd", CUT_FRONT),
    MAKE("lm_head.bias", "", LEFT_OUT),
    MAKE("lm_head.dense", "", LEFT_OUT),
    MAKE("lm_head.layer_norm", "", LEFT_OUT),
    MAKE("lm_head.decoder", "", LEFT_OUT),
    {.from = NULL}
};

static const struct tensor_rule nomic_tensors[] = {
    KEEP("embeddings.word_embeddings", "token_embd"),
    KEEP("embeddings.token_type_embeddings", "token_types"),
    KEEP("emb_ln", "token_embd_norm"),
    KEEP("encoder.layers.{i}.attn.Wqkv", "blk.{i}.attn_qkv"),
    KEEP("encoder.layers.{i}.attn.out_proj", "blk.{i}.attn_output"),
    KEEP("encoder.layers.{i}.norm1", "blk.{i}.attn_output_norm"),
    KEEP("encoder.layers.{i}.norm2", "blk.{i}.layer_output_norm"),
    KEEP("encoder.layers.{i}.mlp.fc11", "blk.{i}.ffn_up"),
    KEEP("encoder.layers.{i}.mlp.fc12", "blk.{i}.ffn_gate"),
    KEEP("encoder.layers.{i}.mlp.fc2", "blk.{i}.ffn_down"),
    {.from = NULL}
};

static const struct key_rule causal_key[] = {
    {.key = "attention.causal", .type = META_BOOL, .other = "false"},
    {.key = NULL}
};
/* clang-format on */

static KEY_MAKER(make_positions)
{
    uint64_t n, pad;
    (void)err;
    if (hf_u64(&c->config, "max_position_embeddings", &n) &&
        hf_u64(&c->config, "pad_token_id", &pad) && pad < n)
        *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)(n - pad - 1)};
    return QUERN_OK;
}

static const struct key_rule roberta_keys[] = {
    {.key = "context_length", .type = META_U32, .make = make_positions},
    {.key = NULL}
};

/* Models trained on 2048 positions stretch them when asked for more; llama.cpp does that itself. */
static KEY_MAKER(make_nomic_context)
{
    uint64_t n, trained = 2048;
    (void)err;
    if (!hf_u64(&c->config, "n_positions", &n))
        return QUERN_OK;
    hf_u64(&c->config, "max_trained_positions", &trained);
    if (n == 8192 && trained == 2048)
        n = 2048;
    else if (n == 2048 && trained == 2048)
        n = 512;
    *v = (struct key_value){.kind = VALUE_NUMBER, .number = (double)n};
    return QUERN_OK;
}

static const struct key_rule nomic_keys[] = {
    {.key = "context_length",     .type = META_U32, .make = make_nomic_context},
    {.key = NULL}
};

const struct architecture arch_bert = {
    .name = "bert",
    .classes = "BertModel BertForMaskedLM CamembertModel",
    .tensors = {bert_tensors },
    .keys = { base_keys, causal_key, pooling_keys},
    .strip = "bert. roberta.",
    .old_norm_names = true,
};

const struct architecture arch_roberta = {
    .name = "bert",
    .classes = "RobertaModel XLMRobertaModel",
    .tensors = {roberta_tensors, bert_tensors},
    .keys = { base_keys, roberta_keys,     causal_key, pooling_keys},
    .strip = "bert. roberta.",
    .old_norm_names = true,
};

const struct architecture arch_nomic_bert = {
    .name = "nomic-bert",
    .classes = "NomicBertModel",
    .tensors = {nomic_tensors},
    .keys = { base_keys, nomic_keys, causal_key, pooling_keys},
};
