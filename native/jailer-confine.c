/* Guest operations that set up and then take away: host name, network, limits, privileges; and exec. */
#include "jailer.h"
#include "jailer-kernel.h"

#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#define NETLINK_BYTES 4096
#define MAX_FILTER_LENGTH 4096 /* BPF_MAXINSNS */

bool op_hostname(struct guest *guest, const struct plan_op *op)
{
	const char *name = plan_text(op, 0);
	int error = sys_result(sethostname(name, strlen(name)));
	return error == 0 || fail(guest->launch, error, name, "setting the host name");
}

/* The kernel's answer to our one request, an errno or 0, negative. */
static int receive_ack(int fd, uint32_t sequence)
{
	_Alignas(struct nlmsghdr) char buffer[NETLINK_BYTES];
	ssize_t count = recv(fd, buffer, sizeof buffer, 0);
	if (count < 0)
		return -errno;
	const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
	const struct nlmsgerr *answer = NLMSG_DATA(header);
	if ((size_t)count < NLMSG_LENGTH(sizeof answer->error) || header->nlmsg_type != NLMSG_ERROR ||
	    header->nlmsg_seq != sequence)
		return -EBADMSG;
	return answer->error;
}

bool op_netlink(struct guest *guest, const struct plan_op *op)
{
	_Alignas(struct nlmsghdr) char buffer[NETLINK_BYTES];
	struct nlmsghdr *header = (struct nlmsghdr *)buffer;
	struct plan_word word = plan_word(op, 0);
	if (word.length < sizeof *header || word.length > sizeof buffer)
		return fail(guest->launch, EINVAL, "", "not a netlink message");
	memcpy(buffer, word.text, word.length);
	if (header->nlmsg_len != word.length || header->nlmsg_type < RTM_BASE)
		return fail(guest->launch, EINVAL, "", "not one rtnetlink request");
	header->nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	header->nlmsg_seq = guest->launch->op_index;
	if (guest->route_fd < 0)
		guest->route_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	int error = sys_result(guest->route_fd);
	if (guest->route_fd >= 0)
		error = sys_result(send(guest->route_fd, buffer, word.length, 0));
	if (error >= 0)
		error = receive_ack(guest->route_fd, header->nlmsg_seq);
	return error == 0 || fail(guest->launch, error, "", "asking the kernel to change the network");
}

