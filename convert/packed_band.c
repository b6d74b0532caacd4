/* packed_band.c - bring a few rows of packed integers and their scales into memory, laid out alike.
 */
#include <inttypes.h>

#include "packed_bits.h"
#include "packed_ints.h"
#include "quant/codec.h"

#define STAGE_BYTES (UINT64_C(64) << 10)
#define WORD_BITS   32u
#define STRIP_COLS  64u /* columns that are laid out at a time: a line of the cache */
#define SHORT_LINE  4096u

static size_t padded(uint64_t n)
{
    return (size_t)((n + 63) & ~UINT64_C(63));
}

static uint64_t words_of(uint64_t ncodes, unsigned bits)
{
    return (ncodes * bits + WORD_BITS - 1) / WORD_BITS;
}

/* ---- the scratch ---------------------------------------------------------------------------- */

size_t packed_scratch_bytes(const struct packed_ints *p)
{
    return padded(sizeof(struct band_state)) + padded(p->band * p->stride) +
           2 * padded(p->band * p->ngroups * sizeof(float)) +
           (p->order ? padded(p->cols * sizeof(int32_t)) : 0) + padded(p->stage_bytes) +
           PIECE * sizeof(float);
}

static uint8_t *take(uint8_t **at, uint64_t n)
{
    uint8_t *p = *at;
    *at += padded(n);
    return p;
}

void packed_lay_out(struct packed_desk *d, const struct packed_ints *p, void *scratch,
                    uint64_t *moved)
{
    uint8_t *at = scratch;
    d->p = p;
    d->moved = moved;
    d->band = (struct band_state *)take(&at, sizeof(struct band_state));
    d->codes = take(&at, p->band * p->stride);
    d->scales = (float *)take(&at, p->band * p->ngroups * sizeof(float));
    d->seconds = (float *)take(&at, p->band * p->ngroups * sizeof(float));
    d->order = p->order ? (int32_t *)take(&at, p->cols * sizeof(int32_t)) : NULL;
    d->stage = take(&at, p->stage_bytes);
    d->values = (float *)take(&at, PIECE * sizeof(float));
}

static uint64_t row_bytes(const struct packed_ints *p)
{
    if (p->layout == CODES_ALONG)
        return words_of(p->cols, p->bits) * sizeof(uint32_t);
    return p->layout == CODES_SIGNED ? p->cols : p->cols / 2;
}

/* A stream down the rows of the matrix: whole words of it are read, for every group. */
static uint64_t zero_words(const struct packed_ints *p)
{
    return words_of(p->band, p->bits) + 2;
}

/* Whole lines of words are read sooner than a few words of each. */
static bool whole_lines(const struct packed_ints *p)
{
    return p->rows / 8 * sizeof(uint32_t) <= SHORT_LINE;
}

uint64_t packed_stage_bytes(const struct packed_ints *p)
{
    uint64_t most = STAGE_BYTES, n = 0;
    if (p->layout == CODES_DOWN)
        n = words_of(STRIP_COLS, p->bits) * p->band * sizeof(uint32_t);
    else if (p->layout == CODES_ACROSS)
        n = STRIP_COLS * (whole_lines(p) ? p->rows / 8 : p->band / 8) * sizeof(uint32_t);
    else
        n = row_bytes(p);
    most = n > most ? n : most;
    if (p->zero_layout == ZEROS_DOWN)
        n = zero_words(p) * p->ngroups * sizeof(uint32_t);
    return n > most ? n : most;
}

/* ---- reading -------------------------------------------------------------------------------- */

static enum quern_status read_bytes(const struct packed_desk *d, const struct source *s,
                                    uint64_t first, uint64_t n, void *to, struct quern_error *err)
{
    *d->moved += n;
    return in_source(
        err, s,
        model_pread(s->model, s->tensor->file, to, (size_t)n, s->tensor->offset + first, err));
}

/* At most PIECE of them. */
static enum quern_status read_floats(const struct packed_desk *d, const struct source *s,
                                     uint64_t first, uint64_t n, float *to, struct quern_error *err)
{
    const enum dtype type = s->tensor->dtype;
    const size_t width = dtype_traits[type].block_bytes;
    TRY(read_bytes(d, s, first * width, n * width, d->stage, err));
    codec_kernels()->decode[type](d->stage, to, (size_t)n);
    return QUERN_OK;
}

