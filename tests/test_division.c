/* test_division.c - a plan in portions, and what they made put together: the bytes of one run. */
#include <dirent.h>

#include "pipeline/division.h"
#include "pipeline/retype.h"
#include "tests/merge_fixture.h"

TestSuite(division, .init = begin, .fini = end);

#define POCKET "build/pocket/pocket-"

static const char *const mappings[] = {"base=" POCKET "base", "code=" POCKET "code",
                                       "prose=" POCKET "prose"};

/* Makes a plan for output; *input is to be closed after it, or NULL. */
typedef struct plan *make_fn(const char *output, struct model **input);

static struct plan *one_pass(const char *output, struct model **input)
{
    struct quern_error err;
    struct plan *plan;
    const struct quern_quantize q = {0};
    const struct merge_request req = {
        .recipe_text =
            "merge_method: ties\nbase_model: base\ndtype: bfloat16\nparameters: {weight: "
            "0.6, density: 0.5}\nmodels: [{model: code}, {model: prose}]\n",
        .output = output,
        .type = "Q4_K_M",
        .convert = {.quantize = &q },
        .places = { .mappings = mappings, .nmappings = 3}
    };
    *input = NULL;
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
    return plan;
}

static struct plan *merge_to_shards(const char *output, struct model **input)
{
    struct quern_error err;
    struct plan *plan;
    const struct merge_request req = {
        .recipe_text = "merge_method: slerp\nbase_model: code\nparameters: {t: 0.4}\ndtype: "
                       "bfloat16\nmodels: [{model: code}, {model: prose}]\n",
        .output = output,
        .shard_bytes = 400000,
        .places = {.mappings = &mappings[1], .nmappings = 2}
    };
    *input = NULL;
    cr_assert(merge_plan(&req, &plan, &err) == QUERN_OK, "%s", err.text);
    return plan;
}

static struct plan *converted(const char *output, struct model **input, uint64_t split_tensors)
{
    struct quern_error err;
    struct plan *plan;
    const struct convert_request r = {.output = output,
                                      .type = "Q8_0",
                                      .split_max_tensors = split_tensors,
                                      .no_tensor_first_split = split_tensors > 0};
    cr_assert(model_open(POCKET "base", input, &err) == QUERN_OK, "%s", err.text);
    cr_assert(convert_plan(*input, &r, &plan, &err) == QUERN_OK, "%s", err.text);
    return plan;
}

static struct plan *one_file(const char *output, struct model **input)
{
    return converted(output, input, 0);
}

static struct plan *split_set(const char *output, struct model **input)
{
    return converted(output, input, 5);
}

/* One file of the output for each portion. */
static struct plan *gguf_of_three(const char *output, struct model **input)
{
    struct quern_error err;
    struct plan *p = one_file(output, input);
    cr_assert(plan_in_files(p, 3, false, &err) == QUERN_OK && p->nfiles == 3, "%s", err.text);
    return p;
}

static struct plan *shards_of_three(const char *output, struct model **input)
{
    struct quern_error err;
    struct plan *p = merge_to_shards(output, input);
    cr_assert(plan_in_files(p, 3, false, &err) == QUERN_OK && p->nfiles == 3, "%s", err.text);
    return p;
}

static void run_plan_of(struct plan *p, unsigned threads)
{
    struct quern_error err;
    const struct quern_run_options options = {.threads = threads};
    cr_assert(plan_run(p, &options, NULL, &err) == QUERN_OK, "%s", err.text);
}

static void done_with(struct plan *p, struct model *input, struct model *slices)
{
    plan_free(p);
    model_close(input);
    model_close(slices);
}

#define ALIGN 4096u /* small outputs are cut as large ones are */

static enum quern_status divide(struct plan *p, uint32_t count, enum cutting cutting,
                                struct division *d)
{
    struct quern_error err;
    const struct division_request r = {.count = count, .cutting = cutting, .align = ALIGN};
    return plan_divide(p, &r, &p->arena, d, &err);
}

