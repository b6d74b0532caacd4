/* check_plan.c - in a plan every byte of every file has one place, and tensors begin where they
 * may. */
#include "check_plan.h"

#include <stdlib.h>

struct range {
    uint32_t file;
    uint64_t from, to;
};

static int by_place(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    if (x->from != y->from)
        return x->from < y->from ? -1 : 1;
    return x->to < y->to ? -1 : x->to > y->to;
}

static void check_step(const struct plan *p, const struct step *s)
{
    uint64_t nelems, nbytes;
    FUZZ_CHECK(s->file < p->nfiles && s->name.n > 0 && s->nsources <= MAX_SOURCES);
    FUZZ_CHECK(s->offset <= p->files[s->file].nbytes);
    FUZZ_CHECK(s->nbytes <= p->files[s->file].nbytes - s->offset);
    if (s->nparts > 0)
        return; /* the parts share one step; nelems is of all of them */
    FUZZ_CHECK(dims_product(s->dims, s->ndims, &nelems) && nelems == s->nelems);
    FUZZ_CHECK(dtype_bytes((enum dtype)s->dtype, nelems, &nbytes) && nbytes == s->nbytes);
    if (dtype_is_quantized((enum dtype)s->dtype))
        FUZZ_CHECK(s->ndims > 0 && s->dims[s->ndims - 1] % dtype_traits[s->dtype].block_elems == 0);
}

/* GGUF: aligned, at least to 8 bytes; there are less than that between one range and the next, but
 * for padding. */
static void check_ranges(const struct plan *p, const struct range *ranges, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const bool first = i == 0 || ranges[i - 1].file != ranges[i].file;
        const uint64_t free_from = first ? 0 : ranges[i - 1].to;
        FUZZ_CHECK(ranges[i].from >= free_from && ranges[i].from - free_from < 1u << 20);
        FUZZ_CHECK(ranges[i].to <= p->files[ranges[i].file].nbytes);
    }
}

void check_plan(const struct plan *p)
{
    size_t n = p->nsteps + p->nfiles, used = 0;
    for (uint32_t i = 0; i < p->nfiles; i++)
        n += p->files[i].ninsets;
    struct range *ranges = malloc((n + 1) * sizeof *ranges);
    FUZZ_CHECK(ranges != NULL);
    for (uint32_t i = 0; i < p->nsteps && p->nfiles > 0; i++) {
        const struct step *s = &p->steps[i];
        check_step(p, s);
        if (s->nbytes > 0)
            ranges[used++] = (struct range){s->file, s->offset, s->offset + s->nbytes};
    }
    for (uint32_t i = 0; i < p->nfiles; i++) {
        const struct plan_file *f = &p->files[i];
        ranges[used++] = (struct range){i, 0, f->header.n};
        for (uint32_t k = 0; k < f->ninsets; k++)
            ranges[used++] =
                (struct range){i, f->insets[k].offset, f->insets[k].offset + f->insets[k].text.n};
    }
    qsort(ranges, used, sizeof *ranges, by_place);
    check_ranges(p, ranges, used);
    for (uint32_t i = 0; i < p->nnotes; i++)
        FUZZ_CHECK(utf8_valid(str_from(p->notes[i]), NULL));
    FUZZ_CHECK(plan_min_mem(p) > 0);
    free(ranges);
}
