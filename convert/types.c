/* types.c - the type that convert_hf_to_gguf.py would store each tensor as. */
#include "conversion.h"
#include "like.h"

static bool is_one_of(struct str name, const char *const *parts)
{
    for (; *parts; parts++)
        if (str_has(name, *parts))
            return true;
    return false;
}

/* Small tensors that llama.cpp computes with in 32 bits. */
static bool always_f32(const struct step *s)
{
    static const char *const parts[] = {".ffn_gate_inp.weight",      ".ffn_gate_inp_shexp.weight",
                                        "position_embd.weight",      "token_types.weight",
                                        ".ssm_conv1d.weight",        ".shortconv.conv.weight",
                                        ".time_mix_first.weight",    ".time_mix_w1.weight",
                                        ".time_mix_w2.weight",       ".time_mix_decay_w1.weight",
                                        ".time_mix_decay_w2.weight", ".time_mix_lerp_fused.weight",
                                        ".altup_correct_coef",       ".altup_predict_coef",
                                        ".indexer.proj.weight",      NULL};
    if (str_ends(s->name, ".lora_a") || str_ends(s->name, ".lora_b"))
        return s->ndims <= 1;
    return s->ndims <= 1 || str_ends(s->name, "_norm.weight") || !str_ends(s->name, ".weight") ||
           is_one_of(s->name, parts);
}

/* The type of the first matrix of 16-bit floats; DTYPE_COUNT when there is none. */
static enum dtype guess(const struct conversion *c)
{
    for (uint32_t i = 0; i < c->ninputs; i++) {
        const struct tensor *t = c->inputs[i]->tensor;
        if (t->ndims >= 2 && (t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16))
            return (enum dtype)t->dtype;
    }
    return DTYPE_COUNT;
}

static enum quern_status check_weights(const struct step *s, struct quern_error *err)
{
    const enum dtype d = s->sources[0].tensor->dtype;
    if (dtype_is_float(d) && d != DTYPE_F8_E4M3 && d != DTYPE_F8_E5M2)
        return QUERN_OK;
    return in_tensor(err, s->sources[0].tensor->name,
                     fail(err, QUERN_EUNSUPPORTED, "type",
                          "its type is %s" WANT "converting takes F32, F16, BF16 and F64 weights",
                          dtype_traits[d].name));
}

enum quern_status convert_choose_types(struct conversion *c, struct quern_error *err)
{
    if (c->weights == DTYPE_COUNT) {
        c->weights = guess(c);
        /* The script makes F16 of models that have no 16-bit weights; before quantizing that would
         * only lose precision. */
        if (c->weights == DTYPE_COUNT)
            c->weights = c->request->like_quantize ? DTYPE_F32 : DTYPE_F16;
    }
    for (uint32_t i = 0; i < c->nsteps; i++) {
        struct step *s = &c->steps[i];
        TRY(check_weights(s, err));
        enum dtype to = always_f32(s) || like_keeps_f32(c, s->name) ? DTYPE_F32 : c->weights;
        if (s->ndims && s->dims[s->ndims - 1] % dtype_traits[to].block_elems != 0) {
            s->fallback = true;
            s->wanted = (uint8_t)to;
            to = DTYPE_F16;
        }
        s->dtype = (uint8_t)to;
    }
    return QUERN_OK;
}
