/* sentencepiece.h - the model file of SentencePiece: pieces, scores, types, how text is normalized.
 *
 * The file is one message in the wire format of Protocol Buffers. It is read strictly: every length
 * is checked against what is left, fields that are not known here are passed over. Held afterwards:
 * the text of the file and per piece 24 bytes. */
#ifndef QUERN_SENTENCEPIECE_H
#define QUERN_SENTENCEPIECE_H

#include "core/arena.h"
#include "core/error.h"

#define SENTENCEPIECE_MAX_BYTES  (UINT64_C(1) << 28)
#define SENTENCEPIECE_MAX_PIECES (1u << 24)

/* As the format numbers them. */
enum sp_piece_type {
    SP_NORMAL = 1,
    SP_UNKNOWN = 2,
    SP_CONTROL = 3,
    SP_USER_DEFINED = 4,
    SP_UNUSED = 5,
    SP_BYTE = 6,
};

enum sp_model_type { SP_UNIGRAM = 1, SP_BPE = 2, SP_WORD = 3, SP_CHAR = 4 };

struct sp_piece {
    struct str text; /* UTF-8, not empty, no two alike */
    float score;     /* never NaN */
    uint8_t type;    /* enum sp_piece_type */
};

struct sentencepiece {
    struct arena arena;
    struct arena text; /* the file, when it was read from one */
    struct sp_piece *pieces;
    uint32_t npieces;
    uint64_t model_type; /* enum sp_model_type, or something newer */
    bool add_dummy_prefix, remove_extra_whitespaces;
    struct str charsmap; /* empty when there is none */
};

/* EFORMAT with file and offset ("truncated", "protobuf", "utf8", "duplicate", "sentencepiece"),
 * EIO, EMEMORY. Free with sentencepiece_close() whatever comes back. */
enum quern_status sentencepiece_read(const char *path, struct sentencepiece *sp,
                                     struct quern_error *err);
/* The same from bytes, which must stay. path is for messages. */
enum quern_status sentencepiece_parse(struct str bytes, const char *path, struct sentencepiece *sp,
                                      struct quern_error *err);
void sentencepiece_close(struct sentencepiece *sp);

#endif
