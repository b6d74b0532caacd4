/* plan.h - what a run will do, decided before the first byte of tensor data moves.
 *
 * A plan is a list of steps. A step makes one output tensor: it reads its sources, applies an op
 * and encodes the result as the output type at a place in an output file that is known from the
 * start. Quantizing is an op with one source, merging an op with several. Planners (quantize,
 * merge) build plans; layout_*() give every step its place; plan_run() runs any of them. */
#ifndef QUERN_PLAN_H
#define QUERN_PLAN_H

#include "core/sha256.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "formats/model.h"
#include "quant/error_stats.h"

/* Elements are worked on in strips, which fit the nearest cache, and sources make them in pieces.
 * They are read and measured in chunks and written in tiles. A tile is any number of chunks, so its
 * size never shows in the bits; the others do and are fixed. */
#define STRIP 1024u
#define PIECE 8192u
#define CHUNK 65536u

#define SAMPLE_PIECES 16u /* most that a sample has */

#define MAX_SOURCES 65 /* sixty-four models and a base */

struct source_kind;
struct hash_list;
struct provenance;

/* Something that yields the elements of a tensor in the shape the step wants: a tensor as it is
 * stored, or with a kind, values that are made while they are read (an adapter added, rows laid out
 * anew ...). Then tensor describes them: name, shape and the type they would be stored in; its file
 * is the one to name in messages, its offset means nothing. */
struct source {
    struct model *model;
    const struct tensor *tensor;
    const struct source_kind *kind; /* NULL: the tensor as it is stored */
    const void *params;             /* the kind's */
};

struct source_kind {
    const char *name;
    /* Memory of one worker for one source, all zero at the start of a tile and then kept from read
     * to read, which mostly go upwards. It counts what it gives to the sources it reads from. */
    size_t (*scratch_bytes)(const struct source *s, bool wide);
    /* Elements [first, first + n), n at most PIECE, as float, or double when wide. Adds the bytes
     * read to *moved. Must give the same values wherever a read begins and what was read before. */
    enum quern_status (*read)(const struct source *s, void *scratch, bool wide, uint64_t first,
                              size_t n, void *x, uint64_t *moved, struct quern_error *err);
    /* For kinds that only move elements: the same elements, whole blocks of them in any number, as
     * bytes of the tensor's type. NULL when the values must be computed. */
    enum quern_status (*read_raw)(const struct source *s, uint64_t first, uint64_t n, uint8_t *to,
                                  uint64_t *moved, struct quern_error *err);
    /* NULL: always. False when values are only known once a run has measured something. */
    bool (*ready)(const struct source *s);
    /* The sources it reads from: number i, or NULL when there are no more. May be NULL for kinds
     * that only ever read stored tensors; then its own size stands for what it reads. */
    const struct source *(*inner)(const struct source *s, uint32_t i);
    /* For values that lie packed in blocks of a type of GGUF, though the tensor says it is of
     * another: the form of the i-th of the equal parts that the elements come from, one after the
     * other; NULL behind the last. Both functions are NULL where there are no such blocks. */
    const struct block_form *(*block_form)(const struct source *s, uint32_t i);
    /* Whole blocks, any number of them. */
    enum quern_status (*read_blocks)(const struct source *s, uint64_t first, uint64_t n,
                                     uint8_t *to, uint64_t *moved, struct quern_error *err);
};

struct block_form {
    uint8_t dtype;
    float factor;       /* the values are those of the blocks times this */
    float input_factor; /* what the checkpoint gives for activations; 1 where it does not */
};

/* The same for any source, stored ones included. */
size_t source_scratch_bytes(const struct source *s, bool wide);
/* Bytes of a stored tensor, n elements, as they are to be taken: see model.zero_nonfinite. */
void source_mend(const struct source *s, void *bytes, uint64_t n);
/* Such memory outside of a run: all zero, aligned; free() it. NULL when there is no more. */
void *source_scratch_new(const struct source *s, bool wide);
enum quern_status source_read(const struct source *s, void *scratch, bool wide, uint64_t first,
                              size_t n, void *x, uint64_t *moved, struct quern_error *err);
/* Whole blocks as bytes; the source is stored or its kind has read_raw. */
enum quern_status source_read_raw(const struct source *s, uint64_t first, uint64_t n, uint8_t *to,
                                  uint64_t *moved, struct quern_error *err);
bool source_has_raw(const struct source *s);
bool source_ready(const struct source *s);
/* Bytes of files that reading it once takes, nearly. */
uint64_t source_read_bytes(const struct source *s);
/* Those that it reads from in the end, itself when it is stored; the same one may be seen again. */
void source_leaves(const struct source *s, void (*see)(const struct source *leaf, void *more),
                   void *more);
