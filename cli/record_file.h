/* record_file.h - read what `--provenance` has written beside an output. */
#ifndef QUERN_RECORD_FILE_H
#define QUERN_RECORD_FILE_H

#include "cli.h"

struct record_tensor {
    struct str name;
    const char *sha256; /* 64 digits */
};

struct record_input {
    const char *path;
    uint64_t nbytes;
    const char *sha256;
    struct record_tensor *tensors; /* of a model's file; else NULL */
    uint32_t ntensors;
};

struct record_output {
    const char *file;
    uint64_t nbytes;
    const char *sha256;
};

struct record {
    struct arena arena; /* everything points into it */
    const char *path;   /* of the record */
    const char *version, *output, *form;
    struct str job; /* its text */
    struct str recipe;
    struct cli *cli; /* the job as if it had been given as words */
    struct record_input *inputs;
    struct record_output *outputs;
    uint32_t ninputs, noutputs, input_capacity, output_capacity;
};

/* Takes nothing on trust: EFORMAT "record" or "job" for what quern would not have written,
 * EUNSUPPORTED "version" for a newer form. Free it whatever comes back. */
enum quern_status record_read(const char *path, struct record *r, struct quern_error *err);
void record_free(struct record *r);

#endif
