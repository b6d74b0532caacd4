/* learn_rules.c - write what was found as a map. */
#include <inttypes.h>
#include <stdlib.h>

#include "learn_parts.h"

static const char *target_name(const struct learning *l, const struct making *m, uint32_t group)
{
    const struct name_group *g = &l->targets.groups[group];
    return m->literal == NO_TENSOR ? g->pattern
                                   : l->gguf->tensors[l->targets.members[g->first].tensor].name.p;
}

static enum quern_status write_rule(struct learning *l, const struct making *m,
                                    struct quern_error *err)
{
    struct tensor_rule r = {.to = "", .transform = m->chosen->how};
    r.from = m->stacked                ? l->families[m->from].pattern
             : m->literal != NO_TENSOR ? l->view.sources[m->literal].tensor->name.p
                                       : l->sources.groups[m->from].pattern;
    for (unsigned p = 0; p < m->nto && r.to; p++)
        r.to = arena_printf(&l->arena, "%s%s%s", r.to, p ? " " : "",
                            target_name(l, m, m->to[m->chosen->order[p]]));
    return r.to ? map_add(&l->map, &r, 0, 0, err) : fail_memory(err, sizeof r);
}

/* First single tensors, whose names the patterns would fit too. */
static enum quern_status write_makings(struct learning *l, bool literal, struct quern_error *err)
{
    for (uint32_t i = 0; i < l->nmakings; i++) {
        const struct making *m = &l->makings[i];
        if (m->chosen && (m->literal != NO_TENSOR) == literal)
            TRY(write_rule(l, m, err));
    }
    return QUERN_OK;
}

/* ---- sources without a target -------------------------------------------------------------------
 */

/* The head of a model that uses the embedding for it. */
static bool is_embedding_again(const struct learning *l, uint32_t source)
{
    const struct tensor *t = model_find(l->gguf, STR("token_embd.weight"));
    if (!t || model_find(l->gguf, STR("output.weight")))
        return false;
    const uint32_t target = (uint32_t)(t - l->gguf->tensors);
    const unsigned k = learn_type(l, target) * NCHANGES;
    const struct fingerprints *f = &l->from[source];
    return f->known && f->has[k / NCHANGES] && f->tensor->nelems == t->nelems &&
           f->of[k].this_order == l->to[target].of[k].this_order;
}

static enum quern_status ignore(struct learning *l, uint32_t source, const char *pattern,
                                struct name_list *names, struct quern_error *err)
{
    struct tensor_rule r = {.from = pattern, .to = "", .transform = LEFT_OUT};
    if (is_embedding_again(l, source)) {
        r.to = "output.weight";
        r.transform = UNLESS_EMBEDDING;
    } else {
        name_list_add(names, str_from(pattern));
    }
    return map_add(&l->map, &r, 0, 0, err);
}

static uint32_t count_used(const struct learning *l, const struct name_group *g)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < g->count; i++)
        n += l->used[l->sources.members[g->first + i].tensor];
    return n;
}

/* whole: groups of which nothing is used; else single tensors of the others. */
static enum quern_status ignore_rest(struct learning *l, bool whole, struct name_list *names,
                                     struct quern_error *err)
{
    for (uint32_t g = 0; g < l->sources.ngroups; g++) {
        const struct name_group *group = &l->sources.groups[g];
        const uint32_t n = count_used(l, group);
        if (whole && n == 0)
            TRY(ignore(l, l->sources.members[group->first].tensor, group->pattern, names, err));
        for (uint32_t i = 0; !whole && n > 0 && i < group->count; i++) {
            const uint32_t t = l->sources.members[group->first + i].tensor;
            if (!l->used[t])
                TRY(ignore(l, t, l->view.sources[t].tensor->name.p, names, err));
        }
    }
    return QUERN_OK;
}

/* ---- targets without a source -------------------------------------------------------------------
 */

/* Factors of positions follow from hyper-parameters, which are those of the template anyway. */
static enum quern_status keep_rest(struct learning *l, struct quern_error *err)
{
    struct name_list names = {0};
    for (uint32_t g = 0; g < l->targets.ngroups; g++) {
        const struct str pattern = str_from(l->targets.groups[g].pattern);
        if (l->placed[g])
            continue;
        if (str_starts(pattern, "rope_f"))
            TRY(map_keep(&l->map, pattern, err));
        else
            name_list_add(&names, pattern);
    }
    if (names.count == 0)
        return QUERN_OK;
    return in_file(err, l->gguf->path,
                   fail(err, QUERN_EUSAGE, "learn",
                        "nothing in %s has the values of %s" WANT
                        "expected the GGUF that was made of that model",
                        l->hf->path, names.text));
}

/* ---- notes ------------------------------------------------------------------------------------
 */

static enum quern_status note(struct learning *l, const char *text, struct quern_error *err)
{
    if (!text)
        return fail_memory(err, 256);
    l->notes[l->nnotes++] = text;
    return QUERN_OK;
}

enum quern_status learn_write_map(struct learning *l, struct quern_error *err)
{
    struct name_list ignored = {0};
    TRY(keep_rest(l, err));
    TRY(write_makings(l, true, err));
    TRY(ignore_rest(l, false, &ignored, err));
    TRY(write_makings(l, false, err));
    TRY(ignore_rest(l, true, &ignored, err));
    TRY(note(l,
             arena_printf(&l->arena, "learnt %" PRIu32 " rules from %s and %s", l->map.nrules,
                          l->hf->path, l->gguf->path),
             err));
    if (ignored.count)
        TRY(note(l,
                 arena_printf(&l->arena, "%s has no part of these, which are ignored: %s",
                              l->gguf->path, ignored.text),
                 err));
    return QUERN_OK;
}
