/* like.c - open a template: its architecture, its numbers, its keys. */
#include "like.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "map.h"
#include "meta_array.h"

/* ---- architecture -----------------------------------------------------------------------------
 */

static bool lists_class(const struct architecture *a, struct str hf_class)
{
    const char *at =
        hf_class.n ? memmem(a->classes, strlen(a->classes), hf_class.p, hf_class.n) : NULL;
    return at && (at == a->classes || at[-1] == ' ') && strchr(" ", at[hf_class.n]) != NULL;
}

static uint32_t tensors_known(const struct conversion *c, const struct architecture *a)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->view->count; i++)
        n += architecture_rule(a, c->view->sources[i].tensor->name) != NULL;
    return n;
}

/* Of several tables with this name the one that knows config.json's class, else the one that knows
 * most tensors; of those alike the last: it cuts what is too long for the template, and does
 * nothing when it is not. */
static const struct architecture *table_named(const struct conversion *c, struct str name)
{
    const struct architecture *best = NULL;
    uint32_t most = 0;
    for (const struct architecture *const *a = architectures; *a; a++) {
        if (!str_is(name, (*a)->name))
            continue;
        if (lists_class(*a, c->hf_class))
            return *a;
        const uint32_t n = tensors_known(c, *a);
        if (!best || n >= most) {
            best = *a;
            most = n;
        }
    }
    return best;
}

/* What has been written by other rules cannot be gone on with. */
static void ask_rules(const struct conversion *c)
{
    for (uint32_t i = 0; i < c->map->nrules; i++) {
        const struct tensor_rule *r = &c->map->rules[i];
        plan_asked(c->plan, r->from, strlen(r->from) + 1);
        plan_asked(c->plan, r->to, strlen(r->to) + 1);
        plan_asked(c->plan, map_word(r->transform), strlen(map_word(r->transform)) + 1);
    }
}

/* The table, its tensors replaced by those of the map. */
static enum quern_status with_map(struct conversion *c, const char *name, struct quern_error *err)
{
    struct architecture *own = ARENA_NEW(&c->plan->arena, struct architecture, 1);
    c->rule_hits = ARENA_NEW(&c->plan->arena, uint32_t, c->map->nrules + 1u);
    if (!own || !c->rule_hits)
        return fail_memory(err, sizeof *own);
    ask_rules(c);
    *own = (struct architecture){0};
    own->name = name;
    own->classes = "";
    own->tensors[0] = c->map->rules;
    own->keys[0] = base_keys;
    for (size_t k = 0; c->arch && k < sizeof own->keys / sizeof *own->keys; k++)
        own->keys[k] = c->arch->keys[k];
    c->arch = own;
    if (c->map->architecture.n == 0 || str_is(c->map->architecture, name))
        return QUERN_OK;
    return in_file(err, c->map->path,
                   fail(err, QUERN_EUSAGE, "map",
                        "it is for the architecture '%s'" WANT "expected '%s', as in %s",
                        quoted(c->map->architecture).text, quoted(str_from(name)).text,
                        c->like->path));
}

/* A class that belongs to another architecture is no model of this family. */
static enum quern_status check_class(const struct conversion *c, struct quern_error *err)
{
    const struct architecture *own = architecture_of_class(c->hf_class);
    if (!own || strcmp(own->name, c->arch->name) == 0)
        return QUERN_OK;
    return in_file(err, c->config.path,
                   fail(err, QUERN_EUSAGE, "like",
                        "its architecture '%s' is %s, that of %s is %s" WANT
                        "expected a template of the same family",
                        quoted(c->hf_class).text, own->name, c->like->path, c->arch->name));
}

