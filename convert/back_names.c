/* back_names.c - the rules of an architecture read from right to left: which tensors of a model a
 * tensor of its GGUF came from. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "back_class.h"
#include "pipeline/name_list.h"

#define LONGEST_NAME 512u

/* ---- names ------------------------------------------------------------------------------------
 */

/* What is behind pattern, n bytes with {i} in it, in a name of this form. */
static bool fits(const char *pattern, size_t n, struct str name, uint64_t *layer,
                 struct str *suffix)
{
    for (size_t i = 0; i < n;) {
        if (pattern[i] == '{') {
            size_t digits = 0;
            while (digits < name.n && name.p[digits] >= '0' && name.p[digits] <= '9')
                digits++;
            if (!str_to_u64((struct str){name.p, digits}, layer) || *layer > UINT32_MAX)
                return false;
            name = (struct str){name.p + digits, name.n - digits};
            i += 3;
        } else {
            if (name.n == 0 || *name.p != pattern[i++])
                return false;
            name = (struct str){name.p + 1, name.n - 1};
        }
    }
    *suffix = name;
    return name.n == 0 || str_is(name, ".weight") || str_is(name, ".bias");
}

/* pattern, n bytes of it, with the numbers in it and the suffix behind. False when it is too long.
 */
static bool fill(const char *pattern, size_t n, uint64_t layer, uint64_t member, struct str suffix,
                 char out[LONGEST_NAME])
{
    size_t used = 0;
    for (size_t i = 0; i < n; i++) {
        if (used + 24 + suffix.n > LONGEST_NAME)
            return false;
        if (pattern[i] == '{') {
            used += (size_t)snprintf(out + used, LONGEST_NAME - used, "%" PRIu64,
                                     pattern[i + 1] == 'i' ? layer : member);
            i += 2;
        } else {
            out[used++] = pattern[i];
        }
    }
    memcpy(out + used, suffix.p, suffix.n);
    out[used + suffix.n] = '\0';
    return true;
}

/* Of rules with the same new name, these count when the tensor beside them is there. */
static const struct {
    const char *from, *beside;
} preferred[] = {
    {"h.{i}.ln_mlp",                                  "blk.{i}.attn_norm_2.weight" },
    {"encoder.block.{i}.layer.1.DenseReluDense.wi_1", "enc.blk.{i}.ffn_gate.weight"},
    {"decoder.block.{i}.layer.2.DenseReluDense.wi_1", "dec.blk.{i}.ffn_gate.weight"},
};

/* -1: not for this model; 1: before others. */
static int preference(const struct back *b, const char *from, uint64_t layer)
{
    char name[LONGEST_NAME];
    for (size_t i = 0; i < sizeof preferred / sizeof *preferred; i++)
        if (strcmp(from, preferred[i].from) == 0)
            return fill(preferred[i].beside, strlen(preferred[i].beside), layer, 0,
                        (struct str){"", 0}, name) &&
                           back_has(b, name)
                       ? 1
                       : -1;
    return 0;
}

struct place {
    const struct tensor_rule *rule;
    uint64_t layer;
    struct str suffix;
};

/* A rule that another one stands before is never used on the way there. */
static bool counts(const struct back *b, const struct place *p)
{
    char name[LONGEST_NAME];
    return fill(p->rule->from, strlen(p->rule->from), p->layer, 0, p->suffix, name) &&
           architecture_rule(b->arch, str_from(name)) == p->rule;
}

static bool rule_makes(const struct tensor_rule *r, struct str name, struct place *p)
{
    p->layer = 0;
    for (const char *to = r->to; *to;) {
        const size_t n = strcspn(to, " ");
        if (fits(to, n, name, &p->layer, &p->suffix)) {
            p->rule = r;
            return true;
        }
        to += n + (to[n] == ' ');
    }
    return false;
}

/* The rule that makes a tensor of this name. */
static bool find_place(const struct back *b, struct str name, struct place *out)
{
    const size_t nlists = sizeof b->arch->tensors / sizeof *b->arch->tensors;
    int best = -1;
    for (size_t k = 0; k < nlists && b->arch->tensors[k]; k++)
        for (const struct tensor_rule *r = b->arch->tensors[k]; r->from; r++) {
            struct place p;
            if (!rule_makes(r, name, &p) || !counts(b, &p))
                continue;
            const int how = preference(b, r->from, p.layer);
            if (how <= best)
                continue;
            best = how;
            *out = p;
        }
    return best >= 0;
}

/* ---- one tensor -------------------------------------------------------------------------------
 */

/* Of the head, which is no part of the model that has a prefix. */
static bool is_head(const char *from)
{
    return strncmp(from, "lm_head", 7) == 0 || strcmp(from, "embed_out") == 0;
}

