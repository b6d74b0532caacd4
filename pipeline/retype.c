/* retype.c - apply the mix rules and --tensor-type patterns to a plan. */
#include "retype.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/pattern.h"
#include "formats/pack.h"
#include "importance.h"
#include "prune.h"
#include "quant/codec.h"
#include "quant/mix.h"

struct override {
    struct pattern *pattern;
    const char *text;
    enum dtype dtype;
    bool matched;
};

struct retype {
    struct plan *plan;
    const struct model *donor;
    const struct meta_list *metas;
    const struct quern_quantize *q;
    struct str arch;
    struct mix mix;
    struct importance importance;
    struct override *overrides;
    size_t noverrides, capacity;
};

/* ---- options ----------------------------------------------------------------------------------
 */

/* What weights may be stored as in GGUF: F64 has no use and llama.cpp cannot compute with it. */
static bool can_be_target(enum dtype d)
{
    return codec_can_encode(d) && dtype_traits[d].gguf_id != NO_GGUF_ID && d != DTYPE_F64;
}

static const char *names_of_types(char *buf, size_t n)
{
    size_t used = 0;
    buf[0] = '\0';
    for (int d = 0; d < DTYPE_COUNT; d++)
        if (can_be_target((enum dtype)d) && used < n)
            used += (size_t)snprintf(buf + used, n - used, "%s%s", used ? " " : "",
                                     dtype_traits[d].name);
    return buf;
}

/* A type a tensor may be given by name. */
static enum quern_status type_option(const char *option, struct str name, enum dtype *out,
                                     struct quern_error *err)
{
    char names[400];
    if (!dtype_from_name(name, out) || dtype_traits[*out].gguf_id == NO_GGUF_ID)
        return fail(err, QUERN_EUSAGE, "usage",
                    "%s: '%s' is no GGUF type" WANT "expected one of %s", option, quoted(name).text,
                    names_of_types(names, sizeof names));
    if (can_be_target(*out))
        return QUERN_OK;
    const bool never = !dtype_is_quantized(*out) || *out == DTYPE_Q8_1 || *out == DTYPE_Q8_K;
    return fail(err, never ? QUERN_EUSAGE : QUERN_EUNSUPPORTED, "type",
                "%s: weights cannot be stored as %s%s" WANT "expected one of %s", option,
                dtype_traits[*out].name, never ? "" : " yet", names_of_types(names, sizeof names));
}

static enum quern_status single_type(const char *option, const char *name, int *out,
                                     struct quern_error *err)
{
    enum dtype d;
    *out = -1;
    if (!name)
        return QUERN_OK;
    TRY(type_option(option, str_from(name), &d, err));
    *out = (int)d;
    return QUERN_OK;
}

static enum quern_status lower_case(struct retype *r, struct str *pattern, struct quern_error *err)
{
    /* Like llama-quantize: \D means \d there, and upper-case names never match. */
    *pattern = arena_str(&r->plan->arena, *pattern);
    if (!pattern->p)
        return fail_memory(err, pattern->n);
    bool changed = false;
    for (size_t i = 0; i < pattern->n; i++) {
        char *c = (char *)&pattern->p[i];
        if (*c >= 'A' && *c <= 'Z') {
            *c = (char)(*c - 'A' + 'a');
            changed = true;
        }
    }
    return changed
               ? plan_note(r->plan, err, "--tensor-type: the pattern is used in lower case: '%s'",
                           quoted(*pattern).text)
               : QUERN_OK;
}

/* The arena keeps what was outgrown, half of it at most. */
static enum quern_status new_override(struct retype *r, struct override **out,
                                      struct quern_error *err)
{
    if (r->noverrides == r->capacity) {
        const size_t capacity = r->capacity ? r->capacity * 2 : 16;
        struct override *bigger = ARENA_NEW(&r->plan->arena, struct override, capacity);
        if (!bigger)
            return fail_memory(err, capacity * sizeof *bigger);
        if (r->noverrides)
            memcpy(bigger, r->overrides, r->noverrides * sizeof *bigger);
        r->overrides = bigger;
        r->capacity = capacity;
    }
    *out = &r->overrides[r->noverrides++];
    return QUERN_OK;
}

