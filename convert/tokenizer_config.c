/* tokenizer_config.c - read tokenizer_config.json with the pull reader. */
#include "convert/tokenizer_config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "core/io.h"
#include "core/pull.h"

const char *const special_names[SPECIAL_COUNT] = {"bos", "eos",  "unk", "sep", "pad",
                                                  "cls", "mask", "eot", "eom"};

struct config_reader {
    struct tokenizer_config *c;
    struct pull p;
    uint32_t added_room, special_room, template_room; /* capacities of the lists */
    struct quern_error *err;
};

static enum quern_status bad(struct config_reader *r, const char *what)
{
    if (r->p.kind)
        return pull_fail(&r->p, 0, r->err);
    return at_offset(r->err, r->p.token_at, fail(r->err, QUERN_EFORMAT, "tokenizer", "%s", what));
}

static enum quern_status skip(struct config_reader *r, enum pull_token t)
{
    return pull_skip(&r->p, t) ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

/* Room for one more item of an array in the arena. Old places are left behind: half of it at most.
 */
static enum quern_status grow(struct config_reader *r, void **items, uint32_t count,
                              uint32_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return QUERN_OK;
    const uint32_t bigger = count ? count * 2 : 16;
    void *p = arena_array(&r->c->arena, bigger, item_bytes);
    if (!p)
        return fail_memory(r->err, bigger * item_bytes);
    if (count)
        memcpy(p, *items, count * item_bytes);
    *items = p;
    *capacity = bigger;
    return QUERN_OK;
}

/* ---- values --------------------------------------------------------------------------------- */

/* The next value when it is a string; anything else is passed over and leaves *out. */
static enum quern_status read_text(struct config_reader *r, struct str *out)
{
    const enum pull_token t = pull_next(&r->p);
    if (t != PULL_STRING)
        return skip(r, t);
    *out = r->p.str;
    return QUERN_OK;
}

static enum quern_status read_flag(struct config_reader *r, uint8_t *out)
{
    const enum pull_token t = pull_next(&r->p);
    *out = t == PULL_TRUE ? FLAG_TRUE : t == PULL_FALSE ? FLAG_FALSE : FLAG_ABSENT;
    return skip(r, t);
}

/* The rest of an object: its content and whether it is special. */
static enum quern_status read_token_object(struct config_reader *r, struct str *content,
                                           bool *special, uint32_t *nkeys)
{
    enum pull_token t;
    *content = (struct str){0};
    for (*nkeys = 0; (t = pull_next(&r->p)) == PULL_KEY; ++*nkeys) {
        uint8_t flag = FLAG_ABSENT;
        if (str_is(r->p.str, "content"))
            TRY(read_text(r, content));
        else if (str_is(r->p.str, "special"))
            TRY(read_flag(r, &flag));
        else
            TRY(skip(r, pull_next(&r->p)));
        *special |= flag == FLAG_TRUE;
    }
    return t == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

static enum quern_status read_special(struct config_reader *r, struct special_text *s)
{
    bool special = false;
    uint32_t nkeys;
    const enum pull_token t = pull_next(&r->p);
    *s = (struct special_text){.named = true};
    if (t == PULL_STRING) {
        s->text = r->p.str;
        s->given = s->text.n > 0;
        return QUERN_OK;
    }
    if (t != PULL_OBJECT)
        return skip(r, t);
    TRY(read_token_object(r, &s->text, &special, &nkeys));
    s->is_object = true;
    s->given = nkeys > 0;
    return QUERN_OK;
}

/* {"32000": {"content": "<x>", "special": true}, ...} */
static enum quern_status read_added(struct config_reader *r)
{
    struct tokenizer_config *c = r->c;
    enum pull_token t = pull_next(&r->p);
    if (t != PULL_OBJECT)
        return skip(r, t);
    c->nadded = 0;
    while ((t = pull_next(&r->p)) == PULL_KEY) {
        struct config_token token = {0};
        uint32_t nkeys;
        if (!str_to_u64(r->p.str, &token.id))
            return bad(r, "the id of an added token is no whole number");
        if (pull_next(&r->p) != PULL_OBJECT)
            return bad(r, "an added token is no object");
        TRY(read_token_object(r, &token.text, &token.special, &nkeys));
        if (!token.text.p)
            return bad(r, "an added token has no content");
        TRY(grow(r, (void **)&c->added, c->nadded, &r->added_room, sizeof *c->added));
        c->added[c->nadded++] = token;
    }
    return t == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

static enum quern_status keep_special(struct config_reader *r, struct str text)
{
    struct tokenizer_config *c = r->c;
    TRY(grow(r, (void **)&c->more_special, c->nmore_special, &r->special_room,
             sizeof *c->more_special));
    c->more_special[c->nmore_special++] = text;
    return QUERN_OK;
}

/* ["<a>", {"content": "<b>"}, ...], or {"name": "<a>", ...} */
static enum quern_status read_more_special(struct config_reader *r)
{
    enum pull_token t = pull_next(&r->p);
    const bool object = t == PULL_OBJECT;
    if (t != PULL_ARRAY && !object)
        return skip(r, t);
    while ((t = pull_next(&r->p)) > PULL_END && t != PULL_ARRAY_END && t != PULL_OBJECT_END) {
        struct str text = {0};
        bool special = false;
        uint32_t nkeys;
        if (object)
            t = pull_next(&r->p);
        if (t == PULL_STRING)
            text = r->p.str;
        else if (t == PULL_OBJECT)
            TRY(read_token_object(r, &text, &special, &nkeys));
        else
            TRY(skip(r, t));
        if (text.p)
            TRY(keep_special(r, text));
    }
    return t > PULL_END ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

static enum quern_status read_one_template(struct config_reader *r, struct chat_template *out)
{
    enum pull_token t;
    *out = (struct chat_template){0};
    while ((t = pull_next(&r->p)) == PULL_KEY) {
        if (str_is(r->p.str, "name"))
            TRY(read_text(r, &out->name));
        else if (str_is(r->p.str, "template"))
            TRY(read_text(r, &out->text));
        else
            TRY(skip(r, pull_next(&r->p)));
    }
    return t == PULL_OBJECT_END ? QUERN_OK : pull_fail(&r->p, 0, r->err);
}

/* A string, or [{"name": "default", "template": ...}, ...]. */
static enum quern_status read_template(struct config_reader *r)
{
    struct tokenizer_config *c = r->c;
    enum pull_token t = pull_next(&r->p);
    c->has_template = true;
    if (t == PULL_STRING) {
        c->template = r->p.str;
        return QUERN_OK;
    }
    if (t != PULL_ARRAY)
        return skip(r, t);
    c->ntemplates = 0;
    while ((t = pull_next(&r->p)) == PULL_OBJECT) {
        if (c->ntemplates == MAX_CHAT_TEMPLATES)
            return bad(r, "'chat_template' has more than 64 entries");
        TRY(grow(r, (void **)&c->templates, c->ntemplates, &r->template_room,
                 sizeof *c->templates));
        TRY(read_one_template(r, &c->templates[c->ntemplates++]));
    }
    return t == PULL_ARRAY_END ? QUERN_OK : bad(r, "an entry of 'chat_template' is no object");
}

/* ---- the file ------------------------------------------------------------------------------- */

/* "bos_token" gives bos, "add_bos_token" too with *add set; SPECIAL_COUNT for other keys. */
static unsigned special_of_key(struct str key, bool *add)
{
    *add = str_starts(key, "add_");
    const size_t skip_n = *add ? 4 : 0;
    const struct str rest = {key.p + skip_n, key.n - skip_n};
    unsigned i = 0;
    while (i < SPECIAL_COUNT &&
           !(str_starts(rest, special_names[i]) && rest.n == strlen(special_names[i]) + 6 &&
             str_ends(rest, "_token")))
        i++;
    return i;
}

static enum quern_status read_key(struct config_reader *r)
{
    struct tokenizer_config *c = r->c;
    const struct str key = r->p.str;
    bool add;
    const unsigned which = special_of_key(key, &add);
    c->present = true;
    if (which < SPECIAL_COUNT)
        return add ? read_flag(r, &c->add[which]) : read_special(r, &c->special[which]);
    if (str_is(key, "added_tokens_decoder"))
        return read_added(r);
    if (str_is(key, "additional_special_tokens") || str_is(key, "extra_special_tokens"))
        return read_more_special(r);
    if (str_is(key, "chat_template"))
        return read_template(r);
    if (str_is(key, "tokenizer_class"))
        return read_text(r, &c->tokenizer_class);
    if (str_is(key, "add_prefix_space"))
        return read_flag(r, &c->add_prefix_space);
    if (str_is(key, "clean_up_tokenization_spaces"))
        return read_flag(r, &c->clean_up);
    if (str_is(key, "do_lower_case"))
        return read_flag(r, &c->do_lower_case);
    return skip(r, pull_next(&r->p));
}

static enum quern_status read_all(struct config_reader *r)
{
    enum pull_token t;
    if (pull_next(&r->p) != PULL_OBJECT)
        return bad(r, "it is no JSON object");
    while ((t = pull_next(&r->p)) == PULL_KEY)
        TRY(read_key(r));
    if (t != PULL_OBJECT_END || pull_next(&r->p) != PULL_END)
        return pull_fail(&r->p, 0, r->err);
    return QUERN_OK;
}

enum quern_status tokenizer_config_parse(struct str text, const char *path,
                                         struct tokenizer_config *c, struct quern_error *err)
{
    struct config_reader r = {.c = c, .err = err};
    *c = (struct tokenizer_config){0};
    pull_start(&r.p, (char *)text.p, text.n);
    r.p.nonfinite = true;
    return in_file(err, path, read_all(&r));
}

enum quern_status tokenizer_config_read(const struct folder *f, struct tokenizer_config *c,
                                        struct quern_error *err)
{
    struct arena arena = {0};
    struct str text;
    struct folder_file file;
    bool found;
    *c = (struct tokenizer_config){0};
    enum quern_status s = folder_find(f, "tokenizer_config.json", &arena, &found, &file, err);
    if (s == QUERN_OK && found)
        s = folder_read(&file, TOKENIZER_CONFIG_MAX_BYTES, &arena, &text, err);
    if (s == QUERN_OK && found)
        s = tokenizer_config_parse(text, file.path, c, err);
    c->text = arena;
    return s;
}

void tokenizer_config_close(struct tokenizer_config *c)
{
    arena_free(&c->arena);
    arena_free(&c->text);
    *c = (struct tokenizer_config){0};
}
