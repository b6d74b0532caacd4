/* imatrix.c - read importance matrices: their directory as a sorted list, their values on demand.
 */
#include "formats/imatrix.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/gguf.h"
#include "formats/pack.h"

#define SUMS   ".in_sum2"
#define COUNTS ".counts"

/* ---- GGUF: keys ----------------------------------------------------------------------------- */

static enum quern_status wrong_key(const struct model *m, const char *key, const char *expected,
                                   struct quern_error *err)
{
    const struct meta *k = model_meta(m, key);
    if (!k)
        return fail(err, QUERN_EFORMAT, "missing-key", "there is no key '%s'" WANT "expected %s",
                    key, expected);
    return fail(err, QUERN_EFORMAT, "kv-type", "key '%s' is of type %s%s%s" WANT "expected %s", key,
                meta_type_name(k->type), k->type == META_ARRAY ? " of " : "",
                k->type == META_ARRAY ? meta_type_name(k->item_type) : "", expected);
}

static enum quern_status read_u32_key(const struct model *m, const char *key, uint32_t *out,
                                      struct quern_error *err)
{
    const struct meta *k = model_meta(m, key);
    uint64_t v = 0;
    if (!k || k->type != META_U32 || !meta_u64(k, &v))
        return wrong_key(m, key, "a u32", err);
    *out = (uint32_t)v;
    return QUERN_OK;
}

static enum quern_status read_datasets(struct imatrix *im, struct quern_error *err)
{
    const char *key = "imatrix.datasets";
    const struct meta *k = model_meta(im->model, key);
    if (!k || k->type != META_ARRAY || (k->item_type != META_STRING && k->count > 0))
        return wrong_key(im->model, key, "an array of strings", err);
    if (k->count == 0)
        return QUERN_OK;
    im->datasets = ARENA_NEW(&im->arena, struct str, k->count);
    if (!im->datasets)
        return fail_memory(err, k->count * sizeof *im->datasets);
    const char *at = k->value.p;
    for (uint64_t i = 0; i < k->count; i++)
        im->datasets[im->ndatasets++] = meta_next_string(&at);
    return QUERN_OK;
}

static bool is_imatrix(const struct model *m)
{
    struct str type;
    if (meta_string(model_meta(m, "general.type"), &type) && str_is(type, "imatrix"))
        return true;
    for (uint32_t i = 0; i < m->ntensors; i++)
        if (str_ends(m->tensors[i].name, SUMS))
            return true;
    return false;
}

static enum quern_status is_model(struct quern_error *err)
{
    return fail(err, QUERN_EUNSUPPORTED, "is-model",
                "this is a model" WANT "expected an importance matrix, as llama-imatrix makes it");
}

static enum quern_status read_keys(struct imatrix *im, struct quern_error *err)
{
    const struct model *m = im->model;
    if (!is_imatrix(m))
        return is_model(err);
    if (m->files[0].split_count > 1)
        return fail(err, QUERN_EUNSUPPORTED, "split",
                    "it is one of %u files of a set" WANT
                    "expected an importance matrix in one file",
                    m->files[0].split_count);
    TRY(read_datasets(im, err));
    TRY(read_u32_key(m, "imatrix.chunk_count", &im->chunk_count, err));
    return read_u32_key(m, "imatrix.chunk_size", &im->chunk_size, err);
}

/* ---- GGUF: tensors -------------------------------------------------------------------------- */

/* The name of the weight that a tensor tells something of; false for tensors of other names, which
 * llama.cpp ignores, too. */
static bool weight_of(const struct tensor *t, struct str *weight, bool *is_sums)
{
    *is_sums = str_ends(t->name, SUMS);
    if (!*is_sums && !str_ends(t->name, COUNTS))
        return false;
    *weight = t->name;
    weight->n -= strlen(*is_sums ? SUMS : COUNTS);
    return true;
}

static const struct tensor *find_counterpart(struct imatrix *im, struct str weight,
                                             const char *suffix)
{
    char name[GGUF_MAX_NAME + 1];
    if (weight.n + strlen(suffix) > GGUF_MAX_NAME)
        return NULL;
    snprintf(name, sizeof name, "%.*s%s", STR_ARG(weight), suffix);
    return model_find(im->model, str_from(name));
}

