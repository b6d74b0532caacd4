/* make_model.c - write llama-shaped models of any size for benchmarks, fast and always the same.
 *
 *     make_model gguf f16|bf16|sparse SIZE FILE.gguf
 *     make_model hf   bf16|sparse     SIZE DIRECTORY [VARIANT]
 *
 * SIZE is small (18 M weights), medium (317 M), large (549 M: 1 GiB of bf16) or huge (4.3 G: 8
 * GiB). Weights are bell-shaped with a spread of 0.02; VARIANT 1, 2 ... is the base (0) plus a
 * small change everywhere. A sparse model has only zeros, and its file only a header. The GGUF has
 * all keys that llama-quantize asks for. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct size {
    const char *name;
    uint64_t embd, ff, layers, heads, kv_heads, vocab;
};

static const struct size sizes[] = {
    {"small",  512,  1536, 4,   8,  4, 4096 },
    {"medium", 1024, 4096, 16,  16, 8, 32000},
    {"large",  1536, 5632, 14,  12, 4, 32000},
    {"huge",   1536, 5632, 130, 12, 4, 32000},
};

enum type { F32, F16, BF16 };
static const char *const st_names[] = {"F32", "F16", "BF16"};
static const uint32_t gguf_ids[] = {0, 1, 30};
static const uint64_t type_bytes[] = {4, 2, 2};

struct tensor {
    char gguf[64], hf[64];
    uint64_t rows, cols; /* rows 0: a vector */
    uint64_t nelems, nbytes, offset;
    enum type type;
};

static struct tensor tensors[4096];
static size_t ntensors;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void add(uint64_t rows, uint64_t cols, enum type type, const char *gguf, const char *hf,
                uint64_t layer)
{
    if (ntensors == sizeof(tensors) / sizeof(tensors[0])) {
        fprintf(stderr, "make_model: too many tensors\n");
        exit(1);
    }
    struct tensor *t = &tensors[ntensors++];
    const bool in_layer = layer != UINT64_MAX;
    if (in_layer) {
        snprintf(t->gguf, sizeof(t->gguf), "blk.%" PRIu64 ".%s.weight", layer, gguf);
        snprintf(t->hf, sizeof(t->hf), "model.layers.%" PRIu64 ".%s.weight", layer, hf);
    } else {
        snprintf(t->gguf, sizeof(t->gguf), "%s.weight", gguf);
        snprintf(t->hf, sizeof(t->hf), "%s.weight", hf);
    }
    t->rows = rows;
    t->cols = cols;
    t->nelems = (rows ? rows : 1) * cols;
    t->type = type;
    t->nbytes = t->nelems * type_bytes[type];
}

static void list_tensors(const struct size *s, enum type matrix, enum type norm)
{
    const uint64_t none = UINT64_MAX, kv = s->embd / s->heads * s->kv_heads;
    add(s->vocab, s->embd, matrix, "token_embd", "model.embed_tokens", none);
    for (uint64_t i = 0; i < s->layers; i++) {
        add(0, s->embd, norm, "attn_norm", "input_layernorm", i);
        add(s->embd, s->embd, matrix, "attn_q", "self_attn.q_proj", i);
        add(kv, s->embd, matrix, "attn_k", "self_attn.k_proj", i);
        add(kv, s->embd, matrix, "attn_v", "self_attn.v_proj", i);
        add(s->embd, s->embd, matrix, "attn_output", "self_attn.o_proj", i);
        add(0, s->embd, norm, "ffn_norm", "post_attention_layernorm", i);
        add(s->ff, s->embd, matrix, "ffn_gate", "mlp.gate_proj", i);
        add(s->embd, s->ff, matrix, "ffn_down", "mlp.down_proj", i);
        add(s->ff, s->embd, matrix, "ffn_up", "mlp.up_proj", i);
    }
    add(0, s->embd, norm, "output_norm", "model.norm", none);
    add(s->vocab, s->embd, matrix, "output", "lm_head", none);
}

/* ---- weights */

static uint64_t mix(uint64_t x)
{
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}

/* The sum of four uniform numbers: close enough to a bell, mean 0, spread 1. */
static float bell(uint64_t key)
{
    const uint64_t x = mix(key);
    const int32_t sum = (int32_t)(x & 0xFFFF) + (int32_t)(x >> 16 & 0xFFFF) +
                        (int32_t)(x >> 32 & 0xFFFF) + (int32_t)(x >> 48);
    return (float)(sum - 131070) * (1.0f / 37837.0f);
}

