/* stages.c - read the documents of a recipe and put them in the order of their needs. */
#include "merge/stages.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/io.h"
#include "formats/pack.h"
#include "merge/hidden.h"
#include "merge/vocab_names.h"

/* ---- reading ----------------------------------------------------------------------------------
 */

enum quern_status request_text(const struct merge_request *req, struct arena *arena,
                               struct str *text, struct quern_error *err)
{
    const int given = !!req->recipe_path + !!req->recipe_text + flags_given(&req->flags);
    if (given != 1)
        return fail(err, QUERN_EUSAGE, "usage",
                    given ? "a recipe and a method" WANT "expected one of them"
                          : "no recipe" WANT "expected a recipe or a method");
    if (req->recipe_path)
        return read_named_file(req->recipe_path, YAML_MAX_TEXT, arena, text, err);
    if (flags_given(&req->flags))
        return flags_recipe(&req->flags, arena, text, err);
    *text = arena_str(arena, str_from(req->recipe_text));
    return text->p ? QUERN_OK : fail_memory(err, strlen(req->recipe_text));
}

static enum quern_status fail_stage(const struct recipe *r, struct quern_error *err,
                                    const char *found, struct str name, const char *expected)
{
    return in_file(
        err, r->path,
        fail(err, QUERN_EUSAGE, "stages", "%s '%s'" WANT "%s", found, quoted(name).text, expected));
}

static enum quern_status check_names(const struct stages *s, struct quern_error *err)
{
    uint32_t nunnamed = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        const struct recipe *r = &s->items[i].recipe;
        nunnamed += r->name.n == 0;
        for (uint32_t k = 0; k < i && r->name.n; k++)
            if (str_eq(r->name, s->items[k].recipe.name))
                return fail_stage(r, err, "two stages are called", r->name,
                                  "expected another name for each");
    }
    if (nunnamed <= 1)
        return QUERN_OK;
    return in_file(err, s->items[0].recipe.path,
                   fail(err, QUERN_EUSAGE, "stages",
                        "%" PRIu32 " of %" PRIu32 " documents have no name" WANT
                        "expected one without name, which is the result",
                        nunnamed, s->count));
}

/* ---- order ------------------------------------------------------------------------------------
 */

static bool is_mapped(const struct places *places, struct str name)
{
    for (size_t i = 0; i < places->nmappings; i++) {
        const char *equals = strchr(places->mappings[i], '=');
        const struct str id = {places->mappings[i],
                               equals ? (size_t)(equals - places->mappings[i]) : 0};
        if (equals && str_eq(id, name))
            return true;
    }
    return false;
}

static struct planner *stage_called(const struct planner *pl, struct str name)
{
    /* A model that lies somewhere stands for the stage that once made it. */
    if (name.n == 0 || is_mapped(&pl->req->places, name))
        return NULL;
    for (uint32_t i = 0; i < pl->stages->count; i++)
        if (str_eq(name, pl->stages->items[i].recipe.name))
            return &pl->stages->items[i];
    return NULL;
}

struct planner *stage_of(const struct planner *pl, unsigned model)
{
    const struct model_ref *ref = &pl->recipe.models[model].ref;
    struct planner *stage = stage_called(pl, ref_text(ref));
    struct ref_parts parts;
    if (stage || ref_take_apart(ref, &parts, NULL) != QUERN_OK)
        return stage;
    return stage_called(pl, parts.path);
}

/* A stage is what its document says: nothing can be put on it by a reference. */
static enum quern_status check_reference(const struct model_ref *ref, const char *path,
                                         struct quern_error *err)
{
    struct ref_parts parts;
    TRY(in_file(err, path, ref_take_apart(ref, &parts, err)));
    if (parts.nloras == 0 && parts.revision.n == 0)
        return QUERN_OK;
    return in_file(err, path,
                   fail(err, parts.nloras ? QUERN_EUNSUPPORTED : QUERN_EUSAGE, "stages",
                        "%s of '%s', which is a stage" WANT "%s",
                        parts.nloras ? "an adapter" : "a revision", ref_name(ref).text,
                        parts.nloras ? "put it on a model that the stage is made from, or run the "
                                       "stages one after the other"
                                     : "leave the revision out"));
}

enum mark { NEW, OPEN, DONE };

/* Depth first: what a stage needs goes before it. No deeper than there are stages. */
static enum quern_status visit(struct stages *s, uint32_t i, uint8_t *marks,
                               struct quern_error *err)
{
    const struct planner *pl = &s->items[i];
    if (marks[i] == DONE)
        return QUERN_OK;
    if (marks[i] == OPEN)
        return fail_stage(&pl->recipe, err, "a stage that needs itself:", pl->recipe.name,
                          "expected stages that build on others");
    marks[i] = OPEN;
    for (unsigned k = 0; k < pl->recipe.nmodels; k++) {
        const struct planner *need = stage_of(pl, k);
        if (!need)
            continue;
        TRY(check_reference(&pl->recipe.models[k].ref, pl->recipe.path, err));
        TRY(visit(s, (uint32_t)(need - s->items), marks, err));
    }
    marks[i] = DONE;
    s->order[s->norder++] = i;
    return QUERN_OK;
}

