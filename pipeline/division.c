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

/* Of the passes that measure, unless that is done before: everything is read in them. */
static uint64_t measuring_cost(const struct division *d, const struct step *s)
{
    return d->measured ? 0 : measured_bytes(s);
}

/* Of making it once that is known. */
static uint64_t making_cost(const struct step *s)
{
    const bool moved = step_is_raw(s);
    return source_bytes(s) + s->nbytes + (moved ? 0 : s->nelems * encoding_cost(s->dtype));
}

/* What the first `bytes` of its stored bytes take of so much for all of them. */
static uint64_t up_to(const struct step *s, uint64_t all, uint64_t bytes)
{
    return bytes >= s->nbytes ? all : (uint64_t)((double)all * ((double)bytes / (double)s->nbytes));
}

/* Of bytes [from, to). The pieces of a step add up to the whole. */
static uint64_t making_part(const struct step *s, uint64_t all, uint64_t from, uint64_t to)
{
    return up_to(s, all, to) - (from ? up_to(s, all, from) : 0);
}

/* ---- shares --------------------------------------------------------------------------------- */

/* What is given to one portion or another, never cut: a step, a stretch of a file, or a whole file
 * where there are files enough. */
struct lump {
    uint32_t file;
    uint32_t first, nsteps; /* in division.order: those that have bytes in it */
    uint64_t offset;        /* in the file; it ends where the next one begins */
    uint64_t cost;
    uint64_t
        entry; /* more when a portion begins with it: what the step that it cuts must measure */
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
        sum += lumps[i].cost + (sum ? 0 : lumps[i].entry);
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
        uint64_t sum = lumps[at].entry;
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

/* ---- lumps ---------------------------------------------------------------------------------- */

#define FINENESS  64u /* lumps that a portion could be of, nearly */
#define MAX_LUMPS (1u << 20)

struct lumping {
    const struct plan *plan;
    const struct division *division;
    enum cutting cutting;
    uint64_t grid; /* steps are cut at multiples of it in their file */
    struct lump *lumps;
    uint32_t n, room;
};

/* As coarse as balance allows: multiples of what was asked for. */
static uint64_t grid_of(const struct plan *p, uint32_t count, uint64_t align)
{
    const uint64_t most = count < MAX_LUMPS / FINENESS ? count * FINENESS : MAX_LUMPS;
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->nfiles; i++)
        total += p->files[i].nbytes;
    const uint64_t n = total / most / align;
    return align * (n ? n : 1);
}

/* It may be made from any byte on and costs no more for it. */
static bool is_cut(const struct lumping *l, const struct step *s)
{
    return l->cutting == CUT_ANYWHERE ||
           (l->cutting == CUT_CHEAPLY && measuring_cost(l->division, s) == 0);
}

/* The next place after `at` where the step may be cut; its end when there is none. */
static uint64_t next_cut(const struct lumping *l, const struct step *s, uint64_t at)
{
    const uint64_t end = s->offset + s->nbytes, next = (at / l->grid + 1) * l->grid;
    return is_cut(l, s) && next < end ? next : end;
}

static bool begins_lump(const struct lumping *l, uint32_t i, bool whole_files)
{
    const struct step *s = step_at(l->plan, l->division, i);
    if (i == 0 || s->file != step_at(l->plan, l->division, i - 1)->file)
        return true;
    return !whole_files && (l->cutting != CUT_ANYWHERE || s->offset % l->grid == 0);
}

/* Room for what is cut out of all steps. */
static uint64_t most_lumps(const struct lumping *l)
{
    uint64_t n = l->plan->nsteps;
    for (uint32_t i = 0; i < l->plan->nsteps; i++)
        n += l->plan->steps[i].nbytes / l->grid + 1;
    return n;
}

static void add_lump(struct lumping *l, uint32_t i, uint64_t offset, uint64_t entry)
{
    l->lumps[l->n++] = (struct lump){.file = step_at(l->plan, l->division, i)->file,
                                     .first = i,
                                     .offset = offset,
                                     .entry = entry};
}

static void add_step(struct lumping *l, uint32_t i, bool whole_files)
{
    const struct step *s = step_at(l->plan, l->division, i);
    const uint64_t cost = making_cost(s), end = s->offset + s->nbytes;
    const bool heads = i == 0 || s->file != step_at(l->plan, l->division, i - 1)->file;
    if (begins_lump(l, i, whole_files))
        add_lump(l, i, heads ? 0 : s->offset, 0);
    l->lumps[l->n - 1].cost += measuring_cost(l->division, s);
    for (uint64_t at = s->offset, next;; at = next) {
        next = whole_files ? end : next_cut(l, s, at);
        struct lump *last = &l->lumps[l->n - 1];
        last->nsteps++;
        last->cost += making_part(s, cost, at - s->offset, next - s->offset);
        if (next == end)
            break;
        add_lump(l, i, next, measuring_cost(l->division, s));
    }
}

