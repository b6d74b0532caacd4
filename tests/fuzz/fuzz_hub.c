/* fuzz_hub.c - any model id and revision in a cache of the hub whose branches hold any text: a
 * directory inside the cache, or none. */
#include <string.h>

#include "formats/hub_cache.h"
#include "fuzz.h"

#define REPO "hub/models--a--b"

/* Nothing on the way climbs out. */
static void check_inside(const char *cache, const char *path)
{
    const size_t n = strlen(cache);
    FUZZ_CHECK(strncmp(path, cache, n) == 0 && strncmp(path + n, "/models--", 9) == 0);
    FUZZ_CHECK(!strstr(path + n, ".."));
}

static void run(char *text, size_t n)
{
    struct fuzz_bytes b = {text, n};
    const struct str id = take_part(&b, '\n'), revision = take_part(&b, '\n');
    struct arena a = {0};
    struct quern_error err;
    const char *path = NULL;
    char cache[FUZZ_PATH];
    fuzz_file(REPO "/refs/main", b.p, b.n);
    fuzz_file(REPO "/snapshots/0a1/config.json", "{}", 2);
    fuzz_file(REPO "/snapshots/v1/config.json", "{}", 2);
    fuzz_file("hub/models--m/refs/main", "v1\n", 3);
    fuzz_file("hub/models--m/snapshots/v1/config.json", "{}", 2);
    snprintf(cache, sizeof cache, "%s/hub", fuzz_dir());
    /* Others are refused before they get there. */
    if (!hub_is_id(id) || id.n > 96 || (revision.n > 0 && !hub_is_revision(revision)))
        return;
    if (!fuzz_failed(hub_find(cache, id, revision, &a, &path, &err), &err) && path)
        check_inside(cache, path);
    arena_free(&a);
}

static const char *const words[] = {"a/b\n", "m\n",         "\n", "main\n", "v1",
                                    "0a1",   "refs/pr/1\n", "..", "/",      NULL};

const struct fuzz_target fuzz_hub = {
    .name = "hub",
    .max_len = 384,
    .run = run,
    .bytes_per_byte = 64,
    .bytes_besides = 16384,
    .words = words,
    .memory_may_fail = true,
};
