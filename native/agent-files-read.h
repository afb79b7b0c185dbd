// Opening of files for reading, and their content as BYTES records.
#pragma once

#include <stdint.h>
#include <sys/stat.h>

// A regular file, or a negative errno: EISDIR, EINVAL for what is neither. Never waits, and has no effect on what is not
// a regular file: a fifo is not even opened.
int open_regular(const char *path, struct stat *status);

// Sends `length` bytes of the file from where it stands; returns how many there were before its end, or a negative errno.
int64_t send_file(int fd, uint64_t length);
