/* tensors.c - which tensor becomes what: names are matched with the rules of the architecture. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "conversion.h"
#include "gather.h"
#include "pipeline/name_list.h"

/* ---- names ------------------------------------------------------------------------------------
 */

struct match {
    const struct tensor_rule *rule;
    uint64_t layer, member; /* {i}, {e} */
    bool has_layer;
    struct str suffix; /* .weight, .bias or nothing */
};

static bool take_number(struct str *name, uint64_t *out)
{
    size_t n = 0;
    while (n < name->n && name->p[n] >= '0' && name->p[n] <= '9')
        n++;
    if (!str_to_u64((struct str){name->p, n}, out) || *out > UINT32_MAX)
        return false;
    *name = (struct str){name->p + n, name->n - n};
    return true;
}

static bool fits(const char *pattern, struct str name, struct match *m)
{
    m->has_layer = false;
    m->layer = m->member = 0;
    while (*pattern) {
        if (*pattern == '{') {
            uint64_t v;
            if (!take_number(&name, &v))
                return false;
            m->has_layer |= pattern[1] == 'i';
            *(pattern[1] == 'i' ? &m->layer : &m->member) = v;
            pattern += 3;
        } else if (name.n == 0 || *name.p != *pattern) {
            return false;
        } else {
            pattern++;
            name = (struct str){name.p + 1, name.n - 1};
        }
    }
    m->suffix = name;
    return name.n == 0 || str_is(name, ".weight") || str_is(name, ".bias");
}

static bool find_rule(const struct architecture *a, struct str name, struct match *m)
{
    const size_t nlists = sizeof a->tensors / sizeof *a->tensors;
    for (size_t k = 0; k < nlists && a->tensors[k]; k++)
        for (m->rule = a->tensors[k]; m->rule->from; m->rule++)
            if (fits(m->rule->from, name, m))
                return true;
    return false;
}

/* ".gamma" at the end of the first n bytes of buf becomes ".weight" ... */
static size_t rename_end(char *buf, size_t n, const char *old, const char *now)
{
    const size_t length = strlen(old);
    if (n < length || memcmp(buf + n - length, old, length) != 0)
        return n;
    memcpy(buf + n - length, now, strlen(now));
    return n - length + strlen(now);
}

/* The name as the rules know it: without what only says that it is the text model. The buffer has
 * room for it and eight bytes more. */
static struct str plain_name(const struct architecture *a, struct str name, char *buf)
{
    static const char part[] = "language_model.";
    size_t n = 0;
    for (size_t i = 0; i < name.n;) {
        if (name.n - i >= sizeof part - 1 && memcmp(name.p + i, part, sizeof part - 1) == 0)
            i += sizeof part - 1;
        else
            buf[n++] = name.p[i++];
    }
    n = rename_end(buf, n, "e_score_correction_bias", "e_score_correction.bias");
    if (a->old_norm_names) {
        n = rename_end(buf, n, ".gamma", ".weight");
        n = rename_end(buf, n, ".beta", ".bias");
    }
    return (struct str){buf, n};
}

static struct str stripped(const struct architecture *a, struct str name)
{
    for (const char *p = a->strip; p && *p;) {
        const size_t n = strcspn(p, " ");
        if (name.n > n && memcmp(name.p, p, n) == 0)
            return (struct str){name.p + n, name.n - n};
        p += n + (p[n] == ' ');
    }
    return name;
}

#define LONGEST_NAME 1024u

/* Checkpoints of the bare model, without the head, leave out the model. before every name. */
static bool match_name(const struct architecture *a, struct str name, struct match *m)
{
    char with_model[LONGEST_NAME + 16];
    name = stripped(a, name);
    if (find_rule(a, name, m))
        return true;
    const int n = snprintf(with_model, sizeof with_model, "model.%.*s", STR_ARG(name));
    if (n < 0 || (size_t)n >= sizeof with_model)
        return false;
    if (!find_rule(a, (struct str){with_model, (size_t)n}, m))
        return false;
    m->suffix.p = name.p + name.n - m->suffix.n;
    return true;
}

const struct tensor_rule *architecture_rule(const struct architecture *a, struct str name)
{
    struct match m;
    return match_name(a, name, &m) ? m.rule : NULL;
}

static bool begins_or_has(struct str name, const char *const *begin, const char *const *anywhere)
{
    for (; *begin; begin++)
        if (str_starts(name, *begin))
            return true;
    for (; *anywhere; anywhere++)
        if (str_has(name, *anywhere))
            return true;
    return false;
}

