// Decoding of client frames. A handler takes all fields, then checks that the frame was exactly that, then acts.
#include "agent-requests.h"

#include "agent-connection.h"
#include "agent-files.h"
#include "agent-process.h"
#include "agent-report.h"
#include "agent-tunnel.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

enum {
	START_PTY = 1,
	START_STDIN = 2,
	START_ATTACH = 4,
	START_TRANSIENT = 8,
	START_FLAGS = START_PTY | START_STDIN | START_ATTACH | START_TRANSIENT,

	ATTACH_HOLD = 1,

	MAX_ARGUMENTS = 4096,
	MAX_VARIABLES = 4096,
	MAX_LIMITS = 32,
	MAX_PATH_BYTES = 4095, // PATH_MAX without its NUL
	MAX_USER_BYTES = 255,
};

static void put_result(uint32_t channel, int error, const char *message)
{
	if (error)
		connection_put_error(channel, error, message);
	else
		connection_put_empty(FRAME_OK, channel);
}

// The process that a request names; NULL after it was answered that there is none.
static struct process *find_named(uint32_t channel, const char *id)
{
	struct process *process = process_find(id);
	if (!process)
		connection_put_error(channel, ENOENT, "no such process");
	return process;
}

// Whether frames of something that goes on come on the channel.
static bool is_in_use(uint32_t channel)
{
	return reader_find(channel) || process_find_writer(channel) || tunnel_exists(channel);
}

// `reader` NULL: nobody reads.
static void put_started(uint32_t channel, const struct process *process, const struct reader *reader)
{
	uint8_t *at = connection_put(FRAME_STARTED, channel, 4 + 8 + 8);
	at = wire_put_u32(at, (uint32_t)process->guest_pid);
	for (int stream = 0; stream < 2; stream++)
		at = wire_put_u64(at, reader ? reader->streams[stream].attached : 0);
}

static void begin_writing(uint32_t channel, struct process *process)
{
	process_begin_writing(process, channel);
	wire_put_u32(connection_put(FRAME_STDIN_CREDIT, channel, 4), input_reset_grant(&process->input));
}

// ---- START ---------------------------------------------------------------------------------------------------------

struct start {
	uint32_t flags, credit;
	const char *user;
	struct process_spec process;
};

// NULL-terminated in `words`, which has room for max + 1.
static void take_words(struct wire_reader *payload, char **words, uint32_t max)
{
	uint32_t count = wire_take_u32(payload);
	if (count > max)
		payload->bad = true;
	uint32_t taken = 0;
	while (!payload->bad && taken < count)
		words[taken++] = wire_take_text(payload, WIRE_MAX_PAYLOAD);
	words[taken] = NULL;
}

static void take_limits(struct wire_reader *payload, struct spawn_request *program)
{
	static struct spawn_limit limits[MAX_LIMITS];
	uint32_t count = wire_take_u32(payload);
	if (count > MAX_LIMITS)
		payload->bad = true;
	for (uint32_t i = 0; !payload->bad && i < count; i++)
		limits[i] = (struct spawn_limit){
			.resource = wire_take_u32(payload),
			.soft = wire_take_u64(payload),
			.hard = wire_take_u64(payload),
		};
	program->limits = limits;
	program->limit_count = count;
}

static struct start take_start(struct wire_reader *payload)
{
	static char *argv[MAX_ARGUMENTS + 1], *envp[MAX_VARIABLES + 1];
	struct start start = {.flags = wire_take_u32(payload)};
	struct process_spec *process = &start.process;
	process->timeout_ms = wire_take_u32(payload);
	process->orphan_ms = wire_take_u32(payload);
	process->ring_bytes = wire_take_u32(payload);
	start.credit = wire_take_u32(payload);
	process->cols = wire_take_u16(payload);
	process->rows = wire_take_u16(payload);
	process->id = wire_take_text(payload, PROCESS_MAX_ID_BYTES);
	process->tag = wire_take_text(payload, PROCESS_MAX_TAG_BYTES);
	process->program.cwd = wire_take_text(payload, MAX_PATH_BYTES);
	start.user = wire_take_text(payload, MAX_USER_BYTES);
	take_words(payload, argv, MAX_ARGUMENTS);
	take_words(payload, envp, MAX_VARIABLES);
	take_limits(payload, &process->program);
	process->program.argv = argv;
	process->program.envp = envp;
	process->is_terminal = start.flags & START_PTY;
	process->wants_input = start.flags & START_STDIN;
	process->is_transient = start.flags & START_TRANSIENT;
	return start;
}

