/* tile.c - the work on one tile, the same for every command. */
#include "tile.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>

#include "differences.h"
#include "quant/codec.h"
#include "quant/small_floats.h"
#include "row_sums.h"

#define ALIGN 64u

static size_t width(const struct step *s)
{
    return s->wide ? sizeof(double) : sizeof(float);
}

static size_t padded(size_t n)
{
    return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* Where element i is. Without the division most of the time. */
static size_t stored_at(enum dtype d, uint64_t i)
{
    const struct dtype_traits *t = &dtype_traits[d];
    return t->block_elems == 1 ? (size_t)i * t->block_bytes : dtype_stored(d, i);
}

/* What is copied may have that type already. */
static bool rounds_first(const struct step *s)
{
    if (s->round_dtype == DTYPE_COUNT || s->round_dtype == s->dtype)
        return false;
    return s->op != &op_copy || !source_has_raw(&s->sources[0]) ||
           s->sources[0].tensor->dtype != s->round_dtype;
}

bool step_is_raw(const struct step *s)
{
    if (!s->op->raw || rounds_first(s))
        return false;
    for (unsigned k = 0; k < s->nsources; k++)
        if (!source_has_raw(&s->sources[k]) || s->sources[k].tensor->dtype != s->dtype)
            return false;
    return true;
}

bool step_samples(const struct step *s)
{
    return s->npasses > 0 && s->op->need && s->op->need(s, 0).sample;
}

static size_t fetch_bytes(const struct step *s)
{
    return s->op->fetch_bytes ? s->op->fetch_bytes(s) : 0;
}

/* For a source of a tile: the bytes of a chunk as they are stored, or the scratch of its kind. */
static size_t source_bytes(const struct step *s, unsigned k, uint64_t n)
{
    const struct source *src = &s->sources[k];
    if (src->kind && !step_is_raw(s))
        return source_scratch_bytes(src, s->wide);
    return dtype_stored(src->tensor->dtype, n < CHUNK ? n : CHUNK);
}

/* Its values are looked at. */
static bool needs_rooms(const struct step *s)
{
    return !step_is_raw(s) || s->stats || s->against;
}

size_t tile_bytes(const struct step *s, uint64_t n)
{
    size_t total = padded(s->op->carry_bytes) + padded(fetch_bytes(s));
    total += padded(dtype_stored(s->dtype, n));
    for (unsigned k = 0; k < s->nsources; k++)
        total += padded(source_bytes(s, k, n));
    if (needs_rooms(s))
        total += (s->nsources + 2u) * padded(PIECE * width(s));
    if (s->against)
        total += padded(dtype_stored(s->dtype, n < CHUNK ? n : CHUNK));
    if (s->importance)
        total += padded(PIECE * sizeof(float));
    if (row_sums_needed(s))
        total +=
            padded(source_scratch_bytes(&s->sources[0], false)) + 2 * padded(PIECE * sizeof(float));
    return total;
}

/* Pointers into the scratch for one tile. */
struct cut {
    bool is_raw;
    bool keeps;                         /* NaN and Inf, where a type has them */
    uint8_t *raw[MAX_SOURCES];          /* room for a chunk as it is stored, or scratch */
    const uint8_t *seen[MAX_SOURCES];   /* of the tile, where it need not be read, or NULL */
    const uint8_t *stored[MAX_SOURCES]; /* a chunk as it is stored: seen or read */
    void *room[MAX_SOURCES];            /* for the values of a piece */
    const void *x[MAX_SOURCES];         /* those of the strip */
    void *y;
    uint8_t *round; /* a piece as round_dtype */
    uint8_t *out;
    uint8_t *theirs; /* a chunk of what it is compared with */
    void *carry, *fetched;
    float *importance; /* of a piece */
    struct row_sums sums;
    uint64_t moved; /* bytes read */
};

static uint8_t *take(uint8_t **at, size_t n)
{
    uint8_t *p = *at;
    *at += padded(n);
    return p;
}

static void cut_scratch(const struct tile *t, const struct scratch *w, struct cut *c)
{
    const struct step *s = t->step;
    uint8_t *at = w->block;
    c->carry = take(&at, s->op->carry_bytes);
    c->fetched = take(&at, fetch_bytes(s));
    memset(c->fetched, 0, fetch_bytes(s));
    c->out = take(&at, dtype_stored(s->dtype, t->n));
    for (unsigned k = 0; k < s->nsources; k++) {
        c->raw[k] = take(&at, source_bytes(s, k, t->n));
        if (s->sources[k].kind && !step_is_raw(s))
            memset(c->raw[k], 0, source_bytes(s, k, t->n));
    }
    if (s->importance)
        c->importance = (float *)take(&at, PIECE * sizeof(float));
    if (row_sums_needed(s)) {
        const size_t n = source_scratch_bytes(&s->sources[0], false);
        c->sums.scratch = take(&at, n);
        memset(c->sums.scratch, 0, n);
        c->sums.x = (float *)take(&at, PIECE * sizeof(float));
        c->sums.raw = take(&at, PIECE * sizeof(float));
        c->sums.row = UINT64_MAX;
    }
    if (s->against)
        c->theirs = take(&at, dtype_stored(s->dtype, t->n < CHUNK ? t->n : CHUNK));
    c->is_raw = step_is_raw(s);
    c->keeps = t->nonfinite == NONFINITE_KEEP;
    if (!needs_rooms(s))
        return;
    for (unsigned k = 0; k < s->nsources; k++)
        c->room[k] = take(&at, PIECE * width(s));
    c->y = take(&at, PIECE * width(s));
    c->round = take(&at, PIECE * width(s));
}

/* Sources of another shape than the output are for measuring only. */
static bool has_sources(const struct step *s, unsigned pass)
{
    return !s->measured || pass < s->npasses;
}

static bool has_numbers(enum dtype d)
{
    return (dtype_is_float(d) || dtype_is_quantized(d)) && codec_can_decode(d);
}

/* Weights that are moved as bytes are looked at, too, unless they may be any: what takes bytes in
 * their order (a digest, an archive) wants them as they are. */
static bool looks_at_moved(const struct tile *t, const struct source *src)
{
    return t->nonfinite == NONFINITE_ERROR && !t->step->op->in_order &&
           has_numbers(src->tensor->dtype);
}

static enum quern_status check_moved(const struct tile *t, const struct source *src,
                                     const uint8_t *raw, uint64_t first, uint64_t n,
                                     struct quern_error *err)
{
    if (!looks_at_moved(t, src))
        return QUERN_OK;
    const size_t bad = codec_first_nonfinite(src->tensor->dtype, raw, (size_t)n);
    if (bad == n)
        return QUERN_OK;
    return in_source(err, src,
                     fail(err, QUERN_EFORMAT, "nonfinite",
                          "element %" PRIu64 " is NaN or Inf" WANT "expected finite weights",
                          first + bad));
}

static bool sources_are_bf16(const struct step *s)
{
    for (unsigned k = 0; k < s->nsources; k++)
        if (s->sources[k].kind || s->sources[k].tensor->dtype != DTYPE_BF16)
            return false;
    return !s->wide;
}

/* Loops that work straight from what is stored need no copy of it. */
static void look_at_sources(const struct tile *t, struct scratch *w, struct cut *c)
{
    const struct step *s = t->step;
    const bool straight = s->op->measure_bf16 || s->op->apply_bf16;
    if (!straight || s->nsources > w->windows.count || !sources_are_bf16(s) ||
        !has_sources(s, t->pass))
        return;
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct tensor *x = s->sources[k].tensor;
        if (x->offset % sizeof(uint16_t) != 0)
            continue;
        c->seen[k] =
            model_look(s->sources[k].model, x->file, &w->windows, k, dtype_stored(x->dtype, t->n),
                       x->offset + dtype_stored(x->dtype, t->first));
    }
}