/* Towers for pictures and sound, and what connects them with the text model. */
static bool is_of_another_sense(struct str name)
{
    static const char *const begin[] = {"vit.",    "vpm.",       "siglip2.", "conformer.",
                                        "merger.", "resampler.", "sound_",   "speech_embeddings.",
                                        "mlp.",    NULL};
    static const char *const anywhere[] = {"visual.",          "vision.",
                                           "audio.",           "talker.",
                                           "vision_",          "audio_",
                                           "token2wav.",       "code2wav.",
                                           "projector.",       "pre_mm_projector_norm",
                                           "image_newline",    "view_seperator",
                                           "patch_embed",      "patch_embedding",
                                           "patch_merger.",    "patch_merge_mlp.",
                                           "model.connector.", NULL};
    return begins_or_has(name, begin, anywhere);
}

static bool is_buffer(struct str name)
{
    return str_ends(name, ".attention.masked_bias") || str_ends(name, ".attention.bias") ||
           str_ends(name, ".attn.masked_bias") || str_ends(name, ".attn.bias") ||
           str_ends(name, ".rotary_emb.inv_freq");
}

/* ---- steps ------------------------------------------------------------------------------------
 */

enum quern_status convert_add_step(struct conversion *c, struct str name,
                                   const struct source *source, const struct op *op,
                                   struct quern_error *err)
{
    if (c->nsteps == c->step_capacity) {
        const uint32_t capacity = c->step_capacity ? c->step_capacity * 2 : 256;
        struct step *bigger = realloc(c->steps, capacity * sizeof *bigger);
        if (!bigger)
            return fail_memory(err, capacity * sizeof *bigger);
        c->steps = bigger;
        c->step_capacity = capacity;
    }
    c->steps[c->nsteps++] = (struct step){.name = name,
                                          .matrix_name = name,
                                          .dims = source->tensor->dims,
                                          .ndims = source->tensor->ndims,
                                          .dtype = source->tensor->dtype,
                                          .round_dtype = DTYPE_COUNT,
                                          .nsources = 1,
                                          .sources = source,
                                          .op = op};
    return QUERN_OK;
}

enum quern_status convert_add_values(struct conversion *c, const char *name, const float *values,
                                     uint64_t n, struct quern_error *err)
{
    struct source *s = ARENA_NEW(&c->plan->arena, struct source, 1);
    if (!s)
        return fail_memory(err, sizeof *s);
    TRY(fixed_source(&c->plan->arena, str_from(name), values, n, s, err));
    return convert_add_step(c, str_from(name), s, &op_copy, err);
}

/* The new name with the layer in it. */
static char *with_layer(struct arena *arena, const char *to, uint64_t layer)
{
    char digits[24], *out;
    const int ndigits = snprintf(digits, sizeof digits, "%" PRIu64, layer);
    const size_t n = strlen(to);
    size_t used = 0;
    out = arena_alloc(arena, n * 8 + 1); /* "{i}" is three bytes, a layer at most ten */
    for (size_t i = 0; out && i < n;) {
        if (strncmp(to + i, "{i}", 3) == 0) {
            memcpy(out + used, digits, (size_t)ndigits);
            used += (size_t)ndigits;
            i += 3;
        } else {
            out[used++] = to[i++];
        }
    }
    if (out)
        out[used] = '\0';
    return out;
}

/* ---- stacks -----------------------------------------------------------------------------------
 */

#define MOST_KINDS 4u

/* What is stacked in one layer: experts of up to three kinds, or the heads of one norm. */
struct stack {
    const struct tensor_rule *kinds[MOST_KINDS];
    const struct source **members; /* nkinds x size */
    uint64_t layer, size, count;
    unsigned nkinds;
    bool done;
};

struct stacks {
    struct stack *items;
    uint32_t count, capacity;
};

static bool is_named(enum transform how)
{
    return how == STACK_NAMED || how == JOIN_NAMED;
}

static bool same_stack(const struct stack *s, const struct match *m)
{
    if (s->layer != m->layer)
        return false;
    if (is_named(m->rule->transform))
        return strcmp(s->kinds[0]->to, m->rule->to) == 0;
    return m->rule->transform == STACK_EXPERTS ? s->kinds[0]->transform == STACK_EXPERTS
                                               : s->kinds[0] == m->rule;
}

