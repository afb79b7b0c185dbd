/*
 * The child, from its birth to exec. It joins its cgroups, waits until the jailer has done its part, then runs the
 * guest operations inside its own namespaces. What goes wrong it leaves in the shared progress, and exits.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <string.h>
#include <sys/stat.h>

static guest_function *const guest_ops[OP_LIMIT] = {
	[OP_MOUNT] = op_mount,
	[OP_MOUNT_DEV] = op_mount_dev,
	[OP_MASK] = op_mask,
	[OP_READONLY] = op_readonly,
	[OP_DIR] = op_dir,
	[OP_HOSTNAME] = op_hostname,
	[OP_NETLINK] = op_netlink,
	[OP_RLIMIT] = op_rlimit,
	[OP_WAIT_FIFO] = op_wait_fifo,
	[OP_CAPABILITIES] = op_capabilities,
	[OP_NO_NEW_PRIVS] = op_no_new_privs,
	[OP_SECCOMP] = op_seccomp,
	[OP_EXEC] = op_exec,
};

/* From here on our descriptors are our own. Those of the other children are not even copied. */
static bool unshare_descriptors(struct launch *launch)
{
	int error = sys_close_range(CHILD_FD_BASE, ~0U, CLOSE_RANGE_UNSHARE);
	if (error < 0)
		return fail(launch, error, "", "unsharing the descriptors");
	/* So that the jailer's death ends the wait for its word. */
	close_fd(&launch->go_fds[1]);
	close_fd(&launch->status_fds[0]);
	return write(launch->status_fds[1], "", 1) == 1 || fail(launch, errno, "", "telling the jailer");
}

/* See op_cgroup_join for why the child does this itself. */
static bool join_cgroups(struct launch *launch)
{
	uint32_t clone_index = launch->op_index;
	for (uint32_t i = 0; i < launch->join_count; i++) {
		launch->op_index = launch->joins[i].op_index;
		if (write(launch->joins[i].tasks_fd, "0", 1) != 1)
			return fail(launch, errno, plan_text(&launch->plan->ops[launch->op_index], 0), "joining the cgroup");
	}
	launch->op_index = clone_index;
	int error = launch->cgroup_namespace ? sys_unshare(CLONE_NEWCGROUP) : 0;
	return error == 0 || fail(launch, error, "", "making the cgroup namespace");
}

/* Blocks until the jailer's word, see go_fds. Without it there is nobody to tell. */
static void await_go(struct launch *launch)
{
	char byte;
	ssize_t count;
	do
		count = read(launch->go_fds[0], &byte, 1);
	while (count < 0 && errno == EINTR);
	if (count != 1)
		_exit(127);
}

/*
 * Root of the new user namespace, so that all the child makes belongs to the sandbox's root. The mapping has been
 * written by the host's root, so setgroups(2) is allowed.
 */
static bool become_guest_root(struct launch *launch)
{
	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, 0, 0, 0) < 0 ||
	    syscall(SYS_setresuid, 0, 0, 0) < 0)
		return fail(launch, errno, "", "becoming the sandbox's root");
	return true;
}

static bool await_root(struct guest *guest)
{
	if (guest->has_root)
		return true;
	await_go(guest->launch);
	guest->has_root = true;
	guest->nursery_fd = sys_openat2(AT_FDCWD, "/", O_PATH | O_DIRECTORY, 0, 0);
	guest->root_fd = sys_openat2(AT_FDCWD, "/root", O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
	if (guest->nursery_fd < 0 || guest->root_fd < 0)
		return fail(guest->launch, guest->nursery_fd < 0 ? guest->nursery_fd : guest->root_fd, "",
			    "opening the new root");
	return true;
}

/*
 * The new root takes the nursery's place. The nursery ends up on top of it, and one unmount takes it away together
 * with the layers, the upper, and the host's /proc and /sys; the overlay holds on to what it needs.
 */
static bool leave_nursery(struct guest *guest)
{
	int error = sys_result(fchdir(guest->root_fd));
	if (error == 0)
		error = sys_pivot_root(".", ".");
	if (error == 0)
		error = sys_umount2(".", MNT_DETACH);
	if (error == 0)
		error = sys_result(chdir("/"));
	close_fd(&guest->nursery_fd);
	close_fd(&guest->root_fd);
	return error == 0 || fail(guest->launch, error, "/", "entering the root");
}

/* What the child does as soon as it is born, and when its ids are mapped. */
static bool prepare(struct launch *launch)
{
	umask(0);
	if (!unshare_descriptors(launch) || !join_cgroups(launch))
		return false;
	if (plan_find(launch->plan, OP_MAP_IDS) < launch->plan->op_count)
		await_go(launch);
	launch->op_index = plan_find(launch->plan, OP_GUEST);
	return become_guest_root(launch);
}

/* These two may run while the jailer is still busy with the root, if the plan has them first. */
static bool needs_root(const struct plan_op *op)
{
	return op->spec->opcode != OP_HOSTNAME && op->spec->opcode != OP_NETLINK;
}

/* The nursery is needed as long as the root is being built, so entering waits for the first other operation. */
static bool enter_root_before(struct guest *guest, uint32_t index)
{
	struct launch *launch = guest->launch;
	uint32_t enter_root = plan_find(launch->plan, OP_ENTER_ROOT);
	if (index <= enter_root || guest->nursery_fd < 0 || op_builds_root(launch->plan->ops[index].spec->opcode))
		return true;
	launch->op_index = enter_root;
	return leave_nursery(guest);
}

static bool run_operations(struct guest *guest)
{
	struct launch *launch = guest->launch;
	const struct plan *plan = launch->plan;
	for (uint32_t i = launch->op_index + 1; i < plan->op_count; i++) {
		const struct plan_op *op = &plan->ops[i];
		launch->op_index = launch->jailer->progress->op_index = i;
		if (needs_root(op) && !await_root(guest))
			return false;
		if (!enter_root_before(guest, i))
			return false;
		launch->op_index = i;
		if (op->spec->opcode != OP_ENTER_ROOT && !guest_ops[op->spec->opcode](guest, op))
			return false;
	}
	return false; /* exec does not return when it succeeds */
}

/* The end of the status pipe, which is our exit, makes the jailer look at this. */
static _Noreturn void give_up(struct launch *launch)
{
	*launch->jailer->progress = (struct progress){STAGE_FAILED, launch->op_index, launch->failure};
	_exit(127);
}

void guest_main(struct launch *launch)
{
	struct guest guest = {.launch = launch, .nursery_fd = -1, .root_fd = -1, .route_fd = -1};
	launch->failure.phase = PHASE_GUEST;
	if (prepare(launch))
		run_operations(&guest);
	give_up(launch);
}
