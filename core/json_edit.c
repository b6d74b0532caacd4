/* json_edit.c - find a member by its place in the text, and put another value there. */
#include "core/json_edit.h"

#include "core/pull.h"

/* Where things lie in the text. */
struct place {
    size_t from, to; /* the member's value; 0 when there is none */
    size_t end;      /* behind the last value, or the opening brace */
    bool empty;
};

static enum quern_status find_member(struct pull *p, const char *key, struct place *at,
                                     struct quern_error *err)
{
    *at = (struct place){.empty = true};
    if (pull_next(p) != PULL_OBJECT)
        return fail(err, QUERN_EFORMAT, "json",
                    "it does not begin with '{'" WANT "expected a JSON object");
    at->end = p->at;
    for (enum pull_token t; (t = pull_next(p)) != PULL_OBJECT_END;) {
        if (t == PULL_ERROR)
            return pull_fail(p, 0, err);
        const bool ours = str_is(p->str, key);
        t = pull_next(p);
        const size_t start = p->token_at;
        if (!pull_skip(p, t))
            return pull_fail(p, 0, err);
        at->end = p->at;
        at->empty = false;
        if (ours) {
            at->from = start;
            at->to = p->at;
        }
    }
    return pull_next(p) == PULL_END ? QUERN_OK : pull_fail(p, 0, err);
}

enum quern_status json_set(struct arena *arena, struct str text, const char *key, const char *value,
                           struct str *out, struct quern_error *err)
{
    /* The reader unescapes in place: give it a copy, positions stay the same. */
    const struct str copy = arena_str(arena, text);
    if (!copy.p)
        return fail_memory(err, text.n);
    struct pull p;
    struct place at;
    pull_start(&p, (char *)copy.p, copy.n);
    p.nonfinite = true;
    TRY(find_member(&p, key, &at, err));
    const size_t before = at.to ? at.from : at.end, after = at.to ? at.to : at.end;
    const struct str head = {text.p, before}, tail = {text.p + after, text.n - after};
    const char *made = at.to
                           ? arena_printf(arena, "%.*s%s%.*s", STR_ARG(head), value, STR_ARG(tail))
                           : arena_printf(arena, "%.*s%s\n  \"%s\": %s%.*s", STR_ARG(head),
                                          at.empty ? "" : ",", key, value, STR_ARG(tail));
    if (!made)
        return fail_memory(err, text.n);
    *out = str_from(made);
    return QUERN_OK;
}