static enum quern_status find_table(struct conversion *c, struct quern_error *err)
{
    struct str name;
    if (!meta_string(model_meta(c->like, "general.architecture"), &name) || name.n == 0 ||
        memchr(name.p, '\0', name.n))
        return fail(err, QUERN_EFORMAT, "arch",
                    "it has no general.architecture" WANT "expected a GGUF of a language model");
    const char *copy = arena_printf(&c->plan->arena, "%.*s", STR_ARG(name));
    if (!copy)
        return fail_memory(err, name.n);
    c->hf_class = c->config.architecture;
    c->arch = table_named(c, name);
    if (c->map)
        return with_map(c, copy, err);
    if (c->arch)
        return check_class(c, err);
    return fail(err, QUERN_EUNSUPPORTED, "architecture",
                "its architecture is '%s', of which quern has no table" WANT
                "--map gives rules for its tensors, --learn finds them in a known pair",
                quoted(name).text);
}

enum quern_status like_open(struct conversion *c, struct quern_error *err)
{
    const char *path = c->request->like;
    TRY(model_open(path, &c->like, err));
    if (c->like->format != MODEL_GGUF)
        return in_file(err, path,
                       fail(err, QUERN_EUNSUPPORTED, "format",
                            "it is no GGUF" WANT
                            "expected one of the same family, known to be good"));
    if (c->like->ntensors == 0 && !c->request->vocab_only)
        return in_file(err, path,
                       fail(err, QUERN_EUSAGE, "like",
                            "it has no tensors" WANT "expected a whole model as the template"));
    TRY(in_file(err, path, gguf_check_model(c->like, err)));
    if (c->request->map) {
        c->map = c->request->map;
    } else if (c->request->map_path) {
        TRY(map_read(c->request->map_path, &c->own_map, err));
        c->map = &c->own_map;
    }
    TRY(in_file(err, path, find_table(c, err)));
    return strcmp(c->request->type, "like") == 0 ? like_types(c, err) : QUERN_OK;
}

void like_close(struct conversion *c)
{
    model_close(c->like);
    map_free(&c->own_map);
}

/* ---- numbers ----------------------------------------------------------------------------------
 */

static const struct meta *like_meta(const struct conversion *c, const char *name)
{
    char key[256];
    if (!c->like)
        return NULL;
    snprintf(key, sizeof key, "%.100s.%s", c->arch->name, name);
    return model_meta(c->like, key);
}

bool like_u64(const struct conversion *c, const char *name, uint64_t *out)
{
    const struct meta *k = like_meta(c, name);
    if (!k)
        return false;
    if (k->type != META_ARRAY)
        return meta_u64(k, out);
    const size_t width = meta_item_bytes(k->item_type);
    for (uint64_t i = 0; width && i < k->count; i++) {
        const struct meta item = {
            .type = k->item_type, .value = {k->value.p + i * width, width}
        };
        uint64_t v;
        if (!meta_u64(&item, &v) || (i > 0 && v != *out))
            return false;
        *out = v;
    }
    return width && k->count > 0;
}

bool like_hparam_u64(const struct conversion *c, const char *name, uint64_t *out)
{
    uint64_t whole, turned;
    if (strcmp(name, "v_head_dim") == 0 && like_u64(c, "attention.value_length_mla", out))
        return true;
    if (strcmp(name, "n_groups") == 0 && like_u64(c, "ssm.group_count", out))
        return true;
    if (strcmp(name, "qk_nope_head_dim") == 0 && like_u64(c, "attention.key_length_mla", &whole) &&
        like_u64(c, "rope.dimension_count", &turned) && turned <= whole) {
        *out = whole - turned;
        return true;
    }
    return hf_u64(&c->config, name, out);
}

/* Heads are counted for every layer: then their size, which is the same in all, counts. */
static void count_by_size(struct conversion *c)
{
    uint64_t n;
    const struct meta *q = like_meta(c, "attention.head_count");
    const struct meta *kv = like_meta(c, "attention.head_count_kv");
    if (q && q->type == META_ARRAY && !like_u64(c, "attention.head_count", &n))
        c->nheads = 0;
    if (kv && kv->type == META_ARRAY && !like_u64(c, "attention.head_count_kv", &n))
        c->nkv_heads = 0;
    if ((c->nheads == 0 || c->nkv_heads == 0) && !like_u64(c, "attention.key_length", &c->head_dim))
        like_u64(c, "rope.dimension_count", &c->head_dim);
}

