/* config_classes.h - what configuration classes of transformers 4.57 fill in for keys that a
 * config.json leaves out, as far as it reaches a GGUF. */
#ifndef QUERN_CONFIG_CLASSES_H
#define QUERN_CONFIG_CLASSES_H

#include <stdint.h>

#include "core/str.h"

enum {
    KV_FOLLOW_HEADS = 1,   /* num_key_value_heads that is null: as many as there are heads */
    DIM_FOLLOWS_HEADS = 2, /* head_dim that is null: hidden_size / heads */
    DIM_IF_ABSENT = 4,     /* the same, but only for a key that is not there at all */
};

struct config_class {
    const char *model_type;
    const char *defaults; /* KEY=VALUE, blank between them; values are JSON without blanks */
    uint8_t computes;
};

/* NULL for a type without a class: then config.json counts as it is. */
const struct config_class *config_class_find(struct str model_type);

/* The model_type that a part for text has, in a model of several parts, when it does not say.
 * False for a type that is no class of several parts. */
bool config_class_of_parts(struct str model_type, struct str *text_type);

#endif
