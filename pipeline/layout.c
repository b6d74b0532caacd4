/* layout.c - give every step its place in an output file. */
#include <inttypes.h>
#include <stdio.h>

#include "core/checked.h"
#include "formats/safetensors.h"
#include "plan.h"

#define INDEX_NAME "model.safetensors.index.json"

static enum quern_status new_files(struct plan *p, uint32_t n, struct quern_error *err)
{
    p->nfiles = n;
    p->files = ARENA_NEW(&p->arena, struct plan_file, n);
    return p->files ? QUERN_OK : fail_memory(err, n * sizeof *p->files);
}

static enum quern_status keep_metas(struct plan *p, const struct meta *metas, uint32_t n,
                                    struct quern_error *err)
{
    struct meta *copy = ARENA_NEW(&p->arena, struct meta, n + 1u);
    if (!copy)
        return fail_memory(err, n * sizeof *copy);
    if (n)
        memcpy(copy, metas, n * sizeof *copy);
    p->metas = copy;
    p->nmetas = n;
    return QUERN_OK;
}

/* Lays out the steps of one file, which are first .. first+n in step order. */
static enum quern_status gguf_file(struct plan *p, uint32_t file, const struct meta_list *metas,
                                   uint64_t alignment, uint32_t first, uint32_t n,
                                   struct quern_error *err)
{
    struct gguf_tensor *t = ARENA_NEW(&p->arena, struct gguf_tensor, n ? n : 1);
    if (!t)
        return fail_memory(err, n * sizeof *t);
    for (uint32_t i = 0; i < n; i++) {
        const struct step *s = &p->steps[first + i];
        t[i] = (struct gguf_tensor){.name = s->name,
                                    .dims = s->dims,
                                    .ndims = s->ndims,
                                    .dtype = s->dtype,
                                    .nbytes = s->nbytes};
    }
    struct plan_file *f = &p->files[file];
    TRY((p->keep_ones ? gguf_layout_whole : gguf_layout)(
        &p->arena, metas->items, metas->count, t, n, alignment, &f->header, &f->nbytes, err));
    for (uint32_t i = 0; i < n; i++) {
        p->steps[first + i].file = file;
        p->steps[first + i].offset = t[i].offset;
    }
    return QUERN_OK;
}

enum quern_status layout_gguf(struct plan *p, const char *path, const struct meta_list *metas,
                              uint64_t alignment, struct quern_error *err)
{
    p->laid_out = LAID_GGUF;
    p->laid_alignment = alignment;
    TRY(plan_size_steps(p, err));
    TRY(new_files(p, 1, err));
    TRY(keep_metas(p, metas->items, metas->count, err));
    p->files[0].path = arena_printf(&p->arena, "%s", path);
    if (!p->files[0].path)
        return fail_memory(err, strlen(path));
    return in_file(err, path, gguf_file(p, 0, metas, alignment, 0, p->nsteps, err));
}

static bool set_split_keys(struct meta_list *l, enum split_keys keys, uint32_t shard,
                           uint32_t nshards, uint32_t ntensors)
{
    if (keys == SPLIT_AS_GGUF_SPLIT)
        return meta_list_set_u16(l, "split.no", (uint16_t)shard) &&
               meta_list_set_i32(l, "split.tensors.count", (int32_t)ntensors) &&
               meta_list_set_u16(l, "split.count", (uint16_t)nshards);
    return nshards == 1 || (meta_list_set_u16(l, "split.no", (uint16_t)shard) &&
                            meta_list_set_u16(l, "split.count", (uint16_t)nshards) &&
                            meta_list_set_i32(l, "split.tensors.count", (int32_t)ntensors));
}

enum quern_status layout_gguf_split(struct plan *p, const char *prefix,
                                    const struct meta_list *metas, uint64_t alignment,
                                    const uint32_t *shard_of, uint32_t nshards,
                                    enum split_keys split, struct quern_error *err)
{
    if (nshards > MAX_SHARDS)
        return fail(err, QUERN_EUSAGE, "usage",
                    "that would be %" PRIu32 " files" WANT "expected at most %u", nshards,
                    MAX_SHARDS);
    TRY(plan_size_steps(p, err));
    TRY(new_files(p, nshards, err));
    TRY(keep_metas(p, metas->items, metas->count, err));
    uint32_t first = 0;
    for (uint32_t shard = 0; shard < nshards; shard++) {
        uint32_t n = 0;
        while (first + n < p->nsteps && shard_of[first + n] == shard)
            n++;
        struct meta_list keys = {.arena = &p->arena};
        bool ok = shard > 0 || meta_list_copy(&keys, &p->arena, metas->items, metas->count);
        ok = ok && set_split_keys(&keys, split, shard, nshards, p->nsteps);
        char *path = arena_printf(&p->arena, "%s-%05" PRIu32 "-of-%05" PRIu32 ".gguf", prefix,
                                  shard + 1, nshards);
        if (!ok || !path)
            return fail_memory(err, strlen(prefix));
        p->files[shard].path = path;
        TRY(in_file(err, path, gguf_file(p, shard, &keys, alignment, first, n, err)));
        alignment = GGUF_DEFAULT_ALIGNMENT;
        first += n;
    }
    return QUERN_OK;
}