static enum quern_status read_order(struct packed_desk *d, struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    bool unset = true;
    TRY(read_bytes(d, p->order, 0, p->cols * sizeof(int32_t), d->order, err));
    for (uint64_t i = 0; i < p->cols; i++)
        unset &= d->order[i] == -1;
    d->band->has_order = true;
    if (unset)
        return QUERN_OK;
    for (uint64_t i = 0; i < p->cols; i++) {
        if (d->order[i] < 0 || (uint64_t)d->order[i] >= p->ngroups)
            return in_source(err, p->order,
                             fail(err, QUERN_EFORMAT, "index",
                                  "column %" PRIu64 " is in group %" PRId32 WANT
                                  "expected one of %" PRIu64,
                                  i, d->order[i], p->ngroups));
        d->band->mixed |= (uint64_t)d->order[i] != i / p->group;
    }
    return QUERN_OK;
}

/* ---- codes ---------------------------------------------------------------------------------- */

static void lay_row(const struct packed_ints *p, uint8_t *stored, uint8_t *codes)
{
    if (p->layout == CODES_SIGNED) {
        flip_signs(stored, codes, (size_t)p->cols);
        return;
    }
    if (p->layout == CODES_NIBBLES)
        swap_nibbles(stored, (size_t)p->cols / 2);
    unpack_codes(stored, p->bits, codes, (size_t)p->cols);
}

/* Rows that lie one behind the other. The last one may be cut short. */
static enum quern_status load_rows(struct packed_desk *d, uint64_t row, uint64_t n,
                                   struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    const uint64_t bytes = row_bytes(p), fit = p->stage_bytes / bytes;
    for (uint64_t done = 0, some; done < n; done += some) {
        some = n - done < fit ? n - done : fit;
        const uint64_t at = (row + done) * bytes, left = p->codes->tensor->nbytes - at;
        TRY(read_bytes(d, p->codes, at, some * bytes < left ? some * bytes : left, d->stage, err));
        for (uint64_t r = 0; r < some; r++)
            lay_row(p, d->stage + r * bytes, d->codes + (done + r) * p->stride);
    }
    return QUERN_OK;
}

/* words[i] of each row lie n words apart. */
static void lay_down(const struct packed_ints *p, const uint8_t *stage, uint64_t n, uint8_t *codes,
                     size_t ncodes)
{
    const size_t nwords = (size_t)words_of(ncodes, p->bits);
    for (uint64_t r = 0; r < n; r++) {
        uint8_t words[STRIP_COLS] = {0};
        for (size_t i = 0; i < nwords; i++)
            memcpy(words + i * 4, stage + (i * n + r) * 4, 4);
        unpack_codes(words, p->bits, codes + r * p->stride, ncodes);
    }
}

static enum quern_status load_down(struct packed_desk *d, uint64_t row, uint64_t n,
                                   struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    for (uint64_t column = 0; column < p->cols; column += STRIP_COLS) {
        const uint64_t m = p->cols - column < STRIP_COLS ? p->cols - column : STRIP_COLS;
        const uint64_t first = column * p->bits / WORD_BITS;
        for (uint64_t i = 0; i < words_of(m, p->bits); i++)
            TRY(read_bytes(d, p->codes, ((first + i) * p->rows + row) * 4, n * 4,
                           d->stage + i * n * 4, err));
        lay_down(p, d->stage, n, d->codes + column, (size_t)m);
    }
    return QUERN_OK;
}

/* Which of eight rows the n-th four bits of a word belong to. */
static const uint8_t across[8] = {0, 2, 4, 6, 1, 3, 5, 7};

/* Trades what is in the upper places of a for what is in the lower ones of b. */
static void trade(uint64_t *a, uint64_t *b, unsigned shift, uint64_t lower)
{
    const uint64_t t = (*a >> shift ^ *b) & lower;
    *b ^= t;
    *a ^= t << shift;
}

/* Eight words, one for each of eight columns, become eight bytes of each of eight rows. */
static void lay_across(const uint32_t words[8], uint8_t *codes, uint64_t stride)
{
    uint64_t x[8];
    for (unsigned i = 0; i < 8; i++)
        x[i] = spread_nibbles(words[i]);
    for (unsigned i = 0; i < 4; i++)
        trade(&x[i], &x[i + 4], 32, UINT64_C(0x00000000ffffffff));
    for (unsigned i = 0; i < 8; i += i % 4 == 1 ? 3 : 1)
        trade(&x[i], &x[i + 2], 16, UINT64_C(0x0000ffff0000ffff));
    for (unsigned i = 0; i < 8; i += 2)
        trade(&x[i], &x[i + 1], 8, UINT64_C(0x00ff00ff00ff00ff));
    for (unsigned k = 0; k < 8; k++)
        memcpy(codes + across[k] * stride, &x[k], sizeof x[k]);
}

