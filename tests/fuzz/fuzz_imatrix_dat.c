/* fuzz_imatrix_dat.c - any bytes as an importance matrix of the older form; one that was taken is
 * laid out and read again as the same. */
#include <string.h>

#include "check_imatrix.h"

/* Its values stand in text, where they were read. */
static struct str lay_out(const struct imatrix *im, const char *text, struct arena *a)
{
    struct quern_error err;
    struct str header, tail;
    uint64_t tail_at;
    struct imatrix_row *rows = ARENA_NEW(a, struct imatrix_row, im->nentries);
    for (uint32_t i = 0; i < im->nentries; i++)
        rows[i] = (struct imatrix_row){.name = im->entries[i].name,
                                       .ncalls = (uint32_t)im->entries[i].ncalls,
                                       .nvalues = im->entries[i].sums->nelems};
    /* Calls are kept as floats: 2^31 - 1 of them become 2^31. */
    if (fuzz_failed(imatrix_dat_layout(a, rows, im->nentries, im->chunk_count,
                                       im->ndatasets ? im->datasets[0] : STR(""), &header, &tail,
                                       &tail_at, &err),
                    &err))
        return (struct str){NULL, 0};
    char *file = arena_array(a, tail_at + tail.n, 1);
    memcpy(file, header.p, header.n);
    memcpy(file + tail_at, tail.p, tail.n);
    for (uint32_t i = 0; i < im->nentries; i++) {
        memcpy(file + rows[i].offset - rows[i].lead.n, rows[i].lead.p, rows[i].lead.n);
        memcpy(file + rows[i].offset, text + im->entries[i].sums->offset, rows[i].nvalues * 4);
    }
    return (struct str){file, tail_at + tail.n};
}

static void same(const struct imatrix *a, const struct imatrix *b)
{
    FUZZ_CHECK(a->nentries == b->nentries && a->chunk_count == b->chunk_count);
    FUZZ_CHECK(a->ndatasets == b->ndatasets);
    FUZZ_CHECK(a->ndatasets == 0 || str_eq(a->datasets[0], b->datasets[0]));
    for (uint32_t i = 0; i < a->nentries; i++) {
        const struct imatrix_entry *s = &a->entries[i], *t = &b->entries[i];
        FUZZ_CHECK(str_eq(s->name, t->name) && s->ncols == t->ncols && s->ncalls == t->ncalls);
    }
}

static void run(char *text, size_t n)
{
    struct quern_error err;
    struct imatrix *im, *again;
    struct arena a = {0};
    const char *path = fuzz_file("imatrix.dat", text, n);
    check_imatrix_file(path);
    if (fuzz_failed(imatrix_open(path, &im, &err), &err))
        return;
    const struct str once = lay_out(im, text, &a);
    if (once.p) {
        path = fuzz_file("again.dat", once.p, once.n);
        FUZZ_CHECK(imatrix_open(path, &again, &err) == QUERN_OK);
        same(im, again);
        imatrix_close(again);
    }
    imatrix_close(im);
    arena_free(&a);
}

/* Entries are a length, a name, two numbers and values: lengths are made to fit again. */
static void mutate(struct mutation *m)
{
    int32_t v;
    size_t at = 4, starts[64], nstarts = 0;
    while (nstarts < 64 && at + 4 <= m->n) {
        memcpy(&v, m->p + at, 4);
        if (v < 0 || (size_t)v > m->n - at - 4 || m->n - at - 4 - (size_t)v < 8)
            break;
        starts[nstarts++] = at;
        at += 4 + (size_t)v + 8;
        memcpy(&v, m->p + at - 4, 4);
        if (v < 0 || (size_t)v > (m->n - at) / 4)
            break;
        at += (size_t)v * 4;
    }
    if (nstarts < 2 || chance_below(m, 3) == 0) {
        mutate_bytes(m);
        return;
    }
    const uint32_t i = chance_below(m, (uint32_t)nstarts - 1);
    const size_t n = starts[i + 1] - starts[i];
    uint8_t copy[512];
    uint32_t count; /* of entries; it may wrap */
    memcpy(&count, m->p, 4);
    switch (chance_below(m, 4)) {
    case 0: /* another of it */
        if (n > sizeof copy)
            return;
        memcpy(copy, m->p + starts[i], n);
        mutation_splice(m, starts[chance_below(m, (uint32_t)nstarts)], 0, copy, n);
        count++;
        break;
    case 1:
        mutation_splice(m, starts[i], n, NULL, 0);
        count--;
        break;
    case 2: { /* one of its numbers */
        memcpy(&v, m->p + starts[i], 4);
        const size_t places[] = {starts[i], starts[i] + 4 + (size_t)v, starts[i] + 8 + (size_t)v};
        const uint64_t number = odd_number(m);
        memcpy(m->p + places[chance_below(m, 3)], &number, 4);
        return;
    }
    default: { /* one of its values */
        const uint32_t value = (uint32_t)odd_number(m) << chance_below(m, 24);
        memcpy(m->p + starts[i + 1] - 4, &value, 4);
        return;
    }
    }
    memcpy(m->p, &count, 4);
}

const struct fuzz_target fuzz_imatrix_dat = {
    .name = "imatrix_dat",
    .max_len = 2048,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 128,
    .bytes_besides = 65536,
    .memory_may_fail = true,
};
