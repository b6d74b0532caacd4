/* verify_sides.c - compare the small files of a plan with those of a directory. */
#include "verify.h"

#include <stdlib.h>

#include "carry.h"
#include "core/io.h"
#include "core/json.h"

#define BUFFER    (64u << 10)
#define MOST_KEYS 20u /* of one file that are told */

struct side_job {
    struct plan *plan;
    struct verification *v;
    const struct side_file *side;
    const char *path; /* where its like should be */
    uint32_t capacity;
};

static enum quern_status add(struct side_job *j, const char *key, const char *what, bool describes,
                             struct quern_error *err)
{
    struct verification *v = j->v;
    if (v->nsides == j->capacity) {
        j->capacity = j->capacity ? j->capacity * 2 : 16;
        struct side_mismatch *bigger =
            ARENA_NEW(&j->plan->arena, struct side_mismatch, j->capacity);
        if (!bigger)
            return fail_memory(err, j->capacity * sizeof *bigger);
        if (v->nsides)
            memcpy(bigger, v->sides, v->nsides * sizeof *bigger);
        v->sides = bigger;
    }
    v->sides[v->nsides++] = (struct side_mismatch){
        .name = j->side->name, .key = key, .what = what, .describes = describes};
    return QUERN_OK;
}

/* Files for people. */
static bool is_prose(const char *name)
{
    const struct str s = str_from(name);
    return str_ends(s, ".md") || str_ends(s, ".yml") || str_is(s, "LICENSE") || str_is(s, "NOTICE");
}

/* ---- bytes ---------------------------------------------------------------------------------- */

/* One of the two files: open, or in memory. */
struct bytes {
    const char *path;
    struct str text; /* .p is NULL: read from the file */
    struct any_file file;
    uint64_t n;
};

static enum quern_status open_bytes(const char *path, struct bytes *b, struct quern_error *err)
{
    b->path = path;
    b->text = (struct str){NULL, 0};
    TRY(any_open(path, &b->file, err));
    b->n = b->file.nbytes;
    return QUERN_OK;
}

static enum quern_status read_at(const struct bytes *b, uint64_t at, char *to, size_t n,
                                 struct quern_error *err)
{
    if (!b->text.p)
        return any_read(&b->file, to, n, at, err);
    memcpy(to, b->text.p + at, n);
    return QUERN_OK;
}

static enum quern_status same_bytes(const struct bytes *a, const struct bytes *b, bool *same,
                                    struct quern_error *err)
{
    *same = a->n == b->n;
    if (!*same)
        return QUERN_OK;
    char *room = malloc(2 * (size_t)BUFFER);
    enum quern_status s = room ? QUERN_OK : fail_memory(err, 2 * (size_t)BUFFER);
    for (uint64_t at = 0; s == QUERN_OK && *same && at < a->n; at += BUFFER) {
        const size_t n = a->n - at < BUFFER ? (size_t)(a->n - at) : BUFFER;
        s = read_at(a, at, room, n, err);
        if (s == QUERN_OK)
            s = read_at(b, at, room + BUFFER, n, err);
        *same = s == QUERN_OK && memcmp(room, room + BUFFER, n) == 0;
    }
    free(room);
    return s;
}

/* ---- JSON ----------------------------------------------------------------------------------- */

static bool same_json(const struct json *a, const struct json *b)
{
    struct str s, t;
    double x;
    bool p, q;
    if (json_is_object(a) || json_is_array(a)) {
        if (json_is_object(a) != json_is_object(b) || json_is_array(a) != json_is_array(b) ||
            json_count(a) != json_count(b))
            return false;
        const struct json *i = json_first(a), *k = json_first(b);
        for (; i; i = json_next(i), k = k ? json_next(k) : NULL)
            if (!same_json(i, json_is_array(a) ? k : json_get(b, json_key_of(i).p)))
                return false;
        return true;
    }
    if (json_text(a, &s))
        return json_text(b, &t) && str_eq(s, t);
    if (json_f64(a, &x))
        return json_same_number(a, b);
    if (json_bool(a, &p))
        return json_bool(b, &q) && p == q;
    return json_is_null(a) && json_is_null(b);
}

/* Of config.json: where a model came from and what wrote it. */
static bool is_origin(const char *key)
{
    return strcmp(key, "transformers_version") == 0 || strcmp(key, "_name_or_path") == 0;
}

static enum quern_status add_member(struct side_job *j, struct str key, const char *what,
                                    struct quern_error *err)
{
    const struct str copy = arena_str(&j->plan->arena, key);
    if (!copy.p)
        return fail_memory(err, key.n);
    return add(j, copy.p, what, is_prose(j->side->name) || is_origin(copy.p), err);
}

/* transformers has given one of its keys another name. */
static const struct json *member(const struct json *object, struct str key)
{
    const struct json *x = json_get(object, key.p);
    if (!x && str_is(key, "torch_dtype"))
        return json_get(object, "dtype");
    return !x && str_is(key, "dtype") ? json_get(object, "torch_dtype") : x;
}

