/*
 * Start-up: what the jailer holds for its whole life. After this it works only through these descriptors, in a
 * mount namespace of its own, so that the layers it mounts go away with it and nobody else sees them.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static int open_directory(int dir_fd, const char *path)
{
	int fd = sys_openat2(dir_fd, path, O_PATH | O_DIRECTORY, 0, 0);
	if (fd < 0)
		die(path, fd);
	return fd;
}

/* Host mounts and unmounts still reach us; ours reach nobody. */
static void enter_private_mounts(void)
{
	int error = sys_unshare(CLONE_NEWNS);
	if (error == 0)
		error = sys_mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL);
	if (error < 0)
		die("private mount namespace", error);
}

static int open_mount_namespace(int proc_fd)
{
	int fd = sys_openat2(proc_fd, "self/ns/mnt", O_RDONLY, 0, 0);
	if (fd < 0)
		die("/proc/self/ns/mnt", fd);
	return fd;
}

/*
 * SECURITY: whoever may write to the folder above may have put another one in its place, but none of somebody else's:
 * so for an owner it is a folder of `uid`.
 */
static struct allowed open_folder(const struct jailer *jailer, const char *path, uid_t uid)
{
	struct allowed folder = {.path = path, .fd = open_directory(AT_FDCWD, path)};
	struct stat status;
	if (fstat(folder.fd, &status) < 0)
		die(path, errno);
	if (jailer->owner.uid != 0 && status.st_uid != uid)
		die(path, EPERM);
	return folder;
}

static void allow_folders(struct jailer *jailer, const struct options *options)
{
	uid_t owner = jailer->owner.uid;
	for (uint32_t i = 0; i < options->allowed_count; i++)
		jailer->allowed[jailer->allowed_count++] = open_folder(jailer, options->allowed[i], owner);
	for (uint32_t i = 0; i < options->image_count; i++)
		jailer->owner.images[jailer->owner.image_count++] = open_folder(jailer, options->images[i], owner);
}

static void set_owner(struct jailer *jailer, const struct options *options)
{
	jailer->owner = (struct owner){
		.uid = options->owner_uid,
		.gid = options->owner_gid,
		.first_id = options->first_id,
		.last_id = options->last_id,
	};
	/* Groups of root's would be the owner's when it comes to files. */
	if (jailer->owner.uid != 0 && syscall(SYS_setgroups, 0, NULL) < 0)
		die("dropping groups", errno);
}

/* A tmpfs on DIR/mnt, in our namespace only, on which the layers are mounted. */
static int open_layers_dir(int run_fd)
{
	if (mkdirat(run_fd, "mnt", 0700) < 0 && errno != EEXIST)
		die("run directory: mnt", errno);
	int mount_fd = mount_new("tmpfs", "mode=0700,size=1m", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	int error = mount_fd < 0 ? mount_fd : sys_move_mount(mount_fd, run_fd, "mnt");
	if (error < 0)
		die("run directory: mnt", error);
	return mount_fd;
}

static int create_memfd(void)
{
	int fd = memfd_create("agent", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("agent", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

/*
 * Sandboxes run the agent from memory that nobody can change, never from the host's file: a guest that reaches its
 * own /proc/self/exe must not be able to overwrite what other sandboxes run (CVE-2019-5736).
 */
static int seal_agent(const char *path)
{
	int file_fd = open(path, O_RDONLY | O_CLOEXEC);
	int fd = create_memfd();
	struct stat status;
	if (file_fd < 0 || fd < 0 || fstat(file_fd, &status) < 0)
		die(path, errno);
	char buffer[65536];
	ssize_t count;
	while ((count = read(file_fd, buffer, sizeof buffer)) > 0)
		if (write(fd, buffer, (size_t)count) != count)
			die(path, EIO);
	if (count < 0 || fchmod(fd, 0555) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		die(path, errno);
	close(file_fd);
	return fd;
}

/* A terminal's signals are the daemon's business; it ends us by closing the socket. */
const int ignored_signals[IGNORED_SIGNAL_COUNT] = {SIGPIPE, SIGINT, SIGHUP};

/* Whoever started us may ignore signals too, which sandboxes would inherit. */
static void set_signals(void)
{
	for (int signo = 1; signo < NSIG; signo++)
		signal(signo, SIG_DFL); /* fails for those that cannot be changed */
	for (size_t i = 0; i < IGNORED_SIGNAL_COUNT; i++)
		signal(ignored_signals[i], SIG_IGN);
}

/* Each running sandbox costs one descriptor. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static struct progress *share_progress(void)
{
	void *memory = mmap(NULL, sizeof(struct progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		die("shared memory", errno);
	return memory;
}

void home_open(struct jailer *jailer, const struct options *options)
{
	set_signals();
	umask(077);
	*jailer = (struct jailer){.layers_fd = -1, .agent_fd = -1};
	set_owner(jailer, options);
	jailer->progress = share_progress();
	if (options->agent_path != NULL)
		jailer->agent_fd = seal_agent(options->agent_path);
	enter_private_mounts();
	jailer->proc_fd = open_directory(AT_FDCWD, "/proc");
	jailer->cgroup_fd = open_directory(AT_FDCWD, "/sys/fs/cgroup");
	if (options->run_dir != NULL) {
		jailer->allowed[jailer->allowed_count++] = open_folder(jailer, options->run_dir, 0);
		jailer->layers_fd = open_layers_dir(jailer->allowed[0].fd);
	}
	jailer->cgroup_count = options->cgroup_count;
	memcpy(jailer->cgroups, options->cgroups, sizeof jailer->cgroups);
	allow_folders(jailer, options);
	jailer->home_ns = open_mount_namespace(jailer->proc_fd);
	jailer->nursery_ns = nursery_open(jailer);
	raise_descriptor_limit();
}
