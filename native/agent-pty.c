// /dev/ptmx may be anything in a hostile sandbox: it is opened without blocking, and whatever is no terminal fails at
// the first ioctl.
#include "agent-pty.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441 // _IO('T', 0x41), Linux 4.13; not in musl's headers
#endif

enum { DEFAULT_COLS = 80, DEFAULT_ROWS = 24 };

static int open_slave(int master)
{
	const int flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
	int slave = ioctl(master, TIOCGPTPEER, flags);
	if (slave >= 0 || (errno != EINVAL && errno != ENOTTY))
		return slave;
	// A kernel without the peer ioctl (gVisor): by name, which is the number that the kernel gave.
	unsigned number;
	char path[32];
	if (ioctl(master, TIOCGPTN, &number) < 0)
		return -1;
	snprintf(path, sizeof path, "/dev/pts/%u", number);
	return open(path, flags | O_NONBLOCK);
}

int pty_open(struct pty *pty, uint16_t cols, uint16_t rows)
{
	int unlocked = 0;
	*pty = (struct pty){.master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK), .slave = -1};
	if (pty->master < 0)
		return errno;
	if (ioctl(pty->master, TIOCSPTLCK, &unlocked) == 0)
		pty->slave = open_slave(pty->master);
	if (pty->slave < 0 || pty_resize(pty->master, cols ? cols : DEFAULT_COLS, rows ? rows : DEFAULT_ROWS) != 0 ||
	    fcntl(pty->slave, F_SETFL, O_RDWR) < 0) {
		int error = errno;
		if (pty->slave >= 0)
			close(pty->slave);
		close(pty->master);
		return error;
	}
	return 0;
}

int pty_resize(int master, uint16_t cols, uint16_t rows)
{
	struct winsize size = {.ws_col = cols, .ws_row = rows};
	return ioctl(master, TIOCSWINSZ, &size) < 0 ? errno : 0;
}

uint8_t pty_end_of_file(int master)
{
	struct termios settings;
	return tcgetattr(master, &settings) == 0 ? settings.c_cc[VEOF] : 4;
}
