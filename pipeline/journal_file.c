/* journal_file.c - write and read journals. What is read may be torn or from another run. */
#include "journal_file.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/io.h"
#include "identity.h"

#define MAGIC       UINT64_C(0x314C4E4A4E525551) /* "QURNJNL1" */
#define CHECK_BYTES 8u

/* Followed by nfiles inodes, ninputs digests and the digest of all of it. */
struct head {
    uint64_t magic;
    char version[32];
    uint8_t plan[32];
    uint64_t dir_ino;
    uint32_t nfiles, ninputs;
};

enum quern_status journal_file_open(struct journal_file *f, const char *output,
                                    struct quern_error *err)
{
    struct stat st;
    *f = (struct journal_file){.fd = -1, .path = output_beside(output, JOURNAL_SUFFIX)};
    if (!f->path)
        return fail_memory(err, strlen(output));
    TRY(output_lock(f->path, output, &f->fd, err));
    if (fstat(f->fd, &st) != 0)
        return fail_errno(err, f->path, "stat");
    f->old_bytes = (uint64_t)st.st_size;
    return QUERN_OK;
}

void journal_file_close(struct journal_file *f, bool remove)
{
    struct stat mine, named;
    if (f->reader)
        fclose(f->reader);
    if (f->fd >= 0 && remove && fstat(f->fd, &mine) == 0 && lstat(f->path, &named) == 0 &&
        mine.st_ino == named.st_ino && mine.st_dev == named.st_dev)
        unlink(f->path);
    if (f->fd >= 0)
        close(f->fd);
    free(f->path);
    *f = (struct journal_file){.fd = -1};
}

/* ---- the head ------------------------------------------------------------------------------- */

static void fill_head(const struct journal_file *f, const struct plan *p, struct head *h)
{
    *h = (struct head){.magic = MAGIC, .nfiles = p->nfiles};
    snprintf(h->version, sizeof h->version, "%s", quern_version());
    memcpy(h->plan, f->identity, sizeof h->plan);
}

static enum quern_status fail_resume(struct quern_error *err, const char *what)
{
    return fail(err, QUERN_EUSAGE, "resume",
                "%s" WANT "run it again as it was begun, or without --resume from the beginning",
                what);
}

static enum quern_status compare_heads(const struct head *got, const struct head *want,
                                       struct quern_error *err)
{
    char text[128];
    if (memcmp(got->version, want->version, sizeof got->version) != 0) {
        snprintf(
            text, sizeof text, "the unfinished run was one of quern %.31s, this is %s",
            quoted((struct str){got->version, strnlen(got->version, sizeof got->version)}).text,
            want->version);
        return fail_resume(err, text);
    }
    if (got->nfiles != want->nfiles || memcmp(got->plan, want->plan, sizeof got->plan) != 0)
        return fail_resume(err, "the unfinished run had other arguments, or a recipe or "
                                "configuration that has changed since");
    return QUERN_OK;
}

static bool read_all(struct journal_file *f, struct sha256 *s, void *to, size_t n)
{
    if (fread(to, 1, n, f->reader) != n)
        return false;
    sha256_add(s, to, n);
    f->end += n;
    return true;
}

/* Compares one by one to say which it is. */
static enum quern_status compare_inputs(const struct plan *p, const uint8_t *digests, uint32_t n,
                                        struct quern_error *err)
{
    struct input *inputs;
    uint32_t count;
    enum quern_status s = plan_inputs(p, &inputs, &count, err);
    if (s == QUERN_OK && count != n)
        s = fail_resume(err, "the unfinished run had other inputs");
    for (uint32_t i = 0; s == QUERN_OK && i < n; i++)
        if (memcmp(inputs[i].digest, digests + 32 * (size_t)i, 32) != 0)
            s = in_file(err, inputs[i].path,
                        fail(err, QUERN_EIO, "changed",
                             "this input has changed since the unfinished run" WANT
                             "start from the beginning, without --resume"));
    free(inputs);
    return s;
}

