/* pack_plan.h - plans that pack files of models, and unpack them again (formats/pack.h). */
#ifndef QUERN_PACK_PLAN_H
#define QUERN_PACK_PLAN_H

#include "formats/pack.h"
#include "pipeline/plan.h"

struct pack_request {
    const char *const *inputs; /* files, directories, packs */
    size_t ninputs;
    const char *output;
    const char *base; /* a model that they are stored against; or NULL */
    int level;        /* what is tried beside entropy coding; 0: nothing, as FRAME_ENTROPY_ONLY */
    bool thorough;    /* tries it on everything, not only where a sample says that it pays */
    bool force;
};

/* Every input file goes in whole. A directory's files have their names in it; with several inputs
 * the name of the directory comes first. */
enum quern_status plan_pack(const struct pack_request *r, struct plan **out,
                            struct quern_error *err);

/* What a run has made of a plan of plan_pack(), by kind of data. */
struct pack_share {
    const char *kind; /* a type of tensors; "files": whatever is no tensor */
    uint64_t count, nbytes, stored;
};
/* Largest first; at most DTYPE_COUNT + 1 of them. */
uint32_t pack_shares(const struct plan *p, struct pack_share *shares);
uint64_t pack_stored_bytes(const struct plan *p); /* of the whole file */
uint64_t pack_source_bytes(const struct plan *p);

/* The files of a pack, each with the SHA-256 that is recorded, into a directory; the one file of a
 * pack that was made of a file goes to output itself. base may be NULL: then it is where the pack
 * says, or among those of pack_add_base(). */
enum quern_status plan_unpack(const char *pack, const char *output, bool force, struct plan **out,
                              struct quern_error *err);
/* The files of such a plan, as the pack has them. */
uint32_t unpacked_files(const struct plan *p, const struct pack_file **files);

#endif
