/* card.c - write README.md of a merged model: what it is made of, and the recipe to repeat it. */
#include "merge/card.h"

#include <stdlib.h>

#include "core/text_file.h"

/* Only ids of the hub mean something to a reader elsewhere. */
static void write_base_models(FILE *f, const struct recipe *r, const bool hub[])
{
    bool any = false;
    for (unsigned i = 0; i < r->nmodels; i++) {
        if (!hub[i])
            continue;
        fprintf(f, "%s- %s\n", any ? "" : "base_model:\n", ref_name(&r->models[i].ref).text);
        any = true;
    }
}

/* Markdown's code ends with as many backticks as it began with. */
static int fence_of(struct str s)
{
    int most = 0, run = 0;
    for (size_t i = 0; i < s.n; i++) {
        run = s.p[i] == '`' ? run + 1 : 0;
        most = run > most ? run : most;
    }
    return most + 1;
}

static void put_fence(FILE *f, int n)
{
    while (n-- > 0)
        fputc('`', f);
}

static void write_code(FILE *f, const char *text)
{
    const int n = fence_of(str_from(text));
    const char *blank = n > 1 ? " " : "";
    put_fence(f, n);
    fprintf(f, "%s%s%s", blank, text, blank);
    put_fence(f, n);
}

static void write_recipe(FILE *f, struct str text)
{
    const int n = fence_of(text), fence = n > 3 ? n : 3;
    put_fence(f, fence);
    fprintf(f, "yaml\n%.*s%s", STR_ARG(text), str_ends(text, "\n") ? "" : "\n");
    put_fence(f, fence);
    fputc('\n', f);
}

/* A model with its adapters. */
static void write_model(FILE *f, const struct model_ref *ref)
{
    struct ref_parts parts;
    fputs("* ", f);
    write_code(f, ref_name(ref).text);
    if (!ref->whole && ref_take_apart(ref, &parts, NULL) == QUERN_OK)
        for (unsigned i = 0; i < parts.nloras; i++) {
            fprintf(f, "%s the adapter ", i ? ", then" : " with");
            write_code(f, quoted(parts.loras[i].path).text);
            if (parts.loras[i].weight != 1)
                fprintf(f, " (weight %g)", parts.loras[i].weight);
        }
    fputc('\n', f);
}

static void write_card(FILE *f, const struct recipe *r, const bool hub[], const char *title)
{
    fputs("---\n", f);
    write_base_models(f, r, hub);
    fputs("library_name: transformers\ntags:\n- mergekit\n- merge\n- quern\n---\n", f);
    fprintf(f, "# %s\n\nThis model was merged with quern from a mergekit recipe.\n\n",
            quoted(str_from(title)).text);
    fprintf(f, "## Method\n\n[%s](%s)", r->method->title, r->method->paper);
    if (r->base >= 0 && base_is_origin(r->method)) {
        fputs(", with ", f);
        write_code(f, ref_name(&r->models[r->base].ref).text);
        fputs(" as the base", f);
    }
    fputs(".\n\n## Models\n\n", f);
    for (unsigned i = 0; i < r->nmodels; i++)
        if ((int)i != r->base || !base_is_origin(r->method))
            write_model(f, &r->models[i].ref);
    fputs("\n## Recipe\n\n", f);
    write_recipe(f, r->text);
}

enum quern_status model_card(const struct recipe *r, const bool hub[], const char *title,
                             struct arena *arena, struct str *out, struct quern_error *err)
{
    struct text_file t;
    size_t n = 0;
    if (!text_file_begin(&t))
        return fail_memory(err, 4096);
    write_card(t.f, r, hub, title);
    char *text = text_file_end(&t, &n);
    *out = text ? arena_str(arena, (struct str){text, n}) : (struct str){NULL, 0};
    free(text);
    return out->p ? QUERN_OK : fail_memory(err, n);
}
