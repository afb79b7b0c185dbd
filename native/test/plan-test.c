/*
 * The decoder with good, broken and random plans. Every buffer is of the exact size, so that the sanitizer sees any
 * byte that is touched beyond it.
 */
#include "plan.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RANDOM_PLANS 20000

struct builder {
	uint8_t bytes[65536];
	size_t length;
	uint32_t op_count;
};

static struct plan plan;
static struct plan_fault fault;

static void put_u32(struct builder *builder, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		builder->bytes[builder->length++] = (uint8_t)(value >> (8 * i));
}

static void put_word(struct builder *builder, const char *word, size_t length)
{
	put_u32(builder, (uint32_t)length);
	memcpy(builder->bytes + builder->length, word, length);
	builder->length += length;
	builder->bytes[builder->length++] = 0;
}

static void begin(struct builder *builder)
{
	memcpy(builder->bytes, PLAN_MAGIC, 8);
	builder->length = 12;
	builder->op_count = 0;
}

/* `words` are separated by spaces. */
static void put_op(struct builder *builder, uint32_t opcode, const char *words)
{
	uint32_t count = 0;
	put_u32(builder, opcode);
	size_t count_at = builder->length;
	builder->length += 4;
	while (*words != 0) {
		size_t length = strcspn(words, " ");
		put_word(builder, words, length);
		words += length + (words[length] == ' ');
		count++;
	}
	size_t end = builder->length;
	builder->length = count_at;
	put_u32(builder, count);
	builder->length = end;
	builder->op_count++;
}

static bool decode(const uint8_t *bytes, size_t length)
{
	uint8_t *exact = malloc(length == 0 ? 1 : length);
	memcpy(exact, bytes, length);
	bool good = plan_decode(exact, length, &plan, &fault);
	/* Whatever is accepted can be read to its last word. */
	for (uint32_t i = 0; good && i < plan.op_count; i++)
		for (uint32_t word = 0; word < plan.ops[i].word_count; word++)
			assert(plan_text(&plan.ops[i], word)[plan_word(&plan.ops[i], word).length] == 0);
	free(exact);
	return good;
}

static bool decode_built(struct builder *builder)
{
	size_t length = builder->length;
	builder->length = 8;
	put_u32(builder, builder->op_count);
	builder->length = length;
	return decode(builder->bytes, length);
}

static void put_launch(struct builder *builder)
{
	put_op(builder, OP_CLONE, "user mount pid");
	put_op(builder, OP_MAP_IDS, "100000 65536");
	put_op(builder, OP_ROOT_BEGIN, "");
	put_op(builder, OP_ROOT_LAYER, "000-base");
	put_op(builder, OP_ROOT_UPPER_TMPFS, "1048576 100");
	put_op(builder, OP_ROOT_END, "nosuid");
	put_op(builder, OP_GUEST, "");
	put_op(builder, OP_ENTER_ROOT, "");
	put_op(builder, OP_MOUNT, "proc /proc nosuid");
	put_op(builder, OP_HOSTNAME, "h");
	put_op(builder, OP_EXEC, "@agent 0 1 A=b agent");
}

static void a_whole_launch_is_decoded(void)
{
	struct builder builder;
	begin(&builder);
	put_launch(&builder);
	assert(decode_built(&builder));
	assert(plan.op_count == 11 && plan_find(&plan, OP_GUEST) == 6);
	assert(plan_find(&plan, OP_WAIT_FIFO) == plan.op_count);
}

static void words_are_found_by_index(void)
{
	struct builder builder;
	begin(&builder);
	put_op(&builder, OP_CGROUP_WRITE, "/sys/fs/cgroup/x 12");
	builder.length -= 4 + 3; /* the second word is to be empty */
	put_word(&builder, "", 0);
	size_t length = builder.length;
	builder.length = 8;
	put_u32(&builder, 1);
	assert(plan_decode(builder.bytes, length, &plan, &fault));
	assert(strcmp(plan_text(&plan.ops[0], 0), "/sys/fs/cgroup/x") == 0);
	assert(plan_word(&plan.ops[0], 1).length == 0 && plan_text(&plan.ops[0], 1)[0] == 0);
}

