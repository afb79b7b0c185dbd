// Unpacking a tar archive below a directory, which is made. Entries appear as they come; an archive that breaks off leaves
// those before.
//
// SECURITY: every name is resolved beneath the directory by the kernel (beneath_open), also through symlinks that the
// archive itself or another program has just made; the last name of a path is never followed. What is there under the name
// is removed, not written to, unless it is a directory.
//
// As root, owners are those of the archive, or root's where the sandbox has no such id; otherwise all is the user's.
// Directories that were there before keep their mode and owner.
#define _GNU_SOURCE
#include "agent-files-input.h"
#include "agent-files-path.h"
#include "agent-files-reply.h"
#include "agent-files-worker.h"
#include "agent-tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
	ENTRY_ATTEMPTS = 8, // when another program makes what was just removed
	MAX_DIRECTORIES = 100000, // whose mode and time are set at the end; those beyond keep what they get
	ALL_OF_OWNER = 0700,
};

// A directory's own mode and time are set when everything is in it: making entries changes the one, and may need the
// other.
struct made_directory {
	struct made_directory *older;
	uint32_t mode, mtime_ns;
	int64_t mtime;
	char path[];
};

static struct {
	int root;
	bool is_root; // may give files away
	uint64_t count;
	struct made_directory *directories;
	uint32_t directory_count;
} extraction;

// ---- entries -------------------------------------------------------------------------------------------------------

static struct timespec to_mtime(int64_t seconds, uint32_t nanoseconds)
{
	return (struct timespec){.tv_sec = (time_t)seconds, .tv_nsec = (long)nanoseconds};
}

// Makes room for what is not a directory. An empty directory does not give way: EISDIR.
static int remove_old(const struct place *place)
{
	return unlinkat(place->directory, place->name, 0) < 0 && errno != ENOENT ? errno : 0;
}

// Of an open file, which may be O_PATH: never by name, which another program may have given to something else by now.
static int set_owner(int fd, const struct tar_entry *entry)
{
	bool is_id = entry->uid < UINT32_MAX && entry->gid < UINT32_MAX;
	if (!extraction.is_root || !is_id ||
	    fchownat(fd, "", (uid_t)entry->uid, (gid_t)entry->gid, AT_EMPTY_PATH) == 0)
		return 0;
	return errno == EINVAL ? 0 : errno; // EINVAL: the sandbox has no such id
}

static int set_time(int fd, const struct tar_entry *entry)
{
	const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, to_mtime(entry->mtime, entry->mtime_ns)};
	return utimensat(fd, "", times, AT_EMPTY_PATH) < 0 ? errno : 0;
}

