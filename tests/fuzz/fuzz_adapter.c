/* fuzz_adapter.c - any configuration with any safetensors file as an adapter; or any GGUF. */
#include <math.h>

#include "check_model.h"
#include "formats/adapter.h"

enum { CONFIG, WEIGHTS, GGUF, NPARTS };

static void check(const char *path)
{
    struct arena arena = {0};
    struct adapter a;
    struct quern_error err;
    if (!fuzz_failed(adapter_open(path, &arena, &a, &err), &err)) {
        check_model(a.model);
        for (uint32_t i = 0; i < a.nparts; i++) {
            const struct adapter_part *p = &a.parts[i];
            FUZZ_CHECK(p->target.n > 0 && p->a && isfinite(p->scale));
            if (p->kind == ADAPTER_PRODUCT)
                FUZZ_CHECK(p->b && p->rank >= 1 && p->rank <= MAX_RANK);
        }
        model_close(a.model);
    }
    arena_free(&arena);
}

static void run(char *text, size_t n)
{
    struct str parts[NPARTS] = {
        {"{}", 2},
        {"",   0},
        {NULL, 0}
    };
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    while (take_file(&b, &part))
        parts[part.which % NPARTS] = part.text;
    if (parts[GGUF].n > 0) {
        check(fuzz_file("adapter.gguf", parts[GGUF].p, parts[GGUF].n));
        return;
    }
    fuzz_file("adapter_config.json", parts[CONFIG].p, parts[CONFIG].n);
    check(fuzz_file("adapter_model.safetensors", parts[WEIGHTS].p, parts[WEIGHTS].n));
}

static void mutate(struct mutation *m)
{
    static mutate_fn *const mutators[NPARTS] = {mutate_json, mutate_safetensors, mutate_gguf};
    mutate_files(m, mutators, NPARTS);
}

const struct fuzz_target fuzz_adapter = {
    .name = "adapter",
    .max_len = 4096,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 64,
    .bytes_besides = 65536,
};
