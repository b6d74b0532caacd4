/* vocab_align.c - read the models' tokenizers and lay out their embeddings and heads anew. */
#include "merge/vocab_align.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/checked.h"
#include "core/sha256.h"
#include "merge/vocab_names.h"
#include "merge/vocab_source.h"

/* ---- tokenizers ------------------------------------------------------------------------------ */

struct aligner {
    const struct vocab_job *job;
    struct vocab_result *out;
    struct vocab_input inputs[MAX_SOURCES];
    char (*digests)[65]; /* of the tokenizers' files */
    struct vocab_wish wish;
};

static const struct model_ref *ref_of(const struct aligner *a, unsigned k)
{
    return &a->job->recipe->models[k].ref;
}

static const char *file_in(const struct aligner *a, const char *dir, const char *name)
{
    const char *path = path_join(&a->job->plan->arena, dir, name);
    return path && path_exists(path) ? path : NULL;
}

static enum quern_status fail_no_tokenizer(const struct aligner *a, const char *dir,
                                           struct quern_error *err)
{
    static const char *const others[] = {"tokenizer.model", "vocab.json", "vocab.txt",
                                         "spiece.model", "tekken.json"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (file_in(a, dir, others[i]))
            return in_file(err, dir,
                           fail(err, QUERN_EUNSUPPORTED, "tokenizer",
                                "it has %s and no tokenizer.json" WANT
                                "tokens are read from tokenizer.json only: load the model's "
                                "tokenizer with transformers and save it",
                                others[i]));
    return QUERN_OK;
}

/* The tokenizer of a directory, read once however many models have it; NULL when there is none of
 * any kind. */
static enum quern_status tokenizer_of(struct aligner *a, const char *dir,
                                      const struct tokenizer **out, struct quern_error *err)
{
    struct vocab_result *r = a->out;
    *out = NULL;
    const char *path = file_in(a, dir, "tokenizer.json");
    if (!path)
        return fail_no_tokenizer(a, dir, err);
    char digest[65];
    TRY(sha256_file(path, digest, err));
    for (unsigned i = 0; i < r->ntokenizers && !*out; i++)
        if (strcmp(a->digests[i], digest) == 0)
            *out = &r->tokenizers[i];
    if (*out)
        return QUERN_OK;
    struct tokenizer *t = &r->tokenizers[r->ntokenizers];
    memcpy(a->digests[r->ntokenizers++], digest, sizeof digest);
    TRY(tokenizer_read(path, false, t, err));
    *out = t;
    return QUERN_OK;
}

static enum quern_status count_rows(struct aligner *a, unsigned k, struct quern_error *err)
{
    const struct view *v = &a->job->set->views[k];
    for (uint32_t i = 0; i < v->count; i++) {
        const struct tensor *t = v->sources[i].tensor;
        if (t->ndims != 2 || !is_embedding(t->name))
            continue;
        a->inputs[k].nrows = t->dims[0];
        return QUERN_OK;
    }
    return in_file(err, v->model->path,
                   fail(err, QUERN_EUNSUPPORTED, "vocabulary",
                        "none of its tensors has the name of an embedding" WANT
                        "a tokenizer setting needs one, such as model.embed_tokens.weight"));
}

/* A model without a tokenizer is taken to have the first one's. */
static enum quern_status borrow_tokenizer(struct aligner *a, unsigned k, struct quern_error *err)
{
    const unsigned first = a->wish.first;
    struct vocab_input *in = &a->inputs[k];
    if (k == first || in->nrows != a->inputs[first].nrows)
        return in_file(err, a->job->set->views[k].model->path,
                       fail(err, QUERN_EUSAGE, "tokenizer",
                            "there is no tokenizer beside its weights" WANT
                            "a tokenizer setting needs the directory with tokenizer.json"));
    in->tokenizer = a->inputs[first].tokenizer;
    return plan_note(a->job->plan, err, "'%s' has no tokenizer: taken to be the one of '%s'",
                     in->name.text, a->inputs[first].name.text);
}

/* The result of an earlier stage has the vocabulary that was made for it. */
static enum quern_status tokenizer_of_stage(struct aligner *a, const struct vocab_result *made,
                                            const struct tokenizer **out, struct quern_error *err)
{
    struct tokenizer *t = &a->out->tokenizers[a->out->ntokenizers++];
    const struct vocabulary *v = &made->vocabulary;
    *out = t;
    return tokenizer_of_tokens(v->tokens, v->ntokens, v->kind, t, err);
}

static enum quern_status read_input(struct aligner *a, unsigned k, struct quern_error *err)
{
    struct vocab_input *in = &a->inputs[k];
    const struct model *m = a->job->set->views[k].model;
    in->name = ref_name(ref_of(a, k));
    TRY(count_rows(a, k, err));
    const struct vocab_result *made = a->job->set->views[k].vocabulary;
    if (made)
        return tokenizer_of_stage(a, made, &in->tokenizer, err);
    if (a->job->set->views[k].gguf)
        m = a->job->set->views[k].gguf;
    if (m->format != MODEL_GGUF)
        return m->dir ? tokenizer_of(a, m->dir, &in->tokenizer, err) : QUERN_OK;
    struct tokenizer *t = &a->out->tokenizers[a->out->ntokenizers++];
    in->tokenizer = t;
    return tokenizer_of_gguf(m, t, err);
}

static enum quern_status read_inputs(struct aligner *a, struct quern_error *err)
{
    const struct model_set *set = a->job->set;
    a->wish.inputs = a->inputs;
    a->wish.ninputs = set->count;
    a->wish.first = a->wish.source = set->donor;
    a->wish.has_base = set->has_base;
    for (unsigned k = 0; k < set->count; k++)
        TRY(read_input(a, k, err));
    for (unsigned i = 0; i < set->count; i++) {
        const unsigned k = i == 0 ? set->donor : i <= set->donor ? i - 1 : i; /* donor first */
        if (!a->inputs[k].tokenizer)
            TRY(borrow_tokenizer(a, k, err));
    }
    return QUERN_OK;
}

/* ---- the recipe's wishes --------------------------------------------------------------------- */

/* The merged model that a reference means, or UINT_MAX. */
static unsigned find_model(const struct aligner *a, const struct model_ref *ref)
{
    for (unsigned k = 0; k < a->wish.ninputs; k++)
        if (ref_same(ref, ref_of(a, k)))
            return k;
    return UINT32_MAX;
}

/* A tokenizer_source that is not merged itself. */
static enum quern_status foreign_source(struct aligner *a, const struct model_ref *ref,
                                        struct quern_error *err)
{
    struct location at;
    enum quern_status found = locate_model(ref, a->job->places, &a->job->plan->arena, &at, err);
    if (found == QUERN_EIO && !strchr(ref_text(ref).p, '/'))
        found = fail(err, QUERN_EIO, "not-found",
                     "tokenizer_source '%s' is no model" WANT "expected union, base or a model",
                     quoted(ref_text(ref)).text);
    TRY(in_file(err, a->job->recipe->path, found));
    TRY(tokenizer_of(a, at.path, &a->wish.foreign, err));
    if (!a->wish.foreign)
        return in_file(err, at.path,
                       fail(err, QUERN_EUSAGE, "tokenizer",
                            "it has no tokenizer" WANT "expected a directory with tokenizer.json"));
    a->out->tokenizer_dir = at.path;
    a->out->foreign = true;
    return QUERN_OK;
}

static enum quern_status choose_source(struct aligner *a, struct quern_error *err)
{
    const struct tokenizer_wish *w = &a->job->recipe->tokenizer;
    if (w->source == TOKENIZER_OF_MODEL) {
        a->wish.source = find_model(a, &w->model);
        if (a->wish.source == UINT32_MAX) {
            a->wish.source = a->wish.first;
            return foreign_source(a, &w->model, err);
        }
    }
    const struct view *v = &a->job->set->views[a->wish.source];
    a->out->tokenizer_dir = v->vocabulary ? v->vocabulary->tokenizer_dir : v->model->dir;
    a->out->foreign = a->wish.source != a->job->set->donor;
    return QUERN_OK;
}

static enum quern_status find_token_models(struct aligner *a, struct mistakes *m,
                                           struct quern_error *err)
{
    const struct recipe *r = a->job->recipe;
    unsigned *models = ARENA_NEW(a->job->scratch, unsigned, r->tokenizer.ntokens + 1);
    if (!models)
        return fail_memory(err, r->tokenizer.ntokens * sizeof *models);
    for (uint32_t i = 0; i < r->tokenizer.ntokens; i++) {
        const struct token_wish *w = &r->tokenizer.tokens[i];
        if (w->source != TOKEN_SAME_OF_MODEL && w->source != TOKEN_OF_MODEL)
            continue;
        models[i] = find_model(a, &w->model);
        if (models[i] != UINT32_MAX)
            continue;
        struct quern_error *e = mistake(m);
        fail(e, QUERN_EUSAGE, "recipe",
             "line %" PRIu32 ": token '%s' is to come from '%s', which is not merged" WANT
             "expected one of the merged models",
             w->line, quoted(w->token).text, ref_name(&w->model).text);
        in_file(e, r->path, QUERN_EUSAGE);
    }
    a->wish.token_models = models;
    a->wish.recipe = &r->tokenizer;
    a->wish.recipe_path = r->path;
    return QUERN_OK;
}

/* ---- tensors --------------------------------------------------------------------------------- */

/* The tensor of every model as it was. False when it is not in all of them or not alike: then it
 * stays as it is, and whoever pairs tensors says what is wrong. */
static bool gather(const struct aligner *a, struct str name, struct source *sources)
{
    for (unsigned k = 0; k < a->wish.ninputs; k++) {
        const struct source *s = view_find(&a->job->set->views[k], name);
        if (!s || s->tensor->nelems == 0 || s->tensor->ndims == 0 || s->tensor->ndims > 2 ||
            !is_weights(s->tensor) || (k > 0 && s->tensor->ndims != sources[0].tensor->ndims))
            return false;
        sources[k] = *s;
    }
    return true;
}

/* Has it a row per token in every model? A tensor that only has such a name has in none. */
static bool has_token_rows(const struct aligner *a, const struct source *sources,
                           struct mistakes *m)
{
    unsigned other = UINT32_MAX, nsame = 0;
    for (unsigned k = 0; k < a->wish.ninputs; k++) {
        if (sources[k].tensor->dims[0] == a->inputs[k].nrows)
            nsame++;
        else
            other = k;
    }
    if (nsame == a->wish.ninputs || (nsame == 0 && !is_head(sources[0].tensor->name)))
        return nsame > 0;
    struct quern_error *e = mistake(m);
    fail(e, QUERN_EUSAGE, "shape",
         "it has %" PRIu64 " rows and the embeddings have %" PRIu64 WANT
         "expected one for each token",
         sources[other].tensor->dims[0], a->inputs[other].nrows);
    in_source(e, &sources[other], QUERN_EUSAGE);
    return false;
}

static uint64_t width_of(const struct source *s)
{
    return s->tensor->ndims == 2 ? s->tensor->dims[1] : 1;
}

static void compare_widths(const struct aligner *a, const struct source *sources,
                           struct mistakes *m)
{
    for (unsigned k = 1; k < a->wish.ninputs; k++) {
        if (width_of(&sources[k]) == width_of(&sources[0]))
            continue;
        struct quern_error *e = mistake(m);
        fail(e, QUERN_EUSAGE, "shape",
             "its rows have %" PRIu64 " elements and in '%s' %" PRIu64 WANT
             "expected embeddings of one width",
             width_of(&sources[k]), a->inputs[0].name.text, width_of(&sources[0]));
        in_source(e, &sources[k], QUERN_EUSAGE);
    }
}

/* One model's tensor in its new layout. */
static enum quern_status lay_out(const struct aligner *a, const struct row_map *map, unsigned k,
                                 const struct source *sources, struct quern_error *err)
{
    struct arena *arena = &a->job->plan->arena;
    struct tensor *t = ARENA_NEW(arena, struct tensor, 1);
    uint64_t *dims = ARENA_NEW(arena, uint64_t, 2);
    struct vocab_rows *params = ARENA_NEW(arena, struct vocab_rows, 1);
    if (!t || !dims || !params)
        return fail_memory(err, sizeof *t);
    *t = *sources[k].tensor;
    dims[0] = map->nrows;
    dims[1] = width_of(&sources[k]);
    t->dims = dims;
    if (!checked_mul(dims[0], dims[1], &t->nelems) || !dtype_bytes(t->dtype, t->nelems, &t->nbytes))
        return in_source(err, &sources[k],
                         fail(err, QUERN_EUSAGE, "shape",
                              "%" PRIu32 " rows of %" PRIu64 " %s weights cannot be stored",
                              map->nrows, dims[1], dtype_traits[t->dtype].name));
    *params = (struct vocab_rows){.map = map, .sources = sources, .model = k, .width = dims[1]};
    const struct source s = {
        .model = sources[k].model, .tensor = t, .kind = &vocabulary_source, .params = params};
    return view_set(&a->job->set->views[k], a->job->scratch, &s, err);
}

static enum quern_status lay_out_views(const struct aligner *a, const struct row_map *map,
                                       struct mistakes *m, struct quern_error *err)
{
    const struct view *donor = &a->job->set->views[a->job->set->donor];
    bool changes = false;
    for (unsigned k = 0; k < a->wish.ninputs; k++)
        changes |= !row_map_is_identity(map, k, a->inputs[k].nrows);
    for (uint32_t i = 0; changes && i < donor->count; i++) {
        const struct str name = donor->sources[i].tensor->name;
        if (!is_vocabulary(name))
            continue;
        struct source *sources = ARENA_NEW(&a->job->plan->arena, struct source, a->wish.ninputs);
        if (!sources)
            return fail_memory(err, a->wish.ninputs * sizeof *sources);
        if (!gather(a, name, sources) || !has_token_rows(a, sources, m))
            continue;
        compare_widths(a, sources, m);
        for (unsigned k = 0; k < a->wish.ninputs && m->count == 0; k++)
            if (!row_map_is_identity(map, k, a->inputs[k].nrows))
                TRY(lay_out(a, map, k, sources, err));
    }
    return QUERN_OK;
}

/* ---- what to tell ---------------------------------------------------------------------------- */

static const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

static enum quern_status tell_model(const struct aligner *a, const struct row_notes *n, unsigned k,
                                    struct quern_error *err)
{
    struct plan *p = a->job->plan;
    const char *name = a->inputs[k].name.text;
    const enum tokenizer_kind kind = a->inputs[k].tokenizer->kind;
    const enum tokenizer_kind first = a->inputs[a->wish.first].tokenizer->kind;
    if (kind != first)
        TRY(plan_note(p, err, "'%s' has a %s tokenizer, '%s' a %s one: tokens are matched by text",
                      name, tokenizer_kind_name(kind), a->inputs[a->wish.first].name.text,
                      tokenizer_kind_name(first)));
    if (n->beyond[k])
        TRY(plan_note(p, err, "'%s': %u token%s beyond its %" PRIu64 " rows count%s as missing",
                      name, n->beyond[k], plural(n->beyond[k]), a->inputs[k].nrows,
                      n->beyond[k] == 1 ? "s" : ""));
    if (n->unused[k])
        TRY(plan_note(p, err, "'%s': %u token%s not in the vocabulary of the result", name,
                      n->unused[k], n->unused[k] == 1 ? " is" : "s are"));
    if (n->dropped[k])
        TRY(plan_note(p, err, "'%s': %u row%s without a token left out", name, n->dropped[k],
                      plural(n->dropped[k])));
    return QUERN_OK;
}

static enum quern_status tell(const struct aligner *a, const struct row_map *map,
                              const struct row_notes *n, struct quern_error *err)
{
    struct plan *p = a->job->plan;
    const struct vocabulary *v = &a->out->vocabulary;
    TRY(plan_note(p, err, "vocabulary: %u token%s, %u of them new; %u rows", v->ntokens,
                  plural(v->ntokens), v->nnew, map->nrows));
    if (v->nstripped)
        TRY(plan_note(p, err, "vocabulary: %u token%s without a row left out of the tokenizer",
                      v->nstripped, plural(v->nstripped)));
    if (n->nzero)
        TRY(plan_note(p, err, "vocabulary: %u token%s in no model, rows of zeros: '%s'%s", n->nzero,
                      n->nzero == 1 ? " is" : "s are", quoted(n->zero).text,
                      n->nzero > 1 ? " ..." : ""));
    for (unsigned k = 0; k < a->wish.ninputs; k++)
        TRY(tell_model(a, n, k, err));
    return QUERN_OK;
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* The keys of a GGUF are the donor's, so its vocabulary must be, too. */
static enum quern_status check_gguf(const struct aligner *a, struct quern_error *err)
{
    const struct vocab_result *r = a->out;
    const unsigned donor = a->job->set->donor;
    const struct view *v = &a->job->set->views[donor], *of = &a->job->set->views[a->wish.source];
    if (v->model->format != MODEL_GGUF && !v->gguf && (a->wish.foreign || !of->gguf))
        return QUERN_OK;
    if (!r->changed && !r->foreign && r->nrows == a->inputs[donor].nrows)
        return QUERN_OK;
    return fail(err, QUERN_EUNSUPPORTED, "vocabulary",
                "the result would have another vocabulary than '%s'" WANT
                "that is not supported for GGUF models: use tokenizer_source: base, without new "
                "tokens and padding",
                a->inputs[donor].name.text);
}

/* What an earlier stage did to the tokenizer in tokenizer_dir counts, too. */
static void follow_stage(struct aligner *a)
{
    const struct vocab_result *made = a->job->set->views[a->wish.source].vocabulary;
    if (!made || a->wish.foreign)
        return;
    a->out->vocabulary.nstripped += made->vocabulary.nstripped;
    a->out->changed |= made->changed;
}

static enum quern_status align(struct aligner *a, struct quern_error *err)
{
    struct mistakes m = {.sink = a->job->sink};
    struct row_notes notes;
    struct row_map *map = ARENA_NEW(&a->job->plan->arena, struct row_map, 1);
    if (!map)
        return fail_memory(err, sizeof *map);
    TRY(read_inputs(a, err));
    TRY(choose_source(a, err));
    TRY(find_token_models(a, &m, err));
    TRY(mistakes_end(&m, err));
    struct vocabulary *v = &a->out->vocabulary;
    TRY(vocabulary_build(&a->wish, v, err));
    TRY(vocabulary_rows(&a->wish, v, &a->job->plan->arena, map, &notes, &m, err));
    TRY(mistakes_end(&m, err));
    TRY(lay_out_views(a, map, &m, err));
    TRY(mistakes_end(&m, err));
    a->out->nrows = map->nrows;
    a->out->changed = v->nstripped || v->nnew || v->nredefined;
    TRY(check_gguf(a, err));
    TRY(tell(a, map, &notes, err));
    follow_stage(a);
    return QUERN_OK;
}

enum quern_status vocab_align(const struct vocab_job *job, struct vocab_result *out,
                              struct quern_error *err)
{
    *out = (struct vocab_result){.given = job->recipe->tokenizer.given};
    if (!out->given)
        return QUERN_OK;
    struct aligner a = {.job = job, .out = out};
    out->tokenizers = calloc(job->set->count + 1, sizeof *out->tokenizers);
    a.digests = calloc(job->set->count + 1, sizeof *a.digests);
    const enum quern_status status =
        out->tokenizers && a.digests ? align(&a, err) : fail_memory(err, sizeof *out->tokenizers);
    free(a.digests);
    return status;
}

void vocab_result_free(struct vocab_result *r)
{
    vocabulary_free(&r->vocabulary);
    for (unsigned i = 0; i < r->ntokenizers; i++)
        tokenizer_close(&r->tokenizers[i]);
    free(r->tokenizers);
    *r = (struct vocab_result){0};
}