static enum quern_status read_override(struct retype *r, const char *text, struct quern_error *err)
{
    const char *sep = strchr(text, '=');
    struct override *o = NULL;
    if (!sep || sep == text || !sep[1])
        return fail(err, QUERN_EUSAGE, "usage",
                    "--tensor-type '%s'" WANT "expected REGEX=TYPE, for example attn_v=q8_0",
                    quoted(str_from(text)).text);
    struct str pattern = {text, (size_t)(sep - text)};
    TRY(lower_case(r, &pattern, err));
    TRY(new_override(r, &o, err));
    o->text = text;
    TRY(type_option("--tensor-type", str_from(sep + 1), &o->dtype, err));
    return pattern_new(pattern, &o->pattern, err);
}

#define MAX_TYPE_FILE (4u << 20)

static enum quern_status read_override_file(struct retype *r, const char *path,
                                            struct quern_error *err)
{
    static const char spaces[] = " \t\n\v\f\r";
    struct str text;
    TRY(read_named_file(path, MAX_TYPE_FILE, &r->plan->arena, &text, err));
    if (memchr(text.p, '\0', text.n))
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "usage",
                            "there are NUL bytes in it" WANT "expected a list of REGEX=TYPE"));
    char *at = (char *)text.p;
    for (at += strspn(at, spaces); *at; at += strspn(at, spaces)) {
        const char *word = at;
        at += strcspn(at, spaces);
        if (*at)
            *at++ = '\0';
        TRY(in_file(err, path, read_override(r, word, err)));
    }
    return QUERN_OK;
}

static enum quern_status read_overrides(struct retype *r, struct quern_error *err)
{
    for (size_t i = 0; i < r->q->ntensor_types; i++) {
        const char *text = r->q->tensor_types[i];
        TRY(*text == '@' ? read_override_file(r, text + 1, err) : read_override(r, text, err));
    }
    if (r->noverrides && !r->mix.type->copies && !dtype_is_quantized(r->mix.type->base))
        TRY(plan_note(r->plan, err, "--tensor-type has no effect with %s, as in llama-quantize",
                      r->mix.type->name));
    return QUERN_OK;
}

static enum quern_status read_type(struct retype *r, struct quern_error *err)
{
    struct mix *m = &r->mix;
    m->type = r->q->type ? file_type_find(str_from(r->q->type)) : NULL;
    if (!m->type) {
        char names[400] = "";
        const char *all[64];
        size_t n = 0, used = 0;
        for (const struct file_type *t; (t = file_type_get(n)) && n < 64; n++) {
            all[n] = t->name;
            used +=
                (size_t)snprintf(names + used, sizeof names - used, "%s%s", n ? " " : "", t->name);
        }
        const struct str given = str_from(r->q->type ? r->q->type : "");
        const char *near = closest(given, all, n);
        return fail(err, QUERN_EUSAGE, "usage",
                    "'%s' is no file type%s%s%s" WANT "expected one of %s", quoted(given).text,
                    near ? " (did you mean " : "", near ? near : "", near ? "?)" : "", names);
    }
    m->pure = r->q->pure;
    m->leave_output_tensor = r->q->leave_output_tensor;
    TRY(single_type("--output-tensor-type", r->q->output_tensor_type, &m->output_type, err));
    return single_type("--token-embedding-type", r->q->token_embedding_type,
                       &m->token_embedding_type, err);
}

/* ---- what the rules want to know of the model -------------------------------------------------
 */

/* The value in the first --override-kv of this key, with its type before it, or NULL: what
 * llama-quantize takes a model's numbers from, while the last one is what it writes. */
static const char *overridden(const struct retype *r, const char *key)
{
    const size_t n = strlen(key);
    for (size_t i = 0; i < r->q->noverride_kvs; i++) {
        const char *text = r->q->override_kvs[i];
        if (strncmp(text, key, n) == 0 && text[n] == '=')
            return text + n + 1;
    }
    return NULL;
}

