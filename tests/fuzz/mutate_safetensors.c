/* mutate_safetensors.c - change the header of a safetensors file as JSON, and make it fit again. */
#include <inttypes.h>
#include <string.h>

#include "core/checked.h"
#include "core/dtype.h"
#include "fuzz.h"

static uint64_t length_of(const struct mutation *m)
{
    uint64_t n = 0;
    for (size_t i = 0; i < 8; i++)
        n |= (uint64_t)m->p[i] << (8 * i);
    return n;
}

static void put_length(struct mutation *m, uint64_t n)
{
    for (size_t i = 0; i < 8; i++)
        m->p[i] = (uint8_t)(n >> (8 * i));
}

/* The header is text [8, 8 + n): what is changed in it changes its length. */
static void change_header(struct mutation *m, uint64_t n)
{
    static uint8_t text[8192];
    if (n > sizeof text / 2)
        return;
    memcpy(text, m->p + 8, n);
    struct mutation header = {
        .p = text, .n = n, .room = sizeof text, .chance = m->chance, .any_change = m->any_change};
    mutate_json(&header);
    m->chance = header.chance;
    if (mutation_splice(m, 8, n, text, header.n))
        put_length(m, header.n);
}

static const char *find(const char *at, const char *end, const char *what)
{
    return at < end ? memmem(at, (size_t)(end - at), what, strlen(what)) : NULL;
}

/* Bytes that "dtype" and "shape" of an entry ask for. */
static bool entry_bytes(const char *entry, const char *end, uint64_t *nbytes)
{
    const char *type = find(entry, end, "\"dtype\":\""), *shape = find(entry, end, "\"shape\":[");
    enum dtype d;
    if (!type || !shape)
        return false;
    type += strlen("\"dtype\":\"");
    const char *stop = memchr(type, '"', (size_t)(end - type));
    if (!stop || !dtype_from_safetensors((struct str){type, (size_t)(stop - type)}, &d))
        return false;
    uint64_t nelems = 1;
    for (const char *c = shape + strlen("\"shape\":["); c < end && *c != ']';) {
        uint64_t dim = 0;
        while (c < end && *c >= '0' && *c <= '9')
            if (!checked_mul(dim, 10, &dim) || !checked_add(dim, (uint64_t)(*c++ - '0'), &dim))
                return false;
        if (!checked_mul(nelems, dim, &nelems))
            return false;
        c += c < end && *c != ']';
    }
    return dtype_bytes(d, nelems, nbytes);
}

/* Every entry gets the next bytes of the data, and the data are as long as all of them. */
static void settle(struct mutation *m)
{
    static const char offsets[] = "\"data_offsets\":[";
    uint64_t at = 0, nbytes;
    size_t from = 8;
    for (;;) {
        const uint64_t n = length_of(m);
        if (n > m->n - 8)
            return;
        const char *start = (const char *)m->p, *end = start + 8 + n;
        const char *key = find(start + from, end, offsets);
        if (!key)
            break;
        /* The entry around it: offsets come last or first, so look both ways to the braces. */
        const char *open = key, *close = key;
        while (open > start + 8 && *open != '{')
            open--;
        while (close < end && *close != '}')
            close++;
        const char *list = key + strlen(offsets), *stop = list;
        while (stop < end && *stop != ']')
            stop++;
        if (!entry_bytes(open, close, &nbytes) || nbytes > m->room)
            return;
        char text[48];
        const int len = snprintf(text, sizeof text, "%" PRIu64 ",%" PRIu64, at, at + nbytes);
        const size_t was = (size_t)(stop - list), place = (size_t)(list - start);
        if (!mutation_splice(m, place, was, text, (size_t)len))
            return;
        put_length(m, n - was + (size_t)len);
        at += nbytes;
        from = place + (size_t)len;
    }
    const uint64_t whole = 8 + length_of(m) + at;
    if (whole > m->room)
        return;
    if (whole > m->n)
        memset(m->p + m->n, 0, whole - m->n);
    m->n = whole;
}

static void change_type(struct mutation *m, uint64_t n)
{
    static const char key[] = "\"dtype\":\"";
    const char *start = (const char *)m->p, *end = start + 8 + n, *at = start + 8;
    uint32_t ntypes = 0;
    for (const char *k = at; (k = find(k, end, key)); k += strlen(key))
        ntypes++;
    for (uint32_t pick = chance_below(m, ntypes) + 1; pick > 0 && at; pick--)
        if ((at = find(at, end, key)))
            at += strlen(key);
    const char *stop = at ? memchr(at, '"', (size_t)(end - at)) : NULL;
    const char *name = dtype_traits[chance_below(m, DTYPE_COUNT)].st_name;
    if (!stop || !name)
        return;
    const size_t was = (size_t)(stop - at);
    if (mutation_splice(m, (size_t)(at - start), was, name, strlen(name)))
        put_length(m, n - was + strlen(name));
}

void mutate_safetensors(struct mutation *m)
{
    const uint64_t n = m->n >= 8 ? length_of(m) : UINT64_MAX;
    const uint32_t what = chance_below(m, 10);
    if (m->n < 8 || n > m->n - 8 || what == 0) {
        mutate_bytes(m);
        return;
    }
    if (what == 1)
        put_length(m, chance_below(m, 2) ? odd_number(m) : n + 1 - chance_below(m, 3));
    else if (what == 2)
        change_type(m, n);
    else
        change_header(m, n);
    if (chance_below(m, 3))
        settle(m);
}
