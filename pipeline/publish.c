/* publish.c - outputs of a run appear together and only when complete. */
#include "publish.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/io.h"
#include "formats/pack.h"
#include "passes.h"
#include "provenance.h"

#define SYNC_SECONDS  1.0
#define MAX_SIDE_FILE (256u << 20)

static bool has_file(const struct model *m, const struct stat *st)
{
    for (uint32_t i = 0; i < m->nfiles; i++)
        if (m->files[i].id.dev == st->st_dev && m->files[i].id.ino == st->st_ino)
            return true;
    return false;
}

static bool same_dir(const char *path, size_t n, const struct stat *dir)
{
    char name[PATH_MAX] = ".";
    struct stat st;
    if (n >= sizeof name)
        return false;
    if (n > 0)
        memcpy(name, path, n);
    name[n ? n : 1] = '\0';
    return stat(name, &st) == 0 && st.st_dev == dir->st_dev && st.st_ino == dir->st_ino;
}

/* Its directory, or that of one of its files. */
static bool lies_in(const struct model *m, const struct stat *dir)
{
    if (m->dir && same_dir(m->dir, strlen(m->dir), dir))
        return true;
    for (uint32_t i = 0; i < m->nfiles; i++) {
        const char *path = m->archive ? m->archive->path : m->files[i].path;
        if (same_dir(path, (size_t)(path_base(path) - path), dir))
            return true;
    }
    return false;
}

/* One of the inputs, or what a pack among them has as its base: without it that is lost, too. */
static bool is_input(const struct plan *p, const struct stat *st,
                     bool (*is)(const struct model *m, const struct stat *st))
{
    for (uint32_t i = 0; i < p->nmodels; i++)
        for (const struct model *m = p->models[i]; m; m = pack_base(m->archive))
            if (is(m, st))
                return true;
    return false;
}

/* The output must not be one of the inputs, by whatever name. */
static enum quern_status check_not_input(const struct plan *p, const char *path,
                                         struct quern_error *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && is_input(p, &st, has_file))
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "output-is-input",
                            "the output is one of the inputs" WANT "choose another name"));
    return QUERN_OK;
}

/* An output directory must not be (or be made from) the directory of an input. */
static enum quern_status check_dir_not_input(const struct plan *p, struct quern_error *err)
{
    struct stat st;
    if (stat(p->dir, &st) == 0 && is_input(p, &st, lies_in))
        return in_file(err, p->dir,
                       fail(err, QUERN_EUSAGE, "output-is-input",
                            "the output is the directory of an input" WANT "choose another name"));
    return QUERN_OK;
}

/* ---- begin ---------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void tell(const struct quern_run_options *options,
                                                       const char *format, ...)
{
    char text[1024];
    va_list args;
    if (!options->note)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    options->note(text, options->user);
}

/* The file lies under its final name already: a run ended while it gave several their names. */
static bool is_final(const struct publication *pub, uint32_t file)
{
    return pub->journal && journal_place_of(pub->journal, file) == PLACE_FINAL;
}

static bool all_final(const struct plan *p, const struct publication *pub)
{
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (!is_final(pub, i))
            return false;
    return true;
}

static enum quern_status check_outputs(const struct plan *p, const struct publication *pub,
                                       struct quern_error *err)
{
    const char *first = p->dir ? p->dir : p->nfiles ? p->files[0].path : "";
    if (strcmp(first, "-") == 0)
        return fail(err, QUERN_EUSAGE, "usage",
                    "the OUTPUT is '-': models are not written to standard output" WANT
                    "expected a name (./- for one that is called so)");
    if (p->dir && str_ends(str_from(p->dir), PACK_SUFFIX))
        return in_file(err, p->dir,
                       fail(err, QUERN_EUSAGE, "usage",
                            "this directory would have the name of a pack" WANT
                            "expected another name (quern pack makes packs)"));
    if (!all_final(p, pub))
        TRY(provenance_check_place(p, err));
    if (p->dir) {
        TRY(check_dir_not_input(p, err));
        return is_final(pub, 0) ? QUERN_OK : output_check(p->dir, true, p->force, err);
    }
    for (uint32_t i = 0; i < p->nfiles; i++) {
        if (is_final(pub, i))
            continue;
        TRY(check_not_input(p, p->files[i].path, err));
        TRY(output_check(p->files[i].path, false, p->force, err));
    }
    return QUERN_OK;
}

