// Writing a file: into a new one beside it, which takes its place when all of it has come. Other programs see the old
// content or the whole new one, and a transfer that breaks leaves the old. It is not synced: after a power failure it may
// be neither, as after cp(1).
//
// A symlink is followed, and what it points to is replaced, as open(2) would write to it. The file keeps its mode, and its
// owner as far as the user may set it; other hard links keep the old content. Who may write to the directory but not to
// the file is refused, as by open(2).
#define _GNU_SOURCE
#include "agent-files-reply.h"
#include "agent-files-path.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { WRITE_PARENTS = 1, WRITE_NEW_ONLY = 2, BUFFER_BYTES = 256 * 1024 };

struct upload {
	struct place place; // what is to be replaced
	char name[FRESH_NAME_BYTES]; // the new file, beside it
	int fd;
	mode_t mode;
	bool replaces;
	struct stat old;
};

// What the user may not do to the file that is there is not done by replacing it either.
static int check_old(struct upload *upload, bool new_only)
{
	int error = place_stat(&upload->place, &upload->old);
	if (error == ENOENT)
		return 0;
	if (error)
		return error;
	if (new_only)
		return EEXIST;
	if (!S_ISREG(upload->old.st_mode)) {
		reply_detail("it is not a regular file");
		return S_ISDIR(upload->old.st_mode) ? EISDIR : EINVAL;
	}
	upload->replaces = true;
	upload->mode = upload->old.st_mode & 07777;
	return faccessat(upload->place.directory, upload->place.name, W_OK, AT_EACCESS) < 0 ? errno : 0;
}

static int open_new(struct upload *upload)
{
	fresh_name(upload->name);
	upload->fd = openat(upload->place.directory, upload->name,
			    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	return upload->fd < 0 ? errno : 0;
}

static int receive_content(int fd)
{
	static uint8_t buffer[BUFFER_BYTES];
	ssize_t count;
	int error = 0;
	while (!error && (count = data_read(buffer, sizeof buffer)) > 0)
		error = write_all(fd, buffer, (size_t)count);
	if (error)
		return error;
	return count < 0 || !reply_is_awaited() ? ECANCELED : 0;
}

// The owner first: changing it clears setuid. That the owner cannot be kept is no failure.
static int finish_new(const struct upload *upload)
{
	mode_t mode = upload->mode;
	if (upload->replaces && fchown(upload->fd, upload->old.st_uid, upload->old.st_gid) < 0)
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	return fchmod(upload->fd, mode) < 0 ? errno : 0;
}

int files_write(struct wire_reader *request)
{
	struct upload upload = {.mode = wire_take_u32(request) & 07777};
	uint8_t flags = wire_take_u8(request);
	const struct place *place = &upload.place;
	bool new_only = flags & WRITE_NEW_ONLY;
	const char *path;
	int error = take_path(request, &path);
	if (error)
		return error;
	error = place_open(AT_FDCWD, path, flags & WRITE_PARENTS, &upload.place);
	if (error == EINVAL)
		error = EISDIR; // "/", "..": names that only directories have
	if (!error)
		error = place_follow(&upload.place);
	if (!error)
		error = check_old(&upload, new_only);
	if (!error)
		error = open_new(&upload);
	if (error)
		return error;

	error = receive_content(upload.fd);
	if (!error)
		error = finish_new(&upload);
	// Where some file systems tell that the disk is full. Before the answer in any case: the client counts on the room.
	if (close(upload.fd) < 0 && !error)
		error = errno;
	if (!error)
		error = rename_name(place->directory, upload.name, place->directory, place->name, !new_only);
	if (error) {
		unlinkat(place->directory, upload.name, 0);
		return error;
	}
	return place_reply(place);
}
