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
/* One for each hierarchy: five v1 controllers and the unified one. */
#define MAX_CGROUPS 8
struct allowed {
	const char *path;
	int fd; /* O_PATH */
};

/*
 * What --owner means: plans come from a program with this user's rights only, and must not be able to do more with
 * the host than that user, beyond starting sandboxes. See jailer-owner.c.
 */
#define MAX_IMAGE_FOLDERS 4
struct owner {
	uint32_t uid, gid; /* 0: plans come from root */
	uint32_t first_id, last_id; /* that sandboxes may have */
	struct allowed images[MAX_IMAGE_FOLDERS];
	uint32_t image_count;
};

struct jailer {
	struct owner owner;
	struct allowed allowed[MAX_ALLOWED];
	uint32_t allowed_count;
	const char *cgroups[MAX_CGROUPS]; /* of --cgroup; without any, plans may use the whole tree */
	uint32_t cgroup_count;
	int proc_fd, cgroup_fd; /* O_PATH directories */
	int layers_fd;		/* likewise; -1 when `jailer run` was given no run directory */
	int agent_fd; /* sealed memfd, -1 when there is none */
	int null_fd;
	struct progress *progress; /* of the launch that runs */
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
	uint64_t start_ticks; /* field 22 of its stat: with the pid it names one process, proc_pid_stat(5) */
	bool adopted;	      /* cloned by an earlier jailer, so it is not ours to reap */
};

/* A v1 cgroup for the child to join; see open_joins. */
struct cgroup_join {
	uint32_t op_index;
	int tasks_fd;
};

enum stage { STAGE_RUNNING, STAGE_WAITING, STAGE_EXECUTING, STAGE_FAILED };

/* Where the child is, in memory that it shares with the jailer until it execs. */
struct progress {
	enum stage stage;
	uint32_t op_index;
	struct failure failure;
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
	bool cgroup_namespace; /* the child makes it, after its joins */
	uint32_t host_id_base; /* of map_ids; without it the sandbox has the host's */
	uint32_t host_id_count;
	int slots[MAX_SLOTS];
	int go_fds[2];	   /* one byte to the child when its ids are mapped, one when its root is there */
	int status_fds[2]; /* one byte from the child when it has its own descriptors, one when it waits; the end at exec */
	int fifo_fd;	   /* of wait_fifo */
	struct root root;
	uint32_t join_count;
	struct cgroup_join joins[MAX_JOINS];
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
	const char *cgroups[MAX_CGROUPS];
	uint32_t cgroup_count;
	const char *images[MAX_IMAGE_FOLDERS];
	uint32_t image_count;
	uint32_t owner_uid, owner_gid, first_id, last_id;
};
#define IGNORED_SIGNAL_COUNT 3
extern const int ignored_signals[IGNORED_SIGNAL_COUNT];
void home_open(struct jailer *jailer, const struct options *options);

/* jailer-options.c */

/* Reads NAME VALUE pairs. False when one is not known, malformed, or one too many, or when they do not go together. */
bool parse_options(int argc, char **argv, struct options *options);

/* jailer-owner.c */

/* Between these two, files are found and made with the owner's rights, not with root's. Without an owner, no-ops. */
void act_as_owner(const struct jailer *jailer);
void act_as_root(const struct jailer *jailer);
/* Whether an owner may have this plan executed; true without an owner. */
bool check_rules(const struct jailer *jailer, const struct plan *plan, struct plan_fault *fault);
/* Whether an image is as it has to be: regular, root's or the owner's, writable by nobody else. 0 or -errno. */
int check_image(const struct jailer *jailer, int fd);

/* jailer-nursery.c */
int nursery_open(struct jailer *jailer);

/* jailer-execute.c */

/*
 * Runs a decoded plan. On success launch->child is the running child (pid 0 without clone) and belongs to the
 * caller. On failure everything the plan did on the host is undone and launch->failure says what went wrong.
 */
bool launch_run(struct launch *launch, struct jailer *jailer, const struct plan *plan);

/* jailer-paths.c: where a host path of a plan may point. */

/* Whether --cgroup allows this path. */
bool is_cgroup_in_reach(const struct jailer *jailer, const char *path);
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
#define IMAGE_RULE "it must be root's, or the owner's in an --image folder, and writable by no other"
/* Opens an image file, see check_image. A descriptor, or a negative errno. */
int open_image(const struct jailer *jailer, const char *path, int flags);

/* jailer-cgroup.c */

/* Whether the process is in this cgroup, and no zombie: 1 or 0, or a negative errno. */
int cgroup_has(const struct jailer *jailer, const char *cgroup, pid_t pid);

/* Opens what the plan's cgroup_join operations need; called by clone. */
bool open_joins(struct launch *launch);

/* jailer-layers.c */

struct image_kind {
	const char *filesystem;
	bool read_only;
};

/* Mounts an image through an AUTOCLEAR loop device. A detached mount, or -1 when it has failed, which it has told. */
int mount_image(struct launch *launch, int image_fd, const char *path, const struct image_kind *kind);

/* jailer-clone.c */

/* Moves a descriptor to CHILD_FD_BASE or above; on failure it stays where it is, which only costs time. */
int raise_fd(int fd);

/* Lets the child go on, and waits until it has exec'd or waits for its fifo. */
bool launch_guest(struct launch *launch);
/* If the child has failed, that is the launch's failure. */
void prefer_child_failure(struct launch *launch);
void undo_clone(struct launch *launch, const struct plan_op *op);

/* jailer-guest.c: everything below runs in the child. */
struct guest {
	struct launch *launch;
	bool has_root;	/* the jailer has finished the root */
	int nursery_fd; /* O_PATH of the tree the child was born in, -1 unless it has the root and has not entered it */
	int root_fd;	/* O_PATH of the new root, likewise */
	int route_fd;	/* rtnetlink socket, -1 until needed */
	uint32_t seccomp_index; /* the operation whose filter exec loads; 0: none */
};
typedef bool guest_function(struct guest *guest, const struct plan_op *op);

_Noreturn void guest_main(struct launch *launch);
int load_seccomp(const struct plan_op *op);

/* jailer-adopt.c: children that an earlier jailer left behind. */

/* Fills in start_ticks of a child that nobody has reaped yet. */
void note_start(const struct jailer *jailer, struct child *child);
/*
 * Takes over a process if it is the one that began at `start_ticks`, is init of a pid namespace, and is in `cgroup`.
 * 0, ESRCH when there is no such process any more, EPERM when it is no sandbox; other errnos; all negative.
 */
int adopt(const struct jailer *jailer, struct child *child, const char *cgroup);
/* Whether a process is in a cgroup of Shale's: 0, ESRCH when that is gone, or EPERM. */
int check_cgroup(const struct jailer *jailer, pid_t pid, const char *cgroup);
/* How an adopted child ended, as wait(2) has it, or -1 when nobody can tell. */
int find_wait_status(const struct jailer *jailer, const struct child *child);

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
