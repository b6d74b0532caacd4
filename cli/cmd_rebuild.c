/* cmd_rebuild.c - quern rebuild: make an output again, from what its record tells. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/archive.h"
#include "core/io.h"
#include "core/output.h"
#include "formats/byte_files.h"
#include "formats/pack.h"
#include "making.h"
#include "pipeline/hashing.h"
#include "pipeline/provenance.h"

#define SHOWN 20u

/* ---- places --------------------------------------------------------------------------------- */

const char *place_then(const struct cli *c, const char *path, struct arena *arena)
{
    const struct values *moved = &c->making->moved;
    const char *pairs[MAX_ARGS];
    size_t n = 0;
    for (size_t i = 0; i < moved->count; i++) {
        const char *equals = strchr(moved->items[i], '=');
        pairs[n] = arena_printf(arena, "%s=%.*s", equals + 1, (int)(equals - moved->items[i]),
                                moved->items[i]);
        if (!pairs[n++])
            return NULL;
    }
    return path_moved(arena, pairs, n, path);
}

/* Where that which the record calls so is now. */
static const char *place_now(const struct cli *c, const struct record *r, const char *path,
                             struct arena *arena)
{
    const char *now = path_moved(arena, c->inputs.items, c->inputs.count, path);
    if (!now || !str_starts(str_from(now), HUB_PATH))
        return now;
    const char *hub = c->hub_cache        ? c->hub_cache
                      : r->cli->hub_cache ? r->cli->hub_cache
                                          : hub_cache_dir(arena);
    return hub ? path_join(arena, hub, now + strlen(HUB_PATH)) : now;
}

static int check_moves(const struct cli *c)
{
    for (size_t i = 0; i < c->inputs.count; i++) {
        const char *text = c->inputs.items[i], *equals = strchr(text, '=');
        if (!equals || equals == text || !equals[1])
            return usage_error(c, "--input '%s': expected OLD=NEW", quoted(str_from(text)).text);
    }
    return 0;
}

/* ---- inputs --------------------------------------------------------------------------------- */

struct findings {
    struct listed_error *items; /* room for SHOWN */
    size_t count, total;
};

static void found(struct findings *f, const struct quern_error *e)
{
    if (f->count < SHOWN)
        f->items[f->count++] = (struct listed_error){.error = *e};
    f->total++;
}

/* What of the recorded tensors is another in the file now. */
static void compare_tensors(const struct plan *p, const struct model *m, uint32_t file,
                            const struct record_input *in, struct quern_error *err)
{
    uint32_t ndiffer = 0;
    struct str first = {NULL, 0};
    for (uint32_t i = 0; i < in->ntensors; i++) {
        const struct tensor *t = model_find(m, in->tensors[i].name);
        char hex[65] = "";
        if (t && t->file == file)
            hash_of_tensor(p, m, (uint32_t)(t - m->tensors), hex);
        if (strcmp(hex, in->tensors[i].sha256) == 0)
            continue;
        first = ndiffer++ ? first : in->tensors[i].name;
    }
    if (ndiffer == 0) {
        fail(err, QUERN_EIO, "changed", "its tensors are as recorded, the rest is not");
        return;
    }
    const char *expected = "expected inputs as they were";
    if (ndiffer == 1)
        fail(err, QUERN_EIO, "changed", "its bytes are not the recorded ones" WANT "%s", expected);
    else
        fail(err, QUERN_EIO, "changed",
             "its bytes are not the recorded ones, nor are those of %" PRIu32 " more tensors" WANT
             "%s",
             ndiffer - 1, expected);
    in_tensor(err, first, QUERN_EIO);
}

