/* unpack.c - find out which program packed a model, and put plain weights in the places of parts.
 */
#include "unpack.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "conversion.h"
#include "core/json.h"
#include "pipeline/config_edit.h"
#include "scaled.h"
#include "unpacking.h"

/* The first that claims a model unpacks it. */
static const struct packing *const packings[] = {
    &packing_fp8,
    &packing_fbgemm,
    &packing_mxfp4,
    &packing_modelopt,
    &packing_compressed_floats,
    &packing_compressed_words,
    &packing_compressed_ints,
    &packing_gptq,
    &packing_awq,
    &packing_bnb,
    &packing_mlx,
};

/* ---- for the packings -------------------------------------------------------------------------
 */

/* The next of several words with blanks between them; empty at the end. */
static struct str next_word(const char **words)
{
    const char *p = *words + strspn(*words, " ");
    const size_t n = strcspn(p, " ");
    *words = p + n;
    return (struct str){p, n};
}

static bool ends(struct str name, struct str ending)
{
    return name.n >= ending.n && memcmp(name.p + name.n - ending.n, ending.p, ending.n) == 0;
}

static bool ends_in_one(struct str name, const char *endings)
{
    for (struct str e; (e = next_word(&endings)).n;)
        if (ends(name, e))
            return true;
    return false;
}

static size_t place_of(const struct unpacking *u, const struct source *s)
{
    return (size_t)(s - u->from->sources);
}

const struct source *unpack_next(const struct unpacking *u, const char *ending, uint32_t *i,
                                 struct str *stem)
{
    const size_t n = strlen(ending);
    for (; *i < u->from->count; ++*i) {
        const struct source *s = &u->from->sources[*i];
        if (s->tensor->name.n <= n || !str_ends(s->tensor->name, ending))
            continue;
        *stem = (struct str){s->tensor->name.p, s->tensor->name.n - n};
        ++*i;
        return s;
    }
    return NULL;
}

enum quern_status unpack_name(struct unpacking *u, struct str stem, const char *ending,
                              struct str *out, struct quern_error *err)
{
    const char *name = arena_printf(u->arena, "%.*s%s", STR_ARG(stem), ending);
    if (!name)
        return fail_memory(err, stem.n);
    *out = str_from(name);
    return QUERN_OK;
}

enum quern_status unpack_part(struct unpacking *u, struct str stem, const char *ending, bool needed,
                              const struct source **out, struct quern_error *err)
{
    struct str name;
    TRY(unpack_name(u, stem, ending, &name, err));
    *out = view_find(u->from, name);
    if (*out)
        u->taken[place_of(u, *out)] = true;
    else if (needed)
        return fail(err, QUERN_EFORMAT, "packed-part",
                    "there is no tensor '%s'" WANT "expected all parts of a packed weight",
                    quoted(name).text);
    return QUERN_OK;
}

void unpack_ignore(struct unpacking *u, const char *endings)
{
    for (uint32_t i = 0; i < u->from->count; i++)
        if (ends_in_one(u->from->sources[i].tensor->name, endings))
            u->taken[i] = true;
}

enum quern_status unpack_put(struct unpacking *u, const struct source *at, struct str name,
                             const struct source *s, struct quern_error *err)
{
    struct source *made = ARENA_NEW(u->arena, struct source, 1);
    struct tensor *t = ARENA_NEW(u->arena, struct tensor, 1);
    if (!made || !t)
        return fail_memory(err, sizeof *t);
    *t = *s->tensor;
    t->name = name;
    t->file = at->tensor->file;
    *made = *s;
    made->tensor = t;
    if (u->made[place_of(u, at)])
        return in_source(err, at,
                         fail(err, QUERN_EFORMAT, "packed-part",
                              "it has the parts of two packed forms" WANT
                              "expected one scale, or one set of parts, for each weight"));
    u->made[place_of(u, at)] = made;
    u->taken[place_of(u, at)] = true;
    u->nweights++;
    return QUERN_OK;
}