/* As many as the template's tensor has of them; it has dropped an outermost dimension of 1. */
static uint64_t size_in_template(const struct conversion *c, const struct match *m)
{
    struct arena scratch = {0};
    const char *name = with_layer(&scratch, m->rule->to, m->layer);
    const struct tensor *t = name && c->like ? model_find(c->like, str_from(name)) : NULL;
    const uint64_t size = !t ? c->nexperts : t->ndims > 1 ? t->dims[0] : 1;
    arena_free(&scratch);
    return size;
}

static uint64_t size_of_stack(const struct conversion *c, const struct match *m)
{
    const enum transform how = m->rule->transform;
    return how == STACK_EXPERTS      ? c->nexperts
           : is_named(how) && c->map ? c->map->members[m->rule - c->map->rules]
           : how == STACK_NAMED      ? c->arch->named_members
           : how == STACK_ALONE      ? size_in_template(c, m)
           : how == STACK_Q_HEADS    ? c->nheads
                                     : c->nkv_heads;
}

static enum quern_status new_stack(struct conversion *c, struct stacks *all, const struct match *m,
                                   struct stack **out, struct quern_error *err)
{
    const bool experts = m->rule->transform == STACK_EXPERTS;
    const unsigned nkinds = !experts ? 1 : c->arch->expert_kinds ? c->arch->expert_kinds : 3;
    const uint64_t size = size_of_stack(c, m);
    if (size == 0 || size > c->ninputs)
        return fail(err, QUERN_EFORMAT, "hparam",
                    "config.json gives %" PRIu64 " %s" WANT "expected as many as there are tensors",
                    size, experts ? "experts" : "heads");
    if (all->count == all->capacity) {
        const uint32_t capacity = all->capacity ? all->capacity * 2 : 64;
        struct stack *bigger = realloc(all->items, capacity * sizeof *bigger);
        if (!bigger)
            return fail_memory(err, capacity * sizeof *bigger);
        all->items = bigger;
        all->capacity = capacity;
    }
    *out = &all->items[all->count];
    **out = (struct stack){.layer = m->layer, .size = size, .nkinds = nkinds};
    (*out)->members = calloc(nkinds * size, sizeof *(*out)->members);
    if (!(*out)->members)
        return fail_memory(err, nkinds * size * sizeof *(*out)->members);
    (*out)->kinds[0] = m->rule;
    all->count++;
    return QUERN_OK;
}

/* An adapter may change some kinds of experts only. */
static bool kind_is_left_out(const struct conversion *c, const struct stack *s, unsigned kind)
{
    for (uint64_t i = 0; c->adapts && i < s->size; i++)
        if (s->members[kind * s->size + i])
            return false;
    return c->adapts;
}

static enum quern_status finish_stack(struct conversion *c, struct stack *s,
                                      struct quern_error *err)
{
    for (unsigned k = 0; k < s->nkinds; k++) {
        if (kind_is_left_out(c, s, k))
            continue;
        const char *to = with_layer(&c->plan->arena, s->kinds[k]->to, s->layer);
        if (!to)
            return fail_memory(err, strlen(s->kinds[k]->to));
        TRY((s->kinds[k]->transform == JOIN_NAMED ? convert_join : convert_stack)(
            c, str_from(to), s->members + k * s->size, s->size, err));
    }
    s->done = true;
    return QUERN_OK;
}

static enum quern_status stack_member(struct conversion *c, struct stacks *all,
                                      const struct match *m, const struct source *from,
                                      struct quern_error *err)
{
    struct stack *s = NULL;
    for (uint32_t i = all->count; i > 0 && !s; i--)
        if (same_stack(&all->items[i - 1], m))
            s = &all->items[i - 1];
    if (!s)
        TRY(new_stack(c, all, m, &s, err));
    const bool by_name = is_named(m->rule->transform);
    const unsigned kind = by_name ? 0 : m->rule->rank;
    const uint64_t member = by_name ? m->rule->rank : m->member;
    if (kind >= s->nkinds || member >= s->size || s->members[kind * s->size + member])
        return fail(err, QUERN_EFORMAT, "hparam",
                    "it is number %" PRIu64 " of its layer" WANT "config.json says there are "
                    "%" PRIu64,
                    member, s->size);
    s->kinds[kind] = m->rule;
    s->members[kind * s->size + member] = from;
    return ++s->count == s->nkinds * s->size ? finish_stack(c, s, err) : QUERN_OK;
}

