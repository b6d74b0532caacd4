/* merge_list.h - the merges of a byte pair model as llama.cpp writes them: "left right". */
#ifndef QUERN_MERGE_LIST_H
#define QUERN_MERGE_LIST_H

#include "formats/tokenizer.h"
#include "pipeline/folder.h"

struct merge_list {
    struct arena arena;
    struct str *texts;
    uint32_t n;
    bool from_file; /* of merges.txt, because tokenizer.json has none */
};

/* Those of t, which may be NULL, else those of merges.txt in dir. Free with merge_list_close()
 * whatever comes back. */
enum quern_status merge_list_read(struct merge_list *l, const struct folder *f,
                                  const struct tokenizer *t, struct quern_error *err);
void merge_list_close(struct merge_list *l);

#endif
