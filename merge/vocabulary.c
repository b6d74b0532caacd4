/* vocabulary.c - decide which tokens a merged model has, and where their rows come from. */
#include "merge/vocabulary.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_ROWS (1u << 30)

/* ---- tokens --------------------------------------------------------------------------------- */

static struct str text_of(const void *owner, uint32_t i)
{
    return ((const struct vocabulary *)owner)->tokens[i].text;
}

static struct token *find(const struct vocabulary *v, struct str text)
{
    uint32_t i;
    return name_table_find(&v->index, text, text_of, v, &i) ? &v->tokens[i] : NULL;
}

const struct token *vocabulary_find(const struct vocabulary *v, struct str text)
{
    return find(v, text);
}

static enum quern_status append(struct vocabulary *v, const struct token *t, uint32_t id,
                                struct quern_error *err)
{
    if (v->ntokens == v->capacity) {
        const uint32_t bigger = v->capacity ? v->capacity * 2 : 1024;
        struct token *p = realloc(v->tokens, bigger * sizeof *p);
        if (!p)
            return fail_memory(err, bigger * sizeof *p);
        v->tokens = p;
        v->capacity = bigger;
    }
    bool fresh;
    assert(v->tokens);
    v->tokens[v->ntokens] = *t;
    v->tokens[v->ntokens].id = id;
    if (!name_table_add(&v->index, t->text, v->ntokens, text_of, v, &fresh, NULL))
        return fail_memory(err, sizeof(uint64_t));
    assert(fresh);
    v->ntokens++;
    if (id >= v->end_id)
        v->end_id = id + 1;
    return QUERN_OK;
}

static enum quern_status append_new(struct vocabulary *v, const struct token *t,
                                    struct quern_error *err)
{
    if (v->end_id >= TOKENIZER_MAX_IDS)
        return fail(err, QUERN_EUSAGE, "vocabulary",
                    "the vocabulary of the result has more than %u tokens", TOKENIZER_MAX_IDS);
    v->nnew++;
    return append(v, t, v->end_id, err);
}

/* The tokens of the tokenizer that the result's is made from, under their ids. */
static enum quern_status take_source(const struct vocab_wish *w, struct vocabulary *v,
                                     struct quern_error *err)
{
    const struct tokenizer *t = w->foreign ? w->foreign : w->inputs[w->source].tokenizer;
    v->kind = t->kind;
    const uint64_t nrows = w->foreign ? UINT64_MAX : w->inputs[w->source].nrows;
    for (uint32_t i = 0; i < t->ntokens; i++) {
        if (t->tokens[i].id < nrows)
            TRY(append(v, &t->tokens[i], t->tokens[i].id, err));
        else
            v->nstripped++;
    }
    return QUERN_OK;
}

/* Is this an added token of any model that has a row for it? */
static bool is_added_somewhere(const struct vocab_wish *w, struct str text)
{
    for (unsigned k = 0; k < w->ninputs; k++) {
        const struct token *t = token_by_text(w->inputs[k].tokenizer, text);
        if (t && t->id < w->inputs[k].nrows && (t->flags & TOKEN_ADDED))
            return true;
    }
    return false;
}

static enum quern_status unite_normal(const struct vocab_wish *w, const struct vocab_input *in,
                                      struct vocabulary *v, struct quern_error *err)
{
    const struct tokenizer *t = in->tokenizer;
    for (uint32_t i = 0; i < t->ntokens && t->tokens[i].id < in->nrows; i++) {
        struct token token = t->tokens[i];
        if ((token.flags & TOKEN_ADDED) || find(v, token.text) || is_added_somewhere(w, token.text))
            continue;
        TRY(append_new(v, &token, err));
    }
    return QUERN_OK;
}

/* The first definition of an added token wins. */
static enum quern_status unite_added(const struct vocab_input *in, struct vocabulary *v,
                                     struct quern_error *err)
{
    const struct tokenizer *t = in->tokenizer;
    for (uint32_t i = 0; i < t->ntokens && t->tokens[i].id < in->nrows; i++) {
        const struct token *token = &t->tokens[i];
        if (!(token->flags & TOKEN_ADDED))
            continue;
        struct token *mine = find(v, token->text);
        if (!mine) {
            struct token added = *token;
            added.flags &= TOKEN_DEFINITION;
            TRY(append_new(v, &added, err));
        } else if (!(mine->flags & TOKEN_ADDED)) {
            mine->flags |= token->flags & TOKEN_DEFINITION;
            v->nredefined++;
        }
    }
    return QUERN_OK;
}

/* All models, the source first. */
static enum quern_status unite(const struct vocab_wish *w, struct vocabulary *v,
                               struct quern_error *err)
{
    for (unsigned k = 0; k < w->ninputs; k++)
        if (k != w->source)
            TRY(unite_normal(w, &w->inputs[k], v, err));
    for (unsigned k = 0; k < w->ninputs; k++)
        if (k != w->source)
            TRY(unite_added(&w->inputs[k], v, err));
    return QUERN_OK;
}

