/* like.h - a GGUF that is known to be good as the template of another: --like.
 *
 * Hyper-parameters, tokenizer, keys and the order of tensors are the template's; the data comes
 * from the Hugging Face directory. The template is read while planning only. */
#ifndef QUERN_LIKE_H
#define QUERN_LIKE_H

#include "conversion.h"

/* Opens request->like and the map, if there is one, and finds the architecture. EUNSUPPORTED when
 * there is neither table nor map for it; EFORMAT for a GGUF without architecture or tensors. */
enum quern_status like_open(struct conversion *c, struct quern_error *err);
void like_close(struct conversion *c);

/* The numbers that transforms ask for become the template's where it has them. */
void like_numbers(struct conversion *c);
/* ARCH.name, when it is one whole number, or a list of one and the same. */
bool like_u64(const struct conversion *c, const char *name, uint64_t *out);
/* A number that config.json calls so; the template's, when there is one. */
bool like_hparam_u64(const struct conversion *c, const char *name, uint64_t *out);
/* Rows of the template's tensor of that name; false when there is no such matrix. */
bool like_rows(const struct conversion *c, struct str name, uint64_t *nrows);

/* It keeps this matrix in 32 bits, but not all of them. */
bool like_keeps_f32(const struct conversion *c, struct str name);
/* The keys: general.* from the directory, all else the template's. */
enum quern_status like_keys(struct conversion *c, struct quern_error *err);

/* ---- like_types.c */
/* -t like: replaces the request by one that asks for the types of the template. EUNSUPPORTED when
 * quern cannot make them. */
enum quern_status like_types(struct conversion *c, struct quern_error *err);

/* ---- like_config.c */
/* Where config.json and the template say different things: differences that would make the file
 * wrong are EUSAGE, others notes. */
enum quern_status like_differences(struct conversion *c, struct quern_error *err);

/* ---- like_steps.c */
/* The steps in the template's order, with its shapes, all of them and no others. EUSAGE. */
enum quern_status like_steps(struct conversion *c, struct quern_error *err);
/* But for outer dimensions of 1, which GGUF may drop. */
bool like_same_shape(const struct step *s, const struct tensor *t);

#endif
