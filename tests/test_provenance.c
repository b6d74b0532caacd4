/* test_provenance.c - hashes of inputs taken while they are read, keys and records of outputs. */
#include <criterion/criterion.h>
#include <math.h>
#include <sys/file.h>

#include "core/io.h"
#include "core/json.h"
#include "core/sha256.h"
#include "formats/gguf.h"
#include "formats/rekey.h"
#include "formats/safetensors.h"
#include "leaks.h"
#include "pipeline/hashing.h"
#include "pipeline/provenance.h"
#include "pipeline/rename.h"
#include "pipeline/retype.h"
#include "scratch.h"

TestSuite(provenance, .init = scratch_begin, .fini = scratch_end);

#define NTENSORS 3u
#define ROWS     130u
#define NELEMS   (ROWS * 1024u)
#define JOB      "{\"command\":\"test\"}"

/* F32 tensors t0, t1, t2 in one safetensors file; its path. */
static const char *make_input(const char *name)
{
    char head[512];
    size_t used = 0;
    const char *path = strdup(scratch(name));
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    for (unsigned t = 0; t < NTENSORS; t++)
        used += (size_t)snprintf(
            head + used, sizeof head - used,
            "%s\"t%u\":{\"dtype\":\"F32\",\"shape\":[%u,1024],\"data_offsets\":[%u,%u]}",
            t ? "," : "{", t, ROWS, t * NELEMS * 4, (t + 1) * NELEMS * 4);
    used += (size_t)snprintf(head + used, sizeof head - used, "}");
    const uint64_t n8 = used;
    fwrite(&n8, 8, 1, f);
    fwrite(head, 1, used, f);
    for (unsigned i = 0; i < NTENSORS * NELEMS; i++) {
        const float x = sinf((float)i) * 0.1f;
        fwrite(&x, 4, 1, f);
    }
    fclose(f);
    return path;
}

struct made {
    struct model *model;
    struct plan *plan;
};

