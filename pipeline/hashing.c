/* hashing.c - steps that take digests of stored bytes. */
#include "hashing.h"

#include <stdlib.h>

#include "formats/byte_files.h"

/* Of a file, as long as another step may be reading the same. */
#define PART_BYTES (UINT64_C(32) << 20)

static enum quern_status hash_raw(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                                  size_t nbytes, uint64_t at, struct quern_error *err)
{
    (void)dst;
    (void)err;
    const struct hash_step *h = s->params;
    if (h->first && at == 0)
        sha256_start(h->sum);
    sha256_add(h->sum, src[0], nbytes);
    return QUERN_OK;
}

static const struct op op_hash = {.name = "hash", .in_order = true, .raw = hash_raw};

static void set_step(struct hash_step *h, struct model *m, const struct tensor *t,
                     struct sha256 *sum, bool first)
{
    h->source = (struct source){.model = m, .tensor = t};
    h->sum = sum;
    h->first = first;
    h->work.step = (struct step){.name = t->name,
                                 .dims = t->dims,
                                 .ndims = t->ndims,
                                 .dtype = t->dtype,
                                 .round_dtype = DTYPE_COUNT,
                                 .nsources = 1,
                                 .npasses = 1,
                                 .sources = &h->source,
                                 .op = &op_hash,
                                 .params = h,
                                 .nelems = t->nelems,
                                 .nbytes = t->nbytes};
    if (!first) {
        h->before[0] = &h[-1].work;
        h->work.step.needs = h->before;
        h->work.step.nneeds = 1;
    }
}

/* All of a file, or of a range of it. */
static enum quern_status add_file(struct plan *p, struct hashed_model *h, uint32_t file,
                                  const struct byte_range *range, struct quern_error *err)
{
    const struct model_file *f = &h->model->files[file];
    const uint64_t nbytes = range ? range->nbytes : f->id.nbytes;
    const uint64_t nparts = nbytes / PART_BYTES + (nbytes % PART_BYTES != 0);
    struct hashed_file *to = &h->files[file];
    sha256_start(&to->sum);
    if (nparts > UINT32_MAX - p->hashes->nsteps)
        return in_file(err, f->path, fail(err, QUERN_EFORMAT, "too-large", "it is too large"));
    to->parts = ARENA_NEW(&p->arena, struct hash_step, nparts ? nparts : 1);
    if (!to->parts)
        return fail_memory(err, nparts * sizeof *to->parts);
    for (uint32_t i = 0; i < nparts; i++) {
        struct hash_step *part = &to->parts[i];
        const uint64_t at = i * PART_BYTES, left = nbytes - at;
        part->dims[0] = left < PART_BYTES ? left : PART_BYTES;
        part->bytes = (struct tensor){.name = str_from(f->name),
                                      .dims = part->dims,
                                      .ndims = 1,
                                      .offset = at + (range ? range->offset : 0),
                                      .nbytes = part->dims[0],
                                      .nelems = part->dims[0],
                                      .file = file,
                                      .dtype = DTYPE_U8};
        set_step(part, h->model, &part->bytes, &to->sum, i == 0);
    }
    to->nparts = (uint32_t)nparts;
    p->hashes->nsteps += to->nparts;
    return QUERN_OK;
}

static enum quern_status add_tensors(struct plan *p, struct hashed_model *h,
                                     struct quern_error *err)
{
    struct model *m = h->model;
    const size_t n = m->ntensors ? m->ntensors : 1;
    h->sums = ARENA_NEW(&p->arena, struct sha256, n);
    h->tensors = ARENA_NEW(&p->arena, struct hash_step, n);
    if (!h->sums || !h->tensors)
        return fail_memory(err, n * sizeof *h->tensors);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        sha256_start(&h->sums[i]);
        set_step(&h->tensors[i], m, &m->tensors[i], &h->sums[i], true);
    }
    p->hashes->nsteps += m->ntensors;
    return QUERN_OK;
}

