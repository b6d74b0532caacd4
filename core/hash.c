/* hash.c - keyed hashing and an open-addressing table of names. */
#include "hash.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

struct name_slot {
    uint32_t hash;  /* upper half, saves most of the exact comparisons */
    uint32_t entry; /* index + 1, 0 = empty */
};

static uint64_t key[2];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    /* Without randomness only the defence against made-up collisions is weaker. */
    if (getrandom(key, sizeof key, GRND_NONBLOCK) != (ssize_t)sizeof key)
        key[0] = UINT64_C(0x9E3779B97F4A7C15) ^ (uint64_t)(uintptr_t)&key;
}

/* Both halves of the 128-bit product, folded: every input bit reaches every output bit. */
static uint64_t mix(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    const unsigned __int128 m = (unsigned __int128)a * b;
    return (uint64_t)m ^ (uint64_t)(m >> 64);
#else
    const uint64_t a0 = (uint32_t)a, a1 = a >> 32, b0 = (uint32_t)b, b1 = b >> 32;
    const uint64_t low = a0 * b0, middle = a1 * b0 + (low >> 32), other = a0 * b1;
    const uint64_t carry = ((uint32_t)middle + (uint64_t)(uint32_t)other) >> 32;
    return (a * b) ^ (a1 * b1 + (middle >> 32) + (other >> 32) + carry);
#endif
}

static uint64_t load(const unsigned char *p, size_t n)
{
    uint64_t v = 0;
    memcpy(&v, p, n);
    return v;
}

uint64_t hash_bytes(const void *data, size_t n)
{
    pthread_once(&key_once, make_key);
    /* An empty name may have no address, and nothing may be added to that. */
    const unsigned char *p = n > 0 ? data : (const unsigned char *)"";
    uint64_t h = key[0] ^ n;
    size_t left = n;
    for (; left >= 16; p += 16, left -= 16)
        h = mix(load(p, 8) ^ key[1] ^ UINT64_C(0xA0761D6478BD642F), load(p + 8, 8) ^ h);
    const size_t first = left < 8 ? left : 8;
    const uint64_t a = load(p, first);
    const uint64_t b = load(p + first, left - first);
    h = mix(a ^ key[1] ^ UINT64_C(0xE7037ED1A0B428DB), b ^ h);
    return mix(h ^ UINT64_C(0x8EBC6AF09C88C6E3), key[0] ^ UINT64_C(0x589965CC75374CC3) ^ n);
}

/* The slot that holds name, or the empty one where it would go. */
static struct name_slot *locate(const struct name_table *t, struct str name, uint64_t h,
                                name_of_fn name_of, const void *owner)
{
    const uint32_t mask = t->nslots - 1;
    for (uint32_t i = (uint32_t)h & mask;; i = (i + 1) & mask) {
        struct name_slot *s = &t->slots[i];
        if (s->entry == 0)
            return s;
        if (s->hash == (uint32_t)(h >> 32) && str_eq(name_of(owner, s->entry - 1), name))
            return s;
    }
}

static bool grow(struct name_table *t, name_of_fn name_of, const void *owner)
{
    struct name_table bigger = {.nslots = t->nslots ? t->nslots * 2 : 64, .count = t->count};
    bigger.slots = calloc(bigger.nslots, sizeof *bigger.slots);
    if (!bigger.slots)
        return false;
    for (uint32_t i = 0; i < t->nslots; i++) {
        if (t->slots[i].entry == 0)
            continue;
        const struct str name = name_of(owner, t->slots[i].entry - 1);
        uint32_t at = (uint32_t)hash_bytes(name.p, name.n) & (bigger.nslots - 1);
        while (bigger.slots[at].entry)
            at = (at + 1) & (bigger.nslots - 1);
        bigger.slots[at] = t->slots[i];
    }
    free(t->slots);
    *t = bigger;
    return true;
}

bool name_table_add(struct name_table *t, struct str name, uint32_t i, name_of_fn name_of,
                    const void *owner, bool *fresh, uint32_t *existing)
{
    if (t->count >= t->nslots / 2 && !grow(t, name_of, owner))
        return false;
    const uint64_t h = hash_bytes(name.p, name.n);
    struct name_slot *s = locate(t, name, h, name_of, owner);
    *fresh = s->entry == 0;
    if (!*fresh) {
        if (existing)
            *existing = s->entry - 1;
        return true;
    }
    s->hash = (uint32_t)(h >> 32);
    s->entry = i + 1;
    t->count++;
    return true;
}

bool name_table_find(const struct name_table *t, struct str name, name_of_fn name_of,
                     const void *owner, uint32_t *i)
{
    if (t->nslots == 0)
        return false;
    const struct name_slot *s = locate(t, name, hash_bytes(name.p, name.n), name_of, owner);
    if (s->entry == 0)
        return false;
    *i = s->entry - 1;
    return true;
}

size_t name_table_bytes(const struct name_table *t)
{
    return t->nslots * sizeof *t->slots;
}

void name_table_free(struct name_table *t)
{
    free(t->slots);
    *t = (struct name_table){0};
}
