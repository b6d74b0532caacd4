/* arch_gpt_oss.c - gpt-oss: experts in MXFP4, gate and up in alternating rows. */
#include <stdio.h>
#include <stdlib.h>

#include "arch_lists.h"
#include "conversion.h"
#include "gather.h"
#include "mxfp4.h"

/* clang-format off */
static const struct tensor_rule gpt_oss_tensors[] = {
    KEEP("model.layers.{i}.self_attn.sinks", "blk.{i}.attn_sinks.weight"),
    KEEP("model.layers.{i}.post_attention_layernorm", "blk.{i}.post_attention_norm"),
    KEEP("model.layers.{i}.mlp.router", "blk.{i}.ffn_gate_inp"),
    MAKE("model.layers.{i}.mlp.experts.gate_up_proj_bias", "blk.{i}.ffn_gate_exps.bias blk.{i}.ffn_up_exps.bias", EVEN_ODD),
    KEEP("model.layers.{i}.mlp.experts.down_proj_bias", "blk.{i}.ffn_down_exps.bias"),
    MAKE("model.layers.{i}.mlp.experts.gate_up_proj_blocks", "", TAKEN),
    MAKE("model.layers.{i}.mlp.experts.gate_up_proj_scales", "", TAKEN),
    MAKE("model.layers.{i}.mlp.experts.down_proj_blocks", "", TAKEN),
    MAKE("model.layers.{i}.mlp.experts.down_proj_scales", "", TAKEN),
    {.from = NULL}
};

static const struct key_rule gpt_oss_keys[] = {
    {.key = "attention.sliding_window", .type = META_U32, .from = "sliding_window"},
    {.key = "expert_feed_forward_length", .type = META_U32, .from = "intermediate_size"},
    {.key = NULL}
};
/* clang-format on */

static enum quern_status find_pair(struct conversion *c, uint64_t layer, const char *what,
                                   struct source *out, struct quern_error *err)
{
    struct arena *arena = &c->plan->arena;
    const char *names[2], *ends[2] = {"blocks", "scales"};
    const struct source *s[2];
    for (int k = 0; k < 2; k++) {
        names[k] = arena_printf(arena, "model.layers.%llu.mlp.experts.%s_%s",
                                (unsigned long long)layer, what, ends[k]);
        if (!names[k])
            return fail_memory(err, 64);
        s[k] = view_find(c->view, str_from(names[k]));
        if (!s[k])
            return fail(err, QUERN_EUNSUPPORTED, "mxfp4",
                        "there is no tensor %s" WANT
                        "expected experts in MXFP4, as gpt-oss was published",
                        names[k]);
    }
    return mxfp4_source(arena, s[0], s[1], out, err);
}

static enum quern_status named(struct conversion *c, uint64_t layer, const char *what,
                               const struct source *s, struct quern_error *err)
{
    const char *name = arena_printf(&c->plan->arena, "blk.%llu.ffn_%s_exps.weight",
                                    (unsigned long long)layer, what);
    return name ? convert_add_step(c, str_from(name), s, &op_copy, err) : fail_memory(err, 32);
}

/* Rows 0, 2, 4 ... of every expert are those of the gate, the others of up. */
static enum quern_status gate_and_up(struct conversion *c, uint64_t layer,
                                     const struct source *both, struct quern_error *err)
{
    struct arena *arena = &c->plan->arena;
    const struct tensor *t = both->tensor;
    for (uint64_t k = 0; k < 2; k++) {
        struct row_run *run = ARENA_NEW(arena, struct row_run, 1);
        struct source *s = ARENA_NEW(arena, struct source, 1);
        uint64_t *dims = ARENA_NEW(arena, uint64_t, 3);
        if (!run || !s || !dims)
            return fail_memory(err, sizeof *run);
        if (t->ndims != 3 || t->dims[1] % 2 != 0)
            return in_source(err, both,
                             fail(err, QUERN_EFORMAT, "shape",
                                  "it has no even number of rows for every expert"));
        memcpy(dims, t->dims, 3 * sizeof *dims);
        dims[1] /= 2;
        *run = (struct row_run){
            .source = both, .first = k, .count = {dims[0],    dims[1], 1},
                    .step = {t->dims[1], 2,       0}
        };
        TRY(gather_source(arena, t->name, dims, 3, dims[2], run, 1, s, err));
        TRY(named(c, layer, k ? "up" : "gate", s, err));
    }
    return QUERN_OK;
}

/* The order of names: layer 10 comes before layer 2. */
static int by_digits(const void *a, const void *b)
{
    char x[24], y[24];
    snprintf(x, sizeof x, "%llu.", (unsigned long long)*(const uint64_t *)a);
    snprintf(y, sizeof y, "%llu.", (unsigned long long)*(const uint64_t *)b);
    return strcmp(x, y);
}

static enum quern_status mxfp4_experts(struct conversion *c, struct quern_error *err)
{
    uint64_t *layers = ARENA_NEW(&c->plan->arena, uint64_t, c->nlayers + 1);
    if (!layers)
        return fail_memory(err, c->nlayers * sizeof *layers);
    for (uint64_t i = 0; i < c->nlayers; i++)
        layers[i] = i;
    qsort(layers, c->nlayers, sizeof *layers, by_digits);
    for (uint64_t i = 0; i < c->nlayers; i++) {
        struct source *s = ARENA_NEW(&c->plan->arena, struct source, 2);
        if (!s)
            return fail_memory(err, sizeof *s);
        TRY(find_pair(c, layers[i], "down_proj", &s[0], err));
        TRY(named(c, layers[i], "down", &s[0], err));
        TRY(find_pair(c, layers[i], "gate_up_proj", &s[1], err));
        TRY(gate_and_up(c, layers[i], &s[1], err));
    }
    return QUERN_OK;
}

const struct architecture arch_gpt_oss = {
    .name = "gpt-oss",
    .classes = "GptOssForCausalLM",
    .tensors = {gpt_oss_tensors, plain_qk, llama_tensors},
    .keys = {base_keys,               gpt_oss_keys              },
    .extra = mxfp4_experts,
    .takes_packed = "mxfp4",
};