static struct str architecture(const struct retype *r)
{
    struct str arch = {0};
    const char *given = overridden(r, "general.architecture");
    if (given && strncmp(given, "str:", 4) == 0)
        return str_from(given + 4);
    const struct meta *k = model_meta(r->donor, "general.architecture");
    if (k && meta_string(k, &arch))
        return arch;
    return str_from(r->q->arch ? r->q->arch : "");
}

/* The first value, where there is one for each layer. */
static bool first_value(const struct meta *k, uint64_t *v)
{
    const size_t item = meta_item_bytes(k->item_type);
    if (k->type != META_ARRAY || k->count == 0 || item == 0)
        return meta_u64(k, v);
    const struct meta first = {
        .type = k->item_type, .value = {k->value.p, item}
    };
    return meta_u64(&first, v);
}

/* A key as the planner has set it, which need not be as the donor has it. */
static const struct meta *find_key(const struct retype *r, const char *key)
{
    for (uint32_t i = 0; r->metas && i < r->metas->count; i++)
        if (str_is(r->metas->items[i].key, key))
            return &r->metas->items[i];
    return model_meta(r->donor, key);
}

static bool hparam(const struct retype *r, const char *name, bool if_in_file, uint32_t *out)
{
    char key[256];
    uint64_t v;
    snprintf(key, sizeof key, "%.*s.%s", (int)(r->arch.n < 128 ? r->arch.n : 128), r->arch.p, name);
    const struct meta *k = find_key(r, key);
    const char *given = overridden(r, key);
    if (given && strncmp(given, "int:", 4) == 0 && (k ? k->type != META_ARRAY : !if_in_file)) {
        *out = (uint32_t)strtoll(given + 4, NULL, 10);
        return true;
    }
    if (!k || !first_value(k, &v) || v > UINT32_MAX)
        return false;
    *out = (uint32_t)v;
    return true;
}

static void read_model(struct retype *r)
{
    struct mix *m = &r->mix;
    uint32_t nheads = 0;
    r->arch = architecture(r);
    /* A container without keys still has layers in its names. */
    if (!hparam(r, "block_count", false, &m->nlayers))
        for (uint32_t i = 0; i < r->plan->nsteps; i++) {
            const long layer = mix_layer(r->plan->steps[i].name);
            if (layer >= (long)m->nlayers)
                m->nlayers = (uint32_t)layer + 1;
        }
    hparam(r, "expert_count", false, &m->nexperts);
    hparam(r, "attention.head_count", true, &nheads);
    uint32_t nheads_kv = nheads;
    hparam(r, "attention.head_count_kv", true, &nheads_kv);
    mix_architecture(m, r->arch, nheads, nheads_kv);
    m->has_importance = r->importance.nkept > 0;
}

/* ---- types ------------------------------------------------------------------------------------
 */

/* Dimensions without trailing 1s in GGUF order, which are leading 1s in ours. */
static unsigned real_dims(const struct step *s)
{
    unsigned n = s->ndims;
    while (n > 1 && s->dims[s->ndims - n] == 1)
        n--;
    return n;
}

static enum quern_status match_override(struct retype *r, struct str name, int *dtype,
                                        struct quern_error *err)
{
    *dtype = -1;
    for (size_t i = 0; i < r->noverrides; i++) {
        struct override *o = &r->overrides[i];
        bool found;
        TRY(pattern_search(o->pattern, name, &found, err));
        o->matched |= found;
        if (found && *dtype < 0)
            *dtype = (int)o->dtype;
    }
    return QUERN_OK;
}

