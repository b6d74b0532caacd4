/* pretokenizer.c - the steps of a pre_tokenizer, as patterns and what becomes of their matches. */
#include "convert/pretokenizer.h"

#include "convert/token_list.h"

#define GPT2_WORDS \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"
#define PUNCTUATION "[!-/:-@\\[-`{-~]|\\p{P}"

static const char *const behavior_names[] = {"Removed", "Isolated", "MergedWithPrevious",
                                             "MergedWithNext", "Contiguous"};

/* ---- read ----------------------------------------------------------------------------------- */

struct steps_reader {
    struct pretokenizer *p;
    bool known;
    struct quern_error *err;
};

static struct split_step *next_step(struct steps_reader *r)
{
    if (r->p->nsteps == MAX_SPLIT_STEPS) {
        r->known = false;
        return NULL;
    }
    return &r->p->steps[r->p->nsteps++];
}

static void add_step(struct steps_reader *r, enum step_kind kind)
{
    struct split_step *const s = next_step(r);
    if (s)
        s->kind = kind;
}

/* A pattern that cannot be read here is one that is not known, not an error. */
static enum quern_status add_split(struct steps_reader *r, struct str pattern,
                                   enum split_behavior behavior, bool invert)
{
    struct split_step *const s = next_step(r);
    if (!s)
        return QUERN_OK;
    *s = (struct split_step){.kind = STEP_SPLIT, .behavior = behavior, .invert = invert};
    const enum quern_status status = pattern_new_unicode(pattern, &s->pattern, r->err);
    if (status == QUERN_EMEMORY)
        return status;
    r->known &= status == QUERN_OK;
    return QUERN_OK;
}

static bool flag_or(const struct json *object, const char *key, bool otherwise)
{
    bool v;
    return json_bool(json_get(object, key), &v) ? v : otherwise;
}

static enum split_behavior behavior_of(struct steps_reader *r, const struct json *v)
{
    struct str name;
    if (!json_text(json_get(v, "behavior"), &name))
        return SPLIT_ISOLATED;
    for (unsigned i = 0; i < sizeof behavior_names / sizeof *behavior_names; i++)
        if (str_is(name, behavior_names[i]))
            return (enum split_behavior)i;
    r->known = false;
    return SPLIT_ISOLATED;
}

/* {"pattern": {"Regex": ...} or {"String": ...}, "behavior": ..., "invert": ...} */
static enum quern_status read_split(struct steps_reader *r, const struct json *v)
{
    struct str text;
    const struct json *pattern = json_get(v, "pattern");
    const enum split_behavior behavior = behavior_of(r, v);
    const bool invert = flag_or(v, "invert", false);
    if (json_text(json_get(pattern, "Regex"), &text))
        return add_split(r, text, behavior, invert);
    if (!json_text(json_get(pattern, "String"), &text) || text.n == 0) {
        r->known = false;
        return QUERN_OK;
    }
    static const char meant[] = "\\^$.|?*+()[]{}"; /* something else than themselves */
    struct arena arena = {0};
    char *quoted_text = arena_alloc(&arena, text.n * 2 + 1);
    if (!quoted_text)
        return fail_memory(r->err, text.n * 2);
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        if (memchr(meant, text.p[i], sizeof meant - 1))
            quoted_text[n++] = '\\';
        quoted_text[n++] = text.p[i];
    }
    const enum quern_status s = add_split(r, (struct str){quoted_text, n}, behavior, invert);
    arena_free(&arena);
    return s;
}

static enum quern_status read_byte_level(struct steps_reader *r, const struct json *v)
{
    /* Letters as letters of their bytes: text that grows with every step, and nobody's way. */
    r->known &= !r->p->letters;
    if (flag_or(v, "add_prefix_space", true))
        add_step(r, STEP_SPACE);
    if (flag_or(v, "use_regex", true))
        TRY(add_split(r, STR(GPT2_WORDS), SPLIT_ISOLATED, false));
    add_step(r, STEP_LETTERS);
    r->p->letters = true;
    return QUERN_OK;
}

static enum quern_status read_steps(struct steps_reader *r, const struct json *v, unsigned depth);

static enum quern_status read_sequence(struct steps_reader *r, const struct json *v, unsigned depth)
{
    for (const struct json *i = json_first(json_get(v, "pretokenizers")); i; i = json_next(i))
        TRY(read_steps(r, i, depth + 1));
    return QUERN_OK;
}

static enum quern_status read_steps(struct steps_reader *r, const struct json *v, unsigned depth)
{
    struct str type;
    if (!json_text(json_get(v, "type"), &type) || depth > 8)
        type = (struct str){0};
    if (str_is(type, "Sequence"))
        return read_sequence(r, v, depth);
    if (str_is(type, "ByteLevel"))
        return read_byte_level(r, v);
    if (str_is(type, "Split"))
        return read_split(r, v);
    if (str_is(type, "Digits"))
        return add_split(r, STR("\\p{N}"),
                         flag_or(v, "individual_digits", false) ? SPLIT_ISOLATED : SPLIT_CONTIGUOUS,
                         false);
    if (str_is(type, "Punctuation"))
        return add_split(r, STR(PUNCTUATION), behavior_of(r, v), false);
    if (str_is(type, "Whitespace"))
        return add_split(r, STR("\\w+|[^\\w\\s]+"), SPLIT_REMOVED, true);
    if (str_is(type, "WhitespaceSplit"))
        return add_split(r, STR("\\s"), SPLIT_REMOVED, false);
    if (str_is(type, "BertPreTokenizer")) {
        TRY(add_split(r, STR("\\s"), SPLIT_REMOVED, false));
        return add_split(r, STR(PUNCTUATION), SPLIT_ISOLATED, false);
    }
    r->known = false;
    return QUERN_OK;
}

