/* pack_plan.c - plan a pack: which files go in, and how each is cut into runs. */
#include "pipeline/pack_plan.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/checked.h"
#include "core/grow.h"
#include "core/io.h"
#include "core/output.h"
#include "core/xxh64.h"
#include "packing.h"

#define MAX_LEVELS 16u /* of directories in directories */

struct planner {
    const struct pack_request *r;
    struct plan *plan;
    struct packing *k;
    uint32_t file_capacity, run_capacity;
    struct file_id output; /* nbytes is 0 unless it is there already */
    bool output_there;
};

/* ---- files ---------------------------------------------------------------------------------- */

static enum quern_status fail_name(const char *path, const char *what, struct quern_error *err)
{
    return in_file(
        err, path,
        fail(err, QUERN_EUNSUPPORTED, "file-name", "%s" WANT "rename it or leave it out", what));
}

static enum quern_status add_file(struct planner *pl, const char *path, const char *name,
                                  struct quern_error *err)
{
    struct packing *k = pl->k;
    void *items = k->files;
    struct packed_file f = {0};
    if (strlen(name) > PACK_MAX_NAME || !utf8_valid(str_from(name), NULL))
        return fail_name(path, "its name is too long or not UTF-8", err);
    if (k->nfiles == PACK_MAX_FILES)
        return fail(err, QUERN_EUNSUPPORTED, "files", "there are more than %u files",
                    PACK_MAX_FILES);
    TRY(model_open_alone(path, &f.model, err));
    const bool ok = grow(&items, k->nfiles, &pl->file_capacity, sizeof *k->files);
    k->files = items;
    f.name = arena_printf(&pl->plan->arena, "%s", name);
    f.nbytes = f.model->files[0].id.nbytes;
    enum quern_status s =
        ok && f.name ? plan_add_model(pl->plan, f.model, err) : fail_memory(err, sizeof f);
    if (s == QUERN_OK)
        k->files[k->nfiles++] = f;
    else
        model_close(f.model);
    return s;
}

/* What unfinished runs leave, and what is being made. */
static bool is_ours(const struct planner *pl, const char *path, const char *name)
{
    struct stat st;
    const struct str s = str_from(name);
    return str_ends(s, PART_SUFFIX) || str_ends(s, JOURNAL_SUFFIX) ||
           (pl->output_there && stat(path, &st) == 0 && st.st_dev == pl->output.dev &&
            st.st_ino == pl->output.ino);
}

static enum quern_status add_path(struct planner *pl, const char *path, const char *name,
                                  unsigned levels, struct quern_error *err);

static enum quern_status add_dir(struct planner *pl, const char *dir, const char *prefix,
                                 unsigned levels, struct quern_error *err)
{
    struct arena arena = {0};
    const char **names;
    uint32_t n = 0;
    if (levels == MAX_LEVELS)
        return fail_name(dir, "directories are nested too deep", err);
    enum quern_status s = path_list(dir, &arena, &names, &n, err);
    for (uint32_t i = 0; s == QUERN_OK && i < n; i++) {
        const char *path = path_join(&arena, dir, names[i]);
        const char *name = path_join(&arena, prefix, names[i]);
        if (!path || !name)
            s = fail_memory(err, strlen(dir));
        else if (!is_ours(pl, path, names[i]))
            s = add_path(pl, path, name, levels, err);
    }
    arena_free(&arena);
    return s;
}

/* Hidden directories are those of git and of downloads. */
static enum quern_status add_path(struct planner *pl, const char *path, const char *name,
                                  unsigned levels, struct quern_error *err)
{
    if (path_is_file(path))
        return add_file(pl, path, name, err);
    if (path_is_dir(path) && path_base(path)[0] == '.')
        return plan_note(pl->plan, err, "left out: %s", quoted(str_from(name)).text);
    if (path_is_dir(path))
        return add_dir(pl, path, name, levels + 1, err);
    if (path_exists(path))
        return fail_name(path, "it is neither a file nor a directory", err);
    return fail_errno(err, path, "open");
}

/* The last part of a path, wherever the path starts from. */
static const char *base_name(struct planner *pl, const char *path, struct quern_error *err)
{
    const char *rest;
    char *real = archive_at(path, &rest) ? NULL : realpath(path, NULL);
    const char *name = arena_printf(&pl->plan->arena, "%s", path_base(real ? real : path));
    free(real);
    if (!name)
        fail_memory(err, strlen(path));
    return name;
}

