// Decoding and encoding of tar headers.
#define _GNU_SOURCE
#include "agent-tar.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// POSIX.1-2001 pax, "ustar Interchange Format".
struct header {
	char name[100];
	char mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
	char type;
	char link[100];
	char magic[6], version[2];
	char user[32], group[32];
	char device_major[8], device_minor[8];
	char prefix[155];
	char pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK_BYTES, "a header is one block");

// ---- decoding ------------------------------------------------------------------------------------------------------

// GNU: the first bit says that the rest is the number, big endian, in two's complement.
static bool take_binary(const char *field, size_t width, int64_t *value)
{
	bool is_negative = field[0] & 0x40;
	uint64_t number = is_negative ? UINT64_MAX : 0;
	for (size_t i = 0; i < width; i++) {
		uint8_t byte = (uint8_t)field[i];
		if (i == 0)
			byte = is_negative ? byte : byte & 0x7f;
		if (i + 8 < width && byte != (is_negative ? 0xff : 0))
			return false; // beyond 64 bits
		number = number << 8 | byte;
	}
	*value = (int64_t)number;
	return (*value < 0) == is_negative;
}

// Octal digits between blanks; an empty field is 0.
static bool take_number(const char *field, size_t width, int64_t *value)
{
	if (field[0] & 0x80)
		return take_binary(field, width, value);
	size_t at = 0;
	int64_t number = 0;
	while (at < width && field[at] == ' ')
		at++;
	for (; at < width && field[at] >= '0' && field[at] <= '7'; at++)
		number = number << 3 | (field[at] - '0'); // at most 36 bits: 12 digits
	for (; at < width; at++)
		if (field[at] != ' ' && field[at] != 0)
			return false;
	*value = number;
	return true;
}

static bool take_unsigned(const char *field, size_t width, uint64_t *value)
{
	int64_t number;
	if (!take_number(field, width, &number) || number < 0)
		return false;
	*value = (uint64_t)number;
	return true;
}

static bool has_checksum(const uint8_t block[TAR_BLOCK_BYTES])
{
	const struct header *header = (const struct header *)block;
	uint64_t said;
	uint64_t sum = 0;
	int64_t signed_sum = 0; // of old programs
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++) {
		bool is_checksum = i >= offsetof(struct header, checksum) && i < offsetof(struct header, type);
		sum += is_checksum ? ' ' : block[i];
		signed_sum += is_checksum ? ' ' : (int8_t)block[i];
	}
	return take_unsigned(header->checksum, sizeof header->checksum, &said) &&
	       (said == sum || (int64_t)said == signed_sum);
}

static void take_name(const struct header *header, struct tar_entry *entry)
{
	// GNU's own format has other things where the prefix is, and says so in the version.
	bool has_prefix = memcmp(header->magic, "ustar\0", 6) == 0 && header->prefix[0];
	int prefix = has_prefix ? (int)strnlen(header->prefix, sizeof header->prefix) : 0;
	snprintf(entry->name, sizeof entry->name, "%.*s%s%.*s", prefix, header->prefix, has_prefix ? "/" : "",
		 (int)strnlen(header->name, sizeof header->name), header->name);
}

bool tar_is_end(const uint8_t block[TAR_BLOCK_BYTES])
{
	for (size_t i = 0; i < TAR_BLOCK_BYTES; i++)
		if (block[i])
			return false;
	return true;
}

char tar_type_of(const uint8_t block[TAR_BLOCK_BYTES])
{
	return ((const struct header *)block)->type;
}

static bool take_numbers(const struct header *header, struct tar_entry *entry)
{
	uint64_t mode, uid, gid, size, device_major = 0, device_minor = 0;
	int64_t mtime;
	if (!take_unsigned(header->mode, sizeof header->mode, &mode) ||
	    !take_unsigned(header->uid, sizeof header->uid, &uid) ||
	    !take_unsigned(header->gid, sizeof header->gid, &gid) ||
	    !take_unsigned(header->size, sizeof header->size, &size) ||
	    !take_number(header->mtime, sizeof header->mtime, &mtime))
		return false;
	if (header->type == TAR_BLOCK || header->type == TAR_CHARACTER)
		if (!take_unsigned(header->device_major, sizeof header->device_major, &device_major) ||
		    !take_unsigned(header->device_minor, sizeof header->device_minor, &device_minor))
			return false;
	entry->mode = (uint32_t)mode & 07777;
	entry->uid = entry->has_uid ? entry->uid : uid;
	entry->gid = entry->has_gid ? entry->gid : gid;
	entry->size = entry->has_size ? entry->size : size;
	entry->mtime = entry->has_mtime ? entry->mtime : mtime;
	entry->device_major = (uint32_t)device_major;
	entry->device_minor = (uint32_t)device_minor;
	return entry->size <= INT64_MAX;
}

