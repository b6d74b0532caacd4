/* experts.c - one expert out of a stack, and a stack of experts, as sources. */
#include "merge/experts.h"

#include <inttypes.h>

#include "merge/made.h"

/* ---- sources ----------------------------------------------------------------------------------
 */

/* Elements of another source from `first` on. */
struct part {
    struct source inner;
    uint64_t first;
};

static size_t part_scratch_bytes(const struct source *s, bool wide)
{
    return source_scratch_bytes(&((const struct part *)s->params)->inner, wide);
}

static enum quern_status part_read(const struct source *s, void *scratch, bool wide, uint64_t first,
                                   size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    const struct part *p = s->params;
    return source_read(&p->inner, scratch, wide, p->first + first, n, x, moved, err);
}

static const struct source *part_inner(const struct source *s, uint32_t i)
{
    return i == 0 ? &((const struct part *)s->params)->inner : NULL;
}

static const struct source_kind part_kind = {
    .name = "expert", .scratch_bytes = part_scratch_bytes, .read = part_read, .inner = part_inner};

/* Sources of one size, one after the other. */
struct pile {
    struct source *items;
    uint64_t count, item_elems;
};

/* Before the scratch of the item that is being read. */
struct pile_scratch {
    uint64_t item; /* counted from 1; 0: none yet */
    uint64_t padding[7];
};

static size_t item_scratch_bytes(const struct pile *p, bool wide)
{
    size_t most = 0;
    for (uint64_t i = 0; i < p->count; i++) {
        const size_t n = source_scratch_bytes(&p->items[i], wide);
        most = n > most ? n : most;
    }
    return most;
}

static size_t pile_scratch_bytes(const struct source *s, bool wide)
{
    return sizeof(struct pile_scratch) + item_scratch_bytes(s->params, wide);
}

static enum quern_status pile_read(const struct source *s, void *scratch, bool wide, uint64_t first,
                                   size_t n, void *x, uint64_t *moved, struct quern_error *err)
{
    const struct pile *p = s->params;
    struct pile_scratch *head = scratch;
    const size_t width = wide ? sizeof(double) : sizeof(float);
    for (size_t done = 0, now; done < n; done += now) {
        const uint64_t item = (first + done) / p->item_elems, at = (first + done) % p->item_elems;
        now = p->item_elems - at < n - done ? (size_t)(p->item_elems - at) : n - done;
        if (head->item != item + 1)
            memset(head + 1, 0, source_scratch_bytes(&p->items[item], wide));
        head->item = item + 1;
        TRY(source_read(&p->items[item], head + 1, wide, at, now, (uint8_t *)x + done * width,
                        moved, err));
    }
    return QUERN_OK;
}

static const struct source *pile_inner(const struct source *s, uint32_t i)
{
    const struct pile *p = s->params;
    return i < p->count ? &p->items[i] : NULL;
}

static const struct source_kind pile_kind = {
    .name = "experts", .scratch_bytes = pile_scratch_bytes, .read = pile_read, .inner = pile_inner};

/* ---- names ------------------------------------------------------------------------------------
 */

#define GATE_UP ".mlp.experts.gate_up_proj"
#define DOWN    ".mlp.experts.down_proj"

/* How a layout names the experts of a layer and its router. */
struct layout {
    const char *experts;          /* before the number; NULL: they are stacked */
    const char *gate, *up, *down; /* after it */
    const char *router;
};

static const struct layout stacked = {.router = ".mlp.gate.weight"};
static const struct layout singles[] = {
    {".mlp.experts.",              ".gate_proj.weight", ".up_proj.weight", ".down_proj.weight",
     ".mlp.gate.weight"             },
    {".block_sparse_moe.experts.", ".w1.weight",        ".w3.weight",      ".w2.weight",
     ".block_sparse_moe.gate.weight"},
};

static const struct layout *layout_of(const struct view *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        const struct str name = v->sources[i].tensor->name;
        if (str_ends(name, GATE_UP))
            return &stacked;
        for (size_t k = 0; k < sizeof singles / sizeof *singles; k++)
            if (str_has(name, singles[k].experts) && str_ends(name, singles[k].gate))
                return &singles[k];
    }
    return NULL;
}

