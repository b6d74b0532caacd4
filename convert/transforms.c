/* transforms.c - the steps that one tensor, or a stack of them, becomes. */
#include <inttypes.h>
#include <stdio.h>

#include "conversion.h"
#include "core/checked.h"
#include "core/smath.h"
#include "gather.h"
#include "like.h"

/* ---- functions of single values ---------------------------------------------------------------
 */

static void add_one(const struct piece *p, const void *const x[], void *y)
{
    const float *from = x[0];
    float *to = y;
    for (size_t i = 0; i < p->n; i++)
        to[i] = from[i] + 1.0f;
}

static void neg_exp(const struct piece *p, const void *const x[], void *y)
{
    const float *from = x[0];
    float *to = y;
    for (size_t i = 0; i < p->n; i++)
        to[i] = -(float)strict_exp((double)from[i]);
}

static const struct op op_neg_exp = {.name = "-exp", .apply = neg_exp};
static const struct op op_add_one = {.name = "adding one", .apply = add_one};

/* ---- shapes -----------------------------------------------------------------------------------
 */

/* A tensor as matrices of rows; a vector is one matrix whose rows are single elements. */
struct form {
    uint64_t nmats, nrows, ncols;
};

static struct form form_of(const struct tensor *t)
{
    struct form f = {.nmats = 1, .nrows = 1, .ncols = 1};
    const bool last_is_rows = t->ndims == 1;
    unsigned d = t->ndims;
    if (!last_is_rows && d > 0)
        f.ncols = t->dims[--d];
    if (d > 0)
        f.nrows = t->dims[--d];
    while (d > 0)
        f.nmats *= t->dims[--d];
    return f;
}

/* Of a bias that belongs to stacked matrices: the last dimension counts rows. */
static struct form form_of_biases(const struct tensor *t)
{
    struct form f = {.nmats = 1, .nrows = t->ndims ? t->dims[t->ndims - 1] : 1, .ncols = 1};
    for (unsigned d = 0; d + 1 < t->ndims; d++)
        f.nmats *= t->dims[d];
    return f;
}

static enum quern_status wrong_shape(const struct tensor *t, uint64_t parts, const char *of_what,
                                     struct quern_error *err)
{
    return fail(err, QUERN_EFORMAT, "shape",
                "its %" PRIu64 " rows are no %" PRIu64 " equal parts" WANT
                "expected the %s that config.json gives",
                form_of(t).nrows, parts, of_what);
}

/* What all transforms of one tensor need. */
struct work {
    struct conversion *c;
    const struct tensor *t;
    struct source *from;
    struct str suffix;
    const char *to; /* names still to be given, blank between them */
};

static struct arena *arena_of(struct work *w)
{
    return &w->c->plan->arena;
}

static enum quern_status emit(struct work *w, const struct source *s, const struct op *op,
                              struct quern_error *err)
{
    const size_t n = strcspn(w->to, " ");
    char *name = arena_printf(arena_of(w), "%.*s%.*s", (int)n, w->to, STR_ARG(w->suffix));
    if (!name)
        return fail_memory(err, n);
    w->to += n + (w->to[n] == ' ');
    return convert_add_step(w->c, str_from(name), s, op, err);
}

static enum quern_status by_labels(struct work *w, struct quern_error *err)
{
    struct key_value labels = {0};
    TRY(make_labels(w->c, &labels, err));
    if (labels.kind == VALUE_NONE)
        w->to += strcspn(w->to, " ") + 1;
    return emit(w, w->from, &op_copy, err);
}

static uint64_t *new_dims(struct work *w, const uint64_t *dims, unsigned n)
{
    uint64_t *copy = ARENA_NEW(arena_of(w), uint64_t, n ? n : 1);
    if (copy && n)
        memcpy(copy, dims, n * sizeof *copy);
    return copy;
}

