/* recipe_texts.h - what a recipe names, for whoever runs it as a job and does not plan it. */
#ifndef QUERN_RECIPE_TEXTS_H
#define QUERN_RECIPE_TEXTS_H

#include "core/error.h"
#include "core/yaml.h"

/* A text with its key, "" in a list. */
typedef enum quern_status recipe_text_fn(const struct yaml_node *text, void *data,
                                         struct quern_error *err);
/* All texts of all documents of the file, until one makes see() fail. What is wrong with a recipe
 * is told by the command that reads it: here it has no texts. */
enum quern_status recipe_texts(const char *path, recipe_text_fn *see, void *data,
                               struct quern_error *err);

#endif
