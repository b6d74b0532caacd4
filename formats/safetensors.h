/* safetensors.h - read and lay out safetensors headers and shard indexes. */
#ifndef QUERN_SAFETENSORS_H
#define QUERN_SAFETENSORS_H

#include "formats/model.h"

#define ST_MAX_HEADER 100000000u
#define ST_MAX_INDEX  (64u << 20)

/* Reads the header of files[file] of a model under construction and appends its tensors in offset
 * order; __metadata__ goes into m->metas when file is 0. Every rule of docs/formats.md, table S. */
enum quern_status safetensors_read(struct model *m, uint32_t file, struct quern_error *err);

/* One entry of an index's weight_map. */
struct index_entry {
    struct str tensor;
    struct str file; /* one checked path component */
};
struct shard_index {
    struct index_entry *entries;
    uint32_t count;
    bool has_total_size;
    uint64_t total_size;
};
/* Reads model.safetensors.index.json (rules I1..I4). Memory is the arena's. */
enum quern_status safetensors_read_index(const char *path, struct arena *arena,
                                         struct shard_index *out, struct quern_error *err);

struct st_tensor {
    struct str name;
    const uint64_t *dims;
    uint32_t ndims;
    enum dtype dtype;
    uint64_t nbytes;
    uint64_t offset; /* out: absolute in the file */
};

/* Lays out one file exactly as the safetensors library does (data sorted by element size, largest
 * first, then by name; header padded with blanks to 8), so that the bytes are the same. Sorts the
 * array's offsets, not the array: tensors[i] keeps its index. metadata may be empty; its keys are
 * written in the order given. */
enum quern_status safetensors_layout(struct arena *arena, const struct meta *metadata,
                                     uint32_t nmetadata, struct st_tensor *tensors,
                                     uint32_t ntensors, struct str *header, uint64_t *file_bytes,
                                     struct quern_error *err);

/* The text of model.safetensors.index.json: {"metadata": {"total_size": N}, "weight_map": {...}}
 * with names sorted, indented by two blanks as transformers writes it. files[i] is the file name of
 * tensor i. */
enum quern_status safetensors_index_text(struct arena *arena, const struct str *names,
                                         const char *const *files, uint32_t n, uint64_t total_size,
                                         struct str *out, struct quern_error *err);

#endif
