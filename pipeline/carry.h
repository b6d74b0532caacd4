/* carry.h - the files of a Hugging Face directory that are no weights go along with them. */
#ifndef QUERN_CARRY_H
#define QUERN_CARRY_H

#include "plan.h"

/* Adds config.json, tokenizer and generation files of dir to the plan's output directory. config:
 * what to write as config.json in the place of dir's; NULL: the file as it is. Files that are left
 * behind are named in a note. */
enum quern_status plan_carry_over(struct plan *p, const char *dir, const struct str *config,
                                  struct quern_error *err);

/* The names of such files: number i, or NULL. */
const char *carried_name(size_t i);

/* Takes the tokenizer's files out of what goes into the output directory. */
void plan_leave_tokenizer(struct plan *p);

/* The text of dir's config.json; .p is NULL when it has none. */
enum quern_status read_config(const char *dir, struct arena *arena, struct str *out,
                              struct quern_error *err);

/* config text with the value of its top-level torch_dtype or dtype replaced by torch's name of what
 * the weights are now stored as, or added when there is none; as it is where torch has no name.
 * EFORMAT when it is no JSON object. */
enum quern_status config_with_dtype(struct arena *arena, struct str config, enum dtype dtype,
                                    struct str *out, struct quern_error *err);

/* "bfloat16" for BF16 ...; NULL when torch has no name for it or config.json should not say it. */
const char *torch_dtype_name(enum dtype d);

#endif