static enum quern_status look_closer(const struct cli *c, struct model *m, const char *path,
                                     const struct record_input *in, struct quern_error *err)
{
    const struct quern_run_options options = {
        .threads = c->threads, .mem_bytes = c->mem, .cancel = &stop_signal};
    struct stat st;
    const bool on_disk = stat(path, &st) == 0; /* not in a pack */
    struct plan *p = plan_new("hash", NULL);
    enum quern_status s = p ? plan_add_model(p, m, NULL) : QUERN_EMEMORY;
    if (s == QUERN_OK)
        s = plan_hash_model(p, m, true, NULL);
    if (s == QUERN_OK)
        s = plan_run(p, &options, NULL, NULL);
    for (uint32_t k = 0; s == QUERN_OK && k < m->nfiles; k++)
        if (on_disk ? m->files[k].id.ino == st.st_ino && m->files[k].id.dev == st.st_dev
                    : strcmp(m->files[k].path, path) == 0)
            compare_tensors(p, m, k, in, err);
    plan_free(p);
    return s;
}

/* Says as exactly as can be how a file differs. */
static void describe(const struct cli *c, const char *path, const struct record_input *in,
                     const char *hex, struct quern_error *err)
{
    struct model *m;
    fail(err, QUERN_EIO, "changed", "its SHA-256 is %s" WANT "expected %s, as recorded", hex,
         in->sha256);
    if (in->ntensors && model_open(path, &m, NULL) == QUERN_OK) {
        look_closer(c, m, path, in, err);
        model_close(m);
    }
    in_file(err, path, QUERN_EIO);
}

/* Packs that inputs lie in, open while they are looked at. */
struct packs {
    struct archive **items;
    uint32_t count;
    size_t last; /* bytes of the path of the last one */
};

static enum quern_status open_pack_of(const char *path, const char *before, struct packs *packs,
                                      struct arena *arena, struct quern_error *err)
{
    const size_t n = pack_part(path);
    if (n == 0 || (before && n == packs->last && strncmp(path, before, n) == 0))
        return QUERN_OK;
    const char *pack = arena_printf(arena, "%.*s", (int)n, path);
    if (!pack)
        return fail_memory(err, n);
    TRY(pack_open(pack, PACK_DATA, &packs->items[packs->count], err));
    packs->count++;
    packs->last = n;
    return QUERN_OK;
}

/* False when it is not there, or cannot be the same. */
static bool right_size(const char *path, const struct record_input *in, struct findings *f)
{
    struct quern_error err;
    uint64_t nbytes;
    if (byte_file_size(path, &nbytes) && nbytes == in->nbytes)
        return true;
    if (!path_exists(path))
        fail_errno(&err, path, "open");
    else if (!path_is_file(path))
        fail(&err, QUERN_EIO, "changed", "it is no file any more");
    else
        fail(&err, QUERN_EIO, "changed",
             "it has %" PRIu64 " bytes" WANT "expected %" PRIu64 ", as recorded", nbytes,
             in->nbytes);
    in_file(&err, path, QUERN_EIO);
    found(f, &err);
    return false;
}

static enum quern_status compare_inputs(const struct cli *c, const struct record *r,
                                        struct packs *packs, struct arena *arena,
                                        struct findings *f, struct quern_error *err)
{
    const struct quern_run_options options = {
        .threads = c->threads, .mem_bytes = c->mem, .cancel = &stop_signal};
    const char **paths = ARENA_NEW(arena, const char *, r->ninputs + 1u);
    uint32_t *which = ARENA_NEW(arena, uint32_t, r->ninputs + 1u), n = 0;
    char(*hex)[65] = arena_array(arena, r->ninputs + 1u, sizeof *hex);
    const char *before = NULL;
    packs->items = ARENA_NEW(arena, struct archive *, r->ninputs + 1u);
    if (!paths || !which || !hex || !packs->items)
        return fail_memory(err, r->ninputs * sizeof *hex);
    for (uint32_t i = 0; i < r->ninputs; i++) {
        const char *path = place_now(c, r, r->inputs[i].path, arena);
        if (!path)
            return fail_memory(err, strlen(r->inputs[i].path));
        TRY(open_pack_of(path, before, packs, arena, err));
        before = pack_part(path) ? path : before;
        if (!right_size(path, &r->inputs[i], f))
            continue;
        paths[n] = path;
        which[n++] = i;
    }
    TRY(hash_files(paths, n, &options, hex, err));
    for (uint32_t k = 0; k < n; k++) {
        const struct record_input *in = &r->inputs[which[k]];
        struct quern_error e;
        if (strcmp(hex[k], in->sha256) == 0)
            continue;
        describe(c, paths[k], in, hex[k], &e);
        found(f, &e);
    }
    return QUERN_OK;
}

