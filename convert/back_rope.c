/* back_rope.c - how positions reach further than in training: rope_scaling of config.json. */
#include "arch_lists.h"
#include "back_class.h"

static bool product(double x, const struct back_aim *aim)
{
    return (float)(x * aim->a) == (float)aim->want;
}

/* ---- longer contexts --------------------------------------------------------------------------
 */

static const char rope_freqs[] = "rope_freqs.weight";

static void mark_used(struct back *b, const char *tensor)
{
    const struct tensor *t = model_find(b->model, str_from(tensor));
    if (t)
        b->used[t - b->model->tensors] = true;
}

#define MOST_ROPE 65536u

/* The factors of Llama 3 by its usual numbers; the context before stretching is a power of two. */
static enum quern_status llama3_numbers(struct back *b, struct llama3_rope *r,
                                        struct quern_error *err)
{
    uint64_t dim = 0;
    double base = 10000.0;
    bool same = false;
    back_f32(b, "rope.freq_base", &base);
    if (!back_u64(b, "rope.dimension_count", &dim))
        dim = back_head_dim(b);
    if (dim < 2 || dim > MOST_ROPE)
        return fail(err, QUERN_EFORMAT, "hparam",
                    "heads have %llu dimensions" WANT "expected 2 to %u", (unsigned long long)dim,
                    MOST_ROPE);
    float *have = ARENA_NEW(&b->plan->arena, float, dim);
    if (!have)
        return fail_memory(err, dim * sizeof *have);
    float *want = have + dim / 2;
    TRY(back_floats(b, rope_freqs, dim / 2, have, err));
    *r = (struct llama3_rope){.factor = 1.0f, .low = 1.0f, .high = 4.0f};
    for (uint64_t i = 0; i < dim / 2; i++)
        r->factor = have[i] > r->factor ? have[i] : r->factor;
    for (r->context = 16.0f; r->context <= 0x1p24f && !same; r->context *= 2.0f) {
        llama3_curve(r, (float)base, dim, want);
        same = memcmp(have, want, dim / 2 * sizeof *have) == 0;
    }
    r->context /= 2.0f; /* the loop went on once */
    return same ? QUERN_OK
                : in_tensor(err, str_from(rope_freqs),
                            no_way_back(err, "its factors are not those of Llama 3"));
}

static enum quern_status put_llama3(struct back *b, struct json_writer *w, struct quern_error *err)
{
    struct llama3_rope r;
    TRY(llama3_numbers(b, &r, err));
    mark_used(b, rope_freqs);
    back_member(w, "rope_scaling");
    json_open(w, '{');
    json_key(w, "rope_type");
    json_put_text(w, "llama3");
    json_key(w, "factor");
    back_float(w, decimal_of_float(r.factor));
    json_key(w, "low_freq_factor");
    back_float(w, (double)r.low);
    json_key(w, "high_freq_factor");
    back_float(w, (double)r.high);
    json_key(w, "original_max_position_embeddings");
    json_put_u64(w, (uint64_t)r.context);
    json_close(w, '}');
    return QUERN_OK;
}

static enum quern_status put_factors(struct back *b, struct json_writer *w, const char *key,
                                     const char *tensor, struct quern_error *err)
{
    const struct tensor *t = model_find(b->model, str_from(tensor));
    const uint64_t n = t ? t->nelems : 0;
    float *factors = ARENA_NEW(&b->plan->arena, float, n < MOST_ROPE ? n + 1 : 1);
    if (!factors)
        return fail_memory(err, n);
    TRY(back_floats(b, tensor, n < MOST_ROPE ? n : 0, factors, err));
    mark_used(b, tensor);
    json_key(w, key);
    json_open(w, '[');
    for (uint64_t i = 0; i < n; i++)
        back_float(w, decimal_of_float(factors[i]));
    json_close(w, ']');
    return QUERN_OK;
}

/* Two lists of factors, for short and for long contexts. */
static enum quern_status put_longrope(struct back *b, struct json_writer *w,
                                      struct quern_error *err)
{
    back_member(w, "rope_scaling");
    json_open(w, '{');
    json_key(w, "type");
    json_put_text(w, "longrope");
    TRY(put_factors(b, w, "long_factor", "rope_factors_long.weight", err));
    TRY(put_factors(b, w, "short_factor", "rope_factors_short.weight", err));
    json_close(w, '}');
    return QUERN_OK;
}

static void put_number(struct back *b, struct json_writer *w, const char *to, const char *key)
{
    double v;
    uint64_t n;
    const bool whole = back_u64(b, key, &n);
    if (!whole && !back_f32(b, key, &v))
        return;
    json_key(w, to);
    if (whole)
        json_put_u64(w, n);
    else
        back_float(w, v);
}

enum quern_status back_put_rope(struct back *b, struct json_writer *w, struct quern_error *err)
{
    const struct meta *k = back_meta(b, "rope.scaling.type");
    struct str type = {"", 0};
    double multiplier;
    if (k)
        meta_string(k, &type);
    if (back_has(b, rope_freqs))
        return put_llama3(b, w, err);
    if (back_has(b, "rope_factors_long.weight"))
        return put_longrope(b, w, err);
    if (type.n == 0 || str_is(type, "none") || !back_meta(b, "rope.scaling.factor"))
        return QUERN_OK;
    back_member(w, "rope_scaling");
    json_open(w, '{');
    json_key(w, "rope_type");
    json_put_str(w, type);
    json_key(w, "type");
    json_put_str(w, type);
    put_number(b, w, "factor", "rope.scaling.factor");
    put_number(b, w, "original_max_position_embeddings", "rope.scaling.original_context_length");
    put_number(b, w, "extrapolation_factor", "rope.scaling.yarn_ext_factor");
    put_number(b, w, "attention_factor", "rope.scaling.yarn_attn_factor");
    put_number(b, w, "beta_fast", "rope.scaling.yarn_beta_fast");
    put_number(b, w, "beta_slow", "rope.scaling.yarn_beta_slow");
    if (back_f32(b, "rope.scaling.yarn_log_multiplier", &multiplier)) {
        const struct back_aim aim = {0.1, 0, multiplier};
        const double scale = back_shortest(multiplier * 10.0, product, &aim);
        json_key(w, "mscale");
        back_float(w, scale);
        json_key(w, "mscale_all_dim");
        back_float(w, scale);
    }
    json_close(w, '}');
    return QUERN_OK;
}
