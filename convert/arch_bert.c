/* arch_bert.c - BERT and its kin: models that make vectors of texts, or sort them. */
#include <stdlib.h>

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
    KEEP("classifier.dense", "cls"),
    KEEP("classifier.out_proj", "cls.output"),
    MAKE("classifier", "cls.output cls", BY_LABELS),
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

static const struct tensor_rule distilbert_tensors[] = {
    KEEP("transformer.layer.{i}.attention.q_lin", "blk.{i}.attn_q"),
    KEEP("transformer.layer.{i}.attention.k_lin", "blk.{i}.attn_k"),
    KEEP("transformer.layer.{i}.attention.v_lin", "blk.{i}.attn_v"),
    KEEP("transformer.layer.{i}.attention.out_lin", "blk.{i}.attn_output"),
    KEEP("transformer.layer.{i}.sa_layer_norm", "blk.{i}.attn_output_norm"),
    KEEP("transformer.layer.{i}.ffn.lin1", "blk.{i}.ffn_up"),
    KEEP("transformer.layer.{i}.ffn.lin2", "blk.{i}.ffn_down"),
    KEEP("transformer.layer.{i}.output_layer_norm", "blk.{i}.layer_output_norm"),
    KEEP("pre_classifier", "cls"),
    MAKE("vocab_transform", "", LEFT_OUT),
    MAKE("vocab_layer_norm", "", LEFT_OUT),
    MAKE("vocab_projector", "", LEFT_OUT),
    {.from = NULL}
};

static const struct tensor_rule modern_bert_tensors[] = {
    KEEP("embeddings.tok_embeddings", "token_embd"),
    KEEP("embeddings.norm", "token_embd_norm"),
    KEEP("final_norm", "output_norm"),
    KEEP("layers.{i}.attn_norm", "blk.{i}.attn_norm"),
    KEEP("layers.{i}.attn.Wqkv", "blk.{i}.attn_qkv"),
    KEEP("layers.{i}.attn.Wo", "blk.{i}.attn_output"),
    KEEP("layers.{i}.mlp_norm", "blk.{i}.ffn_norm"),
    KEEP("layers.{i}.mlp.Wi", "blk.{i}.ffn_up"),
    KEEP("layers.{i}.mlp.Wo", "blk.{i}.ffn_down"),
    KEEP("head.dense", "cls"),
    KEEP("head.norm", "cls.norm"),
    MAKE("classifier", "cls.output cls", BY_LABELS),
    {.from = NULL}
};

static const struct key_rule causal_key[] = {
    {.key = "attention.causal", .type = META_BOOL, .other = "false"},
    {.key = NULL}
};

static const struct key_rule labels_key[] = {
    {.key = "classifier.output_labels", .type = META_ARRAY, .make = make_labels},
    {.key = NULL}
};

static const struct key_rule distilbert_eps[] = {
    {.key = "attention.layer_norm_epsilon", .type = META_F32, .other = "1e-12"},
    {.key = NULL}
};

static const struct key_rule modern_bert_keys[] = {
    {.key = "attention.sliding_window", .type = META_U32, .from = "local_attention", .required = true},
    {.key = "attention.sliding_window_pattern", .type = META_U32, .from = "global_attn_every_n_layers"},
    {.key = "rope.scaling.type", .type = META_STRING, .other = "none"},
    {.key = "vocab_size", .type = META_U32, .from = "vocab_size", .required = true},
    {.key = "hidden_activation", .type = META_STRING, .from = "hidden_activation"},
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

static int by_number(const void *a, const void *b)
{
    const struct json *x = *(const struct json *const *)a, *y = *(const struct json *const *)b;
    uint64_t m = 0, n = 0;
    str_to_u64(json_key_of(x), &m);
    str_to_u64(json_key_of(y), &n);
    return m < n ? -1 : m > n;
}

/* {"0": "no", "1": "yes"}; two labels that say nothing are what a class fills in. */
KEY_MAKER(make_labels)
{
    const struct json *map = hf_get(&c->config, "id2label");
    const size_t n = json_is_object(map) ? json_count(map) : 0;
    const struct json **items = ARENA_NEW(&c->plan->arena, const struct json *, n + 1);
    struct str *texts = ARENA_NEW(&c->plan->arena, struct str, n + 1);
    size_t count = 0;
    if (!items || !texts)
        return fail_memory(err, n * sizeof *texts);
    for (const struct json *item = n ? json_first(map) : NULL; item; item = json_next(item))
        items[count++] = item;
    qsort(items, count, sizeof *items, by_number);
    for (size_t i = 0; i < count; i++)
        if (!json_text(items[i], &texts[i]))
            return in_file(err, c->config.path,
                           fail(err, QUERN_EFORMAT, "hparam", "a label of id2label is no text"));
    if (count && !(count == 2 && str_is(texts[0], "LABEL_0")))
        *v = (struct key_value){.kind = VALUE_TEXTS, .texts = texts, .count = count};
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
    .classes = "BertModel BertForMaskedLM CamembertModel BertForSequenceClassification",
    .tensors = {bert_tensors},
    .keys = { base_keys, causal_key, pooling_keys, labels_key},
    .strip = "bert. roberta.",
    .old_norm_names = true,
};

const struct architecture arch_roberta = {
    .name = "bert",
    .classes = "RobertaModel XLMRobertaModel RobertaForSequenceClassification "
               "XLMRobertaForSequenceClassification",
    .tensors = {roberta_tensors, bert_tensors},
    .keys = { base_keys, roberta_keys, causal_key, pooling_keys, labels_key},
    .strip = "bert. roberta.",
    .old_norm_names = true,
};

const struct architecture arch_nomic_bert = {
    .name = "nomic-bert",
    .classes = "NomicBertModel",
    .tensors = {nomic_tensors},
    .keys = { base_keys, nomic_keys, causal_key, pooling_keys, labels_key},
};

const struct architecture arch_distilbert = {
    .name = "bert",
    .classes = "DistilBertModel DistilBertForMaskedLM DistilBertForSequenceClassification",
    .tensors = {distilbert_tensors, bert_tensors},
    .keys = { distilbert_eps, base_keys, causal_key, pooling_keys, labels_key},
    .strip = "distilbert.",
};

const struct architecture arch_modern_bert = {
    .name = "modern-bert",
    .classes = "ModernBertModel ModernBertForMaskedLM ModernBertForSequenceClassification",
    .tensors = {modern_bert_tensors},
    .keys = { base_keys, causal_key, pooling_keys, labels_key, modern_bert_keys},
    .strip = "model.",
};