static void refuse(struct builder *builder, uint32_t op_index, int error, const char *part)
{
	assert(!decode_built(builder));
	assert(fault.op_index == op_index && fault.error == error);
	assert(strstr(fault.message, part) != NULL);
}

static void operations_out_of_order_are_refused(void)
{
	static const struct {
		struct {
			uint32_t opcode;
			const char *words;
		} ops[8];
		const char *complaint;
	} cases[] = {
		{{{OP_GUEST, ""}}, "finished root"},
		{{{OP_CLONE, "mount"}}, "ends with exec"},
		{{{OP_CLONE, "pid"}}, "needs mount"},
		{{{OP_CLONE, "mount"}, {OP_CLONE, "mount"}}, "once"},
		{{{OP_CLONE, "mount"}, {OP_LISTEN, "0 /a"}}, "before clone"},
		{{{OP_CGROUP_JOIN, "/a"}}, "needs clone"},
		{{{OP_CLONE, "mount"}, {OP_MAP_IDS, "1 1"}}, "clone with user"},
		{{{OP_CLONE, "mount user"}, {OP_ROOT_BEGIN, ""}}, "map_ids"},
		{{{OP_ROOT_BEGIN, ""}}, "after clone"},
		{{{OP_CLONE, "mount"}, {OP_ROOT_LAYER, "a"}}, "after root_begin"},
		{{{OP_CLONE, "mount"}, {OP_ROOT_BEGIN, ""}, {OP_ROOT_UPPER_DISK, "/a"}}, "after the layers"},
		{{{OP_CLONE, "mount"}, {OP_ROOT_BEGIN, ""}, {OP_ROOT_END, "ro"}}, "after the upper"},
		{{{OP_CLONE, "mount"}, {OP_EXEC, "/a 0 0 a"}}, "before guest"},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct builder builder;
		begin(&builder);
		for (size_t k = 0; cases[i].ops[k].words != NULL; k++)
			put_op(&builder, cases[i].ops[k].opcode, cases[i].ops[k].words);
		refuse(&builder, builder.op_count - 1, EINVAL, cases[i].complaint);
	}
}

/* The launch above without the operation at `missing`. */
static void put_launch_without(struct builder *builder, uint32_t missing)
{
	struct builder whole;
	begin(&whole);
	put_launch(&whole);
	uint8_t *at = whole.bytes + 12;
	for (uint32_t i = 0; i < whole.op_count; i++) {
		uint8_t *start = at, words = at[4];
		for (at += 8; words > 0; words--)
			at += 4 + at[0] + 1;
		if (i == missing)
			continue;
		memcpy(builder->bytes + builder->length, start, (size_t)(at - start));
		builder->length += (size_t)(at - start);
		builder->op_count++;
	}
}

static void a_launch_without_one_of_its_steps_is_refused(void)
{
	static const uint32_t needed[] = {0, 1, 2, 3, 4, 5, 6, 7, 10};
	struct builder builder;
	for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
		begin(&builder);
		put_launch_without(&builder, needed[i]);
		assert(!decode_built(&builder) && fault.error == EINVAL);
	}
	begin(&builder);
	put_launch_without(&builder, 9);
	assert(decode_built(&builder));
	put_op(&builder, OP_HOSTNAME, "late");
	refuse(&builder, 10, EINVAL, "exec is the last");
}

static void the_root_is_built_before_it_is_left(void)
{
	struct builder builder;
	begin(&builder);
	put_op(&builder, OP_CLONE, "mount");
	put_op(&builder, OP_ROOT_BEGIN, "");
	put_op(&builder, OP_ROOT_LAYER, "a");
	put_op(&builder, OP_ROOT_UPPER_TMPFS, "1 1");
	put_op(&builder, OP_ROOT_END, "nosuid");
	put_op(&builder, OP_GUEST, "");
	put_op(&builder, OP_ENTER_ROOT, "");
	put_op(&builder, OP_HOSTNAME, "h");
	put_op(&builder, OP_MASK, "/proc/kcore");
	refuse(&builder, 8, EINVAL, "before anything else");
}

