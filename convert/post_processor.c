/* post_processor.c - read the post_processor of a tokenizer.json. */
#include "convert/post_processor.h"

#include "core/json.h"

/* ---- special tokens ------------------------------------------------------------------------- */

/* A token by its text; objects are never equal to one, as in the converter of llama.cpp. */
static bool is_token(const struct special_text *s, struct str text)
{
    return s->given && !s->is_object && str_eq(s->text, text);
}

/* The state of the walk: names as they change, next to those that are written down. */
struct walk {
    struct special_names *n;
    const struct tokenizer_config *tc;
    struct special_text bos, eos, cls, sep;
};

static void add(struct special_names *n, enum special which, bool value)
{
    unsigned i = 0;
    while (i < n->nadds && n->adds[i].which != which)
        i++;
    n->adds[i].which = which;
    n->adds[i].value = value;
    n->nadds += i == n->nadds;
}

static struct special_text named(struct special_names *n, struct str text)
{
    const struct str copy = arena_str(&n->arena, text);
    n->failed |= !copy.p;
    return (struct special_text){.given = copy.p && copy.n > 0, .text = copy};
}

/* The text in {"SpecialToken": {"id": "<s>"}} or {"Sequence": {"id": "A"}}; empty for the other. */
static struct str id_in(const struct json *entry, const char *kind)
{
    struct str id;
    return json_text(json_get(json_get(entry, kind), "id"), &id) ? id : (struct str){0};
}

static const struct json *nth(const struct json *list, size_t n)
{
    const struct json *v = json_first(list);
    while (v && n--)
        v = json_next(v);
    return v;
}

/* ["<s>", 0] */
static void roberta_name(struct walk *w, const struct json *pair, struct special_text *name,
                         const struct special_text *stand_in, enum special which)
{
    struct str text;
    if (name->given || !w->tc->present)
        return;
    *name = json_text(json_first(pair), &text) ? named(w->n, text) : *stand_in;
    w->n->special[which] = *name;
}

static void roberta(struct walk *w, const struct json *p)
{
    add(w->n, SPECIAL_BOS, true);
    add(w->n, SPECIAL_EOS, true);
    add(w->n, SPECIAL_SEP, true);
    roberta_name(w, json_get(p, "cls"), &w->cls, &w->bos, SPECIAL_CLS);
    roberta_name(w, json_get(p, "sep"), &w->sep, &w->eos, SPECIAL_SEP);
}

/* A text that ends with another token than eos: that becomes eos, the old one ends turns. */
static void change_eos(struct walk *w, struct str last)
{
    struct special_names *n = w->n;
    if (n->ntypes < SPECIAL_COUNT)
        n->special[n->ntypes++] = w->eos;
    n->special[SPECIAL_EOS] = w->eos = named(n, last);
}

/* A text that begins with a token nobody names: it takes the free ones of two names. */
static void take_first(struct walk *w, struct str first)
{
    struct special_names *n = w->n;
    if (!w->bos.given)
        n->special[SPECIAL_BOS] = w->bos = named(n, first);
    if (!w->cls.given)
        n->special[SPECIAL_CLS] = w->cls = named(n, first);
}

static void single_template(struct walk *w, struct str first, struct str last)
{
    if (first.n) {
        if (!w->tc->present)
            w->bos = named(w->n, first);
        else if (!is_token(&w->bos, first) && !is_token(&w->cls, first))
            take_first(w, first);
        add(w->n, SPECIAL_BOS, is_token(&w->bos, first) || is_token(&w->cls, first));
    }
    if (last.n) {
        if (!w->tc->present)
            w->eos = named(w->n, last);
        else if (!is_token(&w->eos, last))
            change_eos(w, last);
        add(w->n, SPECIAL_EOS, is_token(&w->eos, last));
    }
}

/* Between A and B one or two separators. */
static void pair_template(struct walk *w, const struct json *pair, struct str first,
                          struct str last)
{
    const size_t n = json_count(pair);
    if (n == 0)
        return;
    const struct str end = id_in(nth(pair, n - 1), "SpecialToken");
    const size_t from = first.n && str_eq(id_in(nth(pair, 0), "SpecialToken"), first);
    const size_t to = n - (last.n && str_eq(end, last));
    if (to < from + 3 || !str_is(id_in(nth(pair, from), "Sequence"), "A") ||
        !str_is(id_in(nth(pair, to - 1), "Sequence"), "B"))
        return;
    const struct str one = id_in(nth(pair, from + 1), "SpecialToken");
    bool sep = one.n && !last.n && (is_token(&w->sep, one) || is_token(&w->eos, one));
    if (to - from == 4) {
        const struct str two = id_in(nth(pair, from + 2), "SpecialToken");
        sep |= two.n && (is_token(&w->sep, two) || is_token(&w->eos, two));
    }
    add(w->n, SPECIAL_SEP, sep);
    if (sep && !w->sep.given && w->tc->present)
        w->n->special[SPECIAL_SEP] = w->eos;
}