/* A source of these runs over one tensor. */
static enum quern_status gather_rows(struct work *w, const uint64_t *dims, unsigned ndims,
                                     uint64_t row_elems, const struct row_run *runs, uint32_t nruns,
                                     struct source **out, struct quern_error *err)
{
    struct row_run *own = ARENA_NEW(arena_of(w), struct row_run, nruns);
    struct source *s = ARENA_NEW(arena_of(w), struct source, 1);
    const uint64_t *shape = new_dims(w, dims, ndims);
    if (!own || !s || !shape)
        return fail_memory(err, nruns * sizeof *own);
    memcpy(own, runs, nruns * sizeof *own);
    *out = s;
    return gather_source(arena_of(w), w->t->name, shape, (uint8_t)ndims, row_elems, own, nruns, s,
                         err);
}

/* ---- rows of attention ------------------------------------------------------------------------
 */

/* Rows [heads, 2, d/2] to [heads, d/2, 2]. */
static enum quern_status permuted(struct work *w, const struct source *from, uint64_t nheads,
                                  struct source **out, struct quern_error *err)
{
    const struct form f = form_of(from->tensor);
    if (nheads == 0 || f.nmats != 1 || f.nrows % (2 * nheads) != 0)
        return wrong_shape(w->t, 2 * nheads, "heads", err);
    const uint64_t half = f.nrows / nheads / 2;
    const struct row_run run = {
        .source = from, .count = {nheads,   half, 2   },
             .step = {2 * half, 1,    half}
    };
    return gather_rows(w, from->tensor->dims, from->tensor->ndims, f.ncols, &run, 1, out, err);
}

static enum quern_status permute(struct work *w, uint64_t nheads, struct quern_error *err)
{
    struct source *s;
    if (nheads == 0 && w->c->head_dim)
        nheads = form_of(w->t).nrows / w->c->head_dim;
    TRY(permuted(w, w->from, nheads, &s, err));
    return emit(w, s, &op_copy, err);
}

static enum quern_status qkv_by_head(struct work *w, struct quern_error *err)
{
    const struct form f = form_of(w->t);
    const uint64_t nheads = w->c->nheads;
    struct source *s;
    if (nheads == 0 || f.nmats != 1 || f.nrows % (3 * nheads) != 0)
        return wrong_shape(w->t, 3 * nheads, "heads", err);
    const uint64_t d = f.nrows / nheads / 3;
    const struct row_run run = {
        .source = w->from, .count = {3, nheads, d},
             .step = {d, 3 * d,  1}
    };
    TRY(gather_rows(w, w->t->dims, w->t->ndims, f.ncols, &run, 1, &s, err));
    return emit(w, s, &op_copy, err);
}

/* Rows [kv heads, heads per kv head + 2, d]: the runs of q, k and v. */
static enum quern_status group_runs(struct work *w, struct row_run runs[3], struct quern_error *err)
{
    const struct form f = form_of(w->t);
    const uint64_t nkv = w->c->nkv_heads, per = nkv ? w->c->nheads / nkv : 0;
    if (nkv == 0 || f.nmats != 1 || w->c->nheads % nkv != 0 || f.nrows % (nkv * (per + 2)) != 0)
        return wrong_shape(w->t, nkv * (per + 2), "heads and key-value heads", err);
    const uint64_t d = f.nrows / nkv / (per + 2), group = (per + 2) * d;
    if (w->t->ndims == 2 && d * w->c->nheads != f.ncols)
        return wrong_shape(w->t, f.ncols / w->c->nheads * nkv * (per + 2), "heads", err);
    runs[0] = (struct row_run){
        .source = w->from, .count = {1, nkv,   per * d},
             .step = {0, group, 1      }
    };
    runs[1] = (struct row_run){
        .source = w->from, .first = per * d, .count = {1, nkv,   d},
                  .step = {0, group, 1}
    };
    runs[2] = runs[1];
    runs[2].first += d;
    return QUERN_OK;
}

static enum quern_status qkv_by_group(struct work *w, struct quern_error *err)
{
    struct row_run runs[3];
    struct source *s;
    TRY(group_runs(w, runs, err));
    TRY(gather_rows(w, w->t->dims, w->t->ndims, form_of(w->t).ncols, runs, 3, &s, err));
    return emit(w, s, &op_copy, err);
}

