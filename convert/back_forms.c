/* back_forms.c - the inverse of every transform: tensors of a GGUF laid out as they were. */
#include <inttypes.h>

#include "back_class.h"
#include "gather.h"

/* ---- sources ----------------------------------------------------------------------------------
 */

static struct arena *arena_of(struct back_work *w)
{
    return &w->b->plan->arena;
}

static enum quern_status stored(struct back_work *w, const struct tensor *t, struct source **out,
                                struct quern_error *err)
{
    *out = ARENA_NEW(arena_of(w), struct source, 1);
    if (!*out)
        return fail_memory(err, sizeof **out);
    **out = (struct source){.model = w->b->model, .tensor = t};
    return QUERN_OK;
}

static enum quern_status reshaped(struct back_work *w, const struct source *from,
                                  const uint64_t *dims, unsigned ndims, struct source **out,
                                  struct quern_error *err)
{
    uint64_t *own = ARENA_NEW(arena_of(w), uint64_t, ndims + 1);
    *out = ARENA_NEW(arena_of(w), struct source, 1);
    if (!own || !*out)
        return fail_memory(err, sizeof **out);
    memcpy(own, dims, ndims * sizeof *own);
    return reshaped_source(arena_of(w), from, own, (uint8_t)ndims, *out, err);
}

static enum quern_status gathered(struct back_work *w, const struct row_run *runs, uint32_t nruns,
                                  const uint64_t *dims, unsigned ndims, uint64_t row_elems,
                                  struct source **out, struct quern_error *err)
{
    uint64_t *own = ARENA_NEW(arena_of(w), uint64_t, ndims + 1);
    struct row_run *copy = ARENA_NEW(arena_of(w), struct row_run, nruns);
    *out = ARENA_NEW(arena_of(w), struct source, 1);
    if (!own || !copy || !*out)
        return fail_memory(err, nruns * sizeof *copy);
    memcpy(own, dims, ndims * sizeof *own);
    memcpy(copy, runs, nruns * sizeof *copy);
    return gather_source(arena_of(w), runs[0].source->tensor->name, own, (uint8_t)ndims, row_elems,
                         copy, nruns, *out, err);
}

/* Rows and columns of a matrix; a vector has rows of one element. */
static uint64_t rows_of(const struct tensor *t)
{
    return t->ndims ? t->dims[0] : 1;
}

static uint64_t columns_of(const struct tensor *t)
{
    return t->ndims == 2 ? t->dims[1] : 1;
}

static enum quern_status check_matrix(const struct tensor *t, uint64_t parts,
                                      struct quern_error *err)
{
    if (t->ndims >= 1 && t->ndims <= 2 && parts > 0 && t->dims[0] % parts == 0 && t->nelems > 0)
        return QUERN_OK;
    return fail(err, QUERN_EFORMAT, "shape",
                "its %" PRIu64 " rows are no %" PRIu64 " equal parts" WANT
                "expected the heads that the metadata gives",
                rows_of(t), parts);
}

/* ---- attention --------------------------------------------------------------------------------
 */

/* Rows [heads, d/2, 2] to [heads, 2, d/2]. */
static enum quern_status unpermuted(struct back_work *w, const struct source *from, uint64_t nheads,
                                    struct source **out, struct quern_error *err)
{
    const struct tensor *t = from->tensor;
    if (nheads > UINT32_MAX)
        nheads = 0;
    TRY(check_matrix(t, 2 * nheads, err));
    const uint64_t half = t->dims[0] / nheads / 2;
    const struct row_run run = {
        .source = from, .count = {nheads,   2, half},
             .step = {2 * half, 1, 2   }
    };
    return gathered(w, &run, 1, t->dims, t->ndims, columns_of(t), out, err);
}

/* Rows [3, heads, d] to [heads, 3, d]. */
static enum quern_status heads_of_qkv(struct back_work *w, const struct source *from,
                                      struct source **out, struct quern_error *err)
{
    const struct tensor *t = from->tensor;
    const uint64_t nheads = w->b->nheads > UINT32_MAX ? 0 : w->b->nheads;
    TRY(check_matrix(t, 3 * nheads, err));
    const uint64_t d = t->dims[0] / nheads / 3;
    const struct row_run run = {
        .source = from, .count = {nheads, 3,          d},
             .step = {d,      nheads * d, 1}
    };
    return gathered(w, &run, 1, t->dims, t->ndims, columns_of(t), out, err);
}