static struct hashed_model *find(const struct hash_list *l, const struct model *m)
{
    for (uint32_t i = 0; l && i < l->nmodels; i++)
        if (l->models[i].model == m)
            return &l->models[i];
    return NULL;
}

/* ranges: one for each file, or NULL. */
static enum quern_status hash_model(struct plan *p, struct model *m,
                                    const struct byte_range *ranges, bool tensors,
                                    struct quern_error *err)
{
    if (!p->hashes && !(p->hashes = ARENA_NEW(&p->arena, struct hash_list, 1)))
        return fail_memory(err, sizeof *p->hashes);
    struct hash_list *l = p->hashes;
    if (find(l, m))
        return QUERN_OK;
    struct hashed_model *models = ARENA_NEW(&p->arena, struct hashed_model, l->nmodels + 1u);
    struct hashed_file *files = ARENA_NEW(&p->arena, struct hashed_file, m->nfiles ? m->nfiles : 1);
    if (!models || !files)
        return fail_memory(err, m->nfiles * sizeof *files);
    if (l->nmodels)
        memcpy(models, l->models, l->nmodels * sizeof *models);
    l->models = models;
    struct hashed_model *h = &models[l->nmodels++];
    *h = (struct hashed_model){.model = m, .files = files};
    for (uint32_t i = 0; i < m->nfiles; i++) {
        m->others_write |= ranges && ranges[i].nbytes != m->files[i].id.nbytes;
        TRY(add_file(p, h, i, ranges ? &ranges[i] : NULL, err));
    }
    return tensors ? add_tensors(p, h, err) : QUERN_OK;
}

enum quern_status plan_hash_model(struct plan *p, struct model *m, bool tensors,
                                  struct quern_error *err)
{
    return hash_model(p, m, NULL, tensors, err);
}

void hash_of_file(const struct plan *p, const struct model *m, uint32_t file, char hex[65])
{
    sha256_hex(find(p->hashes, m)->files[file].sum, hex);
}

void hash_of_tensor(const struct plan *p, const struct model *m, uint32_t tensor, char hex[65])
{
    sha256_hex(find(p->hashes, m)->sums[tensor], hex);
}

/* ---- their place in the agenda -------------------------------------------------------------- */

void hashes_restart(struct hash_list *l)
{
    for (uint32_t i = 0; l && i < l->nmodels; i++) {
        struct hashed_model *h = &l->models[i];
        for (uint32_t k = 0; k < h->model->nfiles; k++) {
            h->files[k].next = 0;
            for (uint32_t n = 0; n < h->files[k].nparts; n++) {
                h->files[k].parts[n].work.measured = false;
                h->files[k].parts[n].work.nusers = 0;
            }
        }
        for (uint32_t k = 0; h->tensors && k < h->model->ntensors; k++)
            h->tensors[k].work.listed = false;
    }
}

/* The parts of a file up to this byte. */
static void list_parts(struct hashed_file *f, uint64_t end, hash_see *see, void *more)
{
    while (f->next < f->nparts && f->parts[f->next].bytes.offset < end)
        see(&f->parts[f->next++], more);
}

static void list_tensor(struct hashed_model *h, uint32_t i, hash_see *see, void *more)
{
    if (!h->tensors || h->tensors[i].work.listed)
        return;
    h->tensors[i].work.listed = true;
    see(&h->tensors[i], more);
}

struct before {
    struct hash_list *list;
    hash_see *see;
    void *more;
};

/* Values that are made have no place in a file; what they are made of comes at the end. */
static void see_leaf(const struct source *leaf, void *more)
{
    const struct before *b = more;
    struct hashed_model *h = leaf->kind ? NULL : find(b->list, leaf->model);
    const struct tensor *t = leaf->tensor;
    if (!h)
        return;
    list_parts(&h->files[t->file], t->offset + t->nbytes, b->see, b->more);
    const uintptr_t at = (uintptr_t)t, first = (uintptr_t)h->model->tensors;
    if (at >= first && (at - first) / sizeof *t < h->model->ntensors)
        list_tensor(h, (uint32_t)((at - first) / sizeof *t), b->see, b->more);
}