static uint32_t run_portions(make_fn *make, const char *output, const char *where, uint32_t count,
                             enum cutting cutting)
{
    struct quern_error err;
    uint32_t n = 1;
    for (uint32_t i = 0; i < n; i++) {
        struct model *input;
        struct division d;
        struct plan *p = make(output, &input);
        cr_assert(divide(p, count, cutting, &d) == QUERN_OK);
        n = d.count;
        const uint32_t k = n - 1 - i; /* any order */
        cr_assert(plan_keep_portion(p, &d, k, where, where, &err) == QUERN_OK, "%s", err.text);
        run_plan_of(p, 1 + k % 3);
        done_with(p, input, NULL);
    }
    return n;
}

static void join_portions(make_fn *make, const char *output, const char *where, uint32_t count,
                          enum cutting cutting)
{
    struct quern_error err;
    struct model *input, *slices;
    struct division d;
    struct plan *p = make(output, &input);
    cr_assert(divide(p, count, cutting, &d) == QUERN_OK);
    cr_assert(plan_assemble(p, &d, where, &slices, &err) == QUERN_OK, "%s", err.text);
    run_plan_of(p, 2);
    done_with(p, input, slices);
}

static struct str bytes_of(const char *path)
{
    struct str s;
    struct quern_error err;
    cr_assert(read_small_file(path, 1 << 24, &arena, &s, &err) == QUERN_OK, "%s", err.text);
    return s;
}

/* Every file in one directory is in the other, with the same bytes. */
static void same_files(const char *a, const char *b)
{
    DIR *d = opendir(a);
    cr_assert(d);
    for (const struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        const char *x = text("%s/%s", a, e->d_name), *y = text("%s/%s", b, e->d_name);
        struct stat st;
        cr_assert(stat(x, &st) == 0);
        if (S_ISDIR(st.st_mode)) {
            same_files(x, y);
            continue;
        }
        const struct str s = bytes_of(x), t = bytes_of(y);
        cr_assert(s.n == t.n && memcmp(s.p, t.p, s.n) == 0, "%s", y);
    }
    closedir(d);
}

static uint32_t files_in(const char *path)
{
    uint32_t n = 0;
    DIR *d = opendir(path);
    cr_assert(d);
    for (const struct dirent *e; (e = readdir(d));)
        n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return n;
}