/* The length of the rest follows from counts that the file itself must be long enough for. */
static bool read_rest(struct journal_file *f, const struct head *got, struct sha256 *s,
                      struct journal_head *h, uint8_t **digests)
{
    const uint64_t need = got->nfiles * UINT64_C(8) + got->ninputs * UINT64_C(32) + 32;
    if (need > f->old_bytes - f->end)
        return false;
    uint8_t want[32], check[32];
    h->inos = calloc(got->nfiles + 1u, sizeof *h->inos);
    *digests = calloc(got->ninputs + 1u, 32);
    if (!h->inos || !*digests || !read_all(f, s, h->inos, got->nfiles * sizeof *h->inos) ||
        !read_all(f, s, *digests, got->ninputs * 32))
        return false;
    sha256_end(s, want);
    h->dir_ino = got->dir_ino;
    f->end += sizeof check;
    memcpy(f->chain, want, sizeof want);
    return fread(check, 1, sizeof check, f->reader) == sizeof check &&
           memcmp(check, want, sizeof check) == 0;
}

enum quern_status journal_file_head(struct journal_file *f, const struct plan *p,
                                    struct journal_head *h, bool *sound, struct quern_error *err)
{
    struct head got, want;
    struct sha256 s;
    uint8_t *digests = NULL;
    *h = (struct journal_head){0};
    const int fd = dup(f->fd);
    f->reader = fd < 0 ? NULL : fdopen(fd, "rb");
    if (!f->reader) {
        const enum quern_status status = fail_errno(err, f->path, "read");
        if (fd >= 0)
            close(fd);
        return status;
    }
    rewind(f->reader);
    f->end = 0;
    sha256_start(&s);
    *sound = read_all(f, &s, &got, sizeof got) && got.magic == MAGIC &&
             read_rest(f, &got, &s, h, &digests);
    enum quern_status status = QUERN_OK;
    if (*sound) {
        fill_head(f, p, &want);
        status = compare_heads(&got, &want, err);
    }
    if (*sound && status == QUERN_OK)
        status = compare_inputs(p, digests, got.ninputs, err);
    free(digests);
    return in_file(err, p->dir ? p->dir : p->files[0].path, status);
}

void journal_head_free(struct journal_head *h)
{
    free(h->inos);
    h->inos = NULL;
}

/* The directory that is being made; 0 when there is none. */
static enum quern_status ino_of_dir(const struct plan *p, uint64_t *ino, struct quern_error *err)
{
    struct stat st;
    *ino = 0;
    if (!p->dir)
        return QUERN_OK;
    char *path = output_beside(p->dir, PART_SUFFIX);
    if (!path)
        return fail_memory(err, strlen(p->dir));
    const enum quern_status s = stat(path, &st) == 0 ? QUERN_OK : fail_errno(err, path, "stat");
    free(path);
    *ino = st.st_ino;
    return s;
}

/* The head's bytes but for the digest at the end; malloc'ed. */
static enum quern_status make_head(const struct journal_file *f, const struct plan *p,
                                   const struct output *outs, const struct input *inputs,
                                   uint32_t ninputs, uint8_t **bytes, size_t *n,
                                   struct quern_error *err)
{
    struct head h;
    fill_head(f, p, &h);
    h.ninputs = ninputs;
    TRY(ino_of_dir(p, &h.dir_ino, err));
    *n = sizeof h + p->nfiles * sizeof(uint64_t) + ninputs * (size_t)32;
    uint8_t *at = *bytes = malloc(*n);
    if (!at)
        return fail_memory(err, *n);
    memcpy(at, &h, sizeof h);
    at += sizeof h;
    for (uint32_t i = 0; i < p->nfiles; i++, at += sizeof(uint64_t)) {
        const uint64_t mark = outs[i].shared ? output_mark(outs[i].part_path) : outs[i].ino;
        memcpy(at, &mark, sizeof mark);
    }
    for (uint32_t i = 0; i < ninputs; i++)
        memcpy(at + (size_t)32 * i, inputs[i].digest, 32);
    return QUERN_OK;
}