static int check_inputs(const struct cli *c, const struct record *r)
{
    struct arena arena = {0};
    struct quern_error err;
    struct findings f = {.items = calloc(SHOWN, sizeof *f.items)};
    struct packs packs = {.count = 0};
    int code = 0;
    if (!f.items) {
        fail_memory(&err, SHOWN * sizeof *f.items);
        code = report_error(c, &err);
    } else if (compare_inputs(c, r, &packs, &arena, &f, &err) != QUERN_OK) {
        code = err.status == QUERN_ECANCELLED ? 128 + asked_to_stop(&stop_signal)
                                              : report_error(c, &err);
    } else if (f.total) {
        code = report_errors(c, f.items, f.count, f.total);
        if (!c->quiet)
            say("The record is of other inputs; --input OLD=NEW tells where the right ones are.");
    }
    while (packs.count > 0)
        archive_leave(packs.items[--packs.count]);
    free(f.items);
    arena_free(&arena);
    return code;
}

/* ---- the output ----------------------------------------------------------------------------- */

static const char *suffix_of(const char *name)
{
    static const char *const known[] = {".gguf", ".safetensors", ".dat"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_ends(str_from(name), known[i]))
            return known[i];
    return "";
}

/* Where the output goes, and the name the plan is told: the recorded one may count (the name of a
 * model comes from it), beside where it goes. */
static int find_places(const struct cli *c, const struct record *r, struct arena *arena,
                       struct rebuild *b)
{
    const struct str path = str_from(r->path);
    const size_t n = path.n - (str_ends(path, RECORD_SUFFIX) ? strlen(RECORD_SUFFIX) : 0);
    b->target = c->output;
    if (!b->target && n == path.n)
        return usage_error(c, "'%s' does not end in " RECORD_SUFFIX ": -o OUTPUT is missing",
                           quoted(path).text);
    if (!b->target)
        b->target = arena_printf(arena, "%.*s", (int)n, path.p);
    const char *base = b->target ? path_base(b->target) : NULL;
    b->planned =
        base ? arena_printf(arena, "%.*s%s", (int)(base - b->target), b->target, r->output) : NULL;
    if (!b->planned) {
        struct quern_error err;
        fail_memory(&err, path.n);
        return report_error(c, &err);
    }
    if (strcmp(suffix_of(b->target), suffix_of(r->output)) != 0)
        return usage_error(c, "the record is of '%s', a %s: OUTPUT '%s' is of another form",
                           quoted(str_from(r->output)).text,
                           strcmp(r->form, "files") == 0 ? "set of files" : r->form,
                           quoted(str_from(b->target)).text);
    return 0;
}

/* ---- the command ---------------------------------------------------------------------------- */

static bool move_text(const struct cli *c, const char **text, struct arena *arena)
{
    *text = path_moved(arena, c->inputs.items, c->inputs.count, *text);
    return *text != NULL;
}

/* Models that a merge names are looked up under their names by the merge itself. */
static bool move_inputs(const struct cli *c, struct cli *job, struct arena *arena)
{
    const bool merges = strcmp(job->command->name, "merge") == 0;
    const struct option *t;
    bool ok = true;
    for (size_t i = 0; !merges && i < job->args.count; i++)
        ok &= move_text(c, &job->args.items[i], arena);
    for (unsigned i = 0; (t = command_options(job->command, i)); i++)
        for (; t->name; t++) {
            void *field = (char *)job + t->field;
            const char **text = field;
            struct values *v = field;
            for (size_t k = 0; k < (t->kind == OPTION_PAIR ? 2 : t->kind == OPTION_FILE); k++)
                ok &= !text[k] || move_text(c, &text[k], arena);
            for (size_t k = 0; t->kind == OPTION_LIST_FILE && k < v->count; k++)
                ok &= !v->is_file[k] || move_text(c, &v->items[k], arena);
        }
    return ok;
}

