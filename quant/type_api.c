/* type_api.c - the public face of element types and kernel tables. */
#include "core/error.h"
#include "quant/codec.h"
#include "quant/mix.h"

bool quern_get_type(size_t i, struct quern_type *out)
{
    if (i >= DTYPE_COUNT)
        return false;
    const struct dtype_traits *t = &dtype_traits[i];
    *out = (struct quern_type){.name = t->name,
                               .about = t->about,
                               .block_elems = t->block_elems,
                               .block_bytes = t->block_bytes,
                               .gguf = t->gguf_id != NO_GGUF_ID,
                               .safetensors = t->st_name != NULL,
                               .can_read = codec_can_decode((enum dtype)i),
                               .can_write = codec_can_encode((enum dtype)i),
                               .uses_imatrix = codec_uses_importance((enum dtype)i),
                               .needs_imatrix = mix_type_needs_importance((enum dtype)i)};
    return true;
}

bool quern_set_cpu(const char *name)
{
    return codec_set(name);
}

const char *quern_cpu(void)
{
    return codec_kernels()->name;
}
