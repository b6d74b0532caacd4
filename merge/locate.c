/* locate.c - mappings, paths and the hub cache. */
#include "merge/locate.h"

#include <errno.h>
#include <stdio.h>

#include "core/io.h"
#include "formats/hub_cache.h"
#include "formats/pack.h"

/* What is looked for; revision may be empty. */
struct parts {
    struct str path, revision;
};

static bool is_hub_name(struct str name)
{
    return hub_is_id(name) && !str_ends(name, PACK_SUFFIX);
}

/* The path that a mapping gives for name, or NULL. */
static const char *mapped(const struct places *places, struct str name)
{
    for (size_t i = 0; i < places->nmappings; i++) {
        const char *equals = strchr(places->mappings[i], '=');
        if (equals &&
            str_eq((struct str){places->mappings[i], (size_t)(equals - places->mappings[i])}, name))
            return equals + 1;
    }
    return NULL;
}

static enum quern_status follow(const struct places *places, struct arena *arena, const char **path,
                                struct quern_error *err)
{
    const char *now = path_moved(arena, places->moved, places->nmoved, *path);
    if (!now)
        return fail_memory(err, strlen(*path));
    *path = now;
    return QUERN_OK;
}

static enum quern_status not_found(const struct parts *p, bool hub, struct quern_error *err)
{
    if (!hub)
        return fail(err, QUERN_EIO, "not-found", "model '%s': no such file or directory",
                    quoted(p->path).text);
    return fail(err, QUERN_EIO, "not-found",
                "model '%s' is neither a path nor in the Hugging Face cache" WANT
                "get it with: hf download %.*s%s%.*s (or say where it is: --model %.*s=PATH)",
                quoted(p->path).text, STR_ARG(p->path), p->revision.n ? " --revision " : "",
                STR_ARG(p->revision), STR_ARG(p->path));
}

static enum quern_status locate(const struct parts *p, const struct places *places,
                                struct arena *arena, const char **path, bool *hub,
                                struct quern_error *err)
{
    *hub = is_hub_name(p->path);
    *path = mapped(places, p->path);
    if (*path)
        return follow(places, arena, path, err);
    const char *plain = arena_str(arena, p->path).p;
    if (!plain)
        return fail_memory(err, p->path.n);
    TRY(follow(places, arena, &plain, err));
    if (named_path_exists(plain)) {
        *path = plain;
        return QUERN_OK;
    }
    if (p->revision.n > 0 && !hub_is_revision(p->revision))
        return fail(err, QUERN_EUSAGE, "recipe", "'%s' is no revision", quoted(p->revision).text);
    if (pack_part(plain) > 0)
        return fail(err, QUERN_EIO, "not-found", "model '%s': there is no such file in that pack",
                    quoted(p->path).text);
    if (*hub && places->hub_cache)
        TRY(hub_find(places->hub_cache, p->path, p->revision, arena, path, err));
    return *path ? QUERN_OK : not_found(p, *hub, err);
}

/* A mapping or a path whose name is all that the recipe says, signs and all; or NULL. */
static enum quern_status locate_whole(const struct model_ref *ref, const struct places *places,
                                      struct arena *arena, const char **path,
                                      struct quern_error *err)
{
    const struct str whole = ref_text(ref);
    const char *found = mapped(places, whole);
    *path = found ? found : whole.p;
    TRY(follow(places, arena, path, err));
    if (!found && !named_path_exists(*path))
        *path = NULL;
    return QUERN_OK;
}

enum quern_status locate_model(const struct model_ref *ref, const struct places *places,
                               struct arena *arena, struct location *out, struct quern_error *err)
{
    *out = (struct location){.hub = is_hub_name(ref_text(ref))};
    struct ref_parts all;
    TRY(locate_whole(ref, places, arena, &out->path, err));
    /* The whole name may be that of a model, yet its map have an adapter. */
    if (out->path && ref->nloras == 0)
        return QUERN_OK;
    TRY(ref_take_apart(ref, &all, err));
    const struct parts model = {all.path, all.revision};
    if (!out->path)
        TRY(locate(&model, places, arena, &out->path, &out->hub, err));
    for (unsigned i = 0; i < all.nloras; i++) {
        const struct parts lora = {all.loras[i].path, all.loras[i].revision};
        bool hub;
        TRY(locate(&lora, places, arena, &out->loras[i], &hub, err));
        out->weights[i] = all.loras[i].weight;
        out->nloras++;
    }
    return QUERN_OK;
}

/* Is this mapping's name that of the model or of the adapter? */
static bool mapping_fits(struct str id, const struct model_ref *ref)
{
    struct ref_parts all;
    if (str_eq(id, ref_text(ref)))
        return true;
    if (ref_take_apart(ref, &all, NULL) != QUERN_OK)
        return false;
    bool fits = str_eq(id, all.path);
    for (unsigned i = 0; i < all.nloras; i++)
        fits |= str_eq(id, all.loras[i].path);
    return fits;
}

enum quern_status check_mappings(const struct places *places, const struct recipe *const *recipes,
                                 size_t nrecipes, struct quern_error *err)
{
    for (size_t i = 0; i < places->nmappings; i++) {
        const char *text = places->mappings[i];
        const char *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1])
            return fail(err, QUERN_EUSAGE, "usage", "'%s'" WANT "expected ID=PATH",
                        quoted(str_from(text)).text);
        const struct str id = {text, (size_t)(equals - text)};
        for (size_t k = 0; k < i; k++)
            if (strncmp(places->mappings[k], text, id.n + 1) == 0)
                return fail(err, QUERN_EUSAGE, "usage", "'%s' has two places" WANT "expected one",
                            quoted(id).text);
        bool used = false;
        for (size_t r = 0; r < nrecipes; r++) {
            const struct tokenizer_wish *w = &recipes[r]->tokenizer;
            used |= w->source == TOKENIZER_OF_MODEL && mapping_fits(id, &w->model);
            for (unsigned k = 0; k < recipes[r]->nmodels; k++)
                used |= mapping_fits(id, &recipes[r]->models[k].ref);
        }
        if (!used)
            return fail(err, QUERN_EUSAGE, "usage", "'%s' names no model of the recipe",
                        quoted(id).text);
    }
    return QUERN_OK;
}
