/* test_philox.c - random bits and name hashes against published vectors. */
#include "core/philox.h"

#include <criterion/criterion.h>
#include <string.h>

/* From the authors' Random123 library. */
Test(philox, known_answers)
{
    static const struct {
        uint32_t counter[4], key[2], want[4];
    } vectors[] = {
        {{0, 0, 0, 0},                                     {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}                                                          },
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}                                                          },
    };
    for (size_t i = 0; i < 3; i++) {
        uint32_t got[4];
        philox4x32_10(vectors[i].counter, vectors[i].key, got);
        cr_assert(memcmp(got, vectors[i].want, sizeof got) == 0, "vector %zu", i);
    }
}

Test(philox, fnv1a)
{
    cr_assert(fnv1a_64(str_from("")) == UINT64_C(0xcbf29ce484222325));
    cr_assert(fnv1a_64(str_from("a")) == UINT64_C(0xaf63dc4c8601ec8c));
    cr_assert(fnv1a_64(str_from("foobar")) == UINT64_C(0x85944171f73967e8));
}
