/* json.h - read small JSON files and write JSON. The only thing that knows cJSON is json.c.
 *
 * Reading is for configuration files of at most 1 MiB: strict JSON, but NaN, Infinity and -Infinity
 * are taken as Python writes them. Duplicate keys, strings with U+0000 and nesting beyond 64 levels
 * are refused. Headers and indexes of models go through pull.h instead. */
#ifndef QUERN_JSON_H
#define QUERN_JSON_H

#include "error.h"
#include "str.h"

#define JSON_MAX_BYTES (1u << 20)

/* ---- reading -------------------------------------------------------------------------------- */

/* A value; all values of a text belong to its root. Every function here takes NULL for a value that
 * is not there, so look-ups chain: json_u64(json_get(json_get(root, "a"), "b"), &n). */
struct json;

/* On QUERN_OK *root is the caller's, freed with json_free(). EFORMAT: "json", "json-depth", "utf8",
 * "duplicate", "too-large". The text may be let go of at once. */
enum quern_status json_parse(struct str text, struct json **root, struct quern_error *err);
void json_free(struct json *root);

bool json_is_object(const struct json *v);
bool json_is_array(const struct json *v);
bool json_is_null(const struct json *v);
/* Member of an object, compared by case; NULL when absent. */
const struct json *json_get(const struct json *object, const char *key);
/* Members of an object or items of an array, in the order of the text. */
const struct json *json_first(const struct json *v);
const struct json *json_next(const struct json *v);
size_t json_count(const struct json *v);
struct str json_key_of(const struct json *member);

/* Each false when the value is of another type. Text is NUL-terminated. NaN is read as null. */
bool json_text(const struct json *v, struct str *out);
bool json_f64(const struct json *v, double *out);
bool json_u64(const struct json *v, uint64_t *out); /* whole, 0 to 2^53 */
bool json_bool(const struct json *v, bool *out);
/* Both are numbers, and the same: integers are compared by all their digits. */
bool json_same_number(const struct json *a, const struct json *b);

/* ---- writing -------------------------------------------------------------------------------- */

/* A text that grows; commas and escapes come by themselves. Failures are remembered: check once, at
 * the end, that json_written() is not empty. All zero is a valid empty writer. */
struct json_writer {
    char *p;
    size_t n, capacity;
    bool comma;  /* the next item needs one before it */
    bool failed; /* memory ran out */
    bool ascii;  /* set it to escape everything beyond ASCII, as Python's json does */
};

void json_open(struct json_writer *w, char bracket);  /* '{' or '[' */
void json_close(struct json_writer *w, char bracket); /* '}' or ']' */
void json_key(struct json_writer *w, const char *key);
void json_key_str(struct json_writer *w, struct str key);
/* Any bytes: what is not UTF-8 becomes U+FFFD. */
void json_put_str(struct json_writer *w, struct str s);
void json_put_text(struct json_writer *w, const char *text); /* NULL writes null */
void json_put_u64(struct json_writer *w, uint64_t v);
void json_put_i64(struct json_writer *w, int64_t v);
void json_put_f64(struct json_writer *w, double v); /* shortest exact form; NaN and Inf as null */
void json_put_bool(struct json_writer *w, bool v);
void json_put_null(struct json_writer *w);
/* Bytes as they are: blanks and line ends for texts whose look is fixed. */
void json_raw(struct json_writer *w, struct str bytes);
/* What comes next begins a line. */
void json_line(struct json_writer *w, const char *indent);

/* The text so far, NUL-terminated, owned by the writer; .p is NULL when memory ran out. */
struct str json_written(struct json_writer *w);
void json_writer_free(struct json_writer *w);

#endif
