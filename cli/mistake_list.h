/* mistake_list.h - all mistakes of a file, as many as anyone wants to read. */
#ifndef QUERN_MISTAKE_LIST_H
#define QUERN_MISTAKE_LIST_H

#include "cli.h"

#define MISTAKES_SHOWN 20u

struct mistake_list {
    struct listed_error *items;
    size_t count, total;
};

/* False when memory ran out. free() the items. */
bool mistake_list_begin(struct mistake_list *l);
/* For a mistake_sink whose user is the list. */
void mistake_list_add(const struct quern_error *e, void *list);

#endif
