/* pack_directory.c - read the directory of a pack, JSON that may hold anything. */
#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "core/grow.h"
#include "core/pull.h"
#include "formats/pack_inside.h"

struct reader {
    struct pull pull;
    struct pack *pack;
    struct quern_error *err;
    uint32_t nchunks;
    bool has_version;
};

static enum quern_status bad(struct reader *r, const char *what)
{
    return fail(r->err, QUERN_EFORMAT, "pack-directory", "%s" WANT "see docs/pack-format.md", what);
}

static enum quern_status next(struct reader *r, enum pull_token *token)
{
    *token = pull_next(&r->pull);
    return *token == PULL_ERROR ? pull_fail(&r->pull, 0, r->err) : QUERN_OK;
}

static enum quern_status want(struct reader *r, enum pull_token wanted, const char *what)
{
    enum pull_token token;
    TRY(next(r, &token));
    return token == wanted ? QUERN_OK : bad(r, what);
}

static enum quern_status want_text(struct reader *r, struct str *out)
{
    TRY(want(r, PULL_STRING, "a value of the directory is no text"));
    *out = r->pull.str;
    return memchr(out->p, '\0', out->n) ? bad(r, "a text of the directory holds a NUL") : QUERN_OK;
}

static enum quern_status want_u64(struct reader *r, uint64_t *out)
{
    TRY(want(r, PULL_NUMBER, "a value of the directory is no number"));
    return pull_u64(&r->pull, out) ? QUERN_OK : bad(r, "a number of the directory is out of range");
}

static enum quern_status want_digest(struct reader *r, uint8_t digest[32])
{
    struct str s;
    TRY(want_text(r, &s));
    if (s.n != 64)
        return bad(r, "a SHA-256 has not 64 digits");
    for (size_t i = 0; i < 64; i++) {
        const char c = s.p[i];
        const int v = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (v < 0)
            return bad(r, "a SHA-256 has other characters than 0-9a-f");
        digest[i / 2] = (uint8_t)(i % 2 ? digest[i / 2] | v : v << 4);
    }
    return QUERN_OK;
}

/* Keys of an object: which was read, each at most once. Unknown ones are passed over. */
static enum quern_status next_key(struct reader *r, const char *const *keys, unsigned nkeys,
                                  unsigned *seen, int *key)
{
    for (;;) {
        enum pull_token token;
        TRY(next(r, &token));
        *key = -1;
        if (token == PULL_OBJECT_END)
            return QUERN_OK;
        if (token != PULL_KEY)
            return bad(r, "an object of the directory has something else than keys");
        for (unsigned i = 0; i < nkeys && *key < 0; i++)
            if (str_is(r->pull.str, keys[i]))
                *key = (int)i;
        if (*key >= 0 && *seen >> *key & 1)
            return bad(r, "a key of the directory is there twice");
        if (*key >= 0) {
            *seen |= 1u << *key;
            return QUERN_OK;
        }
        TRY(next(r, &token));
        if (!pull_skip(&r->pull, token))
            return pull_fail(&r->pull, 0, r->err);
    }
}

/* ---- runs ----------------------------------------------------------------------------------- */

static enum quern_status new_run(struct reader *r, struct pack_run **out)
{
    struct pack *p = r->pack;
    void *items = p->runs;
    const bool ok = grow(&items, p->nruns, &p->run_capacity, sizeof *p->runs);
    p->runs = items;
    if (!ok)
        return fail_memory(r->err, p->run_capacity * 2 * sizeof *p->runs);
    *out = &p->runs[p->nruns];
    **out = (struct pack_run){.same = p->nruns++, .dtype = DTYPE_U8};
    return QUERN_OK;
}

static enum quern_status read_dtype(struct reader *r, struct pack_run *run)
{
    struct str name;
    TRY(want_text(r, &name));
    return dtype_from_name(name, &run->dtype) ? QUERN_OK : bad(r, "an element type is unknown");
}

static enum quern_status read_shape(struct reader *r, uint64_t *nelems)
{
    uint64_t dims[MAX_DIMS];
    size_t n;
    if (pull_u64_array(&r->pull, dims, MAX_DIMS, &n) != PULL_INTS_OK)
        return bad(r, "a shape is no short list of numbers");
    return dims_product(dims, (uint32_t)n, nelems) ? QUERN_OK : bad(r, "a shape is too large");
}

/* A run without a tensor has neither type nor shape. */
static enum quern_status check_shape(struct reader *r, const struct pack_run *run, unsigned given,
                                     uint64_t nelems)
{
    uint64_t nbytes;
    if (given != 0 && given != 7)
        return bad(r, "a tensor lacks its name, type or shape");
    if (given && (!dtype_bytes(run->dtype, nelems, &nbytes) || nbytes != run->nbytes))
        return bad(r, "type and shape of a tensor do not make up its bytes");
    return QUERN_OK;
}

/* The chunk of the earlier run has bytes of its own, and as many. */
static bool same_is_there(const struct pack *p, const struct pack_run *run, size_t chunk)
{
    const struct pack_run *other = &p->runs[run->same];
    return other != run && other->chunks[chunk] != CHUNK_SAME;
}