/* The words of the rows that are held in m columns; *step is how far apart those of two are. */
static enum quern_status read_across(struct packed_desk *d, uint64_t row, uint64_t n,
                                     uint64_t column, uint64_t m, const uint8_t **words,
                                     uint64_t *step, struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    const uint64_t line = p->rows / 8 * 4, some = n / 8 * 4, skip = row / 8 * 4;
    const bool whole = whole_lines(p);
    *words = d->stage + (whole ? skip : 0);
    *step = whole ? line : some;
    if (whole)
        return read_bytes(d, p->codes, column * line, m * line, d->stage, err);
    for (uint64_t i = 0; i < m; i++)
        TRY(read_bytes(d, p->codes, (column + i) * line + skip, some, d->stage + i * some, err));
    return QUERN_OK;
}

static enum quern_status load_across(struct packed_desk *d, uint64_t row, uint64_t n,
                                     struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    for (uint64_t column = 0; column < p->cols; column += STRIP_COLS) {
        const uint64_t m = p->cols - column < STRIP_COLS ? p->cols - column : STRIP_COLS;
        const uint8_t *stored;
        uint64_t step;
        TRY(read_across(d, row, n, column, m, &stored, &step, err));
        for (uint64_t w = 0; w < n / 8; w++)
            for (uint64_t i = 0; i < m; i += 8) {
                uint32_t words[8] = {0};
                for (uint64_t j = 0; j < 8 && i + j < m; j++)
                    memcpy(&words[j], stored + (i + j) * step + w * 4, 4);
                lay_across(words, d->codes + w * 8 * p->stride + column + i, p->stride);
            }
    }
    return QUERN_OK;
}

/* ---- scales and zeros -------------------------------------------------------------------------
 */

static enum quern_status load_by_row(struct packed_desk *d, const struct source *s, uint64_t row,
                                     uint64_t n, float *to, struct quern_error *err)
{
    const uint64_t total = n * d->p->ngroups, first = row * d->p->ngroups;
    for (uint64_t done = 0, some; done < total; done += some) {
        some = total - done < PIECE ? total - done : PIECE;
        TRY(read_floats(d, s, first + done, some, to + done, err));
    }
    return QUERN_OK;
}

static enum quern_status load_by_group(struct packed_desk *d, const struct source *s, uint64_t row,
                                       uint64_t n, float *to, struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    for (uint64_t g = 0; g < p->ngroups; g++) {
        TRY(read_floats(d, s, g * p->rows + row, n, d->values, err));
        for (uint64_t r = 0; r < n; r++)
            to[r * p->ngroups + g] = d->values[r];
    }
    return QUERN_OK;
}

static void fill(float *to, uint64_t n, float value)
{
    for (uint64_t i = 0; i < n; i++)
        to[i] = value;
}

/* Scales that are stored as codes with scales of their own. */
static enum quern_status load_outer(struct packed_desk *d, uint64_t row, uint64_t n,
                                    struct quern_error *err)
{
    const struct packed_scales *o = d->p->outer;
    for (uint64_t done = 0, some; done < n; done += some) {
        some = o->block - (row + done) % o->block;
        some = some < n - done ? some : n - done;
        some = some < PIECE ? some : PIECE;
        float outer;
        TRY(read_floats(d, o->outer, (row + done) / o->block, 1, &outer, err));
        TRY(read_bytes(d, d->p->scales, row + done, some, d->stage, err));
        for (uint64_t i = 0; i < some; i++)
            d->scales[done + i] = o->map[d->stage[i]] * outer + o->offset;
    }
    return QUERN_OK;
}

static enum quern_status load_scales(struct packed_desk *d, uint64_t row, uint64_t n,
                                     struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    if (p->outer)
        return load_outer(d, row, n, err);
    switch (p->scale_layout) {
    case SCALES_BY_ROW:
        return load_by_row(d, p->scales, row, n, d->scales, err);
    case SCALES_BY_GROUP:
        return load_by_group(d, p->scales, row, n, d->scales, err);
    case SCALES_ONE:
        TRY(read_floats(d, p->scales, 0, 1, d->values, err));
        fill(d->scales, n * p->ngroups, d->values[0]);
        break;
    }
    return QUERN_OK;
}