static enum quern_status store_kept(struct retype *r, struct step *s, struct quern_error *err)
{
    if (dtype_traits[s->dtype].gguf_id != NO_GGUF_ID)
        return QUERN_OK;
    if (s->dtype == DTYPE_F8_E4M3 || s->dtype == DTYPE_F8_E5M2) {
        const enum dtype was = s->dtype;
        s->dtype = DTYPE_F16;
        return plan_note(r->plan, err, "tensor '%s': stored as F16, GGUF has no %s",
                         quoted(s->name).text, dtype_traits[was].name);
    }
    return in_tensor(err, s->name,
                     fail(err, QUERN_EUNSUPPORTED, "type",
                          "its type is %s" WANT "GGUF cannot store that",
                          dtype_traits[s->dtype].name));
}

static enum quern_status check_change(const struct retype *r, const struct step *s, enum dtype to,
                                      struct quern_error *err)
{
    if (dtype_is_quantized(s->dtype) && !r->q->allow_requantize)
        return in_tensor(err, s->name,
                         fail(err, QUERN_EUSAGE, "requantize",
                              "it is quantized already (%s)" WANT
                              "--allow-requantize permits making %s from it, with a loss",
                              dtype_traits[s->dtype].name, dtype_traits[to].name));
    if ((!dtype_is_quantized(s->dtype) && !dtype_is_float(s->dtype)) || !codec_can_decode(s->dtype))
        return in_tensor(err, s->name,
                         fail(err, QUERN_EUNSUPPORTED, "type",
                              "its type is %s" WANT "%s can only be made from weights",
                              dtype_traits[s->dtype].name, dtype_traits[to].name));
    if (!codec_can_encode(to))
        return in_tensor(err, s->name,
                         fail(err, QUERN_EUNSUPPORTED, "type", "quern cannot write %s yet",
                              dtype_traits[to].name));
    return QUERN_OK;
}

/* The type a step shall have, with the fallback for rows that do not fit. */
static enum dtype choose(struct retype *r, struct step *s, int by_pattern)
{
    const unsigned ndims = real_dims(s);
    const struct mix_tensor t = {.name = s->name,
                                 .row = s->dims[s->ndims - 1],
                                 .stacked = ndims > 2 && s->dims[s->ndims - 3] > 1,
                                 .overridden = by_pattern};
    bool fixed;
    const enum dtype wanted = mix_choose(&r->mix, &t, &fixed);
    if (fixed || t.row % dtype_traits[wanted].block_elems == 0)
        return wanted;
    s->fallback = true;
    s->wanted = (uint8_t)wanted;
    return mix_fallback(wanted, t.row);
}

/* The step is to be stored as another type. */
static enum quern_status change_type(struct retype *r, struct step *s, enum dtype to,
                                     struct quern_error *err)
{
    s->dtype = (uint8_t)to;
    s->reference_bugs = r->q->reference_bugs;
    /* The matrix knows the tensor by the name it had before pruning. */
    const struct str known_as = s->matrix_name.n ? s->matrix_name : s->sources[0].tensor->name;
    return importance_give(&r->importance, s, known_as,
                           mix_requires_importance(&r->mix, s->name, to), err);
}

/* It holds weights, in rows that fit the type. */
static bool can_become(const struct step *s, enum dtype to)
{
    const uint64_t row = s->ndims ? s->dims[s->ndims - 1] : 1;
    return (dtype_is_quantized(s->dtype) || dtype_is_float(s->dtype)) &&
           codec_can_decode(s->dtype) && (dtype_is_float(to) || dtype_is_quantized(to)) &&
           row % dtype_traits[to].block_elems == 0;
}

/* The type that the tensor has in q->types_of. */
static enum quern_status take_type(struct retype *r, struct step *s, struct quern_error *err)
{
    const struct model *m = (const struct model *)r->q->types_of;
    const struct tensor *t = model_find(m, s->name);
    if (!t || !can_become(s, t->dtype))
        return store_kept(r, s, err);
    if (t->dtype == s->dtype)
        return QUERN_OK;
    if (!codec_can_encode(t->dtype))
        return in_file(err, m->path,
                       in_tensor(err, s->name,
                                 fail(err, QUERN_EUNSUPPORTED, "type", "quern cannot write %s yet",
                                      dtype_traits[t->dtype].name)));
    return change_type(r, s, t->dtype, err);
}

