/* gguf_check.c - the numbers of a GGUF model that a quantizer calculates with, against its tensors.
 */
#include <inttypes.h>
#include <stdio.h>

#include "formats/gguf.h"

#define MAX_BLOCKS 65535u
/* Layers beyond the last one found: some files lack a few (multi-token prediction heads). */
#define SPARE_BLOCKS 64u
#define MAX_ARCH     64u

/* The key ARCH.name, or NULL. */
static const struct meta *arch_key(const struct model *m, struct str arch, const char *name)
{
    char key[MAX_ARCH + 64];
    if (arch.n > MAX_ARCH || memchr(arch.p, '\0', arch.n))
        return NULL;
    snprintf(key, sizeof key, "%.*s.%s", STR_ARG(arch), name);
    return model_meta(m, key);
}

/* N of blk.N.anything; false for other names and for numbers that no model has. */
static bool layer_of(struct str name, uint64_t *layer)
{
    if (!str_starts(name, "blk."))
        return false;
    const char *start = name.p + 4;
    const char *dot = memchr(start, '.', name.n - 4);
    return dot && str_to_u64((struct str){start, (size_t)(dot - start)}, layer);
}

static enum quern_status wrong_type(const struct meta *k, const char *expected,
                                    struct quern_error *err)
{
    return fail(err, QUERN_EFORMAT, "kv-type",
                "key '%s' is of type %s or negative" WANT "expected %s", quoted(k->key).text,
                meta_type_name(k->type), expected);
}

static enum quern_status check_block_count(const struct model *m, struct str arch,
                                           struct quern_error *err)
{
    const struct meta *k = arch_key(m, arch, "block_count");
    if (!k)
        return QUERN_OK;
    uint64_t count, layer, found = 0;
    if (!meta_u64(k, &count))
        return wrong_type(k, "a whole number", err);
    for (uint32_t i = 0; i < m->ntensors; i++)
        if (layer_of(m->tensors[i].name, &layer) && layer >= found && layer < UINT64_MAX)
            found = layer + 1;
    if (count >= 1 && count <= MAX_BLOCKS && found <= count &&
        (found == 0 || count <= found + SPARE_BLOCKS))
        return QUERN_OK;
    return fail(err, QUERN_EFORMAT, "hparam",
                "%s is %" PRIu64 ", and the tensors have %" PRIu64 " layers" WANT
                "expected the two to agree",
                quoted(k->key).text, count, found);
}

static bool has_attention(const struct model *m)
{
    for (uint32_t i = 0; i < m->ntensors; i++)
        if (str_has(m->tensors[i].name, ".attn_q"))
            return true;
    return false;
}

static enum quern_status check_head_count(const struct model *m, struct str arch,
                                          struct quern_error *err)
{
    const struct meta *k = arch_key(m, arch, "attention.head_count");
    uint64_t count;
    /* An array has a number for each layer. */
    if (!k || k->type == META_ARRAY)
        return QUERN_OK;
    if (!meta_u64(k, &count))
        return wrong_type(k, "a whole number", err);
    /* State-space models say 0: they have no attention. */
    if (count > 0 || !has_attention(m))
        return QUERN_OK;
    return fail(err, QUERN_EFORMAT, "hparam",
                "%s is 0, and there are attention tensors" WANT "expected at least 1",
                quoted(k->key).text);
}

static enum quern_status check_model(const struct model *m, struct quern_error *err)
{
    struct str arch;
    if (!meta_string(model_meta(m, "general.architecture"), &arch))
        return fail(err, QUERN_EFORMAT, "arch",
                    "there is no general.architecture" WANT "expected it in the keys of a model");
    TRY(check_block_count(m, arch, err));
    return check_head_count(m, arch, err);
}

enum quern_status gguf_check_model(const struct model *m, struct quern_error *err)
{
    if (m->format != MODEL_GGUF || m->ntensors == 0)
        return QUERN_OK;
    return in_file(err, m->files[0].path, check_model(m, err));
}