static void template(struct walk *w, const struct json *p)
{
    const struct json *single = json_get(p, "single");
    const size_t n = json_count(single);
    struct str first = {0}, last = {0};
    if (n > 1) {
        first = id_in(nth(single, 0), "SpecialToken");
        last = id_in(nth(single, n - 1), "SpecialToken");
        single_template(w, first, last);
    }
    pair_template(w, json_get(p, "pair"), first, last);
}

static void processor(struct walk *w, const struct json *p)
{
    struct str type;
    if (!json_text(json_get(p, "type"), &type))
        return;
    if (str_is(type, "RobertaProcessing"))
        roberta(w, p);
    if (str_is(type, "TemplateProcessing"))
        template(w, p);
}

enum quern_status special_names_read(struct special_names *n, const struct tokenizer_config *tc,
                                     const struct tokenizer *t, struct quern_error *err)
{
    struct json *root;
    *n = (struct special_names){.ntypes = SPECIAL_EOT};
    memcpy(n->special, tc->special, sizeof n->special);
    if (!t)
        return QUERN_OK;
    if (!n->special[SPECIAL_BOS].given && n->special[SPECIAL_CLS].given)
        n->special[SPECIAL_BOS] = n->special[SPECIAL_CLS];
    if (!n->special[SPECIAL_EOS].given && n->special[SPECIAL_SEP].given)
        n->special[SPECIAL_EOS] = n->special[SPECIAL_SEP];
    if (!t->post_processor.n)
        return QUERN_OK;
    TRY(in_file(err, t->path, json_parse(t->post_processor, &root, err)));
    struct walk w = {n,
                     tc,
                     n->special[SPECIAL_BOS],
                     n->special[SPECIAL_EOS],
                     n->special[SPECIAL_CLS],
                     n->special[SPECIAL_SEP]};
    const struct json *list = json_get(root, "processors");
    if (!list)
        processor(&w, root);
    for (const struct json *p = json_first(list); p; p = json_next(p))
        processor(&w, p);
    json_free(root);
    return n->failed ? fail_memory(err, t->post_processor.n) : QUERN_OK;
}

/* ---- ids around a text ---------------------------------------------------------------------- */

static bool push(uint32_t *ids, size_t *n, uint64_t id)
{
    if (*n == MAX_AROUND || id > UINT32_MAX)
        return false;
    ids[(*n)++] = (uint32_t)id;
    return true;
}

/* The ids of a special token of a template; by its text when the template does not list them. */
static bool push_special(const struct tokenizer *t, const struct json *p, struct str name,
                         uint32_t *ids, size_t *n)
{
    const struct json *special = json_get(p, "special_tokens");
    for (const struct json *s = json_first(special); s; s = json_next(s)) {
        if (!str_eq(json_key_of(s), name))
            continue;
        bool ok = true;
        for (const struct json *id = json_first(json_get(s, "ids")); id; id = json_next(id)) {
            uint64_t v;
            ok &= json_u64(id, &v) && push(ids, n, v);
        }
        return ok;
    }
    const struct token *token = token_by_text(t, name);
    return token && push(ids, n, token->id);
}

static bool around_template(const struct tokenizer *t, const struct json *p, struct around *a)
{
    bool seen = false, ok = true;
    for (const struct json *e = json_first(json_get(p, "single")); e; e = json_next(e)) {
        const struct str special = id_in(e, "SpecialToken");
        if (!special.n) {
            ok &= !seen && str_is(id_in(e, "Sequence"), "A");
            seen = true;
        } else if (seen) {
            ok &= push_special(t, p, special, a->after, &a->nafter);
        } else {
            ok &= push_special(t, p, special, a->before, &a->nbefore);
        }
    }
    return ok && seen;
}

/* {"cls": ["<s>", 0], "sep": ["</s>", 2]} */
static bool around_pair(const struct json *p, struct around *a)
{
    uint64_t cls, sep;
    return json_u64(nth(json_get(p, "cls"), 1), &cls) &&
           json_u64(nth(json_get(p, "sep"), 1), &sep) && push(a->before, &a->nbefore, cls) &&
           push(a->after, &a->nafter, sep);
}

static bool around_one(const struct tokenizer *t, const struct json *p, struct around *a)
{
    struct str type;
    if (!json_text(json_get(p, "type"), &type))
        return false;
    if (str_is(type, "ByteLevel"))
        return true;
    /* Two of them would nest: nobody does that. */
    if (a->nbefore || a->nafter)
        return false;
    if (str_is(type, "TemplateProcessing"))
        return around_template(t, p, a);
    return (str_is(type, "RobertaProcessing") || str_is(type, "BertProcessing")) &&
           around_pair(p, a);
}

enum quern_status post_processor_around(const struct tokenizer *t, struct around *a, bool *known,
                                        struct quern_error *err)
{
    struct json *root;
    *a = (struct around){0};
    *known = true;
    if (!t->post_processor.n)
        return QUERN_OK;
    TRY(in_file(err, t->path, json_parse(t->post_processor, &root, err)));
    const struct json *list = json_get(root, "processors");
    if (!list)
        *known = around_one(t, root, a);
    for (const struct json *p = json_first(list); p; p = json_next(p))
        *known &= around_one(t, p, a);
    json_free(root);
    if (!*known)
        *a = (struct around){0};
    return QUERN_OK;
}