static enum quern_status put_in_order(struct stages *s, struct plan *plan, struct quern_error *err)
{
    uint8_t marks[MAX_STAGES] = {0};
    uint32_t last = s->count - 1;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->items[i].recipe.name.n == 0)
            last = i;
    TRY(visit(s, last, marks, err));
    for (uint32_t i = 0; i < s->count; i++)
        if (marks[i] == NEW)
            TRY(plan_note(plan, err, "stage '%s' is used by no other and left out",
                          quoted(s->items[i].recipe.name).text));
    return QUERN_OK;
}

static enum quern_status read_all(struct stages *s, const struct yaml_node *first, struct str text,
                                  const struct merge_request *req, struct plan *plan,
                                  struct quern_error *err)
{
    const struct yaml_node *n = first;
    for (uint32_t i = 0; n && i < s->count; i++, n = n->next) {
        struct planner *pl = &s->items[i];
        pl->req = req;
        pl->plan = plan;
        pl->stages = s;
        TRY(recipe_read(&pl->recipe, n, text, req->recipe_path, req->sink, err));
        for (uint32_t k = 0; k < pl->recipe.nnotes; k++)
            TRY(plan_note(plan, err, "%s", pl->recipe.notes[k]));
    }
    return QUERN_OK;
}

enum quern_status stages_load(struct stages *s, const struct merge_request *req, struct str text,
                              struct plan *plan, struct quern_error *err)
{
    const struct yaml_node *first;
    *s = (struct stages){0};
    TRY(yaml_parse_all(text, req->recipe_path, &plan->arena, &first, err));
    for (const struct yaml_node *n = first; n; n = n->next)
        s->count++;
    if (s->count > MAX_STAGES) {
        s->count = 0;
        return in_file(err, req->recipe_path,
                       fail(err, QUERN_EUSAGE, "stages", "more than %u documents", MAX_STAGES));
    }
    s->items = calloc(s->count, sizeof *s->items);
    if (!s->items) {
        s->count = 0;
        return fail_memory(err, sizeof *s->items);
    }
    TRY(read_all(s, first, text, req, plan, err));
    TRY(check_names(s, err));
    return put_in_order(s, plan, err);
}

void stages_free(struct stages *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        struct planner *pl = &s->items[i];
        for (unsigned k = 0; k < MAX_SOURCES; k++)
            view_free(&pl->set.views[k]);
        vocab_result_free(&pl->aligned);
        arena_free(&pl->scratch);
        recipe_free(&pl->recipe);
    }
    free(s->items);
    *s = (struct stages){0};
}

/* ---- results ----------------------------------------------------------------------------------
 */

/* What all steps of a stage make, each once for all that use it. */
static enum quern_status hide_steps(struct planner *stage, struct quern_error *err)
{
    struct arena *arena = &stage->plan->arena;
    if (stage->made)
        return QUERN_OK;
    struct source *made = ARENA_NEW(arena, struct source, stage->targets.count);
    if (!made)
        return fail_memory(err, stage->targets.count * sizeof *made);
    for (uint32_t i = 0; i < stage->targets.count; i++)
        TRY(hide_step(&stage->steps[i], arena, &made[i], err));
    stage->made = made;
    return QUERN_OK;
}

enum quern_status stage_view(struct planner *stage, struct planner *user, struct view *v,
                             struct quern_error *err)
{
    struct plan *p = stage->plan;
    const struct view *donor = donor_view(stage);
    *v = (struct view){.model = donor->model,
                       .made = true,
                       .gguf = donor->gguf,
                       .sides = donor->sides,
                       .nsides = donor->nsides};
    v->vocabulary = stage->vocabulary;
    v->chat_template = stage->chat_template;
    TRY(merged_config(stage, &v->config, err));
    if (stage->to_gguf) {
        struct meta_list *metas = ARENA_NEW(&p->arena, struct meta_list, 1);
        if (!metas)
            return fail_memory(err, sizeof *metas);
        TRY(merged_metas(stage, metas, err));
        v->metas = metas;
    }
    TRY(hide_steps(stage, err));
    for (uint32_t i = 0; i < stage->targets.count; i++) {
        const struct source *s = &stage->made[i];
        /* Rows of a vocabulary are taken in another order. */
        if (user->recipe.tokenizer.given && is_vocabulary(s->tensor->name))
            TRY(made_check_alone(s, s->tensor->name, err));
        TRY(view_set(v, &user->scratch, s, err));
    }
    return QUERN_OK;
}
