/* retype.h - choose the stored type of every step of a GGUF plan, as llama-quantize would. */
#ifndef QUERN_RETYPE_H
#define QUERN_RETYPE_H

#include "plan.h"

/* step.dtype must hold the type each tensor has now. Sets the wanted types, sorts the steps in
 * llama.cpp's order (unless keep_split), leaves out pruned layers, hands out importance and edits
 * the keys: quantization_version, file_type, no split.*, overrides, quantize.imatrix.*,
 * block_count. donor gives the hyper-parameters; a safetensors donor has none.
 * Errors: EUSAGE (unknown type, pattern without match, requantizing, no_fallback, an importance
 * matrix that does not fit), EUNSUPPORTED (a type that cannot be written), those of imatrix_open().
 */
enum quern_status plan_retype_gguf(struct plan *p, const struct model *donor,
                                   const struct quern_quantize *q, struct meta_list *metas,
                                   struct quern_error *err);

/* Applies q->override_kvs to the keys. EUSAGE for what is none. */
enum quern_status gguf_override_keys(struct plan *p, const struct quern_quantize *q,
                                     struct meta_list *metas, struct quern_error *err);

/* The alignment these keys ask for; EFORMAT when it is no power of two from 8 to 1 MiB. */
enum quern_status gguf_alignment_of(const struct meta_list *metas, uint64_t *alignment,
                                    struct quern_error *err);

/* The plan of `quern quantize`; see quern_plan_quantize(). */
enum quern_status plan_quantize(struct model *model, const char *output,
                                const struct quern_quantize *q, struct plan **out,
                                struct quern_error *err);

#endif
