/*
 * What the parts of the jailer share. One `struct jailer` per program: the descriptors through which it sees the
 * host. One `struct launch` per plan: the plan, the child, and what has to be released or undone.
 *
 * Functions named op_* are operations of the plan; native/README.md describes each.
 */
#ifndef SHALE_JAILER_H
#define SHALE_JAILER_H

#include "plan.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Layers in one stack. The nursery has a directory for each; squares with the kernel's own limit of 500. */
#define ROOT_MAX_LAYERS 128
#define MAX_SLOTS 16
#define MAX_JOINS 32
/*
 * Descriptors of watched children are kept at this number and above, so that a new child can drop them all, and
 * with them the cost of copying them, in one close_range(2).
 */
#define CHILD_FD_BASE 256
/* How long a child may take from `guest` to exec. */
#define LAUNCH_TIMEOUT_MS 10000

/* The run directory and what --allow named: where plans may make and remove files and directories. */
#define MAX_ALLOWED 8
struct allowed {
	const char *path;
	int fd; /* O_PATH */
};

struct jailer {
	struct allowed allowed[MAX_ALLOWED];
	uint32_t allowed_count;
	int proc_fd, cgroup_fd; /* O_PATH directories */
	int layers_fd;		/* likewise; -1 when `jailer run` was given no run directory */
	int agent_fd; /* sealed memfd, -1 when there is none */
	int null_fd;
	int home_ns;	/* the jailer's private mount namespace: the host's tree and the layers */
	int nursery_ns; /* an empty tree in which children are born, see jailer-nursery.c */
};

struct failure {
	enum plan_phase phase;
	int error;
	char path[256];
	char message[128];
};

struct child {
	pid_t pid; /* 0: none */
	int pidfd;
};

/* What the child has to know of operations that ran after it was cloned; sent with the word to go on. */
struct handover {
	bool mapped;
	bool cgroup_namespace;
	int fifo_fd;
	uint32_t join_count;
	struct {
		uint32_t op_index;
		int fd;
	} joins[MAX_JOINS];
};

struct root {
	int layer_fds[ROOT_MAX_LAYERS];
	uint32_t layer_count;
	int upper_fd;
	int userns_fd;
};

struct launch {
	struct jailer *jailer;
	const struct plan *plan;
	uint32_t op_index; /* the operation that runs, or that failed */
	struct failure failure;
	struct child child;
	uint32_t host_id_base; /* 0 without map_ids */
	int slots[MAX_SLOTS];
	int go_fds[2], status_fds[2];
	struct root root;
	struct handover handover;
};

typedef bool op_function(struct launch *launch, const struct plan_op *op);
typedef void undo_function(struct launch *launch, const struct plan_op *op);

/* Records why the current operation failed. `error` may be negative. Always returns false. */
bool fail(struct launch *launch, int error, const char *path, const char *message);

/* Ends the program: for faults after which it cannot promise anything. */
_Noreturn void die(const char *what, int error);

/* close(2) if open, and -1 afterwards. */
void close_fd(int *fd);

/* jailer-home.c */
struct options {
	const char *agent_path, *run_dir;
	const char *allowed[MAX_ALLOWED];
	uint32_t allowed_count;
};
#define IGNORED_SIGNAL_COUNT 3
extern const int ignored_signals[IGNORED_SIGNAL_COUNT];
void home_open(struct jailer *jailer, const struct options *options);

/* jailer-nursery.c */
int nursery_open(struct jailer *jailer);

/* jailer-execute.c */

/*
 * Runs a decoded plan. On success launch->child is the running child (pid 0 without clone) and belongs to the
 * caller. On failure everything the plan did on the host is undone and launch->failure says what went wrong.
 */
bool launch_run(struct launch *launch, struct jailer *jailer, const struct plan *plan);

/* jailer-paths.c: where a host path of a plan may point. */

/* The part of `path` below `base`, or NULL. "/a/b" is "b" below "/a". */
const char *path_below(const char *path, const char *base);
/* Opens below the cgroup tree; checks that it is a cgroup filesystem. A descriptor, or a negative errno. */
int open_cgroup(const struct jailer *jailer, const char *path, uint64_t flags);

/* The directory that holds the last component of a path, and that component. */
struct spot {
	int dir_fd;
	const char *name;
};
int cgroup_spot(const struct jailer *jailer, const char *path, struct spot *spot);
int allowed_spot(const struct jailer *jailer, const char *path, struct spot *spot);
/* Opens an image file: regular, root's, writable by nobody else. A descriptor, or a negative errno. */
int open_image(const char *path, int flags);

/* jailer-layers.c */

/* Mounts an image through an AUTOCLEAR loop device. A detached mount, or a negative errno. */
int mount_image(int image_fd, const char *path, const char *filesystem, bool read_only);

/* jailer-clone.c */
bool launch_guest(struct launch *launch);
void undo_clone(struct launch *launch, const struct plan_op *op);

/* jailer-guest.c: everything below runs in the child. */
struct guest {
	struct launch *launch;
	int nursery_fd; /* O_PATH of the tree the child was born in; -1 once it has left */
	int root_fd;	/* O_PATH of the new root */
	int route_fd;	/* rtnetlink socket, -1 until needed */
	uint32_t seccomp_index; /* the operation whose filter exec loads; 0: none */
};
typedef bool guest_function(struct guest *guest, const struct plan_op *op);

enum report_kind { REPORT_UNSHARED = 1, REPORT_WAITING, REPORT_EXECUTING, REPORT_FAILED };
/* What the child writes to the status pipe; small enough to be atomic. */
struct report {
	enum report_kind kind;
	uint32_t op_index;
	struct failure failure;
};
_Static_assert(sizeof(struct report) <= PIPE_BUF, "a report must be written atomically");

_Noreturn void guest_main(struct launch *launch);
void guest_report(struct launch *launch, enum report_kind kind);
bool guest_leave_nursery(struct guest *guest);
int load_seccomp(const struct plan_op *op);

/* jailer-serve.c */
_Noreturn void serve(struct jailer *jailer, int fd);

/* The operations. */
op_function op_cgroup_create, op_cgroup_ensure, op_cgroup_write, op_cgroup_join, op_cgroup_kill, op_cgroup_remove;
undo_function undo_cgroup_create;
op_function op_dir_create, op_dir_remove, op_file_remove, op_listen;
undo_function undo_dir_create, undo_listen;
op_function op_layer_mount, op_layer_unmount;
op_function op_clone, op_map_ids;
op_function op_root_begin, op_root_layer, op_root_upper_tmpfs, op_root_upper_disk, op_root_end;

guest_function op_mount, op_mount_dev, op_mask, op_readonly, op_dir;
guest_function op_hostname, op_netlink, op_rlimit, op_wait_fifo;
guest_function op_capabilities, op_no_new_privs, op_seccomp, op_exec;

/* Mount flags of a plan ("nosuid,nodev,ro") as MOUNT_ATTR_*. False for an unknown word. */
bool parse_mount_flags(const char *text, uint64_t *attributes);

/* Creates a filesystem from comma separated options and returns it as a detached mount, or a negative errno. */
int mount_new(const char *filesystem, const char *options, uint64_t attributes);

#endif