enum quern_status unpack_put_scaled(struct unpacking *u, const struct source *weight,
                                    const struct source *scale, const uint64_t block[2],
                                    struct quern_error *err)
{
    struct source s;
    TRY(scaled_source(u->arena, weight, scale, block, u->dtype, &s, err));
    return unpack_put(u, weight, weight->tensor->name, &s, err);
}

enum quern_status unpack_values(struct unpacking *u, const struct source *s, uint64_t most,
                                const float **out, struct quern_error *err)
{
    const uint64_t n = s->tensor->nelems;
    uint64_t moved = 0;
    if (n == 0 || n > most || n > PIECE || !dtype_is_float(s->tensor->dtype))
        return source_misfit(err, s, most == 1 ? "one number" : "one number for each matrix");
    float *x = ARENA_NEW(u->arena, float, n);
    void *scratch = source_scratch_new(s, false);
    enum quern_status status = x && scratch
                                   ? source_read(s, scratch, false, 0, (size_t)n, x, &moved, err)
                                   : fail_memory(err, n * sizeof *x);
    free(scratch);
    for (uint64_t i = 0; status == QUERN_OK && i < n; i++)
        if (!isfinite(x[i]))
            status = in_source(err, s,
                               fail(err, QUERN_EFORMAT, "nonfinite",
                                    "element %llu is no number" WANT "expected finite scales",
                                    (unsigned long long)i));
    *out = x;
    return status;
}

enum quern_status unpack_expect_zero(const struct source *s, struct quern_error *err)
{
    bool zero;
    TRY(in_source(err, s, convert_is_zero(s, &zero, err)));
    return zero ? QUERN_OK
                : in_source(err, s,
                            fail(err, QUERN_EUNSUPPORTED, "packing",
                                 "its zero points are not all zero" WANT
                                 "expected symmetric quantization"));
}

enum quern_status unpack_unknown(const char *key, const struct json *value, const char *expected,
                                 struct quern_error *err)
{
    struct str text;
    double number;
    bool truth;
    char shown[32] = "no plain value";
    if (json_text(value, &text))
        return fail(err, QUERN_EUNSUPPORTED, "packing",
                    "its weights are packed with %s '%s'" WANT "%s", quoted(str_from(key)).text,
                    quoted(text).text, expected);
    if (json_f64(value, &number))
        snprintf(shown, sizeof shown, "%g", number);
    else if (json_bool(value, &truth))
        snprintf(shown, sizeof shown, "%s", truth ? "true" : "false");
    else if (!value || json_is_null(value))
        snprintf(shown, sizeof shown, "nothing");
    return fail(err, QUERN_EUNSUPPORTED, "packing", "its weights are packed with %s = %s" WANT "%s",
                quoted(str_from(key)).text, shown, expected);
}

enum quern_status unpack_known_keys(const struct json *object, const char *keys,
                                    struct quern_error *err)
{
    for (const struct json *v = json_first(object); v; v = json_next(v)) {
        const struct str key = json_key_of(v);
        const char *rest = keys;
        bool truth, known = json_is_null(v) || (json_bool(v, &truth) && !truth);
        for (struct str word; !known && (word = next_word(&rest)).n;)
            known = str_eq(word, key);
        if (!known)
            return unpack_unknown(key.p, v, "expected no such key: it is not known to be harmless",
                                  err);
    }
    return QUERN_OK;
}

/* ---- what config.json says ----------------------------------------------------------------------
 */

/* Where programs say how they packed. */
static const char *const places[] = {"quantization_config", "compression_config",
                                     "text_config.quantization_config", "quantization"};
enum { NPLACES = sizeof places / sizeof *places };

static const struct json *find_place(const struct json *root, const char *path)
{
    static const char inside[] = "text_config.";
    if (strncmp(path, inside, sizeof inside - 1) == 0)
        return json_get(json_get(root, "text_config"), path + sizeof inside - 1);
    return json_get(root, path);
}

static void find_config(struct unpacking *u, const struct json *modelopt)
{
    for (size_t i = 0; i < NPLACES && !u->config; i++) {
        const struct json *v = find_place(u->root, places[i]);
        if (json_is_object(v) && json_first(v))
            u->config = v;
    }
    json_text(json_get(u->config, "quant_method"), &u->method);
    const struct json *v = json_get(modelopt, "quantization");
    if (!u->config && json_is_object(v)) {
        u->config = v;
        json_text(json_get(json_get(modelopt, "producer"), "name"), &u->method);
    }
}

