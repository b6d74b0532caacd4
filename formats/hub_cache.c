/* hub_cache.c - find the snapshot of a model by its id and revision. */
#include "formats/hub_cache.h"

#include <unistd.h>

#include "core/io.h"

static bool is_there(const char *path)
{
    return access(path, F_OK) == 0;
}

bool hub_is_id(struct str s)
{
    unsigned slashes = 0;
    for (size_t i = 0; i < s.n; i++) {
        const char c = s.p[i];
        const bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                          (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
        slashes += c == '/';
        if ((!word && c != '/') || (c == '/' && (i == 0 || i + 1 == s.n)))
            return false;
    }
    return s.n > 0 && slashes <= 1 && s.p[0] != '.' && !str_has(s, "..") && !str_has(s, "/.");
}

bool hub_is_revision(struct str s)
{
    return s.n > 0 && s.p[0] != '/' && !str_has(s, "..") && !memchr(s.p, '\0', s.n);
}

/* The commit that a branch or tag stands for in the cache; itself when it is no branch or tag. */
static enum quern_status read_ref(const char *repo, struct str revision, struct arena *arena,
                                  struct str *commit, struct quern_error *err)
{
    const char *path = arena_printf(arena, "%s/refs/%.*s", repo, STR_ARG(revision));
    if (!path)
        return fail_memory(err, revision.n);
    *commit = revision;
    if (!is_there(path))
        return QUERN_OK;
    TRY(read_small_file(path, 256, arena, commit, err));
    while (commit->n > 0 && strchr(" \r\n\t", commit->p[commit->n - 1]))
        commit->n--;
    if (!hub_is_revision(*commit) || memchr(commit->p, '/', commit->n))
        return in_file(err, path,
                       fail(err, QUERN_EFORMAT, "hub-ref", "it holds '%s'" WANT "expected a commit",
                            quoted(*commit).text));
    return QUERN_OK;
}

enum quern_status hub_find(const char *cache, struct str id, struct str revision,
                           struct arena *arena, const char **path, struct quern_error *err)
{
    const char *slash = memchr(id.p, '/', id.n);
    const size_t norg = slash ? (size_t)(slash - id.p) : 0;
    if (!revision.n)
        revision = STR("main");
    const char *repo = slash ? arena_printf(arena, "%s/models--%.*s--%.*s", cache, (int)norg, id.p,
                                            (int)(id.n - norg - 1), slash + 1)
                             : arena_printf(arena, "%s/models--%.*s", cache, STR_ARG(id));
    if (!repo)
        return fail_memory(err, id.n);
    struct str commit = {NULL, 0};
    TRY(read_ref(repo, revision, arena, &commit, err));
    const char *snapshot = arena_printf(arena, "%s/snapshots/%.*s", repo, STR_ARG(commit));
    if (!snapshot)
        return fail_memory(err, id.n);
    *path = is_there(snapshot) ? snapshot : NULL;
    return QUERN_OK;
}
