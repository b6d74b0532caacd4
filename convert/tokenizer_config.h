/* tokenizer_config.h - what tokenizer_config.json says: special tokens, flags, chat templates.
 *
 * The file may list thousands of added tokens, so it is read one JSON token at a time. */
#ifndef QUERN_TOKENIZER_CONFIG_H
#define QUERN_TOKENIZER_CONFIG_H

#include "core/arena.h"
#include "core/error.h"
#include "pipeline/folder.h"

#define TOKENIZER_CONFIG_MAX_BYTES (UINT64_C(1) << 26)
#define MAX_CHAT_TEMPLATES         64

/* In the order in which their keys are written. */
enum special {
    SPECIAL_BOS,
    SPECIAL_EOS,
    SPECIAL_UNK,
    SPECIAL_SEP,
    SPECIAL_PAD,
    SPECIAL_CLS,
    SPECIAL_MASK,
    SPECIAL_EOT,
    SPECIAL_EOM,
    SPECIAL_COUNT
};
extern const char *const special_names[SPECIAL_COUNT]; /* "bos" ... */

/* A token by its text, or by an object with its text in it. */
struct special_text {
    bool named;     /* the key is there, maybe null */
    bool given;     /* and not null, not empty */
    bool is_object; /* {"content": text, ...} */
    struct str text;
};

enum flag { FLAG_ABSENT, FLAG_FALSE, FLAG_TRUE };

struct config_token {
    uint64_t id;
    struct str text;
    bool special;
};

struct chat_template {
    struct str name, text;
};

struct tokenizer_config {
    struct arena arena;
    struct arena text; /* the file, when it was read from one */
    bool present;      /* the file is there and says something */
    struct special_text special[SPECIAL_COUNT];
    uint8_t add[SPECIAL_COUNT]; /* enum flag of add_bos_token ... */
    struct config_token *added; /* added_tokens_decoder, in the order of the file */
    uint32_t nadded;
    struct str *more_special; /* additional_special_tokens, extra_special_tokens */
    uint32_t nmore_special;
    bool has_template;               /* chat_template is there, maybe null */
    struct str template;             /* when it is a string */
    struct chat_template *templates; /* when it is a list */
    uint32_t ntemplates;
    struct str tokenizer_class;
    uint8_t add_prefix_space, clean_up, do_lower_case; /* enum flag */
};

/* A file that is not there is no error. EFORMAT with file and offset, EIO, EMEMORY. Free with
 * tokenizer_config_close() whatever comes back. */
enum quern_status tokenizer_config_read(const struct folder *f, struct tokenizer_config *c,
                                        struct quern_error *err);
/* The same from a text, which is changed and must not be freed before the config is closed. */
enum quern_status tokenizer_config_parse(struct str text, const char *path,
                                         struct tokenizer_config *c, struct quern_error *err);
void tokenizer_config_close(struct tokenizer_config *c);

#endif
