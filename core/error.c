/* error.c - fill in an error and render it as one line. */
#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "safe_text.h"

/* Append to a buffer of n bytes; cuts at its end. */
__attribute__((format(printf, 4, 5))) static size_t put(char *buf, size_t n, size_t used,
                                                        const char *format, ...)
{
    if (used + 1 >= n)
        return used;
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(buf + used, n - used, format, args);
    va_end(args);
    if (len < 0)
        return used;
    return used + (size_t)len < n ? used + (size_t)len : n - 1;
}

static void render(struct quern_error *e)
{
    size_t n = 0;
    if (e->file[0])
        n = put(e->text, sizeof e->text, n, "%s: ", e->file);
    if (e->tensor[0])
        n = put(e->text, sizeof e->text, n, "tensor '%s': ", e->tensor);
    n = put(e->text, sizeof e->text, n, "%s", e->found);
    if (e->offset != UINT64_MAX)
        n = put(e->text, sizeof e->text, n, " at byte %" PRIu64, e->offset);
    if (e->expected[0])
        put(e->text, sizeof e->text, n, ", %s", e->expected);
}

static void copy_text(char *dst, size_t n, const char *src)
{
    const size_t fits = str_fit(src, n - 1);
    memcpy(dst, src, fits);
    dst[fits] = '\0';
    defuse(dst);
}

enum quern_status fail(struct quern_error *err, enum quern_status status, const char *kind,
                       const char *format, ...)
{
    if (!err)
        return status;
    memset(err, 0, sizeof *err);
    err->status = status;
    err->offset = UINT64_MAX;
    copy_text(err->kind, sizeof err->kind, kind);

    char both[sizeof err->found + sizeof err->expected];
    va_list args;
    va_start(args, format);
    vsnprintf(both, sizeof both, format, args);
    va_end(args);
    char *want = strstr(both, WANT);
    if (want) {
        *want = '\0';
        copy_text(err->expected, sizeof err->expected, want + 1);
    }
    copy_text(err->found, sizeof err->found, both);
    render(err);
    return status;
}

enum quern_status fail_memory(struct quern_error *err, uint64_t nbytes)
{
    return fail(err, QUERN_EMEMORY, "memory", "out of memory: %" PRIu64 " bytes could not be had",
                nbytes);
}

enum quern_status fail_errno(struct quern_error *err, const char *path, const char *action)
{
    const int code = errno;
    if (code == ENOMEM)
        return in_file(err, path, fail_memory(err, 0));
    const char *why = strerrordesc_np(code);
    fail(err, QUERN_EIO, code == ENOSPC ? "disk-full" : "io", "cannot %s: %s", action,
         why ? why : "unknown error");
    return in_file(err, path, QUERN_EIO);
}

enum quern_status in_file(struct quern_error *err, const char *path, enum quern_status status)
{
    if (err && status != QUERN_OK && !err->file[0] && path) {
        /* A path may come from an index. Longer than quoted() takes: keep it whole, defused. */
        copy_text(err->file, sizeof err->file,
                  strlen(path) < QUOTED_MAX / 4 ? quoted(str_from(path)).text : path);
        render(err);
    }
    return status;
}

enum quern_status in_tensor(struct quern_error *err, struct str name, enum quern_status status)
{
    if (err && status != QUERN_OK && !err->tensor[0]) {
        copy_text(err->tensor, sizeof err->tensor, quoted(name).text);
        render(err);
    }
    return status;
}

enum quern_status at_offset(struct quern_error *err, uint64_t offset, enum quern_status status)
{
    if (err && status != QUERN_OK && err->offset == UINT64_MAX) {
        err->offset = offset;
        render(err);
    }
    return status;
}
