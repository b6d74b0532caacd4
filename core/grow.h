/* grow.h - room for one more item in a malloc'ed array. */
#ifndef QUERN_GROW_H
#define QUERN_GROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Memory stays within twice what was filled. False when there is no more. */
static inline bool grow(void **items, uint32_t count, uint32_t *capacity, size_t item_bytes)
{
    if (count < *capacity)
        return true;
    if (*capacity > UINT32_MAX / 4)
        return false;
    const uint32_t bigger = *capacity ? *capacity * 2 : 16;
    void *p = realloc(*items, bigger * item_bytes);
    if (!p)
        return false;
    *items = p;
    *capacity = bigger;
    return true;
}

#endif
