/* fuzz_adapter.c - a directory of any files as an adapter, or its weights alone; or any GGUF. */
#include <math.h>

#include "check_model.h"
#include "formats/adapter.h"

enum { CONFIG, WEIGHTS, GGUF, PICKLE, WHOLE, NPARTS };

/* Of the files in a directory. */
static const char *const names[] = {[CONFIG] = "d/adapter_config.json",
                                    [WEIGHTS] = "d/adapter_model.safetensors",
                                    [PICKLE] = "d/adapter_model.bin",
                                    [WHOLE] = "d/model.safetensors"};

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
    struct fuzz_bytes b = {text, n};
    struct fuzz_part part;
    bool there[NPARTS] = {0};
    char path[FUZZ_PATH];
    while (take_file(&b, &part)) {
        const unsigned which = part.which % NPARTS;
        if (which == GGUF) {
            check(fuzz_file("adapter.gguf", part.text.p, part.text.n));
            return;
        }
        fuzz_file(names[which], part.text.p, part.text.n);
        there[which] = true;
    }
    for (unsigned i = 0; i < NPARTS; i++)
        if (!there[i] && names[i])
            fuzz_file_gone(names[i]);
    /* By its directory, or by its weights. */
    snprintf(path, sizeof path, "%s/%s", fuzz_dir(), n % 2 ? "d" : names[WEIGHTS]);
    is_adapter(path);
    check(path);
}

static void mutate(struct mutation *m)
{
    static mutate_fn *const mutators[NPARTS] = {mutate_json, mutate_safetensors, mutate_gguf, NULL,
                                                mutate_safetensors};
    mutate_files(m, mutators, NPARTS);
}

const struct fuzz_target fuzz_adapter = {
    .name = "adapter",
    .max_len = 4096,
    .run = run,
    .mutate = mutate,
    .bytes_per_byte = 64,
    .bytes_besides = 65536,
    .memory_may_fail = true,
};