/* Whether what was seen was there all the time. */
static enum quern_status check_seen(const struct tile *t, const struct scratch *w,
                                    struct quern_error *err)
{
    if (!w->windows.lost)
        return QUERN_OK;
    const struct source *src = &t->step->sources[w->windows.lost - 1];
    return in_source(err, src, model_lost(src->model, src->tensor->file, err));
}

/* Elements [first, first + n) as they are stored, of sources that are. A chunk at a time: it is
 * still in the processor's cache when it is decoded. */
static enum quern_status read_stored(const struct tile *t, struct cut *c, uint64_t first,
                                     uint64_t n, struct quern_error *err)
{
    for (unsigned k = 0; has_sources(t->step, t->pass) && k < t->step->nsources; k++) {
        const struct source *src = &t->step->sources[k];
        const enum dtype d = src->tensor->dtype;
        c->stored[k] = c->raw[k];
        if (c->seen[k]) {
            c->stored[k] = c->seen[k] + dtype_stored(d, first - t->first);
            c->moved += dtype_stored(d, n);
            continue;
        }
        if (src->kind) {
            if (c->is_raw) {
                TRY(src->kind->read_raw(src, first, n, c->raw[k], &c->moved, err));
                TRY(check_moved(t, src, c->raw[k], first, n, err));
            }
            continue;
        }
        const size_t nbytes = dtype_stored(d, n);
        const uint64_t at = src->tensor->offset + dtype_stored(d, first);
        const enum quern_status status =
            model_pread(src->model, src->tensor->file, c->raw[k], nbytes, at, err);
        if (status != QUERN_OK)
            return in_source(err, src, status);
        c->moved += nbytes;
        if (!t->step->op->in_order)
            source_mend(src, c->raw[k], n);
        if (c->is_raw)
            TRY(check_moved(t, src, c->raw[k], first, n, err));
    }
    return QUERN_OK;
}

