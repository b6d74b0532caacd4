/* unpack.h - models whose weights another program has packed, as if it had not.
 *
 * Such a model has several tensors for a weight: values of few bits, scales, zero points ... and
 * config.json says how they belong together. unpack_view() puts one source in their place, with the
 * plain name and the plain shape, that makes the values while they are read. */
#ifndef QUERN_UNPACK_H
#define QUERN_UNPACK_H

#include "pipeline/folder.h"
#include "pipeline/view.h"

struct unpacked {
    const char *by;    /* the packing; NULL when there is none */
    uint32_t nweights; /* that were made of packed parts */
    struct str config; /* text of config.json without what it said of packing; .p may be NULL */
};

/* The model as stored, with these files beside it, becomes the model as meant. All packed parts are
 * used, or it is an error, and so is everything that the files say of packing and is not known.
 * Modules that were left as they are stay so. Memory is the arena's, which must outlive the view;
 * v->config becomes out->config. */
enum quern_status unpack_view(struct view *v, const struct folder *folder, struct arena *arena,
                              struct unpacked *out, struct quern_error *err);
/* A view of the model, unpacked when it is a Hugging Face directory. When that fails the view shows
 * what is stored. Free with view_free() whatever comes back. */
enum quern_status unpack_model(struct model *m, struct arena *arena, struct view *v,
                               struct unpacked *out, struct quern_error *err);
/* "12 weights are unpacked (GPTQ)": for a note where there were any. */
struct unpacked_words {
    char text[96];
};
struct unpacked_words unpacked_words(const struct unpacked *u);

#endif
