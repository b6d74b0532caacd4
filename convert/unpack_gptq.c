/* unpack_gptq.c - GPTQ and AWQ: X.qweight, X.qzeros and X.scales, stored as columns of the weight.
 */
#include <inttypes.h>

#include "packed_ints.h"

/* The number a config has under one of two names. */
static enum quern_status read_bits(const struct json *config, uint64_t *bits,
                                   struct quern_error *err)
{
    const struct json *v = json_get(config, "bits");
    if (json_u64(v, bits) && (*bits == 2 || *bits == 3 || *bits == 4 || *bits == 8))
        return QUERN_OK;
    return unpack_unknown("bits", v, "expected 2, 3, 4 or 8", err);
}

/* Of a format that goes by several names the first that is there. */
static const struct json *first_of(const struct json *config, const char *a, const char *b)
{
    const struct json *v = json_get(config, a);
    return v && !json_is_null(v) ? v : json_get(config, b);
}

static bool is_text(const struct json *v, const char *text)
{
    struct str s;
    return json_text(v, &s) && str_eq_nocase(s, str_from(text));
}

struct columns {
    const struct source *codes, *zeros, *scales, *order;
};

static enum quern_status find_columns(struct unpacking *u, struct str stem, struct columns *c,
                                      struct quern_error *err)
{
    TRY(unpack_part(u, stem, ".qweight", true, &c->codes, err));
    TRY(unpack_part(u, stem, ".qzeros", true, &c->zeros, err));
    TRY(unpack_part(u, stem, ".scales", true, &c->scales, err));
    if (c->codes->tensor->ndims != 2 || c->codes->tensor->nelems == 0)
        return source_misfit(err, c->codes, "a matrix");
    if (c->scales->tensor->ndims != 2 || c->scales->tensor->nelems == 0)
        return source_misfit(err, c->scales, "a matrix");
    return QUERN_OK;
}

static enum quern_status put_columns(struct unpacking *u, struct str stem, const struct columns *c,
                                     const struct packed_ints *like, struct quern_error *err)
{
    struct packed_ints *p = ARENA_NEW(u->arena, struct packed_ints, 1);
    uint64_t *dims = ARENA_NEW(u->arena, uint64_t, 2);
    if (!p || !dims)
        return fail_memory(err, sizeof *p);
    *p = *like;
    p->codes = c->codes;
    p->zeros = c->zeros;
    p->scales = c->scales;
    p->order = c->order;
    p->scale_layout = SCALES_BY_GROUP;
    dims[0] = p->rows;
    dims[1] = p->cols;
    return packed_ints_put(u, c->codes, stem, p, dims, 2, err);
}

/* ---- GPTQ -------------------------------------------------------------------------------------
 */

struct gptq {
    uint64_t bits, group; /* group 0: all columns */
    bool zeros_as_meant;  /* format gptq_v2; the first one stored them less 1 */
    bool symmetric;       /* zeros are in the middle, it says */
    bool overrides;       /* modules may have other numbers: tensors tell */
};

static bool claims_gptq(const struct unpacking *u)
{
    return str_is(u->method, "gptq");
}

static enum quern_status read_gptq(const struct unpacking *u, struct gptq *g,
                                   struct quern_error *err)
{
    const struct json *format = first_of(u->config, "checkpoint_format", "format");
    const struct json *words = json_get(u->config, "pack_dtype");
    TRY(unpack_known_keys(
        u->config,
        "quant_method method bits group_size desc_act sym format checkpoint_format pack_dtype "
        "dynamic lm_head damp_percent damp_auto_increment static_groups true_sequential meta mse "
        "act_group_aware quantizer model_name_or_path model_file_base_name tokenizer dataset "
        "block_name_to_quantize module_name_preceding_first_block modules_in_block_to_quantize "
        "cache_block_outputs batch_size pad_token_id model_seqlen max_input_length backend "
        "use_exllama disable_exllama exllama_config use_cuda_fp16 modules_to_not_convert",
        err));
    TRY(read_bits(u->config, &g->bits, err));
    TRY(packed_group_size(u->config, "group_size", &g->group, err));
    g->zeros_as_meant = is_text(format, "gptq_v2");
    g->symmetric = false;
    json_bool(json_get(u->config, "sym"), &g->symmetric);
    g->overrides = json_first(json_get(u->config, "dynamic")) != NULL;
    if (format && !json_is_null(format) && !g->zeros_as_meant && !is_text(format, "gptq"))
        return unpack_unknown("checkpoint_format", format, "expected gptq or gptq_v2", err);
    if (words && !json_is_null(words) && !is_text(words, "int32"))
        return unpack_unknown("pack_dtype", words, "expected int32", err);
    return QUERN_OK;
}

