/* hash.h - a table from names to small integers, for duplicate tests and look-ups. */
#ifndef QUERN_HASH_H
#define QUERN_HASH_H

#include <stdbool.h>
#include <stdint.h>

#include "str.h"

/* Keyed with a random number per process, so that no file can be made of colliding names. The order
 * inside the table never reaches any output. */
uint64_t hash_bytes(const void *p, size_t n);

/* Open addressing; holds indexes only, the caller keeps the names and answers for index i through
 * name_of. All zero is a valid empty table. */
struct name_table {
    struct name_slot *slots;
    uint32_t nslots; /* power of two, or 0 */
    uint32_t count;
};

/* An exact second look at a candidate: does entry i have this name? */
typedef struct str (*name_of_fn)(const void *owner, uint32_t i);

/* Inserts i under name unless the name is there already: then *existing is its index and *fresh is
 * false. Returns false only when memory ran out. */
bool name_table_add(struct name_table *t, struct str name, uint32_t i, name_of_fn name_of,
                    const void *owner, bool *fresh, uint32_t *existing);
bool name_table_find(const struct name_table *t, struct str name, name_of_fn name_of,
                     const void *owner, uint32_t *i);
size_t name_table_bytes(const struct name_table *t);
void name_table_free(struct name_table *t);

#endif