static enum quern_status add_input(struct planner *pl, const char *input, struct quern_error *err)
{
    struct archive *a = NULL;
    TRY(pack_enter(input, &a, err));
    const bool dir = path_is_dir(input), alone = pl->r->ninputs == 1;
    enum quern_status s = QUERN_OK;
    const char *name = dir && alone ? NULL : base_name(pl, input, err);
    if (!(dir && alone) && !name)
        s = QUERN_EMEMORY;
    else if (dir)
        s = add_dir(pl, input, name, 0, err);
    else
        s = add_path(pl, input, name, 0, err);
    pl->k->directory |= dir || !alone;
    archive_leave(a); /* its models hold it */
    return s;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct packed_file *)a)->name, ((const struct packed_file *)b)->name);
}

static enum quern_status add_inputs(struct planner *pl, struct quern_error *err)
{
    struct packing *k = pl->k;
    for (size_t i = 0; i < pl->r->ninputs; i++)
        TRY(add_input(pl, pl->r->inputs[i], err));
    if (k->nfiles == 0)
        return in_file(err, pl->r->inputs[0],
                       fail(err, QUERN_EUSAGE, "no-model", "there is nothing to pack"));
    qsort(k->files, k->nfiles, sizeof *k->files, by_name);
    for (uint32_t i = 1; i < k->nfiles; i++)
        if (by_name(&k->files[i - 1], &k->files[i]) == 0)
            return in_file(err, k->files[i].model->path,
                           fail(err, QUERN_EUSAGE, "duplicate",
                                "two inputs have a file of this name" WANT
                                "expected different names"));
    return QUERN_OK;
}

/* ---- runs ----------------------------------------------------------------------------------- */

static enum quern_status add_run(struct planner *pl, uint32_t file, const struct tensor *t,
                                 uint64_t first, uint64_t nbytes, struct quern_error *err)
{
    struct packing *k = pl->k;
    void *items = k->runs;
    const bool ok = grow(&items, k->nruns, &pl->run_capacity, sizeof *k->runs);
    k->runs = items;
    if (!ok)
        return fail_memory(err, pl->run_capacity * 2 * sizeof *k->runs);
    /* stored: until there is a step that says how long it is. */
    k->runs[k->nruns] = (struct packed_run){
        .file = file, .same = k->nruns, .tensor = t, .first = first, .stored = nbytes};
    k->nruns++;
    return QUERN_OK;
}

/* JSON has to hold the name. */
static bool can_name(struct str name)
{
    return name.n > 0 && utf8_valid(name, NULL) && !memchr(name.p, '\0', name.n);
}

/* Tensors, and what lies before, between and behind them. */
static enum quern_status cut_file(struct planner *pl, uint32_t file, struct quern_error *err)
{
    struct packed_file *f = &pl->k->files[file];
    const struct model *m = f->model;
    uint64_t at = 0;
    f->first_run = pl->k->nruns;
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        if (t->nbytes == 0 || t->offset < at || !can_name(t->name))
            continue;
        if (t->offset > at)
            TRY(add_run(pl, file, NULL, at, t->offset - at, err));
        TRY(add_run(pl, file, t, t->offset, t->nbytes, err));
        at = t->offset + t->nbytes;
    }
    if (at < f->nbytes)
        TRY(add_run(pl, file, NULL, at, f->nbytes - at, err));
    f->nruns = pl->k->nruns - f->first_run;
    return QUERN_OK;
}

/* ---- runs that are the same ----------------------------------------------------------------- */

#define PEEK_BYTES 4096u

/* What two runs must have in common before they are read side by side. */
struct peek {
    uint64_t nbytes, sum;
    uint32_t run;
};

static int by_peek(const void *a, const void *b)
{
    const struct peek *x = a, *y = b;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? -1 : 1;
    if (x->sum != y->sum)
        return x->sum < y->sum ? -1 : 1;
    return x->run < y->run ? -1 : x->run > y->run;
}

/* The middle of a run; some beginnings are alike. */
static enum quern_status peek_at(const struct packing *k, struct peek *p, struct quern_error *err)
{
    uint8_t bytes[PEEK_BYTES];
    const struct packed_run *run = &k->runs[p->run];
    const uint64_t n = p->nbytes < sizeof bytes ? p->nbytes : sizeof bytes;
    TRY(model_pread(k->files[run->file].model, 0, bytes, (size_t)n,
                    run->first + (p->nbytes - n) / 2, err));
    p->sum = xxh64(bytes, (size_t)n);
    return QUERN_OK;
}