static enum quern_status check_f32(const struct tensor *t, struct quern_error *err)
{
    if (t->dtype != DTYPE_F32)
        return fail(err, QUERN_EFORMAT, "tensor-type", "it is stored as %s" WANT "expected F32",
                    dtype_traits[t->dtype].name);
    return t->nelems > 0 ? QUERN_OK
                         : fail(err, QUERN_EFORMAT, "dims", "it is empty" WANT "expected values");
}

static enum quern_status check_entry(struct imatrix_entry *e, struct quern_error *err)
{
    TRY(in_tensor(err, e->sums->name, check_f32(e->sums, err)));
    TRY(in_tensor(err, e->counts->name, check_f32(e->counts, err)));
    if (e->sums->nelems % e->counts->nelems != 0)
        return in_tensor(err, e->sums->name,
                         fail(err, QUERN_EFORMAT, "dims",
                              "it has %" PRIu64 " values, and there are %" PRIu64 " counts" WANT
                              "expected as many values for each count",
                              e->sums->nelems, e->counts->nelems));
    e->nmats = e->counts->nelems;
    e->ncols = e->sums->nelems / e->nmats;
    return QUERN_OK;
}

static enum quern_status add_entry(struct imatrix *im, const struct tensor *t, struct str weight,
                                   struct quern_error *err)
{
    struct imatrix_entry *e = &im->entries[im->nentries];
    e->name = arena_str(&im->arena, weight);
    if (!e->name.p)
        return fail_memory(err, weight.n + 1);
    e->sums = t;
    e->counts = find_counterpart(im, weight, COUNTS);
    e->ncalls = 1;
    if (weight.n == 0)
        return in_tensor(err, t->name,
                         fail(err, QUERN_EFORMAT, "name",
                              "it belongs to a weight without a name" WANT "expected NAME" SUMS
                              " and NAME" COUNTS));
    im->nentries++;
    return e->counts ? check_entry(e, err) : QUERN_OK;
}

static enum quern_status check_pair(struct imatrix *im, const struct tensor *t, struct str weight,
                                    bool is_sums, struct quern_error *err)
{
    const char *other = is_sums ? COUNTS : SUMS;
    if (find_counterpart(im, weight, other))
        return QUERN_OK;
    return in_tensor(err, t->name,
                     fail(err, QUERN_EFORMAT, "missing-pair",
                          "there is no '%s%s' beside it" WANT "expected sums and counts for every "
                          "weight",
                          quoted(weight).text, other));
}

static enum quern_status read_pairs(struct imatrix *im, struct quern_error *err)
{
    const struct model *m = im->model;
    im->entries = ARENA_NEW(&im->arena, struct imatrix_entry, m->ntensors + 1);
    if (!im->entries)
        return fail_memory(err, m->ntensors * sizeof *im->entries);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        struct str weight;
        bool is_sums;
        if (!weight_of(&m->tensors[i], &weight, &is_sums))
            continue;
        TRY(check_pair(im, &m->tensors[i], weight, is_sums, err));
        if (is_sums)
            TRY(add_entry(im, &m->tensors[i], weight, err));
    }
    return QUERN_OK;
}

static enum quern_status read_gguf(struct imatrix *im, struct quern_error *err)
{
    TRY(gguf_read(im->model, 0, err));
    im->model->format = MODEL_GGUF;
    TRY(read_keys(im, err));
    return read_pairs(im, err);
}

/* ---- .dat ----------------------------------------------------------------------------------- */

static enum quern_status read_rows(struct imatrix *im, struct quern_error *err)
{
    const uint32_t *ncalls;
    TRY(imatrix_dat_read(im, &ncalls, err));
    const struct model *m = im->model;
    im->legacy = true;
    im->entries = ARENA_NEW(&im->arena, struct imatrix_entry, m->ntensors);
    if (!im->entries)
        return fail_memory(err, m->ntensors * sizeof *im->entries);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        const struct tensor *t = &m->tensors[i];
        im->entries[im->nentries++] = (struct imatrix_entry){
            .name = t->name, .ncols = t->nelems, .nmats = 1, .sums = t, .ncalls = (float)ncalls[i]};
    }
    return QUERN_OK;
}

/* What cannot be walked may be quite another file: then that is what went wrong. Only then, because
 * the number of entries may be any bytes. */