/* ---- values --------------------------------------------------------------------------------- */

/* The first of a magnitude of at least that of these bits of an f32; in f64, NaN or Inf. */
static size_t first_beyond(const struct step *s, const void *x, uint32_t bits, size_t n)
{
    if (!s->wide)
        return codec_kernels()->first_beyond(x, bits, n);
    const double *v = x;
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i]))
            return i;
    return n;
}

static size_t first_nonfinite(const struct step *s, const void *x, size_t n)
{
    return first_beyond(s, x, F32_INF, n);
}

static double value_at(const struct step *s, const void *x, size_t i)
{
    return s->wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}

static const char *nonfinite_name(double v)
{
    return isnan(v) ? "NaN" : v > 0 ? "Inf" : "-Inf";
}

static enum quern_status fail_nonfinite(struct quern_error *err, double v, uint64_t i)
{
    return fail(err, QUERN_EFORMAT, "nonfinite",
                "element %" PRIu64 " is %s" WANT "expected finite weights", i, nonfinite_name(v));
}

static enum quern_status check_sources(const struct piece *p, const struct cut *c,
                                       struct quern_error *err)
{
    for (unsigned k = 0; k < p->step->nsources; k++) {
        const size_t i = first_nonfinite(p->step, c->x[k], p->n);
        if (i < p->n)
            return in_source(err, &p->step->sources[k],
                             fail_nonfinite(err, value_at(p->step, c->x[k], i), p->first + i));
    }
    return QUERN_OK;
}

/* The result is not finite: name the source that is to blame, or the op that overflowed. */
static enum quern_status blame(const struct piece *p, const struct cut *c, const void *y, size_t i,
                               struct quern_error *err)
{
    if (!p->step->measured)
        TRY(check_sources(p, c, err));
    return in_tensor(err, p->step->name,
                     fail(err, QUERN_EFORMAT, "nonfinite",
                          "%s makes element %" PRIu64 " %s from finite weights", p->step->op->name,
                          p->first + i, nonfinite_name(value_at(p->step, y, i))));
}

static enum quern_status fail_overflow(const struct piece *p, enum dtype d, const void *y, size_t i,
                                       struct quern_error *err)
{
    /* For a block type i is the first element of the block: show its largest value. */
    const size_t end = i + dtype_traits[d].block_elems;
    size_t worst = i;
    for (size_t j = i; j < end && j < p->n; j++)
        if (fabs(value_at(p->step, y, j)) > fabs(value_at(p->step, y, worst)))
            worst = j;
    return in_tensor(
        err, p->step->name,
        fail(err, QUERN_EFORMAT, "value-range",
             "element %" PRIu64 " is %g" WANT "%s cannot store it%s; choose another type",
             p->first + worst, value_at(p->step, y, worst), dtype_traits[d].name,
             p->importance && codec_uses_importance(d) ? " with this importance" : ""));
}

