// Tar headers: what is written can be read again, what other programs write is understood, and what is hostile is refused.
// Buffers are of the exact size, so that the sanitizer sees every byte that is touched beyond.
#include "agent-tar.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct tar_entry entry_named(const char *name)
{
	struct tar_entry entry = {.type = TAR_FILE, .mode = 0640, .uid = 1000, .gid = 100, .size = 12345, .mtime = 99};
	snprintf(entry.name, sizeof entry.name, "%s", name);
	return entry;
}

// Decodes what was encoded, with the extension before it.
static struct tar_entry encode_and_decode(const struct tar_entry *entry)
{
	static uint8_t bytes[TAR_MAX_HEAD_BYTES];
	static struct tar_entry extension, decoded;
	size_t length = tar_encode(entry, bytes);
	assert(length % TAR_BLOCK_BYTES == 0);
	memset(&decoded, 0, sizeof decoded);
	memset(&extension, 0, sizeof extension);
	uint8_t *at = bytes;
	if (tar_type_of(at) == TAR_PAX) {
		assert(tar_decode(at, &extension));
		assert(tar_decode_pax((char *)at + TAR_BLOCK_BYTES, (size_t)extension.size, &decoded));
		at += TAR_BLOCK_BYTES + extension.size + tar_padding(extension.size);
	}
	assert(at + TAR_BLOCK_BYTES == bytes + length);
	assert(tar_decode(at, &decoded));
	return decoded;
}

static void check_round_trip(const struct tar_entry *entry)
{
	struct tar_entry decoded = encode_and_decode(entry);
	assert(strcmp(decoded.name, entry->name) == 0 && strcmp(decoded.link, entry->link) == 0);
	assert(decoded.type == entry->type && decoded.mode == entry->mode && decoded.size == entry->size);
	assert(decoded.uid == entry->uid && decoded.gid == entry->gid && decoded.mtime == entry->mtime);
	assert(decoded.device_major == entry->device_major && decoded.device_minor == entry->device_minor);
}

static void what_is_written_can_be_read(void)
{
	struct tar_entry entry = entry_named("a/b");
	check_round_trip(&entry);
	entry = entry_named("");
	entry.type = TAR_SYMLINK;
	entry.size = 0;
	for (size_t length = 1; length <= TAR_MAX_NAME_BYTES; length += length > 90 && length < 270 ? 1 : 89) {
		memset(entry.name, 'n', length);
		memset(entry.link, 'l', length);
		entry.name[length] = entry.link[length] = 0;
		check_round_trip(&entry);
	}
	entry = entry_named("big");
	for (int bit = 0; bit < 59; bit++) {
		entry.size = entry.uid = entry.gid = 1ull << bit;
		entry.mtime = 1ll << bit;
		check_round_trip(&entry);
		entry.mtime = -entry.mtime;
		check_round_trip(&entry);
	}
	entry = entry_named("device");
	entry.type = TAR_BLOCK;
	entry.size = 0;
	entry.device_major = 8;
	entry.device_minor = 1048575;
	check_round_trip(&entry);
}

static void a_small_entry_is_one_block(void)
{
	static uint8_t bytes[TAR_MAX_HEAD_BYTES];
	struct tar_entry entry = entry_named("a");
	assert(tar_encode(&entry, bytes) == TAR_BLOCK_BYTES);
}

static bool decodes_pax(const char *text, struct tar_entry *entry)
{
	size_t length = strlen(text);
	char *exact = malloc(length ? length : 1);
	memcpy(exact, text, length);
	memset(entry, 0, sizeof *entry);
	bool is_good = tar_decode_pax(exact, length, entry);
	free(exact);
	return is_good;
}

static void pax_records_are_understood(void)
{
	static struct tar_entry entry;
	assert(decodes_pax("", &entry));
	assert(decodes_pax("12 path=a/b\n21 mtime=1.500000009\n", &entry));
	assert(strcmp(entry.name, "a/b") == 0 && entry.mtime == 1 && entry.mtime_ns == 500000009);
	assert(decodes_pax("14 mtime=-1.5\n", &entry) && entry.mtime == -2 && entry.mtime_ns == 500000000);
	assert(decodes_pax("27 comment=unknown = good\n\n13 size=4096\n", &entry) && entry.size == 4096);
}

