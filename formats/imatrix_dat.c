/* imatrix_dat.c - read and lay out .dat, the older form of an importance matrix. */
#include <inttypes.h>
#include <stdio.h>

#include "core/load.h"
#include "formats/imatrix.h"

/* Two lengths around a name of one byte, the number of calls and one value. */
#define MIN_ENTRY_BYTES 17u
#define MAX_NAME        1024u
#define MAX_DATASET     (64u << 10)

/* A cursor over the file: only what lies between the values is read. */
struct walk {
    struct imatrix *im;
    uint64_t pos, size;
    uint32_t *ncalls;
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
    *out = (int32_t)load_u32(b);
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

static enum quern_status read_row(struct walk *w, struct tensor *t, uint32_t *ncalls,
                                  struct quern_error *err)
{
    uint32_t n;
    TRY(read_count(w, "the number of calls", 1, INT32_MAX, ncalls, err));
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
    int32_t first;
    TRY(read_i32(w, "the number of entries", &first, err));
    if (first < 1 || (uint32_t)first > MAX_TENSORS)
        return at_offset(
            err, 0,
            fail(err, QUERN_EFORMAT, "count",
                 "where an importance matrix has the number of its entries, it has %" PRId32 WANT
                 "expected 1 to %" PRIu32 ": is this another kind of file?",
                 first, MAX_TENSORS));
    const uint32_t n = (uint32_t)first;
    if (n > (w->size - w->pos) / MIN_ENTRY_BYTES)
        return truncated(w, "a list of that many entries", (uint64_t)n * MIN_ENTRY_BYTES, err);
    w->ncalls = ARENA_NEW(&w->im->arena, uint32_t, n);
    if (!w->ncalls)
        return fail_memory(err, (uint64_t)n * sizeof *w->ncalls);
    for (uint32_t i = 0; i < n; i++)
        TRY(read_entry(w, i, n, err));
    f->ntensors = n;
    TRY(model_index_tensors(w->im->model, 0, err));
    return read_tail(w, err);
}

enum quern_status imatrix_dat_read(struct imatrix *im, const uint32_t **ncalls,
                                   struct quern_error *err)
{
    struct walk w = {.im = im, .size = im->model->files[0].id.nbytes};
    TRY(in_file(err, im->model->path, read_all(&w, err)));
    *ncalls = w.ncalls;
    return QUERN_OK;
}

/* ---- layout --------------------------------------------------------------------------------- */

static void put_i32(char **at, uint64_t v)
{
    for (size_t i = 0; i < 4; i++)
        *(*at)++ = (char)(v >> (8 * i));
}

static void put_text(char **at, struct str s)
{
    put_i32(at, s.n);
    memcpy(*at, s.p, s.n);
    *at += s.n;
}

static enum quern_status too_much(const char *what, uint64_t n, uint64_t max,
                                  struct quern_error *err)
{
    return fail(err, QUERN_EUSAGE, "count",
                "%s is %" PRIu64 WANT "a .dat has room for %" PRIu64 "; write a .gguf", what, n,
                max);
}

static enum quern_status place_row(struct arena *arena, struct imatrix_row *r, uint64_t *end,
                                   struct quern_error *err)
{
    if (r->name.n == 0 || r->name.n > MAX_NAME)
        return too_much("the length of its name", r->name.n, MAX_NAME, err);
    if (r->nvalues > INT32_MAX)
        return too_much("the number of values", r->nvalues, INT32_MAX, err);
    if (r->ncalls > INT32_MAX)
        return too_much("the number of calls", r->ncalls, INT32_MAX, err);
    r->lead.n = r->name.n + 12;
    char *at = arena_alloc(arena, r->lead.n);
    if (!at)
        return fail_memory(err, r->lead.n);
    r->lead.p = at;
    put_text(&at, r->name);
    put_i32(&at, r->ncalls);
    put_i32(&at, r->nvalues);
    r->offset = *end + r->lead.n;
    *end = r->offset + r->nvalues * 4;
    return QUERN_OK;
}

enum quern_status imatrix_dat_layout(struct arena *arena, struct imatrix_row *rows, uint32_t nrows,
                                     uint32_t chunk_count, struct str dataset, struct str *header,
                                     struct str *tail, uint64_t *tail_at, struct quern_error *err)
{
    if (chunk_count > INT32_MAX)
        return too_much("the number of chunks", chunk_count, INT32_MAX, err);
    if (dataset.n > MAX_DATASET)
        return too_much("the length of the data set's name", dataset.n, MAX_DATASET, err);
    *tail_at = 4;
    for (uint32_t i = 0; i < nrows; i++)
        TRY(in_tensor(err, rows[i].name, place_row(arena, &rows[i], tail_at, err)));
    *header = (struct str){NULL, 4};
    *tail = (struct str){NULL, dataset.n + 8};
    char *at = arena_alloc(arena, header->n + tail->n);
    if (!at)
        return fail_memory(err, header->n + tail->n);
    header->p = at;
    put_i32(&at, nrows);
    tail->p = at;
    put_i32(&at, chunk_count);
    put_text(&at, dataset);
    return QUERN_OK;
}