/* ---- pieces --------------------------------------------------------------------------------- */

static void decode(const struct step *s, enum dtype d, const uint8_t *raw, void *x, size_t n)
{
    if (s->wide)
        codec_decode_f64(d, raw, x, n);
    else
        codec_kernels()->decode[d](raw, x, n);
}

/* A look at the values tells whether a type can store them. */
static bool tells_before(const struct step *s, enum dtype d)
{
    return !s->wide && (d == DTYPE_F32 || dtype_limit_bits(d) != F32_INF);
}

/* A tensor that is copied may keep what its type can store. */
static bool may_keep(const struct step *s, const struct cut *c, enum dtype d, double v)
{
    return c->keeps && s->op == &op_copy && nonfinite_fits(d, v);
}

/* Which NaN comes out of arithmetic depends on the processor: there is only one in the output. */
static void make_quiet(const struct step *s, void *y, size_t i)
{
    if (s->wide && isnan(((double *)y)[i]))
        ((double *)y)[i] = (double)NAN;
    else if (!s->wide && isnan(((float *)y)[i]))
        ((float *)y)[i] = NAN;
}

static void *at(const struct step *s, void *y, size_t i)
{
    return (uint8_t *)y + i * width(s);
}

/* Values y that are not finite, or will not be when they are encoded. */
static enum quern_status check_values(const struct piece *p, const struct cut *c, enum dtype d,
                                      void *y, struct quern_error *err)
{
    const struct step *s = p->step;
    for (size_t i = 0; i < p->n; i++) {
        i += first_beyond(s, at(s, y, i), dtype_limit_bits(d), p->n - i);
        if (i == p->n)
            break;
        const double v = value_at(s, y, i);
        if (isfinite(v))
            return fail_overflow(p, d, y, i, err);
        if (!may_keep(s, c, d, v))
            return blame(p, c, y, i, err);
        make_quiet(s, y, i);
    }
    return QUERN_OK;
}

static enum quern_status check_encoded(const struct piece *p, const struct cut *c, enum dtype d,
                                       const void *y, const uint8_t *out, struct quern_error *err)
{
    if (tells_before(p->step, d))
        return QUERN_OK;
    const unsigned block = dtype_traits[d].block_elems;
    for (size_t i = 0; i < p->n; i += block) {
        i += codec_first_nonfinite(d, out + dtype_stored(d, i), p->n - i);
        if (i >= p->n)
            break;
        const double v = value_at(p->step, y, i);
        if (isfinite(v) || !may_keep(p->step, c, d, v))
            return fail_overflow(p, d, y, i, err);
    }
    return QUERN_OK;
}

static enum quern_status round_to(const struct piece *p, struct cut *c, void *y,
                                  struct quern_error *err)
{
    const enum dtype d = p->step->round_dtype;
    if (p->step->wide)
        codec_encode_f64(d, y, c->round, p->n);
    else
        codec_kernels()->encode[d](y, c->round, p->n);
    TRY(check_encoded(p, c, d, y, c->round, err));
    decode(p->step, d, c->round, y, p->n);
    return QUERN_OK;
}

/* Types that want to know about the whole row are encoded row by row. */
static enum quern_status encode_rows(const struct piece *p, struct cut *c, const float *x,
                                     uint8_t *out, struct quern_error *err)
{
    const struct step *s = p->step;
    const uint64_t length = s->dims[s->ndims - 1];
    for (size_t i = 0, n; i < p->n; i += n) {
        const uint64_t at = p->first + i, left = length - at % length;
        float sigma2;
        n = p->n - i < left ? p->n - i : (size_t)left;
        TRY(row_sums_get(s, &c->sums, at / length, &sigma2, err));
        codec_encode(s->dtype, x + i, p->importance + i, sigma2, out + dtype_stored(s->dtype, i),
                     n);
    }
    return QUERN_OK;
}

