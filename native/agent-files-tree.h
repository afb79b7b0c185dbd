// Walking a directory and what is below it, by descriptors and without following symlinks: whatever is renamed meanwhile,
// the walk stays in directories that it has found below its root.
#pragma once

#include <stdbool.h>
#include <sys/stat.h>

enum {
	TREE_MAX_DEPTH = 128,  // a descriptor and a stack frame each
	TREE_MAX_PATH_BYTES = 4095,
};

struct tree_entry {
	int directory;	  // what `name` is in
	const char *name;
	const char *path; // from the root of the walk, at most TREE_MAX_PATH_BYTES
	int depth;	  // 1: in the root itself
	struct stat status;
};

// Called for each entry before what is in it. Returns 0, TREE_LEAVE_OUT not to enter the directory, or an errno that ends
// the walk.
enum { TREE_LEAVE_OUT = -1 };
typedef int tree_visitor(void *context, const struct tree_entry *entry);

// Walks what is below the directory, which is closed. What has vanished since it was listed is left out. A tree that is
// deeper, or whose paths are longer, than the limits is ENAMETOOLONG; reply_detail has been told the path.
int tree_walk(int directory, tree_visitor *visit, void *context);
