/* adapter_plan.h - plan the way from a PEFT adapter to a GGUF one. */
#ifndef QUERN_ADAPTER_PLAN_H
#define QUERN_ADAPTER_PLAN_H

#include "convert.h"

/* As llama.cpp's convert_lora_to_gguf.py writes it. The plan owns the adapter. EUNSUPPORTED for
 * what a GGUF adapter cannot hold, with its name; EIO "not-found" when there is no config.json of
 * the base on this machine. */
enum quern_status adapter_plan(const char *path, const struct convert_request *r, struct plan **out,
                               struct quern_error *err);

#endif
