/* to_gguf.h - turn a plan that would write a directory into one that writes a GGUF.
 *
 * The files of the directory are never there: conversion reads what the steps make and the small
 * files that the plan holds. The bytes are those of merging into a directory, then converting it.
 */
#ifndef QUERN_TO_GGUF_H
#define QUERN_TO_GGUF_H

#include "merge/merge.h"

/* The name of the directory that is not written: the output without .gguf. NULL: out of memory. */
const char *unwritten_directory(const struct merge_request *req, struct arena *arena);

/* The plan is laid out as that directory. */
enum quern_status follow_with_gguf(struct plan *p, const struct merge_request *req,
                                   struct quern_error *err);

#endif
