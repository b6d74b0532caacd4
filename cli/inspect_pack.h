/* inspect_pack.h - what quern inspect says of a pack itself. The archive is one. */
#ifndef QUERN_INSPECT_PACK_H
#define QUERN_INSPECT_PACK_H

#include "cli.h"

void print_pack_head(struct archive *a);
void print_pack_files(struct archive *a);
void pack_to_json(struct json_writer *w, struct archive *a);

#endif
