/* error.h - errors as values: fill one, name the place, hand it up. */
#ifndef QUERN_ERROR_H
#define QUERN_ERROR_H

#include <quern.h>

#include "str.h"

/* Splits a fail() format into "what was found" and "what was expected". */
#define WANT "\x1f"

/* Forward a failure to the caller. */
#define TRY(call)                                     \
    do {                                              \
        const enum quern_status try_status_ = (call); \
        if (try_status_ != QUERN_OK)                  \
            return try_status_;                       \
    } while (0)

/* Fills err (which may be NULL) and returns status. kind is a short machine-readable word such as
 * "truncated" and must be a string literal. The format says what was found and, after WANT, what
 * was expected. Foreign text in it must have gone through quoted(). */
enum quern_status fail(struct quern_error *err, enum quern_status status, const char *kind,
                       const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Out of memory, with the number of bytes that could not be had. */
enum quern_status fail_memory(struct quern_error *err, uint64_t nbytes);

/* The system call that just failed on this path, from errno. */
enum quern_status fail_errno(struct quern_error *err, const char *path, const char *action);

/* Name the place of a failure; each keeps what is already there. They return status so that they
 * can wrap a call: return in_file(err, path, parse(...)). A QUERN_OK status passes untouched. */
enum quern_status in_file(struct quern_error *err, const char *path, enum quern_status status);
enum quern_status in_tensor(struct quern_error *err, struct str name, enum quern_status status);
enum quern_status at_offset(struct quern_error *err, uint64_t offset, enum quern_status status);

#endif
