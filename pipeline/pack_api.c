/* pack_api.c - the public face of packing and unpacking. */
#include <string.h>

#include "core/frame.h"
#include "core/sha256.h"
#include "pipeline/pack_plan.h"

static enum quern_status read_level(const char *text, struct pack_request *r,
                                    struct quern_error *err)
{
    static const struct {
        const char *name;
        int level;
    } levels[] = {
        {"huf", FRAME_ENTROPY_ONLY},
        {"1",   1                 },
        {"3",   3                 },
        {"9",   9                 },
        {"19",  19                }
    };
    r->level = 1;
    r->thorough = text != NULL;
    if (!text)
        return QUERN_OK;
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
        if (strcmp(text, levels[i].name) == 0) {
            r->level = levels[i].level;
            return QUERN_OK;
        }
    return fail(err, QUERN_EUSAGE, "level", "level '%s'" WANT "expected huf, 1, 3, 9 or 19",
                quoted(str_from(text)).text);
}

enum quern_status quern_plan_pack(const char *const *inputs, size_t ninputs, const char *output,
                                  const struct quern_pack *options, struct quern_plan **out,
                                  struct quern_error *err)
{
    static const struct quern_pack none;
    const struct quern_pack *o = options ? options : &none;
    struct pack_request r = {
        .inputs = inputs, .ninputs = ninputs, .output = output, .base = o->base, .force = o->force};
    struct plan *p;
    TRY(read_level(o->level, &r, err));
    TRY(plan_pack(&r, &p, err));
    *out = (struct quern_plan *)p;
    return QUERN_OK;
}

enum quern_status quern_plan_unpack(const char *pack, const char *output,
                                    const struct quern_unpack *options, struct quern_plan **out,
                                    struct quern_error *err)
{
    struct plan *p;
    TRY(plan_unpack(pack, output, options && options->force, &p, err));
    *out = (struct quern_plan *)p;
    return QUERN_OK;
}

enum quern_status quern_add_pack_base(const char *path, struct quern_error *err)
{
    return pack_add_base(path, err);
}

bool quern_plan_packed(const struct quern_plan *plan, size_t i, struct quern_packed *out)
{
    const struct plan *p = (const struct plan *)plan;
    struct pack_share shares[DTYPE_COUNT + 1];
    if (strcmp(p->verb, "pack") != 0 || i >= pack_shares(p, shares))
        return false;
    *out = (struct quern_packed){.kind = shares[i].kind,
                                 .count = shares[i].count,
                                 .nbytes = shares[i].nbytes,
                                 .stored_bytes = shares[i].stored};
    return true;
}

bool quern_plan_unpacked(const struct quern_plan *plan, size_t i, struct quern_unpacked *out)
{
    const struct plan *p = (const struct plan *)plan;
    const struct pack_file *files;
    if (strcmp(p->verb, "unpack") != 0 || i >= unpacked_files(p, &files))
        return false;
    *out = (struct quern_unpacked){.name = files[i].name, .nbytes = files[i].nbytes};
    digest_hex(files[i].sha256, out->sha256);
    return true;
}
