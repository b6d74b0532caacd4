/* gguf_plan.h - plan a GGUF whose tensors keep their names: of GGUF, or a container of safetensors.
 */
#ifndef QUERN_GGUF_PLAN_H
#define QUERN_GGUF_PLAN_H

#include "convert.h"

/* Files and their keys are those of llama.cpp's gguf-split; a type other than auto is applied as by
 * quern quantize before. Safetensors need quantize->keep_names and arch. Fills the steps and the
 * files of p. EUSAGE for options that are about converting Hugging Face directories, and for what
 * plan_retype_gguf() refuses. */
enum quern_status gguf_plan(struct plan *p, struct model *m, const struct convert_request *r,
                            struct quern_error *err);

#endif
