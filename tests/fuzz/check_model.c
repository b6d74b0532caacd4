/* check_model.c - a model that was taken promises only bytes that are there, and is found by name.
 */
#include "check_model.h"

#include <string.h>

static void check_tensor(const struct model *m, const struct tensor *t)
{
    const struct model_file *f = &m->files[t->file];
    uint64_t nelems, nbytes;
    FUZZ_CHECK(t->offset >= f->data_start && t->offset <= f->id.nbytes);
    FUZZ_CHECK(t->nbytes <= f->id.nbytes - t->offset);
    FUZZ_CHECK(t->ndims <= MAX_DIMS && t->name.n > 0 && t->name.p[t->name.n] == '\0');
    FUZZ_CHECK(dims_product(t->dims, t->ndims, &nelems) && nelems == t->nelems);
    FUZZ_CHECK(dtype_bytes((enum dtype)t->dtype, t->nelems, &nbytes) && nbytes == t->nbytes);
    FUZZ_CHECK(utf8_valid(t->name, NULL) && !memchr(t->name.p, 0, t->name.n));
    FUZZ_CHECK(model_find(m, t->name) == t);
}

static void check_meta(const struct model *m, const struct meta *k)
{
    FUZZ_CHECK(k->key.p[k->key.n] == '\0' && k->type < META_COUNT);
    FUZZ_CHECK(memchr(k->key.p, 0, k->key.n) || model_meta(m, k->key.p) == k);
    if (k->type != META_ARRAY) {
        FUZZ_CHECK(k->type == META_STRING ||
                   k->value.n == meta_item_bytes((enum meta_type)k->type));
        return;
    }
    FUZZ_CHECK(k->item_type < META_COUNT && k->item_type != META_ARRAY);
    const size_t item = meta_item_bytes((enum meta_type)k->item_type);
    if (item > 0) {
        FUZZ_CHECK(k->value.n == item * k->count);
        return;
    }
    const char *at = k->value.p;
    for (uint64_t i = 0; i < k->count; i++)
        meta_next_string(&at);
    FUZZ_CHECK(at == k->value.p + k->value.n);
}

void check_model(const struct model *m)
{
    uint32_t ntensors = 0;
    for (uint32_t i = 0; i < m->nfiles; i++) {
        FUZZ_CHECK(m->files[i].first_tensor == ntensors);
        ntensors += m->files[i].ntensors;
    }
    FUZZ_CHECK(ntensors == m->ntensors);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        check_tensor(m, t);
        if (i > 0 && m->tensors[i - 1].file == t->file)
            FUZZ_CHECK(m->tensors[i - 1].offset + m->tensors[i - 1].nbytes <= t->offset);
    }
    for (uint32_t i = 0; i < m->nmetas; i++)
        check_meta(m, &m->metas[i]);
}

void check_public(struct quern_model *q)
{
    const struct model *m = (const struct model *)q;
    struct quern_tensor t;
    FUZZ_CHECK(quern_ntensors(q) == m->ntensors);
    FUZZ_CHECK(strcmp(quern_model_format(q), "gguf") == 0 || m->format == MODEL_SAFETENSORS);
    for (size_t i = 0; i < m->ntensors; i++) {
        quern_get_tensor(q, i, &t);
        FUZZ_CHECK(strlen(t.name) == t.name_bytes && quern_find_tensor(q, t.name) == (int64_t)i);
        FUZZ_CHECK(t.type && t.dims == m->tensors[i].dims && t.nbytes == m->tensors[i].nbytes);
    }
    FUZZ_CHECK(quern_find_tensor(q, "") == -1);
    for (uint32_t i = 0; i < m->nmetas; i++) {
        const char *value = quern_model_string(q, m->metas[i].key.p);
        FUZZ_CHECK(!value || strlen(value) <= m->metas[i].value.n);
    }
}

void check_round_trip(const struct round_trip *r, char *text, size_t n)
{
    struct quern_error err;
    struct model *m, *again;
    struct arena a = {0};
    if (fuzz_failed(model_open(fuzz_file(r->name, text, n), &m, &err), &err))
        return;
    const struct str once = r->lay_out(m, &a);
    const enum quern_status s = model_open(fuzz_file(r->again, once.p, once.n), &again, &err);
    if (s != QUERN_OK)
        fprintf(stderr, "%s\n", err.text);
    FUZZ_CHECK(s == QUERN_OK);
    check_model(again);
    r->same(m, again);
    FUZZ_CHECK(str_eq(once, r->lay_out(again, &a)));
    model_close(again);
    model_close(m);
    arena_free(&a);
}
