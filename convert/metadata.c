/* metadata.c - general.*: what a model is called, where it comes from, how it wants to be sampled.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "conversion.h"
#include "core/checked.h"
#include "formats/pack.h"
#include "front_matter.h"
#include "meta_array.h"
#include "model_id.h"

/* ---- the fields ---------------------------------------------------------------------------------
 */

/* X(field, key after general., keys of README.md's front matter with blanks between them); in the
 * order in which they are written. */
#define FIELD_LIST(X)                                                  \
    X(NAME, "name", "name model_name")                                 \
    X(AUTHOR, "author", "author model_author model_creator")           \
    X(VERSION, "version", "version model_version")                     \
    X(ORGANIZATION, "organization", "organization model_organization") \
    X(FINETUNE, "finetune", "finetune model_finetune")                 \
    X(BASENAME, "basename", "basename model_basename model_type")      \
    X(DESCRIPTION, "description", "description model_description")     \
    X(QUANTIZED_BY, "quantized_by", "")                                \
    X(SIZE_LABEL, "size_label", "size_label model_size_label")         \
    X(LICENSE, "license", "license")                                   \
    X(LICENSE_NAME, "license.name", "license_name")                    \
    X(LICENSE_LINK, "license.link", "license_link")                    \
    X(URL, "url", "")                                                  \
    X(DOI, "doi", "")                                                  \
    X(UUID, "uuid", "")                                                \
    X(REPO_URL, "repo_url", "")                                        \
    X(SOURCE_URL, "source.url", "url model_url")                       \
    X(SOURCE_DOI, "source.doi", "doi model_doi")                       \
    X(SOURCE_UUID, "source.uuid", "uuid model_uuid")                   \
    X(SOURCE_REPO_URL, "source.repo_url", "repo_url model_repo_url")

enum field {
#define X(id, key, card) FIELD_##id,
    FIELD_LIST(X)
#undef X
        FIELD_COUNT
};

static const struct {
    const char *key, *card;
} fields[FIELD_COUNT] = {
#define X(id, key, card) [FIELD_##id] = {key, card},
    FIELD_LIST(X)
#undef X
};

/* What is told of a base model or a data set, in the order in which it is written. */
enum origin_field {
    ORIGIN_NAME,
    ORIGIN_AUTHOR,
    ORIGIN_VERSION,
    ORIGIN_ORGANIZATION,
    ORIGIN_DESCRIPTION,
    ORIGIN_URL,
    ORIGIN_DOI,
    ORIGIN_UUID,
    ORIGIN_REPO_URL,
    ORIGIN_FIELDS
};

static const char *const origin_fields[ORIGIN_FIELDS] = {
    "name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url"};

struct origin {
    struct str text[ORIGIN_FIELDS];
};

struct origins {
    struct origin *items;
    uint64_t count;
    bool told; /* also when there is none */
};

struct texts {
    struct str *items;
    uint64_t count;
};

static const struct sampling {
    const char *key;  /* after general.sampling. */
    const char *name; /* in generation_config.json */
    enum meta_type type;
} samplings[] = {
    {"sequence",        "sequence",        META_STRING},
    {"top_k",           "top_k",           META_I32   },
    {"top_p",           "top_p",           META_F32   },
    {"min_p",           "min_p",           META_F32   },
    {"xtc_probability", "xtc_probability", META_F32   },
    {"xtc_threshold",   "xtc_threshold",   META_F32   },
    {"temp",            "temperature",     META_F32   },
    {"penalty_last_n",  "penalty_last_n",  META_I32   },
    {"penalty_repeat",  "penalty_repeat",  META_F32   },
    {"mirostat",        "mirostat",        META_I32   },
    {"mirostat_tau",    "mirostat_tau",    META_F32   },
    {"mirostat_eta",    "mirostat_eta",    META_F32   },
};
#define NSAMPLINGS (sizeof samplings / sizeof *samplings)

struct facts {
    struct conversion *c;
    struct arena *arena;
    uint64_t total, shared, per_expert, nexperts; /* weights of the output */
    struct str text[FIELD_COUNT];                 /* .p NULL: not known */
    const struct json *sampling[NSAMPLINGS];
    struct origins base_models, datasets;
    struct texts tags, languages;
    struct json *generation, *given;
};

static struct model_size size_of(const struct facts *f)
{
    return (struct model_size){.weights = f->total, .adapter = f->c->adapts};
}

