/* heads.c - models that tie their head to the embeddings lend them to a merge that has a head. */
#include "merge/heads.h"

static const struct {
    const char *head, *embeddings;
} ties[] = {
    {"lm_head.weight",                "model.embed_tokens.weight"               },
    {"lm_head.weight",                "model.language_model.embed_tokens.weight"},
    {"lm_head.weight",                "transformer.wte.weight"                  },
    {"lm_head.weight",                "model.decoder.embed_tokens.weight"       },
    {"lm_head.weight",                "shared.weight"                           },
    {"language_model.lm_head.weight", "language_model.model.embed_tokens.weight"},
    {"embed_out.weight",              "gpt_neox.embed_in.weight"                },
    {"output.weight",                 "token_embd.weight"                       },
};

static bool any_has(const struct model_set *set, struct str name)
{
    for (unsigned k = 0; k < set->count; k++)
        if (view_find(&set->views[k], name))
            return true;
    return false;
}

/* The embeddings of a view once more, under the name of the head. */
static enum quern_status lend(struct view *v, const struct source *embeddings, struct str head,
                              struct arena *keep, struct arena *scratch, struct quern_error *err)
{
    struct tensor *t = ARENA_NEW(keep, struct tensor, 1);
    if (!t)
        return fail_memory(err, sizeof *t);
    struct source s = *embeddings;
    *t = *embeddings->tensor;
    t->name = head;
    s.tensor = t;
    return view_set(v, scratch, &s, err);
}

enum quern_status share_heads(struct model_set *set, struct arena *keep, struct arena *scratch,
                              bool *fresh, struct quern_error *err)
{
    for (size_t i = 0; i < sizeof ties / sizeof *ties; i++) {
        const struct str head = str_from(ties[i].head);
        if (!any_has(set, head))
            continue;
        for (unsigned k = 0; k < set->count; k++) {
            struct view *v = &set->views[k];
            const struct source *embeddings = view_find(v, str_from(ties[i].embeddings));
            if (!embeddings || view_find(v, head))
                continue;
            TRY(lend(v, embeddings, head, keep, scratch, err));
            *fresh |= k == set->donor;
        }
    }
    return QUERN_OK;
}
