/*
 * The plan: a flat list of operations that TypeScript compiles and the jailer executes.
 *
 * This header is the closed set of operations and the interface of the decoder. src/linux/plan.ts lists the
 * same operations; a test compares the two. README.md says what each operation does, checks and why it is safe.
 *
 * Encoding (little endian): 8 bytes "SHALEPL1", u32 operation count, then per operation u32 opcode, u32 word
 * count, then per word u32 length, the bytes, one NUL. Integers are words in decimal ASCII.
 */
#ifndef SHALE_PLAN_H
#define SHALE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PLAN_MAGIC "SHALEPL1"
#define PLAN_MAX_BYTES (1024 * 1024)
#define PLAN_MAX_OPS 4096
#define PLAN_MAX_WORDS 1024
#define PLAN_MAX_WORD_BYTES (128 * 1024)

enum plan_phase { PHASE_DECODE = 0, PHASE_HOST = 1, PHASE_GUEST = 2 };

/* A TEXT operation refuses words with an embedded NUL; a BINARY one takes raw bytes. */
enum plan_kind { TEXT, BINARY };

/* OP(number, constant, name, phase, least words, most words, kind) */
#define PLAN_OPERATIONS(OP)                                                      \
	OP(1, CGROUP_CREATE, "cgroup_create", HOST, 1, 1, TEXT)                  \
	OP(2, CGROUP_ENSURE, "cgroup_ensure", HOST, 1, 1, TEXT)                  \
	OP(3, CGROUP_WRITE, "cgroup_write", HOST, 2, 2, TEXT)                    \
	OP(4, CGROUP_JOIN, "cgroup_join", HOST, 1, 1, TEXT)                      \
	OP(5, CGROUP_KILL, "cgroup_kill", HOST, 1, 1, TEXT)                      \
	OP(6, CGROUP_REMOVE, "cgroup_remove", HOST, 1, 1, TEXT)                  \
	OP(7, DIR_CREATE, "dir_create", HOST, 2, 2, TEXT)                        \
	OP(8, DIR_REMOVE, "dir_remove", HOST, 1, 1, TEXT)                        \
	OP(9, FILE_REMOVE, "file_remove", HOST, 1, 1, TEXT)                      \
	OP(10, LISTEN, "listen", HOST, 2, 2, TEXT)                               \
	OP(11, LAYER_MOUNT, "layer_mount", HOST, 2, 2, TEXT)                     \
	OP(12, LAYER_UNMOUNT, "layer_unmount", HOST, 1, 1, TEXT)                 \
	OP(13, CLONE, "clone", HOST, 0, 9, TEXT)                                 \
	OP(14, MAP_IDS, "map_ids", HOST, 2, 2, TEXT)                             \
	OP(15, ROOT_BEGIN, "root_begin", HOST, 0, 0, TEXT)                       \
	OP(16, ROOT_LAYER, "root_layer", HOST, 1, 1, TEXT)                       \
	OP(17, ROOT_UPPER_TMPFS, "root_upper_tmpfs", HOST, 2, 2, TEXT)           \
	OP(18, ROOT_UPPER_DISK, "root_upper_disk", HOST, 1, 1, TEXT)             \
	OP(19, ROOT_END, "root_end", HOST, 1, 1, TEXT)                           \
	OP(32, GUEST, "guest", GUEST, 0, 0, TEXT)                                \
	OP(33, ENTER_ROOT, "enter_root", GUEST, 0, 0, TEXT)                      \
	OP(34, MOUNT, "mount", GUEST, 3, 4, TEXT)                                \
	OP(35, MOUNT_DEV, "mount_dev", GUEST, 0, 0, TEXT)                        \
	OP(36, MASK, "mask", GUEST, 1, 1, TEXT)                                  \
	OP(37, READONLY, "readonly", GUEST, 1, 1, TEXT)                          \
	OP(38, DIR, "dir", GUEST, 2, 2, TEXT)                                    \
	OP(39, HOSTNAME, "hostname", GUEST, 1, 1, TEXT)                          \
	OP(40, NETLINK, "netlink", GUEST, 1, 1, BINARY)                          \
	OP(41, RLIMIT, "rlimit", GUEST, 3, 3, TEXT)                              \
	OP(42, WAIT_FIFO, "wait_fifo", GUEST, 1, 1, TEXT)                        \
	OP(43, CAPABILITIES, "capabilities", GUEST, 5, 5, TEXT)                  \
	OP(44, NO_NEW_PRIVS, "no_new_privs", GUEST, 0, 0, TEXT)                  \
	OP(45, SECCOMP, "seccomp", GUEST, 1, 1, BINARY)                          \
	OP(46, EXEC, "exec", GUEST, 4, PLAN_MAX_WORDS, TEXT)

enum plan_opcode {
#define OP(number, constant, ...) OP_##constant = number,
	PLAN_OPERATIONS(OP)
#undef OP
	OP_LIMIT = 64 /* above every opcode */
};

struct op_spec {
	const char *name;
	uint32_t opcode;
	enum plan_phase phase;
	enum plan_kind kind;
	uint32_t min_words, max_words;
};

/* A word of a decoded plan. `text` is followed by a NUL and lives as long as the plan's bytes. */
struct plan_word {
	const char *text;
	uint32_t length;
};

struct plan_op {
	const struct op_spec *spec;
	uint32_t word_count;
	const uint8_t *words;
};

struct plan {
	uint32_t op_count;
	struct plan_op ops[PLAN_MAX_OPS];
};

/* Why a plan was refused: the operation (its index, its opcode when known), an errno and a sentence. */
struct plan_fault {
	uint32_t op_index, opcode;
	int error;
	const char *message;
};

/* The specification of an opcode, or NULL when there is no such operation. */
const struct op_spec *op_find(uint32_t opcode);

/* Operations that shape the new root: they come before all others that follow enter_root. */
bool op_builds_root(uint32_t opcode);

/*
 * Decodes `bytes` in place and checks everything that can be known without acting: limits, word counts, text,
 * and the order of operations (host before guest, one clone, exec last). Nothing is copied: `plan` points into
 * `bytes`. Returns false with `fault` filled when the plan is refused.
 */
bool plan_decode(const uint8_t *bytes, size_t length, struct plan *plan, struct plan_fault *fault);

/* The word at `index`, which must be below op->word_count. */
struct plan_word plan_word(const struct plan_op *op, uint32_t index);

/* Text of the word at `index`. */
const char *plan_text(const struct plan_op *op, uint32_t index);

/* Whether one of its words is `word`. */
bool plan_has_word(const struct plan_op *op, const char *word);

/* Strict integers: digits only (no sign, space, leading zero or prefix), at most `max`. */
bool plan_decimal(const char *text, uint64_t max, uint64_t *value);
bool plan_octal(const char *text, uint64_t max, uint64_t *value);
bool plan_hex(const char *text, uint64_t max, uint64_t *value);

/* The index of the first operation with `opcode`, or op_count when there is none. */
uint32_t plan_find(const struct plan *plan, uint32_t opcode);

#endif
