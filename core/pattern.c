/* pattern.c - the one file that knows PCRE2. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "pattern.h"

#include <pcre2.h>
#include <stdlib.h>

/* Tensor names are short: a search that needs more than this is an accident or an attack. */
#define MATCH_LIMIT 100000u

struct pattern {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

static enum quern_status compile(struct str text, uint32_t options, enum quern_status refusal,
                                 struct pattern **out, struct quern_error *err)
{
    int code;
    PCRE2_SIZE at;
    struct pattern *p = calloc(1, sizeof *p);
    if (!p)
        return fail_memory(err, sizeof *p);
    p->code = pcre2_compile((PCRE2_SPTR)text.p, text.n, options, &code, &at, NULL);
    if (!p->code) {
        char why[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        pattern_free(p);
        return fail(err, refusal, "pattern", "pattern '%s': %s at character %zu", quoted(text).text,
                    why, at + 1);
    }
    p->match = pcre2_match_data_create_from_pattern(p->code, NULL);
    p->context = pcre2_match_context_create(NULL);
    if (!p->match || !p->context) {
        pattern_free(p);
        return fail_memory(err, 0);
    }
    pcre2_set_match_limit(p->context, MATCH_LIMIT);
    *out = p;
    return QUERN_OK;
}

enum quern_status pattern_new(struct str text, struct pattern **out, struct quern_error *err)
{
    return compile(text,
                   PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_MATCH_UNSET_BACKREF |
                       PCRE2_DOLLAR_ENDONLY,
                   QUERN_EUSAGE, out, err);
}

static enum quern_status no_counterpart(struct str text, struct quern_error *err)
{
    return fail(err, QUERN_EUNSUPPORTED, "pattern", "pattern '%s' combines sets of characters",
                quoted(text).text);
}

/* A set within a set is their union in Oniguruma, and plain brackets here: the inner brackets go.
 * out has room for text. */
static enum quern_status flatten_sets(struct str text, struct str *out, char *to,
                                      struct quern_error *err)
{
    size_t n = 0, depth = 0;
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.p[i], next = i + 1 < text.n ? text.p[i + 1] : '\0';
        if (c == '\\' && i + 1 < text.n) {
            to[n++] = c;
            to[n++] = text.p[++i];
            continue;
        }
        if (depth > 0 && ((c == '&' && next == '&') || (c == '[' && (next == '^' || next == ':'))))
            return no_counterpart(text, err);
        const bool opens = c == '[', closes = c == ']' && depth > 0;
        if (!(opens && depth > 0) && !(closes && depth > 1))
            to[n++] = c;
        depth = opens ? depth + 1 : closes ? depth - 1 : depth;
    }
    *out = (struct str){to, n};
    return QUERN_OK;
}

enum quern_status pattern_new_unicode(struct str text, struct pattern **out,
                                      struct quern_error *err)
{
    struct str flat;
    char *room = malloc(text.n + 1);
    if (!room)
        return fail_memory(err, text.n + 1);
    enum quern_status s = flatten_sets(text, &flat, room, err);
    if (s == QUERN_OK)
        s = compile(flat, PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, QUERN_EUNSUPPORTED, out, err);
    free(room);
    return s;
}

enum quern_status pattern_next(const struct pattern *p, struct str s, size_t from, size_t *start,
                               size_t *end, struct quern_error *err)
{
    const int n =
        pcre2_match(p->code, (PCRE2_SPTR)s.p, s.n, from, PCRE2_NO_UTF_CHECK, p->match, p->context);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return fail(err, QUERN_EUNSUPPORTED, "pattern",
                    "a pattern of the tokenizer takes too long on a text");
    const PCRE2_SIZE *at = pcre2_get_ovector_pointer(p->match);
    *start = n < 0 ? s.n : at[0];
    *end = n < 0 ? s.n : at[1];
    return QUERN_OK;
}

enum quern_status pattern_search(const struct pattern *p, struct str s, bool *found,
                                 struct quern_error *err)
{
    const int n = pcre2_match(p->code, (PCRE2_SPTR)s.p, s.n, 0, 0, p->match, p->context);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH)
        return fail(err, QUERN_EUSAGE, "pattern",
                    "a pattern takes too long on the name '%s'" WANT "use a simpler pattern",
                    quoted(s).text);
    *found = n >= 0;
    return QUERN_OK;
}

void pattern_free(struct pattern *p)
{
    if (!p)
        return;
    pcre2_match_context_free(p->context);
    pcre2_match_data_free(p->match);
    pcre2_code_free(p->code);
    free(p);
}