static void check_cut(make_fn *make, const char *name, enum cutting cutting)
{
    static const uint32_t counts[] = {1, 2, 7, 32};
    struct model *input;
    const char *plain = in_dir("plain"), *joined = in_dir("joined"), *slices = in_dir("slices");
    if (mkdir(plain, 0777) == 0) {
        struct plan *p = make(text("%s/%s", plain, name), &input);
        run_plan_of(p, 2);
        done_with(p, input, NULL);
    }
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        cr_assert(mkdir(joined, 0777) == 0 && mkdir(slices, 0777) == 0);
        const char *output = text("%s/%s", joined, name);
        const uint32_t n = run_portions(make, output, slices, counts[i], cutting);
        cr_assert(n == counts[i] || (counts[i] == 32 && n > 7), "%u of %u", n, counts[i]);
        join_portions(make, output, slices, counts[i], cutting);
        same_files(plain, joined);
        cr_assert(files_in(joined) == files_in(plain));
        same_files(slices, slices); /* they are still there */
        cr_assert(files_in(slices) >= (cutting == CUT_ANYWHERE ? 1 : n));
        nftw(joined, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
        nftw(slices, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    }
}

static void check(make_fn *make, const char *name)
{
    static const enum cutting cuttings[] = {CUT_NOWHERE, CUT_CHEAPLY, CUT_ANYWHERE};
    for (size_t i = 0; i < sizeof cuttings / sizeof *cuttings; i++)
        check_cut(make, name, cuttings[i]);
}

Test(division, one_file_that_is_cut)
{
    check(one_file, "m.gguf");
}

Test(division, hidden_steps_are_measured_where_they_are_needed)
{
    check(one_pass, "m.gguf");
}

Test(division, files_of_a_set_are_whole)
{
    check_cut(split_set, "m", CUT_NOWHERE);
    check_cut(split_set, "m", CUT_ANYWHERE);
}

Test(division, a_directory_gets_its_index_and_its_small_files)
{
    check(merge_to_shards, "m");
}

Test(division, an_output_in_as_many_files)
{
    check_cut(gguf_of_three, "m.gguf", CUT_NOWHERE);
    nftw(in_dir("plain"), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    check_cut(shards_of_three, "m", CUT_NOWHERE);
}

/* The set holds what the file would. */
Test(division, files_of_an_output_are_a_model)
{
    struct quern_error err;
    struct model *input, *whole, *set;
    struct plan *p = one_file(in_dir("one.gguf"), &input);
    run_plan_of(p, 2);
    done_with(p, input, NULL);
    p = gguf_of_three(in_dir("three.gguf"), &input);
    run_plan_of(p, 2);
    done_with(p, input, NULL);
    cr_assert(model_open(in_dir("one.gguf"), &whole, &err) == QUERN_OK, "%s", err.text);
    cr_assert(model_open(in_dir("three-00001-of-00003.gguf"), &set, &err) == QUERN_OK, "%s",
              err.text);
    cr_assert(whole->ntensors == set->ntensors && set->nfiles == 3 &&
              set->nmetas == whole->nmetas + 3);
    for (uint32_t i = 0; i < whole->ntensors; i++)
        cr_assert(str_eq(whole->tensors[i].name, set->tensors[i].name));
    model_close(whole);
    model_close(set);
}

/* No portion costs more than the costliest step and a fair share together. */
Test(division, portions_cost_about_the_same)
{
    struct model *input;
    struct division d, single;
    struct plan *p = one_pass(in_dir("m.gguf"), &input);
    cr_assert(divide(p, MAX_PORTIONS, CUT_NOWHERE, &single) == QUERN_OK);
    cr_assert(single.count == p->nsteps);
    uint64_t costliest = 0, total = 0, parts = 0;
    for (uint32_t i = 0; i < single.count; i++) {
        costliest = single.portions[i].cost > costliest ? single.portions[i].cost : costliest;
        total += single.portions[i].cost;
    }
    cr_assert(divide(p, 6, CUT_NOWHERE, &d) == QUERN_OK && d.count == 6);
    for (uint32_t i = 0; i < d.count; i++) {
        cr_assert(d.portions[i].cost <= costliest + total / 6 && d.portions[i].cost > 0);
        parts += d.portions[i].cost;
    }
    cr_assert(parts == total);
    plan_free(p);
}

/* Where what is written once is cut, the costliest tensor is no limit. */
Test(division, a_step_that_costs_more_than_a_share_is_cut)
{
    struct model *input;
    struct division d;
    struct plan *p = one_file(in_dir("m.gguf"), &input);
    uint64_t most = 0, total = 0;
    cr_assert(divide(p, 32, CUT_NOWHERE, &d) == QUERN_OK);
    for (uint32_t i = 0; i < d.count; i++) {
        most = d.portions[i].cost > most ? d.portions[i].cost : most;
        total += d.portions[i].cost;
    }
    cr_assert(most > 2 * total / 32); /* there is one */
    uint64_t now = 0, sum = 0;
    cr_assert(divide(p, 32, CUT_CHEAPLY, &d) == QUERN_OK && d.count == 32);
    for (uint32_t i = 0; i < d.count; i++) {
        now = d.portions[i].cost > now ? d.portions[i].cost : now;
        sum += d.portions[i].cost;
    }
    cr_assert(sum == total);
    cr_assert(now < total / 32 * 5 / 4, "%llu of %llu", (unsigned long long)now,
              (unsigned long long)total);
    done_with(p, input, NULL);
}

/* Nobody writes where another does, not even to the same page; nothing is left out. */
static void check_ranges(const struct plan *p, const struct division *d)
{
    uint64_t at = 0;
    uint32_t file = 0;
    cr_assert(d->shared);
    for (uint32_t i = 0; i < d->nslices; i++) {
        const struct stretch *s = &d->slices[i];
        if (s->file != file) {
            cr_assert(at == p->files[file].nbytes && s->file == file + 1);
            file = s->file;
            at = 0;
        }
        cr_assert(s->offset == at && at % ALIGN == 0 && s->nbytes > 0);
        cr_assert(s->file_bytes == p->files[file].nbytes);
        at += s->nbytes;
    }
    cr_assert(at == p->files[file].nbytes);
}

Test(division, ranges_of_a_shared_file_are_aligned_and_disjoint)
{
    struct model *input;
    struct division d;
    struct plan *p = one_pass(in_dir("m.gguf"), &input);
    for (uint32_t n = 1; n < 40; n++) {
        cr_assert(divide(p, n, CUT_ANYWHERE, &d) == QUERN_OK && d.count == n);
        check_ranges(p, &d);
    }
    done_with(p, input, NULL);
    p = merge_to_shards(in_dir("m"), &input);
    cr_assert(divide(p, 9, CUT_ANYWHERE, &d) == QUERN_OK && d.count == 9);
    check_ranges(p, &d);
    done_with(p, input, NULL);
}

/* A portion leaves alone what is not its own, and may be made twice. */
Test(division, a_range_is_written_and_nothing_else)
{
    struct quern_error err;
    struct model *input;
    struct division d;
    struct stat before, after;
    const char *where = in_dir("slices"), *whole = text("%s/whole-00001", where);
    cr_assert(mkdir(where, 0777) == 0);
    for (int again = 0; again < 2; again++) {
        struct plan *p = one_pass(in_dir("m.gguf"), &input);
        cr_assert(divide(p, 5, CUT_ANYWHERE, &d) == QUERN_OK);
        cr_assert(plan_keep_portion(p, &d, 2, where, where, &err) == QUERN_OK);
        run_plan_of(p, 2);
        const struct str s = bytes_of(whole);
        const struct stretch *mine = &d.slices[2];
        cr_assert(s.n == mine->file_bytes);
        for (size_t i = 0; i < s.n; i++)
            cr_assert(s.p[i] == 0 || (i >= mine->offset && i < mine->offset + mine->nbytes));
        cr_assert(s.p[mine->offset] != 0 || s.p[mine->offset + 1] != 0);
        cr_assert(stat(whole, again ? &after : &before) == 0);
        done_with(p, input, NULL);
    }
    cr_assert(before.st_ino == after.st_ino);
}

Test(division, a_shared_file_of_another_size_is_refused)
{
    struct quern_error err;
    struct model *input;
    struct division d;
    const char *where = in_dir("slices"), *whole = text("%s/whole-00001", where);
    cr_assert(mkdir(where, 0777) == 0);
    struct plan *p = one_file(in_dir("m.gguf"), &input);
    FILE *f = fopen(whole, "w");
    cr_assert(f && ftruncate(fileno(f), (off_t)p->files[0].nbytes + 1) == 0);
    fclose(f);
    cr_assert(divide(p, 2, CUT_ANYWHERE, &d) == QUERN_OK);
    cr_assert(plan_keep_portion(p, &d, 1, where, where, &err) == QUERN_OK);
    cr_assert(plan_run(p, NULL, NULL, &err) == QUERN_EIO);
    cr_assert_str_eq(err.kind, "changed");
    cr_assert(access(whole, F_OK) == 0);
    done_with(p, input, NULL);
}

Test(division, what_cannot_be_divided_says_so)
{
    struct model *input;
    struct division d;
    struct plan *p = one_file(in_dir("m.gguf"), &input);
    cr_assert(divide(p, 0, CUT_NOWHERE, &d) == QUERN_EUSAGE);
    cr_assert(divide(p, MAX_PORTIONS + 1, CUT_NOWHERE, &d) == QUERN_EUSAGE);
    p->nfiles = 0;
    cr_assert(divide(p, 2, CUT_NOWHERE, &d) == QUERN_EUSAGE);
    done_with(p, input, NULL);
}

/* A slice that is not as long as it must be is found before anything is written. */
Test(division, a_short_slice_is_refused)
{
    struct quern_error err;
    struct model *input, *slices;
    struct division d;
    const char *where = in_dir("slices");
    cr_assert(mkdir(where, 0777) == 0);
    run_portions(one_file, in_dir("m.gguf"), where, 3, CUT_NOWHERE);
    cr_assert(truncate(text("%s/slice-00002", where), 1000) == 0);
    struct plan *p = one_file(in_dir("m.gguf"), &input);
    cr_assert(divide(p, 3, CUT_NOWHERE, &d) == QUERN_OK);
    cr_assert(plan_assemble(p, &d, where, &slices, &err) == QUERN_EFORMAT);
    cr_assert_str_eq(err.kind, "slice");
    done_with(p, input, NULL);
}