void hashes_before(struct hash_list *l, const struct source *s, hash_see *see, void *more)
{
    struct before b = {l, see, more};
    if (l)
        source_leaves(s, see_leaf, &b);
}

void hashes_left(struct hash_list *l, hash_see *see, void *more)
{
    for (uint32_t i = 0; l && i < l->nmodels; i++) {
        struct hashed_model *h = &l->models[i];
        for (uint32_t k = 0; k < h->model->ntensors; k++) {
            const struct tensor *t = &h->model->tensors[k];
            list_parts(&h->files[t->file], t->offset + t->nbytes, see, more);
            list_tensor(h, k, see, more);
        }
        for (uint32_t k = 0; k < h->model->nfiles; k++)
            list_parts(&h->files[k], UINT64_MAX, see, more);
    }
}

void hashes_all(struct hash_list *l, hash_see *see, void *more)
{
    for (uint32_t i = 0; l && i < l->nmodels; i++) {
        struct hashed_model *h = &l->models[i];
        for (uint32_t k = 0; k < h->model->nfiles; k++)
            for (uint32_t n = 0; n < h->files[k].nparts; n++)
                see(&h->files[k].parts[n], more);
        for (uint32_t k = 0; h->tensors && k < h->model->ntensors; k++)
            see(&h->tensors[k], more);
    }
}

/* ---- files alone ---------------------------------------------------------------------------- */

static enum quern_status hash_opened(struct model *m, const struct byte_range *ranges,
                                     const struct quern_run_options *options, char (*hex)[65],
                                     struct quern_error *err)
{
    struct plan *p = plan_new("hash", err);
    if (!p)
        return QUERN_EMEMORY;
    enum quern_status s = plan_add_model(p, m, err);
    if (s == QUERN_OK)
        s = hash_model(p, m, ranges, false, err);
    if (s == QUERN_OK)
        s = plan_run(p, options, NULL, err);
    for (uint32_t i = 0; s == QUERN_OK && i < m->nfiles; i++)
        hash_of_file(p, m, i, hex[i]);
    plan_free(p);
    return s;
}

static enum quern_status hash_some(const char *const *paths, const struct byte_range *ranges,
                                   uint32_t n, const struct quern_run_options *options,
                                   char (*hex)[65], struct quern_error *err)
{
    const struct quern_run_options some = {.threads = options ? options->threads : 0,
                                           .mem_bytes = options ? options->mem_bytes : 0,
                                           .progress = options ? options->progress : NULL,
                                           .user = options ? options->user : NULL,
                                           .cancel = options ? options->cancel : NULL};
    enum quern_status s = QUERN_OK;
    for (uint32_t at = 0, taken; s == QUERN_OK && at < n; at += taken) {
        struct model *m;
        TRY(byte_files_open(paths + at, n - at, &taken, &m, err));
        s = hash_opened(m, ranges ? ranges + at : NULL, &some, hex + at, err);
        model_close(m);
    }
    return s;
}

enum quern_status hash_files(const char *const *paths, uint32_t n,
                             const struct quern_run_options *options, char (*hex)[65],
                             struct quern_error *err)
{
    return hash_some(paths, NULL, n, options, hex, err);
}

enum quern_status hash_ranges(const struct byte_range *ranges, uint32_t n,
                              const struct quern_run_options *options, char (*hex)[65],
                              struct quern_error *err)
{
    const char **paths = malloc((n + (size_t)1) * sizeof *paths);
    if (!paths)
        return fail_memory(err, n * sizeof *paths);
    for (uint32_t i = 0; i < n; i++)
        paths[i] = ranges[i].path;
    const enum quern_status s = hash_some(paths, ranges, n, options, hex, err);
    free(paths);
    return s;
}
