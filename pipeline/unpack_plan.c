/* unpack_plan.c - plan the files of a pack as they were, each checked by its SHA-256. */
#include <stdlib.h>

#include "core/io.h"
#include "formats/pack.h"
#include "pipeline/pack_plan.h"
#include "pipeline/parts.h"

struct unpacking {
    struct sink sink;
    struct plan *plan;
    struct archive *archive; /* held */
    const struct pack_file *files;
    const struct pack_run *runs; /* run i is step i */
    uint32_t nfiles, nruns;
    struct sha256 sha; /* of the file that is being taken */
    uint32_t nsound;   /* files whose checksum was right */
};

/* ---- the sink ------------------------------------------------------------------------------- */

static enum quern_status move_bytes(struct sink_tile *t, struct quern_error *err)
{
    const struct source *src = &t->step->sources[0];
    const uint64_t at = t->step->offset + t->first;
    const char *path = t->parts->outs[t->step->file].final_path;
    int fd;
    if (!t->written)
        TRY(model_pread(src->model, src->tensor->file, t->kept, (size_t)t->n, at, err));
    TRY(parts_take(t->parts, t->step->file, &fd, err));
    const enum quern_status s = t->written ? pread_full(fd, t->kept, (size_t)t->n, at, path, err)
                                           : pwrite_full(fd, t->kept, (size_t)t->n, at, path, err);
    parts_give(t->parts, t->step->file);
    return s;
}

static enum quern_status make(struct sink *sink, struct sink_tile *t, struct quern_error *err)
{
    (void)sink;
    t->moved = 2 * t->n;
    return move_bytes(t, err);
}

static enum quern_status check_digest(struct unpacking *u, uint32_t file, struct quern_error *err)
{
    const struct pack_file *f = &u->files[file];
    uint8_t digest[32];
    sha256_end(&u->sha, digest);
    if (memcmp(digest, f->sha256, sizeof digest) != 0)
        return in_file(err, u->plan->files[file].path,
                       fail(err, QUERN_EFORMAT, "sha256",
                            "the file does not come out as it went in: its SHA-256 is another" WANT
                            "expected an undamaged pack"));
    u->nsound++;
    return QUERN_OK;
}

static enum quern_status take(struct sink *sink, struct sink_tile *t, struct quern_error *err)
{
    struct unpacking *u = (struct unpacking *)sink;
    const struct pack_run *run = &u->runs[t->step - u->plan->steps];
    if (run->first + t->first == 0)
        sha256_start(&u->sha);
    sha256_add(&u->sha, t->kept, (size_t)t->n);
    if (run->first + t->first + t->n < u->files[run->file].nbytes)
        return QUERN_OK;
    return check_digest(u, run->file, err);
}

static enum quern_status finish(struct sink *sink, struct parts *parts, struct quern_error *err)
{
    struct unpacking *u = (struct unpacking *)sink;
    (void)parts;
    for (uint32_t i = 0; i < u->nfiles; i++)
        if (u->files[i].nbytes == 0) {
            sha256_start(&u->sha);
            TRY(check_digest(u, i, err));
        }
    if (u->nsound != u->nfiles)
        return fail(err, QUERN_EINTERNAL, "internal", "not every file was checked");
    return QUERN_OK;
}

static void end(struct sink *sink)
{
    archive_leave(((struct unpacking *)sink)->archive);
}

/* ---- the plan ------------------------------------------------------------------------------- */

static enum quern_status add_files(struct unpacking *u, const char *output, struct model **out,
                                   struct quern_error *err)
{
    struct plan *p = u->plan;
    struct model *m;
    p->files = ARENA_NEW(&p->arena, struct plan_file, u->nfiles + 1u);
    if (!p->files)
        return fail_memory(err, u->nfiles * sizeof *p->files);
    TRY(model_new(u->archive->path, u->nfiles ? u->nfiles : 1, &m, err));
    *out = m;
    for (uint32_t i = 0; i < u->nfiles; i++) {
        const char *path = path_join(&m->arena, u->archive->path, u->files[i].name);
        const char *name = p->dir ? u->files[i].name : output;
        p->files[i] = (struct plan_file){.path = arena_printf(&p->arena, "%s", name),
                                         .nbytes = u->files[i].nbytes};
        if (!path || !p->files[i].path)
            return fail_memory(err, strlen(name));
        TRY(model_add_file(m, path, u->files[i].name, err));
    }
    p->nfiles = u->nfiles;
    return QUERN_OK;
}

