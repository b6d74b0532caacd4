/* text_difference.c - say how two texts differ without showing them. */
#include "text_difference.h"

#include <stdio.h>

struct contrast text_difference(struct str a, struct str b)
{
    struct contrast d;
    size_t same = 0;
    while (same < a.n && same < b.n && a.p[same] == b.p[same])
        same++;
    snprintf(d.text, sizeof d.text, "%zu and %zu bytes, different from byte %zu on", a.n, b.n,
             same);
    return d;
}