static struct made begin(const char *in, const char *out, const char *type)
{
    struct quern_error e;
    struct made b;
    const bool gguf = str_ends(str_from(out), ".gguf") && str_ends(str_from(in), ".safetensors");
    const struct quern_quantize q = {
        .type = type, .keep_names = gguf, .arch = gguf ? "test" : NULL, .shard_bytes = 0};
    cr_assert_eq(model_open(in, &b.model, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(plan_quantize(b.model, out, &q, &b.plan, &e), QUERN_OK, "%s", e.text);
    return b;
}

static void record(struct made b, const char *const *outputs_64, const char *made_by)
{
    struct quern_error e;
    const char *paths[] = {"elsewhere/in.safetensors"};
    char outputs[1][65] = {""};
    struct provenance_request r = {.job = STR(JOB), .recipe = STR("models: [\"\xC3\xA4\"]\n")};
    if (outputs_64) {
        memcpy(outputs[0], outputs_64[0], sizeof outputs[0]);
        r.paths = paths;
        r.npaths = 1;
        r.outputs = (const char(*)[65])outputs;
        r.noutputs = 1;
        r.made_by = made_by;
    }
    cr_assert_eq(plan_record(b.plan, &r, &e), QUERN_OK, "%s", e.text);
}

static void end(struct made b)
{
    plan_free(b.plan);
    model_close(b.model);
}

static enum quern_status run(struct made b, struct quern_run_options o, struct quern_error *e)
{
    return plan_run(b.plan, &o, NULL, e);
}

static void digest(const char *path, char hex[65])
{
    struct quern_error e;
    cr_assert_eq(sha256_file(path, hex, &e), QUERN_OK, "%s", e.text);
}

static struct json *parse_file(const char *path)
{
    struct arena arena = {0};
    struct str text;
    struct json *root;
    struct quern_error e;
    cr_assert_eq(read_small_file(path, JSON_MAX_BYTES, &arena, &text, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(json_parse(text, &root, &e), QUERN_OK, "%s", e.text);
    arena_free(&arena);
    return root;
}

static const char *text_at(const struct json *object, const char *key)
{
    struct str s = {NULL, 0};
    cr_assert(json_text(json_get(object, key), &s), "%s", key);
    return s.p;
}

static bool there(const char *name)
{
    return access(scratch(name), F_OK) == 0;
}

/* ---- digests -------------------------------------------------------------------------------- */

Test(provenance, a_digest_does_not_depend_on_how_the_bytes_come)
{
    enum { N = 5000 };
    static uint8_t bytes[N];
    char want[65], got[65];
    uint64_t x = 1;
    for (size_t i = 0; i < N; i++)
        bytes[i] = (uint8_t)((x = x * UINT64_C(6364136223846793005) + 1) >> 56);
    struct sha256 whole;
    sha256_start(&whole);
    sha256_add(&whole, bytes, N);
    sha256_hex(whole, want);
    for (size_t step = 1; step < 200; step++) {
        struct sha256 s;
        sha256_start(&s);
        for (size_t at = 0; at < N; at += step)
            sha256_add(&s, bytes + at, N - at < step ? N - at : step);
        sha256_hex(s, got);
        cr_assert_str_eq(got, want, "in steps of %zu", step);
    }
}

/* Longer than a part of a file, with an end that fills neither a tile nor a block. */
Test(provenance, files_of_several_parts_have_the_digests_of_sha256_file)
{
    const char *paths[] = {strdup(scratch("long")), strdup(scratch("empty")),
                           strdup(scratch("one"))};
    char hex[3][65], want[65];
    struct quern_error e;
    FILE *f = fopen(paths[0], "wb");
    cr_assert_not_null(f);
    cr_assert(fwrite("begin", 1, 5, f) == 5 && fseek(f, 32 << 20, SEEK_SET) == 0);
    cr_assert_eq(fwrite("end", 1, 3, f), 3);
    fclose(f);
    scratch_file("empty", STR(""));
    scratch_file("one", STR("x"));
    const struct quern_run_options o = {.threads = 3, .mem_bytes = 8u << 20};
    cr_assert_eq(hash_files(paths, 3, &o, hex, &e), QUERN_OK, "%s", e.text);
    for (unsigned i = 0; i < 3; i++) {
        digest(paths[i], want);
        cr_assert_str_eq(hex[i], want, "%s", paths[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        free((char *)paths[i]);
    CHECK_LEAKS();
}

Test(provenance, many_files_need_few_descriptors)
{
    enum { N = 300 };
    static char names[N][600], hex[N][65];
    const char *paths[N];
    char want[65];
    struct quern_error e;
    for (unsigned i = 0; i < N; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%u", i);
        snprintf(names[i], sizeof names[i], "%s", scratch_file(name, str_from(name)));
        paths[i] = names[i];
    }
    const struct quern_run_options o = {.threads = 2};
    cr_assert_eq(hash_files(paths, N, &o, hex, &e), QUERN_OK, "%s", e.text);
    digest(paths[N - 1], want);
    cr_assert_str_eq(hex[N - 1], want);
    CHECK_LEAKS();
}

/* ---- the record ----------------------------------------------------------------------------- */

/* The SHA-256 of a tensor of F32, from the file itself. */
static void tensor_digest(const struct model *m, const struct tensor *t, char hex[65])
{
    FILE *f = fopen(m->files[t->file].path, "rb");
    uint8_t *bytes = malloc(t->nbytes);
    struct sha256 s;
    cr_assert(f && bytes && fseek(f, (long)t->offset, SEEK_SET) == 0);
    cr_assert_eq(fread(bytes, 1, t->nbytes, f), t->nbytes);
    sha256_start(&s);
    sha256_add(&s, bytes, t->nbytes);
    sha256_hex(s, hex);
    free(bytes);
    fclose(f);
}

static void check_record(const char *path, const char *in, const char *out, const struct model *m)
{
    struct json *root = parse_file(path);
    char hex[65];
    const struct json *input = json_first(json_get(root, "inputs"));
    const struct json *output = json_first(json_get(root, "outputs"));
    digest(in, hex);
    cr_assert_str_eq(text_at(input, "path"), in);
    cr_assert_str_eq(text_at(input, "sha256"), hex);
    cr_assert_eq(json_count(json_get(input, "tensors")), NTENSORS);
    for (uint32_t i = 0; i < m->ntensors; i++) {
        tensor_digest(m, &m->tensors[i], hex);
        cr_assert_str_eq(text_at(json_get(input, "tensors"), m->tensors[i].name.p), hex);
    }
    digest(out, hex);
    cr_assert_str_eq(text_at(output, "sha256"), hex);
    cr_assert_str_eq(text_at(output, "file"), path_base(out));
    cr_assert_str_eq(text_at(root, "recipe"), "models: [\"\xC3\xA4\"]\n");
    cr_assert_str_eq(text_at(json_get(root, "job"), "command"), "test");
    cr_assert_str_eq(text_at(root, "version"), quern_version());
    json_free(root);
}

/* The same bytes for any threads and memory, and the tensors are what they are without a record. */
static void try_output(const char *name, const char *plain_name, const char *type)
{
    struct quern_error e;
    const char *in = make_input("in.safetensors"), *out = strdup(scratch(name));
    char first[65] = "", hex[65], record_path[600];
    snprintf(record_path, sizeof record_path, "%s.quern.json", out);
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct made b = begin(in, out, type);
        record(b, NULL, NULL);
        const struct quern_run_options o = {.threads = threads,
                                            .mem_bytes = threads % 2 ? 16u << 20 : 0};
        cr_assert_eq(run(b, o, &e), QUERN_OK, "%s", e.text);
        digest(out, hex);
        if (!first[0]) {
            check_record(record_path, in, out, b.model);
            memcpy(first, hex, sizeof first);
        }
        cr_assert_str_eq(hex, first, "%u threads", threads);
        end(b);
        cr_assert(unlink(out) == 0 && unlink(record_path) == 0);
    }
    struct made b = begin(in, out, type), plain = begin(in, scratch(plain_name), type);
    record(b, NULL, NULL);
    const uint64_t longer = b.plan->steps[0].offset - plain.plan->steps[0].offset;
    cr_assert(longer > 0 && b.plan->files[0].nbytes == plain.plan->files[0].nbytes + longer);
    for (uint32_t i = 0; i < b.plan->nsteps; i++)
        cr_assert_eq(b.plan->steps[i].offset, plain.plan->steps[i].offset + longer);
    end(b);
    end(plain);
    free((char *)in);
    free((char *)out);
}

Test(provenance, a_gguf_tells_of_its_inputs)
{
    try_output("out.gguf", "plain.gguf", "Q8_0");
    CHECK_LEAKS();
}

Test(provenance, a_safetensors_file_tells_of_its_inputs)
{
    try_output("out.safetensors", "plain.safetensors", "F16");
    CHECK_LEAKS();
}

Test(provenance, the_keys_hold_the_hashes)
{
    struct quern_error e;
    struct model *m;
    struct str s;
    char hex[65];
    const char *in = make_input("in.safetensors");
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    record(b, NULL, NULL);
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(model_open(scratch("out.gguf"), &m, &e), QUERN_OK, "%s", e.text);
    cr_assert(meta_string(model_meta(m, "quern.version"), &s) && str_is(s, quern_version()));
    cr_assert(meta_string(model_meta(m, "quern.command"), &s) && str_is(s, JOB));
    cr_assert(meta_string(model_meta(m, "quern.recipe"), &s));
    const struct meta *inputs = model_meta(m, "quern.inputs");
    const struct meta *tensors = model_meta(m, "quern.input_tensors");
    cr_assert(inputs && tensors && inputs->count == 1 && tensors->count == NTENSORS);
    const char *at = inputs->value.p;
    digest(in, hex);
    s = meta_next_string(&at);
    cr_assert(strncmp(s.p, hex, 64) == 0 && str_ends(s, "/in.safetensors"), "%.*s", STR_ARG(s));
    at = tensors->value.p;
    tensor_digest(b.model, &b.model->tensors[0], hex);
    s = meta_next_string(&at);
    cr_assert(strncmp(s.p, hex, 64) == 0 && str_ends(s, "  0:t0"), "%.*s", STR_ARG(s));
    model_close(m);
    end(b);
    free((char *)in);
    CHECK_LEAKS();
}

Test(provenance, the_library_writes_records_too)
{
    struct quern_error e;
    struct quern_model *m;
    struct quern_plan *p;
    const char *in = make_input("in.safetensors"), *extra = strdup(scratch("notes.txt"));
    scratch_file("notes.txt", STR("read as well"));
    const struct quern_provenance about = {
        .command = "a \"program\"", .files = &extra, .nfiles = 1};
    cr_assert_eq(quern_open(in, &m, &e), QUERN_OK, "%s", e.text);
    const struct quern_quantize q = {.type = "F16"};
    cr_assert_eq(quern_plan_quantize(m, scratch("dir/"), &q, &p, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(quern_plan_provenance(p, &about, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(quern_plan_provenance(p, NULL, &e), QUERN_EUSAGE);
    cr_assert_eq(quern_run(p, NULL, NULL, &e), QUERN_OK, "%s", e.text);
    struct json *root = parse_file(scratch("dir.quern.json"));
    cr_assert_str_eq(text_at(root, "job"), "a \"program\"");
    cr_assert_str_eq(text_at(root, "form"), "directory");
    cr_assert_eq(json_count(json_get(root, "inputs")), 2);
    json_free(root);
    quern_plan_free(p);
    quern_close(m);
    free((char *)in);
    free((char *)extra);
    CHECK_LEAKS();
}

/* What a file is made of that has a record itself: its own keys go, one set stays. */
Test(provenance, keys_of_an_input_do_not_stay)
{
    struct quern_error e;
    struct model *m;
    unsigned nkeys = 0;
    const char *in = make_input("in.safetensors");
    struct made b = begin(in, scratch("a.gguf"), "F16");
    record(b, NULL, NULL);
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
    end(b);
    b = begin(scratch("a.gguf"), scratch("b.gguf"), "Q8_0");
    record(b, NULL, NULL);
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
    end(b);
    cr_assert_eq(model_open(scratch("b.gguf"), &m, &e), QUERN_OK, "%s", e.text);
    for (uint32_t i = 0; i < m->nmetas; i++)
        nkeys += str_starts(m->metas[i].key, "quern.");
    cr_assert_eq(nkeys, 5);
    const char *at = model_meta(m, "quern.inputs")->value.p;
    cr_assert(str_ends(meta_next_string(&at), "/a.gguf"));
    model_close(m);
    free((char *)in);
    CHECK_LEAKS();
}

Test(provenance, a_plan_runs_twice_to_the_same_bytes)
{
    struct quern_error e;
    char first[65], second[65];
    const char *in = make_input("in.safetensors");
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    record(b, NULL, NULL);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
        digest(scratch("out.gguf"), i ? second : first);
        unlink(scratch("out.gguf"));
        unlink(scratch("out.gguf.quern.json"));
    }
    cr_assert_str_eq(first, second);
    end(b);
    free((char *)in);
    CHECK_LEAKS();
}

Test(provenance, a_record_that_is_there_is_not_replaced)
{
    struct quern_error e;
    const char *in = make_input("in.safetensors");
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    record(b, NULL, NULL);
    scratch_file("out.gguf.quern.json", STR("{}"));
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_EEXIST);
    cr_assert(!there("out.gguf"));
    b.plan->force = true;
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
    cr_assert(there("out.gguf"));
    end(b);
    free((char *)in);
}

Test(provenance, a_small_file_that_changes_during_a_run_is_noticed)
{
    struct quern_error e;
    const char *in = make_input("in.safetensors"), *extra = strdup(scratch("notes.txt"));
    scratch_file("notes.txt", STR("read as well"));
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    const struct provenance_request r = {.job = STR(JOB), .files = &extra, .nfiles = 1};
    cr_assert_eq(plan_record(b.plan, &r, &e), QUERN_OK, "%s", e.text);
    scratch_file("notes.txt", STR("something else"));
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_EIO);
    cr_assert_str_eq(e.kind, "changed");
    cr_assert_str_eq(e.file, extra);
    cr_assert(!there("out.gguf") && !there("out.gguf.quern.json"));
    end(b);
    free((char *)in);
    free((char *)extra);
    CHECK_LEAKS();
}

/* ---- headers -------------------------------------------------------------------------------- */

/* A file of this header, with zeros for data. */
static struct model *open_header(const char *name, struct str header, uint64_t data_bytes)
{
    struct quern_error e;
    struct model *m;
    FILE *f = fopen(scratch(name), "wb");
    cr_assert(f && fwrite(header.p, 1, header.n, f) == header.n);
    for (uint64_t i = 0; i < data_bytes; i++)
        putc(0, f);
    fclose(f);
    cr_assert_eq(model_open(scratch(name), &m, &e), QUERN_OK, "%s", e.text);
    return m;
}

Test(provenance, a_gguf_header_keeps_its_other_keys_tensors_and_alignment)
{
    static const uint64_t dims[] = {3, 64};
    struct arena arena = {0};
    struct meta_list old = {.arena = &arena}, more = {.arena = &arena};
    struct quern_error e;
    struct str header, made, s;
    uint64_t nbytes;
    const struct meta names = {.key = STR("names"),
                               .value = STR("\3\0\0\0\0\0\0\0abc\0\0\0\0\0\0\0\0"),
                               .count = 2,
                               .type = META_ARRAY,
                               .item_type = META_STRING};
    cr_assert(meta_list_set_string(&old, "general.architecture", STR("test")) &&
              meta_list_set_string(&old, "quern.inputs", STR("old")) &&
              meta_list_set_u32(&old, "general.alignment", 64) && meta_list_set(&old, names) &&
              meta_list_set_bool(&old, "flag", true) &&
              meta_list_set_string(&more, "quern.inputs", STR("new")));
    for (unsigned n = 0; n < 3; n++) {
        struct gguf_tensor t[2] = {
            {.name = STR("a"), .dims = dims, .ndims = 2, .dtype = DTYPE_F16, .nbytes = 384},
            {.name = STR("b"), .dims = dims, .ndims = 1, .dtype = DTYPE_I8,  .nbytes = 3  }
        };
        cr_assert_eq(gguf_layout(&arena, old.items, old.count, t, n, 64, &header, &nbytes, &e),
                     QUERN_OK, "%s", e.text);
        cr_assert_eq(gguf_rekey(&arena, header, "quern.", more.items, more.count, &made, &e),
                     QUERN_OK, "%s", e.text);
        cr_assert_eq(made.n % 64, 0);
        struct model *m = open_header("h.gguf", made, nbytes - header.n);
        cr_assert_eq(m->ntensors, n);
        cr_assert_eq(m->nmetas, 5);
        cr_assert(meta_string(model_meta(m, "quern.inputs"), &s) && str_is(s, "new"));
        cr_assert_eq(model_meta(m, "names")->count, 2);
        for (unsigned i = 0; i < n; i++)
            cr_assert_eq(m->tensors[i].offset - made.n, t[i].offset - header.n);
        model_close(m);
    }
    cr_assert_eq(gguf_rekey(&arena, (struct str){header.p, header.n / 2}, "quern.", more.items,
                            more.count, &made, &e),
                 QUERN_EINTERNAL);
    arena_free(&arena);
    CHECK_LEAKS();
}

Test(provenance, a_safetensors_header_keeps_its_other_entries)
{
    static const uint64_t dims[] = {3};
    struct arena arena = {0};
    struct quern_error e;
    struct str header, made, s;
    uint64_t nbytes;
    const struct meta old[] = {
        {.key = STR("quern.inputs"), .value = STR("old"),           .type = META_STRING},
        {.key = STR("for\"mat"),     .value = STR("p\nt \xC3\xA4"), .type = META_STRING}
    };
    const struct meta more[] = {
        {.key = STR("quern.inputs"), .value = STR("a\nb"), .type = META_STRING}
    };
    for (unsigned nold = 0; nold <= 2; nold++)
        for (unsigned n = 0; n < 2; n++) {
            struct st_tensor t = {
                .name = STR("a}"), .dims = dims, .ndims = 1, .dtype = DTYPE_I8, .nbytes = 3};
            cr_assert_eq(safetensors_layout(&arena, old, nold, &t, n, &header, &nbytes, &e),
                         QUERN_OK, "%s", e.text);
            cr_assert_eq(safetensors_rekey(&arena, header, "quern.", more, 1, &made, &e), QUERN_OK,
                         "%s", e.text);
            cr_assert_eq(made.n % 8, 0);
            struct model *m = open_header("h.safetensors", made, nbytes - header.n);
            cr_assert_eq(m->ntensors, n);
            cr_assert_eq(m->nmetas, 1 + (nold == 2));
            cr_assert(meta_string(model_meta(m, "quern.inputs"), &s) && str_is(s, "a\nb"));
            if (nold == 2)
                cr_assert(meta_string(model_meta(m, "for\"mat"), &s) && str_eq(s, old[1].value));
            if (n)
                cr_assert_eq(m->tensors[0].offset, made.n);
            model_close(m);
        }
    arena_free(&arena);
    CHECK_LEAKS();
}

/* ---- made again ----------------------------------------------------------------------------- */

Test(provenance, what_comes_out_different_gets_no_name)
{
    struct quern_error e;
    char hex[65];
    const char *in = make_input("in.safetensors"), *zeros[1];
    const char *expected[] = {hex};
    memset(hex, '0', 64);
    hex[64] = '\0';
    zeros[0] = hex;
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    record(b, zeros, "9.9.9");
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2, .keep_unfinished = true}, &e),
                 QUERN_EDIFF);
    cr_assert_str_eq(e.kind, "differs");
    cr_assert(strstr(e.text, "9.9.9"), "%s", e.text);
    cr_assert(!there("out.gguf") && !there(".out.gguf.quern-part") &&
              !there(".out.gguf.quern-journal") && !there("out.gguf.quern.json"));
    end(b);
    /* The inputs are called as the record has them, wherever they lie. */
    b = begin(in, scratch("first.gguf"), "Q8_0");
    record(b, zeros, NULL);
    b.plan->provenance->about.outputs = NULL;
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
    digest(scratch("first.gguf"), hex);
    end(b);
    b = begin(in, scratch("planned.gguf"), "Q8_0");
    cr_assert_eq(plan_rename(b.plan, scratch("planned.gguf"), scratch("again.gguf"), &e), QUERN_OK);
    record(b, expected, quern_version());
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 1}, &e), QUERN_OK, "%s", e.text);
    cr_assert(there("again.gguf") && !there("planned.gguf") && !there("again.gguf.quern.json"));
    end(b);
    free((char *)in);
    CHECK_LEAKS();
}

Test(provenance, of_other_inputs_it_is_refused)
{
    struct quern_error e;
    const char *in = make_input("in.safetensors"), *paths[] = {"a", "b"};
    const struct provenance_request r = {.job = STR(JOB), .paths = paths, .npaths = 2};
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    cr_assert_eq(plan_record(b.plan, &r, &e), QUERN_EIO);
    end(b);
    free((char *)in);
    CHECK_LEAKS();
}

/* ---- interrupted ---------------------------------------------------------------------------- */

static struct {
    volatile int stop;
    unsigned stop_at;
} watch;

static void slow_copy(const struct piece *p, const void *const x[], void *y)
{
    if (watch.stop_at && p->first / CHUNK + 1 == watch.stop_at)
        __atomic_store_n(&watch.stop, 1, __ATOMIC_RELAXED);
    memcpy(y, x[0], p->n * sizeof(float));
}

static const struct op op_slow_copy = {.name = "slow", .apply = slow_copy};

Test(provenance, an_interrupted_run_resumes_to_the_same_record)
{
    struct quern_error e;
    char want[65], want_record[65], got[65];
    const char *in = make_input("in.safetensors");
    for (unsigned stop_at = 0; stop_at <= 4; stop_at++) {
        enum quern_status s = QUERN_ECANCELLED;
        for (unsigned tries = 0; s == QUERN_ECANCELLED && tries < 9; tries++) {
            struct made b = begin(in, scratch("out.gguf"), "Q8_0");
            record(b, NULL, NULL);
            for (uint32_t i = 0; i < b.plan->nsteps; i++)
                b.plan->steps[i].op = &op_slow_copy;
            watch.stop = 0;
            watch.stop_at = tries ? 0 : stop_at;
            s = run(b,
                    (struct quern_run_options){.threads = 1 + tries,
                                               .resume = tries > 0,
                                               .keep_unfinished = true,
                                               .sync_seconds = 0.001,
                                               .cancel = &watch.stop},
                    &e);
            cr_assert(s == QUERN_OK || (s == QUERN_ECANCELLED && tries == 0), "%s", e.text);
            end(b);
        }
        digest(scratch("out.gguf"), stop_at ? got : want);
        cr_assert(stop_at == 0 || strcmp(got, want) == 0);
        digest(scratch("out.gguf.quern.json"), stop_at ? got : want_record);
        cr_assert(stop_at == 0 || strcmp(got, want_record) == 0);
        unlink(scratch("out.gguf"));
        unlink(scratch("out.gguf.quern.json"));
    }
    free((char *)in);
    CHECK_LEAKS();
}

/* Ended between the output's name and the record. */
Test(provenance, a_record_that_is_missing_is_written_by_a_run_that_resumes)
{
    struct quern_error e;
    char want[65], got[65];
    const char *in = make_input("in.safetensors");
    struct made b = begin(in, scratch("out.gguf"), "Q8_0");
    record(b, NULL, NULL);
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2}, &e), QUERN_OK, "%s", e.text);
    digest(scratch("out.gguf.quern.json"), want);
    end(b);
    unlink(scratch("out.gguf"));
    unlink(scratch("out.gguf.quern.json"));
    b = begin(in, scratch("out.gguf"), "Q8_0");
    record(b, NULL, NULL);
    /* Somebody else writes a file of that name. */
    const int fd = open(scratch(".out.gguf.quern.json.quern-part"), O_CREAT | O_RDWR, 0600);
    cr_assert(fd >= 0 && flock(fd, LOCK_EX) == 0);
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2, .keep_unfinished = true}, &e),
                 QUERN_EEXIST);
    cr_assert(there("out.gguf") && !there("out.gguf.quern.json"));
    close(fd);
    cr_assert_eq(run(b, (struct quern_run_options){.threads = 2, .resume = true}, &e), QUERN_OK,
                 "%s", e.text);
    cr_assert(!there(".out.gguf.quern-journal"));
    digest(scratch("out.gguf.quern.json"), got);
    cr_assert_str_eq(got, want);
    end(b);
    free((char *)in);
}
