/* safetensors_rekey.c - other entries in the __metadata__ of a safetensors header. */
#include "core/json.h"
#include "core/pull.h"
#include "formats/rekey.h"
#include "formats/safetensors.h"

#define LENGTH_BYTES 8u

/* Where things are in the text of a header. */
struct found {
    size_t start, end; /* the value of __metadata__; both 0 when there is none */
};

/* The strings between the braces whose keys do not begin with prefix. */
static bool keep_entries(struct pull *p, struct json_writer *w, const char *prefix)
{
    enum pull_token token;
    while ((token = pull_next(p)) == PULL_KEY) {
        const struct str key = p->str;
        if (pull_next(p) != PULL_STRING)
            return false;
        if (str_starts(key, prefix))
            continue;
        json_key_str(w, key);
        json_put_str(w, p->str);
    }
    return token == PULL_OBJECT_END;
}

/* __metadata__ comes first, where there is any. */
static bool begin(char *copy, size_t n, const char *prefix, struct json_writer *w, struct found *f)
{
    struct pull p;
    pull_start(&p, copy, n);
    *f = (struct found){0, 0};
    if (pull_next(&p) != PULL_OBJECT)
        return false;
    if (pull_next(&p) != PULL_KEY || !str_is(p.str, "__metadata__"))
        return true;
    if (pull_next(&p) != PULL_OBJECT)
        return false;
    f->start = p.token_at;
    if (!keep_entries(&p, w, prefix))
        return false;
    f->end = p.at;
    return true;
}

/* The whole header, the text behind __metadata__ as it was. */
static bool make(struct json_writer *w, struct str text, char *copy, const char *prefix,
                 const struct meta *keys, uint32_t nkeys)
{
    static const char blanks[] = "        ";
    struct found f;
    json_raw(w, (struct str){blanks, LENGTH_BYTES});
    json_open(w, '{');
    json_key(w, "__metadata__");
    json_open(w, '{');
    if (!begin(copy, text.n, prefix, w, &f))
        return false;
    for (uint32_t i = 0; i < nkeys; i++) {
        json_key_str(w, keys[i].key);
        json_put_str(w, keys[i].value);
    }
    json_close(w, '}');
    struct str rest = {text.p + (f.end ? f.end : 1), text.n - (f.end ? f.end : 1)};
    while (rest.n && rest.p[rest.n - 1] == ' ')
        rest.n--;
    if (!f.end && rest.n && rest.p[0] != '}')
        json_raw(w, STR(","));
    json_raw(w, rest);
    json_raw(w, (struct str){blanks, 7 - (w->n + 7) % 8});
    return true;
}

enum quern_status safetensors_rekey(struct arena *arena, struct str header, const char *prefix,
                                    const struct meta *keys, uint32_t nkeys, struct str *out,
                                    struct quern_error *err)
{
    struct arena scratch = {0};
    struct json_writer w = {0};
    const struct str text = {header.p + LENGTH_BYTES, header.n - LENGTH_BYTES};
    const struct str copy = arena_str(&scratch, text);
    const bool ok = copy.p && make(&w, text, (char *)copy.p, prefix, keys, nkeys);
    struct str made = json_written(&w);
    enum quern_status s = QUERN_OK;
    if (!copy.p || !made.p)
        s = fail_memory(err, header.n);
    else if (!ok)
        s = fail(err, QUERN_EINTERNAL, "internal", "the header of the output cannot be read");
    else if (made.n - LENGTH_BYTES > ST_MAX_HEADER)
        s = fail(err, QUERN_EUSAGE, "header-too-large",
                 "the header would have %zu bytes" WANT "expected at most %u; write several files",
                 made.n - LENGTH_BYTES, ST_MAX_HEADER);
    if (s == QUERN_OK) {
        *out = arena_str(arena, made);
        s = out->p ? QUERN_OK : fail_memory(err, made.n);
    }
    for (unsigned i = 0; s == QUERN_OK && i < LENGTH_BYTES; i++)
        ((char *)out->p)[i] = (char)((uint64_t)(out->n - LENGTH_BYTES) >> (8 * i));
    json_writer_free(&w);
    arena_free(&scratch);
    return s;
}
