/* recipe_reader.h - what the readers of a recipe's keys share; not for anyone else.
 *
 * A key has one function that takes its node and fills in a part of the recipe. What is wrong is
 * said with reader_wrong(), and reading goes on: all mistakes are told at once. */
#ifndef QUERN_RECIPE_READER_H
#define QUERN_RECIPE_READER_H

#include "merge/recipe.h"

/* What is being read, and all that is wrong with it. */
struct reader {
    struct recipe *r;
    struct mistakes m;
    enum quern_status memory; /* QUERN_EMEMORY once memory ran out */
};

/* A mistake at a node (NULL: at none), as fail(). */
void reader_wrong(struct reader *d, const struct yaml_node *n, enum quern_status status,
                  const char *kind, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* A note, said once. */
void reader_note(struct reader *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Remembers that memory ran out when p is NULL; gives p back. */
void *reader_memory(struct reader *d, void *p);

/* "a list", "a map", "nothing" or "text". */
const char *node_kind(const struct yaml_node *n);
/* The text of a scalar that is not empty; else a mistake that says what was expected. */
bool reader_text(struct reader *d, const struct yaml_node *n, const char *what,
                 const char *expected, struct str *out);
/* An unknown key, with the name it may have been meant to be. */
void reader_unknown_key(struct reader *d, const struct yaml_node *n, const char *where,
                        const char *const *keys, size_t nkeys);

/* A type of floats by its name in torch; null leaves *out as it is. */
void reader_dtype(struct reader *d, const struct yaml_node *n, enum dtype *out);
/* A model reference in any of its forms; what names it in messages. */
void reader_ref(struct reader *d, const struct yaml_node *n, const char *what,
                struct model_ref *ref);
/* The models of a recipe or a module, as one slice that is whole. */
void reader_models(struct reader *d, const struct yaml_node *n, struct module *module);
void reader_slices(struct reader *d, const struct yaml_node *n, struct module *module);
void reader_modules(struct reader *d, const struct yaml_node *n);
/* Index of a model in the recipe, which now has it. */
unsigned reader_add_model(struct reader *d, const struct yaml_node *n, const struct model_ref *ref);
/* parameters: of one model (of_model), or of several. n may be NULL. */
void reader_params(struct reader *d, const struct yaml_node *n, bool of_model,
                   struct setting *settings);
/* tokenizer_source and the tokenizer block; either may be NULL. */
void reader_tokenizer(struct reader *d, const struct yaml_node *source,
                      const struct yaml_node *block, struct tokenizer_wish *w);

#endif