static enum quern_status read_dat(struct imatrix *im, const uint8_t *head, size_t n,
                                  struct quern_error *err)
{
    const enum quern_status s = read_rows(im, err);
    const char *sentence;
    const char *kind = s == QUERN_EFORMAT ? sniff(head, n, &sentence) : NULL;
    if (!kind)
        return s;
    if (err)
        *err = (struct quern_error){0};
    return strcmp(kind, "is-safetensors") == 0
               ? is_model(err)
               : fail(err, QUERN_EFORMAT, kind, "%s" WANT "expected an importance matrix",
                      sentence);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return str_cmp(((const struct imatrix_entry *)a)->name,
                   ((const struct imatrix_entry *)b)->name);
}

static enum quern_status read_file(struct imatrix *im, struct quern_error *err)
{
    struct model *m = im->model;
    TRY(model_add_file(m, m->path, path_base(m->path), err));
    uint8_t head[SNIFF_BYTES];
    const uint64_t size = m->files[0].id.nbytes;
    const size_t n = size < sizeof head ? (size_t)size : sizeof head;
    TRY(model_pread(m, 0, head, n, 0, err));
    TRY(n >= 4 && memcmp(head, "GGUF", 4) == 0 ? read_gguf(im, err) : read_dat(im, head, n, err));
    if (im->nentries == 0)
        return fail(err, QUERN_EFORMAT, "empty",
                    "there is no entry in it" WANT "expected the importance of some weights");
    qsort(im->entries, im->nentries, sizeof *im->entries, by_name);
    return QUERN_OK;
}

/* A pack stands for its file when it has but one. */
static enum quern_status find_in_pack(struct model *m, struct quern_error *err)
{
    const char **names;
    uint32_t n;
    if (!path_is_dir(m->path))
        return QUERN_OK;
    TRY(path_list(m->path, &m->arena, &names, &n, err));
    if (n != 1)
        return fail(err, QUERN_EUSAGE, "pack",
                    "this is a pack of several files" WANT
                    "name the importance matrix in it: %s/FILE",
                    quoted(str_from(m->path)).text);
    m->path = path_join(&m->arena, m->path, names[0]);
    return m->path ? QUERN_OK : fail_memory(err, strlen(names[0]));
}

enum quern_status imatrix_open(const char *path, struct imatrix **out, struct quern_error *err)
{
    struct archive *held = NULL;
    struct imatrix *im = calloc(1, sizeof *im);
    if (!im)
        return fail_memory(err, sizeof *im);
    enum quern_status s = model_new(path, 1, &im->model, err);
    if (s == QUERN_OK)
        s = pack_enter(path, &held, err);
    if (s == QUERN_OK)
        s = held ? in_file(err, path, find_in_pack(im->model, err)) : QUERN_OK;
    if (s == QUERN_OK)
        s = in_file(err, path, read_file(im, err));
    archive_leave(held); /* the model holds it */
    if (s == QUERN_OK)
        *out = im;
    else
        imatrix_close(im);
    return s;
}

void imatrix_close(struct imatrix *im)
{
    if (!im)
        return;
    model_close(im->model);
    arena_free(&im->arena);
    free(im);
}

size_t imatrix_bytes(const struct imatrix *im)
{
    return sizeof *im + im->arena.nbytes + model_bytes(im->model);
}

static int name_to_entry(const void *name, const void *entry)
{
    return str_cmp(*(const struct str *)name, ((const struct imatrix_entry *)entry)->name);
}

const struct imatrix_entry *imatrix_find(const struct imatrix *im, struct str name)
{
    return bsearch(&name, im->entries, im->nentries, sizeof *im->entries, name_to_entry);
}

/* ---- values --------------------------------------------------------------------------------- */

static enum quern_status wrong_value(const struct imatrix *im, const struct tensor *t, uint64_t i,
                                     float v, struct quern_error *err)
{
    char text[32];
    snprintf(text, sizeof text, "%g", (double)v);
    return in_file(
        err, im->model->path,
        in_tensor(err, t->name,
                  fail(err, QUERN_EFORMAT, "nonfinite",
                       "value %" PRIu64 " is %s" WANT "expected finite values of 0 or more", i,
                       isnan(v)   ? "NaN"
                       : isinf(v) ? v > 0 ? "Inf" : "-Inf"
                                  : text)));
}

enum quern_status imatrix_check_values(const struct imatrix *im, const struct tensor *t,
                                       uint64_t first, size_t n, const float *v,
                                       struct quern_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (!(v[i] >= 0 && v[i] <= FLT_MAX))
            return wrong_value(im, t, first + i, v[i], err);
    return QUERN_OK;
}

