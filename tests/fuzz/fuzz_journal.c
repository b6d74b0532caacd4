/* fuzz_journal.c - a journal that was changed anywhere: nothing is believed that the sound one did
 * not say, and a run that resumes gives the bytes of one that was never stopped. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/io.h"
#include "fuzz.h"
#include "pipeline/journal.h"
#include "pipeline/retype.h"

#define NTENSORS 3u
#define NCHUNKS  2u /* of a tensor, the last one short */
#define NELEMS   (CHUNK + 1024u)
#define MOST     4096u /* bytes of the journal */
#define PART     "j/.out.safetensors.quern-part"

struct scene {
    struct arena arena, bytes; /* of the model; of what runs have left */
    struct model *model;
    struct plan *plan;
    char output[FUZZ_PATH], part[FUZZ_PATH], journal[FUZZ_PATH];
    struct str sound;             /* the journal that an interrupted run has left ... */
    bool done[NTENSORS][NCHUNKS]; /* ... and what it says */
    struct str whole, half;       /* the output; its part file then */
};

static struct scene scene;

/* It stays where it is until a run has removed it: making files takes longer than reading them. */
static void put_journal(struct str bytes)
{
    static int fd = -1;
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0 || st.st_nlink == 0) {
        if (fd >= 0)
            close(fd);
        fd = open(scene.journal, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    }
    FUZZ_CHECK(fd >= 0 && pwrite(fd, bytes.p, bytes.n, 0) == (ssize_t)bytes.n);
    FUZZ_CHECK(ftruncate(fd, (off_t)bytes.n) == 0);
}

static struct str get(const char *path, struct arena *arena)
{
    struct str s;
    struct quern_error err;
    FUZZ_CHECK(read_small_file(path, 8u << 20, arena, &s, &err) == QUERN_OK);
    return s;
}

static void open_model(void)
{
    struct quern_error err;
    char head[512];
    size_t used = 8;
    for (unsigned t = 0; t < NTENSORS; t++)
        used += (size_t)snprintf(
            head + used, sizeof head - used,
            "%s\"t%u\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[%u,%u]}", t ? "," : "{",
            t, NELEMS, t * NELEMS * 4, (t + 1) * NELEMS * 4);
    used += (size_t)snprintf(head + used, sizeof head - used, "}");
    const uint64_t n = used - 8;
    memcpy(head, &n, 8);
    float *file = arena_array(&scene.arena, used + NTENSORS * NELEMS * 4, 1);
    memcpy(file, head, used);
    for (unsigned i = 0; i < NTENSORS * NELEMS; i++) {
        const float x = (float)(i % 977) * 0.01f;
        memcpy((char *)file + used + i * 4, &x, 4);
    }
    const char *path = fuzz_file("in.safetensors", file, used + NTENSORS * NELEMS * 4);
    const struct quern_quantize q = {.type = "F16", .force = true};
    FUZZ_CHECK(model_open(path, &scene.model, &err) == QUERN_OK);
    FUZZ_CHECK(plan_quantize(scene.model, scene.output, &q, &scene.plan, &err) == QUERN_OK);
}

/* One run to the end, then one that stops with a part of the work done. */
static void leave_journal(void)
{
    struct quern_error err;
    struct journal *j;
    struct parts parts;
    const char *trouble;
    const struct plan *p = scene.plan;
    arena_free(&scene.bytes);
    FUZZ_CHECK(plan_run(scene.plan, NULL, NULL, &err) == QUERN_OK);
    scene.whole = get(scene.output, &scene.bytes);
    unlink(scene.output);
    FUZZ_CHECK(journal_open(p, &j, &err) == QUERN_OK && parts_open(&parts, 1, &err) == QUERN_OK);
    FUZZ_CHECK(output_begin(&parts.outs[0], p->files[0].path, p->files[0].nbytes, 0, &err) ==
               QUERN_OK);
    FUZZ_CHECK(parts_add(&parts, 0, &err) == QUERN_OK);
    FUZZ_CHECK(journal_start(j, &parts, 60.0, &err) == QUERN_OK);
    FUZZ_CHECK(journal_done(j, 0, 0, NELEMS, &err) == QUERN_OK);
    FUZZ_CHECK(journal_done(j, 2, CHUNK, 1024, &err) == QUERN_OK);
    FUZZ_CHECK(journal_stop(j, true, &trouble, &err) == QUERN_OK && !trouble);
    journal_close(j, false);
    output_leave(&parts.outs[0]);
    parts_close(&parts);
    scene.done[0][0] = scene.done[0][1] = scene.done[2][1] = true;
    scene.sound = get(scene.journal, &scene.bytes);
    /* What is done has its bytes, everything else is zeros. */
    char *half = arena_array(&scene.bytes, scene.whole.n, 1);
    memcpy(half, scene.whole.p, scene.whole.n);
    const struct step *s = p->steps;
    memset(half + s[1].offset, 0, s[1].nbytes);
    memset(half + s[2].offset, 0, CHUNK * 2);
    scene.half = (struct str){half, scene.whole.n};
    FUZZ_CHECK(scene.sound.n > 0 && scene.sound.n < MOST);
}

