// A worker: one file operation, as one user of the sandbox, in a process of its own. Descriptor 0 is the tunnel: the
// request comes first, then the client's data; what goes back are the records of agent-files-reply.h.
//
// A worker sees what any program of its user sees, and may do what that may do. So nothing here protects the sandbox's
// files from the client; what is protected is the client, from other programs of the sandbox that play with links.
#pragma once

#include "wire.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

int files_worker_main(void); // what main() returns

int write_all(int fd, const uint8_t *bytes, size_t length); // errno, or 0

enum { FILES_MAX_PATH_BYTES = 4095 }; // PATH_MAX without its NUL

// The operations. Each takes its fields, and returns 0 or an errno; reply_detail says more where the path is not the
// one of the request. A request that is not one is EPROTO.
int files_stat(struct wire_reader *request);
int files_list(struct wire_reader *request);
int files_read(struct wire_reader *request);
int files_write(struct wire_reader *request);
int files_make_directory(struct wire_reader *request);
int files_rename(struct wire_reader *request);
int files_remove(struct wire_reader *request);
int files_set_attributes(struct wire_reader *request);
int files_archive(struct wire_reader *request);
int files_extract(struct wire_reader *request);
int files_watch(struct wire_reader *request);
