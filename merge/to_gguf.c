/* to_gguf.c - what the steps of a merge make, as the model that is converted. */
#include "merge/to_gguf.h"

#include <stdlib.h>

#include "merge/hidden.h"
#include "pipeline/row_sums.h"

const char *unwritten_directory(const struct merge_request *req, struct arena *arena)
{
    return arena_printf(arena, "%.*s", (int)(strlen(req->output) - strlen(".gguf")), req->output);
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
        TRY(hide_step(s, &p->arena, &made, err));
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
    return s == QUERN_OK ? hidden_needs(p, err) : s;
}