static void begin(void)
{
    fuzz_path("j/out.safetensors", scene.output);
    fuzz_path(PART, scene.part);
    fuzz_path("j/.out.safetensors.quern-journal", scene.journal);
    open_model();
    leave_journal();
}

/* The input is a list of edits: where in the journal, how, with which bytes. */
static struct str edited(struct fuzz_bytes b, char *to)
{
    size_t n = scene.sound.n;
    memcpy(to, scene.sound.p, n);
    while (b.n > 0) {
        const uint8_t how = take_byte(&b);
        const size_t at = n ? (take_byte(&b) | (size_t)take_byte(&b) << 8) % n : 0;
        const size_t len = take_byte(&b);
        const size_t rest = len < n - at ? len : n - at;
        const struct str bytes = how % 5 < 2 ? take_bytes(&b, len % 16) : (struct str){"", 0};
        switch (how % 5) {
        case 0: /* other bytes */
            memcpy(to + at, bytes.p, bytes.n < n - at ? bytes.n : n - at);
            break;
        case 1: /* more bytes */
            if (n + bytes.n <= MOST) {
                memmove(to + at + bytes.n, to + at, n - at);
                memcpy(to + at, bytes.p, bytes.n);
                n += bytes.n;
            }
            break;
        case 2: /* cut */
            n = at;
            break;
        case 3: /* a piece of it once more, at the end */
            if (n + rest <= MOST) {
                memmove(to + n, to + at, rest);
                n += rest;
            }
            break;
        default: /* a piece of it gone */
            memmove(to + at, to + at + rest, n - at - rest);
            n -= rest;
        }
    }
    return (struct str){to, n};
}

/* Whether it is to be gone on with, which only happens with what the sound journal says. */
static bool load(void)
{
    struct quern_error err;
    struct journal *j;
    bool fits = false;
    const char *why;
    FUZZ_CHECK(journal_open(scene.plan, &j, &err) == QUERN_OK);
    const bool failed = fuzz_failed(journal_load(j, &fits, &why, &err), &err);
    for (uint32_t s = 0; s < NTENSORS && fits && !failed; s++)
        for (unsigned c = 0; c < NCHUNKS; c++)
            FUZZ_CHECK(!journal_skips(j, s, (uint64_t)c * CHUNK, 1) || scene.done[s][c]);
    journal_close(j, false);
    return fits && !failed;
}

static void resume(void)
{
    struct quern_error err;
    const struct quern_run_options o = {.resume = true, .threads = 1};
    FUZZ_CHECK(plan_run(scene.plan, &o, NULL, &err) == QUERN_OK);
    struct arena bytes = {0};
    FUZZ_CHECK(str_eq(get(scene.output, &bytes), scene.whole));
    arena_free(&bytes);
    unlink(scene.output);
}

static void run(char *text, size_t n)
{
    static char changed[MOST + 256];
    static unsigned nfitting;
    struct stat st;
    if (!scene.plan)
        begin();
    const struct str journal = edited((struct fuzz_bytes){text, n}, changed);
    put_journal(journal);
    if (stat(scene.part, &st) != 0) { /* the head of the journal tells its inode: begin anew */
        leave_journal();
        put_journal(edited((struct fuzz_bytes){text, n}, changed));
    }
    if (load() && nfitting++ % 64 == 0) {
        fuzz_put(PART, scene.half.p, scene.half.n);
        resume();
    }
}

const struct fuzz_target fuzz_journal = {
    .name = "journal",
    .max_len = 256,
    .run = run,
    .bytes_besides = 64u << 20,
};
