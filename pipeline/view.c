/* view.c - lists of sources by name. */
#include "pipeline/view.h"

static struct str source_name(const void *owner, uint32_t i)
{
    return ((const struct view *)owner)->sources[i].tensor->name;
}

static bool make_room(struct view *v, struct arena *arena, uint32_t capacity)
{
    if (capacity <= v->capacity)
        return true;
    struct source *bigger = ARENA_NEW(arena, struct source, capacity);
    if (!bigger)
        return false;
    if (v->count)
        memcpy(bigger, v->sources, v->count * sizeof *bigger);
    v->sources = bigger;
    v->capacity = capacity;
    return true;
}

static bool find(const struct view *v, struct str name, uint32_t *i)
{
    return (v->model && !v->made &&
            name_table_find(&v->model->index, name, model_tensor_name, v->model, i)) ||
           name_table_find(&v->added, name, source_name, v, i);
}

enum quern_status view_set(struct view *v, struct arena *arena, const struct source *s,
                           struct quern_error *err)
{
    uint32_t i;
    bool fresh;
    if (find(v, s->tensor->name, &i)) {
        v->sources[i] = *s;
        return QUERN_OK;
    }
    if (v->count == v->capacity && !make_room(v, arena, v->capacity ? 2 * v->capacity : 16))
        return fail_memory(err, v->capacity * sizeof *s);
    v->sources[v->count] = *s;
    if (!name_table_add(&v->added, s->tensor->name, v->count, source_name, v, &fresh, NULL))
        return fail_memory(err, sizeof *s);
    v->count++;
    return QUERN_OK;
}

enum quern_status view_of_model(struct model *m, struct arena *arena, struct view *v,
                                struct quern_error *err)
{
    *v = (struct view){.model = m};
    if (!make_room(v, arena, m->ntensors + 1))
        return fail_memory(err, m->ntensors * sizeof *v->sources);
    for (uint32_t i = 0; i < m->ntensors; i++)
        v->sources[i] = (struct source){.model = m, .tensor = &m->tensors[i]};
    v->count = m->ntensors;
    return QUERN_OK;
}

const struct source *view_find(const struct view *v, struct str name)
{
    uint32_t i;
    return find(v, name, &i) ? &v->sources[i] : NULL;
}

const struct meta *view_meta(const struct view *v, const char *key)
{
    if (!v->metas)
        return model_meta(v->model, key);
    for (uint32_t i = 0; i < v->metas->count; i++)
        if (str_is(v->metas->items[i].key, key))
            return &v->metas->items[i];
    return NULL;
}

void view_free(struct view *v)
{
    name_table_free(&v->added);
    *v = (struct view){0};
}

int view_by_file_and_name(const void *a, const void *b)
{
    const struct tensor *x = (*(const struct source *const *)a)->tensor;
    const struct tensor *y = (*(const struct source *const *)b)->tensor;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return str_cmp(x->name, y->name);
}
