/* inputs.c - the tensors to convert, in order, and the few whose values decide what they become. */
#include <stdlib.h>

#include "conversion.h"

enum quern_status convert_order_inputs(struct conversion *c, struct quern_error *err)
{
    const struct view *v = c->view;
    c->inputs = ARENA_NEW(&c->plan->arena, const struct source *, v->count + 1);
    if (!c->inputs)
        return fail_memory(err, v->count * sizeof *c->inputs);
    c->ninputs = v->count;
    for (uint32_t i = 0; i < v->count; i++)
        c->inputs[i] = &v->sources[i];
    if (!v->made)
        qsort(c->inputs, c->ninputs, sizeof *c->inputs, view_by_file_and_name);
    return QUERN_OK;
}

/* Two sources read side by side, or one. */
struct reader {
    const struct source *source;
    void *scratch;
    double *values;
};

static enum quern_status open_reader(struct reader *r, const struct source *s,
                                     struct quern_error *err)
{
    *r = (struct reader){.source = s};
    if (!source_ready(s)) {
        in_source(err, s,
                  fail(err, QUERN_EUNSUPPORTED, "one-pass",
                       "what becomes of it depends on its values, which are not made yet" WANT
                       "merge into a directory, then convert that"));
        return QUERN_EUNSUPPORTED;
    }
    r->scratch = source_scratch_new(s, true);
    r->values = calloc(PIECE, sizeof *r->values);
    return r->scratch && r->values ? QUERN_OK : fail_memory(err, PIECE * sizeof *r->values);
}

static void close_reader(struct reader *r)
{
    free(r->scratch);
    free(r->values);
}

static enum quern_status read_piece(struct reader *r, uint64_t first, size_t n,
                                    struct quern_error *err)
{
    uint64_t moved = 0;
    return source_read(r->source, r->scratch, true, first, n, r->values, &moved, err);
}

static size_t piece_at(uint64_t nelems, uint64_t first)
{
    return nelems - first < PIECE ? (size_t)(nelems - first) : PIECE;
}

enum quern_status convert_is_zero(const struct source *s, bool *zero, struct quern_error *err)
{
    struct reader r;
    const uint64_t n = s->tensor->nelems;
    enum quern_status status = open_reader(&r, s, err);
    *zero = true;
    for (uint64_t at = 0; status == QUERN_OK && at < n && *zero; at += PIECE) {
        const size_t some = piece_at(n, at);
        status = read_piece(&r, at, some, err);
        for (size_t i = 0; status == QUERN_OK && i < some; i++)
            *zero &= r.values[i] == 0.0;
    }
    close_reader(&r);
    return status;
}

enum quern_status convert_same_values(const struct source *a, const struct source *b, bool *same,
                                      struct quern_error *err)
{
    struct reader x, y = {0};
    const uint64_t n = a->tensor->nelems;
    enum quern_status status = open_reader(&x, a, err);
    if (status == QUERN_OK)
        status = open_reader(&y, b, err);
    *same = true;
    for (uint64_t at = 0; status == QUERN_OK && at < n && *same; at += PIECE) {
        const size_t some = piece_at(n, at);
        status = read_piece(&x, at, some, err);
        if (status == QUERN_OK)
            status = read_piece(&y, at, some, err);
        *same = status != QUERN_OK || memcmp(x.values, y.values, some * sizeof *x.values) == 0;
    }
    close_reader(&x);
    close_reader(&y);
    return status;
}