static void malformed_pax_records_are_refused(void)
{
	static struct tar_entry entry;
	static const char *const bad[] = {
		"12 path=a/b",			  // without its end
		"11 path=a/b\n",		  // ends inside
		"13 path=a/b\n",		  // beyond the end
		"0 path=a/b\n",	"3 \n",	"path=a/b\n", "-2 a=b\n", "6 pat\n",
		"99999999999999999999 path=a\n",
		"8 size=\n", "11 size=-1\n", "12 size=1x3\n", "35 size=11111111111111111111111111\n",
		"22 GNU.sparse.major=1\n",
		"13 mtime=abc\n", "13 mtime=1.x\n",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert(!decodes_pax(bad[i], &entry));
	char with_nul[] = "10 path=a0\n";
	with_nul[9] = 0;
	memset(&entry, 0, sizeof entry);
	assert(!tar_decode_pax(with_nul, 11, &entry));
	char *text = malloc(6000);
	int length = sprintf(text, "5010 path=");
	memset(text + length, 'n', 5000);
	strcpy(text + 5009, "\n");
	assert(!decodes_pax(text, &entry));
	free(text);
}

static void seal(uint8_t block[TAR_BLOCK_BYTES])
{
	unsigned sum = 0;
	memset(block + 148, ' ', 8);
	for (int i = 0; i < TAR_BLOCK_BYTES; i++)
		sum += block[i];
	snprintf((char *)block + 148, 8, "%06o", sum);
}

static void gnu_headers_are_understood(void)
{
	static struct tar_entry entry;
	uint8_t block[TAR_BLOCK_BYTES] = "directory/";
	memcpy(block + 257, "ustar  ", 8);
	memcpy(block + 345, "not a prefix", 12);
	memcpy(block + 124, "\x80\0\0\0\0\0\0\2\0\0\0\0", 12); // base 256: 8 GiB
	seal(block);
	assert(tar_decode(block, &entry) && strcmp(entry.name, "directory/") == 0);
	assert(entry.type == TAR_DIRECTORY && entry.size == 0);
	block[9] = 'x';
	seal(block);
	memset(&entry, 0, sizeof entry);
	assert(tar_decode(block, &entry) && entry.type == TAR_FILE && entry.size == 8ull << 30);
	memcpy(block + 136, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12); // one second before 1970
	seal(block);
	assert(tar_decode(block, &entry) && entry.mtime == -1);

	memset(&entry, 0, sizeof entry);
	assert(tar_decode_gnu_name("long\0name", 9, &entry, TAR_GNU_LONG_NAME) && strcmp(entry.name, "long") == 0);
	assert(tar_decode_gnu_name("link", 4, &entry, TAR_GNU_LONG_LINK) && strcmp(entry.link, "link") == 0);
	assert(tar_decode(block, &entry) && strcmp(entry.name, "long") == 0);
}

static void the_prefix_is_part_of_the_name(void)
{
	static struct tar_entry entry;
	uint8_t block[TAR_BLOCK_BYTES];
	memset(block, 0, sizeof block);
	memset(block, 'n', 100);
	memset(block + 157, 'l', 100);
	memcpy(block + 257, "ustar\0" "00", 8);
	memset(block + 345, 'p', 155);
	block[156] = TAR_SYMLINK;
	seal(block);
	assert(tar_decode(block, &entry) && strlen(entry.name) == 256 && entry.name[155] == '/');
	assert(strlen(entry.link) == 100);
}

static void bad_headers_are_refused(void)
{
	static uint8_t bytes[TAR_MAX_HEAD_BYTES];
	static struct tar_entry decoded;
	struct tar_entry entry = entry_named("a");
	tar_encode(&entry, bytes);
	bytes[0] = 'b';
	assert(!tar_decode(bytes, &decoded)); // the checksum
	static const int fields[] = {100, 108, 116, 124, 136};
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		tar_encode(&entry, bytes);
		bytes[fields[i]] = '9';
		seal(bytes);
		assert(!tar_decode(bytes, &decoded));
	}
	tar_encode(&entry, bytes);
	memset(bytes + 124, 0xff, 12); // -1 bytes
	seal(bytes);
	memset(&decoded, 0, sizeof decoded);
	assert(!tar_decode(bytes, &decoded));
	memset(bytes, 0, TAR_BLOCK_BYTES);
	assert(tar_is_end(bytes) && !tar_decode(bytes, &decoded));
}

static void random_input_is_survived(void)
{
	static struct tar_entry entry;
	srand(1);
	for (int round = 0; round < 100000; round++) {
		uint8_t *block = malloc(TAR_BLOCK_BYTES);
		for (int i = 0; i < TAR_BLOCK_BYTES; i++)
			block[i] = (uint8_t)(round % 2 ? rand() : "01234567 \0"[rand() % 10]);
		seal(block);
		memset(&entry, 0, sizeof entry);
		tar_decode(block, &entry);
		size_t length = (size_t)rand() % 64;
		char *records = malloc(length + 1);
		for (size_t i = 0; i < length; i++)
			records[i] = "0123456789 =\npathsizemtime."[rand() % 27];
		tar_decode_pax(records, length, &entry);
		free(records);
		free(block);
	}
}

int main(void)
{
	what_is_written_can_be_read();
	a_small_entry_is_one_block();
	pax_records_are_understood();
	malformed_pax_records_are_refused();
	gnu_headers_are_understood();
	the_prefix_is_part_of_the_name();
	bad_headers_are_refused();
	random_input_is_survived();
	puts("agent-tar: ok");
}
