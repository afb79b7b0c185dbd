/* The decoder of plans, and every word of what it accepts, read the ways in which the operations read them. */
#include "jailer.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length);

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void read_word(const struct plan_op *op, uint32_t index)
{
	uint64_t value;
	struct plan_word word = plan_word(op, index);
	check(word.text[word.length] == 0);
	if (op->spec->kind == BINARY)
		return;
	check(strlen(plan_text(op, index)) == word.length);
	plan_decimal(word.text, UINT32_MAX, &value);
	plan_octal(word.text, 0777, &value);
	plan_hex(word.text, UINT64_MAX, &value);
	parse_mount_flags(word.text, &value);
	path_below(word.text, "/sys/fs/cgroup");
}

/* What the rest of the jailer relies on. */
static void check_order(const struct plan *plan)
{
	uint32_t clones = 0, guest = plan_find(plan, OP_GUEST), exec = plan_find(plan, OP_EXEC);
	for (uint32_t i = 0; i < plan->op_count; i++) {
		clones += plan->ops[i].spec->opcode == OP_CLONE;
		check((plan->ops[i].spec->phase == PHASE_GUEST) == (i >= guest));
	}
	check(clones <= 1 && (clones == 0) == (exec == plan->op_count));
	check(exec == plan->op_count || (exec == plan->op_count - 1 && plan_find(plan, OP_ENTER_ROOT) < exec));
	check(exec == plan->op_count || plan_find(plan, OP_ROOT_END) < guest);
}

/* What an ordinary user may have executed is never without a user namespace. */
static void check_owner(const struct plan *plan)
{
	static const struct jailer jailer = {.owner = {.uid = 1000, .gid = 1000, .first_id = 65536, .last_id = 131071}};
	struct plan_fault fault = {0};
	uint32_t clone = plan_find(plan, OP_CLONE);
	if (check_rules(&jailer, plan, &fault))
		check(clone == plan->op_count || plan_has_word(&plan->ops[clone], "user"));
	else
		check(fault.op_index < plan->op_count && fault.error > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length)
{
	static struct plan plan;
	struct plan_fault fault;
	if (!plan_decode(bytes, length, &plan, &fault)) {
		check(plan.op_count == 0 && fault.error > 0 && fault.message != NULL);
		return 0;
	}
	for (uint32_t i = 0; i < plan.op_count; i++)
		for (uint32_t word = 0; word < plan.ops[i].word_count; word++)
			read_word(&plan.ops[i], word);
	check_order(&plan);
	check_owner(&plan);
	return 0;
}
