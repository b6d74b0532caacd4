/* adapter_config.c - adapter_config.json: ranks, factors, and what makes an adapter no plain LoRA.
 */
#include <math.h>
#include <stdlib.h>

#include "core/json.h"
#include "core/pattern.h"
#include "formats/adapter.h"

/* A module whose whole name, or last components, match gets this value. */
struct adapter_pattern {
    struct pattern *regex;
    double value;
};

void adapter_config_free(struct adapter_config *c)
{
    for (uint32_t i = 0; i < c->nranks; i++)
        pattern_free(c->ranks[i].regex);
    for (uint32_t i = 0; i < c->nalphas; i++)
        pattern_free(c->alphas[i].regex);
    free(c->ranks);
    free(c->alphas);
    c->ranks = c->alphas = NULL;
    c->nranks = c->nalphas = 0;
}

/* ---- what cannot be merged ------------------------------------------------------------------- */

/* Settings that make the merge something else than W + scale * B A. */
static const struct {
    const char *key, *why;
} refused[] = {
    {"layer_replication",       "it repeats layers of its base"                                    },
    {"target_parameters",       "it adapts parameters that are no modules"                         },
    {"trainable_token_indices", "it retrains single rows of the embeddings"                        },
    {"use_qalora",              "QALoRA groups the columns of its base"                            },
    {"use_bdlora",              "its matrices are block-diagonal"                                  },
    {"arrow_config",            "Arrow chooses among adapters for every token and cannot be merged"},
    {"kasa_config",             "KaSA takes something away from its base first"                    },
    {"monteclora_config",       "its matrices are drawn at random"                                 },
};

/* Set to something: neither absent, null, false nor empty. */
static bool is_set(const struct json *v)
{
    bool truth;
    if (!v || json_is_null(v))
        return false;
    if (json_bool(v, &truth))
        return truth;
    return (!json_is_array(v) && !json_is_object(v)) || json_count(v) > 0;
}

/* Ways to begin that subtract the first B A from the base: only the changed base fits. */
static enum quern_status check_start(const struct json *root, struct quern_error *err)
{
    static const char *const changes_base[] = {"pissa", "olora", "corda", "lora_ga"};
    struct str how;
    if (!json_text(json_get(root, "init_lora_weights"), &how))
        return QUERN_OK;
    for (size_t i = 0; i < sizeof changes_base / sizeof *changes_base; i++)
        if (how.n >= strlen(changes_base[i]) &&
            str_eq_nocase((struct str){how.p, strlen(changes_base[i])}, str_from(changes_base[i])))
            return fail(
                err, QUERN_EUNSUPPORTED, "adapter-kind",
                "init_lora_weights is '%s': it fits a changed base only" WANT
                "save it with path_initial_model_for_weight_conversion, which makes a plain "
                "LoRA of it",
                quoted(how).text);
    return QUERN_OK;
}

static enum quern_status check_kind(const struct json *root, struct quern_error *err)
{
    struct str kind;
    if (!json_is_object(root) || !json_text(json_get(root, "peft_type"), &kind))
        return fail(err, QUERN_EFORMAT, "adapter-config",
                    "there is no peft_type" WANT "expected the configuration of a PEFT adapter");
    if (!str_is(kind, "LORA"))
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "peft_type is '%s'" WANT "quern merges LoRA adapters only", quoted(kind).text);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (is_set(json_get(root, refused[i].key)))
            return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                        "%s is set: %s" WANT "quern merges plain LoRA and DoRA only",
                        refused[i].key, refused[i].why);
    return check_start(root, err);
}

/* ---- values ---------------------------------------------------------------------------------- */

static enum quern_status wrong_value(struct quern_error *err, const char *key, const char *expected)
{
    return fail(err, QUERN_EFORMAT, "adapter-config", "%s has an odd value" WANT "expected %s", key,
                expected);
}

static enum quern_status check_rank(double rank, const char *key, struct quern_error *err)
{
    if (!(rank >= 1 && rank <= MAX_RANK) || rank != floor(rank))
        return wrong_value(err, key, "a rank from 1 to 8192");
    return QUERN_OK;
}

static enum quern_status read_flag(const struct json *root, const char *key, bool *out,
                                   struct quern_error *err)
{
    const struct json *v = json_get(root, key);
    *out = false;
    if (!v || json_is_null(v) || json_bool(v, out))
        return QUERN_OK;
    return wrong_value(err, key, "true or false");
}

/* One name, a list of them, or nothing. */
static enum quern_status read_names(const struct json *root, const char *key, struct arena *arena,
                                    const struct str **names, uint32_t *count,
                                    struct quern_error *err)
{
    const struct json *v = json_get(root, key);
    const bool many = json_is_array(v);
    struct str text;
    const size_t n = many ? json_count(v) : json_text(v, &text) ? 1 : 0;
    struct str *list = ARENA_NEW(arena, struct str, n + 1);
    if (!list)
        return fail_memory(err, n * sizeof *list);
    const struct json *item = many ? json_first(v) : v;
    for (size_t i = 0; i < n; i++, item = json_next(item)) {
        if (!json_text(item, &text))
            return wrong_value(err, key, "names");
        list[i] = arena_str(arena, text);
        if (!list[i].p)
            return fail_memory(err, text.n);
    }
    *names = list;
    *count = (uint32_t)n;
    return QUERN_OK;
}

