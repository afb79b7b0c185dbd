/*
 * Times fork+exec+wait of a command, N times, from a parent as small as itself: a line of nanoseconds each.
 * Usage: spawn COUNT COMMAND [ARGUMENT...]
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int run_once(char **argv)
{
	pid_t pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 0);
		execvp(argv[0], argv);
		_exit(127);
	}
	int status;
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	for (int left = atoi(argv[1]); left > 0; left--) {
		long long start = now_ns();
		int status = run_once(argv + 2);
		if (status != 0) {
			fprintf(stderr, "spawn: %s ended with %d\n", argv[2], status);
			return 1;
		}
		printf("%lld\n", now_ns() - start);
	}
	return 0;
}
