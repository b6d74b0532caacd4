/* verify_keys.c - compare the keys that a plan would write with those that are there. */
#include "verify.h"

static struct str key_of(const void *plan, uint32_t i)
{
    return ((const struct plan *)plan)->metas[i].key;
}

static bool begins(struct str s, const char *with)
{
    const size_t n = strlen(with);
    return s.n >= n && memcmp(s.p, with, n) == 0;
}

/* Keys that no program computes with: names and origins, how the file was made, how it lies on the
 * disk. A model does not work otherwise for them, and two honest ways to the same weights give
 * different ones. */
static bool describes(struct str key)
{
    return (begins(key, "general.") && !str_is(key, "general.architecture")) ||
           begins(key, "quantize.") || begins(key, "split.") || begins(key, "quern.");
}

static bool same_value(const struct meta *a, const struct meta *b)
{
    return a->type == b->type && a->item_type == b->item_type && a->count == b->count &&
           a->value.n == b->value.n &&
           (a->value.n == 0 || memcmp(a->value.p, b->value.p, a->value.n) == 0);
}

/* Of two arrays of one type; the length of the shorter one when that is the difference. */
static uint64_t first_other_item(const struct meta *a, const struct meta *b)
{
    const size_t n = meta_item_bytes(a->item_type);
    const char *x = a->value.p, *y = b->value.p;
    const uint64_t both = a->count < b->count ? a->count : b->count;
    uint64_t i = 0;
    for (; i < both; i++) {
        struct str p = {x, n}, q = {y, n};
        if (a->item_type == META_STRING) {
            p = meta_next_string(&x);
            q = meta_next_string(&y);
        } else {
            x += n;
            y += n;
        }
        if (!str_eq(p, q))
            break;
    }
    return i;
}

static void add(struct verification *v, const struct meta *made, const struct meta *there)
{
    struct key_mismatch *x = &v->keys[v->nkeys++];
    *x = (struct key_mismatch){
        .made = made, .there = there, .describes = describes(made ? made->key : there->key)};
    if (made && there && made->type == META_ARRAY && there->type == META_ARRAY &&
        made->item_type == there->item_type)
        x->item = first_other_item(made, there);
}

static enum quern_status compare(struct plan *p, struct verification *v, struct name_table *ours,
                                 struct quern_error *err)
{
    const struct model *m = v->there;
    for (uint32_t i = 0; i < p->nmetas; i++) {
        bool fresh;
        if (!name_table_add(ours, p->metas[i].key, i, key_of, p, &fresh, NULL))
            return fail_memory(err, p->nmetas * sizeof(struct meta));
        const struct meta *made = &p->metas[i], *there = NULL;
        uint32_t k;
        if (name_table_find(&m->meta_index, made->key, model_meta_key, m, &k))
            there = m->metas + k;
        if (!there || !same_value(made, there))
            add(v, made, there);
    }
    for (uint32_t i = 0; m->metas && i < m->nmetas; i++)
        if (!name_table_find(ours, m->metas[i].key, key_of, p, &(uint32_t){0}))
            add(v, NULL, &m->metas[i]);
    return QUERN_OK;
}

enum quern_status verify_keys(struct plan *p, struct verification *v, struct quern_error *err)
{
    struct name_table ours = {0};
    const size_t most = (size_t)p->nmetas + v->there->nmetas;
    v->keys = ARENA_NEW(&p->arena, struct key_mismatch, most + 1);
    if (!v->keys)
        return fail_memory(err, most * sizeof *v->keys);
    const enum quern_status s = compare(p, v, &ours, err);
    name_table_free(&ours);
    return s;
}
