/* name_groups.h - tensors whose names differ only in the number of the layer. */
#ifndef QUERN_NAME_GROUPS_H
#define QUERN_NAME_GROUPS_H

#include "core/arena.h"
#include "core/error.h"
#include "pipeline/view.h"

#define NO_GROUP UINT32_MAX

/* The first part of the name that is a number is the layer: {i} in the pattern. */
struct group_member {
    const char *pattern;
    uint64_t layer; /* 0 for names without one */
    uint32_t tensor;
};

struct name_group {
    const char *pattern;
    uint32_t first, count; /* of the members, by layer */
    bool layered;
};

struct name_groups {
    struct group_member *members;
    struct name_group *groups; /* by pattern */
    uint32_t ngroups;
    uint32_t *group_of; /* of every tensor */
};

/* All is the arena's. EUNSUPPORTED for a name that no pattern can stand for. */
enum quern_status name_groups_of(const struct view *v, struct arena *arena, struct name_groups *out,
                                 struct quern_error *err);

/* The member of a layer, or NULL. */
const struct group_member *group_at(const struct name_groups *all, const struct name_group *g,
                                    uint64_t layer);

/* Groups whose patterns differ only in one more number, 0 to count - 1: {e} in the pattern. */
struct name_family {
    const char *pattern;
    const uint32_t *groups; /* by that number */
    uint32_t count;
};

/* Families of the groups that are not used, with numbers from 0 on and the same layers. */
enum quern_status name_families_of(const struct name_groups *all, const bool *used,
                                   struct arena *arena, struct name_family **out, uint32_t *n,
                                   struct quern_error *err);

#endif