/* q, k and v, whose rows begin where first says, as rows [kv heads, heads per kv head + 2, d]. */
static enum quern_status groups_of(struct back_work *w, const struct source *const from[3],
                                   const uint64_t first[3], uint64_t nrows, struct source **out,
                                   struct quern_error *err)
{
    const uint64_t nheads = w->b->nheads, nkv = w->b->nkv_heads;
    const struct tensor *t = from[0]->tensor;
    if (nkv == 0 || nheads > MAX_TENSORS || nkv > nheads || nheads % nkv != 0 ||
        nrows % (nheads + 2 * nkv) != 0)
        return fail(err, QUERN_EFORMAT, "shape",
                    "its %" PRIu64 " rows are no %" PRIu64 " equal parts" WANT
                    "expected the heads that the metadata gives",
                    nrows, nheads + 2 * nkv);
    const uint64_t d = nrows / (nheads + 2 * nkv), per = nheads / nkv;
    struct row_run *runs = ARENA_NEW(arena_of(w), struct row_run, 3 * nkv);
    if (!runs)
        return fail_memory(err, nkv * sizeof *runs);
    for (uint64_t g = 0; g < nkv; g++)
        for (int k = 0; k < 3; k++) {
            const uint64_t n = k == 0 ? per * d : d;
            runs[3 * g + (uint64_t)k] = (struct row_run){
                .source = from[k],
                .first = first[k] + g * n,
                .count = {1, 1, n},
                .step = {0, 0, 1}
            };
        }
    const uint64_t dims[2] = {nrows, columns_of(t)};
    return gathered(w, runs, (uint32_t)(3 * nkv), dims, t->ndims, dims[1], out, err);
}

static enum quern_status groups_of_fused(struct back_work *w, const struct source *from,
                                         struct source **out, struct quern_error *err)
{
    const uint64_t nrows = rows_of(from->tensor), nheads = w->b->nheads, nkv = w->b->nkv_heads;
    if (nheads > MAX_TENSORS || nkv > MAX_TENSORS || nheads + 2 * nkv == 0)
        return check_matrix(from->tensor, 0, err);
    TRY(check_matrix(from->tensor, nheads + 2 * nkv, err));
    const uint64_t d = nrows / (nheads + 2 * nkv);
    const struct source *const three[3] = {from, from, from};
    const uint64_t first[3] = {0, nheads * d, (nheads + nkv) * d};
    return groups_of(w, three, first, nrows, out, err);
}

static enum quern_status groups_of_split(struct back_work *w, struct quern_error *err)
{
    const uint64_t first[3] = {0, 0, 0};
    struct source *from[3], *out;
    uint64_t nrows = 0;
    for (int k = 0; k < 3; k++) {
        TRY(stored(w, w->parts[k], &from[k], err));
        if (k < 2)
            TRY(unpermuted(w, from[k], k == 0 ? w->b->nheads : w->b->nkv_heads, &from[k], err));
        nrows += rows_of(from[k]->tensor);
    }
    TRY(groups_of(w, (const struct source *const[3]){from[0], from[1], from[2]}, first, nrows, &out,
                  err));
    return back_emit(w, out, 0, err);
}