static void encode(float v, enum type type, uint8_t *out)
{
    uint32_t bits;
    memcpy(&bits, &v, 4);
    if (type == F16) {
        const _Float16 half = (_Float16)v;
        memcpy(out, &half, 2);
    } else if (type == BF16) {
        const uint16_t top = (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
        memcpy(out, &top, 2);
    } else {
        memcpy(out, &bits, 4);
    }
}

static void write_weights(FILE *f, const struct tensor *t, uint64_t number, uint64_t variant)
{
    static uint8_t buffer[1 << 20];
    const uint64_t width = type_bytes[t->type], per_buffer = sizeof(buffer) / width;
    for (uint64_t at = 0; at < t->nelems; at += per_buffer) {
        const uint64_t n = t->nelems - at < per_buffer ? t->nelems - at : per_buffer;
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t key = (number << 40) + at + i;
            float v = 0.02f * bell(key);
            if (variant)
                v += 0.001f * bell(key ^ variant << 56);
            if (t->rows == 0)
                v += 1.0f;
            encode(v, t->type, buffer + i * width);
        }
        if (fwrite(buffer, width, n, f) != n)
            die("write");
    }
}

/* ---- headers */

struct text {
    char *p;
    size_t n, capacity;
};

static void put(struct text *t, const void *p, size_t n)
{
    if (t->n + n > t->capacity) {
        t->capacity = (t->n + n) * 2;
        t->p = realloc(t->p, t->capacity);
        if (!t->p)
            die("memory");
    }
    memcpy(t->p + t->n, p, n);
    t->n += n;
}

static void put_u32(struct text *t, uint32_t v)
{
    put(t, &v, 4);
}

static void put_u64(struct text *t, uint64_t v)
{
    put(t, &v, 8);
}

static void put_string(struct text *t, const char *s)
{
    put_u64(t, strlen(s));
    put(t, s, strlen(s));
}

static void put_format(struct text *t, const char *format, ...)
{
    char line[512];
    va_list args;
    va_start(args, format);
    const int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    put(t, line, (size_t)n);
}

static void key_u32(struct text *t, const char *key, uint64_t v)
{
    put_string(t, key);
    put_u32(t, 4);
    put_u32(t, (uint32_t)v);
}

static void key_f32(struct text *t, const char *key, float v)
{
    put_string(t, key);
    put_u32(t, 6);
    put(t, &v, 4);
}

static void key_string(struct text *t, const char *key, const char *v)
{
    put_string(t, key);
    put_u32(t, 8);
    put_string(t, v);
}

static struct text gguf_header(const struct size *s, enum type type)
{
    struct text t = {0};
    put(&t, "GGUF", 4);
    put_u32(&t, 3);
    put_u64(&t, ntensors);
    put_u64(&t, 16);
    key_string(&t, "general.architecture", "llama");
    key_string(&t, "general.name", "benchmark");
    key_u32(&t, "general.file_type", type == F16 ? 1 : 32);
    key_u32(&t, "llama.block_count", s->layers);
    key_u32(&t, "llama.context_length", 2048);
    key_u32(&t, "llama.embedding_length", s->embd);
    key_u32(&t, "llama.feed_forward_length", s->ff);
    key_u32(&t, "llama.attention.head_count", s->heads);
    key_u32(&t, "llama.attention.head_count_kv", s->kv_heads);
    key_f32(&t, "llama.attention.layer_norm_rms_epsilon", 1e-5f);
    key_u32(&t, "llama.rope.dimension_count", s->embd / s->heads);
    key_u32(&t, "llama.vocab_size", s->vocab);
    key_string(&t, "tokenizer.ggml.model", "gpt2");
    key_string(&t, "tokenizer.ggml.pre", "default");
    put_string(&t, "tokenizer.ggml.tokens");
    put_u32(&t, 9);
    put_u32(&t, 8);
    put_u64(&t, s->vocab);
    for (uint64_t i = 0; i < s->vocab; i++) {
        char token[32];
        snprintf(token, sizeof(token), "<%" PRIu64 ">", i);
        put_string(&t, token);
    }
    put_string(&t, "tokenizer.ggml.token_type");
    put_u32(&t, 9);
    put_u32(&t, 5);
    put_u64(&t, s->vocab);
    for (uint64_t i = 0; i < s->vocab; i++)
        put_u32(&t, 1);
    uint64_t at = 0;
    for (size_t i = 0; i < ntensors; i++) {
        put_string(&t, tensors[i].gguf);
        put_u32(&t, tensors[i].rows ? 2 : 1);
        put_u64(&t, tensors[i].cols);
        if (tensors[i].rows)
            put_u64(&t, tensors[i].rows);
        put_u32(&t, gguf_ids[tensors[i].type]);
        put_u64(&t, at);
        tensors[i].offset = at;
        at += (tensors[i].nbytes + 31) & ~(uint64_t)31;
    }
    static const char zeros[32];
    put(&t, zeros, -t.n & 31);
    return t;
}