static const struct {
	const char *name;
	int resource;
} resources[] = {
	{"as", RLIMIT_AS},	     {"core", RLIMIT_CORE},   {"cpu", RLIMIT_CPU},	     {"data", RLIMIT_DATA},
	{"fsize", RLIMIT_FSIZE},     {"locks", RLIMIT_LOCKS}, {"memlock", RLIMIT_MEMLOCK},   {"msgqueue", RLIMIT_MSGQUEUE},
	{"nice", RLIMIT_NICE},	     {"nofile", RLIMIT_NOFILE}, {"nproc", RLIMIT_NPROC},     {"rss", RLIMIT_RSS},
	{"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME}, {"sigpending", RLIMIT_SIGPENDING},
	{"stack", RLIMIT_STACK},
};

static int find_resource(const char *name)
{
	for (size_t i = 0; i < sizeof resources / sizeof *resources; i++)
		if (strcmp(resources[i].name, name) == 0)
			return resources[i].resource;
	return -1;
}

static bool parse_limit(const char *text, rlim_t *limit)
{
	uint64_t value = 0;
	bool unlimited = strcmp(text, "unlimited") == 0;
	if (!unlimited && !plan_decimal(text, INT64_MAX, &value))
		return false;
	*limit = unlimited ? RLIM_INFINITY : (rlim_t)value;
	return true;
}

bool op_rlimit(struct guest *guest, const struct plan_op *op)
{
	const char *name = plan_text(op, 0);
	struct rlimit limit;
	int resource = find_resource(name);
	if (resource < 0 || !parse_limit(plan_text(op, 1), &limit.rlim_cur) ||
	    !parse_limit(plan_text(op, 2), &limit.rlim_max))
		return fail(guest->launch, EINVAL, name, "not a limit");
	int error = sys_result(syscall(SYS_prlimit64, 0, resource, &limit, NULL));
	return error == 0 || fail(guest->launch, error, name, "setting the limit");
}

/* The plan counts as launched once the child waits; what fails afterwards shows in its exit. */
bool op_wait_fifo(struct guest *guest, const struct plan_op *op)
{
	static struct progress own_progress;
	struct launch *launch = guest->launch;
	char byte;
	ssize_t count;
	launch->jailer->progress->stage = STAGE_WAITING;
	if (write(launch->status_fds[1], "", 1) != 1)
		return fail(launch, errno, "", "telling the jailer");
	/* The next launch may use the shared progress from now on. */
	launch->jailer->progress = &own_progress;
	close_fd(&launch->status_fds[1]);
	do
		count = read(launch->fifo_fd, &byte, 1);
	while (count < 0 && errno == EINTR);
	close_fd(&launch->fifo_fd);
	return count == 1 || fail(launch, count < 0 ? errno : EPIPE, plan_text(op, 0), "waiting for the fifo");
}

static int drop_bounding(uint64_t keep)
{
	for (unsigned long capability = 0; capability < 64; capability++)
		if ((keep & (1ULL << capability)) == 0 && prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			return errno == EINVAL ? 0 : -errno; /* EINVAL: above the kernel's last */
	return 0;
}

static int set_capabilities(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	for (int i = 0; i < 2; i++) {
		data[i].effective = (uint32_t)(effective >> (32 * i));
		data[i].permitted = (uint32_t)(permitted >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return sys_result(syscall(SYS_capset, &header, data));
}

static int raise_ambient(uint64_t ambient)
{
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	for (unsigned long capability = 0; capability < 64; capability++)
		if ((ambient & (1ULL << capability)) != 0 &&
		    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
			return -errno;
	return 0;
}

bool op_capabilities(struct guest *guest, const struct plan_op *op)
{
	enum { BOUNDING, EFFECTIVE, PERMITTED, INHERITABLE, AMBIENT, SETS };
	uint64_t sets[SETS];
	for (uint32_t i = 0; i < SETS; i++)
		if (!plan_hex(plan_text(op, i), UINT64_MAX, &sets[i]))
			return fail(guest->launch, EINVAL, plan_text(op, i), "not a set of capabilities");
	int error = drop_bounding(sets[BOUNDING]);
	if (error == 0)
		error = set_capabilities(sets[EFFECTIVE], sets[PERMITTED], sets[INHERITABLE]);
	if (error == 0)
		error = raise_ambient(sets[AMBIENT]);
	return error == 0 || fail(guest->launch, error, "", "setting the capabilities");
}

bool op_no_new_privs(struct guest *guest, const struct plan_op *op)
{
	(void)op;
	int error = sys_result(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	return error == 0 || fail(guest->launch, error, "", "giving up new privileges");
}

bool op_seccomp(struct guest *guest, const struct plan_op *op)
{
	uint32_t length = plan_word(op, 0).length;
	if (length == 0 || length % sizeof(struct sock_filter) != 0 ||
	    length / sizeof(struct sock_filter) > MAX_FILTER_LENGTH)
		return fail(guest->launch, EINVAL, "", "not a seccomp filter");
	if (guest->seccomp_index != 0)
		return fail(guest->launch, EINVAL, "", "only one seccomp filter");
	guest->seccomp_index = guest->launch->op_index;
	return true;
}

int load_seccomp(const struct plan_op *op)
{
	static struct sock_filter filter[MAX_FILTER_LENGTH];
	struct plan_word word = plan_word(op, 0);
	/* A copy, as the words of a plan are not aligned. */
	memcpy(filter, word.text, word.length);
	struct sock_fprog program = {.len = (unsigned short)(word.length / sizeof *filter), .filter = filter};
	return sys_result(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}
