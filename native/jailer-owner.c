/*
 * The jailer for a daemon that is an ordinary user. Files are found, made and removed with that user's rights, so that
 * a plan does with them nothing that the user could not do; what only root can do is bounded by rules: which
 * namespaces, which ids, which cgroups, which images.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

/* These calls do not tell whether they worked; with -1 they change nothing and tell the current id. */
static void set_ids(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
	if (setfsgid((gid_t)-1) != (int)gid || setfsuid((uid_t)-1) != (int)uid)
		die("changing the rights to files", EPERM);
}

void act_as_owner(const struct jailer *jailer)
{
	if (jailer->owner.uid != 0)
		set_ids(jailer->owner.uid, jailer->owner.gid);
}

void act_as_root(const struct jailer *jailer)
{
	if (jailer->owner.uid != 0)
		set_ids(0, 0);
}

int check_image(const struct jailer *jailer, int fd)
{
	struct stat status;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return -EINVAL;
	bool is_ours = status.st_uid == 0 || status.st_uid == jailer->owner.uid;
	return is_ours && (status.st_mode & 022) == 0 ? 0 : -EPERM;
}

/* All but `time`, which separates nothing that matters. */
static const char *const needed_namespaces[] = {"user", "mount", "pid", "net", "ipc", "uts", "cgroup"};

/* Who is in no cgroup of Shale's is limited by nothing and found by nobody. */
static bool has_cgroup(const struct plan *plan, const struct plan_op *clone)
{
	for (uint32_t i = 0; i < clone->word_count; i++)
		if (strncmp(plan_text(clone, i), "cgroup2=", 8) == 0)
			return true;
	return plan_find(plan, OP_CGROUP_JOIN) < plan->op_count;
}

static const char *check_clone(const struct plan *plan, const struct plan_op *op)
{
	for (size_t i = 0; i < sizeof needed_namespaces / sizeof *needed_namespaces; i++)
		if (!plan_has_word(op, needed_namespaces[i]))
			return "an owner's sandboxes need all namespaces but time";
	return has_cgroup(plan, op) ? NULL : "an owner's sandboxes are in a cgroup";
}

static const char *check_ids(const struct owner *owner, const struct plan_op *op)
{
	uint64_t base, count;
	if (!plan_decimal(plan_text(op, 0), owner->last_id, &base) || base < owner->first_id ||
	    !plan_decimal(plan_text(op, 1), owner->last_id - base + 1, &count))
		return "ids outside of --ids";
	return NULL;
}

/*
 * The owner writes the images. A device node in one is a device without nodev, and a setuid program of the host's root
 * is one without nosuid.
 */
static const char *check_root(const struct plan_op *op)
{
	uint64_t flags, needed = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
	if (!parse_mount_flags(plan_text(op, 0), &flags) || (flags & needed) != needed)
		return "an owner's roots are nosuid and nodev";
	return NULL;
}

bool check_rules(const struct jailer *jailer, const struct plan *plan, struct plan_fault *fault)
{
	if (jailer->owner.uid == 0)
		return true;
	for (uint32_t i = 0; i < plan->op_count; i++) {
		const struct plan_op *op = &plan->ops[i];
		const char *complaint = NULL;
		if (op->spec->opcode == OP_CLONE)
			complaint = check_clone(plan, op);
		else if (op->spec->opcode == OP_MAP_IDS)
			complaint = check_ids(&jailer->owner, op);
		else if (op->spec->opcode == OP_ROOT_END)
			complaint = check_root(op);
		if (complaint == NULL)
			continue;
		*fault = (struct plan_fault){i, op->spec->opcode, EPERM, complaint};
		return false;
	}
	return true;
}