static enum quern_status read_pattern(const struct json *member, const char *key,
                                      struct adapter_pattern *out, struct quern_error *err)
{
    double value;
    const struct str name = json_key_of(member);
    if (!json_f64(member, &value) || !isfinite(value))
        return wrong_value(err, key, "a number for every name");
    struct arena arena = {0};
    const char *whole = arena_printf(&arena, "^(.*\\.)?(%.*s)$", STR_ARG(name));
    const enum quern_status status =
        whole ? pattern_new(str_from(whole), &out->regex, err) : fail_memory(err, name.n);
    arena_free(&arena);
    out->value = value;
    return status;
}

static enum quern_status read_patterns(const struct json *root, const char *key,
                                       struct adapter_pattern **out, uint32_t *count,
                                       struct quern_error *err)
{
    const struct json *v = json_get(root, key);
    if (!v || json_is_null(v))
        return QUERN_OK;
    if (!json_is_object(v))
        return wrong_value(err, key, "an object");
    const size_t n = json_count(v);
    *out = calloc(n + 1, sizeof **out);
    if (!*out)
        return fail_memory(err, n * sizeof **out);
    for (const struct json *m = json_first(v); m; m = json_next(m)) {
        TRY(read_pattern(m, key, &(*out)[*count], err));
        ++*count;
    }
    return QUERN_OK;
}

/* The token ids of an activated LoRA. Older ones have a text instead. */
static enum quern_status read_invocation(const struct json *root, struct arena *arena,
                                         struct adapter_config *c, struct quern_error *err)
{
    const struct json *v = json_get(root, "alora_invocation_tokens");
    if (!is_set(v) && is_set(json_get(root, "invocation_string")))
        return fail(err, QUERN_EUNSUPPORTED, "adapter-kind",
                    "it is an activated LoRA with an invocation_string only" WANT
                    "expected alora_invocation_tokens, the tokens of that text");
    if (!is_set(v))
        return QUERN_OK;
    const size_t n = json_is_array(v) ? json_count(v) : 0;
    uint32_t *ids = ARENA_NEW(arena, uint32_t, n + 1);
    if (!ids)
        return fail_memory(err, n * sizeof *ids);
    size_t count = 0;
    for (const struct json *item = n ? json_first(v) : NULL; item; item = json_next(item)) {
        uint64_t id;
        if (!json_u64(item, &id) || id > INT32_MAX)
            return wrong_value(err, "alora_invocation_tokens", "token ids");
        ids[count++] = (uint32_t)id;
    }
    if (count == 0)
        return wrong_value(err, "alora_invocation_tokens", "token ids");
    c->invocation = ids;
    c->ninvocation = (uint32_t)count;
    return QUERN_OK;
}

static enum quern_status read_values(const struct json *root, struct arena *arena,
                                     struct adapter_config *c, struct quern_error *err)
{
    const struct json *rank = json_get(root, "r"), *alpha = json_get(root, "lora_alpha");
    struct str base;
    double r = 8; /* PEFT's defaults */
    c->alpha = 8;
    if (rank && !json_f64(rank, &r))
        return wrong_value(err, "r", "a number");
    TRY(check_rank(r, "r", err));
    c->rank = (uint64_t)r;
    if (alpha && (!json_f64(alpha, &c->alpha) || !isfinite(c->alpha)))
        return wrong_value(err, "lora_alpha", "a number");
    TRY(read_flag(root, "use_rslora", &c->rslora, err));
    TRY(read_flag(root, "use_dora", &c->dora, err));
    TRY(read_flag(root, "lora_bias", &c->bias, err));
    TRY(read_flag(root, "fan_in_fan_out", &c->fan_in_fan_out, err));
    TRY(read_patterns(root, "rank_pattern", &c->ranks, &c->nranks, err));
    for (uint32_t i = 0; i < c->nranks; i++)
        TRY(check_rank(c->ranks[i].value, "rank_pattern", err));
    TRY(read_patterns(root, "alpha_pattern", &c->alphas, &c->nalphas, err));
    TRY(read_names(root, "target_modules", arena, &c->targets, &c->ntargets, err));
    TRY(read_names(root, "modules_to_save", arena, &c->saved, &c->nsaved, err));
    TRY(read_invocation(root, arena, c, err));
    if (!json_text(json_get(root, "base_model_name_or_path"), &base))
        return QUERN_OK;
    c->base_model = arena_str(arena, base);
    return c->base_model.p ? QUERN_OK : fail_memory(err, base.n);
}

enum quern_status adapter_config_read(const char *path, struct arena *arena,
                                      struct adapter_config *out, struct quern_error *err)
{
    *out = (struct adapter_config){0};
    struct str text;
    struct json *root;
    TRY(read_small_file(path, JSON_MAX_BYTES, arena, &text, err));
    TRY(in_file(err, path, json_parse(text, &root, err)));
    enum quern_status status = check_kind(root, err);
    if (status == QUERN_OK)
        status = read_values(root, arena, out, err);
    json_free(root);
    return in_file(err, path, status);
}

/* ---- modules --------------------------------------------------------------------------------- */

static enum quern_status first_match(const struct adapter_pattern *p, uint32_t n, struct str module,
                                     double *value, struct quern_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        bool found;
        TRY(pattern_search(p[i].regex, module, &found, err));
        if (found) {
            *value = p[i].value;
            return QUERN_OK;
        }
    }
    return QUERN_OK;
}

enum quern_status adapter_config_of(const struct adapter_config *c, struct str module,
                                    uint64_t *rank, double *alpha, struct quern_error *err)
{
    double r = (double)c->rank;
    *alpha = c->alpha;
    TRY(first_match(c->ranks, c->nranks, module, &r, err));
    TRY(first_match(c->alphas, c->nalphas, module, alpha, err));
    *rank = (uint64_t)r;
    return QUERN_OK;
}
