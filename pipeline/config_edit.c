/* config_edit.c - find values in a JSON text and put others in their places. */
#include "config_edit.h"

#include "core/pull.h"

/* A reader on a copy: it unescapes in place, positions stay those of the text. */
static enum quern_status start(struct arena *arena, struct str text, struct pull *p,
                               struct quern_error *err)
{
    const struct str copy = arena_str(arena, text);
    if (!copy.p)
        return fail_memory(err, text.n);
    pull_start(p, (char *)copy.p, copy.n);
    p->nonfinite = true;
    return QUERN_OK;
}

static enum quern_status start_object(struct arena *arena, struct str text, struct pull *p,
                                      struct quern_error *err)
{
    TRY(start(arena, text, p, err));
    if (pull_next(p) != PULL_OBJECT)
        return fail(err, QUERN_EFORMAT, "json",
                    "it does not begin with '{'" WANT "expected a JSON object");
    return QUERN_OK;
}

/* Reads on to the end: nothing is changed in a text that is broken further down. */
static enum quern_status check_rest(struct pull *p, struct quern_error *err)
{
    for (enum pull_token t; (t = pull_next(p)) != PULL_END;)
        if (t == PULL_ERROR)
            return pull_fail(p, 0, err);
    return QUERN_OK;
}

/* Looks for key among the members that follow. On true the reader stands behind the first token of
 * its value, which is *t; *key_at is where the key is. *bad: the text is broken. */
static bool find_member(struct pull *p, struct str key, enum pull_token *t, size_t *key_at,
                        bool *bad)
{
    while ((*t = pull_next(p)) == PULL_KEY) {
        const bool ours = str_eq(p->str, key);
        *key_at = p->token_at;
        *t = pull_next(p);
        if (ours)
            return true;
        if (!pull_skip(p, *t))
            break;
    }
    *bad = *t != PULL_OBJECT_END;
    return false;
}

struct spot {
    bool found, inside; /* the value is there; the object is there that it would be in */
    size_t key_at;      /* its key */
    size_t from, to;    /* the value */
    size_t brace;       /* behind the '{' of that object */
    unsigned depth;     /* of that object, from 1 */
    struct str key;     /* the last of the path */
};

static enum quern_status find_spot(struct arena *arena, struct str config, const char *path,
                                   struct spot *s, struct quern_error *err)
{
    struct pull p;
    *s = (struct spot){.depth = 0};
    TRY(start_object(arena, config, &p, err));
    for (;;) {
        const size_t n = strcspn(path, ".");
        enum pull_token t;
        bool bad = false;
        s->key = (struct str){path, n};
        s->inside = path[n] == '\0';
        s->brace = p.at;
        s->depth++;
        const bool found = find_member(&p, s->key, &t, &s->key_at, &bad);
        if (bad)
            return pull_fail(&p, 0, err);
        if (!found)
            return check_rest(&p, err);
        if (s->inside) {
            s->found = true;
            s->from = p.token_at;
            if (!pull_skip(&p, t))
                return pull_fail(&p, 0, err);
            s->to = p.at;
            return check_rest(&p, err);
        }
        if (t != PULL_OBJECT)
            return t == PULL_ERROR ? pull_fail(&p, 0, err) : check_rest(&p, err);
        path += n + 1;
    }
}

