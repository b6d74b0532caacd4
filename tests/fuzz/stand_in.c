/* stand_in.c - make a small Llama. */
#include "stand_in.h"

#include <string.h>

#include "formats/safetensors.h"

#define NLAYERS 2u

const char stand_in_config[] =
    "{\"architectures\":[\"LlamaForCausalLM\"],\"model_type\":\"llama\",\"hidden_size\":8,"
    "\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,"
    "\"num_key_value_heads\":1,\"vocab_size\":6,\"rms_norm_eps\":1e-05,\"torch_dtype\":"
    "\"bfloat16\","
    "\"max_position_embeddings\":64,\"tie_word_embeddings\":false}";

const char stand_in_tokenizer[] =
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true}],"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true},"
    "\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{\"<s>\":0,"
    "\"a\":1,\"b\":2,\"c\":3,\"ab\":4,\"abc\":5},\"merges\":[\"a b\",\"ab c\"]}}";

static const struct {
    const char *name;
    uint64_t rows, cols; /* cols 0: a vector */
    bool layered;
} shapes[] = {
    {"model.embed_tokens.weight",       6,  8,  false},
    {"self_attn.q_proj.weight",         8,  8,  true },
    {"self_attn.k_proj.weight",         4,  8,  true },
    {"self_attn.v_proj.weight",         4,  8,  true },
    {"self_attn.o_proj.weight",         8,  8,  true },
    {"mlp.gate_proj.weight",            16, 8,  true },
    {"mlp.up_proj.weight",              16, 8,  true },
    {"mlp.down_proj.weight",            8,  16, true },
    {"input_layernorm.weight",          8,  0,  true },
    {"post_attention_layernorm.weight", 8,  0,  true },
    {"model.norm.weight",               8,  0,  false},
    {"lm_head.weight",                  6,  8,  false},
};
#define NSHAPES (sizeof shapes / sizeof *shapes)

struct str stand_in_weights(struct arena *a, uint32_t seed)
{
    struct quern_error err;
    struct str header;
    uint64_t nbytes;
    uint32_t n = 0;
    struct st_tensor *t = ARENA_NEW(a, struct st_tensor, NSHAPES * NLAYERS);
    for (size_t i = 0; i < NSHAPES; i++)
        for (unsigned layer = 0; layer < (shapes[i].layered ? NLAYERS : 1); layer++) {
            uint64_t *dims = ARENA_NEW(a, uint64_t, 2);
            dims[0] = shapes[i].rows;
            dims[1] = shapes[i].cols;
            const uint64_t nelems = dims[0] * (dims[1] ? dims[1] : 1);
            const char *name = shapes[i].layered
                                   ? arena_printf(a, "model.layers.%u.%s", layer, shapes[i].name)
                                   : shapes[i].name;
            t[n++] = (struct st_tensor){.name = str_from(name),
                                        .dims = dims,
                                        .ndims = dims[1] ? 2 : 1,
                                        .dtype = DTYPE_BF16,
                                        .nbytes = nelems * 2};
        }
    FUZZ_CHECK(safetensors_layout(a, NULL, 0, t, n, &header, &nbytes, &err) == QUERN_OK);
    char *file = arena_alloc(a, nbytes);
    memcpy(file, header.p, header.n);
    for (uint64_t i = header.n; i + 1 < nbytes; i += 2) {
        seed = seed * 1664525u + 1013904223u;
        file[i] = (char)(seed >> 24);
        file[i + 1] = (char)(0x3C + (seed >> 23 & 1) - (seed >> 22 & 0x80));
    }
    return (struct str){file, nbytes};
}
