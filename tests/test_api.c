/* test_api.c - the library as a program that links it sees it. Includes quern.h only. */
#include <criterion/criterion.h>
#include <quern.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"

#ifndef TEST_DATA
#define TEST_DATA "tests/data"
#endif

TestSuite(api, .init = scratch_begin, .fini = scratch_end);

Test(api, open_and_look)
{
    struct quern_error e;
    struct quern_model *m;
    struct quern_tensor t;
    cr_assert_eq(quern_open(TEST_DATA "/pocket/pocket-base.qpk", &m, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(quern_ntensors(m), 20u);
    cr_assert_str_eq(quern_model_format(m), "safetensors");
    cr_assert_str_eq(quern_model_string(m, "format"), "pt");
    cr_assert_null(quern_model_string(m, "no such key"));
    const int64_t i = quern_find_tensor(m, "model.norm.weight");
    cr_assert_geq(i, 0);
    quern_get_tensor(m, (size_t)i, &t);
    cr_assert_str_eq(t.name, "model.norm.weight");
    cr_assert_str_eq(t.type, "BF16");
    cr_assert(t.ndims == 1 && t.dims[0] == 256 && t.nbytes == 512);
    cr_assert_eq(quern_find_tensor(m, "nothing"), -1);
    quern_close(m);
    quern_close(NULL);
}

static void count_calls(const struct quern_progress *p, void *user)
{
    cr_assert_leq(p->done_bytes, p->total_bytes);
    ++*(int *)user;
}

Test(api, plan_and_run)
{
    struct quern_error e;
    struct quern_model *m;
    struct quern_plan *p;
    struct quern_plan_summary s;
    struct quern_result r;
    int calls = 0;
    cr_assert_eq(quern_open(TEST_DATA "/pocket/pocket-base.qpk", &m, &e), QUERN_OK, "%s", e.text);
    const struct quern_quantize q = {.type = "Q8_0", .keep_names = true, .arch = "llama"};
    cr_assert_eq(quern_plan_quantize(m, scratch("a.gguf"), &q, &p, &e), QUERN_OK, "%s", e.text);
    quern_plan_summarize(p, &s);
    cr_assert_eq(s.nsteps, 20u);
    cr_assert_eq(s.nelems, 1312000u);
    cr_assert_float_eq(s.bits_per_weight, 8.507, 0.01);
    const struct quern_run_options o = {
        .threads = 2, .progress = count_calls, .user = &calls, .stats = true};
    cr_assert_eq(quern_run(p, &o, &r, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(r.written_bytes, s.output_bytes);
    cr_assert(r.relative_error > 0.001 && r.relative_error < 0.01, "%g", r.relative_error);
    quern_plan_free(p);
    quern_close(m);
    cr_assert_eq(quern_open(scratch("a.gguf"), &m, &e), QUERN_OK, "%s", e.text);
    cr_assert_str_eq(quern_model_string(m, "general.architecture"), "llama");
    quern_close(m);
}

Test(api, merge_by_recipe_text)
{
    struct quern_error e;
    struct quern_plan *p;
    const char *const where[] = {"A=" TEST_DATA "/pocket/pocket-prose.qpk",
                                 "B=" TEST_DATA "/pocket/pocket-code.qpk"};
    const struct quern_merge o = {
        .recipe_text = "merge_method: linear\nmodels:\n- model: A\n  parameters: {weight: 0.5}\n"
                       "- model: B\n  parameters: {weight: 0.5}\n",
        .model_paths = where,
        .nmodel_paths = 2};
    cr_assert_eq(quern_plan_merge(scratch("m"), &o, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(quern_run(p, NULL, NULL, &e), QUERN_OK, "%s", e.text);
    quern_plan_free(p);
    cr_assert_eq(access(scratch("m/config.json"), F_OK), 0);
}

Test(api, errors_of_quantizing_and_of_comparing)
{
    struct quern_error e;
    struct quern_model *a, *b;
    struct quern_plan *p, *q;
    struct quern_errors x, y;
    cr_assert_eq(quern_open(TEST_DATA "/pocket/pocket-base.qpk", &a, &e), QUERN_OK, "%s", e.text);
    const struct quern_quantize o = {.type = "Q8_0", .keep_names = true, .arch = "llama"};
    cr_assert_eq(quern_plan_quantize(a, scratch("a.gguf"), &o, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert(!quern_plan_errors(p, 0, &x)); /* not run yet */
    cr_assert_eq(quern_run(p, &(struct quern_run_options){.stats = true}, NULL, &e), QUERN_OK);

    cr_assert_eq(quern_open(scratch("a.gguf"), &b, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(quern_plan_compare(a, b, NULL, &q, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(quern_run(q, NULL, NULL, &e), QUERN_OK, "%s", e.text);
    for (size_t i = 0; i < 20; i++) {
        cr_assert(quern_plan_errors(p, i, &x) && quern_plan_errors(q, i, &y));
        cr_assert_str_eq(x.tensor, y.tensor);
        cr_assert_str_eq(x.to, y.to);
        cr_assert(x.rmse == y.rmse && x.max_error_at == y.max_error_at);
        cr_assert_eq(x.equal, strcmp(x.to, "Q8_0") != 0);
    }
    cr_assert(!quern_plan_errors(p, 20, &x) && !quern_plan_errors(q, 20, &x));
    cr_assert(quern_plan_total_errors(p, "q8_0", &x) && quern_plan_total_errors(q, "Q8_0", &y));
    cr_assert(x.rmse == y.rmse && x.nelems == y.nelems && x.nelems > 1000000);
    cr_assert(quern_plan_total_errors(q, NULL, &y) && y.nelems == 1312000u && !y.to);
    cr_assert(!quern_plan_total_errors(q, "Q4_0", &y) && !quern_plan_total_errors(q, "?", &y));
    cr_assert_null(quern_plan_left_out(q, 0));
    quern_plan_free(p);
    quern_plan_free(q);
    quern_close(b);
    quern_close(a);
}

Test(api, errors_are_values)
{
    struct quern_error e;
    struct quern_model *m = NULL;
    struct quern_plan *p = NULL;
    cr_assert_eq(quern_open(scratch("none"), &m, &e), QUERN_EIO);
    cr_assert_eq(e.status, QUERN_EIO);
    cr_assert_not_null(strstr(e.text, "none"));
    cr_assert_eq(quern_open(scratch("none"), &m, NULL), QUERN_EIO);
    cr_assert_eq(quern_open(TEST_DATA "/pocket/pocket-base.qpk", &m, &e), QUERN_OK);
    cr_assert_eq(quern_plan_quantize(m, "x.gguf", &(struct quern_quantize){.type = "Q8_0"}, &p, &e),
                 QUERN_EUNSUPPORTED);
    cr_assert_eq(
        quern_plan_quantize(m, scratch("x"), &(struct quern_quantize){.type = "Q4_0"}, &p, &e),
        QUERN_EUSAGE);
    quern_close(m);
    quern_plan_free(NULL);
}

Test(api, types)
{
    struct quern_type t;
    size_t n = 0;
    bool found = false;
    for (; quern_get_type(n, &t); n++)
        if (strcmp(t.name, "Q4_0") == 0) {
            found = true;
            cr_assert(t.block_elems == 32 && t.block_bytes == 18 && t.gguf && !t.safetensors);
            cr_assert(t.can_read && t.can_write);
        }
    cr_assert(found && n > 40);
    cr_assert_str_eq(quern_version(), QUERN_VERSION);
    cr_assert(quern_set_cpu("portable"));
    cr_assert_str_eq(quern_cpu(), "portable");
    cr_assert(!quern_set_cpu("abacus"));
    cr_assert(quern_set_cpu(NULL));
}
