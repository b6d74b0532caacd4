/* like_types.c - every tensor in the type that it has in a template: -t like. */
#include <inttypes.h>

#include "like.h"
#include "quant/mix.h"

/* Each tensor becomes a pattern, and each pattern is looked at for every tensor. */
#define MOST_TENSORS 10000u

static enum dtype most_frequent(const struct model *m)
{
    uint64_t nelems[DTYPE_COUNT] = {0};
    enum dtype most = DTYPE_F32;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const enum dtype d = (enum dtype)m->tensors[i].dtype;
        nelems[d] += m->tensors[i].nelems;
        if (nelems[d] > nelems[most])
            most = d;
    }
    return most;
}

/* The file type that the template says it is, else the one that it looks like. */
static const char *file_type_of(const struct model *m, enum dtype most)
{
    uint64_t number;
    if (!meta_u64(model_meta(m, "general.file_type"), &number))
        number = file_type_guess(most);
    for (unsigned round = 0; round < 2; round++) {
        const struct file_type *t;
        for (size_t i = 0; (t = file_type_get(i)); i++)
            if (t->number == number && !t->copies && dtype_is_quantized(t->base))
                return t->name;
        number = file_type_guess(most);
    }
    return NULL;
}

/* ^NAME$=TYPE */
static const char *pattern_for(struct arena *arena, const struct tensor *t)
{
    char *text = arena_alloc(arena, 2 * t->name.n + 40);
    size_t n = 0;
    if (!text)
        return NULL;
    text[n++] = '^';
    for (size_t i = 0; i < t->name.n; i++) {
        const char c = t->name.p[i];
        const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (c == '.')
            text[n++] = '\\';
        text[n++] = plain || c == '.' ? c : '.';
    }
    text[n] = '\0';
    return arena_printf(arena, "%s$=%s", text, dtype_traits[t->dtype].name);
}

static enum quern_status list_types(struct conversion *c, const char ***out, size_t *n,
                                    struct quern_error *err)
{
    const struct model *m = c->like;
    const char **types = ARENA_NEW(&c->plan->arena, const char *, m->ntensors + 1u);
    *n = 0;
    if (!types)
        return fail_memory(err, m->ntensors * sizeof *types);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        if (m->tensors[i].ndims < 2)
            continue;
        types[*n] = pattern_for(&c->plan->arena, &m->tensors[i]);
        if (!types[(*n)++])
            return fail_memory(err, m->tensors[i].name.n);
    }
    *out = types;
    return QUERN_OK;
}

enum quern_status like_types(struct conversion *c, struct quern_error *err)
{
    const enum dtype most = most_frequent(c->like);
    struct convert_request *r = ARENA_NEW(&c->plan->arena, struct convert_request, 1);
    struct quern_quantize *q = ARENA_NEW(&c->plan->arena, struct quern_quantize, 1);
    const char **types = NULL;
    if (!r || !q)
        return fail_memory(err, sizeof *q);
    *r = *c->request;
    c->request = r;
    if (most == DTYPE_F32 || most == DTYPE_F16 || most == DTYPE_BF16) {
        r->type = most == DTYPE_F32 ? "f32" : most == DTYPE_F16 ? "f16" : "bf16";
        return QUERN_OK;
    }
    r->type = file_type_of(c->like, most);
    if (!r->type || c->like->ntensors > MOST_TENSORS)
        return in_file(err, c->like->path,
                       fail(err, QUERN_EUNSUPPORTED, "type",
                            "it has %" PRIu32 " tensors, most of them %s" WANT
                            "expected at most %u, in types that quern quantize makes",
                            c->like->ntensors, dtype_traits[most].name, MOST_TENSORS));
    if (r->quantize)
        *q = *r->quantize;
    TRY(list_types(c, &types, &q->ntensor_types, err));
    q->tensor_types = types;
    r->quantize = q;
    return QUERN_OK;
}