bool tar_decode(const uint8_t block[TAR_BLOCK_BYTES], struct tar_entry *entry)
{
	const struct header *header = (const struct header *)block;
	if (!has_checksum(block) || !take_numbers(header, entry))
		return false;
	if (!entry->has_name)
		take_name(header, entry);
	if (!entry->has_link)
		snprintf(entry->link, sizeof entry->link, "%.*s", (int)strnlen(header->link, sizeof header->link),
			 header->link);
	size_t length = strlen(entry->name);
	entry->type = header->type;
	if (entry->type == 0 || entry->type == '7') // before POSIX; contiguous
		entry->type = TAR_FILE;
	if (entry->type == TAR_FILE && length && entry->name[length - 1] == '/')
		entry->type = TAR_DIRECTORY; // before POSIX
	if (entry->type >= TAR_HARD_LINK && entry->type <= TAR_FIFO)
		entry->size = 0; // whatever it says: no content follows
	return true;
}

static bool keep_name(char kept[TAR_MAX_NAME_BYTES + 1], bool *has, const char *text, size_t length)
{
	if (length > TAR_MAX_NAME_BYTES || memchr(text, 0, length))
		return false;
	memcpy(kept, text, length);
	kept[length] = 0;
	*has = true;
	return true;
}

bool tar_decode_gnu_name(const char *name, size_t length, struct tar_entry *entry, char type)
{
	length = strnlen(name, length); // GNU counts the NUL
	return type == TAR_GNU_LONG_NAME ? keep_name(entry->name, &entry->has_name, name, length)
					 : keep_name(entry->link, &entry->has_link, name, length);
}

static bool take_decimal(const char *text, size_t length, uint64_t *value, bool *has)
{
	uint64_t number = 0;
	if (!length || length > 18) // below 2^63
		return false;
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		number = number * 10 + (uint64_t)(text[i] - '0');
	}
	*value = number;
	*has = true;
	return true;
}

// "-1.5" is half a second before -1; what is finer than a nanosecond is dropped.
static bool take_time(const char *text, size_t length, struct tar_entry *entry)
{
	bool is_negative = length && text[0] == '-';
	text += is_negative;
	length -= is_negative;
	const char *dot = memchr(text, '.', length);
	size_t whole = dot ? (size_t)(dot - text) : length;
	uint64_t seconds;
	if (!take_decimal(text, whole, &seconds, &entry->has_mtime))
		return false;
	uint32_t nanoseconds = 0;
	size_t digits = 0;
	for (size_t i = whole + 1; i < length; i++, digits++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		if (digits < 9)
			nanoseconds = nanoseconds * 10 + (uint32_t)(text[i] - '0');
	}
	for (; digits < 9; digits++)
		nanoseconds *= 10;
	entry->mtime = is_negative ? -(int64_t)seconds : (int64_t)seconds;
	entry->mtime_ns = nanoseconds;
	if (is_negative && nanoseconds) {
		entry->mtime -= 1;
		entry->mtime_ns = 1000000000 - nanoseconds;
	}
	return true;
}

static bool take_pax_record(const char *key, size_t key_length, const char *value, size_t length,
			    struct tar_entry *entry)
{
	const struct {
		const char *key;
		uint64_t *value;
		bool *has;
	} numbers[] = {{"size", &entry->size, &entry->has_size},
		       {"uid", &entry->uid, &entry->has_uid},
		       {"gid", &entry->gid, &entry->has_gid}};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if (strlen(numbers[i].key) == key_length && memcmp(key, numbers[i].key, key_length) == 0)
			return take_decimal(value, length, numbers[i].value, numbers[i].has);
	if (key_length == 4 && memcmp(key, "path", 4) == 0)
		return keep_name(entry->name, &entry->has_name, value, length);
	if (key_length == 8 && memcmp(key, "linkpath", 8) == 0)
		return keep_name(entry->link, &entry->has_link, value, length);
	if (key_length == 5 && memcmp(key, "mtime", 5) == 0)
		return take_time(value, length, entry);
	return key_length < 10 || memcmp(key, "GNU.sparse", 10) != 0;
}

