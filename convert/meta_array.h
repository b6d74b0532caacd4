/* meta_array.h - keys of a GGUF that hold arrays, and keys that are set again where they stand.
 *
 * "put" replaces the value of a key that is there already and keeps its place; otherwise it
 * appends. Values are copied into the list's arena. All return false when memory ran out. */
#ifndef QUERN_META_ARRAY_H
#define QUERN_META_ARRAY_H

#include "formats/gguf.h"

bool meta_list_put(struct meta_list *l, struct meta value);
bool meta_list_put_u32(struct meta_list *l, const char *key, uint32_t v);
bool meta_list_put_i32(struct meta_list *l, const char *key, int32_t v);
bool meta_list_put_f32(struct meta_list *l, const char *key, float v);
bool meta_list_put_bool(struct meta_list *l, const char *key, bool v);
bool meta_list_put_string(struct meta_list *l, const char *key, struct str v);

/* Arrays: items back to back, as the file has them. Nothing is written for an empty one. */
bool meta_list_put_array(struct meta_list *l, const char *key, enum meta_type item_type,
                         struct str items, uint64_t n);
bool meta_list_set_strings(struct meta_list *l, const char *key, const struct str *items,
                           uint64_t n);

#endif