/* The first to tell counts. */
static void tell(struct facts *f, enum field field, struct str s)
{
    if (!f->text[field].p && s.n)
        f->text[field] = s;
}

/* ---- README.md
 * ----------------------------------------------------------------------------------- */

/* A scalar, or the scalars of a list. */
static bool add_texts(struct facts *f, struct texts *list, const struct yaml_node *n)
{
    if (!n || n->kind == YAML_IS_MAP || yaml_is_null(n))
        return true;
    const uint64_t more = n->kind == YAML_IS_LIST ? n->count : 1;
    struct str *items = ARENA_NEW(f->arena, struct str, list->count + more + 1);
    if (!items)
        return false;
    if (list->count)
        memcpy(items, list->items, list->count * sizeof *items);
    list->items = items;
    if (n->kind == YAML_IS_SCALAR)
        items[list->count++] = n->text;
    for (n = n->kind == YAML_IS_LIST ? n->first : NULL; n; n = n->next)
        if (n->kind == YAML_IS_SCALAR)
            items[list->count++] = n->text;
    return true;
}

static struct str joined(struct facts *f, const struct yaml_node *n)
{
    struct texts list = {0};
    struct str s = {0};
    if (!add_texts(f, &list, n))
        return s;
    for (uint64_t i = 0; i < list.count; i++) {
        const char *p =
            arena_printf(f->arena, "%.*s%s%.*s", STR_ARG(s), i ? "," : "", STR_ARG(list.items[i]));
        if (!p)
            return (struct str){0};
        s = str_from(p);
    }
    return s;
}

static void card_fields(struct facts *f, const struct yaml_node *card)
{
    for (int k = 0; k < FIELD_COUNT; k++)
        for (const char *p = fields[k].card; *p;) {
            char name[32];
            const size_t n = strcspn(p, " ");
            snprintf(name, sizeof name, "%.*s", (int)n, p);
            tell(f, (enum field)k, joined(f, yaml_get(card, name)));
            p += n + (p[n] == ' ');
        }
}

static bool is_url(struct str s)
{
    return str_starts(s, "http://") || str_starts(s, "https://") || str_starts(s, "ssh://");
}

/* "org/name" of an address on the hub; empty when it is none. */
static struct str hub_id(struct str url)
{
    static const char host[] = "://huggingface.co/";
    const size_t scheme = str_starts(url, "https") ? 5 : 4;
    if (!str_starts(url, "http") || url.n <= scheme + sizeof host - 1 ||
        memcmp(url.p + scheme, host, sizeof host - 1) != 0)
        return (struct str){0};
    const struct str id = {url.p + scheme + sizeof host - 1, url.n - scheme - (sizeof host - 1)};
    const char *slash = memchr(id.p, '/', id.n);
    if (!slash || slash == id.p || slash + 1 == id.p + id.n ||
        memchr(slash + 1, '/', id.n - (size_t)(slash + 1 - id.p)))
        return (struct str){0};
    return id;
}

static bool origin_of_id(struct facts *f, struct str text, struct origin *o)
{
    struct model_id id;
    const struct str of = is_url(text) ? hub_id(text) : text;
    if (is_url(text))
        o->text[ORIGIN_REPO_URL] = text;
    if (of.n == 0)
        return true;
    if (!model_id_parse(of, size_of(f), f->arena, &id))
        return false;
    o->text[ORIGIN_NAME] = model_id_title(id.full, f->arena);
    o->text[ORIGIN_VERSION] = id.version;
    if (!id.organization.n)
        return o->text[ORIGIN_NAME].p != NULL;
    o->text[ORIGIN_ORGANIZATION] = model_id_title(id.organization, f->arena);
    if (!is_url(text)) {
        const char *url = arena_printf(f->arena, "https://huggingface.co/%.*s/%.*s",
                                       STR_ARG(id.organization), STR_ARG(id.full));
        o->text[ORIGIN_REPO_URL] = url ? str_from(url) : (struct str){0};
    }
    return o->text[ORIGIN_NAME].p && o->text[ORIGIN_ORGANIZATION].p;
}

static bool origin_of_node(struct facts *f, const struct yaml_node *n, struct origin *o)
{
    if (n->kind == YAML_IS_SCALAR)
        return origin_of_id(f, n->text, o);
    for (int k = 0; k < ORIGIN_FIELDS; k++) {
        const struct yaml_node *v = yaml_get(n, origin_fields[k]);
        if (v && v->kind == YAML_IS_SCALAR)
            o->text[k] = v->text;
    }
    return true;
}

