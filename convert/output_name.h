/* output_name.h - file names that nobody gave, and {ftype} in those that were given. */
#ifndef QUERN_OUTPUT_NAME_H
#define QUERN_OUTPUT_NAME_H

#include "formats/gguf.h"

enum output_content { OUTPUT_MODEL, OUTPUT_VOCAB, OUTPUT_ADAPTER };

/* dir/Name-Size-Finetune-Version-TYPE.gguf, of the general.* keys: parts that are not known are
 * left out. The result is the arena's. */
enum quern_status output_default_name(struct arena *arena, const char *dir,
                                      const struct meta_list *keys, const char *type,
                                      enum output_content content, const char **out,
                                      struct quern_error *err);

/* In the last part of the path {ftype} and {outtype} become the type in small letters, {FTYPE} and
 * {OUTTYPE} in capitals. The result is the arena's. */
enum quern_status output_fill_name(struct arena *arena, const char *path, const char *type,
                                   const char **out, struct quern_error *err);

#endif