static enum quern_status without_places(struct str config, struct arena *arena, struct str *out,
                                        struct quern_error *err)
{
    *out = config;
    for (size_t i = 0; config.p && i < NPLACES; i++) {
        const struct config_edit edit = {.path = places[i], .remove = true};
        TRY(config_apply(arena, *out, &edit, 1, out, err));
    }
    return QUERN_OK;
}

/* ---- the view
 * ------------------------------------------------------------------------------------
 */

/* The type of the first matrix of 16-bit floats, in the order in which files and names are sorted:
 * what is unpacked would have been that. F32 when there is none. */
static enum dtype plain_type(const struct view *v)
{
    const struct source *first = NULL;
    for (uint32_t i = 0; i < v->count; i++) {
        const struct source *s = &v->sources[i];
        const struct tensor *t = s->tensor;
        if (t->ndims >= 2 && (t->dtype == DTYPE_F16 || t->dtype == DTYPE_BF16) &&
            (!first || view_by_file_and_name(&s, &first) < 0))
            first = s;
    }
    return first ? (enum dtype)first->tensor->dtype : DTYPE_F32;
}

/* A part that belongs to nothing, or values of few bits that nothing says how to read. */
static enum quern_status check_left(const struct unpacking *u, const struct packing *p,
                                    struct quern_error *err)
{
    for (uint32_t i = 0; i < u->from->count; i++) {
        const struct source *s = &u->from->sources[i];
        const enum dtype d = s->tensor->dtype;
        const bool is_weight = d == DTYPE_F32 || d == DTYPE_F16 || d == DTYPE_BF16 ||
                               d == DTYPE_F64 || d == DTYPE_MXFP4;
        if (u->taken[i])
            continue;
        if (ends_in_one(s->tensor->name, p->parts))
            return in_source(err, s,
                             fail(err, QUERN_EFORMAT, "packed-part",
                                  "it is part of no weight" WANT
                                  "expected the other parts beside it"));
        if (!is_weight && str_ends(s->tensor->name, ".weight"))
            return in_source(err, s,
                             fail(err, QUERN_EFORMAT, "packed-part",
                                  "its values are %s and nothing says what they count" WANT
                                  "expected scales beside it",
                                  dtype_traits[d].name));
    }
    return QUERN_OK;
}

static enum quern_status add_sources(const struct unpacking *u, const struct source **list,
                                     uint32_t n, struct view *out, struct quern_error *err)
{
    qsort(list, n, sizeof *list, view_by_file_and_name);
    for (uint32_t i = 0; i < n; i++) {
        if (view_find(out, list[i]->tensor->name))
            return in_source(err, list[i],
                             fail(err, QUERN_EFORMAT, "packed-part",
                                  "the weight is there packed and plain" WANT
                                  "expected one of them"));
        TRY(view_set(out, u->arena, list[i], err));
    }
    return QUERN_OK;
}

/* In the order of files and names, as planners take a view that was made. */
static enum quern_status assemble(const struct unpacking *u, bool made_last, struct view *out,
                                  struct quern_error *err)
{
    const uint32_t count = u->from->count;
    const struct source **first = ARENA_NEW(u->arena, const struct source *, count + 1);
    const struct source **last = ARENA_NEW(u->arena, const struct source *, count + 1);
    uint32_t nfirst = 0, nlast = 0;
    if (!first || !last)
        return fail_memory(err, count * sizeof *first);
    for (uint32_t i = 0; i < count; i++) {
        if (u->made[i] && made_last)
            last[nlast++] = u->made[i];
        else if (u->made[i])
            first[nfirst++] = u->made[i];
        else if (!u->taken[i])
            first[nfirst++] = &u->from->sources[i];
    }
    TRY(add_sources(u, first, nfirst, out, err));
    return add_sources(u, last, nlast, out, err);
}

static const struct packing *find_packing(const struct unpacking *u)
{
    for (size_t i = 0; i < sizeof packings / sizeof *packings; i++)
        if (packings[i]->claims(u))
            return packings[i];
    return NULL;
}