/* ---- changing the layout ----------------------------------------------------------------------
 */

struct matcher {
    const struct view *from;
    struct view *to;
    const struct layout *have, *want;
    struct arena *keep, *scratch;
    struct quern_error *err;
};

static enum quern_status add(struct matcher *m, const struct source *like, struct str name,
                             const uint64_t *dims, uint8_t ndims, const struct source_kind *kind,
                             const void *params)
{
    struct tensor *t = ARENA_NEW(m->keep, struct tensor, 1);
    uint64_t *copy = ARENA_NEW(m->keep, uint64_t, ndims);
    if (!t || !copy || !name.p)
        return fail_memory(m->err, sizeof *t);
    TRY(made_check_alone(like, name, m->err));
    memcpy(copy, dims, ndims * sizeof *copy);
    *t = *like->tensor;
    t->name = name;
    t->dims = copy;
    t->ndims = ndims;
    t->nelems = 1;
    for (unsigned d = 0; d < ndims; d++)
        t->nelems *= dims[d]; /* no more than those there are */
    if (!dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        t->nbytes = like->tensor->nbytes;
    const struct source s = {.model = like->model, .tensor = t, .kind = kind, .params = params};
    return view_set(m->to, m->scratch, &s, m->err);
}

static struct str join(struct arena *arena, struct str layer, const char *middle, uint64_t number,
                       const char *end)
{
    const char *text =
        arena_printf(arena, "%.*s%s%" PRIu64 "%s", STR_ARG(layer), middle, number, end);
    return text ? str_from(text) : (struct str){NULL, 0};
}

/* A stack [experts, rows, columns] as matrices of rows / nparts x columns, called by ends. */
static enum quern_status unstack(struct matcher *m, const struct source *s, struct str layer,
                                 unsigned nparts, const char *const ends[])
{
    const uint64_t *dims = s->tensor->dims;
    const uint64_t shape[2] = {dims[1] / nparts, dims[2]}, each = shape[0] * shape[1];
    for (uint64_t i = 0; i < dims[0]; i++)
        for (unsigned k = 0; k < nparts; k++) {
            struct part *p = ARENA_NEW(m->keep, struct part, 1);
            if (!p)
                return fail_memory(m->err, sizeof *p);
            *p = (struct part){*s, (i * nparts + k) * each};
            TRY(add(m, s, join(m->keep, layer, m->want->experts, i, ends[k]), shape, 2, &part_kind,
                    p));
        }
    return QUERN_OK;
}

/* The matrices called by ends, of all experts of a layer, as one stack. Nothing when one is missing
 * or has another shape: pairing tells. */
static enum quern_status stack_up(struct matcher *m, struct str layer, const char *name,
                                  unsigned nparts, const char *const ends[])
{
    const struct source *first =
        view_find(m->from, join(m->scratch, layer, m->have->experts, 0, ends[0]));
    uint64_t n = 0;
    while (first && view_find(m->from, join(m->scratch, layer, m->have->experts, n, ends[0])))
        n++;
    struct pile *pile = ARENA_NEW(m->keep, struct pile, 1);
    struct source *items = ARENA_NEW(m->keep, struct source, n * nparts + 1);
    const char *full = arena_printf(m->keep, "%.*s%s", STR_ARG(layer), name);
    if (!pile || !items || !full)
        return fail_memory(m->err, n * nparts * sizeof *items);
    if (!first || first->tensor->ndims != 2 || first->tensor->nelems == 0)
        return QUERN_OK;
    const uint64_t *dims = first->tensor->dims;
    *pile = (struct pile){items, n * nparts, first->tensor->nelems};
    for (uint64_t i = 0; i < pile->count; i++) {
        const struct source *s = view_find(
            m->from, join(m->scratch, layer, m->have->experts, i / nparts, ends[i % nparts]));
        if (!s || s->tensor->ndims != 2 || memcmp(s->tensor->dims, dims, 2 * sizeof *dims) != 0)
            return QUERN_OK;
        items[i] = *s;
    }
    const uint64_t shape[3] = {n, nparts * dims[0], dims[1]};
    return add(m, first, str_from(full), shape, 3, &pile_kind, pile);
}

static struct str before_end(struct str name, const char *end)
{
    return (struct str){name.p, name.n - strlen(end)};
}

/* One of the single experts: the first of each kind stands for the whole stack. *done is false when
 * the tensor is none of them. */
static enum quern_status convert_single(struct matcher *m, struct str name, bool *done)
{
    const struct layout *have = m->have;
    const size_t n = strlen(have->experts);
    const char *const gate_up[] = {have->gate, have->up}, *const down[] = {have->down};
    const char *at = memmem(name.p, name.n, have->experts, n);
    *done = false;
    if (!at)
        return QUERN_OK;
    const struct str layer = {name.p, (size_t)(at - name.p)};
    const struct str rest = {at + n, name.n - layer.n - n};
    *done = str_ends(rest, have->gate) || str_ends(rest, have->up) || str_ends(rest, have->down);
    if (rest.n == 0 || rest.p[0] != '0')
        return QUERN_OK;
    const struct str kind = {rest.p + 1, rest.n - 1};
    if (str_is(kind, have->gate))
        return stack_up(m, layer, GATE_UP, 2, gate_up);
    return str_is(kind, have->down) ? stack_up(m, layer, DOWN, 1, down) : QUERN_OK;
}

static enum quern_status rename_router(struct matcher *m, const struct source *s)
{
    const struct str layer = before_end(s->tensor->name, m->have->router);
    const char *name = arena_printf(m->keep, "%.*s%s", STR_ARG(layer), m->want->router);
    struct tensor *t = ARENA_NEW(m->keep, struct tensor, 1);
    if (!name || !t)
        return fail_memory(m->err, sizeof *t);
    struct source renamed = *s;
    *t = *s->tensor;
    t->name = str_from(name);
    renamed.tensor = t;
    return view_set(m->to, m->scratch, &renamed, m->err);
}

/* A tensor of the view, as the other layout has it. */
static enum quern_status convert(struct matcher *m, const struct source *s)
{
    const struct str name = s->tensor->name;
    const uint64_t *dims = s->tensor->dims;
    const bool is_stack = !m->have->experts && s->tensor->ndims == 3;
    const char *const gate_up[] = {m->want->gate, m->want->up}, *const down[] = {m->want->down};
    bool done = false;
    if (is_stack && dims[1] % 2 == 0 && str_ends(name, GATE_UP))
        return unstack(m, s, before_end(name, GATE_UP), 2, gate_up);
    if (is_stack && str_ends(name, DOWN))
        return unstack(m, s, before_end(name, DOWN), 1, down);
    if (m->have->experts)
        TRY(convert_single(m, name, &done));
    if (done)
        return QUERN_OK;
    if (str_ends(name, m->have->router) && strcmp(m->have->router, m->want->router) != 0)
        return rename_router(m, s);
    return view_set(m->to, m->scratch, s, m->err);
}

static enum quern_status match_view(struct matcher *m)
{
    *m->to = *m->from;
    m->to->made = true;
    m->to->sources = NULL;
    m->to->count = m->to->capacity = 0;
    m->to->added = (struct name_table){0};
    for (uint32_t i = 0; i < m->from->count; i++)
        TRY(convert(m, &m->from->sources[i]));
    return QUERN_OK;
}

enum quern_status match_experts(struct model_set *set, struct arena *keep, struct arena *scratch,
                                struct quern_error *err)
{
    const struct layout *want = layout_of(&set->views[set->donor]);
    for (unsigned k = 0; want && k < set->count; k++) {
        struct view old = set->views[k];
        const struct layout *have = layout_of(&old);
        /* One by one under two names is left to who renames. */
        if (!have || have == want || (have->experts && want->experts))
            continue;
        struct matcher m = {.from = &old,
                            .to = &set->views[k],
                            .have = have,
                            .want = want,
                            .keep = keep,
                            .scratch = scratch,
                            .err = err};
        const enum quern_status status = match_view(&m);
        view_free(&old);
        TRY(status);
    }
    return QUERN_OK;
}
