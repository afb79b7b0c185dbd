/*
 * The jailer: checks and executes plans.
 *
 *   jailer serve FD --agent PATH --run-dir DIR [OPTION VALUE]...    resident, requests on the stream socket FD
 *   jailer run FD [--agent PATH] [--run-dir DIR] [OPTION VALUE]...  one plan from FD; exits as its program does
 *
 * README.md has the options, the protocol of the first and the operations of both.
 */
#include "jailer.h"
#include "jailer-kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define EXIT_USAGE 2
#define EXIT_REFUSED 125 /* the plan failed; its program never ran */

static _Noreturn void usage(void)
{
	fputs("usage: jailer serve FD --agent PATH --run-dir DIR [OPTION VALUE]...\n"
	      "       jailer run FD [--agent PATH] [--run-dir DIR] [OPTION VALUE]...\n"
	      "options: --allow DIR, --cgroup PATH, and for plans of an ordinary user\n"
	      "         --owner UID:GID --ids FIRST-LAST --cgroup PATH --image DIR\n",
	      stderr);
	exit(EXIT_USAGE);
}

static size_t read_all(int fd, uint8_t *bytes, size_t size)
{
	size_t length = 0;
	ssize_t count;
	while (length < size && (count = read(fd, bytes + length, size - length)) != 0) {
		if (count < 0 && errno != EINTR)
			die("reading the plan", errno);
		length += count < 0 ? 0 : (size_t)count;
	}
	return length;
}

static _Noreturn void refuse(uint32_t op_index, const char *name, const char *path, int error, const char *message)
{
	dprintf(STDERR_FILENO, "jailer: operation %u (%s) %s: %s: %s\n", op_index, name, path, message, strerror(error));
	exit(EXIT_REFUSED);
}

static int wait_for(const struct child *child)
{
	siginfo_t info;
	while (sys_waitid(P_PIDFD, child->pidfd, &info, WEXITED, NULL) == -EINTR)
		continue;
	return info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
}

static int run(struct jailer *jailer, int fd)
{
	static uint8_t bytes[PLAN_MAX_BYTES + 1];
	static struct plan plan;
	static struct launch launch;
	struct plan_fault fault;
	size_t length = read_all(fd, bytes, sizeof bytes);
	close(fd);
	if (!plan_decode(bytes, length, &plan, &fault) || !check_rules(jailer, &plan, &fault)) {
		const struct op_spec *spec = op_find(fault.opcode);
		refuse(fault.op_index, spec == NULL ? "?" : spec->name, "", fault.error, fault.message);
	}
	if (!launch_run(&launch, jailer, &plan))
		refuse(launch.op_index, plan.ops[launch.op_index].spec->name, launch.failure.path,
		       launch.failure.error, launch.failure.message);
	return launch.child.pid == 0 ? 0 : wait_for(&launch.child);
}

int main(int argc, char **argv)
{
	static struct jailer jailer;
	struct options options;
	uint64_t fd;
	if (argc < 3 || !plan_decimal(argv[2], INT32_MAX, &fd) || !parse_options(argc - 3, argv + 3, &options))
		usage();
	bool serves = strcmp(argv[1], "serve") == 0;
	if (serves ? options.agent_path == NULL || options.run_dir == NULL : strcmp(argv[1], "run") != 0)
		usage();
	home_open(&jailer, &options);
	if (serves)
		serve(&jailer, (int)fd);
	return run(&jailer, (int)fd);
}
