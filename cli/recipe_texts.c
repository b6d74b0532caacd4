/* recipe_texts.c - go through the texts of a recipe. */
#include "recipe_texts.h"

#include "core/archive.h"
#include "core/io.h"

static enum quern_status go_through(const struct yaml_node *n, recipe_text_fn *see, void *data,
                                    struct quern_error *err)
{
    if (n->kind == YAML_IS_SCALAR)
        return see(n, data, err);
    for (const struct yaml_node *v = n->first; v; v = v->next)
        TRY(go_through(v, see, data, err)); /* no deeper than YAML_MAX_DEPTH */
    return QUERN_OK;
}

enum quern_status recipe_texts(const char *path, recipe_text_fn *see, void *data,
                               struct quern_error *err)
{
    struct arena arena = {0};
    struct str text;
    const struct yaml_node *n;
    enum quern_status s = QUERN_OK;
    if (path_is_file(path) &&
        read_small_file(path, YAML_MAX_TEXT, &arena, &text, NULL) == QUERN_OK &&
        yaml_parse_all(text, path, &arena, &n, NULL) == QUERN_OK)
        for (; s == QUERN_OK && n; n = n->next)
            s = go_through(n, see, data, err);
    arena_free(&arena);
    return s;
}