static enum quern_status retype_step(struct retype *r, struct step *s, struct quern_error *err)
{
    int by_pattern;
    if (r->q->types_of)
        return take_type(r, s, err);
    TRY(match_override(r, s->name, &by_pattern, err));
    if (mix_keeps(&r->mix, s->name, real_dims(s)))
        return store_kept(r, s, err);
    const enum dtype to = choose(r, s, by_pattern);
    if (to == s->dtype)
        return QUERN_OK;
    TRY(check_change(r, s, to, err));
    return change_type(r, s, to, err);
}

static enum quern_status check_patterns(const struct retype *r, struct quern_error *err)
{
    for (size_t i = 0; i < r->noverrides; i++)
        if (!r->overrides[i].matched)
            return fail(err, QUERN_EUSAGE, "pattern", "--tensor-type '%s' matches no tensor",
                        quoted(str_from(r->overrides[i].text)).text);
    return QUERN_OK;
}

static enum quern_status check_fallbacks(const struct retype *r, struct quern_error *err)
{
    struct name_list list = {0};
    for (uint32_t i = 0; i < r->plan->nsteps; i++)
        if (r->plan->steps[i].fallback)
            name_list_add(&list, r->plan->steps[i].name);
    if (list.count == 0 || !r->q->no_fallback)
        return QUERN_OK;
    return fail(err, QUERN_EUSAGE, "fallback",
                "rows that do not fit their type in %" PRIu32 " tensor%s: %s" WANT
                "expected none (--no-fallback)",
                list.count, plural(list.count), list.text);
}

static int compare_steps(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    return mix_order(x->name, y->name);
}

/* ---- keys -------------------------------------------------------------------------------------
 */

static enum quern_status override_value(struct meta_list *metas, const char *key, const char *v,
                                        struct quern_error *err)
{
    char *end = NULL;
    bool ok = true, valid = true;
    if (strncmp(v, "int:", 4) == 0) {
        const long long n = strtoll(v + 4, &end, 10);
        ok = meta_list_set_u32(
            metas, key, (uint32_t)(n < 0 ? 0 - (unsigned long long)n : (unsigned long long)n));
    } else if (strncmp(v, "float:", 6) == 0) {
        const double d = strtod(v + 6, &end);
        valid = isfinite(d);
        ok = meta_list_set_f32(metas, key, (float)d);
    } else if (strcmp(v, "bool:true") == 0 || strcmp(v, "bool:false") == 0) {
        ok = meta_list_set_bool(metas, key, v[5] == 't');
    } else if (strncmp(v, "str:", 4) == 0 && strlen(v + 4) <= 127) {
        ok = meta_list_set_string(metas, key, str_from(v + 4));
    } else {
        valid = false;
    }
    if (!valid || (end && (*end || end[-1] == ':')))
        return fail(err, QUERN_EUSAGE, "usage",
                    "--override-kv '%s=%s'" WANT
                    "expected KEY=int:N, float:X, bool:true|false or str:TEXT (at most 127 bytes)",
                    key, quoted(str_from(v)).text);
    return ok ? QUERN_OK : fail_memory(err, strlen(v));
}

enum quern_status gguf_override_keys(struct plan *p, const struct quern_quantize *q,
                                     struct meta_list *metas, struct quern_error *err)
{
    for (size_t i = 0; i < q->noverride_kvs; i++) {
        const char *text = q->override_kvs[i];
        const char *sep = strchr(text, '=');
        if (!sep || sep == text || sep - text > 127)
            return fail(err, QUERN_EUSAGE, "usage",
                        "--override-kv '%s'" WANT "expected KEY=int|float|bool|str:VALUE",
                        quoted(str_from(text)).text);
        const struct str key = arena_str(&p->arena, (struct str){text, (size_t)(sep - text)});
        if (!key.p)
            return fail_memory(err, strlen(text));
        TRY(override_value(metas, key.p, sep + 1, err));
        const long long n = strncmp(sep + 1, "int:", 4) == 0 ? strtoll(sep + 5, NULL, 10) : 0;
        if (n < 0 || n > UINT32_MAX)
            TRY(plan_note(p, err,
                          "--override-kv %s: stored as a u32 of the absolute value, %" PRIu32
                          ", as in llama-quantize",
                          quoted(key).text,
                          (uint32_t)(n < 0 ? 0 - (unsigned long long)n : (unsigned long long)n)));
    }
    return QUERN_OK;
}

