/* packed_ints.h - weights that are stored as small integers with scales: the ways programs pack
 * them differ in where things lie and how a value is made, and these are the differences. */
#ifndef QUERN_PACKED_INTS_H
#define QUERN_PACKED_INTS_H

#include "unpacking.h"

/* Where the integers ("codes") of a matrix of rows x cols are. */
enum code_layout {
    CODES_ALONG,  /* words [rows, n]: a row is a stream of bits, the lowest first */
    CODES_DOWN,   /* words [n, rows]: the same turned around */
    CODES_ACROSS, /* words [cols, rows / 8]: rows 0 2 4 6 1 3 5 7 of eight, the lowest bits first */
    CODES_SIGNED, /* bytes [rows, cols]: the code is 128 more */
    CODES_NIBBLES, /* any type: two in a byte, the upper half first, rows back to back */
};

/* Where the codes that stand for zero are. */
enum zero_layout {
    ZEROS_FIXED,  /* one for all */
    ZEROS_ALONG,  /* words [groups, n]: a stream along the rows of the matrix */
    ZEROS_ACROSS, /* words [groups, rows / 8], like CODES_ACROSS */
    ZEROS_DOWN,   /* words [n, groups]: a stream along the rows of the matrix */
    ZEROS_SIGNED, /* bytes [rows, groups]: `zero` is added */
};

enum scale_layout {
    SCALES_BY_ROW,   /* [rows, groups] */
    SCALES_BY_GROUP, /* [groups, rows] */
    SCALES_ONE,      /* one for all */
};

/* q is a code, z the one that stands for zero, s the scale. Every operation is in f32, or rounded
 * to `round` when that is another type. */
enum value_rule {
    VALUE_SCALED,  /* (q - z) * s */
    VALUE_TWICE,   /* (q - z) * s * factor, from the left */
    VALUE_BIASED,  /* s * q + bias */
    VALUE_LOOK_UP, /* map[q] * s */
};

/* Scales that are codes themselves: map[scale] * outer[i / block] + offset. */
struct packed_scales {
    const struct source *outer; /* F32 */
    const float *map;           /* 256 */
    uint64_t block;
    float offset;
};

struct packed_ints {
    uint64_t rows, cols; /* for CODES_NIBBLES the last row may be shorter */
    uint64_t group;      /* columns that share a scale */
    unsigned bits;
    enum code_layout layout;
    enum zero_layout zero_layout;
    enum scale_layout scale_layout;
    enum value_rule rule;
    enum dtype round; /* F32, F16 or BF16 */
    unsigned zero;    /* of ZEROS_FIXED; otherwise it is added to what is stored */
    float factor;
    const float *map; /* 16 */
    const struct source *codes, *scales;
    const struct source *zeros;        /* NULL with ZEROS_FIXED */
    const struct source *biases;       /* of VALUE_BIASED, laid out like the scales */
    const struct source *order;        /* I32 [cols]: the group of each column; or NULL */
    const struct packed_scales *outer; /* or NULL */

    /* Filled in by packed_ints_source(). */
    uint64_t ngroups;
    uint64_t band;   /* rows that are held */
    uint64_t stride; /* of their codes */
    uint64_t stage_bytes;
};

/* Makes *out, a source of this name, type and shape. p, which is completed, its parts and dims are
 * not copied. EFORMAT "shape" when a part does not fit, EUNSUPPORTED when its type or its rows are
 * too much. */
enum quern_status packed_ints_source(struct arena *arena, struct packed_ints *p, struct str name,
                                     enum dtype dtype, const uint64_t *dims, uint8_t ndims,
                                     struct source *out, struct quern_error *err);

/* The same in the place of a part of the weight, called stem + ".weight". */
enum quern_status packed_ints_put(struct unpacking *u, const struct source *at, struct str stem,
                                  struct packed_ints *p, const uint64_t *dims, uint8_t ndims,
                                  struct quern_error *err);

/* The n values of a small stored tensor of this type, while planning. EFORMAT "shape" when there
 * are more or fewer. */
enum quern_status packed_values(const struct source *s, enum dtype type, void *to, uint64_t n,
                                struct quern_error *err);

/* config.json's columns per scale: *out is 0 when a scale is for a whole row (-1, or nothing). */
enum quern_status packed_group_size(const struct json *config, const char *key, uint64_t *out,
                                    struct quern_error *err);

/* ---- packed_blocks.c: without a change of values ----------------------------------------------
 */

/* The type of GGUF whose blocks these are; DTYPE_COUNT when there is none. The others are for those
 * that have one (plan.h). */
enum dtype packed_block_type(const struct packed_ints *p);
const struct block_form *packed_block_form(const struct source *s, uint32_t i);
enum quern_status packed_read_blocks(const struct source *s, uint64_t first, uint64_t n,
                                     uint8_t *to, uint64_t *moved, struct quern_error *err);

/* ---- packed_band.c: a few rows in memory ------------------------------------------------------
 */

struct band_state {
    uint64_t first, nrows; /* rows held */
    uint64_t last;         /* row that was asked for last */
    bool has_order;        /* it has been read */
    bool mixed;            /* groups are not runs of columns */
};

/* The parts of a scratch. */
struct packed_desk {
    const struct packed_ints *p;
    struct band_state *band;
    uint8_t *codes;  /* [band][stride] */
    float *scales;   /* [band][ngroups] */
    float *seconds;  /* likewise: zeros or biases */
    int32_t *order;  /* [cols] */
    uint8_t *stage;  /* what was read and is not yet laid out */
    float *values;   /* PIECE */
    uint64_t *moved; /* bytes read */
};

size_t packed_scratch_bytes(const struct packed_ints *p);
void packed_lay_out(struct packed_desk *d, const struct packed_ints *p, void *scratch,
                    uint64_t *moved);
/* Bytes that loading a band needs at a time. */
uint64_t packed_stage_bytes(const struct packed_ints *p);
/* Has the row among those held. */
enum quern_status packed_hold(struct packed_desk *d, uint64_t row, struct quern_error *err);

#endif