/* Only runs that share their length with another are looked at. */
static enum quern_status peek_alike(const struct packing *k, struct peek *peeks,
                                    struct quern_error *err)
{
    for (uint32_t i = 0; i < k->nruns; i++)
        peeks[i] = (struct peek){.nbytes = k->runs[i].stored, .run = i};
    qsort(peeks, k->nruns, sizeof *peeks, by_peek);
    for (uint32_t i = 0; i < k->nruns; i++) {
        const bool alike = (i > 0 && peeks[i - 1].nbytes == peeks[i].nbytes) ||
                           (i + 1 < k->nruns && peeks[i + 1].nbytes == peeks[i].nbytes);
        if (alike)
            TRY(peek_at(k, &peeks[i], err));
    }
    qsort(peeks, k->nruns, sizeof *peeks, by_peek);
    return QUERN_OK;
}

/* Each run that begins a row of equals is what the others of the row are compared with. */
static enum quern_status find_same(struct planner *pl, struct quern_error *err)
{
    struct packing *k = pl->k;
    struct peek *peeks = calloc(k->nruns + 1u, sizeof *peeks);
    if (!peeks)
        return fail_memory(err, k->nruns * sizeof *peeks);
    const enum quern_status s = peek_alike(k, peeks, err);
    for (uint32_t i = 1, first = 0; s == QUERN_OK && i < k->nruns; i++) {
        if (peeks[i].nbytes == peeks[first].nbytes && peeks[i].sum == peeks[first].sum)
            k->runs[peeks[i].run].same = peeks[first].run;
        else
            first = i;
    }
    free(peeks);
    return s;
}

/* ---- the base ------------------------------------------------------------------------------- */

static bool same_shape(const struct tensor *a, const struct tensor *b)
{
    return a->dtype == b->dtype && a->ndims == b->ndims && a->nbytes == b->nbytes &&
           (a->ndims == 0 || memcmp(a->dims, b->dims, a->ndims * sizeof *a->dims) == 0);
}

/* The way from the directory of the output to the base, where both have one; else as it is. */
static const char *relative_path(struct arena *arena, const char *output, const char *base)
{
    char *own = realpath(base, NULL);
    const char *name = path_base(output);
    char *dir = name == output ? strdup(".") : strndup(output, (size_t)(name - output));
    char *from = dir ? realpath(dir, NULL) : NULL;
    const char *made = NULL;
    if (own && from) {
        size_t same = 0;
        for (size_t i = 0; from[i] == own[i]; i++) {
            const bool ends = (!from[i + 1] || from[i + 1] == '/') && own[i] != '/' &&
                              (!own[i + 1] || own[i + 1] == '/');
            same = ends ? i + 1 : same;
            if (!from[i])
                break;
        }
        made = own + same + (own[same] == '/');
        made = arena_printf(arena, "%s", made);
        for (const char *at = from + same; made && *at; at++)
            if (*at == '/' && at[1])
                made = arena_printf(arena, "../%s", made);
    }
    free(own);
    free(from);
    free(dir);
    return made ? made : arena_printf(arena, "%s", base);
}

static enum quern_status probe_base(struct planner *pl, struct quern_error *err)
{
    struct packing *k = pl->k;
    const struct tensor **tensors = calloc(k->nruns + 1u, sizeof *tensors);
    uint32_t n = 0;
    if (!tensors)
        return fail_memory(err, k->nruns * sizeof *tensors);
    for (uint32_t i = 0; i < k->nruns; i++)
        if (k->runs[i].base)
            tensors[n++] = k->runs[i].base;
    const enum quern_status s = pack_probe(k->base, tensors, n, k->base_probe, err);
    free(tensors);
    if (s == QUERN_OK && n == 0)
        return in_file(
            err, pl->r->base,
            fail(err, QUERN_EUSAGE, "base",
                 "no tensor of the inputs has one of the same name, type and shape here" WANT
                 "expected the model that they were made from"));
    return s;
}

