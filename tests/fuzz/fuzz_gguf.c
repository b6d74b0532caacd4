/* fuzz_gguf.c - any bytes as a GGUF file: refused with a reason, or sound. */
#include "check_model.h"
#include "formats/gguf.h"
#include "formats/tokenizer.h"

static void run(char *text, size_t n)
{
    const char *path = fuzz_file("model.gguf", text, n);
    struct quern_error err;
    struct model *m;
    if (fuzz_failed(model_open(path, &m, &err), &err))
        return;
    check_model(m);
    fuzz_failed(gguf_check_model(m, &err), &err);
    struct tokenizer t;
    fuzz_failed(tokenizer_of_gguf(m, &t, &err), &err);
    tokenizer_close(&t);
    model_close(m);
}

const struct fuzz_target fuzz_gguf = {
    .name = "gguf",
    .max_len = 4096,
    .run = run,
    .mutate = mutate_gguf,
    .bytes_per_byte = 16,
    .bytes_besides = 16384,
};
