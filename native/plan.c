/*
 * The decoder of plans. It is the only code of the jailer that reads bytes of a shape nobody has checked yet, so
 * it is small, has no allocation, and is shared with the unit tests and the fuzzer.
 */
#include "plan.h"

#include <errno.h>
#include <string.h>

static const struct op_spec specs[] = {
#define OP(number, constant, name, phase, min, max, kind) {name, number, PHASE_##phase, kind, min, max},
	PLAN_OPERATIONS(OP)
#undef OP
};

const struct op_spec *op_find(uint32_t opcode)
{
	for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
		if (specs[i].opcode == opcode)
			return &specs[i];
	return NULL;
}

bool op_builds_root(uint32_t opcode)
{
	return opcode == OP_MOUNT || opcode == OP_MOUNT_DEV || opcode == OP_MASK || opcode == OP_READONLY ||
	       opcode == OP_DIR;
}

struct reader {
	const uint8_t *at, *end;
};

static uint32_t load_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static bool read_u32(struct reader *reader, uint32_t *value)
{
	if (reader->end - reader->at < 4)
		return false;
	*value = load_u32(reader->at);
	reader->at += 4;
	return true;
}

static bool refuse(struct plan_fault *fault, int error, const char *message)
{
	fault->error = error;
	fault->message = message;
	return false;
}

static bool read_word(struct reader *reader, enum plan_kind kind, struct plan_fault *fault)
{
	uint32_t length;
	if (!read_u32(reader, &length))
		return refuse(fault, EBADMSG, "the plan ends inside an operation");
	if (length > PLAN_MAX_WORD_BYTES)
		return refuse(fault, E2BIG, "a word is too long");
	if ((size_t)(reader->end - reader->at) < (size_t)length + 1)
		return refuse(fault, EBADMSG, "the plan ends inside a word");
	if (reader->at[length] != 0)
		return refuse(fault, EBADMSG, "a word is not followed by a NUL");
	if (kind == TEXT && memchr(reader->at, 0, length) != NULL)
		return refuse(fault, EINVAL, "a text word contains a NUL");
	reader->at += (size_t)length + 1;
	return true;
}

static bool read_op(struct reader *reader, struct plan_op *op, struct plan_fault *fault)
{
	uint32_t opcode, word_count;
	fault->opcode = 0;
	if (!read_u32(reader, &opcode) || !read_u32(reader, &word_count))
		return refuse(fault, EBADMSG, "the plan ends inside an operation");
	fault->opcode = opcode;
	op->spec = op_find(opcode);
	if (op->spec == NULL)
		return refuse(fault, EOPNOTSUPP, "no such operation");
	if (word_count < op->spec->min_words || word_count > op->spec->max_words)
		return refuse(fault, EINVAL, "wrong number of words");
	op->word_count = word_count;
	op->words = reader->at;
	for (uint32_t i = 0; i < word_count; i++)
		if (!read_word(reader, op->spec->kind, fault))
			return false;
	return true;
}

/* What has been seen so far, to check the order of operations. */
struct order {
	bool clone, user, map, root_open, upper, root_done, guest, enter_root, root_left, exec;
	uint32_t layers;
};

/* One operation's place among the others. Returns the complaint, or NULL. */
static const char *check_host_order(struct order *seen, const struct plan_op *op)
{
	switch (op->spec->opcode) {
	case OP_CLONE:
		if (seen->clone || !plan_has_word(op, "mount"))
			return "clone comes once, and needs mount";
		seen->clone = true;
		seen->user = plan_has_word(op, "user");
		return NULL;
	case OP_LISTEN:
		return seen->clone ? "listen comes before clone" : NULL;
	case OP_CGROUP_JOIN:
		return seen->clone ? NULL : "needs clone before it";
	case OP_MAP_IDS:
		if (!seen->user || seen->map || seen->root_open)
			return "map_ids comes once, after a clone with user, before root_begin";
		seen->map = true;
		return NULL;
	case OP_ROOT_BEGIN:
		if (!seen->clone || seen->root_open || seen->user != seen->map)
			return "root_begin comes once, after clone and map_ids";
		seen->root_open = true;
		return NULL;
	case OP_ROOT_LAYER:
		if (!seen->root_open || seen->upper)
			return "root_layer comes after root_begin, before the upper";
		seen->layers++;
		return NULL;
	case OP_ROOT_UPPER_TMPFS:
	case OP_ROOT_UPPER_DISK:
		if (seen->layers == 0 || seen->upper)
			return "one upper, after the layers";
		seen->upper = true;
		return NULL;
	case OP_ROOT_END:
		if (!seen->upper || seen->root_done)
			return "root_end comes once, after the upper";
		seen->root_done = true;
		return NULL;
	default:
		return NULL;
	}
}

