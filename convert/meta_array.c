/* meta_array.c - encode arrays and put keys. */
#include "convert/meta_array.h"

#include <stdlib.h>

#include "core/checked.h"

bool meta_list_put(struct meta_list *l, struct meta value)
{
    for (uint32_t i = 0; i < l->count; i++) {
        if (!str_eq(l->items[i].key, value.key))
            continue;
        value.key = l->items[i].key;
        value.value = arena_str(l->arena, value.value);
        if (!value.value.p)
            return false;
        l->items[i] = value;
        return true;
    }
    return meta_list_set(l, value);
}

static struct meta scalar(const char *key, enum meta_type type, const void *p, size_t n)
{
    return (struct meta){
        .key = str_from(key), .value = {p, n},
             .type = (uint8_t)type
    };
}

static void put_le(uint8_t *p, uint64_t v, size_t nbytes)
{
    for (size_t i = 0; i < nbytes; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

bool meta_list_put_u32(struct meta_list *l, const char *key, uint32_t v)
{
    uint8_t bytes[4];
    put_le(bytes, v, sizeof bytes);
    return meta_list_put(l, scalar(key, META_U32, bytes, sizeof bytes));
}

bool meta_list_put_i32(struct meta_list *l, const char *key, int32_t v)
{
    uint8_t bytes[4];
    put_le(bytes, (uint32_t)v, sizeof bytes);
    return meta_list_put(l, scalar(key, META_I32, bytes, sizeof bytes));
}

bool meta_list_put_f32(struct meta_list *l, const char *key, float v)
{
    uint8_t bytes[4];
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_le(bytes, bits, sizeof bytes);
    return meta_list_put(l, scalar(key, META_F32, bytes, sizeof bytes));
}

bool meta_list_put_bool(struct meta_list *l, const char *key, bool v)
{
    const uint8_t byte = v;
    return meta_list_put(l, scalar(key, META_BOOL, &byte, 1));
}

bool meta_list_put_string(struct meta_list *l, const char *key, struct str v)
{
    return v.n == 0 || meta_list_put(l, scalar(key, META_STRING, v.p, v.n));
}

bool meta_list_put_array(struct meta_list *l, const char *key, enum meta_type item_type,
                         struct str items, uint64_t n)
{
    struct meta m = scalar(key, META_ARRAY, items.p, items.n);
    m.count = n;
    m.item_type = (uint8_t)item_type;
    return n == 0 || meta_list_put(l, m);
}

bool meta_list_set_strings(struct meta_list *l, const char *key, const struct str *items,
                           uint64_t n)
{
    uint64_t nbytes = 0;
    for (uint64_t i = 0; i < n; i++)
        if (!checked_add(nbytes, 8 + (uint64_t)items[i].n, &nbytes))
            return false;
    uint8_t *all = malloc(nbytes ? nbytes : 1), *p = all;
    if (!all)
        return false;
    for (uint64_t i = 0; i < n; i++) {
        put_le(p, items[i].n, 8);
        if (items[i].n)
            memcpy(p + 8, items[i].p, items[i].n);
        p += 8 + items[i].n;
    }
    const bool ok =
        meta_list_put_array(l, key, META_STRING, (struct str){(const char *)all, nbytes}, n);
    free(all);
    return ok;
}