static enum quern_status qkv_split(struct work *w, struct quern_error *err)
{
    struct row_run runs[3];
    TRY(group_runs(w, runs, err));
    for (int k = 0; k < 3; k++) {
        uint64_t dims[2] = {runs[k].count[1] * runs[k].count[2], form_of(w->t).ncols};
        struct source *s;
        TRY(gather_rows(w, dims, w->t->ndims, dims[1], &runs[k], 1, &s, err));
        if (k < 2)
            TRY(permuted(w, s, k == 0 ? w->c->nheads : w->c->nkv_heads, &s, err));
        TRY(emit(w, s, &op_copy, err));
    }
    return QUERN_OK;
}

static enum quern_status split_kv_b(struct work *w, struct quern_error *err)
{
    const struct form f = form_of(w->t);
    uint64_t nheads = w->c->nkv_heads, nope = 0, nv = 0;
    const bool known = like_hparam_u64(w->c, "qk_nope_head_dim", &nope) &&
                       like_hparam_u64(w->c, "v_head_dim", &nv) && nope <= f.nrows && nv <= f.nrows;
    /* A template counts one head for all, the latent one; its shapes are checked afterwards. */
    if (known && w->c->like && nope + nv > 0)
        nheads = f.nrows / (nope + nv);
    if (!known || nheads == 0 || nheads > f.nrows || f.nmats != 1 ||
        f.nrows != nheads * (nope + nv))
        return wrong_shape(w->t, nheads * (nope + nv), "heads, qk_nope_head_dim and v_head_dim",
                           err);
    const struct row_run k = {
        .source = w->from, .count = {1, nheads,    nope},
             .step = {0, nope + nv, 1   }
    };
    const struct row_run v = {
        .source = w->from, .first = nope, .count = {1, nheads,    nv},
                .step = {0, nope + nv, 1 }
    };
    const uint64_t k_dims[3] = {nheads, nope, f.ncols}, v_dims[3] = {nheads, nv, f.ncols};
    struct source *s, *turned = ARENA_NEW(arena_of(w), struct source, 1);
    if (!turned)
        return fail_memory(err, sizeof *turned);
    TRY(gather_rows(w, k_dims, 3, f.ncols, &k, 1, &s, err));
    TRY(turned_source(arena_of(w), s, turned, err));
    TRY(emit(w, turned, &op_copy, err));
    TRY(gather_rows(w, v_dims, 3, f.ncols, &v, 1, &s, err));
    return emit(w, s, &op_copy, err);
}

/* ---- parts ------------------------------------------------------------------------------------
 */

/* Two tensors: rows 0, 1, 2 ... and the rest, or rows 0, 2, 4 ... and 1, 3, 5 ... of each matrix.
 */
static enum quern_status two_parts(struct work *w, bool alternating, struct quern_error *err)
{
    const bool biases = str_ends(w->t->name, "bias");
    const struct form f = biases ? form_of_biases(w->t) : form_of(w->t);
    const unsigned row_dim = w->t->ndims - (biases || w->t->ndims == 1 ? 1u : 2u);
    if (f.nrows == 0 || f.nrows % 2 != 0)
        return wrong_shape(w->t, 2, "shapes", err);
    const uint64_t half = f.nrows / 2;
    uint64_t dims[MAX_DIMS];
    memcpy(dims, w->t->dims, w->t->ndims * sizeof *dims);
    dims[row_dim] = half;
    for (uint64_t k = 0; k < 2; k++) {
        struct row_run run = {
            .source = w->from,
            .first = k * half,
            .count = {1, f.nmats, half},
            .step = {0, f.nrows, 1   }
        };
        if (alternating)
            run = (struct row_run){
                .source = w->from,
                .first = k,
                .count = {f.nmats, half, 1},
                .step = {f.nrows, 2,    0}
            };
        struct source *s;
        TRY(gather_rows(w, dims, w->t->ndims, f.ncols, &run, 1, &s, err));
        TRY(emit(w, s, &op_copy, err));
    }
    return QUERN_OK;
}