static bool card_origins(struct facts *f, const struct yaml_node *card, const char *const names[3],
                         struct origins *out)
{
    const struct yaml_node *n = NULL;
    for (int k = 0; k < 3 && !n; k++)
        n = yaml_get(card, names[k]);
    if (!n)
        return true;
    out->told = true;
    if (yaml_is_null(n) || n->kind == YAML_IS_MAP)
        return true;
    out->items = ARENA_NEW(f->arena, struct origin, n->count + 1);
    if (!out->items)
        return false;
    if (n->kind == YAML_IS_SCALAR)
        return origin_of_node(f, n, &out->items[out->count++]);
    for (n = n->first; n; n = n->next)
        if (!origin_of_node(f, n, &out->items[out->count++]))
            return false;
    return true;
}

static enum quern_status from_card(struct facts *f, struct quern_error *err)
{
    static const char *const bases[3] = {"base_model", "base_models", "base_model_sources"};
    static const char *const sets[3] = {"datasets", "dataset", "dataset_sources"};
    const struct yaml_node *card;
    TRY(read_model_card(f->c->card->folder, f->c->plan, &card, err));
    if (!card)
        return QUERN_OK;
    card_fields(f, card);
    if (!card_origins(f, card, bases, &f->base_models) ||
        !card_origins(f, card, sets, &f->datasets) ||
        !add_texts(f, &f->tags, yaml_get(card, "tags")) ||
        !add_texts(f, &f->tags, yaml_get(card, "pipeline_tag")) ||
        !add_texts(f, &f->languages, yaml_get(card, "languages")) ||
        !add_texts(f, &f->languages, yaml_get(card, "language")))
        return fail_memory(err, sizeof *card);
    return QUERN_OK;
}

/* ---- names
 * --------------------------------------------------------------------------------------- */

static enum quern_status from_id(struct facts *f, struct str text, struct quern_error *err)
{
    struct model_id id;
    if (!model_id_parse(text, size_of(f), f->arena, &id))
        return fail_memory(err, text.n);
    tell(f, FIELD_NAME, model_id_title(id.full, f->arena));
    tell(f, FIELD_ORGANIZATION, model_id_title(id.organization, f->arena));
    tell(f, FIELD_BASENAME, id.basename);
    tell(f, FIELD_FINETUNE, id.finetune);
    tell(f, FIELD_VERSION, id.version);
    tell(f, FIELD_SIZE_LABEL, id.size_label);
    return QUERN_OK;
}

static size_t slashes(struct str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++)
        n += s.p[i] == '/';
    return n;
}

static enum quern_status from_names(struct facts *f, struct quern_error *err)
{
    struct str id;
    if (json_text(json_get(f->c->card->root, "_name_or_path"), &id) && slashes(id) <= 1 && id.n)
        TRY(from_id(f, id, err));
    TRY(folder_name(f->c->card->folder, f->arena, &id, err));
    return from_id(f, id, err);
}

/* ---- files given
 * --------------------------------------------------------------------------------- */

static enum quern_status from_generation(struct facts *f, struct quern_error *err)
{
    struct quern_error why;
    const enum quern_status s =
        hf_json_file(f->c->card, "generation_config.json", &f->generation, &why);
    if (s != QUERN_OK)
        return plan_note(f->c->plan, err, "generation_config.json is not used: %s", why.text);
    for (size_t k = 0; k < NSAMPLINGS; k++)
        f->sampling[k] = json_get(f->generation, samplings[k].name);
    return QUERN_OK;
}

static enum quern_status given_texts(struct facts *f, const struct json *v, struct texts *out,
                                     struct quern_error *err)
{
    *out = (struct texts){.items = ARENA_NEW(f->arena, struct str, json_count(v) + 1)};
    if (!out->items)
        return fail_memory(err, json_count(v) * sizeof *out->items);
    for (const struct json *item = json_first(v); item; item = json_next(item))
        if (!json_text(item, &out->items[out->count++]))
            return fail(err, QUERN_EUSAGE, "metadata",
                        "%s has an item that is no text" WANT "expected a list of texts",
                        quoted(json_key_of(v)).text);
    return QUERN_OK;
}