static int make(const struct cli *c, const struct record *r, struct rebuild *b, struct arena *arena)
{
    struct cli *job = r->cli;
    struct quern_error err;
    job->making = b;
    job->output = b->planned;
    job->threads = c->threads;
    job->mem = c->mem;
    job->progress = c->progress;
    job->dry_run = c->dry_run;
    job->force = c->force;
    job->resume = c->resume;
    job->sha256 = c->sha256;
    job->quiet = c->quiet;
    job->verbose = c->verbose;
    job->json = c->json;
    job->see_plan = c->see_plan;
    job->see_data = c->see_data;
    job->hub_cache = c->hub_cache ? c->hub_cache : job->hub_cache;
    job->quantize.imatrix_name = job->quantize.imatrix; /* it stands in the output */
    if (!move_inputs(c, job, arena)) {
        fail_memory(&err, MAX_ARGS);
        return report_error(c, &err);
    }
    const int code = job->command->run(job);
    if (code != 0 || b->begun)
        return code;
    fail(&err, QUERN_EFORMAT, "job", "the recorded command makes no output");
    in_file(&err, r->path, QUERN_EFORMAT);
    return report_error(c, &err);
}

/* Before the inputs are read. */
static int check_target(const struct cli *c, const struct record *r, const struct rebuild *b)
{
    struct quern_error err;
    if (c->dry_run || c->resume || strcmp(r->form, "files") == 0 ||
        output_check(b->target, strcmp(r->form, "directory") == 0, c->force, &err) == QUERN_OK)
        return 0;
    return report_error(c, &err);
}

/* Those that the record names have moved with the inputs. */
static int add_recorded_bases(const struct cli *c, const struct record *r, struct arena *arena)
{
    struct quern_error err;
    for (size_t i = 0; i < r->cli->pack_bases.count; i++) {
        const char *was = r->cli->pack_bases.items[i], *now = place_now(c, r, was, arena);
        if ((now ? pack_add_base(now, &err) : fail_memory(&err, strlen(was))) != QUERN_OK)
            return report_error(c, &err);
    }
    return 0;
}

static int rebuild(const struct cli *c, const struct record *r)
{
    struct arena arena = {0};
    struct rebuild b = {.record = r, .moved = c->inputs};
    int code = find_places(c, r, &arena, &b);
    if (code == 0)
        code = check_target(c, r, &b);
    if (code == 0)
        code = add_recorded_bases(c, r, &arena);
    if (code == 0)
        code = check_inputs(c, r);
    if (code == 0)
        code = make(c, r, &b, &arena);
    arena_free(&arena);
    if (code == 0 && !c->dry_run && !c->quiet && !c->json)
        say("  the same bytes as recorded: %" PRIu32 " file%s", r->noutputs,
            r->noutputs == 1 ? "" : "s");
    return code;
}

/* The output was given instead of the record beside it. */
static bool names_output(const char *path)
{
    char *record;
    if (str_ends(str_from(path), ".json") || asprintf(&record, "%s" RECORD_SUFFIX, path) < 0)
        return false;
    const bool there = path_exists(record);
    free(record);
    return there;
}

int cmd_rebuild(struct cli *c)
{
    struct quern_error err;
    struct record r;
    if (c->args.count != 1)
        return usage_error(c, "expected one RECORD, got %zu argument%s", c->args.count,
                           c->args.count == 1 ? "" : "s");
    int code = check_moves(c);
    if (code != 0)
        return code;
    catch_signals();
    if (names_output(c->args.items[0]))
        return usage_error(c, "'%s' is no record, but there is '%s" RECORD_SUFFIX "'",
                           quoted(str_from(c->args.items[0])).text,
                           quoted(str_from(c->args.items[0])).text);
    code = record_read(c->args.items[0], &r, &err) == QUERN_OK ? rebuild(c, &r)
                                                               : report_error(c, &err);
    record_free(&r);
    return code;
}