/* k turned around and v, per head, to rows [heads, k + v]. */
static enum quern_status joined_kv_b(struct back_work *w, struct quern_error *err)
{
    struct source *k, *v, *turned = ARENA_NEW(arena_of(w), struct source, 1), *out;
    TRY(stored(w, w->parts[0], &k, err));
    TRY(stored(w, w->parts[1], &v, err));
    const struct tensor *x = k->tensor, *y = v->tensor;
    if (x->ndims != 3 || y->ndims != 3 || x->dims[0] != y->dims[0] || x->dims[1] != y->dims[2] ||
        x->nelems == 0 || y->nelems == 0 || x->dims[0] > MAX_TENSORS)
        return fail(err, QUERN_EFORMAT, "shape", "its shape does not go with that of attn_v_b");
    const uint64_t nheads = x->dims[0], nk = x->dims[2], nv = y->dims[1];
    struct row_run *runs = ARENA_NEW(arena_of(w), struct row_run, 2 * nheads);
    if (!turned || !runs)
        return fail_memory(err, nheads * sizeof *runs);
    TRY(turned_source(arena_of(w), k, turned, err));
    for (uint64_t i = 0; i < 2 * nheads; i++) {
        const uint64_t n = i % 2 == 0 ? nk : nv;
        runs[i] = (struct row_run){
            .source = i % 2 == 0 ? turned : v,
            .first = i / 2 * n,
            .count = {1, 1, n},
            .step = {0, 0, 1}
        };
    }
    const uint64_t dims[2] = {nheads * (nk + nv), y->dims[2]};
    TRY(gathered(w, runs, (uint32_t)(2 * nheads), dims, 2, dims[1], &out, err));
    return back_emit(w, out, 0, err);
}

/* ---- parts ------------------------------------------------------------------------------------
 */

/* Two tensors on top of each other, in every matrix of a stack. */
static enum quern_status joined_halves(struct back_work *w, struct quern_error *err)
{
    struct source *half[2], *out;
    for (int k = 0; k < 2; k++)
        TRY(stored(w, w->parts[k], &half[k], err));
    const struct tensor *t = half[0]->tensor, *u = half[1]->tensor;
    if (t->ndims < 2 || t->ndims > 3 || u->ndims != t->ndims || t->nelems == 0 ||
        t->dtype != u->dtype || memcmp(t->dims, u->dims, t->ndims * sizeof *t->dims) != 0)
        return fail(err, QUERN_EUNSUPPORTED, "no-way-back",
                    "it and '%s' are no two halves of one tensor" WANT
                    "expected one shape and one type",
                    quoted(u->name).text);
    uint64_t dims[3];
    memcpy(dims, t->dims, t->ndims * sizeof *dims);
    const uint64_t nmats = t->ndims == 3 ? dims[0] : 1, nrows = dims[t->ndims - 2];
    struct row_run *runs = ARENA_NEW(arena_of(w), struct row_run, 2 * nmats);
    if (!runs || nmats > MAX_TENSORS)
        return fail_memory(err, nmats * sizeof *runs);
    for (uint64_t i = 0; i < 2 * nmats; i++)
        runs[i] = (struct row_run){
            .source = half[i % 2],
            .first = i / 2 * nrows,
            .count = {1, 1, nrows},
            .step = {0, 0, 1    }
        };
    dims[t->ndims - 2] = 2 * nrows;
    TRY(gathered(w, runs, (uint32_t)(2 * nmats), dims, t->ndims, t->dims[t->ndims - 1], &out, err));
    return back_emit(w, out, 0, err);
}

/* Every tensor of a stack: the same bytes, further on. */
static enum quern_status unstacked(struct back_work *w, uint64_t want, struct quern_error *err)
{
    const struct tensor *t = w->parts[0];
    if (t->ndims < 2 || t->dims[0] != want || t->nelems == 0)
        return fail(err, QUERN_EFORMAT, "shape",
                    "it is a stack of %" PRIu64 WANT "expected %" PRIu64 ", as the metadata says",
                    rows_of(t), want);
    const uint64_t nbytes = t->nbytes / want;
    for (uint64_t e = 0; e < want; e++) {
        struct tensor *one = ARENA_NEW(arena_of(w), struct tensor, 1);
        struct source *s;
        if (!one)
            return fail_memory(err, sizeof *one);
        *one = *t;
        one->dims++;
        one->ndims--;
        one->nelems /= want;
        one->nbytes = nbytes;
        one->offset += e * nbytes;
        TRY(stored(w, one, &s, err));
        TRY(back_emit(w, s, e, err));
    }
    return QUERN_OK;
}

/* ---- shapes -----------------------------------------------------------------------------------
 */