static enum quern_status given_origins(struct facts *f, const struct json *v, struct origins *out,
                                       struct quern_error *err)
{
    *out = (struct origins){.items = ARENA_NEW(f->arena, struct origin, json_count(v) + 1),
                            .told = true};
    if (!out->items)
        return fail_memory(err, json_count(v) * sizeof *out->items);
    for (const struct json *item = json_first(v); item; item = json_next(item)) {
        if (!json_is_object(item))
            return fail(err, QUERN_EUSAGE, "metadata",
                        "%s has an item that is no object" WANT "expected name, version ...",
                        quoted(json_key_of(v)).text);
        for (int k = 0; k < ORIGIN_FIELDS; k++)
            json_text(json_get(item, origin_fields[k]), &out->items[out->count].text[k]);
        out->count++;
    }
    return QUERN_OK;
}

static enum quern_status given_key(struct facts *f, const struct json *v, struct quern_error *err)
{
    const struct str key = json_key_of(v);
    if (str_is(key, "general.tags"))
        return given_texts(f, v, &f->tags, err);
    if (str_is(key, "general.languages"))
        return given_texts(f, v, &f->languages, err);
    if (str_is(key, "general.base_models"))
        return given_origins(f, v, &f->base_models, err);
    if (str_is(key, "general.datasets"))
        return given_origins(f, v, &f->datasets, err);
    const struct str rest =
        str_starts(key, "general.") ? (struct str){key.p + 8, key.n - 8} : (struct str){0};
    for (int k = 0; k < FIELD_COUNT; k++)
        if (str_is(rest, fields[k].key)) {
            if (json_text(v, &f->text[k]))
                return QUERN_OK;
            return fail(err, QUERN_EUSAGE, "metadata", "%s is no text", quoted(key).text);
        }
    for (size_t k = 0; k < NSAMPLINGS; k++)
        if (str_starts(rest, "sampling.") &&
            str_is((struct str){rest.p + 9, rest.n - 9}, samplings[k].key)) {
            f->sampling[k] = v;
            return QUERN_OK;
        }
    return fail(err, QUERN_EUSAGE, "metadata",
                "%s is no key that --metadata sets" WANT "expected general.name, "
                "general.description, general.tags and the like; --override-kv sets any key",
                quoted(key).text);
}

static enum quern_status read_given(struct facts *f, struct quern_error *err)
{
    struct str text;
    TRY(read_named_file(f->c->request->metadata, JSON_MAX_BYTES, f->arena, &text, err));
    TRY(json_parse(text, &f->given, err));
    if (!json_is_object(f->given))
        return fail(err, QUERN_EUSAGE, "metadata", "it is no JSON object");
    for (const struct json *v = json_first(f->given); v; v = json_next(v))
        TRY(given_key(f, v, err));
    return QUERN_OK;
}

/* ---- weights
 * ------------------------------------------------------------------------------------- */

static enum quern_status count_weights(struct facts *f, struct quern_error *err)
{
    uint64_t sum = 0, tensors = 0, ncols = 0;
    for (uint32_t i = 0; i < f->c->nsteps; i++) {
        const struct step *s = &f->c->steps[i];
        uint64_t n = 0;
        if (str_ends(s->name, ".lora_a")) {
            ncols = s->dims[s->ndims - 1];
            continue;
        }
        /* The matrix that a product belongs to. */
        const bool product = str_ends(s->name, ".lora_b");
        if (!dims_product(s->dims, s->ndims - product, &n) ||
            (product && !checked_mul(n, ncols, &n)))
            return in_tensor(err, s->name, fail(err, QUERN_EFORMAT, "overflow", "it is too large"));
        f->total += n;
        const unsigned which = str_ends(s->name, ".bias") ? 2 : 3;
        if (str_has(s->name, "_exps.") && s->ndims >= 3 && s->dims[s->ndims - which]) {
            const uint64_t nexperts = s->dims[s->ndims - which];
            f->per_expert += n / nexperts;
            sum += nexperts;
            tensors++;
        } else {
            f->shared += n;
        }
    }
    f->nexperts = tensors ? sum / tensors : 0;
    return QUERN_OK;
}

/* ---- writing
 * ------------------------------------------------------------------------------------- */