/* The rows that the template's tensor of the next name has. */
static bool template_rows(const struct work *w, uint64_t *nrows)
{
    const struct str to = {w->to, strcspn(w->to, " ")};
    struct arena scratch = {0};
    const char *name = arena_printf(&scratch, "%.*s%.*s", STR_ARG(to), STR_ARG(w->suffix));
    const bool known = name && like_rows(w->c, str_from(name), nrows);
    arena_free(&scratch);
    return known;
}

/* As many tensors as there are names, each with the rows that the template's has. */
static enum quern_status split_rows(struct work *w, struct quern_error *err)
{
    const struct form f = form_of(w->t);
    uint64_t first = 0, n = 0;
    while (*w->to) {
        struct source *s;
        if (f.nmats != 1 || !template_rows(w, &n) || n > f.nrows - first)
            return fail(err, QUERN_EUSAGE, "shape",
                        "it has %" PRIu64 " rows" WANT
                        "expected those of '%s' in the template, one after the other",
                        f.nrows, quoted(str_from(w->to)).text);
        const uint64_t dims[2] = {n, f.ncols};
        const struct row_run run = {
            .source = w->from, .first = first, .count = {1, 1, n},
                    .step = {0, 0, 1}
        };
        TRY(gather_rows(w, dims, w->t->ndims, f.ncols, &run, 1, &s, err));
        TRY(emit(w, s, &op_copy, err));
        first += n;
    }
    return first == f.nrows ? QUERN_OK
                            : fail(err, QUERN_EUSAGE, "shape",
                                   "it has %" PRIu64 " rows" WANT "expected the %" PRIu64
                                   " that its parts have in the template",
                                   f.nrows, first);
}

/* Rows [first, first + n). */
static enum quern_status rows_from(struct work *w, uint64_t first, uint64_t n,
                                   struct quern_error *err)
{
    const uint64_t nrows = w->t->ndims == 2 ? w->t->dims[0] : 0;
    if (nrows == 0 || first > nrows || n > nrows - first || n == 0)
        return fail(err, QUERN_EFORMAT, "shape",
                    "it has %" PRIu64 " rows" WANT "expected at least %" PRIu64, nrows, first + n);
    const uint64_t dims[2] = {n, w->t->dims[1]};
    const struct row_run run = {
        .source = w->from, .first = first, .count = {1, 1, n},
                .step = {0, 0, 1}
    };
    struct source *s;
    TRY(gather_rows(w, dims, 2, dims[1], &run, 1, &s, err));
    return emit(w, s, &op_copy, err);
}

static enum quern_status cut_front(struct work *w, struct quern_error *err)
{
    uint64_t pad = 0, left;
    if (w->t->ndims == 2 && template_rows(w, &left) && left <= w->t->dims[0])
        return rows_from(w, w->t->dims[0] - left, left, err);
    if (!hf_u64(&w->c->config, "pad_token_id", &pad) || w->t->ndims != 2)
        return emit(w, w->from, &op_copy, err);
    if (pad >= w->t->dims[0])
        return wrong_shape(w->t, pad + 1, "pad_token_id", err);
    return rows_from(w, pad + 1, w->t->dims[0] - pad - 1, err);
}

static enum quern_status cut_back(struct work *w, struct quern_error *err)
{
    uint64_t left;
    if (w->t->ndims == 2 && template_rows(w, &left) && left <= w->t->dims[0])
        return rows_from(w, 0, left, err);
    if (w->c->ntokens == 0 || w->t->ndims != 2 || w->c->ntokens >= w->t->dims[0])
        return emit(w, w->from, &op_copy, err);
    return rows_from(w, 0, w->c->ntokens, err);
}

/* ---- the same elements under another shape -----------------------------------------------------
 */

