/* like_config.c - where config.json and a template say different things. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "like.h"

struct differing {
    struct conversion *c;
    uint32_t wrong; /* differences that no file survives */
    char text[800]; /* what they are */
    size_t used;
};

/* Tensors of one shape with another of these make a model that loads and talks nonsense. */
static bool must_agree(const char *name)
{
    static const char *const names[] = {"block_count",
                                        "embedding_length",
                                        "feed_forward_length",
                                        "attention.head_count",
                                        "attention.head_count_kv",
                                        "attention.key_length",
                                        "attention.value_length",
                                        "attention.key_length_mla",
                                        "attention.value_length_mla",
                                        "attention.kv_lora_rank",
                                        "expert_count",
                                        "expert_feed_forward_length",
                                        "ssm.group_count",
                                        "rope.dimension_count"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* ---- values -----------------------------------------------------------------------------------
 */

static double float_of(const struct meta *k)
{
    float f = 0;
    double d = 0;
    if (k->type == META_F32) {
        memcpy(&f, k->value.p, sizeof f);
        return (double)f;
    }
    memcpy(&d, k->value.p, sizeof d);
    return d;
}

static bool number_of(const struct meta *k, double *out)
{
    uint64_t n;
    if (meta_u64(k, &n))
        *out = (double)n;
    else if (k->type == META_F32 || k->type == META_F64)
        *out = float_of(k);
    else
        return false;
    return true;
}

static bool same_value(const struct meta *a, const struct meta *b)
{
    double x, y;
    if (number_of(a, &x) && number_of(b, &y))
        return x == y || (float)x == (float)y;
    return a->type == b->type && (a->type != META_ARRAY || a->item_type == b->item_type) &&
           str_eq(a->value, b->value);
}

static void value_words(const struct meta *k, char *buf, size_t n)
{
    double x;
    if (number_of(k, &x))
        snprintf(buf, n, "%.9g", x);
    else if (k->type == META_STRING)
        snprintf(buf, n, "'%.60s'", quoted(k->value).text);
    else if (k->type == META_BOOL)
        snprintf(buf, n, "%s", *k->value.p ? "true" : "false");
    else if (k->type == META_ARRAY)
        snprintf(buf, n, "a list of %" PRIu64, k->count);
    else
        snprintf(buf, n, "of type %s", meta_type_name(k->type));
}

/* One number for all layers may stand as a list with one for each. */
static bool list_says_the_same(const struct conversion *c, const struct meta *ours,
                               const char *name)
{
    uint64_t all, one;
    return meta_u64(ours, &one) && like_u64(c, name, &all) && one == all;
}

/* ---- keys -------------------------------------------------------------------------------------
 */

static enum quern_status compare_key(struct differing *d, const struct meta *ours,
                                     struct quern_error *err)
{
    const struct conversion *c = d->c;
    const struct meta *theirs = model_meta(c->like, ours->key.p);
    const char *name = ours->key.p + strlen(c->arch->name) + 1;
    char a[96], b[96] = "not there";
    if ((theirs && same_value(ours, theirs)) || list_says_the_same(c, ours, name))
        return QUERN_OK;
    value_words(ours, a, sizeof a);
    if (theirs)
        value_words(theirs, b, sizeof b);
    if (!theirs || !must_agree(name))
        return plan_note(c->plan, err, "%s is %s, as in %s; config.json gives %s",
                         quoted(ours->key).text, b, c->like->path, a);
    if (d->used + 1 < sizeof d->text)
        d->used +=
            (size_t)snprintf(d->text + d->used, sizeof d->text - d->used, "%s%s is %s, %s in %s",
                             d->wrong ? "; " : "", name, a, b, path_base(c->like->path));
    if (d->used >= sizeof d->text)
        d->used = sizeof d->text - 1;
    d->wrong++;
    return QUERN_OK;
}

/* The keys that config.json alone would give, as far as it does: it may be of no known class. */
static enum quern_status keys_of_config(struct conversion *own, struct quern_error *err)
{
    const size_t n = sizeof own->arch->keys / sizeof *own->arch->keys;
    for (size_t k = 0; k < n && own->arch->keys[k]; k++)
        for (const struct key_rule *r = own->arch->keys[k]; r->key; r++) {
            const struct key_rule one[2] = {*r, {.key = NULL}};
            if (strncmp(r->key, "general.", 8) == 0 || strncmp(r->key, "tokenizer.", 10) == 0 ||
                (r->from && !hparam(own, r->from)))
                continue;
            if (convert_put_keys(own, one, NULL) == QUERN_EMEMORY)
                return fail_memory(err, sizeof *r);
        }
    return QUERN_OK;
}

enum quern_status like_differences(struct conversion *c, struct quern_error *err)
{
    struct conversion own = *c;
    struct differing d = {.c = c};
    own.keys = (struct meta_list){.arena = &c->plan->arena};
    TRY(keys_of_config(&own, err));
    for (uint32_t i = 0; i < own.keys.count; i++)
        TRY(compare_key(&d, &own.keys.items[i], err));
    if (d.wrong)
        return in_file(err, c->config.path,
                       fail(err, QUERN_EUSAGE, "like",
                            "%s" WANT "expected a template of the same shape", d.text));
    return QUERN_OK;
}