/* Names tensor and file of the source in the error. */
enum quern_status in_source(struct quern_error *err, const struct source *s,
                            enum quern_status status);
/* EFORMAT "shape": it is of this type and shape, and something else was expected. */
enum quern_status source_misfit(struct quern_error *err, const struct source *s,
                                const char *expected);

struct step;

/* What a measuring pass gathers. Counts are integers and are added up over workers in any order.
 * Records belong to one chunk each and are seen again, in chunk order, by combine. */
struct measure_need {
    size_t ncounts;      /* uint64_t each, cleared before the pass; per worker and in total */
    size_t record_bytes; /* per chunk, cleared before the pass; kept until the step is done */
    /* Of the first pass: it sees the first pieces of some chunks only, the same ones in every run.
     * A guess from them may save passes, but must not show in the result. */
    bool sample;
};

/* Where a call to measure or apply stands: at a strip, or a whole piece when the op fetches. first
 * is the flat index in the Hugging Face layout of the tensor. A worker does all pieces of a chunk
 * in order, so carry may hold what runs along a chunk; it is cleared before the first of each. */
struct piece {
    const struct step *step;
    void *state;             /* the step's, written by combine; by measure only what one piece alone
                              * writes and nothing reads before the pass is over */
    void *carry;             /* this worker's, carry_bytes */
    void *fetched;           /* this worker's, fetch_bytes */
    uint64_t chunk;          /* index of the chunk */
    uint64_t first;          /* flat index of the first element */
    size_t n;                /* elements, at most PIECE */
    const float *importance; /* of each element, where it is asked for; else NULL */
};

/* x[k] has n elements of source k: float, or double when step->wide. */
struct op {
    const char *name;
    bool sees_nonfinite;    /* measure looks for NaN and Inf itself; others never see any but ... */
    bool records_nonfinite; /* ... these: their records are doubles, which become NaN or Inf */
    /* How to make the output from raw bytes, for types that are not numbers to us or need no
     * arithmetic: all sources have the output's type. NULL for ops on numbers. */
    enum quern_status (*raw)(const struct step *s, const uint8_t *const src[], uint8_t *dst,
                             size_t nbytes, uint64_t at, struct quern_error *err);
    /* Tiles are done one after the other, from the first on. Of hidden steps only; what such a step
     * needs must be measured before its first tile, not before it is begun. */
    bool in_order;

    size_t (*state_bytes)(const struct step *s); /* NULL: none */
    size_t carry_bytes;
    /* For statistics of rows. Called before measure and apply of every piece, to get from outside
     * of the piece, with source_read(), what they need: into p->fetched, which is all zero at the
     * start of a tile and kept from piece to piece. Both NULL when nothing is needed. */
    size_t (*fetch_bytes)(const struct step *s);
    enum quern_status (*fetch)(const struct piece *p, unsigned pass, uint64_t *moved,
                               struct quern_error *err);
    /* All four may be NULL when npasses of every step is 0. */
    struct measure_need (*need)(const struct step *s, unsigned pass);
    void (*measure)(const struct piece *p, unsigned pass, const void *const x[], uint64_t *counts,
                    void *record);
    /* Runs alone, after all pieces of the pass. records of earlier passes are gone unless combine
     * moved them into the state; it may use records[i * record_bytes]. */
    enum quern_status (*combine)(const struct step *s, unsigned pass, void *state,
                                 const uint64_t *counts, void *records, uint64_t nrecords,
                                 struct quern_error *err);
    /* After combine: the pass to make next, when some turn out not to be needed. NULL: all are. */
    unsigned (*next_pass)(const struct step *s, unsigned pass, const void *state);
    /* What combine leaves for whoever made the plan, report_bytes of it: a finished step that is
     * not made again gets it back from the journal. Both NULL when there is none. */
    size_t report_bytes;
    void *(*report)(const struct step *s);
    /* y has room for n elements of the same width as x. */
    void (*apply)(const struct piece *p, const void *const x[], void *y);
    /* The same straight from and to the bytes, where sources and output are stored BF16. False: it
     * must go through numbers, and nothing is done yet. What apply writes is finite. measure is for
     * ops that record NaN and Inf. Both may be NULL. */
    bool (*measure_bf16)(const struct piece *p, unsigned pass, const uint16_t *const x[],
                         uint64_t *counts, void *record);
    bool (*apply_bf16)(const struct piece *p, const uint16_t *const x[], uint16_t *y);
};

