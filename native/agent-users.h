// Users and groups of the sandbox, as its own /etc/passwd and /etc/group name them.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { USER_MAX_GROUPS = 64 };

struct user {
	bool is_agent; // keep the agent's own identity: no system call is needed
	uid_t uid;
	gid_t gid;
	uint32_t group_count;
	gid_t groups[USER_MAX_GROUPS]; // supplementary
};

// "" is the agent's own identity (root). "USER" or "USER:GROUP", each a name or a number. A user who is in passwd gets
// its group, and supplementary groups, from there; a number that is not gets the group of the same number and none.
// With an explicit group there are no supplementary groups. Returns 0, or an errno: EINVAL for the form, ENOENT for a
// name nobody has.
int user_lookup(const char *text, const char *passwd_path, const char *group_path, struct user *user);