/* The group of each column is stored; that there are as many tells how many bits a code has. */
static enum quern_status use_order(const struct gptq *g, const struct columns *c,
                                   struct packed_ints *p, struct quern_error *err)
{
    const uint64_t nwords = c->codes->tensor->dims[0], ngroups = c->scales->tensor->dims[0];
    const uint64_t cols = c->order->tensor->nelems;
    if (c->order->tensor->ndims != 1 || cols == 0 || cols > UINT32_MAX || nwords > UINT32_MAX)
        return source_misfit(err, c->order, "the group of each column");
    p->cols = cols;
    if (g->overrides) {
        p->bits = (unsigned)(nwords * 32 / cols <= 8 ? nwords * 32 / cols : 0);
        p->group = (cols + ngroups - 1) / ngroups;
    }
    return QUERN_OK;
}

/* Are all words of a tensor this one, or each the one that its place asks for? */
static enum quern_status all_words(const struct source *s, uint32_t word, uint64_t per_word,
                                   bool *same, struct quern_error *err)
{
    uint32_t some[4096];
    const uint64_t total = s->tensor->nelems;
    *same = true;
    for (uint64_t at = 0, n; at < total && *same; at += n) {
        n = total - at < 4096 ? total - at : 4096;
        TRY(in_source(err, s,
                      model_pread(s->model, s->tensor->file, some, (size_t)n * sizeof *some,
                                  s->tensor->offset + at * sizeof *some, err)));
        for (uint64_t i = 0; i < n; i++)
            *same &= some[i] == word + (per_word ? (uint32_t)((at + i) / per_word) : 0);
    }
    return QUERN_OK;
}

/* Weights that may be blocks of Q4_0 as they are: are their zeros what the config says, and their
 * columns in order? Others are not looked through. */
static enum quern_status look_for_blocks(const struct gptq *g, struct columns *c,
                                         struct packed_ints *p, struct quern_error *err)
{
    const uint64_t ngroups = c->scales->tensor->dims[0];
    bool same;
    if (!g->symmetric || p->bits != 4 || p->group != 32 || p->rows % 8 != 0 ||
        c->scales->tensor->dtype != DTYPE_F16 || c->zeros->tensor->dtype != DTYPE_I32 ||
        c->zeros->kind || c->zeros->tensor->nelems != ngroups * (p->rows / 8) ||
        (c->order && (c->order->kind || c->order->tensor->dtype != DTYPE_I32)))
        return QUERN_OK;
    TRY(all_words(c->zeros, (8 - p->zero) * 0x11111111u, 0, &same, err));
    if (same) {
        p->zero_layout = ZEROS_FIXED;
        p->zero = 8;
    }
    if (c->order)
        TRY(all_words(c->order, 0, p->group, &same, err));
    if (same)
        c->order = NULL;
    return QUERN_OK;
}