static struct text st_header(void)
{
    struct text t = {0};
    put_u64(&t, 0);
    put_format(&t, "{\"__metadata__\":{\"format\":\"pt\"}");
    uint64_t at = 0;
    for (size_t i = 0; i < ntensors; i++) {
        struct tensor *x = &tensors[i];
        put_format(&t, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[", x->hf, st_names[x->type]);
        if (x->rows)
            put_format(&t, "%" PRIu64 ",", x->rows);
        put_format(&t, "%" PRIu64 "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}", x->cols, at,
                   at + x->nbytes);
        x->offset = at;
        at += x->nbytes;
    }
    put(&t, "}", 1);
    while (t.n % 8)
        put(&t, " ", 1);
    const uint64_t n = t.n - 8;
    memcpy(t.p, &n, 8);
    return t;
}

static int by_hf_name(const void *a, const void *b)
{
    return strcmp(((const struct tensor *)a)->hf, ((const struct tensor *)b)->hf);
}

static void write_config(const char *dir, const struct size *s)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/config.json", dir);
    FILE *f = fopen(path, "w");
    if (!f)
        die(path);
    fprintf(f,
            "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n"
            "  \"hidden_size\": %" PRIu64 ",\n  \"intermediate_size\": %" PRIu64 ",\n"
            "  \"num_hidden_layers\": %" PRIu64 ",\n  \"num_attention_heads\": %" PRIu64 ",\n"
            "  \"num_key_value_heads\": %" PRIu64 ",\n  \"vocab_size\": %" PRIu64 ",\n"
            "  \"max_position_embeddings\": 2048,\n  \"rms_norm_eps\": 1e-05,\n"
            "  \"tie_word_embeddings\": false,\n  \"torch_dtype\": \"bfloat16\"\n}\n",
            s->embd, s->ff, s->layers, s->heads, s->kv_heads, s->vocab);
    if (fclose(f))
        die(path);
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: make_model gguf|hf f16|bf16|sparse SIZE OUTPUT [VARIANT]\n");
        return 2;
    }
    const bool gguf = !strcmp(argv[1], "gguf"), sparse = !strcmp(argv[2], "sparse");
    const enum type type = !strcmp(argv[2], "f16") ? F16 : BF16;
    const uint64_t variant = argc > 5 ? strtoull(argv[5], NULL, 10) : 0;
    const struct size *s = NULL;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        if (!strcmp(argv[3], sizes[i].name))
            s = &sizes[i];
    if (!s) {
        fprintf(stderr, "make_model: SIZE is small, medium, large or huge\n");
        return 2;
    }

    list_tensors(s, type, gguf ? F32 : type);
    char path[4096];
    if (gguf) {
        snprintf(path, sizeof(path), "%s", argv[4]);
    } else {
        qsort(tensors, ntensors, sizeof(tensors[0]), by_hf_name);
        mkdir(argv[4], 0777);
        write_config(argv[4], s);
        snprintf(path, sizeof(path), "%s/model.safetensors", argv[4]);
    }
    const struct text header = gguf ? gguf_header(s, type) : st_header();
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(header.p, 1, header.n, f) != header.n)
        die(path);
    uint64_t end = header.n;
    for (size_t i = 0; i < ntensors; i++) {
        const uint64_t start = header.n + tensors[i].offset;
        if (!sparse) {
            if (fseeko(f, (off_t)start, SEEK_SET))
                die(path);
            write_weights(f, &tensors[i], i, variant);
        }
        end = start + tensors[i].nbytes;
    }
    if (gguf)
        end = (end + 31) & ~(uint64_t)31;
    if (fflush(f) || ftruncate(fileno(f), (off_t)end) || fclose(f))
        die(path);
    return 0;
}
