/* model.c - the list of tensors: growing it, looking things up, reading bytes of its files. */
#include "formats/model.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/checked.h"
#include "core/grow.h"

/* A model of 200 shards must work under a limit of 256 descriptors with other models open too. */
#define MAX_OPEN 16u

/* Of all models. It only bounds how many files stay open for later. */
static _Atomic uint32_t all_open;

#define HASH_PIECE (64u << 10)

/* Of one call to the system: it may be asked to stop in between. */
#define MAX_COPY (1u << 30)

struct cached_fd {
    int fd; /* -1 when closed */
    uint32_t nusers;
    uint64_t last_use;
};

struct fd_cache {
    pthread_mutex_t lock;
    uint32_t nopen;
    uint64_t clock;
    struct cached_fd files[];
};

/* ---- life ----------------------------------------------------------------------------------- */

static struct fd_cache *fd_cache_new(uint32_t nfiles)
{
    struct fd_cache *c = calloc(1, sizeof *c + nfiles * sizeof c->files[0]);
    if (!c)
        return NULL;
    pthread_mutex_init(&c->lock, NULL);
    for (uint32_t i = 0; i < nfiles; i++)
        c->files[i].fd = -1;
    return c;
}

static void fd_cache_free(struct fd_cache *c, uint32_t nfiles)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < nfiles; i++)
        if (c->files[i].fd >= 0) {
            close(c->files[i].fd);
            all_open--;
        }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

enum quern_status model_new(const char *path, uint32_t nfiles, struct model **out,
                            struct quern_error *err)
{
    struct model *m = calloc(1, sizeof *m);
    if (!m)
        return fail_memory(err, sizeof *m);
    m->files = ARENA_NEW(&m->arena, struct model_file, nfiles);
    m->path = arena_printf(&m->arena, "%s", path);
    m->fds = fd_cache_new(nfiles);
    if (!m->files || !m->path || !m->fds) {
        model_close(m);
        return fail_memory(err, nfiles * sizeof *m->files);
    }
    *out = m;
    return QUERN_OK;
}

void model_close(struct model *m)
{
    if (!m)
        return;
    const uint32_t nfiles = m->files ? m->nfiles : 0;
    for (uint32_t i = 0; i < nfiles; i++)
        free(m->files[i].header);
    fd_cache_free(m->fds, nfiles);
    archive_leave(m->archive);
    free(m->tensors);
    free(m->metas);
    free(m->notes);
    name_table_free(&m->index);
    name_table_free(&m->meta_index);
    arena_free(&m->arena);
    free(m);
}

size_t model_bytes(const struct model *m)
{
    size_t n = sizeof *m + m->arena.nbytes + name_table_bytes(&m->index) +
               name_table_bytes(&m->meta_index) + m->tensor_capacity * sizeof *m->tensors +
               m->meta_capacity * sizeof *m->metas + m->note_capacity * sizeof *m->notes +
               sizeof *m->fds + m->nfiles * sizeof m->fds->files[0];
    for (uint32_t i = 0; i < m->nfiles; i++)
        n += (size_t)m->files[i].header_bytes;
    if (m->archive)
        n += (size_t)m->archive->kind->held_bytes(m->archive);
    return n;
}

uint64_t model_worker_bytes(const struct model *m)
{
    return m->archive ? m->archive->kind->worker_bytes(m->archive) : 0;
}

void model_set_workers(struct model *m, uint32_t nworkers)
{
    if (m->archive)
        m->archive->kind->set_workers(m->archive, nworkers);
}

/* ---- new items ------------------------------------------------------------------------------ */

struct tensor *model_new_tensor(struct model *m)
{
    void *items = m->tensors;
    const bool ok = grow(&items, m->ntensors, &m->tensor_capacity, sizeof *m->tensors);
    m->tensors = items;
    if (!ok)
        return NULL;
    struct tensor *t = &m->tensors[m->ntensors++];
    *t = (struct tensor){0};
    return t;
}

struct meta *model_new_meta(struct model *m)
{
    void *items = m->metas;
    const bool ok = grow(&items, m->nmetas, &m->meta_capacity, sizeof *m->metas);
    m->metas = items;
    if (!ok)
        return NULL;
    struct meta *k = &m->metas[m->nmetas++];
    *k = (struct meta){0};
    return k;
}

