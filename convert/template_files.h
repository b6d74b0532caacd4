/* template_files.h - chat templates: where they are, and their keys. */
#ifndef QUERN_TEMPLATE_FILES_H
#define QUERN_TEMPLATE_FILES_H

#include "convert/special_ids.h"
#include "pipeline/folder.h"
#include "pipeline/plan.h"

/* What tokenizer_config.json says, else chat_template.jinja with additional_chat_templates/, else
 * chat_template.json. */
enum quern_status templates_find(struct special_ids *s, const struct folder *f,
                                 const struct tokenizer_config *tc, struct quern_error *err);
/* Tells of a chat_template.jinja that says something else. */
enum quern_status templates_note(const struct special_ids *s, struct plan *p,
                                 struct quern_error *err);
bool templates_put(const struct special_ids *s, struct meta_list *metas);

#endif
