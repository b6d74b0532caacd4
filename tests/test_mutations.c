/* test_mutations.c - sound files, cut, flipped and bent everywhere: refused, or sound again.
 *
 * Nothing is known here about what a change means. A file that is still taken must only promise
 * bytes that it has; sanitizers watch the rest. */
#include <inttypes.h>

#include "mutations.h"

TestSuite(mutations, .init = scratch_begin, .fini = scratch_end, .timeout = 120);

static const uint64_t numbers[] = {
    0,
    1,
    7,
    0x80,
    0x100,
    0x8000,
    0x10000,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    UINT64_C(1) << 32,
    (UINT64_C(1) << 53) + 1,
    UINT64_C(1) << 62,
    INT64_MAX,
    UINT64_C(1) << 63,
    UINT64_MAX - 7,
    UINT64_MAX,
};
#define NNUMBERS (sizeof numbers / sizeof *numbers)

/* Cut after every byte of the header, and at some places in the data. A .dat may end before the
 * number of chunks and before the data set. */
static void cut(struct subject *s)
{
    for (size_t n = 0; n < s->data_end; n += n < s->header_bytes ? 1 : 7)
        try_bytes(s, s->good.p, n);
    const bool dat = str_ends(str_from(s->path), ".dat");
    cr_assert(s->ntaken == (dat ? 2 : 0), "%zu cut files were taken", s->ntaken);
}

Test(mutations, every_cut_file_is_refused)
{
    for_each_subject(cut, NULL);
}

Test(mutations, every_flipped_bit_is_refused_or_harmless)
{
    for_each_subject(flip, NULL);
}

/* Every four and every eight bytes of the header are every number in turn: this covers all integer
 * fields of a binary header, and the length of a safetensors file. */
static void bend(struct subject *s)
{
    const size_t end = s->path[strlen(s->path) - 1] == 's' ? 8 : s->header_bytes;
    /* The integers of a pack are in its table, at its end. */
    const size_t start = s->pack ? s->good.n - 150 : 0;
    memcpy(s->bytes, s->good.p, s->good.n);
    for (size_t at = start; at < end; at++)
        for (size_t width = 4; width <= 8; width += 4)
            for (size_t k = 0; k < NNUMBERS && at + width <= end; k++) {
                memcpy(s->bytes + at, &numbers[k], width);
                try_bytes(s, s->bytes, s->good.n);
                memcpy(s->bytes + at, s->good.p + at, width);
            }
}

Test(mutations, every_number_in_every_binary_field)
{
    for_each_subject(bend, NULL);
}

/* Every run of digits in the JSON of a safetensors header becomes every number in turn. */
static void renumber(struct subject *s)
{
    const char *json = s->good.p + 8;
    const size_t n = s->header_bytes - 8;
    if (s->path[strlen(s->path) - 1] != 's')
        return;
    for (size_t at = 0; at < n; at++) {
        size_t digits = 0;
        while (at + digits < n && json[at + digits] >= '0' && json[at + digits] <= '9')
            digits++;
        for (size_t k = 0; k < NNUMBERS && digits; k++) {
            char text[24];
            const size_t len = (size_t)snprintf(text, sizeof text, "%" PRIu64, numbers[k]);
            const uint64_t header = n - digits + len;
            for (size_t i = 0; i < 8; i++)
                s->bytes[i] = (char)(header >> (8 * i));
            memcpy(s->bytes + 8, json, at);
            memcpy(s->bytes + 8 + at, text, len);
            memcpy(s->bytes + 8 + at + len, json + at + digits, s->good.n - 8 - at - digits);
            try_bytes(s, s->bytes, s->good.n - digits + len);
        }
        at += digits;
    }
    cr_assert(s->nrefused > 0);
}

Test(mutations, every_number_in_every_json_field)
{
    for_each_subject(renumber, NULL);
}

/* An index is text: cut and flipped everywhere it must be refused, or still fit its shards. */
Test(mutations, every_cut_and_flip_of_an_index)
{
    struct corpus c;
    corpus_open(&c);
    struct arena a = {0};
    const char *path = path_join(&a, c.dir, "index/two_shards/model.safetensors.index.json");
    struct str good;
    cr_assert(read_small_file(path, 1u << 20, &a, &good, NULL) == QUERN_OK);
    scratch_folder("i");
    for (int i = 1; i <= 2; i++) {
        const char *name = arena_printf(&a, "m-%d.safetensors", i);
        struct str shard;
        cr_assert(
            read_small_file(path_join(&a, c.dir, arena_printf(&a, "index/two_shards/%s", name)),
                            1u << 20, &a, &shard, NULL) == QUERN_OK);
        scratch_file(arena_printf(&a, "i/%s", name), shard);
    }
    const int fd = memory_file(scratch("i/model.safetensors.index.json"));
    char *bytes = arena_alloc(&a, good.n);
    memcpy(bytes, good.p, good.n);
    for (size_t bit = 0; bit < good.n * 9; bit++) {
        /* The first good.n rounds cut, the others flip. */
        const bool cutting = bit < good.n;
        const size_t at = cutting ? 0 : (bit - good.n) / 8;
        bytes[at] = (char)(bytes[at] ^ (cutting ? 0 : 1 << (bit - good.n) % 8));
        memory_write(fd, bytes, cutting ? bit : good.n);
        bytes[at] = good.p[at];
        struct model *m;
        if (model_open(scratch("i"), &m, NULL) == QUERN_OK) {
            cr_assert(!cutting, "the first %zu bytes were taken", bit);
            check_taken(m);
            cr_assert(m->ntensors == 2);
            model_close(m);
        }
    }
    close(fd);
    arena_free(&a);
    corpus_close(&c);
}
