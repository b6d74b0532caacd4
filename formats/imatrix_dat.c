/* imatrix_dat.c - walk the older form of an importance matrix, a .dat without any directory. */
#include <inttypes.h>
#include <stdio.h>

#include "formats/imatrix.h"

/* Two lengths around a name of one byte, the number of calls and one value. */
#define MIN_ENTRY_BYTES 17u
#define MAX_NAME        1024u
#define MAX_DATASET     (64u << 10)

/* A cursor over the file: only what lies between the values is read. */
struct walk {
    struct imatrix *im;
    uint64_t pos, size;
    int32_t *ncalls;
};

static enum quern_status truncated(const struct walk *w, const char *what, uint64_t n,
                                   struct quern_error *err)
{
    return at_offset(err, w->pos,
                     fail(err, QUERN_EFORMAT, "truncated",
                          "%s needs %" PRIu64 " bytes, the file has %" PRIu64 " left" WANT
                          "expected a whole importance matrix (truncated download?)",
                          what, n, w->size - w->pos));
}

static enum quern_status read_bytes(struct walk *w, const char *what, void *buf, size_t n,
                                    struct quern_error *err)
{
    if (n > w->size - w->pos)
        return truncated(w, what, n, err);
    TRY(model_pread(w->im->model, 0, buf, n, w->pos, err));
    w->pos += n;
    return QUERN_OK;
}

static enum quern_status read_i32(struct walk *w, const char *what, int32_t *out,
                                  struct quern_error *err)
{
    uint8_t b[4];
    TRY(read_bytes(w, what, b, sizeof b, err));
    *out = (int32_t)(b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24);
    return QUERN_OK;
}

/* A number that counts something: from min to max. */
static enum quern_status read_count(struct walk *w, const char *what, int32_t min, uint32_t max,
                                    uint32_t *out, struct quern_error *err)
{
    int32_t v;
    TRY(read_i32(w, what, &v, err));
    if (v < min || (uint32_t)v > max)
        return at_offset(err, w->pos - 4,
                         fail(err, QUERN_EFORMAT, "count",
                              "%s is %" PRId32 WANT "expected %" PRId32 " to %" PRIu32, what, v,
                              min, max));
    *out = (uint32_t)v;
    return QUERN_OK;
}

static enum quern_status read_text(struct walk *w, const char *what, uint32_t n, struct str *out,
                                   struct quern_error *err)
{
    if (n > w->size - w->pos)
        return truncated(w, what, n, err);
    char *p = arena_alloc(&w->im->model->arena, (size_t)n + 1);
    if (!p)
        return fail_memory(err, (uint64_t)n + 1);
    TRY(read_bytes(w, what, p, n, err));
    p[n] = '\0';
    *out = (struct str){p, n};
    return QUERN_OK;
}

static enum quern_status read_name(struct walk *w, struct str *name, struct quern_error *err)
{
    uint32_t n;
    TRY(read_count(w, "the length of its name", 1, MAX_NAME, &n, err));
    TRY(read_text(w, "its name", n, name, err));
    if (!memchr(name->p, '\0', n) && utf8_valid(*name, NULL))
        return QUERN_OK;
    return at_offset(err, w->pos - n,
                     fail(err, QUERN_EFORMAT, "name",
                          "the name '%s' holds a NUL byte or is not UTF-8" WANT
                          "expected the name of a weight",
                          quoted(*name).text));
}

static enum quern_status read_row(struct walk *w, struct tensor *t, int32_t *ncalls,
                                  struct quern_error *err)
{
    uint32_t n;
    TRY(read_i32(w, "the number of calls", ncalls, err));
    TRY(read_count(w, "the number of values", 1, INT32_MAX, &n, err));
    t->nelems = n;
    t->nbytes = (uint64_t)n * 4;
    if (t->nbytes > w->size - w->pos)
        return truncated(w, "its row of values", t->nbytes, err);
    uint64_t *dims = arena_alloc(&w->im->model->arena, sizeof *dims);
    if (!dims)
        return fail_memory(err, sizeof *dims);
    *dims = n;
    t->dims = dims;
    t->ndims = 1;
    t->dtype = DTYPE_F32;
    t->offset = w->pos;
    w->pos += t->nbytes;
    return QUERN_OK;
}

static enum quern_status read_entry(struct walk *w, uint32_t i, uint32_t nentries,
                                    struct quern_error *err)
{
    struct str name;
    const enum quern_status s = read_name(w, &name, err);
    if (s != QUERN_OK) {
        char place[64];
        snprintf(place, sizeof place, "entry %u of %u", i + 1, nentries);
        return in_tensor(err, str_from(place), s);
    }
    struct tensor *t = model_new_tensor(w->im->model);
    if (!t)
        return fail_memory(err, sizeof *t);
    t->name = name;
    return in_tensor(err, name, read_row(w, t, &w->ncalls[i], err));
}

/* Chunks and data set came later than the format: a file may end before either. */
static enum quern_status read_tail(struct walk *w, struct quern_error *err)
{
    struct imatrix *im = w->im;
    if (w->pos == w->size)
        return QUERN_OK;
    TRY(read_count(w, "the number of chunks", 0, INT32_MAX, &im->chunk_count, err));
    if (w->pos == w->size)
        return QUERN_OK;
    uint32_t n;
    TRY(read_count(w, "the length of the data set's name", 0, MAX_DATASET, &n, err));
    struct str text;
    TRY(read_text(w, "the data set's name", n, &text, err));
    text.n = strlen(text.p); /* as llama.cpp reads it: up to a NUL, if there is one */
    if (text.n > 0) {
        im->datasets = ARENA_NEW(&im->arena, struct str, 1);
        if (!im->datasets)
            return fail_memory(err, sizeof *im->datasets);
        im->datasets[im->ndatasets++] = text;
    }
    if (w->pos == w->size)
        return QUERN_OK;
    return model_note(im->model,
                      arena_printf(&im->model->arena,
                                   "%" PRIu64 " bytes after the data set's name are ignored",
                                   w->size - w->pos),
                      err);
}

static enum quern_status read_all(struct walk *w, struct quern_error *err)
{
    struct model_file *f = &w->im->model->files[0];
    uint32_t n;
    TRY(read_count(w, "the number of entries", 1, MAX_TENSORS, &n, err));
    if (n > (w->size - w->pos) / MIN_ENTRY_BYTES)
        return truncated(w, "a list of that many entries", (uint64_t)n * MIN_ENTRY_BYTES, err);
    w->ncalls = ARENA_NEW(&w->im->arena, int32_t, n);
    if (!w->ncalls)
        return fail_memory(err, (uint64_t)n * sizeof *w->ncalls);
    for (uint32_t i = 0; i < n; i++)
        TRY(read_entry(w, i, n, err));
    f->ntensors = n;
    TRY(model_index_tensors(w->im->model, 0, err));
    return read_tail(w, err);
}

enum quern_status imatrix_dat_read(struct imatrix *im, const int32_t **ncalls,
                                   struct quern_error *err)
{
    struct walk w = {.im = im, .size = im->model->files[0].id.nbytes};
    TRY(in_file(err, im->model->path, read_all(&w, err)));
    *ncalls = w.ncalls;
    return QUERN_OK;
}