static uint32_t st_count(const struct step *s)
{
    return s->parts ? s->nparts : 1;
}

/* The tensors of a step: itself, or its parts. */
static enum quern_status st_tensors(const struct step *s, struct st_tensor *t,
                                    struct quern_error *err)
{
    if (!s->parts) {
        *t = (struct st_tensor){.name = s->name,
                                .dims = s->dims,
                                .ndims = s->ndims,
                                .dtype = s->dtype,
                                .nbytes = s->nbytes};
        return QUERN_OK;
    }
    for (uint32_t i = 0; i < s->nparts; i++) {
        const struct step_part *part = &s->parts[i];
        uint64_t nelems;
        t[i] = (struct st_tensor){
            .name = part->name, .dims = part->dims, .ndims = part->ndims, .dtype = s->dtype};
        if (!dims_product(part->dims, part->ndims, &nelems) ||
            !dtype_bytes(s->dtype, nelems, &t[i].nbytes))
            return in_tensor(err, part->name, fail(err, QUERN_EUSAGE, "overflow", "too large"));
    }
    return QUERN_OK;
}

/* The parts must have come to lie one after the other. */
static enum quern_status st_place(struct step *s, uint32_t file, const struct st_tensor *t,
                                  struct quern_error *err)
{
    s->file = file;
    s->offset = t[0].offset;
    for (uint32_t i = 1; i < st_count(s); i++)
        if (t[i].offset != t[i - 1].offset + t[i - 1].nbytes)
            return in_tensor(err, t[i].name,
                             fail(err, QUERN_EINTERNAL, "internal", "it was laid out elsewhere"));
    return QUERN_OK;
}

static enum quern_status st_file(struct plan *p, uint32_t file, const struct meta *metadata,
                                 uint32_t nmetadata, uint32_t first, uint32_t n,
                                 struct quern_error *err)
{
    uint32_t count = 0, at = 0;
    for (uint32_t i = 0; i < n; i++)
        count += st_count(&p->steps[first + i]);
    struct st_tensor *t = ARENA_NEW(&p->arena, struct st_tensor, count ? count : 1);
    if (!t)
        return fail_memory(err, count * sizeof *t);
    for (uint32_t i = 0; i < n; at += st_count(&p->steps[first + i++]))
        TRY(st_tensors(&p->steps[first + i], &t[at], err));
    struct plan_file *f = &p->files[file];
    TRY(safetensors_layout(&p->arena, metadata, nmetadata, t, count, &f->header, &f->nbytes, err));
    at = 0;
    for (uint32_t i = 0; i < n; at += st_count(&p->steps[first + i++]))
        TRY(st_place(&p->steps[first + i], file, &t[at], err));
    return QUERN_OK;
}

enum quern_status layout_safetensors(struct plan *p, const char *path, const struct meta *metadata,
                                     uint32_t nmetadata, struct quern_error *err)
{
    TRY(plan_size_steps(p, err));
    TRY(new_files(p, 1, err));
    TRY(keep_metas(p, metadata, nmetadata, err));
    p->files[0].path = arena_printf(&p->arena, "%s", path);
    if (!p->files[0].path)
        return fail_memory(err, strlen(path));
    return in_file(err, path, st_file(p, 0, metadata, nmetadata, 0, p->nsteps, err));
}

static enum quern_status add_index(struct plan *p, struct quern_error *err)
{
    struct str *names = ARENA_NEW(&p->arena, struct str, p->nsteps);
    const char **files = ARENA_NEW(&p->arena, const char *, p->nsteps);
    if (!names || !files)
        return fail_memory(err, p->nsteps * sizeof *names);
    uint64_t total = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        names[i] = p->steps[i].name;
        files[i] = p->files[p->steps[i].file].path;
        total += p->steps[i].nbytes;
    }
    struct str text;
    TRY(safetensors_index_text(&p->arena, names, files, p->nsteps, total, &text, err));
    return plan_add_side_text(p, INDEX_NAME, text, err);
}

/* Steps first_of[i] .. first_of[i + 1] go into shard i. */
static enum quern_status layout_shards(struct plan *p, const struct meta *metadata,
                                       uint32_t nmetadata, const uint32_t *first_of,
                                       uint32_t nshards, struct quern_error *err)
{
    TRY(new_files(p, nshards, err));
    TRY(keep_metas(p, metadata, nmetadata, err));
    for (uint32_t shard = 0; shard < nshards; shard++) {
        char *name = nshards == 1 ? arena_printf(&p->arena, "model.safetensors")
                                  : arena_printf(&p->arena,
                                                 "model-%05" PRIu32 "-of-%05" PRIu32 ".safetensors",
                                                 shard + 1, nshards);
        if (!name)
            return fail_memory(err, 64);
        p->files[shard].path = name;
        TRY(in_file(err, name,
                    st_file(p, shard, metadata, nmetadata, first_of[shard],
                            first_of[shard + 1] - first_of[shard], err)));
    }
    return nshards > 1 ? add_index(p, err) : QUERN_OK;
}

