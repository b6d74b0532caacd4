/* gather.h - sources that lay the elements of other sources out anew: rows in another order, parts
 * of several tensors one after the other, matrices turned around. No value changes. */
#ifndef QUERN_GATHER_H
#define QUERN_GATHER_H

#include "pipeline/plan.h"

/* A run of output rows: count[0] x count[1] x count[2] of them, the last counting fastest; row
 * (a, b, c) is row first + a*step[0] + b*step[1] + c*step[2] of the source. */
struct row_run {
    const struct source *source;
    uint64_t first;
    uint64_t count[3];
    uint64_t step[3];
};

/* Rows are row_elems consecutive elements, whatever the shapes say. */
struct gather {
    const struct row_run *runs;
    const uint64_t *starts; /* nruns + 1: output row where a run begins */
    uint32_t nruns;
    uint64_t row_elems;
};

/* Makes *out, a source named like name with these dims and the type of the runs' sources, which is
 * one and the same. runs, their sources and dims are not copied; the rest is the arena's. Every row
 * of every source must exist; EFORMAT "shape" when one does not or the rows do not fill dims. */
enum quern_status gather_source(struct arena *arena, struct str name, const uint64_t *dims,
                                uint8_t ndims, uint64_t row_elems, const struct row_run *runs,
                                uint32_t nruns, struct source *out, struct quern_error *err);

/* The last two dimensions of from swapped, in every matrix of it. */
enum quern_status turned_source(struct arena *arena, const struct source *from, struct source *out,
                                struct quern_error *err);

/* What such a source does, for those who do it to something else: NULL when it is another one. */
const struct gather *gather_behind(const struct source *s);
const struct source *turned_behind(const struct source *s);

/* n floats that are known when planning. values is not copied. */
enum quern_status fixed_source(struct arena *arena, struct str name, const float *values,
                               uint64_t n, struct source *out, struct quern_error *err);
bool source_is_fixed(const struct source *s);

/* A view of the same elements under another shape; dims must multiply to as many. */
enum quern_status reshaped_source(struct arena *arena, const struct source *from,
                                  const uint64_t *dims, uint8_t ndims, struct source *out,
                                  struct quern_error *err);

#endif