static bool form_fits(const struct pack *p, const struct pack_run *run, size_t chunk, char form)
{
    const unsigned width = chunk_width(run->dtype);
    const bool numbers = width != 0 && run->nbytes % width == 0;
    switch (form) {
    case CHUNK_RAW:
        return true;
    case CHUNK_FLOAT:
        return numbers;
    case CHUNK_DELTA:
        return numbers && run->base.n;
    case CHUNK_BASE:
        return run->base.n;
    case CHUNK_SAME:
        return same_is_there(p, run, chunk);
    default:
        return false;
    }
}

/* The letters fit the type, the base and the size. */
static enum quern_status check_chunks(struct reader *r, struct pack_run *run, struct str letters)
{
    const uint64_t need = run->nbytes / PACK_CHUNK + (run->nbytes % PACK_CHUNK != 0);
    if (letters.n != need)
        return bad(r, "a run has not as many chunks as its bytes make");
    for (size_t i = 0; i < letters.n; i++)
        if (!form_fits(r->pack, run, i, letters.p[i]))
            return bad(r, "a chunk has a form that its run cannot have");
    if (letters.n > UINT32_MAX - 1 - r->nchunks)
        return bad(r, "there are too many chunks");
    run->chunks = letters.p;
    run->nchunks = (uint32_t)letters.n;
    run->first_chunk = r->nchunks;
    r->nchunks += run->nchunks;
    return QUERN_OK;
}

static enum quern_status check_same(struct reader *r, struct pack_run *run, uint64_t same)
{
    if (same >= run->same)
        return bad(r, "a run is the same as one that does not come before it");
    if (r->pack->runs[same].nbytes != run->nbytes)
        return bad(r, "a run is the same as one of another size");
    run->same = (uint32_t)same;
    return QUERN_OK;
}

static enum quern_status read_run(struct reader *r, uint32_t file, uint64_t *at)
{
    static const char *const keys[] = {"tensor", "dtype", "shape", "bytes",
                                       "base",   "same",  "chunks"};
    enum { TENSOR, DTYPE, SHAPE, BYTES, BASE, SAME, CHUNKS };
    struct pack_run *run = NULL;
    struct str letters = {NULL, 0};
    uint64_t same = 0, nelems = 0;
    unsigned seen = 0;
    int key;
    TRY(new_run(r, &run));
    for (;;) {
        TRY(next_key(r, keys, 7, &seen, &key));
        if (key < 0)
            break;
        if (key == TENSOR)
            TRY(want_text(r, &run->tensor));
        else if (key == DTYPE)
            TRY(read_dtype(r, run));
        else if (key == SHAPE)
            TRY(read_shape(r, &nelems));
        else if (key == BYTES)
            TRY(want_u64(r, &run->nbytes));
        else if (key == BASE)
            TRY(want_text(r, &run->base));
        else if (key == SAME)
            TRY(want_u64(r, &same));
        else
            TRY(want_text(r, &letters));
    }
    run->file = file;
    run->first = *at;
    if (!(seen >> BYTES & 1) || !(seen >> CHUNKS & 1) || run->nbytes == 0)
        return bad(r, "a run lacks its bytes, or its chunks");
    if (!checked_add(*at, run->nbytes, at))
        return bad(r, "a file is too large");
    TRY(check_shape(r, run, seen & 7, nelems));
    if (seen >> SAME & 1)
        TRY(check_same(r, run, same));
    return check_chunks(r, run, letters);
}

/* ---- files ---------------------------------------------------------------------------------- */

/* Parts with something in them, none of which leads upwards. */
static bool is_safe_name(struct str name)
{
    if (name.n == 0 || name.n > PACK_MAX_NAME)
        return false;
    for (size_t at = 0; at <= name.n;) {
        const char *slash = memchr(name.p + at, '/', name.n - at);
        const size_t n = slash ? (size_t)(slash - name.p) - at : name.n - at;
        const struct str part = {name.p + at, n};
        if (n == 0 || n > 255 || str_is(part, ".") || str_is(part, ".."))
            return false;
        at += n + 1;
    }
    return true;
}

static enum quern_status read_runs(struct reader *r, struct pack_file *f, uint32_t file,
                                   uint64_t *sum)
{
    enum pull_token token;
    TRY(want(r, PULL_ARRAY, "the runs of a file are no list"));
    f->first_run = r->pack->nruns;
    *sum = 0;
    for (;;) {
        TRY(next(r, &token));
        if (token == PULL_ARRAY_END)
            break;
        if (token != PULL_OBJECT)
            return bad(r, "a run is no object");
        TRY(read_run(r, file, sum));
    }
    f->nruns = r->pack->nruns - f->first_run;
    return QUERN_OK;
}

