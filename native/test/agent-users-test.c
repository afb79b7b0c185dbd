// Looking up users in files that are not to be trusted.
#include "agent-users.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char directory[] = "/tmp/shale-users-XXXXXX";
static char passwd_path[64], group_path[64];

static void write_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "w");
	assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
}

static struct user look_up(const char *text)
{
	struct user user;
	assert(user_lookup(text, passwd_path, group_path, &user) == 0);
	return user;
}

static int look_up_error(const char *text)
{
	struct user user;
	return user_lookup(text, passwd_path, group_path, &user);
}

static void names_give_all_their_groups(void)
{
	struct user user = look_up("ann");
	assert(!user.is_agent && user.uid == 1000 && user.gid == 1001);
	assert(user.group_count == 2 && user.groups[0] == 27 && user.groups[1] == 100);
	user = look_up("last"); // its line has no newline at the end
	assert(user.uid == 7 && user.gid == 8 && user.group_count == 0);
}

static void numbers_need_no_entry(void)
{
	struct user user = look_up("1000");
	assert(user.uid == 1000 && user.gid == 1001 && user.group_count == 2);
	user = look_up("5000");
	assert(user.uid == 5000 && user.gid == 5000 && user.group_count == 0);
	user = look_up("0");
	assert(!user.is_agent && user.uid == 0 && user.gid == 0);
	assert(look_up("").is_agent);
}

static void an_explicit_group_is_the_only_one(void)
{
	struct user user = look_up("ann:sudo");
	assert(user.uid == 1000 && user.gid == 27 && user.group_count == 0);
	user = look_up("5000:6000");
	assert(user.uid == 5000 && user.gid == 6000);
}

static void what_is_not_there_or_malformed_is_refused(void)
{
	static const char *const malformed[] = {":", "ann:", ":27", "ann:sudo:x"};
	for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++)
		assert(look_up_error(malformed[i]) == EINVAL);
	static const char *const unknown[] = {"bob", "ann:nobody", "4294967295", "99999999999999999999", "-1", "evil"};
	for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
		assert(look_up_error(unknown[i]) == ENOENT);
	char long_name[1000] = "";
	memset(long_name, 'a', sizeof long_name - 1);
	assert(look_up_error(long_name) == EINVAL);
}

static void only_regular_files_are_read(void)
{
	struct user user;
	assert(user_lookup("root", "/dev/zero", "/dev/zero", &user) == ENOENT);
	assert(user_lookup("root", "/nowhere", "/nowhere", &user) == ENOENT);
	assert(unlink(group_path) == 0 && mkfifo(group_path, 0600) == 0);
	assert(look_up("ann").group_count == 0);
}

int main(void)
{
	assert(mkdtemp(directory));
	snprintf(passwd_path, sizeof passwd_path, "%s/passwd", directory);
	snprintf(group_path, sizeof group_path, "%s/group", directory);
	write_file(passwd_path, "root:x:0:0:root:/root:/bin/sh\n\n::\nbroken\nevil:x:-5:0:::\nevil:x:4294967295:0:::\n"
				"ann:x:1000:1001:Ann:/home/ann:/bin/sh\nann:x:1:1:::\nlast:x:7:8");
	write_file(group_path, "root:x:0:\nbroken\nsudo:x:27:bob,ann\nann:x:1001:ann\n:::\nusers:x:100:ann\nx:x:bad:ann\n");
	names_give_all_their_groups();
	numbers_need_no_entry();
	an_explicit_group_is_the_only_one();
	what_is_not_there_or_malformed_is_refused();
	only_regular_files_are_read();
	unlink(passwd_path);
	unlink(group_path);
	rmdir(directory);
	puts("agent-users: ok");
}
