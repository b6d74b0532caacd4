/* mix.h - which tensor gets which type: llama-quantize's rules, from names and a few numbers. */
#ifndef QUERN_MIX_H
#define QUERN_MIX_H

#include "core/dtype.h"

/* A file type is what a user asks for; most tensors get its base type. */
struct file_type {
    const char *name;
    uint32_t number; /* general.file_type */
    enum dtype base;
    bool copies; /* COPY: nothing changes its type */
};

/* By name in any case, or by number. NULL when quern does not offer it. */
const struct file_type *file_type_find(struct str name);
const struct file_type *file_type_get(size_t i); /* NULL past the end */
/* The file type a file of mostly this element type has, as llama.cpp guesses it. */
uint32_t file_type_guess(enum dtype most_frequent);

/* What the rules want to know of a model. */
struct mix {
    const struct file_type *type;
    bool pure, leave_output_tensor;
    int output_type, token_embedding_type; /* enum dtype, or -1 */
    bool falcon;
    uint32_t nexperts;
    bool has_output; /* a tensor named output.weight exists, so embeddings are not tied */
};

/* Must this tensor keep its type whatever is asked? ndims without trailing 1s in GGUF order. */
bool mix_keeps(const struct mix *m, struct str name, unsigned ndims);

/* The wanted type of a tensor that may be quantized. overridden: a --tensor-type pattern chose this
 * type already (>= 0). *fixed: the choice ignores the row length (and fails when it does not fit).
 */
enum dtype mix_choose(const struct mix *m, struct str name, uint64_t row, int overridden,
                      bool *fixed);

/* What takes the place of a type whose blocks do not divide the row. */
enum dtype mix_fallback(enum dtype wanted, uint64_t row);

/* llama.cpp's tensor order: by layer number ("blk.N."), none first, then by name. */
int mix_order(struct str a, struct str b);

#endif
