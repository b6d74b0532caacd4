/* division.h - cut a plan into portions that need nothing of each other, and put together what they
 * have made.
 *
 * A portion is a stretch of the output. It writes slices: stretches of output files, the header
 * with the first of a file. Each is a file of its own, and they are joined where an output file has
 * several; or all write to the output file itself, each its own places. A step may lie in several
 * slices: each makes the chunks in which its bytes lie and writes no others. The bytes are those
 * of the undivided plan, however many portions there are. */
#ifndef QUERN_DIVISION_H
#define QUERN_DIVISION_H

#include "pipeline/hashing.h"

#define MAX_PORTIONS 100000u
#define CUT_ALIGN    (UINT64_C(1) << 20)

/* Bytes [offset, offset + nbytes) of an output file. */
struct stretch {
    uint32_t file;
    uint32_t first, nsteps; /* in division.order: those that have bytes in it */
    uint64_t offset, nbytes;
    uint64_t file_bytes; /* of the whole file */
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
    bool shared;   /* slices are places in output files that all write to */
    bool measured; /* as in the request */
};

enum cutting {
    CUT_NOWHERE, /* between steps */
    CUT_CHEAPLY, /* also steps of which nothing must be measured first */
    CUT_ANYWHERE /* where a file's bytes are aligned and nowhere else: for files that are shared */
};

struct division_request {
    uint32_t count; /* of portions */
    enum cutting cutting;
    uint64_t align; /* steps are cut at multiples of it in the file; 0: CUT_ALIGN */
    bool measured;  /* by a stage before (statistics.h): no portion has to */
};

/* Portions of nearly the same cost, as many as asked for or as can be cut. Everything is in the
 * arena. EUNSUPPORTED for plans whose steps or files are not independent of each other. */
enum quern_status plan_divide(const struct plan *p, const struct division_request *r,
                              struct arena *arena, struct division *out, struct quern_error *err);

/* The output becomes a set of files, one for each portion that plan_divide() would then make. */
enum quern_status plan_in_files(struct plan *p, uint32_t count, bool measured,
                                struct quern_error *err);

/* Path of slice i, or of an output file that all write to, in a directory; NULL when memory ran
 * out. */
const char *slice_path(const char *dir, uint32_t i, struct arena *arena);
const char *whole_path(const char *dir, uint32_t file, struct arena *arena);
/* Where the bytes of slice i are: a file of its own in dir, or its place in the whole file. */
struct byte_range slice_place(const struct division *d, const char *dir, uint32_t i,
                              struct arena *arena);

/* The plan becomes one that makes the slices of one portion in dir, which must exist. Files that
 * all write to lie in shared, which must be the same directory for all. */
enum quern_status plan_keep_portion(struct plan *p, const struct division *d, uint32_t portion,
                                    const char *dir, const char *shared, struct quern_error *err);

/* The plan becomes one that makes its output of all slices, which lie in dir, instead of its
 * inputs. *slices is for model_close() once the plan is freed, or NULL when the plan closes its
 * models. EFORMAT when a slice is not as long as it must be. */
enum quern_status plan_assemble(struct plan *p, const struct division *d, const char *dir,
                                struct model **slices, struct quern_error *err);

#endif
