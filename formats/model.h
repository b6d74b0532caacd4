/* model.h - a checkpoint as one list of tensors, however many files it lies in.
 *
 * model_open() takes a .safetensors or .gguf file, one file of a GGUF split set, an
 * model.safetensors.index.json, or a directory with one of these; or a pack, which is such a
 * directory (formats/pack.h). It reads headers only and checks everything a header can promise
 * against the real size of its file. */
#ifndef QUERN_MODEL_H
#define QUERN_MODEL_H

#include "core/archive.h"
#include "core/arena.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/hash.h"
#include "core/io.h"
#include "core/windows.h"

#define MAX_DIMS    32
#define MAX_TENSORS 1000000u
#define MAX_KEYS    1000000u
#define MAX_SHARDS  10000u

/* A view of stored elements: owns nothing, already checked against its file. */
struct tensor {
    struct str name;      /* NUL-terminated in memory */
    const uint64_t *dims; /* outermost first; GGUF flips at its border */
    uint64_t offset;      /* absolute, in its file */
    uint64_t nbytes;
    uint64_t nelems;
    uint32_t file; /* index into model.files */
    uint8_t dtype; /* enum dtype */
    uint8_t ndims;
};

struct model_file {
    const char *path;
    const char *name; /* base name inside the model */
    struct file_id id;
    uint64_t data_start;             /* where tensor data begins */
    uint32_t first_tensor, ntensors; /* its tensors are consecutive in model.tensors */
    void *header;                    /* its header as read, malloc'ed: names point into it */
    uint64_t header_bytes;
    uint64_t header_at, header_hash; /* where it begins in the file, and of what it held there */
    uint32_t split_no, split_count;  /* of a GGUF file; split_count 0 when it is not split */
    uint64_t split_ntensors;         /* in all files together; 0 when not told */
    uint32_t entry;                  /* with model.archive: which of its files this is */
};

/* GGUF value types; safetensors metadata are strings. */
enum meta_type {
    META_U8,
    META_I8,
    META_U16,
    META_I16,
    META_U32,
    META_I32,
    META_F32,
    META_BOOL,
    META_STRING,
    META_ARRAY,
    META_U64,
    META_I64,
    META_F64,
    META_COUNT
};

/* One key with its value as it is encoded in GGUF: for a string the bytes only (without length),
 * for an array the items back to back (strings with their u64 lengths). */
struct meta {
    struct str key; /* NUL-terminated in memory */
    struct str value;
    uint64_t count;    /* array items */
    uint8_t type;      /* enum meta_type */
    uint8_t item_type; /* of an array */
};

enum model_format { MODEL_SAFETENSORS, MODEL_GGUF };

struct model {
    struct arena arena;
    enum model_format format;
    /* While a plan runs that wants it: NaN and Inf in its tensors are read as 0 ... */
    bool zero_nonfinite;
    _Atomic(bool) saw_nonfinite; /* ... and there were some */
    bool others_write; /* to its files, in other places: when that was last tells nothing */
    const char *path;  /* as given */
    const char *dir;   /* the Hugging Face directory, or NULL for plain files */
    struct model_file *files;
    uint32_t nfiles;
    struct tensor *tensors; /* in file order: by file, then by offset */
    uint32_t ntensors;
    struct name_table index;
    struct meta *metas; /* GGUF keys of the first file, or __metadata__ of the first file */
    uint32_t nmetas;
    struct name_table meta_index;
    uint32_t gguf_version;
    uint64_t alignment; /* of GGUF data */
    const char **notes; /* harmless oddities: trailing bytes, wrong total_size ... */
    uint32_t nnotes;
    struct fd_cache *fds;
    struct archive *archive;                                /* that all files lie in; or NULL */
    uint32_t tensor_capacity, meta_capacity, note_capacity; /* of the malloc'ed arrays above */
};

enum quern_status model_open(const char *path, struct model **out, struct quern_error *err);
/* The same for a look at its headers: a pack's base need not be there. */
enum quern_status model_open_headers(const char *path, struct model **out, struct quern_error *err);
/* One file by itself, whatever it belongs to, and no error when it is no model: then it has no
 * tensors. */