enum quern_status model_note(struct model *m, const char *text, struct quern_error *err)
{
    void *items = m->notes;
    const bool ok = text && grow(&items, m->nnotes, &m->note_capacity, sizeof *m->notes);
    m->notes = items;
    if (!ok)
        return fail_memory(err, sizeof *m->notes);
    m->notes[m->nnotes++] = text;
    return QUERN_OK;
}

/* A file of an archive is told from others by the archive's file. */
static enum quern_status find_entry(struct archive *a, struct model_file *f, const char *path,
                                    const char *name, struct quern_error *err)
{
    uint64_t nbytes;
    if (!archive_find(a, name, &f->entry, &nbytes)) {
        errno = ENOENT;
        return fail_errno(err, path, "open");
    }
    f->id = a->id;
    f->id.nbytes = nbytes;
    return QUERN_OK;
}

enum quern_status model_add_file(struct model *m, const char *path, const char *name,
                                 struct quern_error *err)
{
    struct model_file *f = &m->files[m->nfiles];
    struct cached_fd *c = &m->fds->files[m->nfiles];
    const char *inner;
    struct archive *a = archive_at(path, &inner);
    if (a && *inner)
        TRY(find_entry(a, f, path, inner, err));
    else
        TRY(input_open(path, &c->fd, &f->id, err));
    f->path = path;
    f->name = name;
    f->first_tensor = m->ntensors;
    m->nfiles++;
    if (a && *inner) {
        m->archive = m->archive ? m->archive : archive_use(a->path);
        return QUERN_OK;
    }
    c->last_use = ++m->fds->clock;
    m->fds->nopen++;
    all_open++;
    return QUERN_OK;
}

/* ---- names ---------------------------------------------------------------------------------- */

struct str model_tensor_name(const void *owner, uint32_t i)
{
    return ((const struct model *)owner)->tensors[i].name;
}

struct str model_meta_key(const void *owner, uint32_t i)
{
    return ((const struct model *)owner)->metas[i].key;
}

enum quern_status model_index_tensors(struct model *m, uint32_t file, struct quern_error *err)
{
    const struct model_file *f = &m->files[file];
    for (uint32_t i = f->first_tensor; i < f->first_tensor + f->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        bool fresh;
        uint32_t other;
        if (!name_table_add(&m->index, t->name, i, model_tensor_name, m, &fresh, &other))
            return fail_memory(err, name_table_bytes(&m->index) * 2);
        if (fresh)
            continue;
        const uint32_t home = m->tensors[other].file;
        /* Shards of safetensors are told by an index, which gives each tensor one home. */
        const bool two_homes = home != file && m->format == MODEL_SAFETENSORS;
        return in_tensor(err, t->name,
                         fail(err, QUERN_EFORMAT, two_homes ? "index-mismatch" : "duplicate",
                              "this name is there twice%s%s" WANT "expected different names",
                              home == file ? "" : ", the other is in ",
                              home == file ? "" : quoted(str_from(m->files[home].name)).text));
    }
    return QUERN_OK;
}

const struct tensor *model_find(const struct model *m, struct str name)
{
    uint32_t i;
    return name_table_find(&m->index, name, model_tensor_name, m, &i) ? &m->tensors[i] : NULL;
}

const struct meta *model_meta(const struct model *m, const char *key)
{
    uint32_t i;
    return name_table_find(&m->meta_index, str_from(key), model_meta_key, m, &i) ? &m->metas[i]
                                                                                 : NULL;
}

bool dims_alike(const uint64_t *a, uint32_t na, const uint64_t *b, uint32_t nb)
{
    for (; na > 0 && *a == 1; na--)
        a++;
    for (; nb > 0 && *b == 1; nb--)
        b++;
    return na == nb && (na == 0 || memcmp(a, b, na * sizeof *a) == 0);
}

bool dims_product(const uint64_t *dims, uint32_t ndims, uint64_t *nelems)
{
    bool empty = false;
    *nelems = 1;
    for (uint32_t i = 0; i < ndims; i++) {
        empty |= dims[i] == 0;
        if (dims[i] > 0 && !checked_mul(*nelems, dims[i], nelems))
            return false;
    }
    if (empty)
        *nelems = 0;
    return true;
}

