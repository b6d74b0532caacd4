/* adapter.c - which tensors of an adapter change which tensor of its base. */
#include "formats/adapter.h"

#include <inttypes.h>
#include <math.h>

#include "core/checked.h"
#include "formats/pack.h"

/* The roles a tensor of an adapter may have. */
enum role {
    ROLE_A,
    ROLE_B,
    ROLE_EMBEDDING_A,
    ROLE_EMBEDDING_B,
    ROLE_MAGNITUDE,
    ROLE_BIAS,
    ROLE_WHOLE
};

struct reading {
    struct adapter *adapter;
    struct arena *arena;
    struct name_table index; /* parts by key */
    struct str *keys;        /* of the parts: their target after a letter for the kind */
};

static struct str key_of(const void *owner, uint32_t i)
{
    return ((const struct reading *)owner)->keys[i];
}

/* The part of this kind for module + suffix, made when there is none yet. */
static enum quern_status part_for(struct reading *r, enum adapter_part_kind kind, struct str module,
                                  const char *suffix, struct adapter_part **out,
                                  struct quern_error *err)
{
    struct adapter *a = r->adapter;
    const char *key = arena_printf(r->arena, "%c%.*s%s", "pbw"[kind], STR_ARG(module), suffix);
    bool fresh;
    uint32_t i = a->nparts;
    if (!key)
        return fail_memory(err, module.n);
    r->keys[i] = str_from(key);
    if (!name_table_add(&r->index, r->keys[i], i, key_of, r, &fresh, &i))
        return fail_memory(err, name_table_bytes(&r->index));
    if (fresh)
        a->parts[a->nparts++] = (struct adapter_part){.kind = kind, .target = str_from(key + 1)};
    *out = &a->parts[fresh ? a->nparts - 1 : i];
    return QUERN_OK;
}

static enum quern_status place(const struct tensor **slot, const struct tensor *t,
                               struct quern_error *err)
{
    if (*slot)
        return fail(err, QUERN_EFORMAT, "duplicate",
                    "'%s' has the same place in the base" WANT "expected one adapter in a file",
                    quoted((*slot)->name).text);
    *slot = t;
    return QUERN_OK;
}

static enum quern_status add(struct reading *r, enum role role, struct str module,
                             const struct tensor *t, struct quern_error *err)
{
    static const struct {
        enum adapter_part_kind kind;
        const char *suffix;
    } where[] = {
        [ROLE_A] = {ADAPTER_PRODUCT, ".weight"},
        [ROLE_B] = {ADAPTER_PRODUCT, ".weight"},
        [ROLE_EMBEDDING_A] = {ADAPTER_PRODUCT, ".weight"},
        [ROLE_EMBEDDING_B] = {ADAPTER_PRODUCT, ".weight"},
        [ROLE_MAGNITUDE] = {ADAPTER_PRODUCT, ".weight"},
        [ROLE_BIAS] = {ADAPTER_BIAS,    ".bias"  },
        [ROLE_WHOLE] = {ADAPTER_WHOLE,   ""       },
    };
    const bool gguf = r->adapter->model->format == MODEL_GGUF;
    struct adapter_part *p = NULL;
    TRY(part_for(r, where[role].kind, module, gguf ? "" : where[role].suffix, &p, err));
    p->embedding |= role == ROLE_EMBEDDING_A || role == ROLE_EMBEDDING_B;
    if (role == ROLE_MAGNITUDE)
        return place(&p->magnitude, t, err);
    return place(role == ROLE_B || role == ROLE_EMBEDDING_B ? &p->b : &p->a, t, err);
}

/* ---- PEFT: names ------------------------------------------------------------------------------
 */

/* "module.lora_A.weight", "module.lora_A.default.weight", "module.lora_embedding_A": finds the
 * marker as a component and what follows it. */
static bool split_at(struct str name, const char *marker, struct str *before, struct str *after)
{
    const size_t n = strlen(marker);
    for (size_t i = 0; i + n < name.n; i++) {
        const size_t end = i + 1 + n;
        if (name.p[i] != '.' || end > name.n || memcmp(name.p + i + 1, marker, n) != 0 ||
            (end < name.n && name.p[end] != '.'))
            continue;
        *before = (struct str){name.p, i};
        *after = end < name.n ? (struct str){name.p + end + 1, name.n - end - 1} : STR("");
        return true;
    }
    return false;
}