enum quern_status publish_check(const struct plan *p, struct quern_error *err)
{
    const struct publication none = {0};
    return check_outputs(p, &none, err);
}

/* Directories of the output directory that the name leads through. */
static enum quern_status make_subdirs(const struct publication *pub, const char *name,
                                      struct quern_error *err)
{
    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        char *path;
        if (asprintf(&path, "%s/%.*s", pub->dir.part_path, (int)(slash - name), name) < 0)
            return fail_memory(err, strlen(name));
        const enum quern_status s = output_make_dir(path, err);
        free(path);
        TRY(s);
    }
    return QUERN_OK;
}

/* Path of an entry of the output directory while it is being made; malloc'ed. */
static char *inside(const struct publication *pub, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", pub->dir.part_path, name) < 0 ? NULL : path;
}

/* What lies under the names of the part files, from an earlier run. */
static uint64_t part_bytes(const struct plan *p)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->nfiles; i++) {
        struct stat st;
        char *part = output_beside(p->dir ? p->dir : p->files[i].path, PART_SUFFIX), *path = part;
        if (part && p->dir && asprintf(&path, "%s/%s", part, p->files[i].path) < 0)
            path = NULL;
        if (path && stat(path, &st) == 0 && S_ISREG(st.st_mode))
            total += (uint64_t)st.st_blocks * 512;
        if (path != part)
            free(path);
        free(part);
    }
    return total;
}

/* All files together must fit, also when each alone would. */
static enum quern_status check_space(const struct plan *p, struct quern_error *err)
{
    const char *where = p->dir ? p->dir : p->files[0].path;
    const uint64_t there = part_bytes(p);
    uint64_t need = 0, space = 0;
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (!p->files[i].made && !p->files[i].shared &&
            __builtin_add_overflow(need, p->files[i].nbytes, &need))
            need = UINT64_MAX;
    TRY(output_free_space(where, &space, err));
    if (need <= there || need - there <= space)
        return QUERN_OK;
    return in_file(err, where,
                   fail(err, QUERN_EIO, "disk-full",
                        "the output needs %" PRIu64 " bytes and the disk has %" PRIu64 " free",
                        need - there, space));
}

static enum quern_status begin_output(const struct plan_file *f, struct output *o, const char *path,
                                      unsigned flags, struct quern_error *err)
{
    if (f->shared)
        return output_share(o, f->shared, f->nbytes, err);
    return f->made ? output_adopt(o, path, f->made, flags, err)
                   : output_begin(o, path, f->nbytes, flags, err);
}

static enum quern_status begin_file(const struct plan *p, struct publication *pub, uint32_t i,
                                    unsigned flags, struct quern_error *err)
{
    const struct plan_file *f = &p->files[i];
    if (!p->dir)
        return begin_output(f, &pub->parts.outs[i], f->path, flags, err);
    TRY(make_subdirs(pub, f->path, err));
    char *path = inside(pub, f->path);
    if (!path)
        return fail_memory(err, strlen(f->path));
    const enum quern_status s =
        begin_output(f, &pub->parts.outs[i], path, flags | OUTPUT_INSIDE, err);
    free(path);
    return s;
}

static enum quern_status begin_files(const struct plan *p, struct publication *pub, bool resumes,
                                     struct quern_error *err)
{
    TRY(parts_open(&pub->parts, p->nfiles, err));
    if (p->dir)
        TRY(output_dir_begin(&pub->dir, p->dir, resumes, err));
    for (uint32_t i = 0; i < p->nfiles; i++) {
        if (is_final(pub, i))
            continue;
        TRY(begin_file(p, pub, i, resumes ? OUTPUT_KEEP : 0, err));
        TRY(parts_add(&pub->parts, i, err));
    }
    return QUERN_OK;
}

/* Everything has its final name: what may be left over is the directory that was replaced. */
static enum quern_status finish_off(const struct plan *p, struct publication *pub,
                                    const struct quern_run_options *options,
                                    struct quern_error *err)
{
    pub->complete = pub->begun = true;
    tell(options, "the output is complete already");
    if (!p->dir || !p->force)
        return QUERN_OK;
    struct output_dir old;
    TRY(output_dir_begin(&old, p->dir, false, err));
    output_dir_abort(&old);
    return QUERN_OK;
}

