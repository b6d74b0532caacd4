/* rename.c - move the outputs of a plan. */
#include "rename.h"

enum quern_status plan_rename(struct plan *p, const char *from, const char *to,
                              struct quern_error *err)
{
    const size_t n = strlen(from);
    if (p->dir) {
        p->dir = arena_printf(&p->arena, "%s", to);
        return p->dir ? QUERN_OK : fail_memory(err, strlen(to));
    }
    for (uint32_t i = 0; i < p->nfiles; i++) {
        const char *path = p->files[i].path;
        if (strncmp(path, from, n) != 0)
            return fail(err, QUERN_EINTERNAL, "internal", "'%s' is not what was planned",
                        quoted(str_from(path)).text);
        p->files[i].path = arena_printf(&p->arena, "%s%s", to, path + n);
        if (!p->files[i].path)
            return fail_memory(err, strlen(to));
    }
    return QUERN_OK;
}
