/* mistakes.c - the first of many mistakes, and their number. */
#include "merge/mistakes.h"

#include <inttypes.h>
#include <stdio.h>

/* Only the next mistake, or the end, shows that a mistake has been written in full. */
static void tell_latest(struct mistakes *m)
{
    if (m->sink && m->count > 0)
        m->sink->tell(m->count == 1 ? &m->first : &m->latest, m->sink->user);
}

struct quern_error *mistake(struct mistakes *m)
{
    tell_latest(m);
    if (m->count++ == 0)
        return &m->first;
    return m->sink ? &m->latest : NULL;
}

static void append(char *text, size_t size, const char *more)
{
    const size_t n = strlen(text);
    snprintf(text + n, size - n, "%s", more);
}

enum quern_status mistakes_end(struct mistakes *m, struct quern_error *err)
{
    if (m->count == 0)
        return QUERN_OK;
    tell_latest(m);
    if (err)
        *err = m->first;
    if (err && m->count > 1) {
        char more[64];
        snprintf(more, sizeof more, " (and %" PRIu32 " more mistake%s)", m->count - 1,
                 m->count > 2 ? "s" : "");
        append(err->text, sizeof err->text, more);
        if (err->expected[0])
            append(err->expected, sizeof err->expected, more);
        else
            append(err->found, sizeof err->found, more);
    }
    return m->first.status;
}
