/* layers.c - stacks of layers by the names of tensors. */
#include "merge/layers.h"

#include <stdlib.h>

bool layer_of(struct str name, struct layer_name *out)
{
    for (size_t dot = 0; dot < name.n; dot++) {
        if (name.p[dot] != '.')
            continue;
        size_t end = dot + 1;
        while (end < name.n && name.p[end] >= '0' && name.p[end] <= '9')
            end++;
        if (end < name.n && name.p[end] == '.' &&
            str_to_u64((struct str){name.p + dot + 1, end - dot - 1}, &out->layer) &&
            out->layer < UINT32_MAX) {
            out->prefix = (struct str){name.p, dot};
            out->rest = (struct str){name.p + end + 1, name.n - end - 1};
            return true;
        }
    }
    return false;
}

static struct str stack_name(const void *owner, uint32_t i)
{
    return ((const struct layers *)owner)->stacks[i].prefix;
}

bool layers_add(struct layers *l, struct str tensor)
{
    struct layer_name n;
    if (!layer_of(tensor, &n))
        return true;
    if (l->count == l->capacity) {
        const uint32_t capacity = l->capacity ? 2 * l->capacity : 8;
        void *bigger = realloc(l->stacks, capacity * sizeof *l->stacks);
        if (!bigger)
            return false;
        l->stacks = bigger;
        l->capacity = capacity;
    }
    l->stacks[l->count] = (struct layer_stack){.prefix = n.prefix};
    bool fresh;
    uint32_t i = l->count;
    if (!name_table_add(&l->index, n.prefix, i, stack_name, l, &fresh, &i))
        return false;
    l->count += fresh;
    if (n.layer >= l->stacks[i].nlayers)
        l->stacks[i].nlayers = n.layer + 1;
    return true;
}

const struct layer_stack *layers_find(const struct layers *l, struct str prefix)
{
    uint32_t i;
    return name_table_find(&l->index, prefix, stack_name, l, &i) ? &l->stacks[i] : NULL;
}

/* Of language models, in the order in which they are looked for. */
static const char *const main_stacks[] = {
    "model.layers",
    "blk",
    "model.language_model.layers",
    "language_model.model.layers",
    "language_model.layers",
    "model.text_model.layers",
    "transformer.h",
    "transformer.blocks",
    "transformer.layers",
    "transformer.encoder.layers",
    "gpt_neox.layers",
    "backbone.layers",
    "model.decoder.layers",
    "decoder.layers",
    "layers",
    "h",
    "bert.encoder.layer",
    "roberta.encoder.layer",
    "distilbert.transformer.layer",
    "encoder.layer",
};

const struct layer_stack *layers_main(const struct layers *l)
{
    if (l->count == 1)
        return &l->stacks[0];
    for (size_t i = 0; i < sizeof main_stacks / sizeof *main_stacks; i++) {
        const struct layer_stack *s = layers_find(l, str_from(main_stacks[i]));
        if (s)
            return s;
    }
    return NULL;
}

/* Is one of the parts between the dots of name this word? */
static bool has_component(struct str name, struct str word)
{
    for (size_t at = 0; at + word.n <= name.n; at++) {
        const bool begins = at == 0 || name.p[at - 1] == '.';
        const bool ends = at + word.n == name.n || name.p[at + word.n] == '.';
        if (begins && ends && memcmp(name.p + at, word.p, word.n) == 0)
            return true;
    }
    return false;
}

/* The largest stack with this word in its prefix, as a component of it where whole is set. */
static const struct layer_stack *largest_with(const struct layers *l, struct str word, bool whole)
{
    const struct layer_stack *best = NULL;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct layer_stack *s = &l->stacks[i];
        const bool fits = whole ? has_component(s->prefix, word)
                                : memmem(s->prefix.p, s->prefix.n, word.p, word.n) != NULL;
        if (fits && (!best || s->nlayers > best->nlayers))
            best = s;
    }
    return best;
}

const struct layer_stack *layers_of_module(const struct layers *l, struct str module)
{
    static const char *const text[] = {"", "default", "text_decoder", "language_model",
                                       "text_model"};
    static const char *const vision[] = {"vision_tower", "vision_model", "visual"};
    const struct layer_stack *s = layers_find(l, module);
    for (size_t i = 0; !s && i < sizeof text / sizeof *text; i++)
        if (str_is(module, text[i]))
            s = layers_main(l);
    if (!s && module.n > 0)
        s = largest_with(l, module, true);
    for (size_t i = 0; !s && i < sizeof vision / sizeof *vision; i++)
        if (str_is(module, vision[i]))
            s = largest_with(l, STR("vis"), false);
    return s;
}

double layers_position(const struct layers *l, struct str tensor)
{
    struct layer_name n;
    const struct layer_stack *s = layer_of(tensor, &n) ? layers_find(l, n.prefix) : NULL;
    if (!s)
        return 0;
    return s->nlayers > 1 ? (double)n.layer / (double)(s->nlayers - 1) : 1;
}

void layers_free(struct layers *l)
{
    name_table_free(&l->index);
    free(l->stacks);
    *l = (struct layers){0};
}
