// A tar archive of a file, or of what is in a directory, as BYTES records. Owners are numbers, times whole seconds;
// sockets are left out, as is what vanishes meanwhile. A file that changes its size while it is read has the size that
// it had at first: it is cut, or filled with zeros.
#define _GNU_SOURCE
#include "agent-files-path.h"
#include "agent-files-read.h"
#include "agent-files-reply.h"
#include "agent-files-tree.h"
#include "agent-files-worker.h"
#include "agent-tar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// Files with several names, by inode, so that the second name becomes a link to the first. Beyond MAX_LINKED they are
// archived as files of their own.
enum { LINK_BUCKETS = 4096, MAX_LINKED = 100000 };

struct linked {
	struct linked *next;
	dev_t device;
	ino_t inode;
	char path[];
};

static struct linked *buckets[LINK_BUCKETS];
static uint32_t linked_count;

// The name under which the file is in the archive already; NULL when this is the first.
static const char *find_first_name(const struct stat *status, const char *path)
{
	struct linked **bucket = &buckets[status->st_ino % LINK_BUCKETS];
	if (S_ISDIR(status->st_mode) || status->st_nlink < 2)
		return NULL;
	for (struct linked *linked = *bucket; linked; linked = linked->next)
		if (linked->device == status->st_dev && linked->inode == status->st_ino)
			return linked->path;
	struct linked *linked = linked_count < MAX_LINKED ? malloc(sizeof *linked + strlen(path) + 1) : NULL;
	if (!linked)
		return NULL;
	*linked = (struct linked){.next = *bucket, .device = status->st_dev, .inode = status->st_ino};
	strcpy(linked->path, path);
	*bucket = linked;
	linked_count++;
	return NULL;
}

static void send_zeros(uint64_t length)
{
	while (length) {
		size_t size = length < REPLY_BYTES_ROOM ? (size_t)length : REPLY_BYTES_ROOM;
		memset(reply_bytes_space(), 0, size);
		reply_bytes(size);
		length -= size;
	}
}

static char to_type(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return TAR_FILE;
	case S_IFDIR:
		return TAR_DIRECTORY;
	case S_IFLNK:
		return TAR_SYMLINK;
	case S_IFIFO:
		return TAR_FIFO;
	case S_IFCHR:
		return TAR_CHARACTER;
	case S_IFBLK:
		return TAR_BLOCK;
	default:
		return 0; // a socket
	}
}

static void fill_entry(struct tar_entry *entry, const struct stat *status, const char *path)
{
	bool is_device = S_ISCHR(status->st_mode) || S_ISBLK(status->st_mode);
	*entry = (struct tar_entry){
		.type = to_type(status->st_mode),
		.mode = status->st_mode & 07777,
		.uid = status->st_uid,
		.gid = status->st_gid,
		.size = S_ISREG(status->st_mode) ? (uint64_t)status->st_size : 0,
		.mtime = status->st_mtim.tv_sec,
		.device_major = is_device ? major(status->st_rdev) : 0,
		.device_minor = is_device ? minor(status->st_rdev) : 0,
	};
	strcpy(entry->name, path);
}

static void send_head(const struct tar_entry *entry)
{
	size_t length = tar_encode(entry, reply_bytes_space());
	reply_bytes(length);
}

// Its head, its content, and the zeros up to the next block.
static int send_content(int fd, struct tar_entry *entry)
{
	send_head(entry);
	int64_t sent = send_file(fd, entry->size);
	if (sent < 0)
		return (int)-sent;
	send_zeros(entry->size - (uint64_t)sent + tar_padding(entry->size));
	return 0;
}

static int archive_file(int directory, const char *name, struct tar_entry *entry)
{
	// The type was looked at a moment ago. O_NONBLOCK: should it be a fifo by now, that is not waited for.
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat status;
	if (fd < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : errno;
	int error = fstat(fd, &status) < 0 ? errno : 0;
	if (!error && S_ISREG(status.st_mode)) {
		entry->size = (uint64_t)status.st_size;
		error = send_content(fd, entry);
	}
	close(fd);
	return error;
}

static int archive_entry(void *context, const struct tree_entry *found)
{
	static struct tar_entry entry;
	(void)context;
	fill_entry(&entry, &found->status, found->path);
	if (!entry.type)
		return 0;
	const char *first = find_first_name(&found->status, found->path);
	if (first) {
		entry.type = TAR_HARD_LINK;
		entry.size = 0;
		strcpy(entry.link, first);
	} else if (entry.type == TAR_FILE) {
		return archive_file(found->directory, found->name, &entry);
	} else if (entry.type == TAR_SYMLINK) {
		ssize_t length = readlinkat(found->directory, found->name, entry.link, TAR_MAX_NAME_BYTES);
		if (length < 0)
			return errno == ENOENT || errno == EINVAL ? 0 : errno;
		entry.link[length] = 0;
	}
	send_head(&entry);
	return 0;
}

static int archive_alone(const char *path)
{
	static struct tar_entry entry;
	struct stat status;
	char directory[PATH_MAX], name[NAME_MAX + 1];
	int fd = open_regular(path, &status);
	if (fd < 0)
		return -fd;
	int error = path_split(path, directory, name);
	if (error)
		return error;
	fill_entry(&entry, &status, name);
	return send_content(fd, &entry);
}

int files_archive(struct wire_reader *request)
{
	const char *path;
	int error = take_path(request, &path);
	if (error)
		return error;
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK | O_CLOEXEC);
	struct stat status;
	if (fd < 0 && errno != ENOTDIR)
		return errno;
	// An INFO record first, so that what cannot be read at all is known before there is any content.
	if ((fd < 0 ? stat(path, &status) : fstat(fd, &status)) < 0)
		return errno;
	if (fd < 0 && !S_ISREG(status.st_mode))
		return EINVAL;
	reply_info(&status, "", "");
	reply_flush();
	error = fd < 0 ? archive_alone(path) : tree_walk(fd, archive_entry, NULL);
	if (!error)
		send_zeros(2 * TAR_BLOCK_BYTES);
	return error;
}
