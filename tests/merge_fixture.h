/* merge_fixture.h - what tests of merging share: models in a directory of their own, merges of
 * them. */
#ifndef QUERN_MERGE_FIXTURE_H
#define QUERN_MERGE_FIXTURE_H

#include <criterion/criterion.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/safetensors.h"
#include "merge/merge.h"
#include "quant/codec.h"
#include "tests/leaks.h"

#define DATA "tests/data/merge/"

/* ---- a directory for the files of one test ----------------------------------------------------
 */

static char dir[] = "/tmp/quern-merge-XXXXXX";
static struct arena arena; /* of the test */

static inline int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline void begin(void)
{
    cr_assert(mkdtemp(dir) != NULL);
}

static inline void end(void)
{
    arena_free(&arena);
    nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static inline char *text(const char *format, ...) __attribute__((format(printf, 1, 2)));
static inline char *text(const char *format, ...)
{
    char buffer[8192];
    va_list args;
    va_start(args, format);
    vsnprintf(buffer, sizeof buffer, format, args);
    va_end(args);
    return arena_printf(&arena, "%s", buffer);
}

static inline char *in_dir(const char *name)
{
    return text("%s/%s", dir, name);
}

static inline void write_text(const char *name, const char *content)
{
    FILE *f = fopen(in_dir(name), "w");
    cr_assert(f && fputs(content, f) >= 0 && fclose(f) == 0);
}

static inline char *read_text(const char *name)
{
    struct str s;
    struct quern_error err;
    cr_assert(read_small_file(in_dir(name), 1 << 20, &arena, &s, &err) == QUERN_OK, "%s", err.text);
    return (char *)s.p;
}

/* ---- models ---------------------------------------------------------------------------------- */

struct blob {
    const char *name;
    enum dtype dtype;
    uint64_t dims[2]; /* dims[1] == 0: one dimension */
    const void *bytes;
};

static inline uint8_t ndims_of(const struct blob *b)
{
    return b->dims[1] ? 2 : 1;
}

static inline uint64_t nbytes_of(const struct blob *b)
{
    uint64_t n;
    cr_assert(dtype_bytes(b->dtype, b->dims[0] * (b->dims[1] ? b->dims[1] : 1), &n));
    return n;
}

static inline void write_file(const char *path, struct str header, const struct blob *blobs,
                              const uint64_t *offsets, size_t n)
{
    FILE *f = fopen(path, "w");
    cr_assert(f && fwrite(header.p, 1, header.n, f) == header.n);
    for (size_t i = 0; i < n; i++) {
        const uint64_t size = nbytes_of(&blobs[i]);
        cr_assert(fseek(f, (long)offsets[i], SEEK_SET) == 0);
        cr_assert(fwrite(blobs[i].bytes, 1, size, f) == size);
    }
    cr_assert(fclose(f) == 0);
}

static inline void write_model(const char *name, const struct blob *blobs, size_t n)
{
    struct st_tensor t[64];
    uint64_t offsets[64], file_bytes;
    struct str header;
    struct quern_error err;
    for (size_t i = 0; i < n; i++)
        t[i] = (struct st_tensor){.name = str_from(blobs[i].name),
                                  .dims = blobs[i].dims,
                                  .ndims = ndims_of(&blobs[i]),
                                  .dtype = blobs[i].dtype,
                                  .nbytes = nbytes_of(&blobs[i])};
    const struct meta pt = {.key = STR("format"), .value = STR("pt"), .type = META_STRING};
    cr_assert(safetensors_layout(&arena, &pt, 1, t, (uint32_t)n, &header, &file_bytes, &err) ==
                  QUERN_OK,
              "%s", err.text);
    for (size_t i = 0; i < n; i++)
        offsets[i] = t[i].offset;
    write_file(in_dir(name), header, blobs, offsets, n);
}

static inline void write_gguf_with(const char *name, const struct meta *metas, uint32_t nmetas,
                                   const struct blob *blobs, size_t n)
{
    struct gguf_tensor t[64];
    uint64_t offsets[64], file_bytes;
    struct str header;
    struct quern_error err;
    for (size_t i = 0; i < n; i++)
        t[i] = (struct gguf_tensor){.name = str_from(blobs[i].name),
                                    .dims = blobs[i].dims,
                                    .ndims = ndims_of(&blobs[i]),
                                    .dtype = blobs[i].dtype,
                                    .nbytes = nbytes_of(&blobs[i])};
    cr_assert(gguf_layout(&arena, metas, nmetas, t, (uint32_t)n, 32, &header, &file_bytes, &err) ==
                  QUERN_OK,
              "%s", err.text);
    for (size_t i = 0; i < n; i++)
        offsets[i] = t[i].offset;
    write_file(in_dir(name), header, blobs, offsets, n);
    cr_assert(truncate(in_dir(name), (off_t)file_bytes) == 0);
}

static inline void write_gguf(const char *name, const char *arch, const struct blob *blobs,
                              size_t n)
{
    struct meta_list metas;
    cr_assert(meta_list_copy(&metas, &arena, NULL, 0) &&
              meta_list_set_string(&metas, "general.architecture", str_from(arch)) &&
              meta_list_set_u32(&metas, "general.file_type", 1));
    write_gguf_with(name, metas.items, metas.count, blobs, n);
}

/* A Hugging Face directory. */
static inline void write_hf(const char *name, const char *config, const struct blob *blobs,
                            size_t n)
{
    cr_assert(mkdir(in_dir(name), 0700) == 0);
    write_model(text("%s/model.safetensors", name), blobs, n);
    write_text(text("%s/config.json", name), config);
    write_text(text("%s/tokenizer.json", name), "{\"tokens\": []}");
}

/* The stored bytes of a tensor. */
static inline void *load_raw(const char *path, const char *tensor, uint64_t *nelems,
                             enum dtype *dtype)
{
    struct model *m;
    struct quern_error err;
    cr_assert(model_open(path, &m, &err) == QUERN_OK, "%s", err.text);
    const struct tensor *t = model_find(m, str_from(tensor));
    cr_assert(t, "%s has no %s", path, tensor);
    void *raw = arena_alloc(&arena, t->nbytes);
    cr_assert(model_pread(m, t->file, raw, t->nbytes, t->offset, &err) == QUERN_OK);
    *nelems = t->nelems;
    *dtype = t->dtype;
    model_close(m);
    return raw;
}

static inline float *load(const char *path, const char *tensor, uint64_t *nelems)
{
    uint64_t n;
    enum dtype dtype;
    const void *raw = load_raw(path, tensor, &n, &dtype);
    float *x = arena_alloc(&arena, n * sizeof *x);
    codec_kernels()->decode[dtype](raw, x, n);
    if (nelems)
        *nelems = n;
    return x;
}

/* ---- merging --------------------------------------------------------------------------------- */

/* Every word of the list is a model of the recipe: WORD lies in WORD.safetensors. */
static inline void place(struct merge_request *req, const char *words)
{
    static const char *mappings[MAX_SOURCES];
    char *copy = text("%s", words), *save = NULL;
    req->places.nmappings = 0;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
        mappings[req->places.nmappings++] = text("%s=%s/%s.safetensors", w, dir, w);
    req->places.mappings = mappings;
}

static inline enum quern_status run(const struct merge_request *req, struct quern_error *err)
{
    struct plan *plan;
    TRY(merge_plan(req, &plan, err));
    const struct quern_run_options options = {.threads = 2};
    const enum quern_status status = plan_run(plan, &options, NULL, err);
    plan_free(plan);
    return status;
}

/* Merges the models named in words into out.safetensors. */
static inline void merge(const char *words, const char *recipe)
{
    struct merge_request req = {
        .recipe_text = recipe, .output = in_dir("out.safetensors"), .force = true};
    struct quern_error err;
    place(&req, words);
    cr_assert(run(&req, &err) == QUERN_OK, "%s\n%s", recipe, err.text);
}

static inline void refused(const char *words, const char *recipe, enum quern_status status,
                           const char *const *found, size_t nfound)
{
    struct merge_request req = {
        .recipe_text = recipe, .output = in_dir("out.safetensors"), .force = true};
    struct quern_error err;
    place(&req, words);
    const enum quern_status got = run(&req, &err);
    cr_assert(got == status, "%s\nstatus %d %s", recipe, got, got ? err.text : "");
    for (size_t i = 0; i < nfound; i++)
        cr_assert(strstr(err.text, found[i]), "'%s' is not in\n%s", found[i], err.text);
    cr_assert(access(in_dir("out.safetensors"), F_OK) != 0);
}
#define REFUSED(words, recipe, status, ...)                                     \
    do {                                                                        \
        const char *const found_[] = {__VA_ARGS__};                             \
        refused(words, recipe, status, found_, sizeof found_ / sizeof *found_); \
    } while (0)

#define N2D (64 * 96)

static inline void one_tensor(const char *name, const float *x)
{
    const struct blob b = {
        .name = "w", .dtype = DTYPE_F32, .dims = {64, 96},
                .bytes = x
    };
    write_model(name, &b, 1);
}

static inline const char *slerp_recipe(double t)
{
    return text("merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: %g}\n",
                t);
}

static uint64_t seed = 0x7135;

static inline uint32_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

#endif
