/* test_journal.c - what an interrupted run leaves is gone on with, or refused, and never believed
 * when it is torn. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdatomic.h>
#include <utime.h>

#include "core/io.h"
#include "core/sha256.h"
#include "leaks.h"
#include "pipeline/journal.h"
#include "pipeline/journal_file.h"
#include "pipeline/retype.h"
#include "scratch.h"

TestSuite(journal, .init = scratch_begin, .fini = scratch_end);

#define NTENSORS 3u
#define ROWS     (5u * CHUNK / 1024) /* five chunks a tensor, the last one short */
#define NELEMS   ((ROWS - 3) * 1024u)
#define NCHUNKS  5u

/* Three tensors of finite F32. */
static const char *make_input(const char *name)
{
    char head[512];
    size_t used = 0;
    static char path[512]; /* scratch() reuses its buffers */
    snprintf(path, sizeof path, "%s", scratch(name));
    FILE *f = fopen(path, "wb");
    cr_assert_not_null(f);
    for (unsigned t = 0; t < NTENSORS; t++)
        used += (size_t)snprintf(
            head + used, sizeof head - used,
            "%s\"t%u\":{\"dtype\":\"F32\",\"shape\":[%u,1024],\"data_offsets\":[%u,%u]}",
            t ? "," : "{", t, ROWS - 3, t * NELEMS * 4, (t + 1) * NELEMS * 4);
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

struct job {
    struct model *model;
    struct plan *plan;
};

static struct job begin(const char *in, const char *out, const char *type)
{
    struct quern_error e;
    struct job b;
    const bool file = str_ends(str_from(out), ".safetensors");
    const struct quern_quantize q = {.type = type, .shard_bytes = file ? 0 : 4 * NELEMS};
    cr_assert_eq(model_open(in, &b.model, &e), QUERN_OK, "%s", e.text);
    cr_assert_eq(plan_quantize(b.model, out, &q, &b.plan, &e), QUERN_OK, "%s", e.text);
    return b;
}

static void end(struct job b)
{
    plan_free(b.plan);
    model_close(b.model);
}

static bool same_files(const char *a, const char *b)
{
    struct arena arena = {0};
    struct str x = {0}, y = {0};
    const bool same = read_small_file(a, 64 << 20, &arena, &x, NULL) == QUERN_OK &&
                      read_small_file(b, 64 << 20, &arena, &y, NULL) == QUERN_OK && str_eq(x, y);
    arena_free(&arena);
    return same;
}

static bool there(const char *name)
{
    return access(scratch(name), F_OK) == 0;
}

/* ---- the file ------------------------------------------------------------------------------- */

static void begin_part(const struct plan *p, struct parts *parts, unsigned flags)
{
    struct quern_error e;
    cr_assert_eq(parts_open(parts, 1, &e), QUERN_OK);
    cr_assert_eq(output_begin(&parts->outs[0], p->files[0].path, p->files[0].nbytes, flags, &e),
                 QUERN_OK, "%s", e.text);
    cr_assert_eq(parts_add(parts, 0, &e), QUERN_OK);
}

/* A journal of a run that was killed after it had recorded chunks 0 to 3 of step 0, and 1 of step
 * 2. Its part file is there, too. */
static void leave_journal(const struct plan *p)
{
    struct quern_error e;
    struct journal *j;
    struct parts parts;
    const char *trouble;
    cr_assert_eq(journal_open(p, &j, &e), QUERN_OK, "%s", e.text);
    begin_part(p, &parts, 0);
    cr_assert_eq(journal_start(j, &parts, 60.0, &e), QUERN_OK, "%s", e.text);
    cr_assert(!journal_can_resume(j));
    cr_assert_eq(journal_done(j, 0, 0, 3 * CHUNK, &e), QUERN_OK);
    cr_assert_eq(journal_done(j, 0, 3 * CHUNK, CHUNK, &e), QUERN_OK);
    cr_assert_eq(journal_done(j, 2, CHUNK, CHUNK, &e), QUERN_OK);
    cr_assert_eq(journal_stop(j, true, &trouble, &e), QUERN_OK, "%s", e.text);
    cr_assert_null(trouble);
    cr_assert(journal_can_resume(j));
    journal_close(j, false);
    output_leave(&parts.outs[0]);
    parts_close(&parts);
}

/* Chunks that it says are done; -1 when it is not to be gone on with. */
static int load(const struct plan *p, struct journal **j, const char **why, struct quern_error *e)
{
    bool fits;
    const char *reason;
    cr_assert_eq(journal_open(p, j, e), QUERN_OK);
    e->kind[0] = '\0';
    if (journal_load(*j, &fits, why ? why : &reason, e) != QUERN_OK || !fits)
        return -1;
    int n = 0;
    for (uint32_t s = 0; s < NTENSORS; s++)
        for (unsigned c = 0; c < NCHUNKS; c++)
            n += journal_skips(*j, s, (uint64_t)c * CHUNK, 1);
    return n;
}

Test(journal, says_what_was_done)
{
    struct quern_error e;
    struct journal *j;
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    leave_journal(b.plan);
    cr_assert_eq(load(b.plan, &j, NULL, &e), 5);
    cr_assert(journal_skips(j, 0, 0, 4 * CHUNK));
    cr_assert(!journal_skips(j, 0, 0, NELEMS));
    cr_assert(!journal_skips_step(j, 0));
    cr_assert(journal_skips(j, 2, CHUNK, CHUNK));
    cr_assert(!journal_skips(j, 2, 0, CHUNK));
    cr_assert_eq(journal_kept_bytes(j), 5 * CHUNK * 2);
    journal_close(j, false);
    end(b);
    CHECK_LEAKS();
}

Test(journal, goes_on_after_the_last_record)
{
    struct quern_error e;
    struct journal *j;
    struct parts parts;
    const char *trouble;
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    leave_journal(b.plan);
    cr_assert_eq(load(b.plan, &j, NULL, &e), 5);
    begin_part(b.plan, &parts, OUTPUT_KEEP);
    cr_assert_eq(journal_start(j, &parts, 60.0, &e), QUERN_OK);
    cr_assert_eq(journal_done(j, 1, 0, NELEMS, &e), QUERN_OK);
    cr_assert_eq(journal_stop(j, true, &trouble, &e), QUERN_OK);
    journal_close(j, false);
    output_leave(&parts.outs[0]);
    parts_close(&parts);
    cr_assert_eq(load(b.plan, &j, NULL, &e), 5 + (int)NCHUNKS);
    cr_assert(journal_skips_step(j, 1));
    journal_close(j, true);
    cr_assert(!there(".out.safetensors.quern-journal"));
    end(b);
    CHECK_LEAKS();
}

static struct str slurp(const char *path, struct arena *arena)
{
    struct str text;
    cr_assert_eq(read_small_file(path, 1 << 20, arena, &text, NULL), QUERN_OK);
    return text;
}

static void put_file(const char *path, struct str text)
{
    const int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    cr_assert(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    close(fd);
}

Test(journal, torn_at_any_byte_it_is_believed_up_to_the_last_whole_record)
{
    struct quern_error e;
    struct journal *j;
    struct arena arena = {0};
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    const char *path = strdup(scratch(".out.safetensors.quern-journal"));
    leave_journal(b.plan);
    const struct str whole = slurp(path, &arena);
    int last = -1;
    for (size_t n = 0; n <= whole.n; n++) {
        put_file(path, (struct str){whole.p, n});
        const int done = load(b.plan, &j, NULL, &e);
        cr_assert(done >= last, "%zu bytes: %d chunks after %d", n, done, last);
        last = done;
        journal_close(j, false);
    }
    cr_assert_eq(last, 5);
    free((char *)path);
    arena_free(&arena);
    end(b);
    CHECK_LEAKS();
}

Test(journal, with_a_bit_flipped_it_claims_nothing_that_was_not_done)
{
    struct quern_error e;
    struct journal *j;
    struct arena arena = {0};
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    const char *path = strdup(scratch(".out.safetensors.quern-journal"));
    leave_journal(b.plan);
    const struct str whole = slurp(path, &arena);
    for (size_t bit = 0; bit < whole.n * 8; bit += 9) {
        char *p = (char *)whole.p + bit / 8;
        *p = (char)(*p ^ 1 << bit % 8);
        put_file(path, whole);
        *p = (char)(*p ^ 1 << bit % 8);
        cr_assert(load(b.plan, &j, NULL, &e) < 5, "bit %zu", bit);
        cr_assert(!journal_skips(j, 1, 0, 1) && !journal_skips(j, 2, 0, 1));
        journal_close(j, false);
    }
    free((char *)path);
    arena_free(&arena);
    end(b);
    CHECK_LEAKS();
}

Test(journal, of_another_plan_is_refused)
{
    struct quern_error e;
    struct journal *j;
    const char *in = make_input("in.safetensors");
    struct job b = begin(in, scratch("out.safetensors"), "F16");
    struct job other = begin(in, scratch("out.safetensors"), "BF16");
    leave_journal(b.plan);
    cr_assert_eq(load(other.plan, &j, NULL, &e), -1);
    cr_assert_eq(e.status, QUERN_EUSAGE);
    cr_assert_str_eq(e.kind, "resume");
    journal_close(j, false);
    /* The same steps, but something else was asked for. */
    plan_asked(b.plan, "seed 2", 6);
    cr_assert_eq(load(b.plan, &j, NULL, &e), -1);
    cr_assert_str_eq(e.kind, "resume");
    journal_close(j, false);
    end(b);
    end(other);
}

/* The head is 88 bytes, an inode and the digest of an input; then the digest of all that. */
#define HEAD_BYTES 128u

Test(journal, of_another_version_is_refused)
{
    struct quern_error e;
    struct journal *j;
    struct arena arena = {0};
    struct sha256 digest;
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    const char *path = strdup(scratch(".out.safetensors.quern-journal"));
    leave_journal(b.plan);
    const struct str whole = slurp(path, &arena);
    char *p = (char *)whole.p;
    memcpy(p + 8, "9.9", 3); /* behind the magic */
    sha256_start(&digest);
    sha256_add(&digest, p, HEAD_BYTES);
    sha256_end(&digest, (uint8_t *)p + HEAD_BYTES);
    put_file(path, whole);
    cr_assert_eq(load(b.plan, &j, NULL, &e), -1);
    cr_assert_eq(e.status, QUERN_EUSAGE);
    cr_assert(strstr(e.text, "one of quern 9.9"), "%s", e.text);
    journal_close(j, false);
    free((char *)path);
    arena_free(&arena);
    end(b);
}

/* A record that is sound, but was written after another; and one that claims more bytes than any
 * record has. */
Test(journal, records_in_another_place_are_not_believed)
{
    struct quern_error e;
    struct journal *j;
    struct arena arena = {0};
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    const char *path = strdup(scratch(".out.safetensors.quern-journal"));
    leave_journal(b.plan);
    const struct str whole = slurp(path, &arena);
    const size_t head = HEAD_BYTES + 32, record = sizeof(struct journal_record) + 8;
    char *p = (char *)whole.p;
    memmove(p + head, p + head + record, whole.n - head - record);
    put_file(path, (struct str){p, whole.n - record});
    cr_assert_eq(load(b.plan, &j, NULL, &e), 0);
    journal_close(j, false);

    const size_t much = 1u << 20;
    char *longer = calloc(1, head + record + much);
    memcpy(longer, p, head);
    const struct journal_record r = {.kind = RECORD_CHUNKS, .nbytes = (uint32_t)much, .n = 1};
    memcpy(longer + head, &r, sizeof r);
    put_file(path, (struct str){longer, head + record + much});
    cr_assert_eq(load(b.plan, &j, NULL, &e), 0);
    journal_close(j, false);
    free(longer);
    free((char *)path);
    arena_free(&arena);
    end(b);
}

Test(journal, of_an_input_that_changed_is_refused)
{
    struct quern_error e;
    struct journal *j;
    const char *in = make_input("in.safetensors");
    struct job b = begin(in, scratch("out.safetensors"), "F16");
    leave_journal(b.plan);
    end(b);
    cr_assert_eq(utime(in, &(struct utimbuf){1, 1}), 0);
    b = begin(in, scratch("out.safetensors"), "F16");
    cr_assert_eq(load(b.plan, &j, NULL, &e), -1);
    cr_assert_eq(e.status, QUERN_EIO);
    cr_assert_str_eq(e.kind, "changed");
    cr_assert_str_eq(e.file, in);
    journal_close(j, false);
    end(b);
}

Test(journal, without_its_part_file_is_of_no_use)
{
    struct quern_error e;
    struct journal *j;
    const char *why = NULL;
    struct job b = begin(make_input("in.safetensors"), scratch("out.safetensors"), "F16");
    leave_journal(b.plan);
    /* Another file under the same name is not the one. */
    cr_assert_eq(rename(scratch(".out.safetensors.quern-part"), scratch("moved")), 0);
    scratch_file(".out.safetensors.quern-part", STR("something else"));
    cr_assert_eq(load(b.plan, &j, &why, &e), -1);
    cr_assert_not_null(why);
    journal_close(j, false);
    cr_assert_eq(rename(scratch("moved"), scratch(".out.safetensors.quern-part")), 0);
    cr_assert_eq(load(b.plan, &j, &why, &e), 5);
    cr_assert_eq(journal_place_of(j, 0), PLACE_PART);
    cr_assert_eq(journal_forget(j, &e), QUERN_OK);
    journal_close(j, false);
    cr_assert_eq(load(b.plan, &j, &why, &e), -1, "forgotten");
    cr_assert_null(why);
    journal_close(j, false);
    end(b);
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* An op that stops its own run after so many pieces (0: never). */
static struct {
    _Atomic uint64_t elems;
    unsigned stop_at;
    volatile int stop;
    char notes[512];
} counter;

static void counting_copy(const struct piece *p, const void *const x[], void *y)
{
    const uint64_t before = atomic_fetch_add(&counter.elems, p->n);
    if (before + p->n >= (uint64_t)counter.stop_at * PIECE && counter.stop_at)
        __atomic_store_n(&counter.stop, 1, __ATOMIC_RELAXED);
    memcpy(y, x[0], p->n * sizeof(float));
}

static const struct op op_counting_copy = {.name = "count", .apply = counting_copy};

static void on_note(const char *text, void *user)
{
    (void)user;
    snprintf(counter.notes, sizeof counter.notes, "%s", text);
}

static enum quern_status run_until(const char *in, const char *out, const char *type,
                                   unsigned stop_at, struct quern_run_options o,
                                   struct quern_result *r, struct error_sums *sums)
{
    struct quern_error e;
    struct job b = begin(in, out, type);
    counter.elems = 0;
    counter.stop_at = stop_at;
    counter.stop = 0;
    counter.notes[0] = '\0';
    for (uint32_t i = 0; i < b.plan->nsteps; i++)
        b.plan->steps[i].op = &op_counting_copy;
    o.cancel = &counter.stop;
    o.note = on_note;
    const enum quern_status s = plan_run(b.plan, &o, r, &e);
    cr_assert(s == QUERN_OK || s == QUERN_ECANCELLED, "%s", e.text);
    for (uint32_t i = 0; s == QUERN_OK && sums && i < NTENSORS; i++)
        sums[i] = b.plan->errors[i];
    end(b);
    return s;
}

/* Stopped at many places, each time gone on with by other threads and memory: the bytes, and the
 * sums of errors, are those of a run that nothing disturbed. */
static void check_resumes(const char *type, const char *out, const char *want, const char *part,
                          const char *const files[], size_t nfiles)
{
    struct quern_result r;
    struct error_sums sums[NTENSORS], all[NTENSORS];
    const char *in = make_input("in.safetensors");
    const struct quern_run_options stats = {.stats = true};
    unsigned resumed = 0;
    cr_assert_eq(run_until(in, scratch(want), type, 0, stats, &r, all), QUERN_OK);
    for (unsigned at = 1; at < NTENSORS * NELEMS / PIECE; at += 13) {
        struct quern_run_options o = {.threads = 1 + at % 3, .keep_unfinished = true};
        unsigned left = 100, pieces = at;
        while (run_until(in, scratch(out), type, pieces, o, &r, o.stats ? sums : NULL) !=
               QUERN_OK) {
            cr_assert(!there(out));
            cr_assert_eq(r.resumable, there(part));
            cr_assert(--left > 0);
            pieces += 7 * (PIECE / STRIP); /* or it would stop in the same tile again */
            o = (struct quern_run_options){.threads = 1 + left % 4,
                                           .mem_bytes = (4u + left % 8) << 20,
                                           .keep_unfinished = true,
                                           .stats = at % 2,
                                           .resume = true};
        }
        resumed += strstr(counter.notes, "going on with an interrupted run") != NULL;
        cr_assert(!o.stats || memcmp(sums, all, sizeof all) == 0, "stopped after %u pieces", at);
        cr_assert(!there(part));
        for (size_t i = 0; i < nfiles; i++) {
            char made[128], expected[128];
            snprintf(made, sizeof made, "%s%s", out, files[i]);
            snprintf(expected, sizeof expected, "%s%s", want, files[i]);
            cr_assert(same_files(scratch(made), scratch(expected)), "%s, %u pieces", made, at);
            cr_assert_eq(unlink(scratch(made)), 0);
        }
        rmdir(scratch(out));
    }
    cr_assert(resumed > 0);
}

Test(journal, a_file_resumes_to_the_same_bytes)
{
    static const char *const files[] = {""};
    check_resumes("F16", "out.safetensors", "want.safetensors", ".out.safetensors.quern-part",
                  files, 1);
    CHECK_LEAKS();
}

Test(journal, a_directory_resumes_to_the_same_bytes)
{
    static const char *const files[] = {"/model-00001-of-00002.safetensors",
                                        "/model-00002-of-00002.safetensors",
                                        "/model.safetensors.index.json"};
    check_resumes("BF16", "out", "want", ".out.quern-part", files, 3);
    CHECK_LEAKS();
}

Test(journal, what_nobody_wants_to_go_on_with_is_not_left)
{
    struct quern_result r;
    const char *in = make_input("in.safetensors");
    const struct quern_run_options o = {.threads = 1};
    cr_assert_eq(run_until(in, scratch("out.safetensors"), "F16", 50, o, &r, NULL),
                 QUERN_ECANCELLED);
    cr_assert(!r.resumable);
    cr_assert(!there(".out.safetensors.quern-part"));
    cr_assert(!there(".out.safetensors.quern-journal"));
    CHECK_LEAKS();
}

Test(journal, a_run_that_starts_anew_says_so)
{
    struct quern_result r;
    const char *in = make_input("in.safetensors");
    struct quern_run_options o = {.threads = 1, .mem_bytes = 4 << 20, .keep_unfinished = true};
    const char *out = scratch("out.safetensors");
    cr_assert_eq(run_until(in, out, "F16", 100, o, &r, NULL), QUERN_ECANCELLED);
    cr_assert(r.resumable);
    cr_assert_eq(run_until(in, out, "F16", 0, o, &r, NULL), QUERN_OK);
    cr_assert_not_null(strstr(counter.notes, "from the beginning"), "%s", counter.notes);
    cr_assert_eq(unlink(out), 0);
    o.resume = true;
    cr_assert_eq(run_until(in, out, "F16", 0, o, &r, NULL), QUERN_OK);
    cr_assert_not_null(strstr(counter.notes, "from the beginning"), "%s", counter.notes);
}
