/* unpack_mxfp4.c - experts in MXFP4 as gpt-oss was published. */
#include "fp4.h"
#include "gather.h"
#include "unpacking.h"

static bool claims_mxfp4(const struct unpacking *u)
{
    return str_is(u->method, "mxfp4");
}

/* Packed along their input; as plain weights these are [experts, inputs, outputs]. */
static enum quern_status unpack_mxfp4(struct unpacking *u, struct quern_error *err)
{
    const struct source *packed, *scales;
    struct str stem;
    TRY(unpack_known_keys(u->config, "quant_method modules_to_not_convert", err));
    for (uint32_t i = 0; (packed = unpack_next(u, "_blocks", &i, &stem));) {
        struct source *rows = ARENA_NEW(u->arena, struct source, 1), s;
        if (!rows)
            return fail_memory(err, sizeof *rows);
        TRY(unpack_part(u, stem, "_scales", true, &scales, err));
        TRY(mxfp4_source(u->arena, packed, scales, u->dtype, rows, err));
        TRY(turned_source(u->arena, rows, &s, err));
        struct str name;
        TRY(unpack_name(u, stem, "", &name, err));
        TRY(unpack_put(u, packed, name, &s, err));
    }
    return QUERN_OK;
}

const struct packing packing_mxfp4 = {
    .name = "MXFP4", .parts = "_blocks _scales", .claims = claims_mxfp4, .unpack = unpack_mxfp4};