static bool has_whole_kinds(const struct conversion *c, const struct stack *s)
{
    uint64_t count = 0;
    for (unsigned k = 0; k < s->nkinds; k++)
        count += kind_is_left_out(c, s, k) ? 0 : s->size;
    return count == s->count;
}

static enum quern_status check_stack(const struct stack *s, struct quern_error *err)
{
    const enum transform how = s->kinds[0]->transform;
    if (s->done)
        return QUERN_OK;
    if (is_named(how) || how == STACK_ALONE)
        return fail(err, QUERN_EFORMAT, "hparam",
                    "layer %" PRIu64 " has %" PRIu64 " tensors for '%s'" WANT "expected %" PRIu64,
                    s->layer, s->count, quoted(str_from(s->kinds[0]->to)).text, s->size);
    return fail(err, QUERN_EFORMAT, "hparam",
                "layer %" PRIu64 " has %" PRIu64 " tensors of %s" WANT "expected %" PRIu64
                ", as config.json says",
                s->layer, s->count, how == STACK_EXPERTS ? "experts" : "heads",
                s->nkinds * s->size);
}

static enum quern_status check_stacks(struct conversion *c, struct stacks *all,
                                      struct quern_error *err)
{
    for (uint32_t i = 0; i < all->count; i++) {
        struct stack *s = &all->items[i];
        if (!s->done && has_whole_kinds(c, s))
            TRY(finish_stack(c, s, err));
        TRY(check_stack(s, err));
    }
    return QUERN_OK;
}

/* ---- tensors whose values decide
 * -----------------------------------------------------------------
 */

/* Checkpoints with one matrix for both ends may hold it twice. */
enum quern_status convert_is_embedding(struct conversion *c, const struct source *head, bool *same,
                                       struct quern_error *err)
{
    const struct source *s = NULL;
    const struct tensor *t = head->tensor;
    *same = false;
    for (uint32_t i = 0; i < c->nsteps && !s; i++)
        if (str_is(c->steps[i].name, "token_embd.weight"))
            s = &c->steps[i].sources[0];
    if (!s || s->tensor->dtype != t->dtype || s->tensor->nelems != t->nelems ||
        s->tensor->ndims != t->ndims)
        return QUERN_OK;
    return convert_same_values(s, head, same, err);
}

/* ---- all tensors ------------------------------------------------------------------------------
 */

struct unknown {
    struct name_list unmapped, other_senses;
};

static bool is_stacked(enum transform how)
{
    return how == STACK_EXPERTS || is_named(how) || how == STACK_ALONE || how == STACK_Q_HEADS ||
           how == STACK_K_HEADS;
}

/* Why a tensor that has a place is not written all the same; *why stays NULL when it is. */
static enum quern_status look_inside(struct conversion *c, const struct match *m,
                                     const struct source *from, const char **why,
                                     struct quern_error *err)
{
    bool same;
    if (c->adapts) /* a change has no such values */
        return QUERN_OK;
    if (m->rule->transform == UNLESS_EMBEDDING) {
        TRY(convert_is_embedding(c, from, &same, err));
        *why = same ? "it is the token embedding again" : NULL;
    } else if (m->rule->transform == UNLESS_ZERO) {
        TRY(convert_is_zero(from, &same, err));
        *why = "it is all zero";
        if (!same)
            return in_tensor(err, from->tensor->name,
                             fail(err, QUERN_EUNSUPPORTED, "bias",
                                  "it is not all zero" WANT "llama.cpp has no such bias in %s",
                                  c->arch->name));
    } else if (m->rule->transform == ONCE) {
        for (uint32_t i = 0; i < c->nsteps && !*why; i++)
            if (str_starts(c->steps[i].name, m->rule->to))
                *why = "the same tensor under another name is used";
    }
    return QUERN_OK;
}

static enum quern_status use_tensor(struct conversion *c, struct stacks *all, const struct match *m,
                                    const struct source *from, struct quern_error *err)
{
    const struct tensor *t = from->tensor;
    const char *why = NULL;
    if (m->has_layer && c->arch->drop_layers_beyond && m->layer >= c->nlayers)
        return plan_drop(c->plan, t->name, "its layer is beyond num_hidden_layers", err);
    if (m->rule->transform == TAKEN)
        return QUERN_OK;
    if (m->rule->transform == LEFT_OUT)
        return plan_drop(c->plan, t->name, "GGUF has no place for it", err);
    TRY(look_inside(c, m, from, &why, err));
    if (why)
        return plan_drop(c->plan, t->name, why, err);
    if (is_stacked(m->rule->transform))
        return in_tensor(err, t->name, stack_member(c, all, m, from, err));
    const char *to = with_layer(&c->plan->arena, m->rule->to, m->layer);
    if (!to)
        return fail_memory(err, strlen(m->rule->to));
    return convert_transform(c, m->rule, from, to, m->suffix, err);
}