/* Whole files where there is one for each portion. */
static enum quern_status gather_lumps(struct lumping *l, uint32_t count, struct quern_error *err)
{
    const bool whole_files = l->plan->nfiles >= count && l->plan->nfiles > 1;
    const uint64_t room = most_lumps(l) + 1u; /* not 0 */
    l->lumps = room < UINT32_MAX ? calloc(room, sizeof *l->lumps) : NULL;
    if (!l->lumps)
        return fail_memory(err, room * sizeof *l->lumps);
    for (uint32_t i = 0; i < l->plan->nsteps; i++)
        add_step(l, i, whole_files);
    return QUERN_OK;
}

/* ---- portions ------------------------------------------------------------------------------- */

/* What a slice asks of a step whose bytes are in it. */
static void add_cost(const struct division *d, struct portion *part, const struct step *s,
                     const struct stretch *slice)
{
    const uint64_t begin = s->offset > slice->offset ? s->offset : slice->offset;
    const uint64_t ends = slice->offset + slice->nbytes, last = s->offset + s->nbytes;
    const uint64_t from = begin - s->offset, to = (last < ends ? last : ends) - s->offset;
    part->read_bytes += measuring_cost(d, s) + making_part(s, source_bytes(s), from, to);
    part->cost += measuring_cost(d, s) + making_part(s, making_cost(s), from, to);
}

/* Lumps [from, to) of one file. */
static void add_slice(const struct plan *p, struct division *d, const struct lumping *l,
                      uint32_t from, uint32_t to)
{
    const struct lump *a = &l->lumps[from], *last = &l->lumps[to - 1];
    const bool ends = to == l->n || l->lumps[to].file != a->file;
    const uint64_t end = ends ? p->files[a->file].nbytes : l->lumps[to].offset;
    d->slices[d->nslices++] = (struct stretch){.file = a->file,
                                               .first = a->first,
                                               .nsteps = last->first + last->nsteps - a->first,
                                               .offset = a->offset,
                                               .nbytes = end - a->offset,
                                               .file_bytes = p->files[a->file].nbytes};
}

static void cut_portion(const struct plan *p, struct division *d, const struct lumping *l,
                        uint32_t from, uint32_t to)
{
    struct portion *part = &d->portions[d->count++];
    *part = (struct portion){.first_slice = d->nslices};
    for (uint32_t i = from, n; i < to; i += n) {
        for (n = 1; i + n < to && l->lumps[i + n].file == l->lumps[i].file;)
            n++;
        const struct stretch *slice = &d->slices[d->nslices];
        add_slice(p, d, l, i, i + n);
        for (uint32_t k = 0; k < slice->nsteps; k++)
            add_cost(d, part, step_at(p, d, slice->first + k), slice);
        part->nslices++;
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

static enum quern_status cut_portions(const struct plan *p, uint32_t count, struct arena *arena,
                                      const struct lumping *l, struct division *d,
                                      struct quern_error *err)
{
    count = count < l->n ? count : l->n;
    uint32_t *first = calloc((size_t)count + 1, sizeof *first);
    d->slices = ARENA_NEW(arena, struct stretch, (size_t)count + p->nfiles);
    d->portions = ARENA_NEW(arena, struct portion, count);
    const bool ok = first && d->slices && d->portions;
    if (ok) {
        share_out(l->lumps, l->n, count, first);
        for (uint32_t k = 0; k < count; k++)
            cut_portion(p, d, l, first[k], first[k + 1]);
    }
    free(first);
    return ok ? QUERN_OK : fail_memory(err, count * sizeof *d->portions);
}

enum quern_status plan_divide(const struct plan *p, const struct division_request *r,
                              struct arena *arena, struct division *d, struct quern_error *err)
{
    *d = (struct division){.shared = r->cutting == CUT_ANYWHERE, .measured = r->measured};
    TRY(check_divisible(p, r->count, err));
    TRY(order_steps(p, arena, d, err));
    struct lumping l = {.plan = p,
                        .division = d,
                        .cutting = r->cutting,
                        .grid = grid_of(p, r->count, r->align ? r->align : CUT_ALIGN)};
    enum quern_status s = gather_lumps(&l, r->count, err);
    if (s == QUERN_OK)
        s = cut_portions(p, r->count, arena, &l, d, err);
    free(l.lumps);
    return s;
}

enum quern_status plan_in_files(struct plan *p, uint32_t count, bool measured,
                                struct quern_error *err)
{
    const struct division d = {.measured = measured};
    TRY(check_divisible(p, count, err));
    struct lump *lumps = calloc(p->nsteps, sizeof *lumps);
    uint32_t *first = calloc((size_t)p->nsteps + 1, sizeof *first);
    enum quern_status s = lumps && first ? QUERN_OK : fail_memory(err, p->nsteps * sizeof *lumps);
    if (s == QUERN_OK) {
        for (uint32_t i = 0; i < p->nsteps; i++)
            lumps[i] =
                (struct lump){.cost = measuring_cost(&d, &p->steps[i]) + making_cost(&p->steps[i])};
        count = count < p->nsteps ? count : p->nsteps;
        share_out(lumps, p->nsteps, count, first);
        s = layout_in_files(p, first, count, err);
    }
    free(lumps);
    free(first);
    return s;
}
