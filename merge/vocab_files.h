/* vocab_files.h - the tokenizer files and the chat template of an output directory. */
#ifndef QUERN_VOCAB_FILES_H
#define QUERN_VOCAB_FILES_H

#include "merge/vocab_align.h"

/* Called when the files of the donor's directory (or NULL) are in the plan: they make room for
 * those that fit the vocabulary. */
enum quern_status vocab_files(const struct vocab_result *r, const char *dir, struct plan *p,
                              struct quern_error *err);

/* A chat template goes where the files in the plan have theirs. Nothing happens when .p is NULL. */
enum quern_status chat_template_file(struct plan *p, struct str text, struct quern_error *err);

#endif
