/* portion.c - what a plan becomes for one portion of it, and for all of them together. */
#include <inttypes.h>

#include "division.h"
#include "passes.h"

/* ---- one portion ---------------------------------------------------------------------------- */

const char *slice_path(const char *dir, uint32_t i, struct arena *arena)
{
    return arena_printf(arena, "%s/slice-%05" PRIu32, dir, i + 1);
}

const char *whole_path(const char *dir, uint32_t file, struct arena *arena)
{
    return arena_printf(arena, "%s/whole-%05" PRIu32, dir, file + 1);
}

struct byte_range slice_place(const struct division *d, const char *dir, uint32_t i,
                              struct arena *arena)
{
    const struct stretch *s = &d->slices[i];
    return (struct byte_range){.path = d->shared ? whole_path(dir, s->file, arena)
                                                 : slice_path(dir, i, arena),
                               .offset = d->shared ? s->offset : 0,
                               .nbytes = s->nbytes};
}

/* What of a step lies in a slice. base: where in its file the file of the slice begins. */
static void keep_step(struct step *s, const struct stretch *slice, uint64_t base)
{
    const uint64_t ends = slice->offset + slice->nbytes, last = s->offset + s->nbytes;
    const uint64_t from = s->offset > slice->offset ? s->offset : slice->offset;
    const uint64_t to = last < ends ? last : ends;
    if (to - from < s->nbytes) {
        s->cut_first = from - s->offset;
        s->cut_bytes = to - from;
    }
    s->offset = from - base;
}

static enum quern_status keep_slice(struct plan *p, const struct division *d, uint32_t i,
                                    const char *dir, const char *shared, struct plan_file *out,
                                    struct step *steps, uint32_t file, struct quern_error *err)
{
    const struct stretch *s = &d->slices[i];
    *out = (struct plan_file){.path = slice_path(dir, i, &p->arena),
                              .nbytes = d->shared ? s->file_bytes : s->nbytes,
                              .shared = d->shared ? whole_path(shared, s->file, &p->arena) : NULL};
    if (!out->path || (d->shared && !out->shared))
        return fail_memory(err, strlen(dir));
    if (s->offset == 0)
        out->header = p->files[s->file].header;
    for (uint32_t k = 0; k < s->nsteps; k++) {
        steps[k] = p->steps[d->order[s->first + k]];
        steps[k].file = file;
        keep_step(&steps[k], s, d->shared ? 0 : s->offset);
    }
    return QUERN_OK;
}

enum quern_status plan_keep_portion(struct plan *p, const struct division *d, uint32_t portion,
                                    const char *dir, const char *shared, struct quern_error *err)
{
    const struct portion *part = &d->portions[portion];
    uint32_t n = 0;
    for (uint32_t i = 0; i < part->nslices; i++)
        n += d->slices[part->first_slice + i].nsteps;
    struct plan_file *files = ARENA_NEW(&p->arena, struct plan_file, part->nslices);
    struct step *steps = ARENA_NEW(&p->arena, struct step, n);
    if (!files || !steps)
        return fail_memory(err, n * sizeof *steps);
    uint32_t at = 0;
    for (uint32_t i = 0; i < part->nslices; i++) {
        TRY(keep_slice(p, d, part->first_slice + i, dir, shared, &files[i], &steps[at], i, err));
        at += d->slices[part->first_slice + i].nsteps;
    }
    p->steps = steps;
    p->nsteps = n;
    p->files = files;
    p->nfiles = part->nslices;
    p->nsides = 0;
    p->dir = NULL;
    p->force = true; /* the same bytes, if they are there */
    return QUERN_OK;
}

/* ---- all together --------------------------------------------------------------------------- */

/* The slices as files of one tensor each. */
static enum quern_status open_slices(const struct division *d, const char *dir, struct model *m,
                                     struct quern_error *err)
{
    for (uint32_t i = 0; i < d->nslices; i++) {
        const char *path = slice_path(dir, i, &m->arena);
        uint64_t *dims = ARENA_NEW(&m->arena, uint64_t, 1);
        struct tensor *t = model_new_tensor(m);
        if (!path || !dims || !t)
            return fail_memory(err, sizeof *t);
        TRY(model_add_file(m, path, path_base(path), err));
        dims[0] = d->slices[i].nbytes;
        *t = (struct tensor){.name = str_from(path_base(path)),
                             .dims = dims,
                             .ndims = 1,
                             .nbytes = dims[0],
                             .nelems = dims[0],
                             .file = i,
                             .dtype = DTYPE_U8};
        m->files[i].ntensors = 1;
        if (m->files[i].id.nbytes != dims[0])
            return in_file(err, path,
                           fail(err, QUERN_EFORMAT, "slice",
                                "it has %" PRIu64 " bytes" WANT "expected %" PRIu64,
                                m->files[i].id.nbytes, dims[0]));
    }
    return QUERN_OK;
}

static bool fills_file(const struct stretch *s)
{
    return s->offset == 0 && s->nbytes == s->file_bytes;
}

static enum quern_status assemble(struct plan *p, const struct division *d, const char *dir,
                                  struct model *m, struct quern_error *err)
{
    struct step *steps = ARENA_NEW(&p->arena, struct step, d->nslices);
    struct source *sources = ARENA_NEW(&p->arena, struct source, d->nslices);
    if (!steps || !sources)
        return fail_memory(err, d->nslices * sizeof *steps);
    TRY(open_slices(d, dir, m, err));
    uint32_t n = 0;
    for (uint32_t i = 0; i < d->nslices; i++) {
        const struct stretch *s = &d->slices[i];
        struct plan_file *f = &p->files[s->file];
        if (fills_file(s)) {
            f->made = m->files[i].path;
            continue;
        }
        f->header = (struct str){0}; /* the first slice has it */
        sources[n] = (struct source){.model = m, .tensor = &m->tensors[i]};
        steps[n] = (struct step){.name = m->tensors[i].name,
                                 .dims = m->tensors[i].dims,
                                 .ndims = 1,
                                 .dtype = DTYPE_U8,
                                 .round_dtype = DTYPE_COUNT,
                                 .nsources = 1,
                                 .sources = &sources[n],
                                 .op = &op_copy,
                                 .nelems = s->nbytes,
                                 .nbytes = s->nbytes,
                                 .file = s->file,
                                 .offset = s->offset};
        n++;
    }
    p->steps = steps;
    p->nsteps = n;
    p->nhidden = 0;
    return plan_add_model(p, m, err);
}

/* The files that all have written to are complete. */
static enum quern_status adopt_whole(struct plan *p, const struct division *d, const char *dir,
                                     struct quern_error *err)
{
    for (uint32_t i = 0; i < d->nslices; i++) {
        const uint32_t file = d->slices[i].file;
        p->files[file].made = whole_path(dir, file, &p->arena);
        if (!p->files[file].made)
            return fail_memory(err, strlen(dir));
    }
    p->nsteps = 0;
    p->nhidden = 0;
    return QUERN_OK;
}

enum quern_status plan_assemble(struct plan *p, const struct division *d, const char *dir,
                                struct model **slices, struct quern_error *err)
{
    *slices = NULL;
    if (d->shared)
        return adopt_whole(p, d, dir, err);
    TRY(model_new(dir, d->nslices, slices, err));
    const enum quern_status s = assemble(p, d, dir, *slices, err);
    if (s != QUERN_OK)
        model_close(*slices);
    if (s != QUERN_OK || p->owns_models)
        *slices = NULL;
    return s;
}
