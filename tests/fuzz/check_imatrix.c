/* check_imatrix.c - an importance matrix that was taken has good values, or says which are bad. */
#include "check_imatrix.h"

#include <math.h>

static void check_entry(const struct imatrix *im, const struct imatrix_entry *e)
{
    struct quern_error err;
    float values[64], counts[IMATRIX_BATCH];
    FUZZ_CHECK(imatrix_find(im, e->name) == e && e->sums && e->ncols > 0);
    FUZZ_CHECK(e->sums->nelems == e->ncols * e->nmats && e->sums->dtype == DTYPE_F32);
    const bool good = !fuzz_failed(imatrix_check_entry(im, e, &err), &err);
    for (uint64_t i = 0; i < e->sums->nelems; i += 64) {
        const size_t n = e->sums->nelems - i < 64 ? (size_t)(e->sums->nelems - i) : 64;
        if (fuzz_failed(imatrix_read(im, e, i, n, values, &err), &err))
            break;
        for (size_t k = 0; k < n; k++)
            FUZZ_CHECK(isfinite(values[k]) && values[k] >= 0);
        if (good && i % e->ncols == 0 && n <= e->ncols)
            fuzz_failed(imatrix_check_matrix(im, e, i / e->ncols, n, values, &err), &err);
    }
    for (uint64_t i = 0; e->counts && i < e->nmats; i += IMATRIX_BATCH) {
        const size_t n = e->nmats - i < IMATRIX_BATCH ? (size_t)(e->nmats - i) : IMATRIX_BATCH;
        if (fuzz_failed(imatrix_counts(im, e, i, n, counts, &err), &err))
            break;
        for (size_t k = 0; k < n; k++)
            FUZZ_CHECK(counts[k] >= 0 && counts[k] == rintf(counts[k]));
    }
}

void check_imatrix_file(const char *path)
{
    struct quern_error err;
    struct imatrix *im;
    if (fuzz_failed(imatrix_open(path, &im, &err), &err))
        return;
    check_model(im->model);
    FUZZ_CHECK(imatrix_bytes(im) > sizeof *im);
    for (uint32_t i = 0; i < im->nentries; i++) {
        FUZZ_CHECK(i == 0 || str_cmp(im->entries[i - 1].name, im->entries[i].name) < 0);
        check_entry(im, &im->entries[i]);
    }
    imatrix_close(im);
}
