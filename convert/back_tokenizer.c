/* back_tokenizer.c - tokenizer files from the keys of a GGUF. */
#include "back_class.h"

enum quern_status back_tokenizer(struct back *b, struct hf_form *out, struct quern_error *err)
{
    (void)out;
    return plan_note(b->plan, err, "no tokenizer yet");
}
