/* arch.c - find the architecture of a class of config.json. */
#include "arch_lists.h"

const struct architecture *const architectures[] = {
#define X(name) &arch_##name,
    ARCH_LIST(X)
#undef X
        NULL};

static bool lists(const char *classes, struct str hf_class)
{
    while (*classes) {
        const size_t n = strcspn(classes, " ");
        if (str_eq((struct str){classes, n}, hf_class))
            return true;
        classes += n + (classes[n] == ' ');
    }
    return false;
}

const struct architecture *architecture_of_class(struct str hf_class)
{
    for (const struct architecture *const *a = architectures; *a; a++)
        if (lists((*a)->classes, hf_class))
            return *a;
    return NULL;
}