static enum quern_status reshape(struct work *w, const uint64_t *dims, unsigned ndims,
                                 const struct op *op, struct quern_error *err)
{
    struct source *s = ARENA_NEW(arena_of(w), struct source, 1);
    const uint64_t *own = new_dims(w, dims, ndims);
    if (!s || !own)
        return fail_memory(err, sizeof *s);
    TRY(reshaped_source(arena_of(w), w->from, own, (uint8_t)ndims, s, err));
    return emit(w, s, op, err);
}

static enum quern_status squeeze(struct work *w, struct quern_error *err)
{
    uint64_t dims[MAX_DIMS];
    unsigned n = 0;
    for (unsigned d = 0; d < w->t->ndims; d++)
        if (w->t->dims[d] != 1)
            dims[n++] = w->t->dims[d];
    return reshape(w, dims, n, &op_copy, err);
}

static enum quern_status column(struct work *w, const struct op *op, struct quern_error *err)
{
    uint64_t dims[MAX_DIMS + 1];
    memcpy(dims, w->t->dims, w->t->ndims * sizeof *dims);
    dims[w->t->ndims] = 1;
    return reshape(w, dims, w->t->ndims + 1u, op, err);
}

static enum quern_status by_groups(struct work *w, struct quern_error *err)
{
    uint64_t n = 1;
    like_hparam_u64(w->c, "n_groups", &n);
    if (n == 0 || w->t->nelems % n != 0)
        return wrong_shape(w->t, n, "n_groups", err);
    const uint64_t dims[2] = {n, w->t->nelems / n};
    return reshape(w, dims, 2, &op_copy, err);
}

static enum quern_status turn(struct work *w, bool then_parts, struct quern_error *err)
{
    struct source *s = ARENA_NEW(arena_of(w), struct source, 1);
    if (!s)
        return fail_memory(err, sizeof *s);
    if (w->t->ndims < 2)
        return emit(w, w->from, &op_copy, err);
    TRY(turned_source(arena_of(w), w->from, s, err));
    w->from = s;
    w->t = s->tensor;
    return then_parts ? two_parts(w, true, err) : emit(w, s, &op_copy, err);
}

/* ---- entry ------------------------------------------------------------------------------------
 */

static enum quern_status transform(struct work *w, enum transform how, struct quern_error *err)
{
    switch (how) {
    case AS_IT_IS:
        return emit(w, w->from, &op_copy, err);
    case ADD_ONE:
        return emit(w, w->from, str_is(w->suffix, ".bias") ? &op_copy : &op_add_one, err);
    case PERMUTE_Q:
        return permute(w, w->c->nheads, err);
    case PERMUTE_K:
        return permute(w, w->c->nkv_heads, err);
    case TURN:
        return turn(w, false, err);
    case TURN_EVEN_ODD:
        return turn(w, true, err);
    case SQUEEZE:
        return squeeze(w, err);
    case HALVES:
        return two_parts(w, false, err);
    case EVEN_ODD:
        return two_parts(w, true, err);
    case SPLIT_ROWS:
        return split_rows(w, err);
    case QKV_BY_HEAD:
        return qkv_by_head(w, err);
    case QKV_BY_GROUP:
        return qkv_by_group(w, err);
    case QKV_SPLIT:
        return qkv_split(w, err);
    case SPLIT_KV_B:
        return split_kv_b(w, err);
    case CUT_FRONT:
        return cut_front(w, err);
    case CUT_BACK:
        return cut_back(w, err);
    case BY_LABELS:
        return by_labels(w, err);
    case TWICE:
        TRY(emit(w, w->from, &op_copy, err));
        return emit(w, w->from, &op_copy, err);
    case NEG_EXP:
        return emit(w, w->from, &op_neg_exp, err);
    case NEG_EXP_COLUMN:
        return column(w, &op_neg_exp, err);
    case COLUMN:
        return column(w, &op_copy, err);
    case BY_GROUPS:
        return by_groups(w, err);
    case FLAT:
        return reshape(w, &w->t->nelems, 1, &op_copy, err);
    case UNLESS_EMBEDDING:
    case UNLESS_ZERO:
    case ONCE:
        return emit(w, w->from, &op_copy, err);
    case STACK_NAMED:
    case JOIN_NAMED:
    case STACK_ALONE:
    case STACK_EXPERTS:
    case STACK_Q_HEADS:
    case STACK_K_HEADS:
    case LEFT_OUT:
    case TAKEN:
        break;
    }
    return fail(err, QUERN_EINTERNAL, "internal", "no transform of one tensor");
}