enum quern_status config_find(struct arena *arena, struct str config, const char *path, bool *found,
                              struct str *value, struct quern_error *err)
{
    struct spot s;
    TRY(find_spot(arena, config, path, &s, err));
    *found = s.found;
    *value = (struct str){config.p + s.from, s.to - s.from};
    return QUERN_OK;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The member with the comma behind it, or that before it when it is the last. */
static char *without(struct arena *arena, struct str config, const struct spot *s)
{
    size_t from = s->key_at, to = s->to;
    while (to < config.n && is_blank(config.p[to]))
        to++;
    if (to < config.n && config.p[to] == ',') {
        for (to++; to < config.n && is_blank(config.p[to]);)
            to++;
    } else {
        to = s->to;
        while (from > s->brace && is_blank(config.p[from - 1]))
            from--;
        from -= from > s->brace;
    }
    return arena_printf(arena, "%.*s%.*s", (int)from, config.p, (int)(config.n - to),
                        config.p + to);
}

static enum quern_status apply(struct arena *arena, struct str config,
                               const struct config_edit *edit, struct str *out,
                               struct quern_error *err)
{
    struct spot s;
    char *text;
    TRY(find_spot(arena, config, edit->path, &s, err));
    *out = config;
    if (edit->remove) {
        if (!s.found)
            return QUERN_OK;
        text = without(arena, config, &s);
    } else if (s.found) {
        text = arena_printf(arena, "%.*s%.*s%.*s", (int)s.from, config.p, STR_ARG(edit->value),
                            (int)(config.n - s.to), config.p + s.to);
    } else if (s.inside && edit->add) {
        size_t next = s.brace;
        while (next < config.n && strchr(" \t\r\n", config.p[next]))
            next++;
        const char *comma = next < config.n && config.p[next] == '}' ? "" : ",";
        text = arena_printf(arena, "%.*s\n%*s\"%.*s\": %.*s%s%.*s", (int)s.brace, config.p,
                            (int)(2 * s.depth), "", STR_ARG(s.key), STR_ARG(edit->value), comma,
                            (int)(config.n - s.brace), config.p + s.brace);
    } else {
        return QUERN_OK;
    }
    if (!text)
        return fail_memory(err, config.n);
    *out = str_from(text);
    return QUERN_OK;
}

enum quern_status config_apply(struct arena *arena, struct str config,
                               const struct config_edit *edits, size_t nedits, struct str *out,
                               struct quern_error *err)
{
    *out = config;
    for (size_t i = 0; i < nedits; i++)
        TRY(apply(arena, *out, &edits[i], out, err));
    return QUERN_OK;
}

enum quern_status config_items(struct arena *arena, struct str list, struct str **items, size_t *n,
                               struct quern_error *err)
{
    struct pull p;
    TRY(start(arena, list, &p, err));
    *n = 0;
    /* An item and its comma are two bytes at least. */
    *items = ARENA_NEW(arena, struct str, list.n / 2 + 1);
    if (!*items)
        return fail_memory(err, list.n);
    if (pull_next(&p) != PULL_ARRAY)
        return fail(err, QUERN_EFORMAT, "json", "no list" WANT "expected a list");
    for (enum pull_token t; (t = pull_next(&p)) != PULL_ARRAY_END;) {
        const size_t from = p.token_at;
        if (t == PULL_ERROR || !pull_skip(&p, t))
            return pull_fail(&p, 0, err);
        (*items)[(*n)++] = (struct str){list.p + from, p.at - from};
    }
    return QUERN_OK;
}

enum quern_status config_lists(struct arena *arena, struct str config, const char *object,
                               enum quern_status (*see)(void *user, struct str key, struct str list,
                                                        struct quern_error *err),
                               void *user, struct quern_error *err)
{
    struct pull p;
    TRY(start_object(arena, config, &p, err));
    enum pull_token t;
    size_t key_at;
    bool bad = false;
    if (*object) {
        const bool found = find_member(&p, str_from(object), &t, &key_at, &bad);
        if (bad)
            return pull_fail(&p, 0, err);
        if (!found || t != PULL_OBJECT)
            return QUERN_OK;
    }
    while ((t = pull_next(&p)) == PULL_KEY) {
        const struct str key = p.str;
        t = pull_next(&p);
        const size_t from = p.token_at;
        if (!pull_skip(&p, t))
            return pull_fail(&p, 0, err);
        if (t == PULL_ARRAY)
            TRY(see(user, key, (struct str){config.p + from, p.at - from}, err));
    }
    return t == PULL_OBJECT_END ? QUERN_OK : pull_fail(&p, 0, err);
}
