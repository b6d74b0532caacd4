/* test_dtype.c - element types: sizes, look-ups by id and name. */
#include "core/dtype.h"

#include <criterion/criterion.h>

Test(dtype, every_type_is_found_by_all_its_names)
{
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const struct dtype_traits *t = &dtype_traits[i];
        enum dtype found = DTYPE_COUNT;
        cr_assert(dtype_from_name(str_from(t->name), &found) && (int)found == i, "%s", t->name);
        if (t->gguf_id != NO_GGUF_ID)
            cr_assert(dtype_from_gguf((uint32_t)t->gguf_id, &found) && (int)found == i, "%s",
                      t->name);
        if (t->st_name)
            cr_assert(dtype_from_safetensors(str_from(t->st_name), &found) && (int)found == i, "%s",
                      t->name);
        cr_assert(t->gguf_id != NO_GGUF_ID || t->st_name, "%s has no home", t->name);
    }
}

Test(dtype, names_for_users_have_any_case)
{
    enum dtype d;
    cr_assert(dtype_from_name(STR("q4_k"), &d) && d == DTYPE_Q4_K);
    cr_assert(dtype_from_name(STR("bf16"), &d) && d == DTYPE_BF16);
    cr_assert(dtype_from_name(STR("Iq2_xXs"), &d) && d == DTYPE_IQ2_XXS);
    cr_assert(!dtype_from_name(STR("q4"), &d));
    cr_assert(!dtype_from_name(STR("q4_0 "), &d));
    cr_assert(!dtype_from_name(STR(""), &d));
}

Test(dtype, files_must_spell_names_exactly)
{
    enum dtype d;
    cr_assert(dtype_from_safetensors(STR("F8_E4M3"), &d) && d == DTYPE_F8_E4M3);
    cr_assert(!dtype_from_safetensors(STR("bf16"), &d));
    cr_assert(!dtype_from_safetensors(STR("Q4_0"), &d));
    cr_assert(!dtype_from_safetensors(STR("F16\0"), &d));
}

Test(dtype, removed_and_unknown_gguf_ids_are_refused)
{
    const uint32_t bad[] = {4, 5, 31, 32, 33, 36, 37, 38, 43, 255, UINT32_MAX};
    enum dtype d;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert(!dtype_from_gguf(bad[i], &d), "%u", bad[i]);
}

Test(dtype, bytes_count_whole_blocks)
{
    uint64_t n = 0;
    cr_assert(dtype_bytes(DTYPE_Q4_0, 64, &n) && n == 36);
    cr_assert(dtype_bytes(DTYPE_Q6_K, 2048, &n) && n == 1680);
    cr_assert(dtype_bytes(DTYPE_BF16, 7, &n) && n == 14);
    cr_assert(dtype_bytes(DTYPE_F32, 0, &n) && n == 0);
    cr_assert(dtype_bytes(DTYPE_F4, 6, &n) && n == 3);
    cr_assert(dtype_bytes(DTYPE_F6_E2M3, 8, &n) && n == 6);
    cr_assert(!dtype_bytes(DTYPE_Q4_0, 33, &n));
    cr_assert(!dtype_bytes(DTYPE_Q6_K, 128, &n));
    cr_assert(!dtype_bytes(DTYPE_F4, 7, &n));
}

Test(dtype, bytes_that_leave_64_bits_are_refused)
{
    uint64_t n = 0;
    cr_assert(dtype_bytes(DTYPE_F64, UINT64_MAX / 8, &n) && n == UINT64_MAX - 7);
    cr_assert(!dtype_bytes(DTYPE_F64, UINT64_MAX / 8 + 1, &n));
    cr_assert(dtype_bytes(DTYPE_F8_E4M3, UINT64_MAX, &n) && n == UINT64_MAX);
    cr_assert(!dtype_bytes(DTYPE_Q8_1, UINT64_MAX - 31, &n));
}

Test(dtype, kinds)
{
    int floats = 0;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        const enum dtype d = (enum dtype)i;
        floats += dtype_is_float(d);
        cr_assert(!(dtype_is_float(d) && dtype_is_quantized(d)));
        cr_assert_eq(dtype_is_quantized(d), dtype_traits[d].st_name == NULL);
    }
    cr_assert_eq(floats, 6);
    cr_assert(dtype_is_quantized(DTYPE_MXFP4) && !dtype_is_quantized(DTYPE_F4));
    cr_assert(!dtype_is_float(DTYPE_F8_E8M0) && !dtype_is_float(DTYPE_I8));
}