static enum quern_status unpack_with(struct unpacking *u, const struct packing *p, struct view *out,
                                     struct quern_error *err)
{
    u->made = ARENA_NEW(u->arena, const struct source *, u->from->count + 1);
    u->taken = ARENA_NEW(u->arena, bool, u->from->count + 1);
    if (!u->made || !u->taken)
        return fail_memory(err, u->from->count * sizeof *u->made);
    u->dtype = plain_type(u->from);
    TRY(p->unpack(u, err));
    TRY(check_left(u, p, err));
    return assemble(u, p->comes_last, out, err);
}

/* What quant_method says, and the format when it has one: for a message. */
static enum quern_status fail_unclaimed(const struct unpacking *u, struct quern_error *err)
{
    struct str format = STR("");
    json_text(json_get(u->config, "format"), &format);
    return fail(err, QUERN_EUNSUPPORTED, "prequantized",
                "its weights are quantized already (quant_method '%s'%s%s)" WANT
                "expected the original F16, BF16 or F32 checkpoint",
                u->method.p ? quoted(u->method).text : "unknown", format.n ? ", format " : "",
                format.n ? quoted(format).text : "");
}

static enum quern_status unpack_parsed(struct view *v, struct unpacking *u, struct unpacked *out,
                                       struct quern_error *err)
{
    const struct packing *p = find_packing(u);
    struct view plain = {.model = v->model, .made = true, .metas = v->metas};
    if (!p)
        return fail_unclaimed(u, err);
    const enum quern_status s = unpack_with(u, p, &plain, err);
    if (s != QUERN_OK) {
        view_free(&plain);
        return s;
    }
    view_free(v);
    *v = plain;
    out->by = p->name;
    out->nweights = u->nweights;
    return QUERN_OK;
}

static enum quern_status read_file(const struct folder *folder, const char *name,
                                   struct arena *arena, struct str *text, struct json **out,
                                   struct quern_error *err)
{
    struct folder_file file;
    bool found;
    *text = (struct str){NULL, 0};
    *out = NULL;
    TRY(folder_find(folder, name, arena, &found, &file, err));
    if (!found)
        return QUERN_OK;
    TRY(folder_read(&file, JSON_MAX_BYTES, arena, text, err));
    return in_file(err, file.path, json_parse(*text, out, err));
}

enum quern_status unpack_view(struct view *v, const struct folder *folder, struct arena *arena,
                              struct unpacked *out, struct quern_error *err)
{
    struct json *root = NULL, *modelopt = NULL;
    struct str ignored;
    struct unpacking u = {.arena = arena, .from = v};
    *out = (struct unpacked){.by = NULL};
    enum quern_status s = read_file(folder, "config.json", arena, &out->config, &root, err);
    if (s == QUERN_OK)
        s = read_file(folder, "hf_quant_config.json", arena, &ignored, &modelopt, err);
    if (s == QUERN_OK) {
        u.root = root;
        find_config(&u, modelopt);
        if (u.config)
            s = in_file(err, folder->path, unpack_parsed(v, &u, out, err));
    }
    if (s == QUERN_OK && u.config)
        s = without_places(out->config, arena, &out->config, err);
    v->config = out->config;
    json_free(root);
    json_free(modelopt);
    return s;
}

enum quern_status unpack_model(struct model *m, struct arena *arena, struct view *v,
                               struct unpacked *out, struct quern_error *err)
{
    const struct folder folder = {.path = m->dir};
    *out = (struct unpacked){.by = NULL};
    *v = (struct view){.count = 0};
    TRY(view_of_model(m, arena, v, err));
    return m->format == MODEL_SAFETENSORS && m->dir ? unpack_view(v, &folder, arena, out, err)
                                                    : QUERN_OK;
}

struct unpacked_words unpacked_words(const struct unpacked *u)
{
    struct unpacked_words w;
    snprintf(w.text, sizeof w.text, "%" PRIu32 " weight%s unpacked (%s)", u->nweights,
             u->nweights == 1 ? " is" : "s are", u->by);
    return w;
}