static const char *member_name(const struct back_work *w, uint64_t e)
{
    static const char odd[] = "e_score_correction.bias";
    char name[LONGEST_NAME];
    const char *prefix = w->b->cls->prefix && !is_head(w->rule->from) ? w->b->cls->prefix : "";
    if (!fill(w->rule->from, strlen(w->rule->from), w->layer, e, w->suffix, name))
        return NULL;
    if (str_ends(str_from(name), odd))
        name[strlen(name) - 5] = '_';
    return arena_printf(&w->b->plan->arena, "%s%s", prefix, name);
}

/* All tensors the rule makes of one must be there. */
static enum quern_status find_parts(struct back_work *w, struct quern_error *err)
{
    struct model *m = w->b->model;
    for (const char *to = w->rule->to; *to;) {
        const size_t n = strcspn(to, " ");
        char name[LONGEST_NAME];
        const bool ok = w->nparts < sizeof w->parts / sizeof *w->parts &&
                        fill(to, n, w->layer, 0, w->suffix, name);
        const struct tensor *t = ok ? model_find(m, str_from(name)) : NULL;
        if (!t)
            return fail(err, QUERN_EFORMAT, "missing-tensor",
                        "the tensors it belongs with are not all there" WANT "expected %s too",
                        ok ? quoted(str_from(name)).text : "another");
        w->parts[w->nparts++] = t;
        w->b->used[t - m->tensors] = true;
        to += n + (to[n] == ' ');
    }
    return QUERN_OK;
}

static enum quern_status one_tensor(struct back *b, const struct tensor *t, struct hf_form *out,
                                    struct name_list *unknown, struct quern_error *err)
{
    struct place p;
    if (b->used[t - b->model->tensors])
        return QUERN_OK;
    if (t->name.n >= LONGEST_NAME || !find_place(b, t->name, &p)) {
        name_list_add(unknown, t->name);
        return QUERN_OK;
    }
    struct back_work w = {.b = b,
                          .rule = p.rule,
                          .layer = p.layer,
                          .suffix = p.suffix,
                          .name = member_name,
                          .out = out};
    enum quern_status s = find_parts(&w, err);
    if (s == QUERN_OK)
        s = back_form(&w, err);
    return in_tensor(err, t->name, s);
}

/* ---- all --------------------------------------------------------------------------------------
 */

enum quern_status back_emit(struct back_work *w, const struct source *s, uint64_t e,
                            struct quern_error *err)
{
    struct hf_form *out = w->out;
    struct arena *arena = &w->b->plan->arena;
    const char *name = w->name(w, e);
    if (!name)
        return fail_memory(err, LONGEST_NAME);
    if ((out->count & (out->count + 1)) == 0) { /* 2^k - 1 are there: room for twice as many */
        struct source *bigger = ARENA_NEW(arena, struct source, 2 * (size_t)out->count + 1);
        if (!bigger)
            return fail_memory(err, out->count * sizeof *bigger);
        if (out->count)
            memcpy(bigger, out->sources, out->count * sizeof *bigger);
        out->sources = bigger;
    }
    if (out->count == MAX_TENSORS)
        return fail(err, QUERN_EUNSUPPORTED, "limit", "it would become more than %u tensors",
                    MAX_TENSORS);
    enum dtype dtype = s->tensor->dtype;
    TRY(back_dtype(w->b, s, &dtype, err));
    return typed_source(arena, s, str_from(name), dtype, &out->sources[out->count++], err);
}

static struct str name_of(const void *owner, uint32_t i)
{
    return ((const struct hf_form *)owner)->sources[i].tensor->name;
}

static enum quern_status check_names(const struct hf_form *out, struct quern_error *err)
{
    struct name_table names = {0};
    enum quern_status s = QUERN_OK;
    for (uint32_t i = 0; i < out->count && s == QUERN_OK; i++) {
        bool fresh;
        if (!name_table_add(&names, name_of(out, i), i, name_of, out, &fresh, NULL))
            s = fail_memory(err, out->count);
        else if (!fresh)
            s = in_tensor(err, name_of(out, i),
                          fail(err, QUERN_EUNSUPPORTED, "no-way-back",
                               "two tensors of the GGUF would get this name"));
    }
    name_table_free(&names);
    return s;
}

enum quern_status back_tensors(struct back *b, struct hf_form *out, struct quern_error *err)
{
    struct name_list unknown = {0};
    for (uint32_t i = 0; i < b->model->ntensors; i++)
        TRY(one_tensor(b, &b->model->tensors[i], out, &unknown, err));
    if (unknown.count)
        return fail(err, QUERN_EUNSUPPORTED, "unmapped",
                    "%" PRIu32 " tensor%s no place in %s: %s" WANT
                    "--keep-names writes tensors under the names they have",
                    unknown.count, unknown.count == 1 ? " has" : "s have", b->cls->hf_class,
                    unknown.text);
    return check_names(out, err);
}