/* The first steps of shards, and where the last one ends. */
static uint32_t cut_shards(const struct plan *p, uint64_t shard_bytes, uint32_t *first_of)
{
    uint64_t total = 0;
    uint32_t n = 0;
    for (uint32_t i = 0; i < p->nsteps; i++) {
        const uint64_t with = total + p->steps[i].nbytes;
        if (i == 0 || (shard_bytes && with > shard_bytes)) {
            first_of[n++] = i;
            total = 0;
        }
        total += p->steps[i].nbytes;
    }
    if (n == 0)
        first_of[n++] = 0;
    first_of[n] = p->nsteps;
    return n;
}

enum quern_status layout_directory(struct plan *p, const char *dir, const struct meta *metadata,
                                   uint32_t nmetadata, uint64_t shard_bytes,
                                   struct quern_error *err)
{
    TRY(plan_size_steps(p, err));
    p->laid_out = LAID_DIRECTORY;
    p->dir = arena_printf(&p->arena, "%s", dir);
    uint32_t *first_of = ARENA_NEW(&p->arena, uint32_t, p->nsteps + 2u);
    if (!p->dir || !first_of)
        return fail_memory(err, p->nsteps * sizeof *first_of);
    const uint32_t nshards = cut_shards(p, shard_bytes, first_of);
    return layout_shards(p, metadata, nmetadata, first_of, nshards, err);
}

/* ---- in other files ------------------------------------------------------------------------- */

static enum quern_status gguf_in_files(struct plan *p, const uint32_t *first_of, uint32_t n,
                                       struct quern_error *err)
{
    const struct str path = str_from(p->files[0].path);
    const bool ends = str_ends(path, ".gguf");
    char *prefix = arena_printf(&p->arena, "%.*s", (int)(path.n - (ends ? 5 : 0)), path.p);
    uint32_t *file_of = ARENA_NEW(&p->arena, uint32_t, p->nsteps + 1u);
    struct meta_list metas = {.arena = &p->arena};
    if (!prefix || !file_of || !meta_list_copy(&metas, &p->arena, p->metas, p->nmetas))
        return fail_memory(err, p->nsteps * sizeof *file_of);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = first_of[i]; k < first_of[i + 1]; k++)
            file_of[k] = i;
    return layout_gguf_split(p, prefix, &metas, p->laid_alignment, file_of, n, SPLIT_AS_QUANTIZE,
                             err);
}

static enum quern_status directory_in_files(struct plan *p, const uint32_t *first_of, uint32_t n,
                                            struct quern_error *err)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < p->nsides; i++)
        if (strcmp(p->sides[i].name, INDEX_NAME) != 0)
            p->sides[kept++] = p->sides[i];
    p->nsides = kept;
    return layout_shards(p, p->metas, p->nmetas, first_of, n, err);
}

enum quern_status layout_in_files(struct plan *p, const uint32_t *first_of, uint32_t n,
                                  struct quern_error *err)
{
    if (p->laid_out == LAID_DIRECTORY)
        return directory_in_files(p, first_of, n, err);
    if (p->laid_out == LAID_GGUF)
        return n > 1 ? gguf_in_files(p, first_of, n, err) : QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "layout",
                "this output has its files already" WANT
                "expected a directory or one GGUF file: without, the parts are put together");
}

/* ---- importance matrices -------------------------------------------------------------------- */

static enum quern_status dat_file(struct plan *p, const uint32_t *ncalls, uint32_t chunk_count,
                                  struct str dataset, struct quern_error *err)
{
    const uint32_t n = p->nsteps;
    struct imatrix_row *rows = ARENA_NEW(&p->arena, struct imatrix_row, n + 1);
    struct inset *insets = ARENA_NEW(&p->arena, struct inset, n + 1);
    struct plan_file *f = &p->files[0];
    if (!rows || !insets)
        return fail_memory(err, n * sizeof *rows);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = (struct imatrix_row){
            .name = p->steps[i].name, .ncalls = ncalls[i], .nvalues = p->steps[i].nelems};
    TRY(imatrix_dat_layout(&p->arena, rows, n, chunk_count, dataset, &f->header, &insets[n].text,
                           &insets[n].offset, err));
    for (uint32_t i = 0; i < n; i++) {
        p->steps[i].offset = rows[i].offset;
        insets[i] = (struct inset){rows[i].lead, rows[i].offset - rows[i].lead.n};
    }
    f->insets = insets;
    f->ninsets = n + 1;
    f->nbytes = insets[n].offset + insets[n].text.n;
    return QUERN_OK;
}

enum quern_status layout_imatrix_dat(struct plan *p, const char *path, const uint32_t *ncalls,
                                     uint32_t chunk_count, struct str dataset,
                                     struct quern_error *err)
{
    TRY(plan_size_steps(p, err));
    TRY(new_files(p, 1, err));
    p->files[0].path = arena_printf(&p->arena, "%s", path);
    if (!p->files[0].path)
        return fail_memory(err, strlen(path));
    return in_file(err, path, dat_file(p, ncalls, chunk_count, dataset, err));
}
