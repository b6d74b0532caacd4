/* special_ids.h - the ids of special tokens, whether they are added to a text, chat templates. */
#ifndef QUERN_SPECIAL_IDS_H
#define QUERN_SPECIAL_IDS_H

#include "convert/hf_config.h"
#include "convert/tokenizer_config.h"
#include "formats/gguf.h"
#include "formats/tokenizer.h"

struct special_id {
    uint8_t which; /* enum special */
    uint32_t id;
};

struct special_add {
    uint8_t which;
    bool value;
};

/* Everything in the order in which it was found: that is the order of the keys. */
struct special_ids {
    struct special_id ids[SPECIAL_COUNT];
    struct special_add adds[SPECIAL_COUNT];
    uint32_t nids, nadds;
    uint8_t lowercase, strip_accents; /* enum flag */
    bool has_template;
    struct str template;
    struct chat_template *templates; /* when there are several */
    uint32_t ntemplates;
    struct str other_template; /* chat_template.jinja when it is another one; else .p is NULL */
    uint64_t ntokens;          /* ids from here on are left out */
    struct arena arena;
};

/* t is the directory's tokenizer.json, or NULL. Errors: EFORMAT (a post_processor that is no JSON
 * of its kind), EIO, EMEMORY. Free with special_ids_close() whatever comes back. */
enum quern_status special_ids_find(struct special_ids *s, const struct hf_config *config,
                                   const struct tokenizer_config *tc, const struct tokenizer *t,
                                   uint64_t ntokens, struct quern_error *err);
void special_ids_close(struct special_ids *s);

/* The first id that is set stays. */
void special_ids_set(struct special_ids *s, enum special which, uint64_t id);
/* Set, or change where it stands. */
void special_ids_override(struct special_ids *s, enum special which, uint32_t id);
bool special_ids_has(const struct special_ids *s, enum special which, uint32_t *id);

/* Writes the ids, the flags, the template and the normalizer's keys. */
bool special_ids_put(const struct special_ids *s, struct meta_list *metas);

#endif
