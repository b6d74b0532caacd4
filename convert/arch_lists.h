/* arch_lists.h - the architectures there are, each in the file of its family. */
#ifndef QUERN_ARCH_LISTS_H
#define QUERN_ARCH_LISTS_H

#include "arch.h"

/* X(name of the variable after arch_) */
#define ARCH_LIST(X)   \
    X(mistral3)        \
    X(llama)           \
    X(internlm3)       \
    X(smollm3)         \
    X(arcee)           \
    X(llama_embed)     \
    X(qwen2)           \
    X(qwen2moe)        \
    X(qwen2vl)         \
    X(qwen3)           \
    X(qwen3moe)        \
    X(qwen3vl)         \
    X(gemma)           \
    X(gemma2)          \
    X(gemma3)          \
    X(gemma_embedding) \
    X(phi2)            \
    X(phi3)            \
    X(phimoe)          \
    X(gpt2)            \
    X(gptneox)         \
    X(starcoder)       \
    X(starcoder2)      \
    X(falcon)          \
    X(stablelm)        \
    X(olmo)            \
    X(olmo2)           \
    X(olmoe)           \
    X(granite)         \
    X(granitemoe)      \
    X(deepseek)        \
    X(deepseek2)       \
    X(glm4)            \
    X(glm4moe)         \
    X(command_r)       \
    X(cohere2)         \
    X(bert)            \
    X(roberta)         \
    X(distilbert)      \
    X(modern_bert)     \
    X(nomic_bert)      \
    X(exaone)          \
    X(exaone4)         \
    X(internlm2)       \
    X(minicpm)         \
    X(nemotron)        \
    X(seed_oss)        \
    X(gpt_oss)         \
    X(mamba)           \
    X(mamba2)          \
    X(rwkv7)           \
    X(lfm2)            \
    X(lfm2moe)         \
    X(t5)              \
    X(t5encoder)       \
    X(ernie4_5)        \
    X(ernie4_5_moe)    \
    X(dots1)           \
    X(minimax_m2)      \
    X(maincoder)       \
    X(orion)

#define X(name) extern const struct architecture arch_##name;
ARCH_LIST(X)
#undef X

/* Llama 3's way to longer contexts. */
struct llama3_rope {
    float factor, low, high, context;
};
/* dim / 2 factors by which low frequencies are slowed down, in 32-bit arithmetic as in torch. */
void llama3_curve(const struct llama3_rope *r, float base, uint64_t dim, float *out);

/* Shared by several families. */
enum quern_status llama3_rope_factors(struct conversion *c, struct quern_error *err);
/* The factors of both lengths, n numbers each, as tensors. */
enum quern_status long_rope_factors(struct conversion *c, uint64_t n, struct quern_error *err);

#endif