/* The piece y to the stored type. Blocks are made from f32. */
static enum quern_status encode(const struct piece *p, struct cut *c, const void *y, uint8_t *out,
                                struct quern_error *err)
{
    const struct step *s = p->step;
    const float *x = y;
    if (s->wide && !dtype_is_quantized(s->dtype)) {
        codec_encode_f64(s->dtype, y, out, p->n);
        return check_encoded(p, c, s->dtype, y, out, err);
    }
    if (s->wide) {
        codec_encode_f64(DTYPE_F32, y, c->round, p->n);
        x = (const float *)c->round;
    }
    if (row_sums_needed(s))
        TRY(in_source(err, &s->sources[0], encode_rows(p, c, x, out, err)));
    else
        codec_encode(s->dtype, x, p->importance, 0.0f, out, p->n);
    if (s->reference_bugs)
        codec_add_reference_bugs(s->dtype, x, out, p->n);
    return check_encoded(p, c, s->dtype, y, out, err);
}

/* Strip by strip, whatever the work went by: the sums of a run and of a comparison are the same. */
static void add_errors(const struct tile *t, const struct piece *p, const void *a, const void *b)
{
    const size_t w = width(p->step);
    for (size_t i = 0; i < p->n; i += STRIP) {
        const struct error_pairs pairs = {.a = (const uint8_t *)a + i * w,
                                          .b = (const uint8_t *)b + i * w,
                                          .wide = p->step->wide,
                                          .importance = p->importance ? p->importance + i : NULL,
                                          .block = error_block(p->step->dtype),
                                          .first = p->first + i,
                                          .n = p->n - i < STRIP ? p->n - i : STRIP};
        error_sums_add(&t->errors[p->chunk], &pairs);
    }
}

static enum quern_status apply_strip(const struct tile *t, const struct piece *p, struct cut *c,
                                     uint8_t *out, struct quern_error *err)
{
    const struct step *s = p->step;
    const bool copies = s->op == &op_copy;
    if (!copies)
        s->op->apply(p, s->measured ? NULL : c->x, c->y);
    void *y = copies ? (void *)c->x[0] : c->y;
    if (rounds_first(s)) {
        TRY(check_values(p, c, s->round_dtype, y, err));
        TRY(round_to(p, c, y, err));
    }
    if (!rounds_first(s) || tells_before(s, s->dtype) || c->keeps)
        TRY(check_values(p, c, s->dtype, y, err));
    if (!t->written) /* else they were read */
        TRY(encode(p, c, y, out, err));
    if (t->errors) {
        decode(s, s->dtype, out, c->round, p->n);
        add_errors(t, p, y, c->round);
    }
    return QUERN_OK;
}

/* Copies a strip from one stored type to another in one go. False: it must go through numbers,
 * since there is no such way, or they are looked at, or they are to blame for something. */
static bool recode_strip(const struct tile *t, const struct piece *p, const struct cut *c,
                         uint8_t *out)
{
    const struct step *s = p->step;
    if (s->op != &op_copy || s->sources[0].kind || s->wide || t->errors || p->importance ||
        rounds_first(s))
        return false;
    const enum dtype d = s->sources[0].tensor->dtype;
    recode_fn *recode = codec_recode(d, s->dtype);
    return recode && recode(c->stored[0] + stored_at(d, p->first % CHUNK), out, p->n);
}

/* The importance of every element of the piece: that of its column, row after row. */
static enum quern_status read_importance(const struct tile *t, struct piece *p, struct cut *c,
                                         struct quern_error *err)
{
    const struct imatrix_entry *e = t->step->importance;
    const uint64_t matrix_elems = t->step->nelems / e->nmats;
    const bool encodes = t->pass == t->step->npasses && codec_uses_importance(t->step->dtype) &&
                         !t->step->reference_bugs;
    for (size_t done = 0, n; done < p->n; done += n) {
        const uint64_t at = p->first + done, column = at % e->ncols;
        const uint64_t matrix = at / matrix_elems;
        float *to = c->importance + done;
        n = e->ncols - column < p->n - done ? (size_t)(e->ncols - column) : p->n - done;
        if (done >= e->ncols && (at - e->ncols) / matrix_elems == matrix)
            memcpy(to, to - e->ncols, n * sizeof *to);
        else
            TRY(imatrix_read(t->imatrix, e, matrix * e->ncols + column, n, to, err));
        if (encodes && done < e->ncols)
            TRY(imatrix_check_matrix(t->imatrix, e, matrix, (size_t)n, to, err));
    }
    p->importance = c->importance;
    return QUERN_OK;
}

