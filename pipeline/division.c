/* division.c - cut a plan into portions of nearly the same cost. */
#include "division.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "passes.h"

/* ---- cost ----------------------------------------------------------------------------------- */

/* What encoding a weight costs, in bytes read or written, from docs/performance.md. It decides how
 * work is shared out and nothing else: rough is good enough. */
static uint64_t encoding_cost(enum dtype type)
{
    switch (type) {
    case DTYPE_IQ2_XXS:
    case DTYPE_IQ1_S:
    case DTYPE_IQ1_M:
    case DTYPE_IQ2_S:
        return 130;
    case DTYPE_IQ2_XS:
    case DTYPE_IQ3_XXS:
    case DTYPE_IQ3_S:
        return 300;
    case DTYPE_Q2_K:
    case DTYPE_Q3_K:
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
    case DTYPE_Q6_K:
    case DTYPE_IQ4_NL:
    case DTYPE_IQ4_XS:
        return 25;
    default:
        return dtype_is_quantized(type) ? 2 : 1;
    }
}

static uint64_t read_bytes_of(const struct step *s)
{
    uint64_t total = source_bytes(s) * (s->npasses + 1u);
    for (uint32_t i = 0; i < s->nneeds; i++)
        total += source_bytes(&s->needs[i]->step) * s->needs[i]->step.npasses;
    return total;
}

static uint64_t cost_of(const struct step *s)
{
    const bool moved = step_is_raw(s);
    return read_bytes_of(s) + s->nbytes + (moved ? 0 : s->nelems * encoding_cost(s->dtype));
}

/* ---- shares --------------------------------------------------------------------------------- */

/* What is given to one portion or another, never cut: a step, or a whole file where there are
 * files enough. */
struct lump {
    uint32_t first, nsteps; /* in division.order */
    uint64_t cost;
};

/* How many portions it takes when none may cost more than most. */
static uint32_t portions_at(const struct lump *lumps, uint32_t n, uint64_t most)
{
    uint32_t count = 1;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (sum && sum + lumps[i].cost > most) {
            count++;
            sum = 0;
        }
        sum += lumps[i].cost;
    }
    return count;
}

