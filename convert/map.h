/* map.h - rules for tensors that come from a file or were learnt, in place of a table in the code.
 *
 * A map is YAML (docs/converting.md has the whole of it):
 *
 *     architecture: newllm        # optional: the one of the GGUF it is for
 *     tensors:
 *       - from: model.layers.{i}.attn.q.weight
 *         to: blk.{i}.attn_q.weight
 *         how: permute-q
 */
#ifndef QUERN_MAP_H
#define QUERN_MAP_H

#include "arch.h"

struct tensor_map {
    struct arena arena;
    const char *path;          /* for messages; NULL: learnt */
    struct str architecture;   /* empty: any */
    struct tensor_rule *rules; /* ended by a NULL from */
    uint32_t *lines;           /* of the file, for each rule */
    uint8_t *members;          /* of the list that the rule belongs to; 0: to none */
    uint32_t nrules, capacity;
    struct str *kept; /* tensors that are the template's: functions of hyper-parameters */
    uint32_t nkept;
};

/* Reads a map file. Free with map_free() whatever comes back. EUSAGE with line and column, and a
 * suggestion for what is misspelt. */
enum quern_status map_read(const char *path, struct tensor_map *m, struct quern_error *err);
void map_free(struct tensor_map *m);

/* Adds a rule, of a list of so many when not 0; the texts are copied. EUSAGE when it is none: names
 * of another number, {e} without a stack, {i} only behind ... */
enum quern_status map_add(struct tensor_map *m, const struct tensor_rule *rule, uint8_t members,
                          uint32_t line, struct quern_error *err);
enum quern_status map_keep(struct tensor_map *m, struct str name, struct quern_error *err);

/* The map as a file that map_read() takes; malloc'ed, NULL when memory ran out. */
char *map_text(const struct tensor_map *m, size_t *n);

/* The word for a transform in maps. */
const char *map_word(enum transform how);
/* A rule that writes nothing need not match anything. */
bool map_may_be_idle(enum transform how);

#endif
