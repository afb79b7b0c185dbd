/*
 * The child, from its birth to exec. It waits until the jailer has done its part, then runs the guest operations
 * inside its own namespaces. What goes wrong is reported through the status pipe; then it exits.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
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

void guest_report(struct launch *launch, enum report_kind kind)
{
	struct report report = {.kind = kind, .op_index = launch->op_index, .failure = launch->failure};
	if (launch->status_fds[1] >= 0 && write(launch->status_fds[1], &report, sizeof report) != sizeof report)
		_exit(127);
}

/* Blocks until the jailer's word to go on, which brings what happened since the clone. */
static bool await_go(struct launch *launch)
{
	ssize_t count;
	do
		count = read(launch->go_fds[0], &launch->handover, sizeof launch->handover);
	while (count < 0 && errno == EINTR);
	return count == sizeof launch->handover;
}

/* From here on our descriptors are our own. Those of the other children are not even copied. */
static bool unshare_descriptors(struct launch *launch)
{
	int error = sys_close_range(CHILD_FD_BASE, ~0U, CLOSE_RANGE_UNSHARE);
	if (error < 0)
		return fail(launch, error, "", "unsharing the descriptors");
	guest_report(launch, REPORT_UNSHARED);
	return true;
}

/* See op_cgroup_join for why the child does this itself. */
static bool join_cgroups(struct launch *launch)
{
	uint32_t guest_index = launch->op_index;
	for (uint32_t i = 0; i < launch->handover.join_count; i++) {
		launch->op_index = launch->handover.joins[i].op_index;
		if (write(launch->handover.joins[i].fd, "0", 1) != 1)
			return fail(launch, errno, plan_text(&launch->plan->ops[launch->op_index], 0), "joining the cgroup");
	}
	launch->op_index = guest_index;
	int error = launch->handover.cgroup_namespace ? sys_unshare(CLONE_NEWCGROUP) : 0;
	return error == 0 || fail(launch, error, "", "making the cgroup namespace");
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

static bool open_trees(struct guest *guest)
{
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
bool guest_leave_nursery(struct guest *guest)
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

static bool prepare(struct guest *guest)
{
	struct launch *launch = guest->launch;
	umask(0);
	launch->op_index = plan_find(launch->plan, OP_GUEST);
	return unshare_descriptors(launch) && join_cgroups(launch) && become_guest_root(launch) && open_trees(guest);
}

/* The nursery is needed as long as the root is being built, so entering waits for the first other operation. */
static bool enter_root_before(struct guest *guest, uint32_t index)
{
	struct launch *launch = guest->launch;
	uint32_t enter_root = plan_find(launch->plan, OP_ENTER_ROOT);
	if (index <= enter_root || guest->nursery_fd < 0 || op_builds_root(launch->plan->ops[index].spec->opcode))
		return true;
	launch->op_index = enter_root;
	return guest_leave_nursery(guest);
}

static bool run_operations(struct guest *guest)
{
	struct launch *launch = guest->launch;
	const struct plan *plan = launch->plan;
	for (uint32_t i = launch->op_index + 1; i < plan->op_count; i++) {
		const struct plan_op *op = &plan->ops[i];
		if (!enter_root_before(guest, i))
			return false;
		launch->op_index = i;
		if (op->spec->opcode != OP_ENTER_ROOT && !guest_ops[op->spec->opcode](guest, op))
			return false;
	}
	return false; /* exec does not return when it succeeds */
}

void guest_main(struct launch *launch)
{
	struct guest guest = {.launch = launch, .nursery_fd = -1, .root_fd = -1, .route_fd = -1};
	/* While we share descriptors with the jailer, its death would not end the read below. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	launch->failure.phase = PHASE_GUEST;
	if (await_go(launch) && prepare(&guest))
		run_operations(&guest);
	guest_report(launch, REPORT_FAILED);
	_exit(127);
}