/* A step that moves bytes as they are loses nothing, but its weights count in the totals. */
static void measure_raw(const struct tile *t, const struct piece *p, const struct cut *c)
{
    const enum dtype d = p->step->dtype;
    if (p->step->nsources == 0) /* made from nothing */
        return;
    if ((!dtype_is_float(d) && !dtype_is_quantized(d)) || !codec_can_decode(d))
        return;
    decode(p->step, d, c->raw[0] + dtype_stored(d, p->first % CHUNK), c->room[0], p->n);
    add_errors(t, p, c->room[0], c->room[0]);
}

/* The values of a piece, from sources that make them. */
static enum quern_status make_values(const struct piece *p, struct cut *c, struct quern_error *err)
{
    const struct step *s = p->step;
    for (unsigned k = 0; k < s->nsources; k++)
        if (s->sources[k].kind)
            TRY(source_read(&s->sources[k], c->raw[k], s->wide, p->first, p->n, c->room[k],
                            &c->moved, err));
    return QUERN_OK;
}

/* The values of a strip, `from` elements into its piece. */
static void get_values(const struct piece *p, struct cut *c, size_t from)
{
    const struct step *s = p->step;
    for (unsigned k = 0; k < s->nsources; k++) {
        const struct source *src = &s->sources[k];
        const enum dtype d = src->tensor->dtype;
        c->x[k] = src->kind ? (uint8_t *)c->room[k] + from * width(s) : c->room[k];
        if (!src->kind)
            decode(s, d, c->stored[k] + stored_at(d, p->first % CHUNK), c->room[k], p->n);
    }
}

static bool all_finite(const double *record, size_t nbytes)
{
    for (size_t i = 0; i < nbytes / sizeof *record; i++)
        if (!isfinite(record[i]))
            return false;
    return true;
}

/* Those of a strip as they are stored. */
static void get_bf16(const struct piece *p, const struct cut *c, const uint16_t *x[])
{
    for (unsigned k = 0; k < p->step->nsources; k++)
        x[k] = (const uint16_t *)(const void *)c->stored[k] + p->first % CHUNK;
}

/* Measures or makes a strip straight from its bytes. False: it must go through numbers. */
static bool measure_bf16(const struct tile *t, const struct piece *p, const struct cut *c,
                         uint64_t *counts, void *record)
{
    const struct op *op = t->step->op;
    const uint16_t *x[MAX_SOURCES];
    if (!op->measure_bf16 || !sources_are_bf16(t->step))
        return false;
    get_bf16(p, c, x);
    return op->measure_bf16(p, t->pass, x, counts, record);
}

static bool apply_bf16(const struct tile *t, const struct piece *p, const struct cut *c,
                       uint8_t *out)
{
    const struct step *s = t->step;
    const uint16_t *x[MAX_SOURCES];
    if (!s->op->apply_bf16 || s->dtype != DTYPE_BF16 || rounds_first(s) || t->errors ||
        t->written || !sources_are_bf16(s))
        return false;
    get_bf16(p, c, x);
    return s->op->apply_bf16(p, x, (uint16_t *)(void *)out);
}

static enum quern_status measure_strip(const struct tile *t, const struct piece *p, struct cut *c,
                                       size_t from, uint64_t *counts, struct quern_error *err)
{
    const struct step *s = t->step;
    void *record = t->records ? t->records + p->chunk * t->record_bytes : NULL;
    /* In the first pass that sees everything. */
    const bool checks = t->pass == step_samples(s) && !s->op->sees_nonfinite;
    const bool straight = measure_bf16(t, p, c, counts, record);
    if (!straight) {
        get_values(p, c, from);
        if (checks && !s->op->records_nonfinite)
            TRY(check_sources(p, c, err));
        s->op->measure(p, t->pass, c->x, counts, record);
    }
    if (checks && s->op->records_nonfinite && !all_finite(record, t->record_bytes)) {
        if (straight)
            get_values(p, c, from);
        TRY(check_sources(p, c, err));
    }
    return QUERN_OK;
}