static const char *check_start(const struct start *start, struct user *user, int *error)
{
	*error = EINVAL;
	if (start->flags & ~(uint32_t)START_FLAGS)
		return "unknown flags";
	if (!*start->process.id || !start->process.program.argv[0])
		return "the id and the program must not be empty";
	*error = EEXIST;
	if (process_find(start->process.id))
		return "a process of this id exists";
	*error = user_lookup(start->user, "/etc/passwd", "/etc/group", user);
	return *error ? "no such user or group in the sandbox" : NULL;
}

// STDIN_CREDIT before STARTED says that the channel writes to stdin too.
static void put_running(uint32_t channel, struct process *process, const struct start *start)
{
	if (!(start->flags & START_ATTACH)) {
		process_note_unattended(process);
		put_started(channel, process, NULL);
		return;
	}
	const struct reader_spec reader = {.channel = channel, .credit = start->credit, .is_holding = true};
	if (process->input.is_open)
		begin_writing(channel, process);
	put_started(channel, process, reader_attach(process, &reader));
}

static bool handle_start(uint32_t channel, struct wire_reader *payload)
{
	struct user user;
	int error;
	struct start start = take_start(payload);
	if (!wire_is_complete(payload) || is_in_use(channel))
		return false;
	const char *objection = check_start(&start, &user, &error);
	if (objection) {
		connection_put_error(channel, error, objection);
		return true;
	}
	start.process.program.user = &user;
	struct process *process = process_start(&start.process);
	if (!process) {
		connection_put_error(channel, errno, "cannot start a process");
		return true;
	}
	put_running(channel, process, &start);
	return true;
}

// ---- channels that read or write -----------------------------------------------------------------------------------

static bool handle_attach(uint32_t channel, struct wire_reader *payload)
{
	uint32_t flags = wire_take_u32(payload);
	struct reader_spec spec = {.channel = channel, .is_holding = flags & ATTACH_HOLD};
	for (int stream = 0; stream < 2; stream++)
		spec.offsets[stream] = wire_take_u64(payload);
	spec.credit = wire_take_u32(payload);
	const char *id = wire_take_text(payload, PROCESS_MAX_ID_BYTES);
	if (!wire_is_complete(payload) || is_in_use(channel))
		return false;
	struct process *process = find_named(channel, id);
	if (!process)
		return true;
	const struct output *output = process->output;
	struct reader *reader = NULL;
	if (flags & ~(uint32_t)ATTACH_HOLD)
		connection_put_error(channel, EINVAL, "unknown flags");
	else if (spec.offsets[0] > output[0].ring.end || spec.offsets[1] > output[1].ring.end)
		connection_put_error(channel, EINVAL, "the offset is beyond the end of the output");
	else if ((reader = reader_attach(process, &spec)))
		put_started(channel, process, reader);
	else
		connection_put_error(channel, errno, "the process has too many readers");
	return true;
}

static bool handle_stdin_open(uint32_t channel, struct wire_reader *payload)
{
	const char *id = wire_take_text(payload, PROCESS_MAX_ID_BYTES);
	if (!wire_is_complete(payload) || is_in_use(channel))
		return false;
	struct process *process = find_named(channel, id);
	if (!process)
		return true;
	if (!process->input.is_open)
		connection_put_error(channel, EPIPE, "stdin is closed");
	else if (process->writer)
		connection_put_error(channel, EBUSY, "another channel writes to stdin");
	else
		begin_writing(channel, process);
	return true;
}

// Frames on a channel that is over are not an error: its end may have crossed them.

static bool handle_stdin(uint32_t channel, struct wire_reader *payload)
{
	struct process *process = process_find_writer(channel);
	uint32_t length = (uint32_t)(payload->end - payload->at);
	if (!process || !process->input.is_open)
		return true;
	return input_write(&process->input, payload->at, length);
}

static bool handle_stdin_close(uint32_t channel, struct wire_reader *payload)
{
	struct process *process = process_find_writer(channel);
	if (process) {
		input_end(&process->input);
		report_writing_ended(process);
	}
	return wire_is_complete(payload);
}

static bool handle_credit(uint32_t channel, struct wire_reader *payload)
{
	uint32_t bytes = wire_take_u32(payload);
	struct reader *reader = reader_find(channel);
	if (reader) {
		reader->credit += bytes; // 64 bits: cannot overflow in the life of a machine
		process_mark_ready(reader->process);
	}
	return wire_is_complete(payload);
}