static enum quern_status compare_members(struct side_job *j, const struct json *made,
                                         const struct json *there, struct quern_error *err)
{
    uint32_t n = 0;
    for (const struct json *x = json_first(made); x && n < MOST_KEYS; x = json_next(x)) {
        const struct json *y = member(there, json_key_of(x));
        if (y && same_json(x, y))
            continue;
        TRY(add_member(j, json_key_of(x), y ? "has another value" : "is missing", err));
        n++;
    }
    for (const struct json *y = json_first(there); y && n < MOST_KEYS; y = json_next(y)) {
        if (member(made, json_key_of(y)))
            continue;
        TRY(add_member(j, json_key_of(y), "is there, but not in the source", err));
        n++;
    }
    return QUERN_OK;
}

static enum quern_status read_json(const struct bytes *b, struct json **out,
                                   struct quern_error *err)
{
    char *text = b->n <= JSON_MAX_BYTES ? malloc((size_t)b->n + 1) : NULL;
    *out = NULL;
    if (!text)
        return b->n <= JSON_MAX_BYTES ? fail_memory(err, b->n) : QUERN_OK;
    enum quern_status s = read_at(b, 0, text, (size_t)b->n, err);
    struct quern_error why;
    if (s == QUERN_OK && json_parse((struct str){text, (size_t)b->n}, out, &why) == QUERN_EMEMORY)
        s = fail_memory(err, b->n);
    free(text);
    return s;
}

/* *told: both are JSON objects, and what differs has been noted by its keys. */
static enum quern_status compare_json(struct side_job *j, const struct bytes *made,
                                      const struct bytes *there, bool *told,
                                      struct quern_error *err)
{
    struct json *a = NULL, *b = NULL;
    *told = false;
    if (!str_ends(str_from(j->side->name), ".json"))
        return QUERN_OK;
    enum quern_status s = read_json(made, &a, err);
    if (s == QUERN_OK)
        s = read_json(there, &b, err);
    if (s == QUERN_OK && json_is_object(a) && json_is_object(b)) {
        *told = true;
        s = compare_members(j, a, b, err);
    }
    json_free(a);
    json_free(b);
    return s;
}

/* ---- files ---------------------------------------------------------------------------------- */

static enum quern_status compare_bytes(struct side_job *j, const struct bytes *made,
                                       const struct bytes *there, struct quern_error *err)
{
    bool same, told;
    TRY(same_bytes(made, there, &same, err));
    if (same)
        return QUERN_OK;
    TRY(compare_json(j, made, there, &told, err));
    return told ? QUERN_OK : add(j, NULL, "has other bytes", is_prose(j->side->name), err);
}

static enum quern_status compare_with(struct side_job *j, const struct bytes *there,
                                      struct quern_error *err)
{
    struct bytes made = {.path = j->side->name, .text = j->side->text, .n = j->side->text.n};
    if (!j->side->copy_from)
        return compare_bytes(j, &made, there, err);
    TRY(open_bytes(j->side->copy_from, &made, err));
    const enum quern_status s = compare_bytes(j, &made, there, err);
    any_close(&made.file);
    return s;
}

static enum quern_status compare_side(struct side_job *j, struct quern_error *err)
{
    struct bytes there;
    if (strcmp(j->side->name, "model.safetensors.index.json") == 0)
        return QUERN_OK; /* files may be cut otherwise */
    if (!path_exists(j->path))
        return add(j, NULL, "is missing", is_prose(j->side->name), err);
    TRY(open_bytes(j->path, &there, err));
    const enum quern_status s = compare_with(j, &there, err);
    any_close(&there.file);
    return s;
}

static bool is_made(const struct plan *p, const char *name)
{
    for (uint32_t i = 0; i < p->nsides; i++)
        if (strcmp(p->sides[i].name, name) == 0)
            return true;
    return false;
}

/* Files of the kind that goes along, but which the source does not give. */
static enum quern_status find_extra(struct side_job *j, const char *dir, struct quern_error *err)
{
    const char *name;
    for (size_t i = 0; (name = carried_name(i)); i++) {
        struct side_file *side = ARENA_NEW(&j->plan->arena, struct side_file, 1);
        j->path = path_join(&j->plan->arena, dir, name);
        if (!side || !j->path)
            return fail_memory(err, strlen(dir));
        side->name = name;
        j->side = side;
        if (!is_made(j->plan, name) && path_exists(j->path))
            TRY(add(j, NULL, "is there, but not in the source", false, err));
    }
    return QUERN_OK;
}

enum quern_status verify_sides(struct plan *p, struct verification *v, struct quern_error *err)
{
    struct side_job j = {.plan = p, .v = v};
    if (!p->dir || !v->there->dir)
        return QUERN_OK;
    for (uint32_t i = 0; i < p->nsides; i++) {
        j.side = &p->sides[i];
        j.path = path_join(&p->arena, v->there->dir, j.side->name);
        if (!j.path)
            return fail_memory(err, strlen(j.side->name));
        TRY(compare_side(&j, err));
    }
    return find_extra(&j, v->there->dir, err);
}
