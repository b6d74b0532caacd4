/* gguf.h - read and lay out GGUF headers. */
#ifndef QUERN_GGUF_H
#define QUERN_GGUF_H

#include "formats/model.h"

#define GGUF_DEFAULT_ALIGNMENT 32u
#define GGUF_MAX_DIMS          4u
#define GGUF_MAX_NAME          63u

/* Reads the header of files[file] of a model under construction and appends its tensors; the keys
 * go into m->metas when file is 0. Checks every rule of docs/formats.md, table G. */
enum quern_status gguf_read(struct model *m, uint32_t file, struct quern_error *err);

/* What a container may lack or get wrong and a quantizer needs: an architecture, a block_count that
 * agrees with the tensors, heads where there is attention. Always OK for safetensors and for files
 * without tensors. EFORMAT "arch", "hparam", "kv-type". */
enum quern_status gguf_check_model(const struct model *m, struct quern_error *err);

/* A tensor to be written: its place is what gguf_layout() decides. */
struct gguf_tensor {
    struct str name;
    const uint64_t *dims; /* outermost first */
    uint32_t ndims;
    enum dtype dtype;
    uint64_t nbytes;
    uint64_t offset; /* out: absolute in the file */
};

/* Lays out one GGUF v3 file: encodes the header into the arena and sets every tensor's offset.
 * Trailing dimensions of 1 (in GGUF order) are dropped, as llama.cpp writes them.
 * EUSAGE/EUNSUPPORTED when a name is longer than 63 bytes, a shape has more than 4 dimensions, or a
 * type has no GGUF id. *file_bytes includes the padding after the last tensor. */
enum quern_status gguf_layout(struct arena *arena, const struct meta *metas, uint32_t nmetas,
                              struct gguf_tensor *tensors, uint32_t ntensors, uint64_t alignment,
                              struct str *header, uint64_t *file_bytes, struct quern_error *err);

/* The same, but trailing dimensions of 1 are written too, as llama.cpp's converter does. */
enum quern_status gguf_layout_whole(struct arena *arena, const struct meta *metas, uint32_t nmetas,
                                    struct gguf_tensor *tensors, uint32_t ntensors,
                                    uint64_t alignment, struct str *header, uint64_t *file_bytes,
                                    struct quern_error *err);

/* An edit list over keys: set removes the old entry and appends, as llama.cpp does. Values are
 * copied into the arena. All return false when memory ran out. */
struct meta_list {
    struct arena *arena;
    struct meta *items;
    uint32_t count, capacity;
};
bool meta_list_copy(struct meta_list *l, struct arena *arena, const struct meta *metas,
                    uint32_t nmetas);
void meta_list_remove(struct meta_list *l, const char *key);
bool meta_list_set(struct meta_list *l, struct meta value);
bool meta_list_set_u16(struct meta_list *l, const char *key, uint16_t v);
bool meta_list_set_u32(struct meta_list *l, const char *key, uint32_t v);
bool meta_list_set_i32(struct meta_list *l, const char *key, int32_t v);
bool meta_list_set_f32(struct meta_list *l, const char *key, float v);
bool meta_list_set_bool(struct meta_list *l, const char *key, bool v);
bool meta_list_set_string(struct meta_list *l, const char *key, struct str v);

/* PREFIX-%05d-of-%05d.gguf; false when name is not of this form. no counts from 1. */
bool gguf_split_name_parse(struct str name, struct str *prefix, uint32_t *no, uint32_t *count);

#endif
