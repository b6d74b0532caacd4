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

/* What the rules want to know of a model, and how far they have come in it. Fill in the options,
 * call mix_architecture() once and mix_see() for every tensor of the output, then mix_choose() in
 * output order. */
struct mix {
    const struct file_type *type;
    bool pure, leave_output_tensor;
    bool has_importance;                   /* an importance matrix with at least one entry */
    int output_type, token_embedding_type; /* enum dtype, or -1 */
    uint32_t nexperts;
    uint32_t nlayers; /* of the model before pruning */
    /* set by mix_architecture() */
    bool falcon, is_70b;
    uint32_t heads_per_kv;
    /* set by mix_see() */
    bool has_output; /* a tensor named output.weight exists, so embeddings are not tied */
    uint32_t nvalues;
    /* how many tensors of their kind the rules have seen */
    uint32_t value, down, gate, up;
};

/* nheads and nheads_kv are those of the first layer. nexperts and nlayers must be set. */
void mix_architecture(struct mix *m, struct str arch, uint32_t nheads, uint32_t nheads_kv);
void mix_see(struct mix *m, struct str name);

/* Must this tensor keep its type whatever is asked? ndims without trailing 1s in GGUF order. */
bool mix_keeps(const struct mix *m, struct str name, unsigned ndims);

struct mix_tensor {
    struct str name;
    uint64_t row;   /* elements of a row */
    bool stacked;   /* three dimensions: one matrix for each expert */
    int overridden; /* enum dtype that a --tensor-type pattern chose, or -1 */
};

/* The wanted type of a tensor that may be quantized. *fixed: the choice ignores the row length (and
 * fails when it does not fit). */
enum dtype mix_choose(struct mix *m, const struct mix_tensor *t, bool *fixed);

/* A type that is garbage without importance. */
bool mix_type_needs_importance(enum dtype d);
/* Would this type be garbage for this tensor without importance? Such a file is refused. */
bool mix_requires_importance(const struct mix *m, struct str name, enum dtype d);

/* token_embd and its like: llama-quantize uses an importance of the wrong size for none there. */
bool mix_is_embedding(struct str name);

/* What takes the place of a type whose blocks do not divide the row. */
enum dtype mix_fallback(enum dtype wanted, uint64_t row);

/* N of a name that begins with "blk.N", or -1. */
long mix_layer(struct str name);

/* llama.cpp's tensor order: by layer number ("blk.N."), none first, then by name. */
int mix_order(struct str a, struct str b);

#endif
