/* fuzz_safetensors.c - any bytes as a safetensors file: refused with a reason, or sound. */
#include "check_model.h"

static void run(char *text, size_t n)
{
    const char *path = fuzz_file("model.safetensors", text, n);
    struct quern_error err;
    struct quern_model *q;
    if (fuzz_failed(quern_open(path, &q, &err), &err))
        return;
    struct model *m = (struct model *)q;
    check_public(q);
    check_model(m);
    quern_close(q);
}

const struct fuzz_target fuzz_safetensors = {
    .name = "safetensors",
    .max_len = 4096,
    .run = run,
    .mutate = mutate_safetensors,
    .bytes_per_byte = 16,
    .bytes_besides = 8192,
    .memory_may_fail = true,
};
