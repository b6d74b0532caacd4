/* test_statistics.c - what methods measure, in a stage before: the bytes of one run, whatever is
 * cut. */
#include "core/io.h"
#include "pipeline/division.h"
#include "pipeline/statistics.h"
#include "tests/merge_fixture.h"

TestSuite(statistics, .init = begin, .fini = end);

#define POCKET "build/pocket/pocket-"
#define DIGEST "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct plan *merged(const char *recipe, const char *type, const char *output)
{
    static const char *const mappings[] = {"code=" POCKET "code", "prose=" POCKET "prose",
                                           "base=" POCKET "base"};
    struct quern_error err;
    struct plan *plan;
    const struct quern_quantize q = {0};
    const struct merge_request req = {
        .recipe_text = recipe,
        .output = output,
        .type = type,
        .convert = {.quantize = &q              },
        .places = { .mappings = mappings, .nmappings = strstr(recipe, "base_model: base") ? 3 : 2}
    };
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s: %s", recipe, err.text);
    return plan;
}

static void run_it(struct plan *p, unsigned threads)
{
    struct quern_error err;
    const struct quern_run_options options = {.threads = threads};
    cr_assert(plan_run(p, &options, NULL, &err) == QUERN_OK, "%s", err.text);
}

/* The record of a portion, in the memory of the test. */
static struct str record_of(const char *recipe, const char *type, uint32_t count, uint32_t portion,
                            unsigned threads, uint32_t *n)
{
    struct quern_error err;
    struct measuring m;
    struct str record;
    struct plan *p = merged(recipe, type, in_dir("out.gguf"));
    cr_assert(measuring_divide(p, count, &p->arena, &m, &err) == QUERN_OK);
    *n = m.count;
    cr_assert(plan_keep_measuring(p, &m, portion, &err) == QUERN_OK, "%s", err.text);
    run_it(p, threads);
    cr_assert(statistics_record(p, &m, portion, DIGEST, &record, &err) == QUERN_OK);
    record = arena_str(&arena, record);
    plan_free(p);
    return record;
}

static void divide(struct plan *p, uint32_t count, struct division *d)
{
    struct quern_error err;
    const struct division_request r = {
        .count = count, .cutting = CUT_ANYWHERE, .align = 4096, .measured = true};
    cr_assert(plan_divide(p, &r, &p->arena, d, &err) == QUERN_OK, "%s", err.text);
}

static void make_portion(const char *recipe, const char *type, uint32_t count, uint32_t portion,
                         const struct str *records, uint32_t nrecords)
{
    struct quern_error err;
    struct division d;
    struct plan *p = merged(recipe, type, in_dir("out.gguf"));
    for (uint32_t i = 0; i < nrecords; i++)
        cr_assert(statistics_take(p, records[i], &err) == QUERN_OK, "%s", err.text);
    for (uint32_t i = 0; i < p->nsteps; i++)
        cr_assert(!p->steps[i].npasses || p->steps[i].known, "%s", p->steps[i].name.p);
    divide(p, count, &d);
    cr_assert(d.count == count);
    cr_assert(plan_keep_portion(p, &d, portion, in_dir("work"), in_dir("work"), &err) == QUERN_OK);
    run_it(p, 1 + portion % 2);
    plan_free(p);
}