/* Kernels of convolutions over one channel each had a dimension of 1 in the middle. */
static enum quern_status unsqueezed(struct back_work *w, const struct source *from,
                                    struct source **out, struct quern_error *err)
{
    const struct tensor *t = from->tensor;
    *out = (struct source *)from;
    if (t->ndims != 2)
        return QUERN_OK;
    const uint64_t dims[3] = {t->dims[0], 1, t->dims[1]};
    return reshaped(w, from, dims, 3, out, err);
}

/* Matrices of one row lose it when a GGUF is quantized. */
static enum quern_status with_rows(struct back_work *w, const struct source *from,
                                   struct source **out, struct quern_error *err)
{
    const struct tensor *t = from->tensor;
    *out = (struct source *)from;
    if (t->ndims != 1 || !str_ends(t->name, "ffn_gate_inp_shexp.weight"))
        return QUERN_OK;
    const uint64_t dims[2] = {1, t->dims[0]};
    return reshaped(w, from, dims, 2, out, err);
}

static enum quern_status turned(struct back_work *w, const struct source *from, struct source **out,
                                struct quern_error *err)
{
    *out = (struct source *)from;
    if (from->tensor->ndims != 2)
        return QUERN_OK;
    *out = ARENA_NEW(arena_of(w), struct source, 1);
    return *out ? turned_source(arena_of(w), from, *out, err) : fail_memory(err, sizeof **out);
}

static enum quern_status of_values(struct back_work *w, const struct source *from,
                                   enum quern_status (*make)(struct arena *, const struct source *,
                                                             struct source *, struct quern_error *),
                                   struct source **out, struct quern_error *err)
{
    *out = ARENA_NEW(arena_of(w), struct source, 1);
    return *out ? make(arena_of(w), from, *out, err) : fail_memory(err, sizeof **out);
}

/* ---- entry ------------------------------------------------------------------------------------
 */

/* One tensor from one. */
static enum quern_status inverse(struct back_work *w, const struct source *s, struct source **out,
                                 struct quern_error *err)
{
    switch (w->rule->transform) {
    case AS_IT_IS:
    case UNLESS_EMBEDDING:
    case ONCE:
    case CUT_BACK:
        return with_rows(w, s, out, err);
    case ADD_ONE:
        if (str_is(w->suffix, ".bias"))
            return with_rows(w, s, out, err);
        return of_values(w, s, less_one_source, out, err);
    case PERMUTE_Q:
        return unpermuted(w, s, w->b->nheads, out, err);
    case PERMUTE_K:
        return unpermuted(w, s, w->b->nkv_heads, out, err);
    case TURN:
        return turned(w, s, out, err);
    case SQUEEZE:
        return unsqueezed(w, s, out, err);
    case QKV_BY_HEAD:
        return heads_of_qkv(w, s, out, err);
    case QKV_BY_GROUP:
        return groups_of_fused(w, s, out, err);
    case NEG_EXP:
        return of_values(w, s, log_minus_source, out, err);
    case NEG_EXP_COLUMN:
        TRY(reshaped(w, s, &s->tensor->nelems, 1, out, err));
        return of_values(w, *out, log_minus_source, out, err);
    case COLUMN:
    case BY_GROUPS:
        return reshaped(w, s, &s->tensor->nelems, 1, out, err);
    default:
        return no_way_back(err, "what was made of it cannot be undone");
    }
}

enum quern_status back_form(struct back_work *w, struct quern_error *err)
{
    struct source *s = NULL, *out = NULL;
    switch (w->rule->transform) {
    case STACK_EXPERTS:
        return unstacked(w, w->b->nexperts, err);
    case STACK_Q_HEADS:
        return unstacked(w, w->b->nheads, err);
    case STACK_K_HEADS:
        return unstacked(w, w->b->nkv_heads, err);
    case HALVES:
        return joined_halves(w, err);
    case QKV_SPLIT:
        return groups_of_split(w, err);
    case SPLIT_KV_B:
        return joined_kv_b(w, err);
    default:
        break;
    }
    TRY(stored(w, w->parts[0], &s, err));
    TRY(inverse(w, s, &out, err));
    return back_emit(w, out, 0, err);
}