static void tell_start(const struct plan *p, const struct publication *pub, bool resumes,
                       const char *why, const struct quern_run_options *options)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->nsteps; i++)
        total += written_bytes(&p->steps[i]);
    if (resumes)
        tell(options, "going on with an interrupted run: %.1f %% of the output is there",
             total ? 100.0 * (double)journal_kept_bytes(pub->journal) / (double)total : 100.0);
    else if (options->resume || (p->goes_on && why))
        tell(options, "starting from the beginning: %s",
             why ? why : "no interrupted run has left anything to go on with");
    else if (!p->goes_on && journal_holds_work(pub->journal))
        tell(options, "starting from the beginning: what an interrupted run left is written over "
                      "(with --resume it would be kept)");
}

/* Does the journal know of a run to go on with? When nobody asked for that, one that does not fit
 * is as good as none. */
static enum quern_status look_back(const struct plan *p, const struct publication *pub, bool asked,
                                   bool *resumes, const char **why, struct quern_error *err)
{
    if (!asked && !p->goes_on)
        return QUERN_OK;
    const enum quern_status s = journal_load(pub->journal, resumes, why, err);
    if (asked || s == QUERN_OK || s == QUERN_EMEMORY)
        return s;
    *resumes = false;
    *why = "the interrupted run was another one, or an input has changed since";
    return QUERN_OK;
}

enum quern_status publish_begin(const struct plan *p, const struct quern_run_options *options,
                                struct publication *pub, struct quern_error *err)
{
    bool resumes = false;
    const char *why = NULL;
    uint64_t space;
    const bool looks = options->resume || p->goes_on;
    if (!looks)
        TRY(publish_check(p, err));
    TRY(output_free_space(p->dir ? p->dir : p->files[0].path, &space, err));
    TRY(journal_open(p, &pub->journal, err));
    TRY(look_back(p, pub, options->resume, &resumes, &why, err));
    if (looks)
        TRY(check_outputs(p, pub, err));
    bool complete = resumes;
    for (uint32_t i = 0; resumes && i < p->nfiles; i++) {
        complete &= is_final(pub, i);
        pub->naming |= is_final(pub, i);
    }
    if (complete)
        return finish_off(p, pub, options, err);
    TRY(check_space(p, err));
    tell_start(p, pub, resumes, why, options);
    if (!resumes)
        TRY(journal_forget(pub->journal, err));
    pub->begun = true;
    TRY(begin_files(p, pub, resumes, err));
    return journal_start(pub->journal, &pub->parts,
                         options->sync_seconds > 0 ? options->sync_seconds : SYNC_SECONDS, err);
}

/* ---- end ------------------------------------------------------------------------------------ */

static enum quern_status write_side(const struct publication *pub, const struct side_file *side,
                                    struct quern_error *err)
{
    struct arena arena = {0};
    struct str text = side->text;
    char *path = inside(pub, side->name);
    enum quern_status s = path ? QUERN_OK : fail_memory(err, strlen(side->name));
    if (s == QUERN_OK && side->copy_from)
        s = read_small_file(side->copy_from, MAX_SIDE_FILE, &arena, &text, err);
    if (s == QUERN_OK)
        s = output_write(path, text, OUTPUT_INSIDE, false, err);
    free(path);
    arena_free(&arena);
    return s;
}

/* What of a file is no tensor. */
static enum quern_status write_lead(const struct plan *p, uint32_t file, int fd,
                                    uint64_t *bytes_moved, struct quern_error *err)
{
    const struct plan_file *f = &p->files[file];
    const struct str header = provenance_header(p, file);
    TRY(pwrite_full(fd, header.p, header.n, 0, f->path, err));
    *bytes_moved += header.n;
    for (uint32_t i = 0; i < f->ninsets; i++) {
        const struct inset *in = &f->insets[i];
        TRY(pwrite_full(fd, in->text.p, in->text.n, in->offset, f->path, err));
        *bytes_moved += in->text.n;
    }
    return QUERN_OK;
}

