/* packed.h - small checkpoints with packed weights for tests, and what is read out of them. */
#ifndef QUERN_TESTS_PACKED_H
#define QUERN_TESTS_PACKED_H

#include "convert/unpack.h"
#include "tests/checkpoint.h"

/* A model with these tensors (rows of name, type, distribution, dimensions, as JSON) whose
 * config.json has these members. The path stays until the next one is made. */
static inline const char *write_packed(const char *config, const char *tensors)
{
    static char dir[512];
    char text[8192];
    struct json *model;
    struct quern_error err;
    snprintf(dir, sizeof dir, "%s", scratch_folder("packed"));
    cr_assert((size_t)snprintf(text, sizeof text, "{\"seed\":\"x\",\"shards\":1,\"tensors\":[%s]}",
                               tensors) < sizeof text);
    cr_assert(json_parse(str_from(text), &model, &err) == QUERN_OK, "%s", err.text);
    write_weights(model, dir);
    json_free(model);
    snprintf(text, sizeof text, "{%s}", config);
    put_file(dir, "config.json", str_from(text));
    return dir;
}

struct opened {
    struct arena arena;
    struct model *model;
    struct view view;
    struct unpacked result;
};

static inline enum quern_status open_packed(const char *dir, struct opened *o,
                                            struct quern_error *err)
{
    const struct folder folder = {.path = dir};
    *o = (struct opened){.model = NULL};
    cr_assert(model_open(dir, &o->model, err) == QUERN_OK, "%s", err->text);
    cr_assert(view_of_model(o->model, &o->arena, &o->view, err) == QUERN_OK);
    return unpack_view(&o->view, &folder, &o->arena, &o->result, err);
}

static inline void close_packed(struct opened *o)
{
    view_free(&o->view);
    model_close(o->model);
    arena_free(&o->arena);
}

static inline const struct source *unpacked_source(const struct opened *o, const char *name)
{
    const struct source *s = view_find(&o->view, str_from(name));
    cr_assert(s, "no tensor %s", name);
    return s;
}

/* All values of a source, read `step` at a time; the arena's. */
static inline float *read_source(struct opened *o, const struct source *s, size_t step)
{
    const uint64_t n = s->tensor->nelems;
    float *x = arena_alloc(&o->arena, n * sizeof *x + 1);
    void *scratch = calloc(1, source_scratch_bytes(s, false) + 1);
    struct quern_error err;
    uint64_t moved = 0;
    for (uint64_t i = 0; i < n; i += step) {
        const size_t some = n - i < step ? (size_t)(n - i) : step;
        cr_assert(source_read(s, scratch, false, i, some, x + i, &moved, &err) == QUERN_OK, "%s",
                  err.text);
    }
    free(scratch);
    return x;
}

/* Whatever the pieces are, and in 64 bits as in 32. */
static inline float *read_unpacked(struct opened *o, const char *name)
{
    const struct source *s = unpacked_source(o, name);
    const uint64_t n = s->tensor->nelems;
    float *x = read_source(o, s, PIECE), *again = read_source(o, s, 37);
    cr_assert(memcmp(x, again, n * sizeof *x) == 0, "%s: pieces show", name);
    void *scratch = calloc(1, source_scratch_bytes(s, true) + 1);
    double wide[64];
    uint64_t moved = 0;
    const size_t some = n < 64 ? (size_t)n : 64;
    cr_assert(source_read(s, scratch, true, n - some, some, wide, &moved, NULL) == QUERN_OK);
    for (size_t i = 0; i < some; i++)
        cr_assert(wide[i] == (double)x[n - some + i]);
    free(scratch);
    return x;
}

/* A stored tensor as bytes; the arena's. */
static inline uint8_t *stored_bytes(struct opened *o, const char *name)
{
    const struct tensor *t = model_find(o->model, str_from(name));
    cr_assert(t, "no stored %s", name);
    uint8_t *p = arena_alloc(&o->arena, t->nbytes + 1);
    cr_assert(model_pread(o->model, t->file, p, t->nbytes, t->offset, NULL) == QUERN_OK);
    return p;
}

/* A stored tensor of floats; the arena's. */
static inline float *stored_floats(struct opened *o, const char *name)
{
    const struct tensor *t = model_find(o->model, str_from(name));
    cr_assert(t, "no stored %s", name);
    const struct source s = {.model = o->model, .tensor = t};
    return read_source(o, &s, PIECE);
}

#endif
