/* cores.h - how many cores this process may use. */
#ifndef QUERN_CORES_H
#define QUERN_CORES_H

#include <stdint.h>

/* At least 1. */
uint32_t usable_cores(void);

#endif
