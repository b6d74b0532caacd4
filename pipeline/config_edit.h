/* config_edit.h - change values of a JSON text in place: all other bytes stay as they are. */
#ifndef QUERN_CONFIG_EDIT_H
#define QUERN_CONFIG_EDIT_H

#include "core/arena.h"
#include "core/error.h"

/* The value of a key at the end of a path of objects: "text_config.num_hidden_layers". */
struct config_edit {
    const char *path;
    struct str value; /* JSON text */
    bool add;    /* when there is no such key; else nothing is done. Its object must be there. */
    bool remove; /* the key with its value; a comma goes with it */
};

/* Where the value at a path lies in the text. False when there is none. EFORMAT when the text is no
 * JSON object. */
enum quern_status config_find(struct arena *arena, struct str config, const char *path, bool *found,
                              struct str *value, struct quern_error *err);

/* The edits, one after the other. *out is the arena's (or the text itself). */
enum quern_status config_apply(struct arena *arena, struct str config,
                               const struct config_edit *edits, size_t nedits, struct str *out,
                               struct quern_error *err);

/* The items of a list, as JSON texts within it. *items is the arena's. */
enum quern_status config_items(struct arena *arena, struct str list, struct str **items, size_t *n,
                               struct quern_error *err);

/* Calls see for every member of the object at a path ("": the whole text), whose value is a list.
 * Nothing happens when there is no such object. */
enum quern_status config_lists(struct arena *arena, struct str config, const char *object,
                               enum quern_status (*see)(void *user, struct str key, struct str list,
                                                        struct quern_error *err),
                               void *user, struct quern_error *err);

#endif
