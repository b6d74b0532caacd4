/* low_rank.h - matrices that are products of two small ones, as adapters have them: what is done to
 * rows and columns of the matrix is done to its factors. */
#ifndef QUERN_LOW_RANK_H
#define QUERN_LOW_RANK_H

#include "gather.h"

/* B A: b is [rows, rank], a is [rank, columns]; stacks of them have one more dimension in front. */
struct low_rank {
    struct source a, b;
    double times; /* the product is that of the factors times this */
};

/* A source of the product's shape and name, which cannot be read: it shows what shall become of it.
 * Memory is the arena's; the product is not copied. */
enum quern_status low_rank_source(struct arena *arena, struct str name,
                                  const struct low_rank *product, struct source *out,
                                  struct quern_error *err);
bool is_low_rank(const struct source *s);

/* The factors of what s does to such sources: rows in another order, turned around, or stacked.
 * conv1d: the products are those of matrices that are stored turned around, and where s turns them
 * that is undone. EUNSUPPORTED for what is no product of two matrices then. */
enum quern_status low_rank_factors(struct arena *arena, const struct source *s, bool conv1d,
                                   struct low_rank *out, struct quern_error *err);

/* Rows and columns of a matrix swapped; what was turned around before becomes as it was. */
enum quern_status low_rank_turn(struct arena *arena, const struct source *from, struct source *out,
                                struct quern_error *err);

#endif