enum quern_status model_open_alone(const char *path, struct model **out, struct quern_error *err);
void model_close(struct model *m);

const struct tensor *model_find(const struct model *m, struct str name);
const struct meta *model_meta(const struct model *m, const char *key);

/* Bytes [offset, offset+n) of file i. Safe from many threads; keeps at most 16 descriptors open,
 * and with all other models no more than a quarter of what the process may have. A file that is no
 * longer the one whose header was read is EIO "changed". */
enum quern_status model_pread(struct model *m, uint32_t file, void *buf, size_t n, uint64_t offset,
                              struct quern_error *err);
/* The same bytes where the system has them, through window k of this thread: valid until the window
 * shows others. NULL: they must be read. */
const void *model_look(struct model *m, uint32_t file, struct windows *w, unsigned k, size_t n,
                       uint64_t offset);
/* EIO "changed": what was seen of the file is lost. */
enum quern_status model_lost(struct model *m, uint32_t file, struct quern_error *err);
/* Has the system copy n bytes to another file, which may cost it nothing but a reference. *done is
 * false when it cannot, or not all of them: then read and write. */
enum quern_status model_copy(struct model *m, uint32_t file, uint64_t offset, uint64_t n, int to,
                             uint64_t to_offset, bool *done, struct quern_error *err);
/* Every input file is still what it was when its header was read; else EIO "changed". */
enum quern_status model_unchanged(struct model *m, struct quern_error *err);

/* Typed access. Each returns false when the key is absent; a key of another type is an error only
 * through meta_expect_*. */
bool meta_u64(const struct meta *k, uint64_t *out); /* any integer type that is >= 0, bool not */
bool meta_string(const struct meta *k, struct str *out);
/* The items of an array of strings, which its reader has checked, one after the other: *at begins
 * as value.p. */
struct str meta_next_string(const char **at);
size_t meta_item_bytes(enum meta_type type); /* 0 for strings and arrays */
const char *meta_type_name(enum meta_type type);

/* Memory held by an open model: what --mem counts. */
size_t model_bytes(const struct model *m);
/* What every worker that reads from it adds, and a word before they start. */
uint64_t model_worker_bytes(const struct model *m);
void model_set_workers(struct model *m, uint32_t nworkers);

/* ---- for the readers in formats/ only ------------------------------------------------------- */

/* An empty model with room for nfiles files; freed with model_close() whatever happens to it. */
enum quern_status model_new(const char *path, uint32_t nfiles, struct model **out,
                            struct quern_error *err);
/* Opens path as the next file. path and name are not copied. */
enum quern_status model_add_file(struct model *m, const char *path, const char *name,
                                 struct quern_error *err);
/* The header of file i, as it was read from this offset on: before anything changes it in memory.
 */
void model_seal_header(struct model *m, uint32_t file, uint64_t offset);
/* The next free slot, cleared, in tensors or metas; NULL when memory ran out. */
struct tensor *model_new_tensor(struct model *m);
struct meta *model_new_meta(struct model *m);
/* The names of file's tensors go into the index; EFORMAT "duplicate" when one is there already. */
enum quern_status model_index_tensors(struct model *m, uint32_t file, struct quern_error *err);
/* Product of the dimensions. False when those that are not 0 leave 64 bits, in whatever order. */
bool dims_product(const uint64_t *dims, uint32_t ndims, uint64_t *nelems);
/* Alike but for outer dimensions of 1, which GGUF drops. */
bool dims_alike(const uint64_t *a, uint32_t na, const uint64_t *b, uint32_t nb);
/* text is the arena's; NULL stands for memory that ran out. */
enum quern_status model_note(struct model *m, const char *text, struct quern_error *err);

/* name_of functions for m->index and m->meta_index: owner is the model. */
struct str model_tensor_name(const void *owner, uint32_t i);
struct str model_meta_key(const void *owner, uint32_t i);

/* What the first bytes of a file say it is: a kind ("is-pickle", "lfs-pointer", "html", "is-gguf",
 * "is-safetensors" ...) and a sentence; NULL when nothing is recognised. */
const char *sniff(const uint8_t *head, size_t n, const char **sentence);
#define SNIFF_BYTES 64

#endif
