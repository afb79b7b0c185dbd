/*
 * The program of the jailer's integration tests: says what a sandbox looks like from inside. It answers on the
 * listening socket that it finds as descriptor 3, one line per argument, then waits for the end of the connection.
 *
 *   read:PATH   list:PATH   stat:PATH   write:PATH   mkdir:PATH   links:PATH   wait   exit:N
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static int client;

static void say_errno(void)
{
	dprintf(client, "%s\n", strerrorname_np(errno));
}

static void read_path(const char *path)
{
	char buffer[8192];
	int fd = open(path, O_RDONLY);
	ssize_t count = fd < 0 ? -1 : read(fd, buffer, sizeof buffer - 1);
	if (count < 0) {
		say_errno();
		return;
	}
	for (ssize_t i = 0; i < count; i++)
		if (buffer[i] == '\n' || buffer[i] == 0)
			buffer[i] = '|';
	dprintf(client, "%.*s\n", (int)count, buffer);
	close(fd);
}

static void list_path(const char *path, int with_links)
{
	struct dirent **entries;
	int count = scandir(path, &entries, NULL, alphasort);
	if (count < 0) {
		say_errno();
		return;
	}
	for (int i = 0; i < count; i++) {
		char link[4096], target[4096];
		const char *name = entries[i]->d_name;
		if (name[0] == '.')
			continue;
		snprintf(link, sizeof link, "%s/%s", path, name);
		ssize_t length = with_links ? readlink(link, target, sizeof target) : 0;
		dprintf(client, length > 0 ? "%s>%.*s " : "%s ", name, (int)length, target);
	}
	dprintf(client, "\n");
}

static void stat_path(const char *path)
{
	struct stat status;
	if (lstat(path, &status) < 0)
		say_errno();
	else
		dprintf(client, "%o %u:%u\n", status.st_mode, status.st_uid, status.st_gid);
}

static void say(int failed)
{
	if (failed)
		say_errno();
	else
		dprintf(client, "ok\n");
}

static void write_path(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0644);
	say(fd < 0 || write(fd, "1", 1) != 1);
	close(fd);
}

static void answer(const char *question)
{
	const char *path = strchr(question, ':') + 1;
	dprintf(client, "%s ", question);
	switch (question[0]) {
	case 'r':
		read_path(path);
		break;
	case 'l':
		list_path(path, question[2] == 'n');
		break;
	case 's':
		stat_path(path);
		break;
	case 'w':
		write_path(path);
		break;
	case 'm':
		say(mkdir(path, 0755) < 0);
		break;
	}
}

int main(int argc, char **argv)
{
	char byte;
	if (argc > 1 && strncmp(argv[1], "exit:", 5) == 0)
		return atoi(argv[1] + 5);
	client = accept4(3, NULL, NULL, SOCK_CLOEXEC);
	for (int i = 1; i < argc; i++)
		answer(argv[i]);
	dprintf(client, "end\n");
	while (read(client, &byte, 1) > 0)
		continue;
	return 0;
}
