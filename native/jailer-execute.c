/* Executes a plan: the table of host operations, their undos, and the release of what a launch holds. */
#include "jailer.h"
#include "jailer-kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	op_function *run;
	undo_function *undo;
	bool by_owner; /* with the owner's rights to files */
} host_ops[OP_LIMIT] = {
	[OP_CGROUP_CREATE] = {op_cgroup_create, undo_cgroup_create, false},
	[OP_CGROUP_ENSURE] = {op_cgroup_ensure, NULL, false},
	[OP_CGROUP_WRITE] = {op_cgroup_write, NULL, false},
	[OP_CGROUP_JOIN] = {op_cgroup_join, NULL, false},
	[OP_CGROUP_KILL] = {op_cgroup_kill, NULL, false},
	[OP_CGROUP_REMOVE] = {op_cgroup_remove, NULL, false},
	[OP_DIR_CREATE] = {op_dir_create, undo_dir_create, true},
	[OP_DIR_REMOVE] = {op_dir_remove, NULL, true},
	[OP_FILE_REMOVE] = {op_file_remove, NULL, true},
	[OP_LISTEN] = {op_listen, undo_listen, true},
	[OP_LAYER_MOUNT] = {op_layer_mount, NULL, false},
	[OP_LAYER_UNMOUNT] = {op_layer_unmount, NULL, false},
	[OP_CLONE] = {op_clone, undo_clone, false},
	[OP_MAP_IDS] = {op_map_ids, NULL, false},
	[OP_ROOT_BEGIN] = {op_root_begin, NULL, false},
	[OP_ROOT_LAYER] = {op_root_layer, NULL, false},
	[OP_ROOT_UPPER_TMPFS] = {op_root_upper_tmpfs, NULL, false},
	[OP_ROOT_UPPER_DISK] = {op_root_upper_disk, NULL, false},
	[OP_ROOT_END] = {op_root_end, NULL, false},
};

bool fail(struct launch *launch, int error, const char *path, const char *message)
{
	struct failure *failure = &launch->failure;
	failure->error = error < 0 ? -error : error;
	snprintf(failure->path, sizeof failure->path, "%s", path);
	snprintf(failure->message, sizeof failure->message, "%s", message);
	return false;
}

void die(const char *what, int error)
{
	dprintf(STDERR_FILENO, "jailer: %s: %s\n", what, strerror(error < 0 ? -error : error));
	_exit(125);
}

void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void launch_open(struct launch *launch, struct jailer *jailer, const struct plan *plan)
{
	*launch = (struct launch){
		.jailer = jailer,
		.plan = plan,
		.failure = {.phase = PHASE_HOST},
		.child = {.pidfd = -1},
		.host_id_count = UINT32_MAX,
		.go_fds = {-1, -1},
		.status_fds = {-1, -1},
		.root = {.upper_fd = -1, .userns_fd = -1},
		.fifo_fd = -1,
	};
	for (int i = 0; i < MAX_SLOTS; i++)
		launch->slots[i] = -1;
}

/* Closes everything but the child's pidfd. */
static void launch_release(struct launch *launch)
{
	for (int i = 0; i < MAX_SLOTS; i++)
		close_fd(&launch->slots[i]);
	for (int i = 0; i < 2; i++) {
		close_fd(&launch->go_fds[i]);
		close_fd(&launch->status_fds[i]);
	}
	for (uint32_t i = 0; i < launch->root.layer_count; i++)
		close_fd(&launch->root.layer_fds[i]);
	close_fd(&launch->root.upper_fd);
	close_fd(&launch->root.userns_fd);
	close_fd(&launch->fifo_fd);
	for (uint32_t i = 0; i < launch->join_count; i++)
		close_fd(&launch->joins[i].tasks_fd);
}

static bool run_host_op(struct launch *launch, const struct plan_op *op)
{
	if (host_ops[op->spec->opcode].by_owner)
		act_as_owner(launch->jailer);
	bool done = host_ops[op->spec->opcode].run(launch, op);
	act_as_root(launch->jailer);
	return done;
}

static void undo_host_op(struct launch *launch, const struct plan_op *op)
{
	if (host_ops[op->spec->opcode].undo == NULL)
		return;
	if (host_ops[op->spec->opcode].by_owner)
		act_as_owner(launch->jailer);
	host_ops[op->spec->opcode].undo(launch, op);
	act_as_root(launch->jailer);
}

/* Undoes the host operations before `end`, last first. What failed stays the failure that is reported. */
static void undo_before(struct launch *launch, uint32_t end)
{
	struct failure first = launch->failure;
	uint32_t first_index = launch->op_index;
	while (end-- > 0)
		undo_host_op(launch, &launch->plan->ops[end]);
	launch->failure = first;
	launch->op_index = first_index;
}

bool launch_run(struct launch *launch, struct jailer *jailer, const struct plan *plan)
{
	bool done = true;
	uint32_t index = 0;
	launch_open(launch, jailer, plan);
	while (done && index < plan->op_count) {
		const struct plan_op *op = &plan->ops[index];
		launch->op_index = index;
		if (op->spec->opcode == OP_GUEST) {
			done = launch_guest(launch);
			break;
		}
		done = run_host_op(launch, op);
		index += done;
	}
	/* An operation on a child that has given up fails too; what the child says is the cause. */
	if (!done)
		prefer_child_failure(launch);
	launch_release(launch);
	if (!done)
		undo_before(launch, index);
	return done;
}
