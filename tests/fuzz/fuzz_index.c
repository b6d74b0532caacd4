/* fuzz_index.c - any text as the index of two shards that are there. */
#include <string.h>

#include "check_model.h"
#include "formats/safetensors.h"

#define INDEX "model.safetensors.index.json"

static void put_shard(const char *name, const char *header)
{
    char bytes[256];
    const uint64_t n = strlen(header);
    memcpy(bytes, &n, 8);
    memcpy(bytes + 8, header, n);
    memset(bytes + 8 + n, 0, 8);
    fuzz_file(name, bytes, 8 + n + 8);
}

static void run(char *text, size_t n)
{
    static bool begun;
    if (!begun) {
        put_shard("m-1.safetensors",
                  "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}");
        put_shard("m-2.safetensors",
                  "{\"b\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}");
        begun = true;
    }
    struct arena a = {0};
    struct quern_error err;
    struct shard_index x;
    struct model *m;
    const char *path = fuzz_file(INDEX, text, n);
    if (!fuzz_failed(safetensors_read_index(path, &a, &x, &err), &err)) {
        for (uint32_t i = 0; i < x.count; i++)
            FUZZ_CHECK(x.entries[i].file.n > 0 &&
                       !memchr(x.entries[i].file.p, '/', x.entries[i].file.n));
        if (!fuzz_failed(model_open(path, &m, &err), &err)) {
            check_model(m);
            FUZZ_CHECK(m->ntensors == x.count);
            model_close(m);
        }
    }
    arena_free(&a);
}

static const char *const words[] = {"\"weight_map\":{",
                                    "\"metadata\":{\"total_size\":16}",
                                    "\"a\":\"m-1.safetensors\"",
                                    "\"b\":\"m-2.safetensors\"",
                                    "../",
                                    "\"..\"",
                                    NULL};

const struct fuzz_target fuzz_index = {
    .name = "index",
    .max_len = 512,
    .run = run,
    .mutate = mutate_json,
    .bytes_per_byte = 64,
    .bytes_besides = 16384,
    .words = words,
    .memory_may_fail = true,
};