static enum quern_status use_base(struct planner *pl, struct quern_error *err)
{
    struct packing *k = pl->k;
    TRY(model_open(pl->r->base, &k->base, err));
    const enum quern_status added = plan_add_model(pl->plan, k->base, err);
    if (added != QUERN_OK) {
        model_close(k->base);
        k->base = NULL;
        return added;
    }
    k->base_path = relative_path(&pl->plan->arena, pl->r->output, pl->r->base);
    if (!k->base_path)
        return fail_memory(err, PATH_MAX);
    if (!utf8_valid(str_from(k->base_path), NULL))
        return fail_name(pl->r->base, "its path is not UTF-8", err);
    for (uint32_t i = 0; i < k->nruns; i++) {
        struct packed_run *run = &k->runs[i];
        const struct tensor *t = run->tensor ? model_find(k->base, run->tensor->name) : NULL;
        run->base = t && same_shape(t, run->tensor) ? t : NULL;
    }
    return probe_base(pl, err);
}

/* ---- steps ---------------------------------------------------------------------------------- */

/* A tensor, or a part of a file, as bytes. */
static enum quern_status view_bytes(struct planner *pl, struct model *m, const struct tensor *t,
                                    struct str name, uint64_t first, uint64_t nbytes,
                                    struct source *out, struct quern_error *err)
{
    struct tensor *bytes = ARENA_NEW(&pl->plan->arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(&pl->plan->arena, uint64_t, 1);
    if (!bytes || !dims)
        return fail_memory(err, sizeof *bytes);
    *dims = nbytes;
    *bytes = (struct tensor){.name = name,
                             .dims = dims,
                             .ndims = 1,
                             .dtype = DTYPE_U8,
                             .offset = first,
                             .nbytes = nbytes,
                             .nelems = nbytes,
                             .file = t ? t->file : 0};
    *out = (struct source){.model = m, .tensor = bytes};
    return QUERN_OK;
}

static enum quern_status add_step(struct planner *pl, uint32_t i, struct quern_error *err)
{
    struct packing *k = pl->k;
    struct packed_run *run = &k->runs[i];
    const struct packed_file *f = &k->files[run->file];
    const uint64_t nbytes = run->stored;
    const struct str name = run->tensor ? run->tensor->name : str_from(f->name);
    struct source *sources = ARENA_NEW(&pl->plan->arena, struct source, 3);
    uint8_t n = 1;
    if (!sources)
        return fail_memory(err, 3 * sizeof *sources);
    TRY(view_bytes(pl, f->model, run->tensor, name, run->first, nbytes, &sources[0], err));
    if (run->same != i) {
        const struct packed_run *same = &k->runs[run->same];
        TRY(view_bytes(pl, k->files[same->file].model, same->tensor, name, same->first, nbytes,
                       &sources[n++], err));
    }
    if (run->base)
        TRY(view_bytes(pl, k->base, run->base, run->base->name, run->base->offset, nbytes,
                       &sources[n++], err));
    pl->plan->steps[i] = (struct step){.name = name,
                                       .dims = sources[0].tensor->dims,
                                       .ndims = 1,
                                       .dtype = DTYPE_U8,
                                       .round_dtype = DTYPE_COUNT,
                                       .nsources = n,
                                       .sources = sources,
                                       .op = &op_copy,
                                       .nelems = nbytes,
                                       .nbytes = nbytes};
    run->stored = 0;
    run->first_chunk = k->nchunks;
    const uint64_t chunks = nbytes / PACK_CHUNK + (nbytes % PACK_CHUNK != 0);
    const unsigned width = run->tensor ? chunk_width(run->tensor->dtype) : 0;
    const uint64_t frames = chunks * (width ? width : 1);
    if (k->nchunks + chunks > UINT32_MAX / 8 || k->frame_capacity + frames > UINT32_MAX / 8)
        return fail(err, QUERN_EUNSUPPORTED, "too-large", "the model is too large for one pack");
    k->nchunks += (uint32_t)chunks;
    k->frame_capacity += (uint32_t)frames;
    return QUERN_OK;
}

static enum quern_status add_steps(struct planner *pl, struct quern_error *err)
{
    struct packing *k = pl->k;
    struct plan *p = pl->plan;
    p->steps = ARENA_NEW(&p->arena, struct step, k->nruns + 1u);
    if (!p->steps)
        return fail_memory(err, k->nruns * sizeof *p->steps);
    p->nsteps = k->nruns;
    for (uint32_t i = 0; i < k->nruns; i++)
        TRY(add_step(pl, i, err));
    k->letters = arena_array(&p->arena, k->nchunks + 1u, 1);
    k->frames = ARENA_NEW(&p->arena, uint32_t, k->frame_capacity + 1u);
    if (!k->letters || !k->frames)
        return fail_memory(err, k->frame_capacity * sizeof *k->frames);
    k->nchunks = 0; /* none has been taken */
    return QUERN_OK;
}

/* ---- the plan ------------------------------------------------------------------------------- */

static enum quern_status lay_out(struct planner *pl, struct quern_error *err)
{
    struct plan *p = pl->plan;
    struct packing *k = pl->k;
    p->files = ARENA_NEW(&p->arena, struct plan_file, 1);
    if (!p->files)
        return fail_memory(err, sizeof *p->files);
    p->nfiles = 1;
    p->files[0].path = arena_printf(&p->arena, "%s", pl->r->output);
    if (!p->files[0].path)
        return fail_memory(err, strlen(pl->r->output));
    p->force = pl->r->force;
    /* The directory as text, and compressed, with the table: at the end of the run. */
    p->held_bytes = k->nfiles * sizeof *k->files + k->nruns * (sizeof *k->runs + UINT64_C(512)) +
                    k->frame_capacity * UINT64_C(8) + k->nchunks;
    for (uint32_t i = 0; i < k->nfiles; i++)
        if (k->files[i].nbytes == 0) {
            struct sha256 s;
            sha256_start(&s);
            sha256_end(&s, k->files[i].sha256);
        }
    return QUERN_OK;
}

static enum quern_status build(struct planner *pl, struct quern_error *err)
{
    struct stat st;
    if (stat(pl->r->output, &st) == 0) {
        pl->output_there = true;
        pl->output = (struct file_id){.dev = st.st_dev, .ino = st.st_ino};
    }
    TRY(add_inputs(pl, err));
    for (uint32_t i = 0; i < pl->k->nfiles; i++)
        TRY(cut_file(pl, i, err));
    TRY(find_same(pl, err));
    if (pl->r->base)
        TRY(use_base(pl, err));
    TRY(add_steps(pl, err));
    return lay_out(pl, err);
}

static void end(struct sink *sink)
{
    struct packing *k = (struct packing *)sink;
    packing_end(k);
    free(k->files);
    free(k->runs);
}

enum quern_status plan_pack(const struct pack_request *r, struct plan **out,
                            struct quern_error *err)
{
    struct plan *p = plan_new("pack", err);
    if (!p)
        return QUERN_EMEMORY;
    p->owns_models = true;
    struct packing *k = ARENA_NEW(&p->arena, struct packing, 1);
    struct planner pl = {.r = r, .plan = p, .k = k};
    enum quern_status s = k ? QUERN_OK : fail_memory(err, sizeof *k);
    if (k) {
        k->plan = p;
        k->level = r->level;
        k->thorough = r->thorough;
        packing_fill_sink(k);
        k->sink.end = end;
        p->sink = &k->sink;
        s = build(&pl, err);
    }
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}

/* ---- what came of it ------------------------------------------------------------------------ */

static int by_bytes(const void *a, const void *b)
{
    const struct pack_share *x = a, *y = b;
    if (x->nbytes != y->nbytes)
        return x->nbytes < y->nbytes ? 1 : -1;
    return strcmp(x->kind, y->kind);
}

uint32_t pack_shares(const struct plan *p, struct pack_share *shares)
{
    const struct packing *k = (const struct packing *)p->sink;
    struct pack_share all[DTYPE_COUNT + 1] = {{0}};
    uint32_t n = 0;
    for (uint32_t i = 0; i < k->nruns; i++) {
        const struct packed_run *run = &k->runs[i];
        struct pack_share *s = &all[run->tensor ? run->tensor->dtype : DTYPE_COUNT];
        s->count++;
        s->nbytes += p->steps[i].nbytes;
        s->stored += run->stored;
    }
    for (uint32_t d = 0; d <= DTYPE_COUNT; d++) {
        all[d].kind = d < DTYPE_COUNT ? dtype_traits[d].name : "files";
        if (d == DTYPE_COUNT && all[d].count)
            all[d].count = k->nfiles;
        if (all[d].count)
            shares[n++] = all[d];
    }
    qsort(shares, n, sizeof *shares, by_bytes);
    return n;
}

uint64_t pack_stored_bytes(const struct plan *p)
{
    return p->files[0].nbytes;
}

uint64_t pack_source_bytes(const struct plan *p)
{
    const struct packing *k = (const struct packing *)p->sink;
    uint64_t total = 0;
    for (uint32_t i = 0; i < k->nfiles; i++)
        total += k->files[i].nbytes;
    return total;
}
