/* imatrix.h - importance matrices: for every weight matrix, what each of its columns counts for.
 *
 * Two file formats hold the same thing: GGUF (two F32 tensors a weight, NAME.in_sum2 and
 * NAME.counts) and the older .dat. Either is opened like a model, so its bytes are read with
 * model_pread(), never loaded whole, and a file that changes is noticed. */
#ifndef QUERN_IMATRIX_H
#define QUERN_IMATRIX_H

#include "formats/model.h"

/* The importance of one weight tensor: nmats matrices (experts) of ncols values each. */
struct imatrix_entry {
    struct str name; /* of the weight, NUL-terminated in memory */
    uint64_t ncols, nmats;
    const struct tensor *sums;   /* nmats * ncols F32 */
    const struct tensor *counts; /* nmats F32; NULL for .dat */
    float ncalls;                /* .dat: what the values are divided by */
};

struct imatrix {
    struct model *model;           /* its tensors: in_sum2 and counts, or the rows of a .dat */
    bool legacy;                   /* .dat */
    struct imatrix_entry *entries; /* sorted by name, byte-wise */
    uint32_t nentries;
    struct str *datasets; /* what it was made from; may be none */
    uint32_t ndatasets;
    uint32_t chunk_count, chunk_size; /* 0 when not told */
    struct arena arena;               /* of entries and datasets */
};

/* Reads headers (of a .dat: walks it) and checks them against the file. A GGUF needs
 * imatrix.datasets, imatrix.chunk_count and imatrix.chunk_size, as llama-quantize does. Errors:
 * EFORMAT, EIO, EMEMORY; EUNSUPPORTED when it is a model. */
enum quern_status imatrix_open(const char *path, struct imatrix **out, struct quern_error *err);
void imatrix_close(struct imatrix *im);         /* NULL is allowed; closes the model too */
size_t imatrix_bytes(const struct imatrix *im); /* memory it holds: what --mem counts */

/* NULL when the matrix says nothing of this weight. */
const struct imatrix_entry *imatrix_find(const struct imatrix *im, struct str name);

/* Values first .. first+n of the nmats * ncols, each as llama-quantize uses it: sum / count, or 1
 * for all columns of a matrix with count 0. Safe from many threads. EFORMAT "nonfinite" names entry
 * and value when one is NaN, Inf or negative. */
enum quern_status imatrix_read(const struct imatrix *im, const struct imatrix_entry *e,
                               uint64_t first, size_t n, float *out, struct quern_error *err);
/* Reads all values of an entry: EFORMAT "nonfinite" when one is no value. */
enum quern_status imatrix_check_entry(const struct imatrix *im, const struct imatrix_entry *e,
                                      struct quern_error *err);

/* Counts first .. first+n of the nmats, rounded to whole numbers as llama.cpp keeps them. Only when
 * e->counts is not NULL. EFORMAT "nonfinite". */
enum quern_status imatrix_counts(const struct imatrix *im, const struct imatrix_entry *e,
                                 uint64_t first, size_t n, float *counts, struct quern_error *err);
#define IMATRIX_BATCH 64 /* what callers read at once */

/* For those who are about to encode by n values of matrix mat: EFORMAT "zero-importance" when these
 * and all others of the matrix are 0. */
enum quern_status imatrix_check_matrix(const struct imatrix *im, const struct imatrix_entry *e,
                                       uint64_t mat, size_t n, const float *v,
                                       struct quern_error *err);

/* For those who have values of tensor t at hand, from first on: EFORMAT "nonfinite" when one is
 * NaN, Inf or negative. Counts are rounded in place; one of 2^53 or more is none. */
enum quern_status imatrix_check_values(const struct imatrix *im, const struct tensor *t,
                                       uint64_t first, size_t n, const float *v,
                                       struct quern_error *err);
enum quern_status imatrix_round_counts(const struct imatrix *im, const struct tensor *t,
                                       uint64_t first, size_t n, float *counts,
                                       struct quern_error *err);

/* A row of a .dat to be written: its place is what imatrix_dat_layout() decides. */
struct imatrix_row {
    struct str name;
    uint32_t ncalls;
    uint64_t nvalues;
    struct str lead; /* out: what stands before its values ... */
    uint64_t offset; /* out: ... which begin here, right after the lead */
};

/* Lays out a .dat. header stands at 0, tail at tail_at, the end. dataset may be empty. EUSAGE when
 * a number does not fit in the format. */
enum quern_status imatrix_dat_layout(struct arena *arena, struct imatrix_row *rows, uint32_t nrows,
                                     uint32_t chunk_count, struct str dataset, struct str *header,
                                     struct str *tail, uint64_t *tail_at, struct quern_error *err);

/* ---- for formats/ only ---------------------------------------------------------------------- */

/* Walks the .dat that is files[0] of im->model: its rows become tensors, its tail is stored, and
 * ncalls[i] (in im->arena) belongs to tensor i. */
enum quern_status imatrix_dat_read(struct imatrix *im, const uint32_t **ncalls,
                                   struct quern_error *err);

#endif