void like_numbers(struct conversion *c)
{
    const struct meta *tokens = model_meta(c->like, "tokenizer.ggml.tokens");
    like_u64(c, "block_count", &c->nlayers);
    if (like_u64(c, "attention.head_count", &c->nheads) && !c->arch->lone_kv_head)
        c->nkv_heads = c->nheads;
    like_u64(c, "attention.head_count_kv", &c->nkv_heads);
    count_by_size(c);
    like_u64(c, "expert_count", &c->nexperts);
    if (c->nlayers > MAX_TENSORS)
        c->nlayers = 0;
    c->ntokens = tokens && tokens->type == META_ARRAY ? tokens->count : 0;
}

bool like_rows(const struct conversion *c, struct str name, uint64_t *nrows)
{
    const struct tensor *t = c->like ? model_find(c->like, name) : NULL;
    if (!t || t->ndims == 0)
        return false;
    *nrows = t->ndims == 1 ? t->dims[0] : t->dims[t->ndims - 2];
    return true;
}

bool like_keeps_f32(const struct conversion *c, struct str name)
{
    const struct tensor *t = c->like ? model_find(c->like, name) : NULL;
    if (!t || t->dtype != DTYPE_F32)
        return false;
    for (uint32_t i = 0; i < c->like->ntensors; i++)
        if (c->like->tensors[i].dtype != DTYPE_F32)
            return true;
    return false;
}

/* ---- keys -------------------------------------------------------------------------------------
 */

/* What says of the template how it was made. */
static bool is_of_the_file(struct str key)
{
    return str_starts(key, "split.") || str_starts(key, "quantize.imatrix.");
}

/* general.* tells who a model is, but for these. */
static bool is_identity(struct str key)
{
    return str_starts(key, "general.") && !str_is(key, "general.architecture") &&
           !str_is(key, "general.alignment") && !str_is(key, "general.file_type") &&
           !str_is(key, "general.quantization_version");
}

/* Where the template's identity begins: there goes the directory's. */
static uint32_t place_of_identity(const struct model *like)
{
    uint32_t after = 0;
    for (uint32_t i = 0; i < like->nmetas; i++) {
        if (is_identity(like->metas[i].key))
            return i;
        if (str_is(like->metas[i].key, "general.architecture"))
            after = i + 1;
    }
    return after;
}

/* All keys at once: putting them one by one would look through the list for each. */
static enum quern_status join_keys(struct conversion *c, const struct meta_list *identity,
                                   struct quern_error *err)
{
    const uint32_t n = c->like->nmetas, place = place_of_identity(c->like);
    struct meta *all = calloc((size_t)identity->count + n + 1, sizeof *all);
    uint32_t count = 0;
    if (!all)
        return fail_memory(err, n * sizeof *all);
    for (uint32_t i = 0; i <= n; i++) {
        for (uint32_t k = 0; i == place && k < identity->count; k++)
            all[count++] = identity->items[k];
        if (i < n && !is_identity(c->like->metas[i].key) && !is_of_the_file(c->like->metas[i].key))
            all[count++] = c->like->metas[i];
    }
    const bool ok = meta_list_copy(&c->keys, &c->plan->arena, all, count);
    free(all);
    return ok ? QUERN_OK : fail_memory(err, n * sizeof *all);
}

enum quern_status like_keys(struct conversion *c, struct quern_error *err)
{
    const struct str pre = str_from(c->request->pre ? c->request->pre : "");
    c->keys.count = 0;
    TRY(convert_metadata(c, err));
    const struct meta_list identity = c->keys;
    TRY(join_keys(c, &identity, err));
    const bool typed = model_meta(c->like, "general.file_type") != NULL;
    if ((typed && !meta_list_put_u32(&c->keys, "general.file_type", convert_file_type(c))) ||
        !meta_list_put_u32(&c->keys, "general.quantization_version", 2) ||
        !meta_list_put_string(&c->keys, "tokenizer.ggml.pre", pre))
        return fail_memory(err, sizeof(struct meta));
    return QUERN_OK;
}