static enum quern_status put(struct journal_file *f, const void *bytes, size_t n,
                             struct quern_error *err)
{
    TRY(pwrite_full(f->fd, bytes, n, f->end, f->path, err));
    f->end += n;
    return QUERN_OK;
}

enum quern_status journal_file_begin(struct journal_file *f, const struct plan *p,
                                     const struct output *outs, struct quern_error *err)
{
    struct input *inputs;
    struct sha256 s;
    uint8_t *bytes = NULL;
    uint32_t ninputs;
    size_t n = 0;
    enum quern_status status = plan_inputs(p, &inputs, &ninputs, err);
    if (status == QUERN_OK)
        status = make_head(f, p, outs, inputs, ninputs, &bytes, &n, err);
    if (status == QUERN_OK)
        status = output_sync_dir(p->dir ? p->dir : p->files[0].path, err);
    if (status == QUERN_OK && p->dir)
        status = output_sync_dir(outs[0].part_path, err);
    if (status == QUERN_OK) {
        sha256_start(&s);
        sha256_add(&s, bytes, n);
        sha256_end(&s, f->chain);
        status = put(f, bytes, n, err);
    }
    if (status == QUERN_OK)
        status = put(f, f->chain, sizeof f->chain, err);
    f->has_head = status == QUERN_OK;
    free(bytes);
    free(inputs);
    return status;
}

/* ---- records -------------------------------------------------------------------------------- */

static void link_record(const uint8_t before[32], const struct journal_record *r,
                        const void *payload, uint8_t chain[32])
{
    struct sha256 s;
    sha256_start(&s);
    sha256_add(&s, before, 32);
    sha256_add(&s, r, sizeof *r);
    sha256_add(&s, payload, r->nbytes);
    sha256_end(&s, chain);
}

bool journal_file_next(struct journal_file *f, struct journal_record *r,
                       uint8_t payload[RECORD_MAX])
{
    uint8_t check[CHECK_BYTES], chain[32];
    if (fread(r, 1, sizeof *r, f->reader) != sizeof *r || r->nbytes > RECORD_MAX ||
        fread(payload, 1, r->nbytes, f->reader) != r->nbytes ||
        fread(check, 1, sizeof check, f->reader) != sizeof check)
        return false;
    link_record(f->chain, r, payload, chain);
    if (memcmp(check, chain, sizeof check) != 0)
        return false;
    memcpy(f->chain, chain, sizeof chain);
    f->end += sizeof *r + r->nbytes + sizeof check;
    return true;
}

enum quern_status journal_file_append(struct journal_file *f, const struct journal_record *r,
                                      const void *payload, struct quern_error *err)
{
    uint8_t bytes[sizeof *r + RECORD_MAX + CHECK_BYTES], chain[32];
    assert(r->nbytes <= RECORD_MAX);
    link_record(f->chain, r, payload, chain);
    memcpy(bytes, r, sizeof *r);
    if (r->nbytes)
        memcpy(bytes + sizeof *r, payload, r->nbytes);
    memcpy(bytes + sizeof *r + r->nbytes, chain, CHECK_BYTES);
    TRY(put(f, bytes, sizeof *r + r->nbytes + CHECK_BYTES, err));
    memcpy(f->chain, chain, sizeof chain);
    f->nrecords++;
    return QUERN_OK;
}

enum quern_status journal_file_cut(struct journal_file *f, bool keep, struct quern_error *err)
{
    if (f->reader)
        fclose(f->reader);
    f->reader = NULL;
    f->has_head = keep;
    if (!keep) {
        f->end = 0;
        f->nrecords = 0;
    }
    if (ftruncate(f->fd, (off_t)f->end) == 0)
        return QUERN_OK;
    return fail_errno(err, f->path, "truncate");
}

enum quern_status journal_file_sync(struct journal_file *f, struct quern_error *err)
{
    return fdatasync(f->fd) == 0 ? QUERN_OK : fail_errno(err, f->path, "sync to disk");
}