/* Without the component that is called so, and the adapter's name behind it where it is "default".
 */
static enum quern_status without(struct reading *r, const char *component, struct str *name,
                                 struct quern_error *err)
{
    struct str before, after;
    if (!split_at(*name, component, &before, &after))
        return QUERN_OK;
    if (str_starts(after, "default."))
        after = (struct str){after.p + 8, after.n - 8};
    const char *joined = arena_printf(r->arena, "%.*s.%.*s", STR_ARG(before), STR_ARG(after));
    if (!joined)
        return fail_memory(err, name->n);
    *name = str_from(joined);
    return QUERN_OK;
}

/* Names of adapters that are no LoRA of PEFT, by a component. */
static enum quern_status check_foreign(struct str name, struct quern_error *err)
{
    static const struct {
        const char *part, *kind;
    } foreign[] = {
        {"lora_up",                "kohya or diffusers"},
        {"lora_down",              "kohya or diffusers"},
        {"hada_w1_a",              "LoHa"              },
        {"hada_w1_b",              "LoHa"              },
        {"hada_w2_a",              "LoHa"              },
        {"hada_w2_b",              "LoHa"              },
        {"lokr_w1",                "LoKr"              },
        {"lokr_w2",                "LoKr"              },
        {"lora_E",                 "AdaLoRA"           },
        {"vera_lambda_b",          "VeRA"              },
        {"ia3_l",                  "IA3"               },
        {"oft_R",                  "OFT"               },
        {"trainable_tokens_delta", "trainable-tokens"  },
        {"lora_mid",               "LyCORIS"           },
    };
    struct str before, after;
    for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++)
        if (split_at(name, foreign[i].part, &before, &after))
            return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                        "it belongs to an adapter of the %s kind" WANT
                        "quern merges LoRA adapters of PEFT and GGUF only",
                        foreign[i].kind);
    return QUERN_OK;
}

static bool is_weight_suffix(struct str after, const char *last)
{
    const char *dot = after.n ? memchr(after.p, '.', after.n) : NULL;
    if (!dot)
        return str_is(after, last);
    return str_is((struct str){dot + 1, after.n - (size_t)(dot + 1 - after.p)}, last);
}

static enum quern_status add_peft(struct reading *r, const struct tensor *t,
                                  struct quern_error *err)
{
    static const struct {
        const char *marker;
        enum role role;
    } markers[] = {
        {"lora_A",                ROLE_A          },
        {"lora_B",                ROLE_B          },
        {"lora_embedding_A",      ROLE_EMBEDDING_A},
        {"lora_embedding_B",      ROLE_EMBEDDING_B},
        {"lora_magnitude_vector", ROLE_MAGNITUDE  }
    };
    struct str name = t->name, module = {NULL, 0}, after = {NULL, 0};
    TRY(check_foreign(name, err));
    if (str_starts(name, "base_model.model."))
        name = (struct str){name.p + 17, name.n - 17};
    for (size_t i = 0; i < sizeof markers / sizeof *markers; i++) {
        if (!split_at(name, markers[i].marker, &module, &after))
            continue;
        if (markers[i].role == ROLE_B && is_weight_suffix(after, "bias"))
            return add(r, ROLE_BIAS, module, t, err);
        const bool bare = !memchr(after.p, '.', after.n) && !str_is(after, "bias");
        if (!bare && !is_weight_suffix(after, "weight"))
            return fail(err, QUERN_EUNSUPPORTED, "adapter-tensor",
                        "a LoRA has no tensor of this name" WANT "expected lora_A.weight, "
                        "lora_B.weight, lora_B.bias, lora_embedding_A or _B, or "
                        "lora_magnitude_vector");
        return add(r, markers[i].role, module, t, err);
    }
    TRY(without(r, "modules_to_save", &name, err));
    TRY(without(r, "base_layer", &name, err));
    return add(r, ROLE_WHOLE, name, t, err);
}

