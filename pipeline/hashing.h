/* hashing.h - SHA-256 of tensors and of whole files, taken while a run reads them anyway.
 *
 * A plan with a hash list has, besides its steps, work that only takes digests. It is done next to
 * the steps that read the same bytes, so that the disk is read once for both. Bytes of one digest
 * are taken in their order, so it is the one that sha256sum prints; several digests go side by
 * side. Files are taken in parts, which are begun when the first step needs them. */
#ifndef QUERN_HASHING_H
#define QUERN_HASHING_H

#include "plan.h"

/* A part of what has one digest. */
struct hash_step {
    struct hidden_step work;
    struct source source;
    struct tensor bytes; /* a part of a file; of a tensor, source has the tensor itself */
    uint64_t dims[1];
    struct hidden_step *before[1]; /* the part before it */
    struct sha256 *sum;
    bool first;
};

struct hashed_file {
    struct sha256 sum;
    struct hash_step *parts;
    uint32_t nparts;
    uint32_t next; /* while the agenda is made: the first that is not in it */
};

struct hashed_model {
    struct model *model;
    struct hashed_file *files;
    struct sha256 *sums; /* of the model's tensors, and the steps; NULL: not wanted */
    struct hash_step *tensors;
};

struct hash_list {
    struct hashed_model *models;
    uint32_t nmodels;
    uint32_t nsteps; /* of all models */
};

/* Every file of the model, and with tensors every tensor of it, is hashed when the plan runs. The
 * model must stay open until the plan is freed. Nothing happens when it is in the list. */
enum quern_status plan_hash_model(struct plan *p, struct model *m, bool tensors,
                                  struct quern_error *err);

/* After the run: 64 digits and a zero. The model is one of the list. */
void hash_of_file(const struct plan *p, const struct model *m, uint32_t file, char hex[65]);
void hash_of_tensor(const struct plan *p, const struct model *m, uint32_t tensor, char hex[65]);

/* For the agenda: shows every step that is to come before the source is read, then those nobody
 * asked for, each once. */
typedef void hash_see(struct hash_step *h, void *more);
void hashes_restart(struct hash_list *l);
void hashes_before(struct hash_list *l, const struct source *s, hash_see *see, void *more);
void hashes_left(struct hash_list *l, hash_see *see, void *more);
/* Shows all steps. */
void hashes_all(struct hash_list *l, hash_see *see, void *more);

/* Of whole files, several at a time. Of the options threads, mem_bytes, progress and cancel count.
 */
enum quern_status hash_files(const char *const *paths, uint32_t n,
                             const struct quern_run_options *options, char (*hex)[65],
                             struct quern_error *err);

/* Bytes [offset, offset + nbytes) of a file. */
struct byte_range {
    const char *path;
    uint64_t offset, nbytes;
};

/* Likewise of such ranges, while others may write to the rest of the file. EIO when it ends before.
 */
enum quern_status hash_ranges(const struct byte_range *ranges, uint32_t n,
                              const struct quern_run_options *options, char (*hex)[65],
                              struct quern_error *err);

#endif