/* Folds column `column` of nrecords records of ncolumns doubles each, pairwise in a fixed tree. */
double fold_records(const double *records, uint64_t nrecords, size_t ncolumns, size_t column);
/* One record per chunk: the sums folded so, places in chunk order. */
void fold_errors(const struct error_sums *records, uint64_t nrecords, struct error_sums *out);

/* One of the tensors that a step writes side by side, in the order of their names. */
struct step_part {
    struct str name;
    const uint64_t *dims;
    uint8_t ndims;
};

struct step {
    struct str name;        /* of the output tensor */
    struct str matrix_name; /* what an importance matrix calls it; empty: the name of its source */
    const uint64_t *dims;   /* outermost first */
    uint8_t ndims;
    uint8_t dtype;       /* stored type of the output */
    uint8_t round_dtype; /* values are rounded to this type first when it differs from dtype and is
                          * not DTYPE_COUNT: one pass gives the bytes of merge, then quantize */
    bool wide;           /* arithmetic in f64 */
    bool reference_bugs; /* blocks as llama.cpp writes them even where it errs */
    uint8_t nsources;
    uint8_t npasses; /* measuring reads before apply */
    const struct source *sources;
    const struct op *op;
    const void *params; /* the op's, from the plan's arena */
    /* What the columns count for when encoding; NULL: all alike. Its ncols are the row length, its
     * nmats the matrices (product of all but the last two dimensions). */
    const struct imatrix_entry *importance;
    uint64_t nelems, nbytes;
    /* Elements that the measuring passes go over when the sources have another shape than the
     * output: then apply gets no sources (x is NULL) and makes the output from the state. 0: the
     * output's. */
    uint64_t measured;
    const struct step_part *parts; /* safetensors: what the output is made of; NULL: one tensor */
    uint32_t nparts;
    uint32_t file;   /* output file */
    uint64_t offset; /* absolute in it, of the first byte that is written */
    /* Of its stored bytes, those that are written; 0 and 0: all. The chunks in which they lie are
     * made, no others; passes that measure see everything all the same. */
    uint64_t cut_first, cut_bytes;
    bool fallback;  /* stored type is not the wanted one because of the row length */
    uint8_t wanted; /* that type */
    struct hidden_step *const *needs; /* whose results it reads: measured before it begins, each
                                       * after those that it needs itself */
    uint32_t nneeds;
    const void *known; /* its state after the measuring passes, which are not made then; or NULL */
    void *keep;        /* gets its state once that is measured; or NULL */
    bool stats;        /* set by plan_run(): measure what encoding loses */
    /* Whose stored bytes the result is compared with instead of being written; or NULL. */
    const struct source *against;
    const char *detail; /* for a dry run: sources and parameters in words; or NULL */
};

/* A step that only measures: others read what it makes, a piece at a time, from its state. */
struct hidden_step {
    struct step step;
    /* While a plan runs: */
    void *state;     /* once it is measured, as long as it is needed */
    bool measured;   /* ready to be read */
    bool listed;     /* has its place in the agenda */
    uint32_t nusers; /* that are not done */
    /* The first and the last step of the plan that needs it: for agenda_state_bytes(). */
    uint32_t first_user, last_user;
};

/* Where the bytes that a step makes are not those of what it is compared with: one for each chunk,
 * joined to one for the step. */
struct difference {
    /* Over the blocks that differ and no others: a is what is made, b what is there. Without pairs
     * where the values are no weights. Runs of 256 elements of plain types. */
    struct error_sums errors;
    uint64_t nblocks;     /* that differ; of plain types: elements */
    uint64_t first_block; /* counted from 0 along the flattened tensor */
    uint64_t first_elem;  /* the first value in it that differs; its first when all are equal */
};

/* Bytes of a file that are neither its header nor a tensor. */
struct inset {
    struct str text;
    uint64_t offset;
};

/* An output file with tensors. */
struct plan_file {
    const char *path; /* final path; inside plan.dir: the name in the directory */
    struct str header;
    const struct inset *insets; /* of formats that have their directory between the data */
    uint32_t ninsets;
    uint64_t nbytes;
    const char *made; /* this file has all its bytes already, header included; or NULL */
    /* What is written goes into this file, which others write to as well, at the same time: it is
     * made as long as nbytes when it is not there, and gets no other name. Or NULL. */
    const char *shared;
};

/* How the output was laid out, when it can be done again in other files. */
enum laid_out { LAID_FIXED, LAID_GGUF, LAID_DIRECTORY };

