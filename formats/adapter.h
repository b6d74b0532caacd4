/* adapter.h - a LoRA adapter: low-rank changes to the tensors of a base model.
 *
 * Two forms are read. PEFT: a directory with adapter_model.safetensors and adapter_config.json, or
 * that file with the configuration beside it. GGUF, as llama.cpp writes it: NAME.lora_a,
 * NAME.lora_b and keys. What changes more than "weights plus a product of two matrices" is refused
 * by name. */
#ifndef QUERN_ADAPTER_H
#define QUERN_ADAPTER_H

#include "formats/model.h"

#define MAX_RANK 8192u

enum adapter_part_kind {
    ADAPTER_PRODUCT, /* a matrix gets scale * B A */
    ADAPTER_BIAS,    /* a vector gets scale * b */
    ADAPTER_WHOLE    /* a tensor takes the place of the base's */
};

/* What happens to one tensor of the base. The shapes are checked among each other. */
struct adapter_part {
    enum adapter_part_kind kind;
    struct str target; /* the base's tensor as the adapter calls it; NUL-terminated */
    /* PRODUCT: A of `rank` rows, or columns when a_flipped; B of `rank` columns. Further dimensions
     * in front count matrices, as in stacks of experts. WHOLE: a is the tensor. BIAS: a is b. */
    const struct tensor *a, *b;
    const struct tensor *magnitude; /* DoRA: the length of every output row; or NULL */
    bool a_flipped;
    bool embedding; /* a row per token: B A is laid out the other way round in the base */
    uint64_t rank;
    double alpha, scale; /* scale = alpha / rank, or alpha / sqrt(rank) */
};

struct adapter_config {
    struct str base_model; /* what it was trained on; may be empty */
    uint64_t rank;
    double alpha;
    bool rslora, dora, bias, fan_in_fan_out;
    const struct str *targets, *saved; /* target_modules, modules_to_save */
    uint32_t ntargets, nsaved;
    const uint32_t *invocation; /* activated LoRA: tokens from whose place on it works */
    uint32_t ninvocation;
    struct adapter_pattern *ranks, *alphas; /* rank_pattern, alpha_pattern; malloc'ed */
    uint32_t nranks, nalphas;
};

struct adapter {
    struct model *model;
    const char *path; /* as given */
    struct adapter_config config;
    struct str architecture; /* GGUF */
    struct adapter_part *parts;
    uint32_t nparts; /* in the order of their first tensors */
};

/* All but the model is the arena's. On QUERN_OK the model is the caller's to close. EUNSUPPORTED
 * for adapters of other kinds, with their name. */
enum quern_status adapter_open(const char *path, struct arena *arena, struct adapter *out,
                               struct quern_error *err);

/* Is this a PEFT adapter and no model: a directory, or its adapter_model.safetensors? */
bool is_adapter(const char *path);

/* ---- adapter_config.c ------------------------------------------------------------------------ */

/* Reads an adapter_config.json. Free with adapter_config_free() whatever comes back; after that the
 * patterns are gone and the rest stays. */
enum quern_status adapter_config_read(const char *path, struct arena *arena,
                                      struct adapter_config *out, struct quern_error *err);
void adapter_config_free(struct adapter_config *c);
/* Rank and alpha of a module, after the patterns. */
enum quern_status adapter_config_of(const struct adapter_config *c, struct str module,
                                    uint64_t *rank, double *alpha, struct quern_error *err);

#endif