enum quern_status vocabulary_build(const struct vocab_wish *w, struct vocabulary *v,
                                   struct quern_error *err)
{
    *v = (struct vocabulary){0};
    TRY(take_source(w, v, err));
    if (w->recipe->source == TOKENIZER_UNION)
        TRY(unite(w, v, err));
    for (uint32_t i = 0; i < w->recipe->ntokens; i++) {
        const struct token t = {.text = w->recipe->tokens[i].token,
                                .flags = TOKEN_ADDED | TOKEN_NORMALIZED};
        if (!find(v, t.text))
            TRY(append_new(v, &t, err));
    }
    return QUERN_OK;
}

void vocabulary_free(struct vocabulary *v)
{
    free(v->tokens);
    name_table_free(&v->index);
    *v = (struct vocabulary){0};
}

/* ---- rows ----------------------------------------------------------------------------------- */

/* What vocabulary_rows() works on. */
struct mapper {
    const struct vocab_wish *w;
    const struct vocabulary *v;
    uint32_t *own[MAX_SOURCES];
    struct default_row *defaults;
    bool *has_token; /* by row of the result */
    struct row_map *map;
    struct row_notes *notes;
    struct mistakes *m;
};

static enum quern_status size_map(struct mapper *p, struct quern_error *err)
{
    const struct vocab_wish *w = p->w;
    const uint64_t pad = w->recipe->pad ? w->recipe->pad : 1;
    uint64_t kept = p->v->end_id;
    if (!w->foreign && w->inputs[w->source].nrows > kept)
        kept = w->inputs[w->source].nrows;
    if (kept > MAX_ROWS)
        return fail(err, QUERN_EUSAGE, "vocabulary",
                    "the embedding of '%s' has %" PRIu64 " rows" WANT "expected at most %u",
                    w->inputs[w->source].name.text, kept, MAX_ROWS);
    p->map->ntokens = p->v->end_id;
    p->map->nkept = (uint32_t)kept;
    p->map->nrows = (uint32_t)((kept + pad - 1) / pad * pad);
    p->map->nmodels = w->ninputs;
    return QUERN_OK;
}

static enum quern_status make_room(struct mapper *p, struct arena *arena, struct quern_error *err)
{
    const uint32_t n = p->map->nkept;
    p->defaults = ARENA_NEW(arena, struct default_row, n);
    bool room = p->defaults != NULL;
    for (unsigned k = 0; room && k < p->w->ninputs; k++) {
        p->own[k] = ARENA_NEW(arena, uint32_t, n);
        room = p->own[k] != NULL;
        if (room)
            memset(p->own[k], 0xFF, n * sizeof **p->own);
        p->map->own[k] = p->own[k];
    }
    p->map->defaults = p->defaults;
    return room ? QUERN_OK : fail_memory(err, n * sizeof(uint32_t));
}

/* The rows that model k has for the tokens of the result. */
static void map_tokens(struct mapper *p, unsigned k)
{
    const struct vocab_input *in = &p->w->inputs[k];
    const struct tokenizer *t = in->tokenizer;
    uint32_t found = 0;
    for (uint32_t i = 0; i < p->v->ntokens; i++) {
        const struct token *theirs = token_by_text(t, p->v->tokens[i].text);
        found += theirs != NULL;
        if (theirs && theirs->id < in->nrows)
            p->own[k][p->v->tokens[i].id] = theirs->id;
        else if (theirs)
            p->notes->beyond[k]++;
    }
    p->notes->unused[k] = t->ntokens - found;
}

/* A row that no token has: the model's own of the same number when it has none for it either. */
static void map_rest(struct mapper *p, unsigned k)
{
    const struct vocab_input *in = &p->w->inputs[k];
    for (uint32_t row = 0; row < p->map->nkept && row < in->nrows; row++)
        if (!p->has_token[row] && !token_by_id(in->tokenizer, row))
            p->own[k][row] = row;
    for (uint64_t row = in->nrows; row > p->map->nkept; row--)
        p->notes->dropped[k] += !token_by_id(in->tokenizer, row - 1);
}

static struct default_row from_model(unsigned model, uint32_t row)
{
    return (struct default_row){.row = row, .model = (uint8_t)model, .origin = ROW_OF_MODEL};
}