static bool put_sampling(struct meta_list *l, const struct sampling *s, const struct json *v)
{
    char key[64];
    struct str text;
    double number;
    snprintf(key, sizeof key, "general.sampling.%s", s->key);
    if (s->type == META_STRING)
        return !json_text(v, &text) || meta_list_put_string(l, key, text);
    if (!json_f64(v, &number))
        return true;
    if (s->type == META_F32)
        return meta_list_put_f32(l, key, (float)number);
    return !(number >= -0x1p31 && number < 0x1p31) || meta_list_put_i32(l, key, (int32_t)number);
}

static bool put_origins(struct meta_list *l, const char *what, const struct origins *o)
{
    char key[96];
    snprintf(key, sizeof key, "general.%s.count", what);
    bool ok = !o->told || meta_list_put_u32(l, key, (uint32_t)o->count);
    for (uint64_t i = 0; i < o->count && ok; i++)
        for (int k = 0; k < ORIGIN_FIELDS && ok; k++) {
            snprintf(key, sizeof key, "general.%s.%llu.%s", what, (unsigned long long)i,
                     origin_fields[k]);
            ok = meta_list_put_string(l, key, o->items[i].text[k]);
        }
    return ok;
}

static bool put_texts(struct facts *f)
{
    struct meta_list *l = &f->c->keys;
    bool ok = true;
    for (size_t k = 0; k < NSAMPLINGS && ok; k++)
        ok = put_sampling(l, &samplings[k], f->sampling[k]);
    for (int k = 0; k < FIELD_COUNT && ok; k++) {
        char key[64];
        snprintf(key, sizeof key, "general.%s", fields[k].key);
        ok = meta_list_put_string(l, key, f->text[k]);
    }
    return ok && put_origins(l, "base_model", &f->base_models) &&
           put_origins(l, "dataset", &f->datasets) &&
           meta_list_set_strings(l, "general.tags", f->tags.items, f->tags.count) &&
           meta_list_set_strings(l, "general.languages", f->languages.items, f->languages.count);
}

static bool put_facts(struct facts *f)
{
    struct meta_list *l = &f->c->keys;
    if (f->c->adapts)
        return meta_list_put_string(l, "general.type", STR("adapter")) &&
               meta_list_put_string(l, "adapter.type", STR("lora")) && put_texts(f);
    return meta_list_put_string(l, "general.type", STR("model")) && put_texts(f);
}

static enum quern_status read_options(struct facts *f, struct quern_error *err)
{
    if (f->c->request->metadata)
        TRY(in_file(err, f->c->request->metadata, read_given(f, err)));
    if (f->c->request->model_name)
        f->text[FIELD_NAME] = str_from(f->c->request->model_name);
    return QUERN_OK;
}

static enum quern_status gather_facts(struct facts *f, struct quern_error *err)
{
    TRY(count_weights(f, err));
    TRY(from_card(f, err));
    TRY(from_names(f, err));
    TRY(from_generation(f, err));
    TRY(read_options(f, err));
    if (!f->text[FIELD_SIZE_LABEL].p && f->total > 0 && !f->c->adapts) {
        const char *label =
            model_size_label(f->total, f->shared, f->per_expert, f->nexperts, f->arena);
        if (!label)
            return fail_memory(err, 16);
        f->text[FIELD_SIZE_LABEL] = str_from(label);
    }
    return put_facts(f) ? QUERN_OK : fail_memory(err, sizeof *f);
}

enum quern_status convert_metadata(struct conversion *c, struct quern_error *err)
{
    struct facts f = {.c = c, .arena = &c->plan->arena};
    const enum quern_status s = gather_facts(&f, err);
    json_free(f.generation);
    json_free(f.given);
    return s;
}

/* Fewer base models or data sets than before must not leave the rest of the old ones. */
static void forget_origins(struct meta_list *l, const char *what)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < l->count; i++)
        if (!str_starts(l->items[i].key, what))
            l->items[kept++] = l->items[i];
    l->count = kept;
}

enum quern_status convert_edit_metadata(struct conversion *c, struct quern_error *err)
{
    struct facts f = {.c = c, .arena = &c->plan->arena};
    enum quern_status s = read_options(&f, err);
    if (f.base_models.told)
        forget_origins(&c->keys, "general.base_model.");
    if (f.datasets.told)
        forget_origins(&c->keys, "general.dataset.");
    if (s == QUERN_OK && !put_texts(&f))
        s = fail_memory(err, sizeof f);
    json_free(f.given);
    return s;
}