enum quern_status imatrix_round_counts(const struct imatrix *im, const struct tensor *t,
                                       uint64_t first, size_t n, float *counts,
                                       struct quern_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!(counts[i] >= 0 && counts[i] < 0x1p53f))
            return wrong_value(im, t, first + i, counts[i], err);
        counts[i] = roundf(counts[i]);
    }
    return QUERN_OK;
}

enum quern_status imatrix_counts(const struct imatrix *im, const struct imatrix_entry *e,
                                 uint64_t first, size_t n, float *counts, struct quern_error *err)
{
    const struct tensor *t = e->counts;
    TRY(model_pread(im->model, t->file, counts, n * sizeof *counts,
                    t->offset + first * sizeof *counts, err));
    return imatrix_round_counts(im, t, first, n, counts, err);
}

static bool are_zero(const float *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (v[i] > 0)
            return false;
    return true;
}

enum quern_status imatrix_check_matrix(const struct imatrix *im, const struct imatrix_entry *e,
                                       uint64_t mat, size_t n, const float *v,
                                       struct quern_error *err)
{
    float x[IMATRIX_BATCH];
    if (!are_zero(v, n)) /* nearly always the first one tells */
        return QUERN_OK;
    for (uint64_t done = 0, some; done < e->ncols; done += some) {
        some = e->ncols - done < IMATRIX_BATCH ? e->ncols - done : IMATRIX_BATCH;
        TRY(imatrix_read(im, e, mat * e->ncols + done, (size_t)some, x, err));
        if (!are_zero(x, (size_t)some))
            return QUERN_OK;
    }
    char which[48] = "";
    if (e->nmats > 1)
        snprintf(which, sizeof which, " of matrix %" PRIu64, mat);
    return in_file(err, im->model->path,
                   in_tensor(err, e->sums->name,
                             fail(err, QUERN_EFORMAT, "zero-importance",
                                  "all values%s are 0, and so would be all its weights" WANT
                                  "leave the entry out (--exclude-weights); --reference-bugs "
                                  "takes it",
                                  which)));
}

static void divide(float *values, size_t n, float count)
{
    for (size_t i = 0; i < n; i++)
        values[i] = count > 0 ? values[i] / count : 1.0f;
}

static enum quern_status divide_by_counts(const struct imatrix *im, const struct imatrix_entry *e,
                                          uint64_t first, size_t n, float *out,
                                          struct quern_error *err)
{
    float counts[IMATRIX_BATCH];
    /* Not e->ncols: one count may serve all experts of a matrix that was converted from a .dat. */
    const uint64_t ncols = e->sums->nelems / e->counts->nelems;
    uint64_t mat = first / ncols;
    const uint64_t end_mat = (first + n - 1) / ncols + 1;
    for (uint64_t at = first; mat < end_mat;) {
        const size_t batch =
            end_mat - mat < IMATRIX_BATCH ? (size_t)(end_mat - mat) : IMATRIX_BATCH;
        TRY(imatrix_counts(im, e, mat, batch, counts, err));
        for (size_t i = 0; i < batch; i++, mat++) {
            const uint64_t end = (mat + 1) * ncols < first + n ? (mat + 1) * ncols : first + n;
            divide(out + (at - first), (size_t)(end - at), counts[i]);
            at = end;
        }
    }
    return QUERN_OK;
}

enum quern_status imatrix_read(const struct imatrix *im, const struct imatrix_entry *e,
                               uint64_t first, size_t n, float *out, struct quern_error *err)
{
    if (n == 0)
        return QUERN_OK;
    const struct tensor *t = e->sums;
    TRY(model_pread(im->model, t->file, out, n * sizeof *out, t->offset + first * sizeof *out,
                    err));
    if (e->counts)
        TRY(divide_by_counts(im, e, first, n, out, err));
    else
        divide(out, n, e->ncalls);
    return imatrix_check_values(im, t, first, n, out, err);
}

enum quern_status imatrix_check_entry(const struct imatrix *im, const struct imatrix_entry *e,
                                      struct quern_error *err)
{
    float values[2048];
    const uint64_t n = e->sums->nelems, most = sizeof values / sizeof *values;
    for (uint64_t at = 0; at < n; at += most)
        TRY(imatrix_read(im, e, at, n - at < most ? (size_t)(n - at) : (size_t)most, values, err));
    return QUERN_OK;
}
