/* text_difference.h - say how two texts differ without showing them. */
#ifndef QUERN_TEXT_DIFFERENCE_H
#define QUERN_TEXT_DIFFERENCE_H

#include "core/str.h"

/* "1234 and 1200 bytes, different from byte 57 on"; counted from 0. The texts are not equal. */
struct contrast {
    char text[96];
};
struct contrast text_difference(struct str a, struct str b);

#endif
