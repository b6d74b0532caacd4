/* output_write.c - a small file whose bytes are all there already. */
#include "io.h"
#include "output.h"

enum quern_status output_write(const char *path, struct str text, unsigned flags, bool replace,
                               struct quern_error *err)
{
    struct output o = {0};
    enum quern_status s = output_begin(&o, path, text.n, flags, err);
    if (s == QUERN_OK)
        s = pwrite_full(o.fd, text.p, text.n, 0, path, err);
    if (s == QUERN_OK)
        s = output_commit(&o, replace, err);
    output_abort(&o);
    return s;
}