/* ---- GGUF --------------------------------------------------------------------------------------
 */

static enum quern_status add_gguf(struct reading *r, const struct tensor *t,
                                  struct quern_error *err)
{
    struct str name = t->name;
    if (!str_ends(name, ".lora_a") && !str_ends(name, ".lora_b"))
        return add(r, ROLE_WHOLE, name, t, err);
    const bool is_a = str_ends(name, ".lora_a");
    name.n -= 7;
    return add(r, is_a ? ROLE_A : ROLE_B, name, t, err);
}

static enum quern_status read_keys(struct adapter *a, struct quern_error *err)
{
    const struct model *m = a->model;
    struct str type = {NULL, 0}, kind = {NULL, 0};
    const struct meta *t = model_meta(m, "general.type"), *k = model_meta(m, "adapter.type");
    const struct meta *arch = model_meta(m, "general.architecture");
    const struct meta *alpha = model_meta(m, "adapter.lora.alpha");
    if (!t || !meta_string(t, &type) || !str_is(type, "adapter"))
        return fail(err, QUERN_EUSAGE, "adapter-config",
                    "general.type is '%s'" WANT "expected a GGUF file of the type 'adapter'",
                    quoted(type).text);
    if (!k || !meta_string(k, &kind) || !str_is(kind, "lora"))
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "adapter.type is '%s'" WANT "quern merges LoRA adapters only",
                    quoted(kind).text);
    if (model_meta(m, "adapter.alora.invocation_tokens"))
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "it is an activated LoRA" WANT
                    "that works on some tokens only and cannot be merged");
    float value;
    if (!alpha || alpha->type != META_F32)
        return fail(err, QUERN_EFORMAT, "adapter-config",
                    "adapter.lora.alpha is not there" WANT "expected it as f32");
    memcpy(&value, alpha->value.p, sizeof value);
    if (!isfinite(value))
        return fail(err, QUERN_EFORMAT, "adapter-config",
                    "adapter.lora.alpha is not finite" WANT "expected a number");
    a->config.alpha = (double)value;
    if (arch)
        meta_string(arch, &a->architecture);
    return QUERN_OK;
}

/* ---- shapes ------------------------------------------------------------------------------------
 */

static uint64_t dim(const struct tensor *t, unsigned from_end)
{
    return t->dims[t->ndims - 1 - from_end];
}

/* A [r, in ...], B [out, r, 1 ...]; as embedding A [r, tokens], B [width, r]. */
static enum quern_status check_peft(struct adapter_part *p, const struct adapter_config *c,
                                    struct quern_error *err)
{
    const struct tensor *a = p->a, *b = p->b;
    if (a->ndims < 2 || b->ndims < 2 || a->nelems == 0 || b->nelems == 0)
        return fail(err, QUERN_EFORMAT, "shape",
                    "it is no matrix" WANT
                    "expected two dimensions and more (was it saved while sharded?)");
    if (a->dims[0] != p->rank || b->dims[1] != p->rank || b->nelems / p->rank != b->dims[0])
        return fail(err, QUERN_EFORMAT, "rank",
                    "A has %" PRIu64 " rows and B %" PRIu64 " columns" WANT
                    "adapter_config.json gives it the rank %" PRIu64,
                    a->dims[0], b->dims[1], p->rank);
    if (!p->magnitude != !c->dora)
        return fail(err, QUERN_EFORMAT, "adapter-config",
                    "use_dora is %s and there is %s lora_magnitude_vector" WANT
                    "expected one of them for every module when use_dora is true, else none",
                    c->dora ? "true" : "false", p->magnitude ? "a" : "no");
    if (p->magnitude && p->magnitude->nelems != b->dims[0])
        return fail(err, QUERN_EFORMAT, "shape",
                    "lora_magnitude_vector has %" PRIu64 " values" WANT "expected %" PRIu64
                    ", one for each row of B",
                    p->magnitude->nelems, b->dims[0]);
    return QUERN_OK;
}

