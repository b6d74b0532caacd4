/* manifest.c - the outermost keys of a manifest, and its mistakes. */
#include "manifest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "core/io.h"
#include "manifest_reader.h"

/* ---- mistakes ------------------------------------------------------------------------------- */

static struct str told_text(const void *reader, uint32_t i)
{
    return ((const struct manifest_reader *)reader)->told[i];
}

/* Has it not been told yet? */
static bool is_news(struct manifest_reader *r, const char *text)
{
    uint32_t i;
    bool fresh;
    if (r->full || name_table_find(&r->told_table, str_from(text), told_text, r, &i))
        return false;
    const uint32_t n = r->told_table.count;
    r->told[n] = arena_str(&r->m->arena, str_from(text));
    if (!r->told[n].p ||
        !name_table_add(&r->told_table, r->told[n], n, told_text, r, &fresh, NULL)) {
        r->no_memory = r->full = true;
        return false;
    }
    r->full = n + 1 == MANIFEST_MAX_MISTAKES;
    return true;
}

void manifest_wrong(struct manifest_reader *r, uint32_t line, const char *kind, const char *format,
                    ...)
{
    char text[900], with_line[940];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(with_line, sizeof with_line, "line %" PRIu32 ": %s", line, text);
    if (!is_news(r, with_line))
        return;
    struct quern_error *e = mistake(&r->mistakes);
    fail(e, QUERN_EUSAGE, kind, "%s", with_line);
    in_file(e, r->m->path, QUERN_EUSAGE);
}

void *manifest_memory(struct manifest_reader *r, void *p)
{
    r->no_memory |= p == NULL;
    return p;
}

void manifest_unknown(struct manifest_reader *r, const struct yaml_node *n, const char *where,
                      const char *const *keys, size_t nkeys)
{
    const char *near = closest(n->key, keys, nkeys);
    if (near)
        manifest_wrong(r, n->line, "unknown-key",
                       "unknown key '%s' in %s" WANT "did you mean '%s'?", quoted(n->key).text,
                       where, near);
    else
        manifest_wrong(r, n->line, "unknown-key", "unknown key '%s' in %s", quoted(n->key).text,
                       where);
}

bool manifest_text(struct manifest_reader *r, const struct yaml_node *n, const char *what,
                   struct str *out)
{
    if (n->kind == YAML_IS_SCALAR && !yaml_is_null(n) && n->text.n > 0) {
        *out = n->text;
        return true;
    }
    if (n->kind == YAML_IS_MAP)
        manifest_wrong(r, n->line, "manifest",
                       "%s is a map" WANT "expected a text: one that begins with a {variable} "
                       "stands in quotes",
                       what);
    else
        manifest_wrong(r, n->line, "manifest", "%s is %s" WANT "expected a text", what,
                       n->kind == YAML_IS_LIST ? "a list" : "nothing");
    return false;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static void check_version(struct manifest_reader *r, const struct yaml_node *root)
{
    const struct yaml_node *n = yaml_get(root, "version");
    uint64_t version;
    if (!n)
        manifest_wrong(r, root->line, "version",
                       "there is no 'version'" WANT "expected version: %u", MANIFEST_VERSION);
    else if (n->kind != YAML_IS_SCALAR || !str_to_u64(n->text, &version) ||
             version != MANIFEST_VERSION)
        manifest_wrong(r, n->line, "version",
                       "a manifest of another version" WANT "quern %s reads version %u",
                       quern_version(), MANIFEST_VERSION);
}

static void take_root(struct manifest_reader *r, const struct yaml_node *root)
{
    static const char *const keys[] = {"version", "defaults", "jobs"};
    if (root->kind != YAML_IS_MAP) {
        manifest_wrong(r, root->line, "manifest",
                       "this is no map" WANT "expected version and jobs");
        return;
    }
    for (const struct yaml_node *n = root->first; n; n = n->next)
        if (!str_is(n->key, "version") && !str_is(n->key, "defaults") && !str_is(n->key, "jobs"))
            manifest_unknown(r, n, "the manifest", keys, 3);
    check_version(r, root);
    if (yaml_get(root, "defaults"))
        manifest_defaults(r, yaml_get(root, "defaults"));
    const struct yaml_node *jobs = yaml_get(root, "jobs");
    if (!jobs || jobs->kind != YAML_IS_LIST || jobs->count == 0) {
        manifest_wrong(r, jobs ? jobs->line : root->line, "manifest",
                       "there are no jobs" WANT "expected a list under 'jobs'");
        return;
    }
    for (const struct yaml_node *n = jobs->first; n && !r->full; n = n->next)
        manifest_entry(r, n);
}

enum quern_status manifest_parse(struct str text, const char *path, struct manifest *m,
                                 const struct mistake_sink *sink, struct quern_error *err)
{
    const struct yaml_node *root;
    *m = (struct manifest){.path = path};
    struct manifest_reader r = {.m = m, .mistakes = {.sink = sink}};
    TRY(yaml_parse(text, path, &m->arena, &root, err));
    take_root(&r, root);
    /* What needs what can be told only when every job is understood. */
    if (r.mistakes.count == 0 && !r.no_memory)
        manifest_order(&r);
    name_table_free(&r.told_table);
    const enum quern_status s = mistakes_end(&r.mistakes, err);
    return r.no_memory ? fail_memory(err, m->arena.nbytes) : s;
}

enum quern_status manifest_read(const char *path, struct manifest *m,
                                const struct mistake_sink *sink, struct quern_error *err)
{
    struct arena arena = {0};
    struct str text;
    *m = (struct manifest){.path = path};
    enum quern_status s = read_small_file(path, YAML_MAX_TEXT, &arena, &text, err);
    if (s == QUERN_OK)
        s = manifest_parse(text, path, m, sink, err);
    arena_free(&arena);
    return s;
}

void manifest_free(struct manifest *m)
{
    free(m->jobs);
    arena_free(&m->arena);
}
