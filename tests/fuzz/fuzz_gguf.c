/* fuzz_gguf.c - any bytes as a GGUF file: refused with a reason, or sound. */
#include "check_model.h"
#include "formats/gguf.h"
#include "formats/tokenizer.h"

static void run(char *text, size_t n)
{
    const char *path = fuzz_file("model.gguf", text, n);
    struct quern_error err;
    struct quern_model *q;
    if (fuzz_failed(quern_open(path, &q, &err), &err))
        return;
    struct model *m = (struct model *)q;
    check_public(q);
    check_model(m);
    fuzz_failed(gguf_check_model(m, &err), &err);
    struct tokenizer t;
    if (!fuzz_failed(tokenizer_of_gguf(m, &t, &err), &err))
        FUZZ_CHECK(tokenizer_bytes(&t) >= t.ntokens * sizeof *t.tokens);
    tokenizer_close(&t);
    quern_close(q);
}

const struct fuzz_target fuzz_gguf = {
    .name = "gguf",
    .max_len = 4096,
    .run = run,
    .mutate = mutate_gguf,
    .bytes_per_byte = 16,
    .bytes_besides = 16384,
    .memory_may_fail = true,
};
