/* test_fuzz_corpus.c - the fuzz targets over what fuzzing has found so far, without a fuzzer. */
#include <criterion/criterion.h>
#include <string.h>

#include "core/io.h"
#include "fuzz/fuzz.h"

TestSuite(fuzz_corpus, .fini = fuzz_end, .timeout = 120);

/* Lengths of 32 bits, each in front of its input. */
static struct str next_input(struct str *packed)
{
    uint32_t n;
    cr_assert(packed->n >= sizeof n);
    memcpy(&n, packed->p, sizeof n);
    cr_assert(n <= packed->n - sizeof n);
    const struct str input = {packed->p + sizeof n, n};
    packed->p += sizeof n + n;
    packed->n -= sizeof n + n;
    return input;
}

static struct str read_corpus(const struct fuzz_target *t, struct arena *a)
{
    struct str packed;
    struct quern_error err;
    const char *path = arena_printf(a, "tests/fuzz/corpus/%s.corpus", t->name);
    cr_assert(read_small_file(path, 8u << 20, a, &packed, &err) == QUERN_OK, "%s", err.text);
    return packed;
}

static void replay(const struct fuzz_target *t)
{
    struct arena a = {0};
    struct str packed = read_corpus(t, &a);
    size_t n = 0;
    for (; packed.n > 0; n++) {
        const struct str input = next_input(&packed);
        fuzz_one(t, (const uint8_t *)input.p, input.n);
    }
    cr_assert(n > 0, "%s: no inputs", t->name);
    cr_log_info("%s: %zu inputs", t->name, n);
    arena_free(&a);
}

/* Without a fuzzer to do it: one byte becomes another, is doubled, or goes. */
static size_t change_a_byte(uint8_t *p, size_t n, size_t room)
{
    static uint32_t turn;
    turn = turn * 1664525u + 1013904223u;
    const size_t at = n ? (turn >> 8) % n : 0;
    if (turn >> 30 == 0 && n < room) {
        memmove(p + at + (n > 0), p + at, n - at);
        p[at] = (uint8_t)turn;
        return n + 1;
    }
    if (turn >> 30 == 1 && n > 0) {
        memmove(p + at, p + at + 1, n - at - 1);
        return n - 1;
    }
    if (n > 0)
        p[at] = (uint8_t)(turn >> 16);
    return n;
}

/* The mutators themselves: what they make stays in its room, and is refused or sound. */
static void mutate_some(const struct fuzz_target *t, struct str input, unsigned seed)
{
    uint8_t *room = malloc(t->max_len);
    cr_assert(room && input.n <= t->max_len);
    memcpy(room, input.p, input.n);
    struct mutation m = {
        .p = room, .n = input.n, .room = t->max_len, .chance = seed, .any_change = change_a_byte};
    for (int i = 0; i < 8; i++) {
        (t->mutate ? t->mutate : mutate_bytes)(&m);
        cr_assert(m.n <= m.room);
        fuzz_one(t, m.p, m.n);
    }
    free(room);
}

static void replay_mutants(const struct fuzz_target *t)
{
    struct arena a = {0};
    struct str packed = read_corpus(t, &a);
    for (unsigned seed = 1; packed.n > 0; seed++) {
        const struct str input = next_input(&packed);
        if (seed % 16 == 0)
            mutate_some(t, input, seed);
    }
    arena_free(&a);
}

#define X(name)                          \
    Test(fuzz_corpus, name)              \
    {                                    \
        replay(&fuzz_##name);            \
    }                                    \
    Test(fuzz_corpus, mutants_of_##name) \
    {                                    \
        replay_mutants(&fuzz_##name);    \
    }
FUZZ_TARGETS(X)
#undef X
