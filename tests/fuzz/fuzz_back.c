/* fuzz_back.c - any GGUF as a Hugging Face model: planned as safetensors, in its own layout too. */
#include "check_model.h"
#include "check_plan.h"
#include "convert/back.h"

static void plan_it(struct model *m, bool keep_names)
{
    const struct back_request r = {.output = "/tmp/quern-fuzz-out",
                                   .type = keep_names ? "auto" : "bf16",
                                   .keep_names = keep_names,
                                   .shard_bytes = keep_names ? 100 : 0,
                                   .force = true};
    struct quern_error err;
    struct plan *p;
    if (fuzz_failed(convert_back_plan(m, &r, &p, &err), &err))
        return;
    check_plan(p);
    plan_free(p);
}

static void run(char *text, size_t n)
{
    struct quern_error err;
    struct model *m;
    if (fuzz_failed(model_open(fuzz_file("model.gguf", text, n), &m, &err), &err))
        return;
    plan_it(m, false);
    plan_it(m, true);
    model_close(m);
}

const struct fuzz_target fuzz_back = {
    .name = "back",
    .max_len = 8192,
    .run = run,
    .mutate = mutate_gguf,
    .bytes_per_byte = 1024,
    .bytes_besides = 1u << 20,
};