/* The same, but the embeddings' A is [tokens, r], and experts are stacked in front. */
static enum quern_status check_gguf(struct adapter_part *p, struct quern_error *err)
{
    const struct tensor *a = p->a, *b = p->b;
    if (a->ndims < 2 || b->ndims != a->ndims || a->nelems == 0 || b->nelems == 0 ||
        memcmp(a->dims, b->dims, (a->ndims - 2u) * sizeof *a->dims) != 0)
        return fail(err, QUERN_EFORMAT, "shape",
                    "lora_a and lora_b are no matrices that fit together" WANT
                    "expected [rank, columns] and [rows, rank]");
    p->rank = dim(b, 0);
    p->embedding = str_is(p->target, "token_embd.weight");
    p->a_flipped = p->embedding;
    if (dim(a, p->a_flipped ? 0 : 1) != p->rank || p->rank > MAX_RANK)
        return fail(err, QUERN_EFORMAT, "rank",
                    "lora_a has the rank %" PRIu64 " and lora_b %" PRIu64 WANT
                    "expected one rank, at most 8192",
                    dim(a, p->a_flipped ? 0 : 1), p->rank);
    return QUERN_OK;
}

static enum quern_status finish_product(struct adapter *a, struct adapter_part *p,
                                        struct quern_error *err)
{
    const struct adapter_config *c = &a->config;
    if (!p->a || !p->b)
        return fail(err, QUERN_EFORMAT, "adapter-tensor", "%s is missing" WANT "expected A and B",
                    p->a   ? "B"
                    : p->b ? "A"
                           : "A and B");
    p->alpha = c->alpha;
    if (a->model->format == MODEL_GGUF) {
        TRY(check_gguf(p, err));
        p->scale = p->alpha == 0 ? 1 : p->alpha / (double)p->rank;
        return QUERN_OK;
    }
    const struct str module = {p->target.p, p->target.n - strlen(".weight")};
    TRY(adapter_config_of(c, module, &p->rank, &p->alpha, err));
    p->scale = p->alpha / (c->rslora ? sqrt((double)p->rank) : (double)p->rank);
    return check_peft(p, c, err);
}

/* A bias is scaled like its module's product. */
static enum quern_status finish_bias(struct adapter *a, struct adapter_part *p,
                                     struct quern_error *err)
{
    const struct adapter_config *c = &a->config;
    const struct str module = {p->target.p, p->target.n - strlen(".bias")};
    if (!c->bias)
        return fail(err, QUERN_EFORMAT, "adapter-config",
                    "lora_bias is false and there is a lora_B.bias" WANT "expected one of both");
    TRY(adapter_config_of(c, module, &p->rank, &p->alpha, err));
    p->scale = p->alpha / (c->rslora ? sqrt((double)p->rank) : (double)p->rank);
    return QUERN_OK;
}

static enum quern_status finish(struct adapter *a, struct quern_error *err)
{
    for (uint32_t i = 0; i < a->nparts; i++) {
        struct adapter_part *p = &a->parts[i];
        const struct tensor *first = p->a ? p->a : p->b ? p->b : p->magnitude;
        enum quern_status status = QUERN_OK;
        if (p->kind == ADAPTER_PRODUCT)
            status = finish_product(a, p, err);
        else if (p->kind == ADAPTER_BIAS)
            status = finish_bias(a, p, err);
        TRY(in_tensor(err, first->name, status));
    }
    return QUERN_OK;
}

/* ---- opening -----------------------------------------------------------------------------------
 */

static enum quern_status read_tensors(struct adapter *a, struct arena *arena,
                                      struct quern_error *err)
{
    const struct model *m = a->model;
    struct reading r = {.adapter = a, .arena = arena};
    a->parts = ARENA_NEW(arena, struct adapter_part, m->ntensors + 1u);
    r.keys = ARENA_NEW(arena, struct str, m->ntensors + 1u);
    if (!a->parts || !r.keys)
        return fail_memory(err, m->ntensors * sizeof *a->parts);
    enum quern_status status = QUERN_OK;
    for (uint32_t i = 0; i < m->ntensors && status == QUERN_OK; i++) {
        const struct tensor *t = &m->tensors[i];
        status = in_tensor(err, t->name,
                           m->format == MODEL_GGUF ? add_gguf(&r, t, err) : add_peft(&r, t, err));
    }
    name_table_free(&r.index);
    TRY(status);
    if (a->nparts == 0)
        return fail(err, QUERN_EFORMAT, "adapter-tensor", "it has no tensors");
    return finish(a, err);
}