enum quern_status pretokenizer_read(struct str text, struct pretokenizer *p, bool *known,
                                    struct quern_error *err)
{
    struct json *root;
    *p = (struct pretokenizer){0};
    *known = true;
    if (text.n == 0)
        return QUERN_OK;
    TRY(json_parse(text, &root, err));
    struct steps_reader r = {p, true, err};
    const enum quern_status s = read_steps(&r, root, 0);
    *known = r.known;
    json_free(root);
    return s;
}

void pretokenizer_close(struct pretokenizer *p)
{
    for (size_t i = 0; i < p->nsteps; i++)
        pattern_free(p->steps[i].pattern);
    *p = (struct pretokenizer){0};
}

/* ---- split ---------------------------------------------------------------------------------- */

/* A stretch of a text: a match, or what lies between two. */
struct stretch {
    size_t from, to;
    bool match;
};

struct stretches {
    struct stretch *items;
    size_t n;
};

static void add_stretch(struct stretches *l, size_t from, size_t to, bool match)
{
    l->items[l->n++] = (struct stretch){from, to, match};
}

/* All stretches of s in order. An empty match is a border too, but not right after a match. */
static enum quern_status find_stretches(const struct split_step *step, struct str s,
                                        struct arena *arena, struct stretches *l,
                                        struct quern_error *err)
{
    *l = (struct stretches){ARENA_NEW(arena, struct stretch, 2 * s.n + 3), 0};
    if (!l->items)
        return fail_memory(err, 2 * s.n * sizeof *l->items);
    size_t done = 0, from = 0, start, end;
    bool any = false;
    while (from < s.n) {
        TRY(pattern_next(step->pattern, s, from, &start, &end, err));
        if (start == s.n)
            break;
        if (end > start || !any || start > done) {
            if (start > done)
                add_stretch(l, done, start, step->invert);
            add_stretch(l, start, end, !step->invert);
            done = end;
            any = true;
        }
        from = end;
        if (end == start)
            for (from++; from < s.n && ((unsigned char)s.p[from] & 0xC0) == 0x80;)
                from++;
    }
    if (done < s.n)
        add_stretch(l, done, s.n, step->invert);
    return QUERN_OK;
}

/* Joins stretches with their neighbours in place, as the behavior wants it. */
static void join_stretches(struct stretches *l, enum split_behavior behavior)
{
    size_t n = 0;
    bool previous = false;
    for (size_t i = 0; i < l->n; i++) {
        const struct stretch s = l->items[i];
        const bool joins = behavior == SPLIT_CONTIGUOUS             ? n > 0 && s.match == previous
                           : behavior == SPLIT_MERGED_WITH_PREVIOUS ? n > 0 && s.match && !previous
                                                                    : false;
        previous = s.match;
        if (joins)
            l->items[n - 1].to = s.to;
        else if (behavior != SPLIT_REMOVED || !s.match)
            l->items[n++] = s;
    }
    l->n = n;
    if (behavior != SPLIT_MERGED_WITH_NEXT)
        return;
    previous = false;
    for (size_t i = l->n; i-- > 0;) {
        const struct stretch s = l->items[i];
        if (s.match && !previous && i + 1 < l->n) {
            l->items[i + 1].from = s.from;
            l->items[i].to = s.from;
        }
        previous = s.match;
    }
}

static enum quern_status split_one(const struct split_step *step, struct str s, struct pieces *out,
                                   struct quern_error *err)
{
    struct stretches l;
    TRY(find_stretches(step, s, out->arena, &l, err));
    join_stretches(&l, step->behavior);
    for (size_t i = 0; i < l.n; i++)
        if (!pieces_add(out, (struct str){s.p + l.items[i].from, l.items[i].to - l.items[i].from}))
            return fail_memory(err, sizeof s);
    return QUERN_OK;
}

static enum quern_status spell(struct str s, struct pieces *out, struct quern_error *err)
{
    char *letters = arena_alloc(out->arena, s.n * 2 + 1);
    size_t n = 0;
    if (!letters)
        return fail_memory(err, s.n * 2);
    for (size_t i = 0; i < s.n; i++)
        n += byte_letter((uint8_t)s.p[i], letters + n);
    return pieces_add(out, (struct str){letters, n}) ? QUERN_OK : fail_memory(err, sizeof s);
}

static enum quern_status put_space(struct str s, struct pieces *out, struct quern_error *err)
{
    if (s.p[0] != ' ') {
        char *spaced = arena_printf(out->arena, " %.*s", STR_ARG(s));
        if (!spaced)
            return fail_memory(err, s.n + 1);
        s = (struct str){spaced, s.n + 1};
    }
    return pieces_add(out, s) ? QUERN_OK : fail_memory(err, sizeof s);
}

enum quern_status pretokenizer_split(const struct pretokenizer *p, struct str text,
                                     struct pieces *out, struct quern_error *err)
{
    struct pieces now = {.arena = out->arena};
    if (!pieces_add(&now, text))
        return fail_memory(err, sizeof text);
    for (size_t i = 0; i < p->nsteps; i++) {
        const struct split_step *step = &p->steps[i];
        struct pieces next = {.arena = out->arena};
        for (size_t k = 0; k < now.n; k++)
            TRY(step->kind == STEP_SPLIT   ? split_one(step, now.items[k], &next, err)
                : step->kind == STEP_SPACE ? put_space(now.items[k], &next, err)
                                           : spell(now.items[k], &next, err));
        now = next;
    }
    for (size_t k = 0; k < now.n; k++)
        if (!pieces_add(out, now.items[k]))
            return fail_memory(err, sizeof text);
    return QUERN_OK;
}
