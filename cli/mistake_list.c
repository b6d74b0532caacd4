/* mistake_list.c - keep the mistakes that are told while a file is read. */
#include "mistake_list.h"

#include <stdlib.h>
#include <string.h>

bool mistake_list_begin(struct mistake_list *l)
{
    *l = (struct mistake_list){.items = calloc(MISTAKES_SHOWN, sizeof *l->items)};
    return l->items != NULL;
}

/* The same of another tensor: models of other sizes differ in hundreds of them. */
static bool is_alike(const struct quern_error *a, const struct quern_error *b)
{
    return a->tensor[0] && b->tensor[0] && a->status == b->status &&
           strcmp(a->file, b->file) == 0 && strcmp(a->found, b->found) == 0 &&
           strcmp(a->expected, b->expected) == 0;
}

void mistake_list_add(const struct quern_error *e, void *list)
{
    struct mistake_list *l = list;
    l->total++;
    for (size_t i = 0; i < l->count; i++)
        if (is_alike(&l->items[i].error, e)) {
            l->items[i].more++;
            return;
        }
    if (l->count < MISTAKES_SHOWN)
        l->items[l->count++] = (struct listed_error){.error = *e};
}
