/* division.h - cut a plan into portions that need nothing of each other, and put together what they
 * have made.
 *
 * A portion is a run of steps in the order of the output. It writes slices: stretches of output
 * files, each into a file of its own, the header with the first of a file. Where every output file
 * has several slices they are joined; a file that is one slice just gets its name. The bytes are
 * those of the undivided plan, however many portions there are. */
#ifndef QUERN_DIVISION_H
#define QUERN_DIVISION_H

#include "pipeline/plan.h"

#define MAX_PORTIONS 100000u

/* Bytes [offset, offset + nbytes) of an output file. */
struct stretch {
    uint32_t file;
    uint32_t first, nsteps; /* in division.order */
    uint64_t offset, nbytes;
};

struct portion {
    uint32_t first_slice, nslices;
    uint64_t read_bytes;
    uint64_t cost; /* as much work as reading or writing so many bytes */
};

struct division {
    uint32_t *order; /* steps by file and offset */
    struct stretch *slices;
    uint32_t nslices;
    struct portion *portions;
    uint32_t count;
};

/* Portions of nearly the same cost, as many as asked for or as there are steps. Everything is in
 * the arena. EUNSUPPORTED for plans whose steps or files are not independent of each other. */
enum quern_status plan_divide(const struct plan *p, uint32_t count, struct arena *arena,
                              struct division *out, struct quern_error *err);

/* The output becomes a set of files, one for each portion that plan_divide() would then make. */
enum quern_status plan_in_files(struct plan *p, uint32_t count, struct quern_error *err);

/* Path of slice i in a directory; NULL when memory ran out. */
const char *slice_path(const char *dir, uint32_t i, struct arena *arena);

/* The plan becomes one that makes the slices of one portion in dir, which must exist. */
enum quern_status plan_keep_portion(struct plan *p, const struct division *d, uint32_t portion,
                                    const char *dir, struct quern_error *err);

/* The plan becomes one that makes its output of all slices, which lie in dir, instead of its
 * inputs. *slices is for model_close() once the plan is freed, or NULL when the plan closes its
 * models. EFORMAT when a slice is not as long as it must be. */
enum quern_status plan_assemble(struct plan *p, const struct division *d, const char *dir,
                                struct model **slices, struct quern_error *err);

#endif
