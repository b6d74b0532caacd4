/* test_corpus.c - every file of make_corpus.py gets the verdict its list says, in little memory. */
#include <sys/resource.h>
#include <time.h>

#include "corpus.h"
#include "formats/gguf.h"
#include "formats/imatrix.h"
#include "formats/pack.h"

TestSuite(corpus, .init = scratch_begin, .fini = scratch_end, .timeout = 60);

/* What using all of it says. */
static enum quern_status judge_imatrix(const char *path, struct quern_error *err)
{
    struct imatrix *im;
    float values[64];
    TRY(imatrix_open(path, &im, err));
    enum quern_status s = QUERN_OK;
    for (size_t i = 0; i < im->nentries && s == QUERN_OK; i++) {
        const uint64_t n = im->entries[i].sums->nelems;
        s = imatrix_read(im, &im->entries[i], 0, n < 64 ? (size_t)n : 64, values, err);
    }
    imatrix_close(im);
    return s;
}

/* A model, and all of its files can be read. */
static enum quern_status judge_pack(const char *path, struct quern_error *err)
{
    static uint8_t bytes[1u << 16];
    struct archive *a;
    struct model *m;
    const char *name;
    uint64_t nbytes;
    TRY(model_open(path, &m, err));
    enum quern_status s = pack_open(path, PACK_DATA, &a, err);
    model_close(m);
    TRY(s);
    for (uint32_t i = 0; s == QUERN_OK && (name = a->kind->name(a, i, &nbytes)); i++) {
        cr_assert(nbytes <= sizeof bytes);
        s = a->kind->read(a, i, bytes, (size_t)nbytes, 0, err);
    }
    archive_leave(a);
    return s;
}

/* What inspect and quantize together say of a path. */
static enum quern_status judge(const struct corpus_row *r, struct quern_error *err)
{
    struct model *m;
    if (strcmp(r->kind, "imatrix") == 0)
        return judge_imatrix(r->path, err);
    if (strcmp(r->kind, "pack") == 0)
        return judge_pack(r->path, err);
    TRY(model_open(r->path, &m, err));
    const enum quern_status s = gguf_check_model(m, err);
    model_close(m);
    return s;
}

static bool is_judged(const struct corpus_row *r)
{
    return strcmp(r->kind, "misfit") != 0 && strcmp(r->kind, "config") != 0 &&
           !(strcmp(r->kind, "pack") == 0 && packs_are_left_out(r->path));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static enum quern_status expected_status(const struct corpus_row *r)
{
    static const struct {
        const char *kind, *err; /* NULL: any */
        enum quern_status status;
    } rules[] = {
        {"imatrix", "is-model",     QUERN_EUNSUPPORTED},
        {"imatrix", "split",        QUERN_EUNSUPPORTED},
        {"imatrix", NULL,           QUERN_EFORMAT     },
        {NULL,      "is-pickle",    QUERN_EUNSUPPORTED},
        {NULL,      "io",           QUERN_EIO         },
        {NULL,      "ambiguous",    QUERN_EUSAGE      },
        {"pack",    "base",         QUERN_EUSAGE      },
        {"pack",    "pack-version", QUERN_EUNSUPPORTED},
        {NULL,      NULL,           QUERN_EFORMAT     },
    };
    size_t i = 0;
    while ((rules[i].kind && strcmp(rules[i].kind, r->kind) != 0) ||
           (rules[i].err && strcmp(rules[i].err, r->err ? r->err : "") != 0))
        i++;
    return r->err ? rules[i].status : QUERN_OK;
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || *s == 0x7F)
            return false;
    return true;
}

Test(corpus, every_file_gets_its_verdict)
{
    struct corpus c;
    corpus_open(&c);
    size_t judged = 0;
    double slowest = 0;
    const char *slowest_name = "";
    for (size_t i = 0; i < c.count; i++) {
        const struct corpus_row *r = &c.rows[i];
        if (!is_judged(r))
            continue;
        struct quern_error err = {.kind = "-"};
        const double start = now();
        const enum quern_status s = judge(r, &err);
        if (now() - start > slowest) {
            slowest = now() - start;
            slowest_name = r->name;
        }
        judged++;
        cr_expect_str_eq(err.kind, r->err ? r->err : "-", "%s: %s", r->name, err.text);
        cr_expect(s == expected_status(r), "%s: status %d", r->name, s);
        cr_expect(s == QUERN_OK || err.file[0], "%s: no file in the message", r->name);
        cr_expect(printable(err.text), "%s: the message would reach the terminal raw", r->name);
    }
    cr_log_info("%zu files; the slowest took %.1f ms: %s", judged, slowest * 1e3, slowest_name);
    cr_assert(judged > 500);
    corpus_close(&c);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define INSTRUMENTED 1
#endif
#endif

#ifndef INSTRUMENTED
/* Peak memory of a process that does nothing but judge this file, in KiB; -1 when it crashed. */
static long peak_kib(const struct corpus_row *r)
{
    const pid_t child = fork();
    cr_assert(child >= 0);
    if (child == 0) {
        judge(r, NULL);
        _exit(0);
    }
    int status;
    struct rusage usage;
    cr_assert(wait4(child, &status, 0, &usage) == child);
    return status == 0 ? usage.ru_maxrss : -1;
}

Test(corpus, no_file_makes_a_reader_take_much_memory)
{
    struct corpus c;
    corpus_open(&c);
    for (size_t i = 0; i < c.count; i++) {
        const struct corpus_row *r = &c.rows[i];
        if (!is_judged(r) || strstr(r->name, "big_"))
            continue;
        const long kib = peak_kib(r);
        cr_expect(kib >= 0, "%s: crashed", r->name);
        cr_expect(kib < 64 * 1024, "%s: %ld KiB", r->name, kib);
    }
    corpus_close(&c);
}
#endif