enum quern_status convert_transform(struct conversion *c, const struct tensor_rule *rule,
                                    const struct source *from, const char *to, struct str suffix,
                                    struct quern_error *err)
{
    struct work w = {.c = c, .t = from->tensor, .suffix = suffix, .to = to};
    w.from = ARENA_NEW(&c->plan->arena, struct source, 1);
    if (!w.from)
        return fail_memory(err, sizeof *w.from);
    *w.from = *from;
    return in_source(err, w.from, transform(&w, rule->transform, err));
}

enum quern_status convert_stack(struct conversion *c, struct str name,
                                const struct source *const *members, uint64_t n,
                                struct quern_error *err)
{
    struct arena *arena = &c->plan->arena;
    const struct tensor *first = members[0]->tensor;
    struct source *sources = ARENA_NEW(arena, struct source, n + 1);
    struct row_run *runs = ARENA_NEW(arena, struct row_run, n);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, first->ndims + 1u);
    const struct form f = form_of(first);
    if (!sources || !runs || !dims)
        return fail_memory(err, n * sizeof *sources);
    dims[0] = n;
    memcpy(dims + 1, first->dims, first->ndims * sizeof *dims);
    for (uint64_t i = 0; i < n; i++) {
        const struct tensor *t = members[i]->tensor;
        sources[i] = *members[i];
        if (t->ndims != first->ndims || t->dtype != first->dtype ||
            memcmp(t->dims, first->dims, t->ndims * sizeof *t->dims) != 0)
            return in_source(err, &sources[i],
                             fail(err, QUERN_EFORMAT, "shape",
                                  "its shape or type is not that of the first of its stack, '%s'",
                                  quoted(first->name).text));
        runs[i] = (struct row_run){
            .source = &sources[i], .count = {1, 1, f.nmats * f.nrows},
                 .step = {0, 0, 1                }
        };
    }
    TRY(gather_source(arena, first->name, dims, (uint8_t)(first->ndims + 1), f.ncols, runs,
                      (uint32_t)n, &sources[n], err));
    return convert_add_step(c, name, &sources[n], &op_copy, err);
}

static bool joins(const struct tensor *a, const struct tensor *b)
{
    return a->ndims == b->ndims && a->ndims > 0 && a->ndims <= 2 && a->dtype == b->dtype &&
           form_of(a).ncols == form_of(b).ncols;
}

enum quern_status convert_join(struct conversion *c, struct str name,
                               const struct source *const *members, uint64_t n,
                               struct quern_error *err)
{
    struct arena *arena = &c->plan->arena;
    const struct tensor *first = members[0]->tensor;
    struct source *joined = ARENA_NEW(arena, struct source, 1);
    struct row_run *runs = ARENA_NEW(arena, struct row_run, n);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 2);
    if (!joined || !runs || !dims)
        return fail_memory(err, n * sizeof *runs);
    for (uint64_t i = 0; i < n; i++) {
        const uint64_t nrows = form_of(members[i]->tensor).nrows;
        if (!joins(members[i]->tensor, first) || !checked_add(dims[0], nrows, &dims[0]))
            return in_source(err, members[i],
                             fail(err, QUERN_EFORMAT, "shape",
                                  "its shape or type does not go with that of '%s'",
                                  quoted(first->name).text));
        runs[i] = (struct row_run){
            .source = members[i], .count = {1, 1, nrows},
                 .step = {0, 0, 1    }
        };
    }
    dims[1] = form_of(first).ncols;
    TRY(gather_source(arena, first->name, dims, first->ndims, dims[1], runs, (uint32_t)n, joined,
                      err));
    return convert_add_step(c, name, joined, &op_copy, err);
}