static enum quern_status read_file(struct reader *r)
{
    static const char *const keys[] = {"name", "bytes", "sha256", "runs"};
    struct pack *p = r->pack;
    void *items = p->files;
    const bool ok = grow(&items, p->nfiles, &p->file_capacity, sizeof *p->files);
    p->files = items;
    if (!ok)
        return fail_memory(r->err, p->file_capacity * 2 * sizeof *p->files);
    if (p->nfiles == PACK_MAX_FILES)
        return bad(r, "there are too many files");
    struct pack_file *f = &p->files[p->nfiles];
    *f = (struct pack_file){0};
    struct str name = {NULL, 0};
    uint64_t sum = 0;
    unsigned seen = 0;
    int key;
    for (;;) {
        TRY(next_key(r, keys, 4, &seen, &key));
        if (key < 0)
            break;
        if (key == 0)
            TRY(want_text(r, &name));
        else if (key == 1)
            TRY(want_u64(r, &f->nbytes));
        else if (key == 2)
            TRY(want_digest(r, f->sha256));
        else
            TRY(read_runs(r, f, p->nfiles, &sum));
    }
    if (seen != 15)
        return bad(r, "a file lacks its name, bytes, sha256 or runs");
    if (!is_safe_name(name))
        return bad(r, "the name of a file is empty, too long, or leads out of the pack");
    if (sum != f->nbytes)
        return bad(r, "the runs of a file do not make up its bytes");
    f->name = name.p;
    p->nfiles++;
    return QUERN_OK;
}

static enum quern_status read_files(struct reader *r)
{
    enum pull_token token;
    TRY(want(r, PULL_ARRAY, "the files are no list"));
    for (;;) {
        TRY(next(r, &token));
        if (token == PULL_ARRAY_END)
            return QUERN_OK;
        if (token != PULL_OBJECT)
            return bad(r, "a file is no object");
        TRY(read_file(r));
    }
}

static enum quern_status read_base(struct reader *r)
{
    static const char *const keys[] = {"path", "probe"};
    unsigned seen = 0;
    int key;
    TRY(want(r, PULL_OBJECT, "the base is no object"));
    for (;;) {
        TRY(next_key(r, keys, 2, &seen, &key));
        if (key < 0)
            break;
        TRY(key == 0 ? want_text(r, &r->pack->base_path) : want_digest(r, r->pack->base_probe));
    }
    return seen == 3 ? QUERN_OK : bad(r, "the base lacks its path or probe");
}

static bool has_file(const struct pack *p, struct str name)
{
    uint32_t low = 0, high = p->nfiles;
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        const int order = str_cmp(str_from(p->files[mid].name), name);
        if (order == 0)
            return true;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return false;
}

/* In order, no two of the same name, and none where another has a directory. */
static enum quern_status check_names(struct reader *r)
{
    const struct pack *p = r->pack;
    for (uint32_t i = 0; i < p->nfiles; i++) {
        const char *name = p->files[i].name;
        if (i > 0 && strcmp(p->files[i - 1].name, name) >= 0)
            return bad(r, "the files are not in the order of their names, or two have the same");
        for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/'))
            if (has_file(p, (struct str){name, (size_t)(slash - name)}))
                return bad(r, "a file has the name of a directory");
    }
    return QUERN_OK;
}

static enum quern_status read_version(struct reader *r)
{
    uint64_t version;
    TRY(want_u64(r, &version));
    if (version == PACK_VERSION)
        return QUERN_OK;
    return fail(r->err, QUERN_EUNSUPPORTED, "pack-version",
                "its format is version %" PRIu64 WANT "this program reads version %u", version,
                PACK_VERSION);
}

static enum quern_status read_all(struct reader *r)
{
    static const char *const keys[] = {"quern_pack", "chunk", "base", "files", "directory"};
    unsigned seen = 0;
    uint64_t chunk = 0;
    int key;
    enum pull_token token;
    TRY(want(r, PULL_OBJECT, "the directory is no object"));
    for (;;) {
        TRY(next_key(r, keys, 5, &seen, &key));
        if (key < 0)
            break;
        if (key == 0)
            TRY(read_version(r));
        else if (key == 1)
            TRY(want_u64(r, &chunk));
        else if (key == 2)
            TRY(read_base(r));
        else if (key == 3)
            TRY(read_files(r));
        else {
            TRY(next(r, &token));
            r->pack->directory = token == PULL_TRUE;
            if (token != PULL_TRUE && token != PULL_FALSE)
                return bad(r, "'directory' is neither true nor false");
        }
    }
    TRY(want(r, PULL_END, "something follows the directory"));
    if ((seen & 11) != 11 || chunk != PACK_CHUNK)
        return bad(r, "the directory lacks its version, files, or chunks of 1048576 bytes");
    if (r->pack->nfiles == 0)
        return bad(r, "there are no files");
    for (uint32_t i = 0; i < r->pack->nruns; i++)
        if (r->pack->runs[i].base.n && !r->pack->base_path.p)
            return bad(r, "a run has a base and the pack has none");
    return check_names(r);
}

enum quern_status pack_read_directory(struct pack *p, struct quern_error *err)
{
    struct reader r = {.pack = p, .err = err};
    pull_start(&r.pull, p->text, p->text_bytes);
    TRY(in_file(err, p->archive.path, read_all(&r)));
    p->nchunks = r.nchunks;
    return QUERN_OK;
}
