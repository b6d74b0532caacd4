/* publish.c - outputs of a run appear together and only when complete. */
#include "publish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_SIDE_FILE (256u << 20)

/* The output must not be one of the inputs, by whatever name. */
static enum quern_status check_not_input(const struct plan *p, const char *path,
                                         struct quern_error *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return QUERN_OK;
    for (uint32_t m = 0; m < p->nmodels; m++)
        for (uint32_t i = 0; i < p->models[m]->nfiles; i++) {
            const struct file_id *id = &p->models[m]->files[i].id;
            if (id->dev == st.st_dev && id->ino == st.st_ino)
                return in_file(err, path,
                               fail(err, QUERN_EUSAGE, "output-is-input",
                                    "the output is one of the inputs" WANT "choose another name"));
        }
    return QUERN_OK;
}

/* An output directory must not be (or be made from) the directory of an input. */
static enum quern_status check_dir_not_input(const struct plan *p, struct quern_error *err)
{
    struct stat dir, in;
    if (stat(p->dir, &dir) != 0)
        return QUERN_OK;
    for (uint32_t m = 0; m < p->nmodels; m++)
        if (p->models[m]->dir && stat(p->models[m]->dir, &in) == 0 && in.st_dev == dir.st_dev &&
            in.st_ino == dir.st_ino)
            return in_file(err, p->dir,
                           fail(err, QUERN_EUSAGE, "output-is-input",
                                "the output is the directory of an input" WANT
                                "choose another name"));
    return QUERN_OK;
}

enum quern_status publish_check(const struct plan *p, struct quern_error *err)
{
    if (p->dir) {
        TRY(check_dir_not_input(p, err));
        return output_check(p->dir, true, p->force, err);
    }
    for (uint32_t i = 0; i < p->nfiles; i++) {
        TRY(check_not_input(p, p->files[i].path, err));
        TRY(output_check(p->files[i].path, false, p->force, err));
    }
    return QUERN_OK;
}

/* All files together must fit, also when each alone would. */
static enum quern_status check_space(const struct plan *p, struct quern_error *err)
{
    const char *where = p->dir ? p->dir : p->files[0].path;
    uint64_t need = 0, space = 0;
    for (uint32_t i = 0; i < p->nfiles; i++)
        if (__builtin_add_overflow(need, p->files[i].nbytes, &need))
            need = UINT64_MAX;
    TRY(output_free_space(where, &space, err));
    if (need <= space)
        return QUERN_OK;
    return in_file(err, where,
                   fail(err, QUERN_EIO, "disk-full",
                        "the output needs %" PRIu64 " bytes and the disk has %" PRIu64 " free",
                        need, space));
}

/* Path of an entry of the output directory while it is being made; malloc'ed. */
static char *inside(const struct publication *pub, const char *name)
{
    char *path;
    return asprintf(&path, "%s/%s", pub->dir.part_path, name) < 0 ? NULL : path;
}

static enum quern_status begin_file(const struct plan *p, struct publication *pub, uint32_t i,
                                    struct quern_error *err)
{
    if (!p->dir)
        return output_begin(&pub->outs[i], p->files[i].path, p->files[i].nbytes, err);
    char *path = inside(pub, p->files[i].path);
    if (!path)
        return fail_memory(err, strlen(p->files[i].path));
    const enum quern_status s = output_begin(&pub->outs[i], path, p->files[i].nbytes, err);
    free(path);
    return s;
}

enum quern_status publish_begin(const struct plan *p, struct publication *pub,
                                struct quern_error *err)
{
    TRY(publish_check(p, err));
    TRY(check_space(p, err));
    pub->outs = calloc(p->nfiles ? p->nfiles : 1, sizeof *pub->outs);
    if (!pub->outs)
        return fail_memory(err, p->nfiles * sizeof *pub->outs);
    if (p->dir)
        TRY(output_dir_begin(&pub->dir, p->dir, err));
    for (uint32_t i = 0; i < p->nfiles; i++)
        TRY(begin_file(p, pub, i, err));
    return QUERN_OK;
}

static enum quern_status write_side(const struct publication *pub, const struct side_file *side,
                                    struct quern_error *err)
{
    struct arena arena = {0};
    struct output out = {0};
    struct str text = side->text;
    char *path = inside(pub, side->name);
    enum quern_status s = path ? QUERN_OK : fail_memory(err, strlen(side->name));
    if (s == QUERN_OK && side->copy_from)
        s = read_small_file(side->copy_from, MAX_SIDE_FILE, &arena, &text, err);
    if (s == QUERN_OK)
        s = output_begin(&out, path, text.n, err);
    if (s == QUERN_OK)
        s = pwrite_full(out.fd, text.p, text.n, 0, path, err);
    if (s == QUERN_OK)
        s = output_commit(&out, false, err);
    output_abort(&out);
    free(path);
    arena_free(&arena);
    return s;
}

/* What of a file is no tensor. */
static enum quern_status write_header(const struct plan_file *f, int fd, uint64_t *bytes_moved,
                                      struct quern_error *err)
{
    TRY(pwrite_full(fd, f->header.p, f->header.n, 0, f->path, err));
    *bytes_moved += f->header.n;
    for (uint32_t i = 0; i < f->ninsets; i++) {
        const struct inset *in = &f->insets[i];
        TRY(pwrite_full(fd, in->text.p, in->text.n, in->offset, f->path, err));
        *bytes_moved += in->text.n;
    }
    return QUERN_OK;
}

enum quern_status publish_commit(const struct plan *p, struct publication *pub,
                                 uint64_t *bytes_moved, struct quern_error *err)
{
    for (uint32_t i = 0; i < p->nfiles; i++)
        TRY(write_header(&p->files[i], pub->outs[i].fd, bytes_moved, err));
    for (uint32_t i = 0; i < p->nfiles; i++)
        TRY(output_commit(&pub->outs[i], p->force && !p->dir, err));
    for (uint32_t i = 0; i < p->nsides; i++)
        TRY(write_side(pub, &p->sides[i], err));
    return p->dir ? output_dir_commit(&pub->dir, p->force, err) : QUERN_OK;
}

void publish_end(const struct plan *p, struct publication *pub)
{
    for (uint32_t i = 0; pub->outs && i < p->nfiles; i++)
        output_abort(&pub->outs[i]);
    free(pub->outs);
    output_dir_abort(&pub->dir);
    *pub = (struct publication){0};
}