static void broken_encodings_are_refused(void)
{
	struct builder builder;
	assert(!decode((const uint8_t *)"", 0) && fault.error == EBADMSG);
	assert(!decode((const uint8_t *)"SHALEPL2\0\0\0\0", 12) && fault.error == EBADMSG);
	assert(!decode((const uint8_t *)PLAN_MAGIC "\0\0\0", 11) && fault.error == EBADMSG);
	assert(decode((const uint8_t *)PLAN_MAGIC "\0\0\0\0", 12));
	assert(!decode((const uint8_t *)PLAN_MAGIC "\0\0\0\0x", 13) && fault.error == EBADMSG);
	assert(!decode((const uint8_t *)PLAN_MAGIC "\xff\xff\xff\xff", 12) && fault.error == E2BIG);

	begin(&builder);
	put_op(&builder, 20, "");
	refuse(&builder, 0, EOPNOTSUPP, "no such operation");
	begin(&builder);
	put_op(&builder, OP_CGROUP_WRITE, "/a");
	refuse(&builder, 0, EINVAL, "number of words");
	begin(&builder);
	put_op(&builder, OP_CGROUP_CREATE, "/a");
	builder.bytes[builder.length - 1] = 'x';
	refuse(&builder, 0, EBADMSG, "NUL");
	begin(&builder);
	put_op(&builder, OP_CGROUP_CREATE, "/a");
	builder.bytes[builder.length - 2] = 0;
	refuse(&builder, 0, EINVAL, "contains a NUL");
	begin(&builder);
	put_op(&builder, OP_CGROUP_CREATE, "/a");
	memset(builder.bytes + 20, 0xff, 4);
	refuse(&builder, 0, E2BIG, "too long");
}

static void every_prefix_of_a_plan_is_refused(void)
{
	struct builder builder;
	begin(&builder);
	put_launch(&builder);
	assert(decode_built(&builder));
	for (size_t length = 0; length < builder.length; length++)
		assert(!decode(builder.bytes, length));
}

static void binary_words_may_contain_nul(void)
{
	static const uint8_t bytes[] = PLAN_MAGIC "\1\0\0\0" "\x28\0\0\0" "\1\0\0\0" "\2\0\0\0" "\0\0" "\0";
	/* Alone it is out of order, which is noticed only after its words were accepted. */
	assert(!decode(bytes, sizeof bytes - 1));
	assert(strcmp(fault.message, "guest operation before guest") == 0);
}

static void random_changes_never_confuse_the_decoder(void)
{
	struct builder builder;
	uint32_t accepted = 0;
	srand(1);
	for (int i = 0; i < RANDOM_PLANS; i++) {
		begin(&builder);
		put_launch(&builder);
		size_t length = builder.length;
		builder.length = 8;
		put_u32(&builder, builder.op_count);
		for (int changes = rand() % 4; changes >= 0; changes--)
			builder.bytes[8 + (size_t)rand() % (length - 8)] = (uint8_t)rand();
		accepted += decode(builder.bytes, length - (size_t)(rand() % 3 == 0 ? rand() % 20 : 0));
	}
	assert(accepted > 0 && accepted < RANDOM_PLANS);
}

static void integers_are_strict(void)
{
	static const char *const refused[] = {"", "-1", "+1", " 1", "1 ", "01", "0x1", "1a", "18446744073709551616"};
	uint64_t value;
	for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
		assert(!plan_decimal(refused[i], UINT64_MAX, &value));
	assert(plan_decimal("0", 0, &value) && value == 0);
	assert(plan_decimal("18446744073709551615", UINT64_MAX, &value) && value == UINT64_MAX);
	assert(plan_decimal("10", 10, &value) && !plan_decimal("11", 10, &value));
	assert(plan_octal("755", 0777, &value) && value == 0755 && !plan_octal("8", 0777, &value));
	assert(plan_hex("ffffffffffffffff", UINT64_MAX, &value) && value == UINT64_MAX && !plan_hex("FF", 255, &value));
}

int main(void)
{
	a_whole_launch_is_decoded();
	words_are_found_by_index();
	operations_out_of_order_are_refused();
	a_launch_without_one_of_its_steps_is_refused();
	the_root_is_built_before_it_is_left();
	broken_encodings_are_refused();
	every_prefix_of_a_plan_is_refused();
	binary_words_may_contain_nul();
	random_changes_never_confuse_the_decoder();
	integers_are_strict();
	puts("plan: ok");
	return 0;
}
