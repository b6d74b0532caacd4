/* carry.h - the files of a Hugging Face directory that are no weights go along with them. */
#ifndef QUERN_CARRY_H
#define QUERN_CARRY_H

#include "plan.h"

/* Adds config.json, tokenizer and generation files of dir to the plan's output directory. dtype:
 * what the weights are now stored as: config.json's torch_dtype (or dtype) is set to its name in
 * torch, all other bytes stay; DTYPE_COUNT changes nothing. Files that are left behind are named in
 * a note. EFORMAT when config.json is no JSON object. */
enum quern_status plan_carry_over(struct plan *p, const char *dir, enum dtype dtype,
                                  struct quern_error *err);

/* "bfloat16" for BF16 ...; NULL when torch has no name for it or config.json should not say it. */
const char *torch_dtype_name(enum dtype d);

/* config text with the value of its top-level dtype key replaced, or added when there is none. */
enum quern_status config_with_dtype(struct arena *arena, struct str config, const char *name,
                                    struct str *out, struct quern_error *err);

#endif
