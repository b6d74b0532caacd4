/* to_gguf.c - what the steps of a merge make, as the model that is converted. */
#include "merge/to_gguf.h"

#include <stdlib.h>

#include "merge/made.h"
#include "pipeline/row_sums.h"

const char *unwritten_directory(const struct merge_request *req, struct arena *arena)
{
    return arena_printf(arena, "%.*s", (int)(strlen(req->output) - strlen(".gguf")), req->output);
}

/* ---- hidden steps ----------------------------------------------------------------------------
 */

static bool is_listed(const struct plan *p, const struct hidden_step *h)
{
    for (uint32_t i = 0; i < p->nhidden; i++)
        if (p->hidden[i] == h)
            return true;
    return false;
}

/* Adds the hidden steps that reading this source takes to needs. */
static void collect(const struct source *s, struct hidden_step **needs, uint32_t *n)
{
    struct hidden_step *own = made_needs(s);
    for (uint32_t i = 0; s->kind && s->kind->inner && s->kind->inner(s, i); i++)
        collect(s->kind->inner(s, i), needs, n);
    if (own && !own->listed) {
        own->listed = true;
        needs[(*n)++] = own;
    }
}

/* room: as many as there are hidden steps. */
static enum quern_status set_needs(struct plan *p, struct step *s, struct hidden_step **room,
                                   struct quern_error *err)
{
    uint32_t n = 0;
    for (unsigned k = 0; k < s->nsources; k++)
        collect(&s->sources[k], room, &n);
    for (uint32_t i = 0; i < n; i++)
        room[i]->listed = false;
    if (n == 0)
        return QUERN_OK;
    struct hidden_step **needs = ARENA_NEW(&p->arena, struct hidden_step *, n);
    if (!needs)
        return fail_memory(err, n * sizeof *needs);
    memcpy(needs, room, n * sizeof *needs);
    s->needs = needs;
    s->nneeds = n;
    for (uint32_t i = 0; i < n; i++)
        if (!is_listed(p, needs[i]))
            p->hidden[p->nhidden++] = needs[i];
    return QUERN_OK;
}

/* most: how many steps may have been hidden. */
static enum quern_status all_needs(struct plan *p, size_t most, struct quern_error *err)
{
    struct hidden_step **room = calloc(most + 1, sizeof *room);
    p->hidden = ARENA_NEW(&p->arena, struct hidden_step *, most + 1);
    if (!room || !p->hidden) {
        free(room);
        return fail_memory(err, most * sizeof *room);
    }
    enum quern_status status = QUERN_OK;
    for (uint32_t i = 0; i < p->nsteps && status == QUERN_OK; i++)
        status = set_needs(p, &p->steps[i], room, err);
    free(room);
    return status;
}

/* What a step makes, as a source. */
static enum quern_status hide(struct plan *p, const struct step *s, struct source *out,
                              struct quern_error *err)
{
    if (s->npasses == 0)
        return made_source(s, &p->arena, out, err);
    struct hidden_step *h = ARENA_NEW(&p->arena, struct hidden_step, 1);
    if (!h)
        return fail_memory(err, sizeof *h);
    h->step = *s;
    return made_measured(h, &p->arena, out, err);
}

enum quern_status hide_row_makers(struct plan *p, struct quern_error *err)
{
    for (uint32_t i = 0; i < p->nsteps; i++) {
        struct step *s = &p->steps[i];
        if (!row_sums_needed(s) || s->op == &op_copy)
            continue;
        struct step *inner = ARENA_NEW(&p->arena, struct step, 1);
        struct source *made = ARENA_NEW(&p->arena, struct source, 1);
        if (!inner || !made)
            return fail_memory(err, sizeof *inner);
        *inner = *s;
        if (s->round_dtype != DTYPE_COUNT)
            inner->dtype = s->round_dtype;
        inner->importance = NULL;
        TRY(hide(p, inner, made, err));
        s->op = &op_copy;
        s->params = NULL;
        s->sources = made;
        s->nsources = 1;
        s->npasses = 0;
    }
    return all_needs(p, p->nsteps, err);
}

/* ---- the model that is not written ------------------------------------------------------------
 */

static int by_file_and_name(const void *a, const void *b)
{
    const struct step *x = *(const struct step *const *)a, *y = *(const struct step *const *)b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return str_cmp(x->name, y->name);
}