// The owner of what has just been made, if that is still what has the name, and the time of what is no directory.
static int finish_node(const struct place *place, mode_t type, const struct tar_entry *entry)
{
	int fd = openat(place->directory, place->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;
	if (fd < 0)
		return errno;
	int error = fstat(fd, &status) < 0 ? errno : 0;
	if (!error && (status.st_mode & S_IFMT) != type)
		error = EEXIST;
	if (!error)
		error = set_owner(fd, entry);
	if (!error && type != S_IFDIR)
		error = set_time(fd, entry);
	close(fd);
	return error;
}

static int write_content(int fd, uint64_t size)
{
	while (size) {
		const uint8_t *at;
		size_t taken = input_take_some(size, &at);
		if (!taken) {
			reply_detail("the archive ends in the middle of a file");
			return EINVAL;
		}
		size -= taken;
		int error = write_all(fd, at, taken);
		if (error)
			return error;
	}
	return 0;
}

// The owner first: changing it clears setuid.
static int fill_file(int fd, const struct tar_entry *entry)
{
	int error = write_content(fd, entry->size);
	if (!error)
		error = set_owner(fd, entry);
	if (!error && fchmod(fd, entry->mode) < 0)
		error = errno;
	return error ? error : set_time(fd, entry);
}

static int extract_file(const struct place *place, const struct tar_entry *entry)
{
	int fd = -1, error = EEXIST;
	for (int i = 0; fd < 0 && error == EEXIST && i < ENTRY_ATTEMPTS; i++) {
		error = remove_old(place);
		if (error)
			return error;
		fd = openat(place->directory, place->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		error = fd < 0 ? errno : 0;
	}
	if (fd < 0)
		return error;
	error = fill_file(fd, entry);
	if (close(fd) < 0 && !error)
		error = errno;
	if (error)
		unlinkat(place->directory, place->name, 0);
	return error;
}

static int extract_hard_link(const struct place *place, const struct tar_entry *entry)
{
	char clean[PATH_MAX];
	struct place first;
	int error = beneath_clean(entry->link, clean);
	if (!error)
		error = beneath_place(extraction.root, clean, &first);
	if (error)
		return error;
	error = remove_old(place);
	if (!error && linkat(first.directory, first.name, place->directory, place->name, 0) < 0)
		error = errno;
	place_close(&first);
	return error;
}

// What has no content.
static int extract_node(const struct place *place, const struct tar_entry *entry)
{
	static const mode_t types[] = {
		[TAR_SYMLINK] = S_IFLNK, [TAR_CHARACTER] = S_IFCHR, [TAR_BLOCK] = S_IFBLK, [TAR_FIFO] = S_IFIFO};
	mode_t type = types[(int)entry->type];
	dev_t device = makedev(entry->device_major, entry->device_minor);
	int error = remove_old(place);
	if (error)
		return error;
	int result = type == S_IFLNK ? symlinkat(entry->link, place->directory, place->name)
				     : mknodat(place->directory, place->name, type | entry->mode, device);
	return result < 0 ? errno : finish_node(place, type, entry);
}

static void remember_directory(const char *path, const struct tar_entry *entry)
{
	struct made_directory *made = NULL;
	if (extraction.directory_count < MAX_DIRECTORIES)
		made = malloc(sizeof *made + strlen(path) + 1);
	if (!made)
		return;
	*made = (struct made_directory){.older = extraction.directories, .mode = entry->mode, .mtime = entry->mtime,
					.mtime_ns = entry->mtime_ns};
	strcpy(made->path, path);
	extraction.directories = made;
	extraction.directory_count++;
}

static int extract_directory(const struct place *place, const char *path, const struct tar_entry *entry)
{
	for (int i = 0; i < ENTRY_ATTEMPTS; i++) {
		if (mkdirat(place->directory, place->name, entry->mode | ALL_OF_OWNER) == 0) {
			remember_directory(path, entry);
			return finish_node(place, S_IFDIR, entry);
		}
		if (errno != EEXIST)
			return errno;
		// A directory, or a symlink to one that is beneath as well, is kept: /bin may be one to /usr/bin.
		int fd = beneath_open(extraction.root, path, O_PATH | O_DIRECTORY);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
		int error = remove_old(place);
		if (error)
			return error;
	}
	return EEXIST;
}

// Newest first, so that a directory comes before the one it is in.
static int finish_directories(void)
{
	for (const struct made_directory *made = extraction.directories; made; made = made->older) {
		int fd = beneath_open(extraction.root, made->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK);
		if (fd < 0)
			continue; // something else has been put in its place
		const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, to_mtime(made->mtime, made->mtime_ns)};
		int result = fchmod(fd, made->mode) < 0 ? -1 : futimens(fd, times);
		int error = errno;
		close(fd);
		if (result < 0) {
			reply_detail("%s", made->path);
			return error;
		}
	}
	return 0;
}

static int extract_at(const struct place *place, const char *path, const struct tar_entry *entry)
{
	switch (entry->type) {
	case TAR_FILE:
		return extract_file(place, entry);
	case TAR_DIRECTORY:
		return extract_directory(place, path, entry);
	case TAR_HARD_LINK:
		return extract_hard_link(place, entry);
	case TAR_SYMLINK:
	case TAR_FIFO:
	case TAR_CHARACTER:
	case TAR_BLOCK:
		return extract_node(place, entry);
	default:
		reply_detail("%s: entries of type '%c' are not supported", entry->name, entry->type);
		return EINVAL;
	}
}

static int extract_entry(const struct tar_entry *entry)
{
	char path[PATH_MAX];
	struct place place;
	int error = beneath_clean(entry->name, path);
	if (!error && *path) { // else the directory itself
		error = beneath_place(extraction.root, path, &place);
		if (!error) {
			error = extract_at(&place, path, entry);
			place_close(&place);
		}
		extraction.count++;
	}
	if (error)
		reply_detail("%s%s", entry->name,
			     error == EXDEV ? ": it leads outside of the directory"
			     : error == EINVAL ? ": its name has .. in it, or is none" : "");
	return error;
}

// ---- the archive ---------------------------------------------------------------------------------------------------

static int malformed(const char *what)
{
	reply_detail("%s", what);
	return EINVAL;
}

// An extension's content says what the next header does not.
static int take_extension(const struct tar_entry *header, struct tar_entry *next)
{
	static char content[TAR_MAX_EXTENSION_BYTES];
	if (header->size > sizeof content)
		return malformed("an extension header is too long");
	size_t size = (size_t)header->size;
	if (input_take(content, size) < size)
		return malformed("the archive ends in the middle of a header");
	bool is_good = header->type == TAR_PAX_GLOBAL || (header->type == TAR_PAX
								     ? tar_decode_pax(content, size, next)
								     : tar_decode_gnu_name(content, size, next, header->type));
	return is_good ? 0 : malformed("an extension header is malformed, or of a sparse file");
}

static bool is_extension(char type)
{
	return type == TAR_PAX || type == TAR_PAX_GLOBAL || type == TAR_GNU_LONG_NAME || type == TAR_GNU_LONG_LINK;
}

// One header and what belongs to it. What extensions have said is kept in `next` until the entry itself comes.
static int take_entry(const uint8_t block[TAR_BLOCK_BYTES], struct tar_entry *next)
{
	static struct tar_entry header;
	int error;
	if (is_extension(tar_type_of(block))) {
		memset(&header, 0, sizeof header);
		if (!tar_decode(block, &header))
			return malformed("it is not a tar archive, or a damaged one");
		error = take_extension(&header, next);
		if (!error && !input_skip(tar_padding(header.size)))
			error = malformed("the archive ends in the middle of a header");
		return error;
	}
	if (!tar_decode(block, next))
		return malformed(extraction.count ? "the archive is damaged"
						  : "it is not a tar archive; a compressed one is to be unpacked first");
	error = extract_entry(next);
	if (!error && !input_skip(tar_padding(next->size)))
		error = malformed("the archive ends in the middle of a file");
	memset(next, 0, sizeof *next);
	return error;
}

static int take_entries(void)
{
	static struct tar_entry next;
	uint8_t block[TAR_BLOCK_BYTES];
	for (;;) {
		size_t length = input_take(block, sizeof block);
		if (!length)
			return 0; // without its end mark, as some programs write it
		if (length < sizeof block)
			return malformed("the archive ends in the middle of a header");
		if (tar_is_end(block))
			break;
		int error = take_entry(block, &next);
		if (error)
			return error;
	}
	const uint8_t *at;
	while (input_take_some(UINT64_MAX, &at)) // the rest of the last record
		continue;
	return 0;
}

static int open_target(const char *path)
{
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	int fd = open(path, flags);
	if (fd >= 0 || errno != ENOENT)
		return fd;
	struct place place;
	int error = place_open(AT_FDCWD, path, true, &place);
	if (!error && mkdirat(place.directory, place.name, 0755) < 0 && errno != EEXIST)
		error = errno;
	errno = error;
	return error ? -1 : open(path, flags);
}

int files_extract(struct wire_reader *request)
{
	const char *path;
	int error = take_path(request, &path);
	if (error)
		return error;
	extraction.is_root = geteuid() == 0;
	extraction.root = open_target(path);
	if (extraction.root < 0)
		return errno;
	error = take_entries();
	if (!error && !reply_is_awaited())
		return ECANCELED;
	reply_count(extraction.count);
	return error ? error : finish_directories();
}