static enum quern_status add_step(struct unpacking *u, struct model *m, uint32_t i,
                                  struct quern_error *err)
{
    struct plan *p = u->plan;
    const struct pack_run *run = &u->runs[i];
    struct source *source = ARENA_NEW(&p->arena, struct source, 1);
    struct tensor *t = ARENA_NEW(&p->arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(&p->arena, uint64_t, 1);
    if (!source || !t || !dims)
        return fail_memory(err, sizeof *t);
    *dims = run->nbytes;
    *t = (struct tensor){.name = run->tensor.n ? run->tensor : str_from(u->files[run->file].name),
                         .dims = dims,
                         .ndims = 1,
                         .dtype = DTYPE_U8,
                         .offset = run->first,
                         .nbytes = run->nbytes,
                         .nelems = run->nbytes,
                         .file = run->file};
    *source = (struct source){.model = m, .tensor = t};
    p->steps[i] = (struct step){.name = t->name,
                                .dims = dims,
                                .ndims = 1,
                                .dtype = DTYPE_U8,
                                .round_dtype = DTYPE_COUNT,
                                .nsources = 1,
                                .sources = source,
                                .op = &op_copy,
                                .nelems = run->nbytes,
                                .nbytes = run->nbytes,
                                .file = run->file,
                                .offset = run->first};
    return QUERN_OK;
}

/* Of what is no pack but leads somewhere pack_open() could only say that it is no file. */
static enum quern_status check_input(const char *path, struct quern_error *err)
{
    const size_t n = pack_part(path);
    if (n > 0 && path[n])
        return fail(err, QUERN_EUSAGE, "usage",
                    "'%s' is in a pack, which is unpacked as a whole" WANT "expected '%s'",
                    quoted(str_from(path)).text, quoted((struct str){path, n}).text);
    if (path_is_dir(path))
        return in_file(
            err, path,
            fail(err, QUERN_EFORMAT, "not-a-file", "it is a directory" WANT "expected a pack"));
    return QUERN_OK;
}

static enum quern_status build(struct unpacking *u, const char *pack, const char *output,
                               struct quern_error *err)
{
    struct plan *p = u->plan;
    struct model *m = NULL;
    TRY(check_input(pack, err));
    TRY(pack_open(pack, PACK_DATA, &u->archive, err));
    const struct pack *k = pack_of(u->archive);
    u->nfiles = pack_files(k, &u->files);
    u->nruns = pack_runs(k, &u->runs);
    if (pack_is_directory(k) || u->nfiles != 1) {
        p->dir = arena_printf(&p->arena, "%s", output);
        if (!p->dir)
            return fail_memory(err, strlen(output));
    }
    enum quern_status s = add_files(u, output, &m, err);
    if (s == QUERN_OK)
        s = plan_add_model(p, m, err);
    if (s != QUERN_OK) {
        model_close(m);
        return s;
    }
    p->steps = ARENA_NEW(&p->arena, struct step, u->nruns + 1u);
    if (!p->steps)
        return fail_memory(err, u->nruns * sizeof *p->steps);
    p->nsteps = u->nruns;
    for (uint32_t i = 0; i < u->nruns; i++)
        TRY(add_step(u, m, i, err));
    return QUERN_OK;
}

enum quern_status plan_unpack(const char *pack, const char *output, bool force, struct plan **out,
                              struct quern_error *err)
{
    struct plan *p = plan_new("unpack", err);
    if (!p)
        return QUERN_EMEMORY;
    struct unpacking *u = ARENA_NEW(&p->arena, struct unpacking, 1);
    enum quern_status s = u ? QUERN_OK : fail_memory(err, sizeof *u);
    p->owns_models = true;
    p->force = force;
    if (u) {
        u->plan = p;
        u->sink = (struct sink){.tile_bytes = PACK_CHUNK,
                                .kept_bytes = PACK_CHUNK,
                                .scratch_bytes = 4096,
                                .make = make,
                                .take = take,
                                .finish = finish,
                                .end = end};
        p->sink = &u->sink;
        s = build(u, pack, output, err);
    }
    if (s == QUERN_OK)
        *out = p;
    else
        plan_free(p);
    return s;
}

uint32_t unpacked_files(const struct plan *p, const struct pack_file **files)
{
    const struct unpacking *u = (const struct unpacking *)p->sink;
    *files = u->files;
    return u->nfiles;
}