/* Only bytes that are compared: whatever is no weight. */
static bool makes_numbers(const struct step *s)
{
    return s->op->apply != NULL;
}

static enum quern_status add_made(struct plan *p, const struct step *s, struct view *v,
                                  struct quern_error *err)
{
    struct source made = s->sources[0];
    if (makes_numbers(s))
        TRY(hide(p, s, &made, err));
    return view_set(v, &p->arena, &made, err);
}

static enum quern_status show(struct plan *p, struct view *v, struct quern_error *err)
{
    const struct step **order = calloc(p->nsteps + 1u, sizeof *order);
    enum quern_status s = order ? QUERN_OK : fail_memory(err, p->nsteps * sizeof *order);
    for (uint32_t i = 0; s == QUERN_OK && i < p->nsteps; i++)
        order[i] = &p->steps[i];
    if (s == QUERN_OK)
        qsort(order, p->nsteps, sizeof *order, by_file_and_name);
    for (uint32_t i = 0; s == QUERN_OK && i < p->nsteps; i++)
        s = add_made(p, order[i], v, err);
    free(order);
    return s;
}

/* ---- the steps of the result ------------------------------------------------------------------
 */

/* The type that a step which copies what `inner` makes must round to first, when it makes that
 * itself. False when it would have to round twice. */
static bool rounds_once(const struct step *copy, const struct step *inner, uint8_t *round)
{
    const uint8_t first = inner->dtype, then = copy->round_dtype;
    *round = first;
    if (first == DTYPE_F32 && !inner->wide)
        *round = then;
    return *round == then || then == DTYPE_COUNT || then == copy->dtype || then == DTYPE_F32 ||
           then == first;
}

/* How it is made, of the first that tells: experts that are stacked are all made alike. */
static const char *detail_of(const struct source *s)
{
    const struct step *made = made_by(s);
    if (made)
        return made->detail;
    const struct source *inner = s->kind && s->kind->inner ? s->kind->inner(s, 0) : NULL;
    return inner ? detail_of(inner) : NULL;
}

/* A step that copies what another makes, in the same order, makes it itself. */
static void take_over(struct step *s)
{
    const struct step *inner = s->op == &op_copy ? made_by(&s->sources[0]) : NULL;
    uint8_t round;
    if (!s->detail && s->nsources)
        s->detail = detail_of(&s->sources[0]);
    if (!inner || row_sums_needed(s) || !rounds_once(s, inner, &round))
        return;
    s->op = inner->op;
    s->params = inner->params;
    s->sources = inner->sources;
    s->nsources = inner->nsources;
    s->npasses = inner->npasses;
    s->wide = inner->wide;
    s->round_dtype = round;
}

/* A mistake in the directory that was never written is told of the output. */
static enum quern_status in_output(struct quern_error *err, const char *dir, const char *output,
                                   enum quern_status status)
{
    const size_t n = strlen(dir);
    if (!err || status == QUERN_OK || strncmp(err->file, dir, n) != 0 ||
        (err->file[n] && !str_ends(str_from(err->file + n), ".json")))
        return status;
    err->file[0] = '\0';
    return in_file(err, output, status);
}

enum quern_status follow_with_gguf(struct plan *p, const struct merge_request *req,
                                   struct quern_error *err)
{
    const struct folder folder = {
        .path = p->dir, .made = true, .sides = p->sides, .nsides = p->nsides};
    struct view view = {.made = true};
    const uint32_t nmade = p->nsteps;
    struct convert_request r = req->convert;
    r.output = req->output;
    r.type = req->type ? req->type : "auto";
    r.like_quantize = req->type != NULL;
    r.force = req->force;
    enum quern_status s = show(p, &view, err);
    p->steps = NULL;
    p->files = NULL;
    p->dir = NULL;
    p->sides = NULL;
    p->nsteps = p->nfiles = p->nsides = 0;
    if (s == QUERN_OK)
        s = in_output(err, folder.path, req->output,
                      convert_into(&(struct hf_model){&view, &folder}, &r, p, err));
    view_free(&view);
    for (uint32_t i = 0; s == QUERN_OK && i < p->nsteps; i++)
        take_over(&p->steps[i]);
    return s == QUERN_OK ? all_needs(p, nmade, err) : s;
}