static enum quern_status run_strip(const struct tile *t, const struct piece *p, struct cut *c,
                                   size_t from, uint64_t *counts, struct quern_error *err)
{
    const struct step *s = t->step;
    const bool applies = t->pass == s->npasses;
    if (c->is_raw) {
        measure_raw(t, p, c);
        return QUERN_OK;
    }
    uint8_t *out = applies ? c->out + stored_at(s->dtype, p->first - t->first) : NULL;
    if (!applies)
        return measure_strip(t, p, c, from, counts, err);
    if (recode_strip(t, p, c, out) || apply_bf16(t, p, c, out))
        return QUERN_OK;
    if (has_sources(s, t->pass))
        get_values(p, c, from);
    return apply_strip(t, p, c, out, err);
}

/* What is worked on at a time. Encoders of blocks want many of them: one to a lane. */
static size_t strip_elems(const struct step *s, unsigned pass)
{
    const bool encodes_blocks = pass == s->npasses && dtype_is_quantized(s->dtype);
    return s->op->fetch || encodes_blocks ? PIECE : STRIP;
}

static enum quern_status run_piece(const struct tile *t, struct piece *p, struct cut *c,
                                   uint64_t *counts, struct quern_error *err)
{
    const struct step *s = t->step;
    const struct piece all = *p;
    const size_t most = strip_elems(s, t->pass);
    if (!c->is_raw && has_sources(s, t->pass))
        TRY(make_values(p, c, err));
    if (s->op->fetch)
        TRY(s->op->fetch(p, t->pass, &c->moved, err));
    for (size_t from = 0; from < all.n; from += p->n) {
        p->first = all.first + from;
        p->n = all.n - from < most ? all.n - from : most;
        p->importance = all.importance ? all.importance + from : NULL;
        TRY(run_strip(t, p, c, from, counts, err));
    }
    return QUERN_OK;
}

/* Elements [first, first + n) of a chunk, whose stored bytes are there. */
static enum quern_status run_chunk(const struct tile *t, struct cut *c, uint64_t first, uint64_t n,
                                   uint64_t *counts, struct quern_error *err)
{
    const struct step *s = t->step;
    /* For an op that measures, for stats, or for the type. */
    const bool weighs =
        s->importance && (t->pass < s->npasses || t->errors || codec_uses_importance(s->dtype));
    if (s->op->carry_bytes)
        memset(c->carry, 0, s->op->carry_bytes);
    for (uint64_t done = 0; done < n; done += PIECE) {
        struct piece p = {.step = s,
                          .state = t->state,
                          .carry = c->carry,
                          .fetched = c->fetched,
                          .chunk = first / CHUNK,
                          .first = first + done,
                          .n = n - done < PIECE ? (size_t)(n - done) : PIECE};
        if (weighs)
            TRY(read_importance(t, &p, c, err));
        TRY(run_piece(t, &p, c, counts, err));
    }
    return QUERN_OK;
}

/* The output of a step that takes bytes as they are. */
static enum quern_status make_raw(const struct tile *t, const struct cut *c, uint64_t first,
                                  uint64_t n, struct quern_error *err)
{
    const struct step *s = t->step;
    return s->op->raw(s, (const uint8_t *const *)c->raw,
                      c->out + dtype_stored(s->dtype, first - t->first), dtype_stored(s->dtype, n),
                      dtype_stored(s->dtype, first), err);
}

/* The bytes of a tile that belong to the output: all, but of a step that is cut. */
struct stretch_of_tile {
    size_t skip, n;
    uint64_t at; /* in the output file */
};

static struct stretch_of_tile to_write(const struct tile *t)
{
    const struct step *s = t->step;
    const uint64_t first = dtype_stored(s->dtype, t->first), cut_end = s->cut_first + s->cut_bytes;
    uint64_t from = first, end = first + dtype_stored(s->dtype, t->n);
    if (s->cut_bytes) {
        from = from > s->cut_first ? from : s->cut_first;
        end = end < cut_end ? end : cut_end;
    }
    return (struct stretch_of_tile){(size_t)(from - first), (size_t)(end - from),
                                    s->offset + (from - s->cut_first)};
}

static enum quern_status write_tile(const struct tile *t, const uint8_t *bytes, uint64_t *moved,
                                    struct quern_error *err)
{
    const struct stretch_of_tile w = to_write(t);
    int fd;
    *moved += w.n;
    TRY(parts_take(t->parts, t->step->file, &fd, err));
    const enum quern_status s =
        pwrite_full(fd, bytes + w.skip, w.n, w.at, t->parts->outs[t->step->file].final_path, err);
    parts_give(t->parts, t->step->file);
    return s;
}