/* One line of words for every group. */
static enum quern_status load_zero_lines(struct packed_desk *d, uint64_t row, uint64_t n,
                                         struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    const uint64_t line = p->zeros->tensor->nelems / p->ngroups;
    const uint64_t first = row * p->bits / WORD_BITS, end = words_of(row + n, p->bits);
    for (uint64_t g = 0; g < p->ngroups; g++) {
        TRY(read_bytes(d, p->zeros, (g * line + first) * 4, (end - first) * 4, d->stage, err));
        for (uint64_t r = 0; r < n; r++) {
            uint64_t at = row + r;
            if (p->zero_layout == ZEROS_ACROSS)
                at = at / 8 * 8 + at % 2 * 4 + at % 8 / 2;
            const uint64_t bit = at * p->bits - first * WORD_BITS;
            d->seconds[r * p->ngroups + g] = (float)(code_at(d->stage, bit, p->bits) + p->zero);
        }
    }
    return QUERN_OK;
}

static enum quern_status load_zeros_down(struct packed_desk *d, uint64_t row, uint64_t n,
                                         struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    const uint64_t first = row * p->bits / WORD_BITS, end = words_of(row + n, p->bits);
    TRY(read_bytes(d, p->zeros, first * p->ngroups * 4, (end - first) * p->ngroups * 4, d->stage,
                   err));
    for (uint64_t r = 0; r < n; r++) {
        const uint64_t bit = (row + r) * p->bits - first * WORD_BITS, word = bit / WORD_BITS;
        for (uint64_t g = 0; g < p->ngroups; g++) {
            uint8_t two[8] = {0};
            memcpy(two, d->stage + (word * p->ngroups + g) * 4, 4);
            if (word + 1 < end - first)
                memcpy(two + 4, d->stage + ((word + 1) * p->ngroups + g) * 4, 4);
            uint64_t v;
            memcpy(&v, two, sizeof v);
            v = v >> bit % WORD_BITS & ((1u << p->bits) - 1);
            d->seconds[r * p->ngroups + g] = (float)(v + p->zero);
        }
    }
    return QUERN_OK;
}

static enum quern_status load_zero_bytes(struct packed_desk *d, uint64_t row, uint64_t n,
                                         struct quern_error *err)
{
    const uint64_t total = n * d->p->ngroups, first = row * d->p->ngroups;
    for (uint64_t done = 0, some; done < total; done += some) {
        some = total - done < PIECE ? total - done : PIECE;
        TRY(read_bytes(d, d->p->zeros, first + done, some, d->stage, err));
        for (uint64_t i = 0; i < some; i++)
            d->seconds[done + i] = (float)((int)(int8_t)d->stage[i] + (int)d->p->zero);
    }
    return QUERN_OK;
}

static enum quern_status load_seconds(struct packed_desk *d, uint64_t row, uint64_t n,
                                      struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    if (p->rule == VALUE_BIASED)
        return load_by_row(d, p->biases, row, n, d->seconds, err);
    switch (p->zero_layout) {
    case ZEROS_FIXED:
        fill(d->seconds, n * p->ngroups, (float)p->zero);
        break;
    case ZEROS_ALONG:
    case ZEROS_ACROSS:
        return load_zero_lines(d, row, n, err);
    case ZEROS_DOWN:
        return load_zeros_down(d, row, n, err);
    case ZEROS_SIGNED:
        return load_zero_bytes(d, row, n, err);
    }
    return QUERN_OK;
}

/* Rows are not always asked for one after the other: those of two halves may take turns. Then the
 * band begins behind the last one, to have both. */
static uint64_t first_to_hold(const struct packed_ints *p, const struct band_state *b, uint64_t row)
{
    const bool columns = p->layout == CODES_DOWN || p->layout == CODES_ACROSS;
    uint64_t first = row;
    if (columns && b->nrows > 0 && row > b->last && row - b->last < p->band / 2)
        first = b->last + 1;
    if (p->layout != CODES_ACROSS)
        return first;
    first = first / 8 * 8; /* a word has eight rows */
    return row - first < p->band ? first : row / 8 * 8;
}

enum quern_status packed_hold(struct packed_desk *d, uint64_t row, struct quern_error *err)
{
    const struct packed_ints *p = d->p;
    struct band_state *b = d->band;
    const bool holds = b->nrows > 0 && row >= b->first && row - b->first < b->nrows;
    const uint64_t first = first_to_hold(p, b, row);
    b->last = row;
    if (holds)
        return QUERN_OK;
    const uint64_t n = p->rows - first < p->band ? p->rows - first : p->band;
    b->nrows = 0;
    if (p->order && !b->has_order)
        TRY(read_order(d, err));
    TRY(load_scales(d, first, n, err));
    TRY(load_seconds(d, first, n, err));
    if (p->layout == CODES_DOWN)
        TRY(load_down(d, first, n, err));
    else if (p->layout == CODES_ACROSS)
        TRY(load_across(d, first, n, err));
    else
        TRY(load_rows(d, first, n, err));
    b->first = first;
    b->nrows = n;
    return QUERN_OK;
}