/* The least that the costliest portion may cost. */
static uint64_t least_cost(const struct lump *lumps, uint32_t n, uint32_t count)
{
    uint64_t low = 0, high = 0;
    for (uint32_t i = 0; i < n; i++) {
        high += lumps[i].cost;
        low = lumps[i].cost > low ? lumps[i].cost : low;
    }
    while (low < high) {
        const uint64_t middle = low + (high - low) / 2;
        if (portions_at(lumps, n, middle) <= count)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* first[k] is the first lump of portion k; first[count] is n. Every portion gets one at least. */
static void share_out(const struct lump *lumps, uint32_t n, uint32_t count, uint32_t *first)
{
    const uint64_t most = least_cost(lumps, n, count);
    uint32_t at = 0;
    for (uint32_t k = 0; k < count; k++) {
        uint64_t sum = 0;
        first[k] = at;
        do
            sum += lumps[at++].cost;
        while (n - at > count - k - 1 && at < n && sum + lumps[at].cost <= most);
    }
    first[count] = n;
}

/* ---- slices --------------------------------------------------------------------------------- */

struct placed {
    uint32_t file, step;
    uint64_t offset;
};

static int by_place(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return x->step < y->step ? -1 : x->step > y->step; /* empty tensors */
}

static enum quern_status order_steps(const struct plan *p, struct arena *arena, struct division *d,
                                     struct quern_error *err)
{
    struct placed *placed = malloc((p->nsteps + 1u) * sizeof *placed);
    d->order = ARENA_NEW(arena, uint32_t, p->nsteps + 1u);
    if (!placed || !d->order) {
        free(placed);
        return fail_memory(err, p->nsteps * sizeof *placed);
    }
    for (uint32_t i = 0; i < p->nsteps; i++)
        placed[i] = (struct placed){p->steps[i].file, i, p->steps[i].offset};
    qsort(placed, p->nsteps, sizeof *placed, by_place);
    for (uint32_t i = 0; i < p->nsteps; i++)
        d->order[i] = placed[i].step;
    free(placed);
    return QUERN_OK;
}

static const struct step *step_at(const struct plan *p, const struct division *d, uint32_t i)
{
    return &p->steps[d->order[i]];
}

/* Whole files where there is one for each portion, else single steps. */
static uint32_t gather_lumps(const struct plan *p, const struct division *d, uint32_t count,
                             struct lump *lumps)
{
    const bool files = p->nfiles >= count && p->nfiles > 1;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const struct step *s = step_at(p, d, i);
        if (!files || i == 0 || s->file != step_at(p, d, i - 1)->file)
            lumps[n++] = (struct lump){.first = i};
        lumps[n - 1].nsteps++;
        lumps[n - 1].cost += cost_of(s);
    }
    return n;
}

/* A slice begins with its first step, or with the file's header, and ends where the next begins. */
static void add_slice(const struct plan *p, struct division *d, uint32_t first, uint32_t nsteps)
{
    const struct step *s = step_at(p, d, first);
    const uint32_t next = first + nsteps;
    const bool heads = first == 0 || step_at(p, d, first - 1)->file != s->file;
    const bool ends = next == p->nsteps || step_at(p, d, next)->file != s->file;
    struct stretch *slice = &d->slices[d->nslices++];
    *slice = (struct stretch){
        .file = s->file, .first = first, .nsteps = nsteps, .offset = heads ? 0 : s->offset};
    slice->nbytes = (ends ? p->files[s->file].nbytes : step_at(p, d, next)->offset) - slice->offset;
}

static void cut_portion(const struct plan *p, struct division *d, uint32_t from, uint32_t to)
{
    struct portion *part = &d->portions[d->count++];
    *part = (struct portion){.first_slice = d->nslices};
    for (uint32_t i = from; i < to;) {
        uint32_t n = 0;
        const uint32_t file = step_at(p, d, i)->file;
        for (; i + n < to && step_at(p, d, i + n)->file == file; n++) {
            part->read_bytes += read_bytes_of(step_at(p, d, i + n));
            part->cost += cost_of(step_at(p, d, i + n));
        }
        add_slice(p, d, i, n);
        part->nslices++;
        i += n;
    }
}

static enum quern_status check_divisible(const struct plan *p, uint32_t count,
                                         struct quern_error *err)
{
    if (count == 0 || count > MAX_PORTIONS)
        return fail(err, QUERN_EUSAGE, "usage", "%" PRIu32 " parts" WANT "expected 1 to %u", count,
                    MAX_PORTIONS);
    if (p->nfiles == 0 || p->nsteps == 0)
        return fail(err, QUERN_EUSAGE, "usage",
                    "nothing is written" WANT "expected a command that writes tensors");
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (p->files[i].ninsets)
            return fail(err, QUERN_EUNSUPPORTED, "parts",
                        "an importance matrix of the older form cannot be made in parts");
    for (uint32_t i = 0; i < p->nsteps; i++)
        if (p->steps[i].op->report)
            return in_tensor(
                err, p->steps[i].name,
                fail(err, QUERN_EUNSUPPORTED, "parts",
                     "%s tells about all tensors at its end: it cannot be run in parts", p->verb));
    return QUERN_OK;
}

enum quern_status plan_divide(const struct plan *p, uint32_t count, struct arena *arena,
                              struct division *d, struct quern_error *err)
{
    *d = (struct division){0};
    TRY(check_divisible(p, count, err));
    TRY(order_steps(p, arena, d, err));
    struct lump *lumps = calloc(p->nsteps, sizeof *lumps);
    uint32_t *first = calloc((size_t)p->nsteps + 1, sizeof *first);
    d->slices = ARENA_NEW(arena, struct stretch, p->nsteps);
    d->portions = ARENA_NEW(arena, struct portion, p->nsteps);
    const bool ok = lumps && first && d->slices && d->portions;
    if (ok) {
        const uint32_t n = gather_lumps(p, d, count, lumps);
        count = count < n ? count : n;
        share_out(lumps, n, count, first);
        for (uint32_t k = 0; k < count; k++)
            cut_portion(p, d, lumps[first[k]].first,
                        first[k + 1] < n ? lumps[first[k + 1]].first : p->nsteps);
    }
    free(lumps);
    free(first);
    return ok ? QUERN_OK : fail_memory(err, p->nsteps * sizeof *lumps);
}

enum quern_status plan_in_files(struct plan *p, uint32_t count, struct quern_error *err)
{
    TRY(check_divisible(p, count, err));
    struct lump *lumps = calloc(p->nsteps, sizeof *lumps);
    uint32_t *first = calloc((size_t)p->nsteps + 1, sizeof *first);
    enum quern_status s = lumps && first ? QUERN_OK : fail_memory(err, p->nsteps * sizeof *lumps);
    if (s == QUERN_OK) {
        for (uint32_t i = 0; i < p->nsteps; i++)
            lumps[i] = (struct lump){.first = i, .nsteps = 1, .cost = cost_of(&p->steps[i])};
        count = count < p->nsteps ? count : p->nsteps;
        share_out(lumps, p->nsteps, count, first);
        s = layout_in_files(p, first, count, err);
    }
    free(lumps);
    free(first);
    return s;
}

/* ---- one portion ---------------------------------------------------------------------------- */

const char *slice_path(const char *dir, uint32_t i, struct arena *arena)
{
    return arena_printf(arena, "%s/slice-%05" PRIu32, dir, i + 1);
}

static enum quern_status keep_slice(struct plan *p, const struct division *d, uint32_t i,
                                    const char *dir, struct plan_file *out, struct step *steps,
                                    uint32_t file, struct quern_error *err)
{
    const struct stretch *s = &d->slices[i];
    *out = (struct plan_file){.path = slice_path(dir, i, &p->arena), .nbytes = s->nbytes};
    if (!out->path)
        return fail_memory(err, strlen(dir));
    if (s->offset == 0)
        out->header = p->files[s->file].header;
    for (uint32_t k = 0; k < s->nsteps; k++) {
        steps[k] = *step_at(p, d, s->first + k);
        steps[k].file = file;
        steps[k].offset -= s->offset;
    }
    return QUERN_OK;
}

enum quern_status plan_keep_portion(struct plan *p, const struct division *d, uint32_t portion,
                                    const char *dir, struct quern_error *err)
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
        TRY(keep_slice(p, d, part->first_slice + i, dir, &files[i], &steps[at], i, err));
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

static bool is_whole_file(const struct plan *p, const struct stretch *s)
{
    return s->offset == 0 && s->nbytes == p->files[s->file].nbytes;
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
        if (is_whole_file(p, s)) {
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

enum quern_status plan_assemble(struct plan *p, const struct division *d, const char *dir,
                                struct model **slices, struct quern_error *err)
{
    TRY(model_new(dir, d->nslices, slices, err));
    const enum quern_status s = assemble(p, d, dir, *slices, err);
    if (s != QUERN_OK)
        model_close(*slices);
    if (s != QUERN_OK || p->owns_models)
        *slices = NULL;
    return s;
}