static enum quern_status unpack_gptq_weight(struct unpacking *u, const struct gptq *g,
                                            struct str stem, struct quern_error *err)
{
    struct columns c;
    TRY(find_columns(u, stem, &c, err));
    TRY(unpack_part(u, stem, ".g_idx", g->overrides, &c.order, err));
    struct packed_ints p = {.rows = c.codes->tensor->dims[1],
                            .cols = c.codes->tensor->dims[0] * 32 / g->bits,
                            .bits = (unsigned)g->bits,
                            .group = g->group,
                            .layout = CODES_DOWN,
                            .zero_layout = ZEROS_ALONG,
                            .zero = g->zeros_as_meant ? 0 : 1,
                            .round = DTYPE_F32};
    if (c.order)
        TRY(use_order(g, &c, &p, err));
    p.group = p.group ? p.group : p.cols;
    TRY(look_for_blocks(g, &c, &p, err));
    return put_columns(u, stem, &c, &p, err);
}

static enum quern_status unpack_gptq(struct unpacking *u, struct quern_error *err)
{
    struct gptq g = {.bits = 4};
    struct str stem;
    TRY(read_gptq(u, &g, err));
    for (uint32_t i = 0; unpack_next(u, ".qweight", &i, &stem);)
        TRY(unpack_gptq_weight(u, &g, stem, err));
    return QUERN_OK;
}

/* ---- AWQ --------------------------------------------------------------------------------------
 */

static bool claims_awq(const struct unpacking *u)
{
    return str_is(u->method, "awq");
}

static enum quern_status read_awq(const struct unpacking *u, uint64_t *group,
                                  struct quern_error *err)
{
    const struct json *version = first_of(u->config, "version", "format");
    const struct json *bits = json_get(u->config, "bits");
    const struct json *zero_point = json_get(u->config, "zero_point");
    uint64_t nbits;
    bool has_zeros;
    TRY(unpack_known_keys(u->config,
                          "quant_method bits group_size zero_point version format backend "
                          "modules_to_not_convert do_fuse fuse_max_seq_len modules_to_fuse "
                          "exllama_config desc_act sym true_sequential damp_percent lm_head",
                          err));
    if (!json_u64(bits, &nbits) || nbits != 4)
        return unpack_unknown("bits", bits, "expected 4", err);
    if (version && !json_is_null(version) && !is_text(version, "gemm"))
        return unpack_unknown("version", version, "expected gemm", err);
    if (zero_point && (!json_bool(zero_point, &has_zeros) || !has_zeros))
        return unpack_unknown("zero_point", zero_point, "expected true", err);
    if (is_text(json_get(u->config, "backend"), "llm-awq"))
        return unpack_unknown("backend", json_get(u->config, "backend"), "expected autoawq", err);
    return packed_group_size(u->config, "group_size", group, err);
}

static enum quern_status unpack_awq_weight(struct unpacking *u, uint64_t group, struct str stem,
                                           struct quern_error *err)
{
    struct columns c = {.order = NULL};
    TRY(find_columns(u, stem, &c, err));
    const struct packed_ints p = {.rows = c.scales->tensor->dims[1],
                                  .cols = c.codes->tensor->dims[0],
                                  .bits = 4,
                                  .group = group ? group : c.codes->tensor->dims[0],
                                  .layout = CODES_ACROSS,
                                  .zero_layout = ZEROS_ACROSS,
                                  .round = c.scales->tensor->dtype};
    return put_columns(u, stem, &c, &p, err);
}

static enum quern_status unpack_awq(struct unpacking *u, struct quern_error *err)
{
    uint64_t group = 0;
    struct str stem;
    TRY(read_awq(u, &group, err));
    for (uint32_t i = 0; unpack_next(u, ".qweight", &i, &stem);)
        TRY(unpack_awq_weight(u, group, stem, err));
    return QUERN_OK;
}

const struct packing packing_gptq = {.name = "GPTQ",
                                     .parts = ".qweight .qzeros .scales .g_idx",
                                     .claims = claims_gptq,
                                     .comes_last = true,
                                     .unpack = unpack_gptq};
const struct packing packing_awq = {
    .name = "AWQ", .parts = ".qweight .qzeros .scales", .claims = claims_awq, .unpack = unpack_awq};