static enum quern_status write_header(const struct plan *p, struct publication *pub, uint32_t file,
                                      uint64_t *bytes_moved, struct quern_error *err)
{
    int fd;
    TRY(parts_take(&pub->parts, file, &fd, err));
    const enum quern_status s = write_lead(p, file, fd, bytes_moved, err);
    parts_give(&pub->parts, file);
    return s;
}

/* While several files get their names, or one and then its record, the journal must know that all
 * of them are complete, or be of no use. */
static enum quern_status settle_journal(const struct plan *p, struct publication *pub,
                                        struct quern_error *err)
{
    const char *trouble;
    const bool stepwise = (p->nfiles > 1 && !p->dir) || (p->provenance && p->provenance->path);
    TRY(journal_stop(pub->journal, stepwise, &trouble, err));
    return trouble ? journal_forget(pub->journal, err) : QUERN_OK;
}

/* Where an output lies now: under its final name, or still in the making. */
static char *place_of(const struct plan *p, const struct publication *pub, uint32_t i)
{
    const char *name = i < p->nfiles ? p->files[i].path : p->sides[i - p->nfiles].name;
    const struct output *o = pub->parts.outs && i < p->nfiles ? &pub->parts.outs[i] : NULL;
    char *path;
    if (p->dir && !pub->complete)
        return inside(pub, name);
    if (p->dir)
        return asprintf(&path, "%s/%s", p->dir, name) < 0 ? NULL : path;
    return strdup(o && o->open ? o->part_path : name);
}

/* Before they get their names: who stops this can go on with it. */
static enum quern_status take_outputs(const struct plan *p, const struct publication *pub,
                                      const struct quern_run_options *options,
                                      struct quern_error *err)
{
    const uint32_t n = p->nfiles + (p->dir ? p->nsides : 0);
    char **paths = p->provenance ? calloc(n + 1u, sizeof *paths) : NULL;
    enum quern_status s = QUERN_OK;
    if (!p->provenance)
        return QUERN_OK;
    if (!paths)
        return fail_memory(err, n * sizeof *paths);
    for (uint32_t i = 0; i < n; i++)
        if (!(paths[i] = place_of(p, pub, i)))
            s = fail_memory(err, 256);
    if (s == QUERN_OK)
        s = provenance_take_outputs(p, (const char *const *)paths, options, err);
    for (uint32_t i = 0; i < n; i++)
        free(paths[i]);
    free(paths);
    return s;
}

enum quern_status publish_commit(const struct plan *p, const struct quern_run_options *options,
                                 struct publication *pub, uint64_t *bytes_moved,
                                 struct quern_error *err)
{
    if (pub->complete) {
        TRY(take_outputs(p, pub, options, err));
        return provenance_write(p, true, err);
    }
    if (p->sink && p->sink->finish && !pub->naming)
        TRY(p->sink->finish(p->sink, &pub->parts, err));
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (pub->parts.outs[i].open && !p->files[i].made)
            TRY(write_header(p, pub, i, bytes_moved, err));
    for (uint32_t i = 0; i < p->nsides; i++)
        TRY(write_side(pub, &p->sides[i], err));
    TRY(take_outputs(p, pub, options, err));
    TRY(settle_journal(p, pub, err));
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (pub->parts.outs[i].open)
            TRY(output_commit(&pub->parts.outs[i], p->force && !p->dir, err));
    if (p->dir)
        TRY(output_dir_commit(&pub->dir, p->force, err));
    return provenance_write(p, p->force || pub->naming, err);
}

bool publish_end(const struct plan *p, const struct quern_run_options *options,
                 struct publication *pub, bool keep)
{
    const char *trouble = NULL;
    bool stays = false;
    if (pub->journal) {
        keep &= journal_stop(pub->journal, keep, &trouble, NULL) == QUERN_OK;
        stays = keep && journal_can_resume(pub->journal);
    }
    if (trouble)
        tell(options, "the journal could not be kept: %s", trouble);
    for (uint32_t i = 0; pub->parts.outs && i < p->nfiles; i++)
        (stays ? output_leave : output_abort)(&pub->parts.outs[i]);
    parts_close(&pub->parts);
    (stays ? output_dir_leave : output_dir_abort)(&pub->dir);
    journal_close(pub->journal, !stays && (pub->begun || !journal_holds_work(pub->journal)));
    *pub = (struct publication){0};
    return stays;
}
