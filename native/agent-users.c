// passwd(5) and group(5), read anew each time: the sandbox may change them. The files are the sandbox's own and hostile:
// only regular files of a bounded size are read, and a malformed line is as if it were not there.
#include "agent-users.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	MAX_FILE_BYTES = 1 << 20,
	MAX_NAME_BYTES = 256,
	PASSWD_FIELDS = 7,
	GROUP_FIELDS = 4,
};

struct account {
	const char *name; // NULL: looked for by number
	uint32_t number;
};

// The whole file with a final NUL; an empty string when there is none that can be read. Free it.
static char *read_database(const char *path)
{
	// O_NONBLOCK: a fifo in its place must not stop the agent.
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat status;
	size_t length = 0;
	char *text = NULL;
	if (fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size <= MAX_FILE_BYTES) {
		text = malloc((size_t)status.st_size + 1);
		ssize_t count = 1;
		while (text && count > 0 && length < (size_t)status.st_size) {
			count = read(fd, text + length, (size_t)status.st_size - length);
			length += count > 0 ? (size_t)count : 0;
		}
	}
	if (fd >= 0)
		close(fd);
	if (!text)
		text = malloc(1);
	if (text)
		text[length] = 0;
	return text;
}

// Cuts the next line off *rest and its fields at the colons; false at the end of the text. Fields are "" when missing.
static bool next_record(char **rest, char *fields[], int count)
{
	static char empty[1];
	char *line = strsep(rest, "\n");
	for (int i = 0; i < count; i++) {
		char *field = line ? strsep(&line, ":") : NULL;
		fields[i] = field ? field : empty;
	}
	return *rest || *fields[0];
}

static bool parse_id(const char *text, uint32_t *id)
{
	uint64_t value = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value >= UINT32_MAX) // the last one means "unchanged" to setresuid(2)
			return false;
	}
	*id = (uint32_t)value;
	return true;
}

// A name, or a number when the text is one.
static struct account to_account(const char *text)
{
	struct account account = {.name = text};
	if (parse_id(text, &account.number))
		account.name = NULL;
	return account;
}

static bool is_account(const struct account *account, const char *name, uint32_t number)
{
	return account->name ? strcmp(account->name, name) == 0 : account->number == number;
}

static bool find_user(char *passwd, const struct account *wanted, char name[MAX_NAME_BYTES], struct user *user)
{
	char *fields[PASSWD_FIELDS];
	uint32_t uid, gid;
	while (next_record(&passwd, fields, PASSWD_FIELDS)) {
		if (!parse_id(fields[2], &uid) || !parse_id(fields[3], &gid) || !is_account(wanted, fields[0], uid))
			continue;
		if (strlen(fields[0]) >= MAX_NAME_BYTES)
			continue;
		strcpy(name, fields[0]);
		user->uid = uid;
		user->gid = gid;
		return true;
	}
	return false;
}

static bool find_group(char *groups, const struct account *wanted, gid_t *gid)
{
	char *fields[GROUP_FIELDS];
	while (next_record(&groups, fields, GROUP_FIELDS))
		if (parse_id(fields[2], gid) && is_account(wanted, fields[0], *gid))
			return true;
	return false;
}

static bool is_member(char *members, const char *name)
{
	for (char *member; (member = strsep(&members, ","));)
		if (strcmp(member, name) == 0)
			return true;
	return false;
}

static void add_supplementary_groups(char *groups, const char *name, struct user *user)
{
	char *fields[GROUP_FIELDS];
	gid_t gid;
	while (user->group_count < USER_MAX_GROUPS && next_record(&groups, fields, GROUP_FIELDS))
		if (parse_id(fields[2], &gid) && gid != user->gid && is_member(fields[3], name))
			user->groups[user->group_count++] = gid;
}

static int resolve_group(const char *text, const char *group_path, struct user *user)
{
	struct account wanted = to_account(text);
	if (!wanted.name) {
		user->gid = wanted.number;
		return 0;
	}
	char *groups = read_database(group_path);
	if (!groups)
		return ENOMEM;
	bool found = find_group(groups, &wanted, &user->gid);
	free(groups);
	return found ? 0 : ENOENT;
}

static int resolve_user(const char *text, bool wants_groups, const char *passwd_path, const char *group_path,
			struct user *user)
{
	struct account wanted = to_account(text);
	char name[MAX_NAME_BYTES];
	char *passwd = read_database(passwd_path);
	if (!passwd)
		return ENOMEM;
	bool found = find_user(passwd, &wanted, name, user);
	free(passwd);
	if (!found && wanted.name)
		return ENOENT;
	if (!found) {
		user->uid = user->gid = wanted.number;
		return 0;
	}
	if (!wants_groups)
		return 0;
	char *groups = read_database(group_path);
	if (!groups)
		return ENOMEM;
	add_supplementary_groups(groups, name, user);
	free(groups);
	return 0;
}

int user_lookup(const char *text, const char *passwd_path, const char *group_path, struct user *user)
{
	*user = (struct user){.is_agent = !*text};
	if (user->is_agent)
		return 0;

	char name[MAX_NAME_BYTES];
	if (strlen(text) >= sizeof name)
		return EINVAL;
	strcpy(name, text);
	char *group = name;
	strsep(&group, ":");
	if (!*name || (group && (!*group || strchr(group, ':'))))
		return EINVAL;

	int error = resolve_user(name, !group, passwd_path, group_path, user);
	return error || !group ? error : resolve_group(group, group_path, user);
}