/* The rules, in their order: the only owner, the base, the mean; zeros when no model has it. */
static struct default_row by_rule(struct mapper *p, const struct token *t)
{
    unsigned owner = 0, nowners = 0;
    const uint32_t id = t->id;
    for (unsigned k = 0; k < p->w->ninputs; k++)
        if (p->own[k][id] != NO_ROW && nowners++ == 0)
            owner = k;
    const uint32_t of_base = p->own[p->w->first][id];
    if (nowners == 1)
        return from_model(owner, p->own[owner][id]);
    if (nowners > 1 && p->w->has_base && of_base != NO_ROW)
        return from_model(p->w->first, of_base);
    if (nowners > 1)
        return (struct default_row){.origin = ROW_MEAN};
    if (p->notes->nzero++ == 0)
        p->notes->zero = t->text;
    return (struct default_row){.origin = ROW_ZERO};
}

static void wrong_token(struct mapper *p, const struct token_wish *w, struct quoted token,
                        struct quoted model)
{
    struct quern_error *e = mistake(p->m);
    fail(e, QUERN_EUSAGE, "recipe", "line %" PRIu32 ": '%s' has no row for token '%s'", w->line,
         model.text, token.text);
    in_file(e, p->w->recipe_path, QUERN_EUSAGE);
}

/* As the recipe says. */
static struct default_row by_wish(struct mapper *p, uint32_t i, const struct token *t)
{
    const struct token_wish *w = &p->w->recipe->tokens[i];
    const unsigned k = p->w->token_models[i];
    struct default_row row = {.origin = ROW_ZERO};
    if (w->source == TOKEN_BY_RULE)
        return by_rule(p, t);
    if (w->source == TOKEN_ZERO)
        return row;
    const struct vocab_input *in = &p->w->inputs[k];
    const struct str text = w->source == TOKEN_OF_MODEL ? w->other : w->token;
    const struct token *theirs = text.n ? token_by_text(in->tokenizer, text) : NULL;
    const uint64_t id = theirs ? theirs->id : w->id;
    if ((text.n && !theirs) || id >= in->nrows) {
        struct quoted name = quoted(text);
        if (!text.n)
            snprintf(name.text, sizeof name.text, "%" PRIu64, id);
        wrong_token(p, w, name, in->name);
        return row;
    }
    return from_model(k, (uint32_t)id);
}

static void set_defaults(struct mapper *p, const uint32_t *wish_of)
{
    for (uint32_t i = 0; i < p->v->ntokens; i++) {
        const struct token *t = &p->v->tokens[i];
        const uint32_t wish = wish_of[i];
        struct default_row row = wish ? by_wish(p, wish - 1, t) : by_rule(p, t);
        row.forced = wish && p->w->recipe->tokens[wish - 1].force;
        p->defaults[t->id] = row;
    }
    /* Rows without a token: the source's of the same number. */
    const unsigned source = p->w->foreign ? p->w->first : p->w->source;
    for (uint32_t row = 0; row < p->map->nkept; row++)
        if (!p->has_token[row])
            p->defaults[row] = row < p->w->inputs[source].nrows
                                   ? from_model(source, row)
                                   : (struct default_row){.origin = ROW_ZERO};
}

static enum quern_status map_rows(struct mapper *p, struct arena *scratch, struct quern_error *err)
{
    const struct tokenizer_wish *recipe = p->w->recipe;
    uint32_t *wish_of = ARENA_NEW(scratch, uint32_t, p->v->ntokens + 1);
    p->has_token = ARENA_NEW(scratch, bool, p->map->nkept);
    if (!wish_of || !p->has_token)
        return fail_memory(err, p->map->nkept);
    for (uint32_t i = 0; i < p->v->ntokens; i++)
        p->has_token[p->v->tokens[i].id] = true;
    for (uint32_t i = 0; i < recipe->ntokens; i++) {
        const struct token *t = find(p->v, recipe->tokens[i].token);
        wish_of[t - p->v->tokens] = i + 1;
    }
    for (unsigned k = 0; k < p->w->ninputs; k++) {
        map_tokens(p, k);
        map_rest(p, k);
    }
    set_defaults(p, wish_of);
    return QUERN_OK;
}

enum quern_status vocabulary_rows(const struct vocab_wish *w, const struct vocabulary *v,
                                  struct arena *arena, struct row_map *out, struct row_notes *notes,
                                  struct mistakes *m, struct quern_error *err)
{
    struct arena scratch = {0};
    struct mapper p = {.w = w, .v = v, .map = out, .notes = notes, .m = m};
    *out = (struct row_map){0};
    *notes = (struct row_notes){0};
    TRY(size_map(&p, err));
    TRY(make_room(&p, arena, err));
    const enum quern_status status = map_rows(&p, &scratch, err);
    arena_free(&scratch);
    return status;
}

bool row_map_is_identity(const struct row_map *map, unsigned model, uint64_t nrows)
{
    if (map->nrows != nrows)
        return false;
    for (uint32_t row = 0; row < map->nkept; row++)
        if (map->own[model][row] != row || map->defaults[row].forced)
            return false;
    return map->nkept == map->nrows;
}
