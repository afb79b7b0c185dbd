/* The command line. */
#include "jailer.h"

#include <string.h>

static bool add(const char **list, uint32_t *count, uint32_t max, const char *path)
{
	if (path[0] != '/' || *count == max)
		return false;
	list[(*count)++] = path;
	return true;
}

/* Two decimal numbers with `separator` between them. */
static bool parse_pair(const char *text, char separator, uint32_t *first, uint32_t *second)
{
	char copy[32];
	uint64_t numbers[2];
	size_t length = strlen(text);
	if (length >= sizeof copy)
		return false;
	memcpy(copy, text, length + 1);
	char *middle = strchr(copy, separator);
	if (middle == NULL)
		return false;
	*middle++ = 0;
	if (!plan_decimal(copy, UINT32_MAX - 1, &numbers[0]) || !plan_decimal(middle, UINT32_MAX - 1, &numbers[1]))
		return false;
	*first = (uint32_t)numbers[0];
	*second = (uint32_t)numbers[1];
	return true;
}

static bool parse_option(const char *name, const char *value, struct options *options)
{
	if (strcmp(name, "--agent") == 0)
		return (options->agent_path = value) != NULL;
	if (strcmp(name, "--run-dir") == 0)
		return (options->run_dir = value)[0] == '/';
	if (strcmp(name, "--allow") == 0)
		return add(options->allowed, &options->allowed_count, MAX_ALLOWED - 1, value);
	if (strcmp(name, "--cgroup") == 0)
		return add(options->cgroups, &options->cgroup_count, MAX_CGROUPS, value);
	if (strcmp(name, "--image") == 0)
		return add(options->images, &options->image_count, MAX_IMAGE_FOLDERS, value);
	if (strcmp(name, "--ids") == 0)
		return parse_pair(value, '-', &options->first_id, &options->last_id);
	return strcmp(name, "--owner") == 0 && parse_pair(value, ':', &options->owner_uid, &options->owner_gid) &&
	       options->owner_uid != 0 && options->owner_gid != 0;
}

/* SECURITY: an owner without bounds would be root. */
static bool is_consistent(const struct options *options)
{
	if (options->owner_uid == 0)
		return options->last_id == 0 && options->image_count == 0;
	return options->last_id != 0 && options->first_id <= options->last_id && options->cgroup_count > 0;
}

bool parse_options(int argc, char **argv, struct options *options)
{
	*options = (struct options){0};
	for (int i = 0; i < argc; i += 2)
		if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], options))
			return false;
	return is_consistent(options);
}