// Each: "LENGTH KEY=VALUE\n", where the length is of all of it.
bool tar_decode_pax(const char *records, size_t length, struct tar_entry *entry)
{
	while (length) {
		const char *blank = memchr(records, ' ', length < 8 ? length : 8);
		uint64_t record;
		bool has_length;
		if (!blank || !take_decimal(records, (size_t)(blank - records), &record, &has_length))
			return false;
		size_t head = (size_t)(blank - records) + 1;
		if (record > length || record <= head || records[record - 1] != '\n')
			return false;
		const char *key = blank + 1, *end = records + record - 1;
		const char *equals = memchr(key, '=', (size_t)(end - key));
		if (!equals || !take_pax_record(key, (size_t)(equals - key), equals + 1, (size_t)(end - equals - 1), entry))
			return false;
		records += record;
		length -= record;
	}
	return true;
}

// ---- encoding ------------------------------------------------------------------------------------------------------

// Octal with a final NUL when it fits, all nines of octal when not: an extension says it then.
static bool put_octal(char *field, size_t width, uint64_t value)
{
	bool fits = value >> (3 * (width - 1)) == 0;
	for (size_t i = width - 1; i-- > 0; value >>= 3)
		field[i] = fits ? (char)('0' + (value & 7)) : '7';
	return fits;
}

// The length of a record counts its own digits.
static size_t put_record(char *at, const char *key, const char *value)
{
	size_t rest = strlen(key) + strlen(value) + 3, length = rest + 1;
	for (int i = 0; i < 2; i++)
		length = rest + (size_t)snprintf(NULL, 0, "%zu", length);
	return (size_t)sprintf(at, "%zu %s=%s\n", length, key, value);
}

static size_t put_number_record(char *at, const char *key, int64_t value)
{
	char text[24];
	snprintf(text, sizeof text, "%lld", (long long)value);
	return put_record(at, key, text);
}

static void put_checksum(struct header *header)
{
	uint64_t sum = 0;
	memset(header->checksum, ' ', sizeof header->checksum);
	for (size_t i = 0; i < sizeof *header; i++)
		sum += ((const uint8_t *)header)[i];
	put_octal(header->checksum, 7, sum);
}

static void fill_header(struct header *header, char type, const char *name)
{
	memset(header, 0, sizeof *header);
	strncpy(header->name, name, sizeof header->name); // without a NUL when it is full: so it is in tar
	memcpy(header->magic, "ustar", 6);
	memcpy(header->version, "00", 2);
	header->type = type;
}

// The header with what fits; the rest becomes records.
static size_t encode_ustar(const struct tar_entry *entry, struct header *header, char *records)
{
	size_t length = 0;
	fill_header(header, entry->type, entry->name);
	if (strlen(entry->name) > sizeof header->name)
		length += put_record(records + length, "path", entry->name);
	strncpy(header->link, entry->link, sizeof header->link);
	if (strlen(entry->link) > sizeof header->link)
		length += put_record(records + length, "linkpath", entry->link);
	put_octal(header->mode, sizeof header->mode, entry->mode);
	if (!put_octal(header->uid, sizeof header->uid, entry->uid))
		length += put_number_record(records + length, "uid", (int64_t)entry->uid);
	if (!put_octal(header->gid, sizeof header->gid, entry->gid))
		length += put_number_record(records + length, "gid", (int64_t)entry->gid);
	if (!put_octal(header->size, sizeof header->size, entry->size))
		length += put_number_record(records + length, "size", (int64_t)entry->size);
	if (!put_octal(header->mtime, sizeof header->mtime, entry->mtime < 0 ? 0 : (uint64_t)entry->mtime) ||
	    entry->mtime < 0)
		length += put_number_record(records + length, "mtime", entry->mtime);
	put_octal(header->device_major, sizeof header->device_major, entry->device_major);
	put_octal(header->device_minor, sizeof header->device_minor, entry->device_minor);
	put_checksum(header);
	return length;
}

size_t tar_encode(const struct tar_entry *entry, uint8_t bytes[TAR_MAX_HEAD_BYTES])
{
	struct header header, extension;
	char *records = (char *)bytes + TAR_BLOCK_BYTES;
	size_t length = encode_ustar(entry, &header, records);
	size_t at = 0;
	if (length) {
		fill_header(&extension, TAR_PAX, "PaxHeader");
		put_octal(extension.mode, sizeof extension.mode, 0644);
		put_octal(extension.uid, sizeof extension.uid, 0);
		put_octal(extension.gid, sizeof extension.gid, 0);
		put_octal(extension.size, sizeof extension.size, length);
		put_octal(extension.mtime, sizeof extension.mtime, 0);
		put_checksum(&extension);
		memcpy(bytes, &extension, sizeof extension);
		memset(records + length, 0, tar_padding(length));
		at = TAR_BLOCK_BYTES + length + tar_padding(length);
	}
	memcpy(bytes + at, &header, sizeof header);
	return at + TAR_BLOCK_BYTES;
}
