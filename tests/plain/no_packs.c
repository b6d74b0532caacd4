/* no_packs.c - for programs without zstd: no path is a pack. */
#include "formats/pack.h"

size_t pack_part(const char *path)
{
    (void)path;
    return 0;
}

enum quern_status pack_enter(const char *path, struct archive **held, struct quern_error *err)
{
    (void)path;
    (void)err;
    *held = NULL;
    return QUERN_OK;
}

enum quern_status pack_open(const char *path, enum pack_use use, struct archive **out,
                            struct quern_error *err)
{
    (void)use;
    *out = NULL;
    return in_file(err, path, fail(err, QUERN_EUNSUPPORTED, "pack", "packs are left out here"));
}
