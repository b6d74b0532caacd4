/* unpack.c - find out which program packed a model, and put plain weights in the places of parts.
 */
#include "unpack.h"

#include <stdio.h>
#include <unistd.h>

#include "core/io.h"
#include "pipeline/carry.h"
#include "pipeline/config_edit.h"
#include "unpacking.h"

/* The first that claims a model unpacks it. */
static const struct packing *const packings[] = {
    &packing_fp8, &packing_fbgemm, &packing_gptq, &packing_awq, &packing_compressed_ints,
    &packing_bnb, &packing_mlx};

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

enum quern_status unpack_put_source(struct unpacking *u, const struct source *at, struct str name,
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
    u->made[place_of(u, at)] = made;
    u->taken[place_of(u, at)] = true;
    u->nweights++;
    return QUERN_OK;
}

enum quern_status unpack_put(struct unpacking *u, const struct source *at, struct str name,
                             enum dtype dtype, const uint64_t *dims, uint8_t ndims,
                             const struct source_kind *kind, const void *params,
                             struct quern_error *err)
{
    struct tensor t = {.dims = dims, .ndims = ndims, .dtype = (uint8_t)dtype};
    if (!dims_product(dims, ndims, &t.nelems) || !dtype_bytes(dtype, t.nelems, &t.nbytes))
        return unpack_misfit(at, "expected a weight of whole blocks", err);
    const struct source s = {.model = at->model, .tensor = &t, .kind = kind, .params = params};
    return unpack_put_source(u, at, name, &s, err);
}

enum quern_status unpack_misfit(const struct source *part, const char *expected,
                                struct quern_error *err)
{
    char shape[128] = "";
    size_t n = 0;
    for (unsigned d = 0; d < part->tensor->ndims && n < sizeof shape - 32; d++)
        n += (size_t)snprintf(shape + n, sizeof shape - n, "%s%llu", d ? ", " : "",
                              (unsigned long long)part->tensor->dims[d]);
    return in_source(err, part,
                     fail(err, QUERN_EFORMAT, "shape", "it is %s [%s]" WANT "%s",
                          dtype_traits[part->tensor->dtype].name, shape, expected));
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
    const struct tensor *first = NULL;
    for (uint32_t i = 0; i < v->count; i++) {
        const struct tensor *t = v->sources[i].tensor;
        if (t->ndims < 2 || (t->dtype != DTYPE_F16 && t->dtype != DTYPE_BF16))
            continue;
        if (!first || t->file < first->file ||
            (t->file == first->file && str_cmp(t->name, first->name) < 0))
            first = t;
    }
    return first ? (enum dtype)first->dtype : DTYPE_F32;
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

static enum quern_status assemble(const struct unpacking *u, struct view *out,
                                  struct quern_error *err)
{
    for (uint32_t i = 0; i < u->from->count; i++) {
        const struct source *s = u->made[i]    ? u->made[i]
                                 : u->taken[i] ? NULL
                                               : &u->from->sources[i];
        if (!s)
            continue;
        if (view_find(out, s->tensor->name))
            return in_source(err, s,
                             fail(err, QUERN_EFORMAT, "packed-part",
                                  "the weight is there packed and plain" WANT
                                  "expected one of them"));
        TRY(view_set(out, u->arena, s, err));
    }
    return QUERN_OK;
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
    return assemble(u, out, err);
}

static enum quern_status unpack_parsed(struct view *v, const struct unpack_ask *ask,
                                       struct unpacking *u, struct unpacked *out,
                                       struct quern_error *err)
{
    const struct packing *p = find_packing(u);
    struct view plain = {.model = v->model,
                         .made = true,
                         .config = v->config,
                         .metas = v->metas,
                         .vocabulary = v->vocabulary,
                         .chat_template = v->chat_template};
    if (!p)
        return fail(err, QUERN_EUNSUPPORTED, "prequantized",
                    "its weights are quantized already (quant_method '%s')" WANT
                    "expected the original F16, BF16 or F32 checkpoint",
                    u->method.p ? quoted(u->method).text : "unknown");
    enum quern_status s = unpack_with(u, p, &plain, err);
    if (s == QUERN_OK)
        s = without_places(ask->config, u->arena, &out->config, err);
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

enum quern_status unpack_view(struct view *v, const struct unpack_ask *ask, struct arena *arena,
                              struct unpacked *out, struct quern_error *err)
{
    struct json *root = NULL, *modelopt = NULL;
    struct unpacking u = {.arena = arena, .from = v, .keep_blocks = ask->keep_blocks};
    *out = (struct unpacked){.config = ask->config};
    enum quern_status s = ask->config.p ? json_parse(ask->config, &root, err) : QUERN_OK;
    s = in_file(err, "config.json", s);
    if (s == QUERN_OK && ask->modelopt.p)
        s = in_file(err, "hf_quant_config.json", json_parse(ask->modelopt, &modelopt, err));
    if (s == QUERN_OK) {
        u.root = root;
        find_config(&u, modelopt);
        if (u.config)
            s = unpack_parsed(v, ask, &u, out, err);
    }
    json_free(root);
    json_free(modelopt);
    return s;
}

enum quern_status unpack_model(struct view *v, bool keep_blocks, struct arena *arena,
                               struct unpacked *out, struct quern_error *err)
{
    struct unpack_ask ask = {.keep_blocks = keep_blocks};
    const char *dir = v->model->dir;
    *out = (struct unpacked){.by = NULL};
    if (v->model->format != MODEL_SAFETENSORS || !dir)
        return QUERN_OK;
    TRY(read_config(dir, arena, &ask.config, err));
    const char *path = path_join(arena, dir, "hf_quant_config.json");
    if (!path)
        return fail_memory(err, strlen(dir));
    if (access(path, F_OK) == 0)
        TRY(read_small_file(path, JSON_MAX_BYTES, arena, &ask.modelopt, err));
    TRY(in_file(err, v->model->path, unpack_view(v, &ask, arena, out, err)));
    v->config = out->config;
    return QUERN_OK;
}