/* What an earlier run has written of the tile. */
static enum quern_status read_back(const struct tile *t, uint8_t *bytes, uint64_t *moved,
                                   struct quern_error *err)
{
    const size_t n = dtype_stored(t->step->dtype, t->n);
    const uint64_t at = t->step->offset + dtype_stored(t->step->dtype, t->first);
    int fd;
    *moved += n;
    TRY(parts_take(t->parts, t->step->file, &fd, err));
    const enum quern_status s =
        pread_full(fd, bytes, n, at, t->parts->outs[t->step->file].final_path, err);
    parts_give(t->parts, t->step->file);
    return s;
}

/* A chunk that is complete, with the same part of the other file. */
static enum quern_status compare_chunk(const struct tile *t, struct cut *c, uint64_t first,
                                       uint64_t n, struct quern_error *err)
{
    const struct step *s = t->step;
    /* As they lie there, also in a run that takes NaN of its sources for 0. */
    const struct tensor *theirs = s->against->tensor;
    const size_t nbytes = dtype_stored(theirs->dtype, n);
    c->moved += nbytes;
    TRY(in_source(err, s->against,
                  model_pread(s->against->model, theirs->file, c->theirs, nbytes,
                              theirs->offset + dtype_stored(theirs->dtype, first), err)));
    const struct stored_pair pair = {.step = s,
                                     .ours = c->out + dtype_stored(s->dtype, first - t->first),
                                     .theirs = c->theirs,
                                     .first = first,
                                     .n = (size_t)n,
                                     .a = c->y,
                                     .b = c->round};
    differences_find(&pair, &t->differences[first / CHUNK]);
    return QUERN_OK;
}

/* A tile that is copied as it is. *done is false when its bytes must go through our hands. */
static enum quern_status copy_tile(const struct tile *t, uint64_t *moved, bool *done,
                                   struct quern_error *err)
{
    const struct step *s = t->step;
    *done = false;
    if (s->op != &op_copy || s->sources[0].kind || !step_is_raw(s) || t->errors || !t->parts)
        return QUERN_OK;
    const struct source *src = &s->sources[0];
    const struct stretch_of_tile w = to_write(t);
    const uint64_t at = dtype_stored(s->dtype, t->first) + w.skip;
    if (looks_at_moved(t, src) || src->model->zero_nonfinite)
        return QUERN_OK;
    int fd;
    TRY(parts_take(t->parts, s->file, &fd, err));
    const enum quern_status status = model_copy(src->model, src->tensor->file,
                                                src->tensor->offset + at, w.n, fd, w.at, done, err);
    parts_give(t->parts, s->file);
    TRY(in_source(err, src, status));
    *moved += *done ? 2 * w.n : 0;
    return QUERN_OK;
}

enum quern_status tile_run(const struct tile *t, struct scratch *w, uint64_t *moved,
                           struct quern_error *err)
{
    struct cut c = {0};
    bool copied;
    TRY(copy_tile(t, moved, &copied, err));
    if (copied)
        return QUERN_OK;
    cut_scratch(t, w, &c);
    look_at_sources(t, w, &c);
    assert(c.is_raw || t->step->nsources > 0); /* only bytes can be made from nothing */
    if (t->written)
        TRY(read_back(t, c.out, moved, err));
    for (uint64_t done = 0; done < t->n; done += CHUNK) {
        const uint64_t first = t->first + done, n = t->n - done < CHUNK ? t->n - done : CHUNK;
        TRY(read_stored(t, &c, first, n, err));
        if (!c.is_raw || t->errors)
            TRY(run_chunk(t, &c, first, n, w->counts, err));
        if (c.is_raw && !t->written)
            TRY(make_raw(t, &c, first, n, err));
        if (t->differences)
            TRY(compare_chunk(t, &c, first, n, err));
    }
    TRY(check_seen(t, w, err));
    *moved += c.moved;
    if (t->pass < t->step->npasses || t->written || t->differences)
        return QUERN_OK;
    return write_tile(t, c.out, moved, err);
}