/* ---- metadata ------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint8_t nbytes;
    bool is_integer, is_signed;
} meta_types[META_COUNT] = {
    [META_U8] = {"u8",     1, true,  false},
      [META_I8] = {"i8",     1, true,  true },
    [META_U16] = {"u16",    2, true,  false},
      [META_I16] = {"i16",    2, true,  true },
    [META_U32] = {"u32",    4, true,  false},
      [META_I32] = {"i32",    4, true,  true },
    [META_U64] = {"u64",    8, true,  false},
      [META_I64] = {"i64",    8, true,  true },
    [META_F32] = {"f32",    4, false, false},
      [META_F64] = {"f64",    8, false, false},
    [META_BOOL] = {"bool",   1, false, false},
      [META_STRING] = {"string", 0, false, false},
    [META_ARRAY] = {"array",  0, false, false},
};

struct str meta_next_string(const char **at)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n |= (uint64_t)(uint8_t)(*at)[i] << (8 * i);
    const struct str s = {*at + 8, (size_t)n};
    *at += 8 + n;
    return s;
}

size_t meta_item_bytes(enum meta_type type)
{
    return meta_types[type].nbytes;
}

const char *meta_type_name(enum meta_type type)
{
    return meta_types[type].name;
}

bool meta_u64(const struct meta *k, uint64_t *out)
{
    if (!k || !meta_types[k->type].is_integer)
        return false;
    const size_t n = meta_types[k->type].nbytes;
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(uint8_t)k->value.p[i] << (8 * i);
    if (meta_types[k->type].is_signed && (int8_t)k->value.p[n - 1] < 0)
        return false;
    *out = v;
    return true;
}

bool meta_string(const struct meta *k, struct str *out)
{
    if (!k || k->type != META_STRING)
        return false;
    *out = k->value;
    return true;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

static enum quern_status changed(const char *path, struct quern_error *err)
{
    return in_file(err, path,
                   fail(err, QUERN_EIO, "changed",
                        "the file is not what it was when its header was read" WANT
                        "expected inputs to stay untouched during a run"));
}

static bool same_file(const struct model *m, const struct file_id *a, const struct file_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->nbytes == b->nbytes &&
           (m->others_write || a->mtime_ns == b->mtime_ns);
}

static void close_cached(struct fd_cache *c, struct cached_fd *f)
{
    close(f->fd);
    f->fd = -1;
    c->nopen--;
    all_open--;
}

static bool too_many_open(const struct fd_cache *c, uint32_t more)
{
    struct rlimit limit;
    const bool known = getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
    return c->nopen + more > MAX_OPEN || (known && all_open + more > limit.rlim_cur / 4);
}

/* Makes room for one more, unless every open file is being read: then the limit gives way until
 * one of its readers is done. */
static bool close_oldest(struct fd_cache *c, uint32_t nfiles)
{
    struct cached_fd *oldest = NULL;
    for (uint32_t i = 0; i < nfiles; i++) {
        struct cached_fd *f = &c->files[i];
        if (f->fd >= 0 && f->nusers == 0 && (!oldest || f->last_use < oldest->last_use))
            oldest = f;
    }
    if (oldest)
        close_cached(c, oldest);
    return oldest != NULL;
}

/* What has taken the name of an input since is not read, whatever it is. */
static enum quern_status reopen(struct model *m, uint32_t file, int *fd, struct quern_error *err)
{
    const char *path = m->files[file].path;
    struct file_id now;
    enum quern_status s;
    do
        s = input_open(path, fd, &now, err);
    while (s == QUERN_EIO && (errno == EMFILE || errno == ENFILE) &&
           close_oldest(m->fds, m->nfiles));
    if (s == QUERN_EFORMAT)
        return changed(path, err);
    TRY(s);
    if (same_file(m, &now, &m->files[file].id))
        return QUERN_OK;
    close(*fd);
    *fd = -1;
    return changed(path, err);
}

static enum quern_status take_fd(struct model *m, uint32_t file, int *fd, struct quern_error *err)
{
    struct fd_cache *c = m->fds;
    struct cached_fd *f = &c->files[file];
    enum quern_status s = QUERN_OK;
    pthread_mutex_lock(&c->lock);
    if (f->fd < 0) {
        if (too_many_open(c, 1))
            close_oldest(c, m->nfiles);
        s = reopen(m, file, &f->fd, err);
        c->nopen += s == QUERN_OK;
        all_open += s == QUERN_OK;
    }
    if (s == QUERN_OK) {
        f->nusers++;
        f->last_use = ++c->clock;
        *fd = f->fd;
    }
    pthread_mutex_unlock(&c->lock);
    return s;
}

