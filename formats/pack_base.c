/* pack_base.c - find the base of a pack, and tell whether it is the right one. */
#include <stdlib.h>

#include "core/sha256.h"
#include "formats/pack_inside.h"

#define MAX_BASES   64u
#define MAX_DEPTH   8u /* of packs whose base is a pack whose base ... */
#define PROBES      64u
#define PROBE_BYTES 4096u

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const char *bases[MAX_BASES]; /* that were named by the user; never freed */
static uint32_t nbases;

/* Named models may be packs that look for their bases among them, too. While one pack looks for its
 * base, each of them is found to be of no use but once for each depth, and what is found stays
 * open: so many named models cost their number, squared, not every order of them. */
static _Thread_local struct {
    unsigned depth;
    bool useless[MAX_BASES][MAX_DEPTH + 1];
    struct archive *held[MAX_BASES];
} search;

enum quern_status pack_add_base(const char *path, struct quern_error *err)
{
    char *copy = strdup(path);
    if (!copy)
        return fail_memory(err, strlen(path));
    pthread_mutex_lock(&lock);
    const bool room = nbases < MAX_BASES;
    if (room)
        bases[nbases++] = copy;
    pthread_mutex_unlock(&lock);
    if (room)
        /* cppcheck-suppress memleak ; the list has it */
        return QUERN_OK;
    free(copy);
    return fail(err, QUERN_EUSAGE, "usage", "there are more than %u bases of packs", MAX_BASES);
}

enum quern_status pack_probe(struct model *base, const struct tensor *const *tensors, uint32_t n,
                             uint8_t digest[32], struct quern_error *err)
{
    uint8_t *bytes = malloc(PROBE_BYTES);
    enum quern_status status = bytes ? QUERN_OK : fail_memory(err, PROBE_BYTES);
    const uint32_t count = n < PROBES ? n : PROBES;
    struct sha256 s;
    sha256_start(&s);
    for (uint32_t i = 0; status == QUERN_OK && i < count; i++) {
        const struct tensor *t = tensors[(uint64_t)i * n / count];
        const size_t some = t->nbytes < PROBE_BYTES ? (size_t)t->nbytes : PROBE_BYTES;
        status = model_pread(base, t->file, bytes, some, t->offset, err);
        if (status == QUERN_OK)
            sha256_add(&s, bytes, some);
    }
    sha256_end(&s, digest);
    free(bytes);
    return status;
}

static enum quern_status another(const struct model *base, const char *what,
                                 struct quern_error *err)
{
    return in_file(err, base->path,
                   fail(err, QUERN_EUSAGE, "base",
                        "this is not the base the pack was made with: %s" WANT
                        "give that one (--pack-base MODEL)",
                        what));
}

/* The tensors of the base that runs refer to, in the order of the runs. */
static enum quern_status match(struct pack *p, struct model *base, const struct tensor **tensors,
                               uint32_t *n, struct quern_error *err)
{
    *n = 0;
    for (uint32_t i = 0; i < p->nruns; i++) {
        struct pack_run *run = &p->runs[i];
        if (!run->base.n)
            continue;
        const struct tensor *t = model_find(base, run->base);
        if (!t || t->nbytes != run->nbytes || (run->tensor.n && t->dtype != run->dtype))
            return in_tensor(
                err, run->base,
                another(base, t ? "a tensor has another type or size" : "it lacks a tensor", err));
        run->base_tensor = tensors[(*n)++] = t;
    }
    return QUERN_OK;
}

static enum quern_status check_base(struct pack *p, struct model *base, struct quern_error *err)
{
    uint8_t digest[32];
    uint32_t n;
    const struct tensor **tensors = calloc(p->nruns + 1u, sizeof *tensors);
    if (!tensors)
        return fail_memory(err, p->nruns * sizeof *tensors);
    enum quern_status s = match(p, base, tensors, &n, err);
    if (s == QUERN_OK)
        s = pack_probe(base, tensors, n, digest, err);
    free(tensors);
    if (s == QUERN_OK && memcmp(digest, p->base_probe, sizeof digest) != 0)
        s = another(base, "its values differ", err);
    return s;
}

/* *open: it was opened, at least. */
static bool try_base(struct pack *p, const char *path, struct archive **held, bool *open)
{
    struct quern_error *err = &p->base_error;
    struct model *m = NULL;
    enum quern_status s = model_open(path, &m, err);
    *open = s == QUERN_OK;
    if (s == QUERN_OK && held && !*held && m->archive)
        *held = archive_use(m->archive->path);
    if (s == QUERN_OK)
        s = check_base(p, m, err);
    if (s == QUERN_OK)
        p->base = m;
    else
        model_close(m);
    p->base_status = s;
    return s == QUERN_OK;
}

/* As it is recorded: from the directory of the pack. */
static const char *recorded_path(struct pack *p)
{
    const char *path = p->archive.path, *base = path_base(path);
    if (p->base_path.p[0] == '/' || base == path)
        return arena_printf(&p->arena, "%s", p->base_path.p);
    return arena_printf(&p->arena, "%.*s%s", (int)(base - path), path, p->base_path.p);
}

static const char *named_base(uint32_t i)
{
    pthread_mutex_lock(&lock);
    const char *path = i < nbases ? bases[i] : NULL;
    pthread_mutex_unlock(&lock);
    return path;
}

/* No pack is its own base. */
static bool try_named(struct pack *p)
{
    const char *path;
    bool open;
    for (uint32_t i = 0; (path = named_base(i)); i++) {
        bool *useless = &search.useless[i][search.depth];
        if (*useless || strcmp(path, p->archive.path) == 0)
            continue;
        if (try_base(p, path, &search.held[i], &open))
            return true;
        *useless = !open;
    }
    return false;
}

static void find(struct pack *p)
{
    const char *path;
    bool open;
    if (try_named(p))
        return;
    path = recorded_path(p);
    if (!path) {
        p->base_status = fail_memory(&p->base_error, p->base_path.n);
        return;
    }
    /* What was named and does not fit says more than what is not there. */
    const struct quern_error before = p->base_error;
    const enum quern_status status = p->base_status;
    if (!try_base(p, path, NULL, &open) && status != QUERN_OK) {
        p->base_error = before;
        p->base_status = status;
    }
}

static void forget(void)
{
    for (unsigned i = 0; i < MAX_BASES; i++) {
        archive_leave(search.held[i]);
        search.held[i] = NULL;
    }
    memset(search.useless, 0, sizeof search.useless);
}

void pack_find_base(struct pack *p)
{
    if (search.depth == MAX_DEPTH) {
        p->base_status = fail(&p->base_error, QUERN_EUNSUPPORTED, "base",
                              "packs have packs as their bases more than %u deep", MAX_DEPTH);
        return;
    }
    search.depth++;
    find(p);
    if (--search.depth == 0)
        forget();
    /* A file that is not there is this pack's affair, too. */
    p->base_is_absent = p->base_status == QUERN_EIO;
    if (p->base_is_absent)
        p->base_status =
            fail(&p->base_error, QUERN_EUSAGE, "base",
                 "its base '%s' is not there" WANT "say where it is (--pack-base MODEL)",
                 quoted(p->base_path).text);
    if (p->base_status != QUERN_OK)
        in_file(&p->base_error, p->archive.path, p->base_status);
}
