/* test_mix.c - llama-quantize's choices, one by one. */
#include <criterion/criterion.h>

#include "quant/mix.h"

static struct mix mix_for(const char *type)
{
    return (struct mix){.type = file_type_find(str_from(type)),
                        .output_type = -1,
                        .token_embedding_type = -1,
                        .has_output = true};
}

static enum dtype chosen(const struct mix *m, const char *name, uint64_t row)
{
    bool fixed;
    return mix_choose(m, str_from(name), row, -1, &fixed);
}

Test(mix, file_types_by_name_and_number)
{
    cr_assert_str_eq(file_type_find(STR("q8_0"))->name, "Q8_0");
    cr_assert_str_eq(file_type_find(STR("7"))->name, "Q8_0");
    cr_assert_str_eq(file_type_find(STR("0"))->name, "F32");
    cr_assert_str_eq(file_type_find(STR("32"))->name, "BF16");
    cr_assert(file_type_find(STR("copy"))->copies);
    cr_assert_null(file_type_find(STR("4294967295")));
    cr_assert_null(file_type_find(STR("Q9_0")));
    for (size_t i = 0; file_type_get(i); i++)
        if (!file_type_get(i)->copies)
            cr_assert_eq(file_type_guess(file_type_get(i)->base), file_type_get(i)->number);
}

Test(mix, kept_tensors)
{
    static const char *const kept[] = {
        "blk.0.attn_norm.weight",    "blk.0.attn_q.bias",          "blk.0.ffn_gate_inp.weight",
        "position_embd.weight",      "token_types.weight",         "blk.3.ssm_conv1d.weight",
        "blk.0.time_mix_w1.weight",  "v.patch_embd.weight",        "enc.blk.0.attn_rel_b.weight",
        "blk.1.altup_router.weight", "blk.0.indexer.k_proj.weight"};
    static const char *const taken[] = {
        "blk.0.attn_q.weight", "output.weight", "token_embd.weight", "x.weight", "weight", "abcde"};
    struct mix m = mix_for("Q8_0");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        cr_assert(mix_keeps(&m, str_from(kept[i]), 2), "%s", kept[i]);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        cr_assert(!mix_keeps(&m, str_from(taken[i]), 2), "%s", taken[i]);
    cr_assert(mix_keeps(&m, STR("blk.0.attn_q.weight"), 1), "vectors stay");
    m.leave_output_tensor = true;
    cr_assert(mix_keeps(&m, STR("output.weight"), 2));
    m = mix_for("COPY");
    cr_assert(mix_keeps(&m, STR("blk.0.attn_q.weight"), 2));
}

Test(mix, output_and_embeddings)
{
    struct mix m = mix_for("Q4_0");
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q6_K);
    cr_assert_eq(chosen(&m, "output.weight", 33), DTYPE_Q8_0, "rows that fit no block of the base");
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_Q4_0);
    m.has_output = false;
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_Q6_K, "tied");
    m.output_type = DTYPE_F16;
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_F16);
    m.token_embedding_type = DTYPE_Q5_1;
    cr_assert_eq(chosen(&m, "token_embd.weight", 4096), DTYPE_Q5_1);
    m = mix_for("Q8_0");
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q8_0);
    m = mix_for("Q4_0");
    m.falcon = true;
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q8_0);
    m.pure = true;
    cr_assert_eq(chosen(&m, "output.weight", 4096), DTYPE_Q4_0);
}

Test(mix, eight_experts_keep_keys_and_values_fine)
{
    struct mix m = mix_for("Q4_0");
    m.nexperts = 8;
    cr_assert_eq(chosen(&m, "blk.0.attn_v.weight", 256), DTYPE_Q8_0);
    cr_assert_eq(chosen(&m, "blk.0.attn_k.weight", 256), DTYPE_Q8_0);
    cr_assert_eq(chosen(&m, "blk.0.attn_qkv.weight", 256), DTYPE_Q8_0);
    cr_assert_eq(chosen(&m, "blk.0.attn_q.weight", 256), DTYPE_Q4_0);
    m.nexperts = 16;
    cr_assert_eq(chosen(&m, "blk.0.attn_v.weight", 256), DTYPE_Q4_0);
}

Test(mix, fallbacks)
{
    cr_assert_eq(mix_fallback(DTYPE_Q6_K, 96), DTYPE_Q8_0);
    cr_assert_eq(mix_fallback(DTYPE_Q4_K, 96), DTYPE_Q5_0);
    cr_assert_eq(mix_fallback(DTYPE_IQ3_S, 96), DTYPE_IQ4_NL);
    cr_assert_eq(mix_fallback(DTYPE_Q6_K, 33), DTYPE_F16);
    cr_assert_eq(mix_fallback(DTYPE_Q4_0, 33), DTYPE_F16);
}

Test(mix, tensor_order)
{
    static const char *const sorted[] = {"a.weight", "output.weight", "blk.0.b",
                                         "blk.0.c",  "blk.2.attn_q",  "blk.10.attn_q"};
    for (size_t i = 0; i + 1 < sizeof sorted / sizeof *sorted; i++)
        cr_assert_lt(mix_order(str_from(sorted[i]), str_from(sorted[i + 1])), 0, "%s", sorted[i]);
    cr_assert_eq(mix_order(STR("blk.99999999999999999999.x"), STR("blk.99999999999999999999.x")),
                 0);
    cr_assert_lt(mix_order(STR("blk.99999999999999999999.x"), STR("blk.0.x")), 0, "no layer");
    cr_assert_lt(mix_order(STR("blk."), STR("blk.0.x")), 0);
}
