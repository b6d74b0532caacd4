/* front_matter.h - what a model's README.md says of it for programs. */
#ifndef QUERN_FRONT_MATTER_H
#define QUERN_FRONT_MATTER_H

#include "core/yaml.h"
#include "pipeline/folder.h"

/* *card is NULL when there is none, or none that can be read, which the plan notes. Memory is the
 * plan's. */
enum quern_status read_model_card(const struct folder *folder, struct plan *p,
                                  const struct yaml_node **card, struct quern_error *err);

#endif