static void check(const char *recipe, const char *type)
{
    struct quern_error err;
    struct str records[3], plain, made;
    uint32_t n = 0;
    struct plan *p = merged(recipe, type, in_dir("out.gguf"));
    run_it(p, 2);
    plan_free(p);
    cr_assert(read_small_file(in_dir("out.gguf"), 1 << 24, &arena, &plain, &err) == QUERN_OK);
    unlink(in_dir("out.gguf"));
    for (uint32_t i = 0; i < 3; i++) {
        records[i] = record_of(recipe, type, 3, i, 1, &n);
        cr_assert(n == 3 && statistics_fit(records[i], i, DIGEST), "%s: %u", recipe, n);
    }
    const struct str again = record_of(recipe, type, 3, 1, 2, &n);
    cr_assert(again.n == records[1].n && memcmp(again.p, records[1].p, again.n) == 0, "%s", recipe);
    cr_assert(mkdir(in_dir("work"), 0777) == 0);
    for (uint32_t i = 7; i-- > 0;)
        make_portion(recipe, type, 7, i, records, 3);
    cr_assert(read_small_file(in_dir("work/whole-00001"), 1 << 24, &arena, &made, &err) ==
              QUERN_OK);
    cr_assert(plain.n == made.n && memcmp(plain.p, made.p, made.n) == 0, "%s %s", recipe, type);
    nftw(in_dir("work"), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#define TWO    "models: [{model: code}, {model: prose}]\n"
#define TASK   "base_model: base\ndtype: bfloat16\nparameters: {weight: 0.6, density: 0.5}\n" TWO
#define PLAIN  "dtype: bfloat16\nparameters: {weight: 0.6}\n" TWO
#define ON     "base_model: base\ndtype: bfloat16\n"
#define METHOD "merge_method: "

Test(statistics, cuts)
{
    check(METHOD "ties\n" TASK, "BF16");
    check(METHOD "ties\n" TASK, "Q4_K_M");
    check(METHOD "breadcrumbs\n" TASK, "BF16");
    check(METHOD "della\n" TASK, "F16");
}

Test(statistics, chosen_elements)
{
    check(METHOD "sce\n" ON "parameters: {select_topk: 0.5}\n" TWO, "BF16");
    check(METHOD "arcee_fusion\nbase_model: code\ndtype: bfloat16\nmodels: [{model: code}, {model: "
                 "prose}]\n",
          "BF16");
    check(METHOD "ramplus_tl\n" ON TWO, "BF16");
}

Test(statistics, geometry)
{
    check(METHOD "slerp\nbase_model: code\nparameters: {t: 0.4}\ndtype: bfloat16\n" TWO, "Q8_0");
    check(METHOD "model_stock\n" ON TWO, "BF16");
    check(METHOD "nuslerp\n" PLAIN, "BF16");
    check(METHOD "nuslerp\nparameters: {nuslerp_row_wise: false, nuslerp_flatten: false, weight: "
                 "0.5}\ndtype: bfloat16\n" TWO,
          "BF16");
    check(METHOD "multislerp\n" PLAIN, "BF16");
    check(METHOD "karcher\ndtype: bfloat16\n" TWO, "BF16");
}

static const char *const ties = METHOD "ties\n" TASK;

/* One that was cut short or damaged, or is of something else, is as good as none. */
Test(statistics, records_that_do_not_fit)
{
    uint32_t n;
    char other[] = DIGEST;
    struct str r = record_of(ties, "BF16", 2, 0, 2, &n);
    other[63] = '0';
    cr_assert(n == 2 && statistics_fit(r, 0, DIGEST));
    cr_assert(!statistics_fit(r, 1, DIGEST));
    cr_assert(!statistics_fit(r, 0, other));
    cr_assert(!statistics_fit((struct str){r.p, r.n - 1}, 0, DIGEST));
    cr_assert(!statistics_fit((struct str){r.p, 7}, 0, DIGEST));
    ((char *)r.p)[r.n / 2] ^= 1;
    cr_assert(!statistics_fit(r, 0, DIGEST));
}

/* Whole, but of another plan: nothing is taken that is not as large as the state it is to be. */
Test(statistics, states_that_do_not_fit)
{
    struct quern_error err;
    uint32_t n;
    const struct str r = record_of(ties, "BF16", 1, 0, 2, &n);
    struct plan *p =
        merged(METHOD "slerp\nbase_model: code\nparameters: {t: 0.4}\ndtype: bfloat16\n" TWO,
               "BF16", in_dir("out.gguf"));
    cr_assert(statistics_take(p, r, &err) == QUERN_EFORMAT);
    cr_assert_str_eq(err.kind, "statistics");
    plan_free(p);
    for (size_t cut = 1; cut < r.n; cut += 97) {
        p = merged(ties, "BF16", in_dir("out.gguf"));
        cr_assert(statistics_take(p, (struct str){r.p, r.n - cut}, &err) == QUERN_EFORMAT);
        plan_free(p);
    }
}

Test(statistics, a_plan_that_measures_nothing)
{
    struct quern_error err;
    struct measuring m;
    uint32_t portion;
    struct plan *p = merged(METHOD "linear\n" PLAIN, "BF16", in_dir("out.gguf"));
    cr_assert(measuring_divide(p, 5, &p->arena, &m, &err) == QUERN_OK && m.count == 0);
    cr_assert(!measuring_of(&m, 0, &portion));
    plan_free(p);
}

/* As many portions as are asked for, each with something to do, every step in one of them. */
Test(statistics, portions)
{
    struct quern_error err;
    struct measuring m;
    struct plan *p = merged(ties, "BF16", in_dir("out.gguf"));
    for (uint32_t count = 1; count < 2 * p->nsteps; count++) {
        uint32_t seen = 0, portion;
        cr_assert(measuring_divide(p, count, &p->arena, &m, &err) == QUERN_OK);
        for (uint32_t k = 0; k < m.count; k++)
            cr_assert(m.first[k] < m.first[k + 1]);
        for (uint32_t i = 0; i < p->nsteps; i++)
            seen += measuring_of(&m, i, &portion);
        cr_assert(m.count == (count < seen ? count : seen));
        cr_assert(m.first[0] == 0 && m.first[m.count] == seen && seen > 0);
    }
    plan_free(p);
}