/* A small file that goes into an output directory as it is. */
struct side_file {
    const char *name;
    struct str text;       /* its bytes, or ... */
    const char *copy_from; /* ... the file to copy, when not NULL */
};

/* What becomes of weights that are NaN or Inf. */
enum nonfinite {
    NONFINITE_MOVED, /* refused where numbers are made of them; bytes that are moved may be any */
    NONFINITE_ERROR, /* refused everywhere */
    NONFINITE_KEEP,  /* a tensor that is copied keeps them where its type has such values */
    NONFINITE_ZERO   /* stored ones are read as 0 */
};

/* A stored tensor with values that are NaN or Inf. */
struct nonfinite_values {
    struct model *model;
    const struct tensor *tensor;
    uint64_t count, first; /* how many, and the flat index of the first */
};

/* A tile of a step on its way into a sink. */
struct sink_tile {
    const struct step *step;
    uint64_t first, n;   /* bytes of it */
    bool written;        /* an earlier run has written them to the output */
    struct parts *parts; /* the files of the output */
    uint8_t *kept;       /* memory from make to take */
    uint8_t *scratch;    /* this worker's, in make */
    uint64_t moved;      /* bytes read and written, to be added to */
};

/* Where a plan's tiles go when they must be seen in the order of the steps, as for a checksum of a
 * whole file, or when where they go follows from those before. Workers make tiles in any order;
 * then they are taken one at a time. Steps are of bytes (U8), without passes, and have one source
 * or more; op is for dry runs. The members are the first of a larger struct. */
struct sink {
    uint64_t tile_bytes; /* of all tiles but the last of a step; whole chunks */
    size_t kept_bytes;
    size_t scratch_bytes;
    uint64_t worker_bytes; /* more memory that each worker takes */
    enum quern_status (*make)(struct sink *k, struct sink_tile *t, struct quern_error *err);
    enum quern_status (*take)(struct sink *k, struct sink_tile *t, struct quern_error *err);
    /* All tiles were taken; before the files get their names. */
    enum quern_status (*finish)(struct sink *k, struct parts *parts, struct quern_error *err);
    /* Nonzero: tiles are appended to the one file of the plan, whose size nobody knows. This many
     * bytes, at the start of a taken tile's memory, are what an interrupted run needs to know of it
     * when it goes on: resume() gets them tile by tile, from the first. False: they cannot be. */
    uint32_t entry_bytes;
    bool (*resume)(struct sink *k, const struct step *s, uint64_t first, uint64_t n,
                   const void *entry);
    void (*end)(struct sink *k); /* frees what it holds, with the plan; may be NULL */
};

struct plan {
    struct arena arena;
    const char *verb;   /* "quantize", "merge" */
    struct step *steps; /* in output order */
    uint32_t nsteps;
    struct hidden_step **hidden; /* each after those that it needs */
    uint32_t nhidden;
    struct plan_file *files;
    uint32_t nfiles; /* 0: nothing is written, steps end with their last measuring pass, unless */
    bool compares;   /* they go on and compare what they make with step.against */
    const char *dir; /* output directory, or NULL */
    const struct meta *metas; /* keys of the output as laid out, of the first of several files */
    uint32_t nmetas;
    enum laid_out laid_out;
    uint64_t laid_alignment; /* of LAID_GGUF */
    struct side_file *sides;
    uint32_t nsides;
    bool force;
    bool goes_on;          /* with what an interrupted run of it left, if that fits; else not */
    bool keep_ones;        /* GGUF: trailing dimensions of 1 are written */
    struct model **models; /* the inputs */
    uint32_t nmodels;
    bool owns_models;
    struct imatrix *imatrix; /* owned; or NULL */
    uint64_t held_bytes;     /* memory for the run that neither plan nor models count */
    const char **notes;
    uint32_t nnotes;
    /* Per step, when a run was asked for stats or the plan compares: the sums over its elements,
     * of the values it encodes (a) and those that are stored (b). Without pairs where the values
     * are no weights. */
    struct error_sums *errors;
    struct difference *differences;    /* per step of a plan that compares, after the run */
    struct verification *verification; /* what else it found (verify.h); or NULL */
    struct hash_list *hashes;          /* digests to be taken while it runs (hashing.h); or NULL */
    struct provenance *provenance;     /* what to tell of the making (provenance.h); or NULL */
    const char **dropped; /* ledger: input tensors left out by request, quoted, with why */
    uint32_t ndropped;
    enum nonfinite nonfinite;
    struct nonfinite_values *zeroed; /* after a run with NONFINITE_ZERO: where there were any */
    uint32_t nzeroed;
    struct sha256 asked;         /* of what plan_asked() was told */
    struct quern_error *refusal; /* why the plan may be looked at but not run; or NULL */
    struct sink *sink;           /* NULL: tiles are written where their step says */
};