/* COPY keeps the file type of the input, or guesses it from the most frequent element type. With
 * the types of another model goes what that says it is. */
static uint32_t copied_file_type(const struct retype *r)
{
    const struct plan *p = r->plan;
    const struct model *types_of = (const struct model *)r->q->types_of;
    const struct meta *k = model_meta(types_of ? types_of : r->donor, "general.file_type");
    uint64_t v;
    if (k && k->type == META_U32 && meta_u64(k, &v))
        return (uint32_t)v;
    uint32_t counts[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const enum dtype d = p->steps[i].dtype;
        if (++counts[d] > counts[most])
            most = d;
    }
    return file_type_guess(most) | 1024;
}

static enum quern_status edit_keys(struct retype *r, struct meta_list *metas,
                                   struct quern_error *err)
{
    const struct file_type *t = r->mix.type;
    const uint32_t number = t->copies ? copied_file_type(r) : t->number;
    if (!meta_list_set_u32(metas, "general.quantization_version", 2) ||
        !meta_list_set_u32(metas, "general.file_type", number))
        return fail_memory(err, sizeof(struct meta));
    meta_list_remove(metas, "split.no");
    meta_list_remove(metas, "split.count");
    meta_list_remove(metas, "split.tensors.count");
    TRY(gguf_override_keys(r->plan, r->q, metas, err));
    return importance_keys(&r->importance, metas, err);
}

enum quern_status gguf_alignment_of(const struct meta_list *metas, uint64_t *alignment,
                                    struct quern_error *err)
{
    *alignment = GGUF_DEFAULT_ALIGNMENT;
    for (uint32_t i = 0; i < metas->count; i++) {
        const struct meta *k = &metas->items[i];
        if (!str_is(k->key, "general.alignment"))
            continue;
        if (k->type != META_U32 || !meta_u64(k, alignment) || *alignment < 8 ||
            *alignment > (1u << 20) || (*alignment & (*alignment - 1)))
            return fail(err, QUERN_EUSAGE, "alignment",
                        "general.alignment is %" PRIu64 WANT
                        "expected a u32 power of two from 8 to 1048576",
                        *alignment);
    }
    return QUERN_OK;
}

static enum quern_status retype(struct retype *r, struct meta_list *metas, struct quern_error *err)
{
    struct plan *p = r->plan;
    TRY(read_type(r, err));
    TRY(read_overrides(r, err));
    TRY(importance_open(&r->importance, p, r->q, err));
    TRY(edit_keys(r, metas, err));
    if (!r->q->keep_split)
        qsort(p->steps, p->nsteps, sizeof *p->steps, compare_steps);
    read_model(r);
    if (r->q->nprune_layers)
        TRY(plan_prune(p, r->q, r->arch, r->mix.nlayers, metas, err));
    for (uint32_t i = 0; i < p->nsteps; i++)
        mix_see(&r->mix, p->steps[i].name);
    for (uint32_t i = 0; i < p->nsteps; i++)
        TRY(retype_step(r, &p->steps[i], err));
    TRY(check_patterns(r, err));
    TRY(importance_notes(&r->importance, r->donor, err));
    return check_fallbacks(r, err);
}

enum quern_status plan_retype_gguf(struct plan *p, const struct model *donor,
                                   const struct quern_quantize *q, struct meta_list *metas,
                                   struct quern_error *err)
{
    struct retype r = {.plan = p, .donor = donor, .metas = metas, .q = q};
    const enum quern_status s = retype(&r, metas, err);
    for (size_t i = 0; i < r.noverrides; i++)
        pattern_free(r.overrides[i].pattern);
    return s;
}
