/* name_list.h - a few names for a message: all are counted, as many as fit are listed. */
#ifndef QUERN_NAME_LIST_H
#define QUERN_NAME_LIST_H

#include <stdio.h>

#include "core/str.h"

struct name_list {
    uint32_t count;
    size_t used;
    char text[440];
};

static inline void name_list_add(struct name_list *l, struct str name)
{
    const size_t room = sizeof l->text - l->used;
    l->count++;
    if (room > 80)
        l->used += (size_t)snprintf(l->text + l->used, room, "%s%.63s", l->used ? " " : "",
                                    quoted(name).text);
    else if (l->used && room > 8 && l->text[l->used - 1] != '.')
        l->used += (size_t)snprintf(l->text + l->used, room, " ...");
}

static inline const char *plural(uint32_t n)
{
    return n == 1 ? "" : "s";
}

#endif
