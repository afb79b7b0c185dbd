// The worker's side of its tunnel. Records go to the client: u8 type, u32 length, payload; RESULT is the last. They are
// gathered in one buffer and sent when it is full, when reply_flush says so, and with the result.
//
// An operation that changes things replies at its end only. So when nobody takes replies any more there is nothing to
// clean up, and the worker ends where it is.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

enum reply_type {
	REPLY_INFO = 1,	  // u8 type, u32 mode, u32 uid, u32 gid, u64 size, i64 mtime s, u32 ns, word path, word target
	REPLY_BYTES = 2,  // bytes
	REPLY_EVENT = 3,  // u8 event, u8 isDirectory, word path
	REPLY_RESULT = 4, // u32 errno, u8 subject, u64 count, word detail
};

enum reply_file_type {
	FILE_REGULAR = 1,
	FILE_DIRECTORY,
	FILE_SYMLINK,
	FILE_FIFO,
	FILE_SOCKET,
	FILE_BLOCK,
	FILE_CHARACTER,
};

enum reply_subject { RESULT_OF_OPERATION = 0, RESULT_OF_USER = 1 };

enum { REPLY_BYTES_ROOM = 256 * 1024 }; // of one BYTES record

void reply_info(const struct stat *status, const char *path, const char *target);
void reply_event(uint8_t event, bool is_directory, const char *path);

// Where the content of a BYTES record goes, REPLY_BYTES_ROOM at most, and the record itself once it is there.
uint8_t *reply_bytes_space(void);
void reply_bytes(size_t length);

void reply_flush(void);

void reply_count(uint64_t count); // for the result
// What the failure is about, when it is not the path of the request. The first one is told.
void reply_detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
void reply_result(int error, enum reply_subject subject);

// Whether somebody still waits for the result. When not, what is half done is to be undone.
bool reply_is_awaited(void);

// The client's data. After its end, 0; the end has been said by the client only while reply_is_awaited.
ssize_t data_read(void *bytes, size_t size);
bool data_read_all(void *bytes, size_t size); // false: it ended before