static enum quern_status one_tensor(struct conversion *c, struct stacks *all,
                                    const struct source *from, struct unknown *u,
                                    struct quern_error *err)
{
    const struct tensor *t = from->tensor;
    char buf[LONGEST_NAME + 8];
    struct match m = {0};
    if (t->name.n > LONGEST_NAME) {
        name_list_add(&u->unmapped, t->name);
        return QUERN_OK;
    }
    /* Maps have the names of the checkpoint as they are. */
    const struct str name = c->map ? t->name : plain_name(c->arch, t->name, buf);
    if (c->map ? find_rule(c->arch, name, &m) : match_name(c->arch, name, &m)) {
        if (c->map)
            c->rule_hits[m.rule - c->map->rules]++;
        return use_tensor(c, all, &m, from, err);
    }
    if (is_buffer(name))
        return plan_drop(c->plan, t->name, "computed anew by llama.cpp", err);
    if (!is_of_another_sense(name)) {
        name_list_add(&u->unmapped, t->name);
        return QUERN_OK;
    }
    name_list_add(&u->other_senses, t->name);
    return c->request->text_only
               ? plan_drop(c->plan, t->name, "not part of the text model (--text-only)", err)
               : QUERN_OK;
}

static const char *unknown_where(const struct conversion *c)
{
    if (c->map)
        return c->map->path ? c->map->path : "what was learnt";
    return c->like ? c->arch->name : c->hf_class.p;
}

/* A rule that nothing comes of is a mistake, or one for another model. */
static enum quern_status check_rules(const struct conversion *c, struct quern_error *err)
{
    for (uint32_t i = 0; c->map && i < c->map->nrules; i++) {
        const struct tensor_rule *r = &c->map->rules[i];
        if (c->rule_hits[i] == 0 && !map_may_be_idle(r->transform) && c->map->path)
            return in_file(err, c->map->path,
                           fail(err, QUERN_EUSAGE, "no-match",
                                "line %" PRIu32 ": no tensor is called '%s'" WANT
                                "expected every rule to have a tensor",
                                c->map->lines[i], quoted(str_from(r->from)).text));
    }
    return QUERN_OK;
}

static enum quern_status check_unknown(const struct conversion *c, const struct unknown *u,
                                       struct quern_error *err)
{
    if (u->unmapped.count)
        return fail(err, QUERN_EUNSUPPORTED, "unmapped",
                    "%" PRIu32 " tensor%s not known in %s: %s" WANT
                    "expected the tensors of that architecture",
                    u->unmapped.count, u->unmapped.count == 1 ? " is" : "s are", unknown_where(c),
                    u->unmapped.text);
    if (u->other_senses.count && c->request->text_only)
        return plan_note(c->plan, err, "%" PRIu32 " tensor%s for pictures or sound %s left out: %s",
                         u->other_senses.count, plural(u->other_senses.count),
                         u->other_senses.count == 1 ? "is" : "are", u->other_senses.text);
    if (u->other_senses.count)
        return fail(err, QUERN_EUNSUPPORTED, "mmproj",
                    "%" PRIu32 " tensor%s to pictures or sound: %s" WANT
                    "--text-only converts the text model and leaves them out",
                    u->other_senses.count, u->other_senses.count == 1 ? " belongs" : "s belong",
                    u->other_senses.text);
    return QUERN_OK;
}

static enum quern_status all_tensors(struct conversion *c, struct stacks *all,
                                     struct quern_error *err)
{
    struct unknown u = {0};
    for (uint32_t i = 0; i < c->ninputs; i++)
        TRY(one_tensor(c, all, c->inputs[i], &u, err));
    TRY(check_rules(c, err));
    TRY(check_unknown(c, &u, err));
    return check_stacks(c, all, err);
}

enum quern_status convert_tensors(struct conversion *c, struct quern_error *err)
{
    struct stacks all = {0};
    const enum quern_status s = all_tensors(c, &all, err);
    for (uint32_t i = 0; i < all.count; i++)
        free(all.items[i].members);
    free(all.items);
    return s;
}
