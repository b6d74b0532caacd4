/* verify_hint.c - guess why a file is not what its source gives, from which tensors differ. */
#include <inttypes.h>
#include <string.h>

#include "cli.h"
#include "merge/verify_plan.h"
#include "pipeline/differences.h"
#include "pipeline/verify.h"
#include "quant/codec.h"

/* Tensors that were quantized, by what an importance matrix is to their type. */
struct clues {
    const struct cli *cli;
    const struct plan *plan;
    const struct model *there;
    uint32_t weighed, weighed_differ; /* it changes what is written */
    uint32_t others, others_differ;   /* all other tensors */
    uint32_t plain, plain_differ;     /* of floats, in most of their values */
    uint32_t iq3_s_differ;
    uint32_t unpacked;            /* floats that differ from what blocks give */
    uint64_t nblocks, all_blocks; /* of those that differ */
    bool far;                     /* they are as different as strangers */
};

static void gather(struct clues *k)
{
    double error_sq = 0.0, square = 0.0;
    for (uint32_t i = 0; i < k->plan->nsteps; i++) {
        const struct step *s = &k->plan->steps[i];
        const struct difference *d = &k->plan->differences[i];
        const bool moves = s->sources && s->sources[0].tensor->dtype == s->dtype;
        const bool weighed = codec_uses_importance(s->dtype) && !moves, differs = d->nblocks > 0;
        k->weighed += weighed;
        k->weighed_differ += weighed && differs;
        k->others += !weighed;
        k->others_differ += !weighed && differs;
        k->plain += dtype_is_float(s->dtype);
        k->plain_differ += dtype_is_float(s->dtype) && 2 * d->nblocks > s->nelems;
        k->unpacked += differs && dtype_is_float(s->dtype) && s->sources &&
                       dtype_is_quantized(s->sources[0].tensor->dtype);
        k->iq3_s_differ += differs && s->dtype == DTYPE_IQ3_S;
        k->nblocks += d->nblocks;
        k->all_blocks += differs ? s->nelems / difference_block(s->dtype) : 0;
        error_sq += d->errors.sum[SUM_ERROR_SQ];
        square += d->errors.sum[SUM_AA];
    }
    k->far = error_sq > 0.5 * square && 2 * k->nblocks > k->all_blocks;
}

static uint32_t ndiffer(const struct clues *k)
{
    return k->weighed_differ + k->others_differ;
}

/* Weights do not get better: where SOURCE has blocks and QUANTIZED what they were made of. */
static const char *swapped(const struct clues *k, char *buf, size_t n)
{
    if (2 * k->unpacked < ndiffer(k) || !k->unpacked || k->far)
        return NULL;
    snprintf(buf, n, "SOURCE is quantized, QUANTIZED is not: the source comes first");
    return buf;
}

/* Weights are the same both ways; config.json and the tokenizer are not. */
static const char *back(const struct clues *k, char *buf, size_t n)
{
    const struct verification *v = k->plan->verification;
    bool more = false;
    for (uint32_t i = 0; i < v->nsides; i++)
        more |= strstr(v->sides[i].what, "not in the source") != NULL;
    if (!more || k->plan->models[0]->format != MODEL_GGUF || k->there->format != MODEL_SAFETENSORS)
        return NULL;
    snprintf(
        buf, n,
        "was SOURCE made of QUANTIZED? Then it is the other way around: the source comes first");
    return buf;
}

static const char *strangers(const struct clues *k, char *buf, size_t n)
{
    /* Norms are copied however a model was quantized. */
    const bool plain = 2 * k->plain_differ > k->plain;
    if (!plain && (!k->far || 2 * ndiffer(k) < k->weighed + k->others))
        return NULL;
    snprintf(buf, n, "is SOURCE the model that QUANTIZED was made of?");
    return buf;
}

static const char *lacks_importance(const struct clues *k, char *buf, size_t n)
{
    struct str file;
    const struct meta *key = model_meta(k->there, "quantize.imatrix.file");
    if (k->plan->imatrix || !k->weighed_differ || (!key && k->others_differ))
        return NULL;
    if (key && meta_string(key, &file))
        snprintf(buf, n,
                 "it says that it was made with the importance matrix '%s': give that with "
                 "--imatrix",
                 quoted(file).text);
    else
        snprintf(buf, n,
                 "all that differ are of types that an importance matrix changes: was one used "
                 "(--imatrix)?");
    return buf;
}

static const char *other_importance(const struct clues *k, char *buf, size_t n)
{
    const struct verification *v = k->plan->verification;
    if (!k->plan->imatrix || !k->weighed_differ || k->others_differ)
        return NULL;
    if (!model_meta(k->there, "quantize.imatrix.file")) {
        snprintf(buf, n, "it does not say that an importance matrix was used: without --imatrix?");
        return buf;
    }
    for (uint32_t i = 0; i < v->nkeys; i++)
        if (v->keys[i].there && v->keys[i].made &&
            str_has(v->keys[i].there->key, "quantize.imatrix.")) {
            snprintf(buf, n,
                     "what it says of its importance matrix is not what this one has: another "
                     "matrix?");
            return buf;
        }
    return NULL;
}

static const char *zero_blocks(const struct clues *k, char *buf, size_t n)
{
    if (k->cli->quantize.reference_bugs || !k->iq3_s_differ || k->iq3_s_differ != ndiffer(k))
        return NULL;
    snprintf(buf, n, "llama-quantize writes zeros as IQ3_S in its own way: --reference-bugs");
    return buf;
}

/* A few blocks, all else being right. */
static const char *damage(const struct clues *k, char *buf, size_t n)
{
    if (ndiffer(k) > 2 || k->nblocks > 4096 || k->nblocks * 10 > k->all_blocks)
        return NULL;
    snprintf(buf, n, "all else is exact: a damaged file?");
    return buf;
}

/* Values of a merge that differ by their rounding. */
static const char *rounding(const struct clues *k, char *buf, size_t n)
{
    const struct values *a = &k->cli->args;
    const bool merged = a->count == 1 || verify_is_recipe(a->items[0]);
    if (!merged || k->cli->mergekit_exact || k->far || k->there->format != MODEL_SAFETENSORS)
        return NULL;
    snprintf(buf, n, "mergekit rounds after every operation: --mergekit-exact");
    return buf;
}

static const char *other_via(const struct clues *k, char *buf, size_t n)
{
    const struct model *m = k->plan->models[0];
    if (m->format != MODEL_SAFETENSORS || k->there->format != MODEL_GGUF || k->cli->via)
        return NULL;
    snprintf(buf, n,
             "was it converted to another type before it was quantized (--via f16, bf16 or f32)?");
    return buf;
}

const char *verify_hint(const struct cli *c, const struct plan *p, char *buf, size_t n)
{
    static const char *(*const guesses[])(const struct clues *k, char *buf, size_t n) = {
        swapped,          strangers,        damage,   zero_blocks,
        lacks_importance, other_importance, rounding, other_via};
    struct clues k = {.cli = c, .plan = p, .there = p->verification->there};
    gather(&k);
    if (ndiffer(&k) == 0)
        return back(&k, buf, n);
    for (size_t i = 0; i < sizeof guesses / sizeof *guesses; i++)
        if (guesses[i](&k, buf, n))
            return buf;
    return NULL;
}
