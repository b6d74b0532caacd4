/* name_groups.c - find the layers in the names of tensors. */
#include "name_groups.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LONGEST 480u

/* The first part between dots that is a number, behind the first `skip` bytes; false when none. */
static bool find_number(struct str name, size_t skip, size_t *at, size_t *n, uint64_t *value)
{
    for (size_t begin = 0, end; begin < name.n; begin = end + 1) {
        const char *dot = memchr(name.p + begin, '.', name.n - begin);
        end = dot ? (size_t)(dot - name.p) : name.n;
        const struct str part = {name.p + begin, end - begin};
        if (begin >= skip && part.n <= 9 && str_to_u64(part, value)) {
            *at = begin;
            *n = part.n;
            return true;
        }
    }
    return false;
}

static bool may_stand_in_a_map(struct str name)
{
    if (name.n == 0 || name.n > LONGEST)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if ((unsigned char)name.p[i] <= ' ' || strchr("{}", name.p[i]) || name.p[i] == 0x7f)
            return false;
    return true;
}

static enum quern_status read_name(const struct tensor *t, struct arena *arena,
                                   struct group_member *m, bool *layered, struct quern_error *err)
{
    size_t at, n;
    if (!may_stand_in_a_map(t->name))
        return in_tensor(err, t->name,
                         fail(err, QUERN_EUNSUPPORTED, "name",
                              "no rule can be made for its name" WANT
                              "expected at most %u bytes without blanks and braces",
                              LONGEST));
    *layered = find_number(t->name, 0, &at, &n, &m->layer);
    if (*layered)
        m->pattern = arena_printf(arena, "%.*s{i}%.*s", (int)at, t->name.p,
                                  (int)(t->name.n - at - n), t->name.p + at + n);
    else
        m->pattern = arena_printf(arena, "%.*s", STR_ARG(t->name));
    return m->pattern ? QUERN_OK : fail_memory(err, t->name.n);
}

static int by_pattern_and_layer(const void *a, const void *b)
{
    const struct group_member *x = a, *y = b;
    const int c = strcmp(x->pattern, y->pattern);
    return c != 0 ? c : x->layer < y->layer ? -1 : x->layer > y->layer;
}

enum quern_status name_groups_of(const struct view *v, struct arena *arena, struct name_groups *out,
                                 struct quern_error *err)
{
    const uint32_t n = v->count;
    bool layered;
    *out = (struct name_groups){.members = ARENA_NEW(arena, struct group_member, n + 1u),
                                .groups = ARENA_NEW(arena, struct name_group, n + 1u),
                                .group_of = ARENA_NEW(arena, uint32_t, n + 1u)};
    if (!out->members || !out->groups || !out->group_of)
        return fail_memory(err, n * sizeof *out->members);
    for (uint32_t i = 0; i < n; i++) {
        out->members[i].tensor = i;
        TRY(read_name(v->sources[i].tensor, arena, &out->members[i], &layered, err));
    }
    qsort(out->members, n, sizeof *out->members, by_pattern_and_layer);
    for (uint32_t i = 0; i < n; i++) {
        struct group_member *x = &out->members[i];
        if (i == 0 || strcmp(x->pattern, x[-1].pattern) != 0)
            out->groups[out->ngroups++] = (struct name_group){
                .pattern = x->pattern, .first = i, .layered = strstr(x->pattern, "{i}") != NULL};
        out->groups[out->ngroups - 1].count++;
        out->group_of[x->tensor] = out->ngroups - 1;
    }
    return QUERN_OK;
}

const struct group_member *group_at(const struct name_groups *all, const struct name_group *g,
                                    uint64_t layer)
{
    uint32_t low = g->first, high = g->first + g->count;
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        if (all->members[mid].layer == layer)
            return &all->members[mid];
        if (all->members[mid].layer < layer)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

/* ---- families ---------------------------------------------------------------------------------
 */

struct member_name {
    const char *pattern; /* with {e} */
    uint64_t number;
    uint32_t group;
};

static int by_pattern_and_number(const void *a, const void *b)
{
    const struct member_name *x = a, *y = b;
    const int c = strcmp(x->pattern, y->pattern);
    return c != 0 ? c : x->number < y->number ? -1 : x->number > y->number;
}

static bool same_layers(const struct name_groups *all, uint32_t a, uint32_t b)
{
    const struct name_group *x = &all->groups[a], *y = &all->groups[b];
    if (x->count != y->count)
        return false;
    for (uint32_t i = 0; i < x->count; i++)
        if (all->members[x->first + i].layer != all->members[y->first + i].layer)
            return false;
    return true;
}

static enum quern_status gather_names(const struct name_groups *all, const bool *used,
                                      struct arena *arena, struct member_name *names, uint32_t *n,
                                      struct quern_error *err)
{
    *n = 0;
    for (uint32_t g = 0; g < all->ngroups; g++) {
        const struct str p = str_from(all->groups[g].pattern);
        const char *layer = strstr(p.p, "{i}");
        size_t at, length;
        if (used[g] || !layer ||
            !find_number(p, (size_t)(layer - p.p), &at, &length, &names[*n].number))
            continue;
        names[*n].group = g;
        names[*n].pattern = arena_printf(arena, "%.*s{e}%s", (int)at, p.p, p.p + at + length);
        if (!names[(*n)++].pattern)
            return fail_memory(err, p.n);
    }
    qsort(names, *n, sizeof *names, by_pattern_and_number);
    return QUERN_OK;
}

enum quern_status name_families_of(const struct name_groups *all, const bool *used,
                                   struct arena *arena, struct name_family **out, uint32_t *n,
                                   struct quern_error *err)
{
    struct member_name *names = ARENA_NEW(arena, struct member_name, all->ngroups + 1u);
    struct name_family *families = ARENA_NEW(arena, struct name_family, all->ngroups + 1u);
    uint32_t *groups = ARENA_NEW(arena, uint32_t, all->ngroups + 1u);
    uint32_t nnames;
    if (!names || !families || !groups)
        return fail_memory(err, all->ngroups * sizeof *names);
    TRY(gather_names(all, used, arena, names, &nnames, err));
    *n = 0;
    for (uint32_t i = 0, end; i < nnames; i = end) {
        bool whole = true;
        for (end = i; end < nnames && strcmp(names[end].pattern, names[i].pattern) == 0; end++) {
            groups[end] = names[end].group;
            whole &= names[end].number == end - i && same_layers(all, groups[i], groups[end]);
        }
        if (whole)
            families[(*n)++] = (struct name_family){
                .pattern = names[i].pattern, .groups = groups + i, .count = end - i};
    }
    *out = families;
    return QUERN_OK;
}