static const char *check_guest_order(struct order *seen, const struct plan_op *op)
{
	uint32_t opcode = op->spec->opcode;
	if (opcode == OP_GUEST) {
		if (!seen->root_done || seen->guest)
			return "guest comes once, after a finished root";
		seen->guest = true;
		return NULL;
	}
	if (!seen->guest)
		return "guest operation before guest";
	if (opcode == OP_ENTER_ROOT) {
		if (seen->enter_root)
			return "only one enter_root";
		seen->enter_root = true;
		return NULL;
	}
	if (op_builds_root(opcode))
		return seen->root_left ? "the root is built before anything else follows enter_root" : NULL;
	seen->root_left = seen->enter_root;
	seen->exec = opcode == OP_EXEC;
	return seen->exec && !seen->enter_root ? "exec needs enter_root before it" : NULL;
}

static const char *check_order(struct order *seen, const struct plan_op *op)
{
	if (seen->exec)
		return "exec is the last operation";
	if (op->spec->phase == PHASE_GUEST)
		return check_guest_order(seen, op);
	return seen->guest ? "host operation after guest" : check_host_order(seen, op);
}

static bool check_whole(const struct order *seen, struct plan_fault *fault)
{
	if (seen->clone && !seen->exec)
		return refuse(fault, EINVAL, "a plan with clone ends with exec");
	return true;
}

bool plan_decode(const uint8_t *bytes, size_t length, struct plan *plan, struct plan_fault *fault)
{
	struct reader reader = {bytes, bytes + length};
	struct order seen = {0};
	uint32_t op_count;

	*fault = (struct plan_fault){0};
	plan->op_count = 0;
	if (length > PLAN_MAX_BYTES)
		return refuse(fault, E2BIG, "the plan is too long");
	if (length < 8 || memcmp(bytes, PLAN_MAGIC, 8) != 0)
		return refuse(fault, EBADMSG, "not a plan");
	reader.at += 8;
	if (!read_u32(&reader, &op_count))
		return refuse(fault, EBADMSG, "the plan has no operation count");
	if (op_count > PLAN_MAX_OPS)
		return refuse(fault, E2BIG, "too many operations");
	for (uint32_t i = 0; i < op_count; i++) {
		struct plan_op *op = &plan->ops[i];
		fault->op_index = i;
		if (!read_op(&reader, op, fault))
			return false;
		const char *complaint = check_order(&seen, op);
		if (complaint != NULL)
			return refuse(fault, EINVAL, complaint);
	}
	if (reader.at != reader.end)
		return refuse(fault, EBADMSG, "bytes after the last operation");
	if (!check_whole(&seen, fault))
		return false;
	plan->op_count = op_count;
	return true;
}

struct plan_word plan_word(const struct plan_op *op, uint32_t index)
{
	const uint8_t *at = op->words;
	while (index-- > 0)
		at += 4 + (size_t)load_u32(at) + 1;
	return (struct plan_word){(const char *)at + 4, load_u32(at)};
}

const char *plan_text(const struct plan_op *op, uint32_t index)
{
	return plan_word(op, index).text;
}

bool plan_has_word(const struct plan_op *op, const char *word)
{
	for (uint32_t i = 0; i < op->word_count; i++)
		if (strcmp(plan_text(op, i), word) == 0)
			return true;
	return false;
}

static int digit_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	return 16;
}

static bool parse_integer(const char *text, unsigned base, uint64_t max, uint64_t *value)
{
	uint64_t sum = 0;
	if (text[0] == 0 || (text[0] == '0' && text[1] != 0))
		return false;
	for (; *text != 0; text++) {
		unsigned digit = (unsigned)digit_value(*text);
		if (digit >= base || sum > (UINT64_MAX - digit) / base)
			return false;
		sum = sum * base + digit;
	}
	*value = sum;
	return sum <= max;
}

bool plan_decimal(const char *text, uint64_t max, uint64_t *value)
{
	return parse_integer(text, 10, max, value);
}

bool plan_octal(const char *text, uint64_t max, uint64_t *value)
{
	return parse_integer(text, 8, max, value);
}

bool plan_hex(const char *text, uint64_t max, uint64_t *value)
{
	return parse_integer(text, 16, max, value);
}

uint32_t plan_find(const struct plan *plan, uint32_t opcode)
{
	uint32_t index = 0;
	while (index < plan->op_count && plan->ops[index].spec->opcode != opcode)
		index++;
	return index;
}
