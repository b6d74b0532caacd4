/* dtype.c - look element types up by id, name and size. */
#include "dtype.h"

#include "checked.h"

const struct dtype_traits dtype_traits[DTYPE_COUNT] = {
#define X(id, name, block, bytes, gguf, st, about) {name, block, bytes, gguf, st, about},
    DTYPE_LIST(X)
#undef X
};

bool dtype_is_quantized(enum dtype d)
{
    return dtype_traits[d].st_name == NULL;
}

bool dtype_is_float(enum dtype d)
{
    switch (d) {
    case DTYPE_F64:
    case DTYPE_F32:
    case DTYPE_F16:
    case DTYPE_BF16:
    case DTYPE_F8_E4M3:
    case DTYPE_F8_E5M2:
        return true;
    default:
        return false;
    }
}

bool dtype_bytes(enum dtype d, uint64_t nelems, uint64_t *nbytes)
{
    const struct dtype_traits *t = &dtype_traits[d];
    return nelems % t->block_elems == 0 &&
           checked_mul(nelems / t->block_elems, t->block_bytes, nbytes);
}

bool dtype_from_gguf(uint32_t gguf_id, enum dtype *out)
{
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const int id = dtype_traits[d].gguf_id;
        if (id != NO_GGUF_ID && (uint32_t)id == gguf_id) {
            *out = (enum dtype)d;
            return true;
        }
    }
    return false;
}

bool dtype_from_safetensors(struct str name, enum dtype *out)
{
    for (int d = 0; d < DTYPE_COUNT; d++) {
        const char *st = dtype_traits[d].st_name;
        if (st && str_is(name, st)) {
            *out = (enum dtype)d;
            return true;
        }
    }
    return false;
}

bool dtype_from_name(struct str name, enum dtype *out)
{
    for (int d = 0; d < DTYPE_COUNT; d++) {
        if (str_eq_nocase(name, str_from(dtype_traits[d].name))) {
            *out = (enum dtype)d;
            return true;
        }
    }
    return false;
}