static void give_fd(struct model *m, uint32_t file)
{
    struct fd_cache *c = m->fds;
    struct cached_fd *f = &c->files[file];
    pthread_mutex_lock(&c->lock);
    if (--f->nusers == 0 && too_many_open(c, 0))
        close_cached(c, f);
    pthread_mutex_unlock(&c->lock);
}

enum quern_status model_pread(struct model *m, uint32_t file, void *buf, size_t n, uint64_t offset,
                              struct quern_error *err)
{
    int fd;
    if (m->archive)
        return m->archive->kind->read(m->archive, m->files[file].entry, buf, n, offset, err);
    TRY(take_fd(m, file, &fd, err));
    const enum quern_status s = pread_full(fd, buf, n, offset, m->files[file].path, err);
    give_fd(m, file);
    return s;
}

const void *model_look(struct model *m, uint32_t file, struct windows *w, unsigned k, size_t n,
                       uint64_t offset)
{
    int fd;
    struct quern_error ignored;
    if (k >= w->count || m->archive || m->zero_nonfinite)
        return NULL;
    const void *seen = window_look(w, k, &m->files[file], offset, n);
    if (seen || take_fd(m, file, &fd, &ignored) != QUERN_OK)
        return seen;
    seen = window_move(w, k, &m->files[file], fd, offset, n);
    give_fd(m, file);
    return seen;
}

enum quern_status model_lost(struct model *m, uint32_t file, struct quern_error *err)
{
    return changed(m->files[file].path, err);
}

enum quern_status model_copy(struct model *m, uint32_t file, uint64_t offset, uint64_t n, int to,
                             uint64_t to_offset, bool *done, struct quern_error *err)
{
    int fd;
    off_t in = (off_t)offset, out = (off_t)to_offset;
    *done = false;
    if (m->archive)
        return QUERN_OK;
    TRY(take_fd(m, file, &fd, err));
    while (n > 0) {
        const size_t most = n < MAX_COPY ? (size_t)n : MAX_COPY;
        const ssize_t copied = copy_file_range(fd, &in, to, &out, most, 0);
        if (copied <= 0)
            break;
        n -= (uint64_t)copied;
    }
    give_fd(m, file);
    *done = n == 0;
    return QUERN_OK;
}

static uint64_t hash_piece(uint64_t h, const void *p, size_t n)
{
    return (h ^ h >> 29) * UINT64_C(0xBF58476D1CE4E5B9) ^ hash_bytes(p, n);
}

void model_seal_header(struct model *m, uint32_t file, uint64_t offset)
{
    struct model_file *f = &m->files[file];
    const uint8_t *p = f->header;
    f->header_at = offset;
    f->header_hash = 0;
    for (uint64_t at = 0; at < f->header_bytes; at += HASH_PIECE) {
        const uint64_t left = f->header_bytes - at;
        f->header_hash =
            hash_piece(f->header_hash, p + at, left < HASH_PIECE ? (size_t)left : HASH_PIECE);
    }
}

/* An edit in place may leave size and time as they were. */
static enum quern_status same_header(const struct model_file *f, int fd, struct quern_error *err)
{
    uint8_t *piece = malloc(HASH_PIECE);
    enum quern_status s = piece ? QUERN_OK : fail_memory(err, HASH_PIECE);
    uint64_t h = 0;
    for (uint64_t at = 0; s == QUERN_OK && f->header && at < f->header_bytes; at += HASH_PIECE) {
        const uint64_t left = f->header_bytes - at;
        const size_t n = left < HASH_PIECE ? (size_t)left : HASH_PIECE;
        s = pread_full(fd, piece, n, f->header_at + at, f->path, err);
        if (s == QUERN_OK)
            h = hash_piece(h, piece, n);
    }
    free(piece);
    return s == QUERN_OK && f->header && h != f->header_hash ? changed(f->path, err) : s;
}

enum quern_status model_unchanged(struct model *m, struct quern_error *err)
{
    if (m->archive)
        return m->archive->kind->unchanged(m->archive, err);
    for (uint32_t i = 0; i < m->nfiles; i++) {
        int fd = -1;
        TRY(reopen(m, i, &fd, err));
        const enum quern_status s = same_header(&m->files[i], fd, err);
        close(fd);
        TRY(s);
    }
    return QUERN_OK;
}