struct plan *plan_new(const char *verb, struct quern_error *err);
void plan_free(struct plan *p);
enum quern_status plan_add_model(struct plan *p, struct model *m, struct quern_error *err);
enum quern_status plan_note(struct plan *p, struct quern_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* What went wrong while planning from the input at path names it, but for a mistake in an option;
 * so does what the plan cannot be run for. */
enum quern_status plan_in_file(struct plan *p, const char *path, enum quern_status status,
                               struct quern_error *err);
enum quern_status plan_drop(struct plan *p, struct str tensor, const char *why,
                            struct quern_error *err);
enum quern_status plan_add_side_text(struct plan *p, const char *name, struct str text,
                                     struct quern_error *err);
enum quern_status plan_add_side_copy(struct plan *p, const char *name, const char *from,
                                     struct quern_error *err);

/* What of a request decides the bytes of the output: an unfinished one is only gone on with for the
 * same. Said by whoever takes the request: the command line, or quern_plan_*(). */
void plan_asked(struct plan *p, const void *bytes, size_t n);

/* Copy the source: convert its type when it differs, move raw bytes when not. */
extern const struct op op_copy;
/* The steps become one for each tensor of the model, copying it as it is. The plan gets the model.
 */
enum quern_status plan_copy_model(struct plan *p, struct model *m, struct quern_error *err);

/* ---- layout: where everything goes ---------------------------------------------------------- */

/* Fill step.nelems, nbytes from dims and dtype; EUSAGE when rows are not whole blocks. */
enum quern_status plan_size_steps(struct plan *p, struct quern_error *err);

/* One GGUF file with these keys, tensors in step order. */
enum quern_status layout_gguf(struct plan *p, const char *path, const struct meta_list *metas,
                              uint64_t alignment, struct quern_error *err);
/* Whose keys split.* are to be: llama-quantize's and the converter's, which take a set of one for
 * no set, or gguf-split's, which has them in another order and always. */
enum split_keys { SPLIT_AS_QUANTIZE, SPLIT_AS_GGUF_SPLIT };
/* GGUF shards: shard_of[i] is the file of step i (ascending); metas go into the first, each gets
 * the split.* keys. prefix-00001-of-0000N.gguf. The alignment is that of the first: the others have
 * no key that would tell it. */
enum quern_status layout_gguf_split(struct plan *p, const char *prefix,
                                    const struct meta_list *metas, uint64_t alignment,
                                    const uint32_t *shard_of, uint32_t nshards,
                                    enum split_keys keys, struct quern_error *err);
/* One safetensors file. */
enum quern_status layout_safetensors(struct plan *p, const char *path, const struct meta *metadata,
                                     uint32_t nmetadata, struct quern_error *err);
/* A directory: model.safetensors, or shards of at most shard_bytes of tensor data (0: no limit) and
 * model.safetensors.index.json. A shard is closed when the next tensor would exceed the limit. */
enum quern_status layout_directory(struct plan *p, const char *dir, const struct meta *metadata,
                                   uint32_t nmetadata, uint64_t shard_bytes,
                                   struct quern_error *err);
/* One GGUF file or a directory once more, in n files: steps first_of[i] .. first_of[i + 1] in file
 * i. EUNSUPPORTED for other outputs. */
enum quern_status layout_in_files(struct plan *p, const uint32_t *first_of, uint32_t n,
                                  struct quern_error *err);
/* An importance matrix of the older form: a step is a row with ncalls[i] calls. */
enum quern_status layout_imatrix_dat(struct plan *p, const char *path, const uint32_t *ncalls,
                                     uint32_t chunk_count, struct str dataset,
                                     struct quern_error *err);

/* ---- running -------------------------------------------------------------------------------- */

/* What quern_run_options.cancel was set to, 0 when nobody has asked for an end. */
static inline int asked_to_stop(const volatile int *cancel)
{
    return cancel ? __atomic_load_n(cancel, __ATOMIC_RELAXED) : 0;
}

/* Bytes a run needs at least, metadata included; what --mem is checked against. */
uint64_t plan_min_mem(const struct plan *p);

enum quern_status plan_run(struct plan *p, const struct quern_run_options *options,
                           struct quern_result *result, struct quern_error *err);

#endif