/* The files of an adapter: with its weights, with its configuration (NULL for GGUF). */
static enum quern_status find_files(const char *path, struct arena *arena, const char **weights,
                                    const char **config, struct quern_error *err)
{
    const struct str name = str_from(path);
    const bool is_dir = path_is_dir(path);
    *weights = path;
    *config = NULL;
    if (!path_exists(path))
        return fail_errno(err, path, "open");
    if (!is_dir && str_ends(name, ".gguf"))
        return QUERN_OK;
    const char *dir = path;
    if (!is_dir) {
        const size_t n = name.n - strlen(path_base(path));
        dir = n ? arena_str(arena, (struct str){path, n}).p : ".";
    }
    *config = path_join(arena, dir, "adapter_config.json");
    if (is_dir)
        *weights = path_join(arena, dir, "adapter_model.safetensors");
    const char *pickle = path_join(arena, dir, "adapter_model.bin");
    if (!dir || !*config || !*weights || !pickle)
        return fail_memory(err, name.n);
    if (!path_exists(*weights) && path_exists(pickle))
        return in_file(err, pickle,
                       fail(err, QUERN_EUNSUPPORTED, "is-pickle",
                            "the adapter is a pickle, which can run code" WANT
                            "save it as adapter_model.safetensors"));
    if (!path_exists(*weights))
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "not-found",
                            "there is no adapter_model.safetensors in it" WANT
                            "expected a PEFT adapter, or a GGUF one"));
    if (!path_exists(*config))
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "not-found",
                            "there is no adapter_config.json beside it" WANT
                            "expected one: it gives the factor of the adapter"));
    return QUERN_OK;
}

static enum quern_status read_adapter(struct adapter *a, const char *config, struct arena *arena,
                                      struct quern_error *err)
{
    const char *path = a->model->files[0].path;
    if (a->model->format == MODEL_GGUF) {
        TRY(in_file(err, path, read_keys(a, err)));
        return in_file(err, path, read_tensors(a, arena, err));
    }
    if (!config)
        return in_file(err, path, fail(err, QUERN_EFORMAT, "format", "it is no GGUF file"));
    enum quern_status status = adapter_config_read(config, arena, &a->config, err);
    if (status == QUERN_OK)
        status = in_file(err, path, read_tensors(a, arena, err));
    adapter_config_free(&a->config);
    return status;
}

static enum quern_status open_found(const char *path, struct arena *arena, struct adapter *out,
                                    struct quern_error *err)
{
    const char *weights, *config;
    TRY(find_files(path, arena, &weights, &config, err));
    TRY(model_open(weights, &out->model, err));
    const enum quern_status status = read_adapter(out, config, arena, err);
    if (status == QUERN_OK)
        return QUERN_OK;
    model_close(out->model);
    out->model = NULL;
    return status;
}

enum quern_status adapter_open(const char *path, struct arena *arena, struct adapter *out,
                               struct quern_error *err)
{
    struct archive *held;
    *out = (struct adapter){.path = path};
    TRY(pack_enter(path, &held, err));
    const enum quern_status status = open_found(path, arena, out, err);
    archive_leave(held); /* the model holds it */
    return status;
}

bool is_adapter(const char *path)
{
    static const char *const models[] = {"model.safetensors", "model.safetensors.index.json"};
    struct arena arena = {0};
    struct archive *held = NULL;
    bool found = false;
    pack_enter(path, &held, NULL);                  /* whoever opens it hears what is wrong */
    if (path_is_file(path) && !path_is_dir(path)) { /* a pack is both */
        found = strcmp(path_base(path), "adapter_model.safetensors") == 0;
    } else {
        const char *config = path_join(&arena, path, "adapter_config.json");
        found = config && path_exists(config);
        for (size_t i = 0; found && i < sizeof models / sizeof *models; i++) {
            const char *weights = path_join(&arena, path, models[i]);
            found = weights && !path_exists(weights);
        }
    }
    archive_leave(held);
    arena_free(&arena);
    return found;
}
