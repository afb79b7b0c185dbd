/* New filesystems and mount flags, as host and guest operations share them. */
#include "jailer.h"
#include "jailer-kernel.h"

#include <string.h>

/* fsconfig(2) takes values of up to 255 bytes. */
#define OPTIONS_BYTES 512

static const struct {
	const char *name;
	uint64_t attribute;
} mount_flags[] = {
	{"nosuid", MOUNT_ATTR_NOSUID}, {"nodev", MOUNT_ATTR_NODEV},	{"noexec", MOUNT_ATTR_NOEXEC},
	{"ro", MOUNT_ATTR_RDONLY},     {"noatime", MOUNT_ATTR_NOATIME}, {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW},
};

static uint64_t find_mount_flag(const char *name)
{
	for (size_t i = 0; i < sizeof mount_flags / sizeof *mount_flags; i++)
		if (strcmp(mount_flags[i].name, name) == 0)
			return mount_flags[i].attribute;
	return 0;
}

/* The next part of a comma separated list, which is cut up in place. NULL at its end. */
static char *next_part(char **rest)
{
	char *part = *rest;
	if (part == NULL || *part == 0)
		return NULL;
	char *comma = strchr(part, ',');
	if (comma != NULL)
		*comma++ = 0;
	*rest = comma;
	return part;
}

bool parse_mount_flags(const char *text, uint64_t *attributes)
{
	char copy[OPTIONS_BYTES], *rest = copy;
	*attributes = 0;
	if (strlen(text) >= sizeof copy)
		return false;
	strcpy(copy, text);
	for (char *name; (name = next_part(&rest)) != NULL;) {
		uint64_t attribute = find_mount_flag(name);
		if (attribute == 0)
			return false;
		*attributes |= attribute;
	}
	return true;
}

static int configure(int fs_fd, char *options)
{
	for (char *key; (key = next_part(&options)) != NULL;) {
		char *value = strchr(key, '=');
		if (value != NULL)
			*value++ = 0;
		int error = sys_fsconfig(fs_fd, value == NULL ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING, key, value);
		if (error < 0)
			return error;
	}
	return sys_fsconfig(fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL);
}

int mount_new(const char *filesystem, const char *options, uint64_t attributes)
{
	char copy[OPTIONS_BYTES];
	if (strlen(options) >= sizeof copy)
		return -E2BIG;
	strcpy(copy, options);
	int fs_fd = sys_fsopen(filesystem);
	if (fs_fd < 0)
		return fs_fd;
	int error = configure(fs_fd, copy);
	int mount_fd = error < 0 ? error : sys_fsmount(fs_fd, (unsigned)attributes);
	close(fs_fd);
	return mount_fd;
}
