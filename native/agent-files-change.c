// mkdir and rename.
#define _GNU_SOURCE
#include "agent-files-path.h"
#include "agent-files-worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

int files_make_directory(struct wire_reader *request)
{
	mode_t mode = wire_take_u32(request) & 07777;
	bool makes_parents = wire_take_u8(request);
	const char *path;
	struct place place;
	int error = take_path(request, &path);
	if (error)
		return error;
	error = place_open(AT_FDCWD, path, makes_parents, &place);
	if (error)
		return error == EINVAL ? EEXIST : error; // "/", "..": directories for certain
	if (mkdirat(place.directory, place.name, mode) == 0)
		return place_reply(&place);
	error = errno;
	struct stat status;
	bool is_there = error == EEXIST && fstatat(place.directory, place.name, &status, 0) == 0 &&
			S_ISDIR(status.st_mode);
	return makes_parents && is_there ? place_reply(&place) : error;
}

int files_rename(struct wire_reader *request)
{
	bool overwrites = wire_take_u8(request);
	const char *from_path = wire_take_text(request, FILES_MAX_PATH_BYTES), *to_path;
	struct place from, to;
	int error = *from_path == '/' ? take_path(request, &to_path) : EPROTO;
	if (!error)
		error = place_open(AT_FDCWD, from_path, false, &from);
	if (!error)
		error = place_open(AT_FDCWD, to_path, false, &to);
	if (error)
		return error == EINVAL ? EBUSY : error; // as rename(2) says of "/" and ".."
	error = rename_name(from.directory, from.name, to.directory, to.name, overwrites);
	return error ? error : place_reply(&to);
}
