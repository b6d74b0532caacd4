/* test_mutated_runs.c - flipped bits that a reader does not mind: quantizing such a model ends
 * well, or with an error. */
#include "mutations.h"
#include "pipeline/retype.h"

TestSuite(mutated_runs, .init = scratch_begin, .fini = scratch_end, .timeout = 120);

/* Of the models that are taken, one in so many is quantized. */
#define SAMPLE 97u

/* Quantizing ends well, with a sound file, or with an error that is no bug. */
static void quantize_some(struct model *m)
{
    static unsigned turn;
    if (turn++ % SAMPLE != 0)
        return;
    const bool gguf = m->format == MODEL_GGUF;
    const char *out = scratch(gguf ? "out.gguf" : "out.safetensors");
    const struct quern_quantize q = {.type = gguf ? "Q8_0" : "F16"};
    const struct quern_run_options options = {.threads = 1};
    struct quern_error err;
    struct plan *p;
    enum quern_status s = plan_quantize(m, out, &q, &p, &err);
    if (s == QUERN_OK) {
        s = plan_run(p, &options, NULL, &err);
        plan_free(p);
    }
    cr_assert(s != QUERN_EINTERNAL, "%s", err.text);
    struct model *made;
    if (s == QUERN_OK) {
        cr_assert(model_open(out, &made, &err) == QUERN_OK, "%s", err.text);
        check_taken(made);
        model_close(made);
    }
    cr_assert((unlink(out) == 0) == (s == QUERN_OK));
}

Test(mutated_runs, a_model_with_a_flipped_bit_is_quantized_or_refused)
{
    for_each_subject(flip, quantize_some);
}
