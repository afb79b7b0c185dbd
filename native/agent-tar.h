// Headers of tar archives, in memory: POSIX.1-2001 (pax), the ustar before it, and GNU's long names and numbers. Nothing
// here reads or writes files.
//
// SECURITY: an archive is hostile. Every field is bounded, and a number or a record that is not one is refused.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

enum {
	TAR_BLOCK_BYTES = 512,
	TAR_MAX_NAME_BYTES = 4095,
	TAR_MAX_EXTENSION_BYTES = 1024 * 1024,	  // of one pax header
	TAR_MAX_HEAD_BYTES = 24 * TAR_BLOCK_BYTES, // what tar_encode writes at most
};

enum tar_type {
	TAR_FILE = '0',
	TAR_HARD_LINK = '1',
	TAR_SYMLINK = '2',
	TAR_CHARACTER = '3',
	TAR_BLOCK = '4',
	TAR_DIRECTORY = '5',
	TAR_FIFO = '6',
	TAR_PAX = 'x',
	TAR_PAX_GLOBAL = 'g',
	TAR_GNU_LONG_NAME = 'L',
	TAR_GNU_LONG_LINK = 'K',
};

struct tar_entry {
	char type;
	char name[TAR_MAX_NAME_BYTES + 1];
	char link[TAR_MAX_NAME_BYTES + 1];
	uint32_t mode; // permission bits
	uint64_t uid, gid, size;
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t device_major, device_minor;
	// What an extension header has said, which the header itself then does not.
	bool has_name, has_link, has_uid, has_gid, has_size, has_mtime;
};

static inline uint64_t tar_padding(uint64_t size)
{
	return -size & (TAR_BLOCK_BYTES - 1);
}

// What a header says that it is, before anything else of it is looked at.
char tar_type_of(const uint8_t block[TAR_BLOCK_BYTES]);

// Fills in what no extension has said. False: this is no header.
bool tar_decode(const uint8_t block[TAR_BLOCK_BYTES], struct tar_entry *entry);
bool tar_is_end(const uint8_t block[TAR_BLOCK_BYTES]); // all zero

// The records of a pax header, into the entry that it precedes. Unknown keywords are left out. False: malformed, too long,
// or a sparse file (whose content is not what it seems).
bool tar_decode_pax(const char *records, size_t length, struct tar_entry *entry);
bool tar_decode_gnu_name(const char *name, size_t length, struct tar_entry *entry, char type);

// One header, with a pax header before it for what ustar cannot say; returns its length, a multiple of the block size.
size_t tar_encode(const struct tar_entry *entry, uint8_t bytes[TAR_MAX_HEAD_BYTES]);