// Always answered, so that the client knows when nothing more comes on the channel.
static bool handle_detach(uint32_t channel, struct wire_reader *payload)
{
	struct reader *reader = reader_find(channel);
	struct process *process = process_find_writer(channel);
	if (reader)
		reader_leave(reader);
	if (process)
		process_end_writing(process);
	connection_put_empty(FRAME_OK, channel);
	return wire_is_complete(payload);
}

// ---- requests that name a process ----------------------------------------------------------------------------------

static bool handle_signal(uint32_t channel, struct wire_reader *payload)
{
	uint32_t signal_number = wire_take_u32(payload);
	uint8_t scope = wire_take_u8(payload);
	const char *id = wire_take_text(payload, PROCESS_MAX_ID_BYTES);
	if (!wire_is_complete(payload) || scope > 1)
		return false;
	struct process *process = find_named(channel, id);
	if (process) {
		bool is_known = signal_number <= (uint32_t)SIGRTMAX;
		int error = is_known ? process_signal(process, (int)signal_number, scope == 1) : EINVAL;
		put_result(channel, error, "cannot signal the process");
	}
	return true;
}

static bool handle_resize(uint32_t channel, struct wire_reader *payload)
{
	uint16_t cols = wire_take_u16(payload);
	uint16_t rows = wire_take_u16(payload);
	const char *id = wire_take_text(payload, PROCESS_MAX_ID_BYTES);
	if (!wire_is_complete(payload))
		return false;
	struct process *process = find_named(channel, id);
	if (process)
		put_result(channel, process_resize(process, cols, rows), "cannot resize the terminal");
	return true;
}

static bool handle_forget(uint32_t channel, struct wire_reader *payload)
{
	const char *id = wire_take_text(payload, PROCESS_MAX_ID_BYTES);
	if (!wire_is_complete(payload))
		return false;
	struct process *process = find_named(channel, id);
	if (process)
		put_result(channel, process_forget(process), "the process has not been collected yet");
	return true;
}

static bool handle_list(uint32_t channel, struct wire_reader *payload)
{
	if (!wire_is_complete(payload))
		return false;
	processes_list(channel);
	return true;
}

// ---- tunnels -------------------------------------------------------------------------------------------------------

static bool handle_files(uint32_t channel, struct wire_reader *payload)
{
	uint32_t credit = wire_take_u32(payload);
	if (payload->bad || is_in_use(channel))
		return false;
	files_open(channel, credit, payload->at, (uint32_t)(payload->end - payload->at));
	return true;
}

static bool handle_tunnel_write(uint32_t channel, struct wire_reader *payload)
{
	return tunnel_write(channel, payload->at, (uint32_t)(payload->end - payload->at));
}

static bool handle_tunnel_write_end(uint32_t channel, struct wire_reader *payload)
{
	tunnel_end_input(channel);
	return wire_is_complete(payload);
}

static bool handle_tunnel_credit(uint32_t channel, struct wire_reader *payload)
{
	tunnel_add_credit(channel, wire_take_u32(payload));
	return wire_is_complete(payload);
}

static bool handle_tunnel_close(uint32_t channel, struct wire_reader *payload)
{
	tunnel_close(channel);
	return wire_is_complete(payload);
}

bool request_dispatch(const struct wire_header *header, struct wire_reader *payload)
{
	static bool (*const handlers[])(uint32_t channel, struct wire_reader *payload) = {
		[FRAME_START] = handle_start,
		[FRAME_ATTACH] = handle_attach,
		[FRAME_STDIN] = handle_stdin,
		[FRAME_STDIN_CLOSE] = handle_stdin_close,
		[FRAME_SIGNAL] = handle_signal,
		[FRAME_RESIZE] = handle_resize,
		[FRAME_CREDIT] = handle_credit,
		[FRAME_DETACH] = handle_detach,
		[FRAME_FORGET] = handle_forget,
		[FRAME_LIST] = handle_list,
		[FRAME_STDIN_OPEN] = handle_stdin_open,
		[FRAME_FILES] = handle_files,
		[FRAME_TUNNEL_WRITE] = handle_tunnel_write,
		[FRAME_TUNNEL_WRITE_END] = handle_tunnel_write_end,
		[FRAME_TUNNEL_CREDIT] = handle_tunnel_credit,
		[FRAME_TUNNEL_CLOSE] = handle_tunnel_close,
	};
	bool is_known = header->type < sizeof handlers / sizeof *handlers && handlers[header->type];
	return is_known && header->channel != 0 && handlers[header->type](header->channel, payload);
}
